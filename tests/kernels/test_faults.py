"""Every fault sown in data/wrong.metal is found and named with kernel, threads and line; the emulator survives each."""

import ctypes
import os
import re

import pytest
from metal_harness import KernelFailure, floats, zeros

SIMD = "SIMD operation not performed by all lanes together"


def failure(emulator, kernel, arguments, grid=64, group=None, library="wrong", **options):
    with pytest.raises(KernelFailure) as caught:
        emulator.run(library, kernel, grid, group or grid, arguments, **options)
    message = str(caught.value)
    assert f"kernel '{kernel}'" in message
    check_usable(emulator)
    return message


def check_usable(emulator):
    """After a failure the next dispatch is as good as ever."""
    sums = zeros(ctypes.c_float, 4)
    emulator.run("correct", "tree_sum_f32", 1024, 256, [floats([1.0] * 1024), sums])
    assert list(sums) == [256.0] * 4


# Found always

DIVERGENCE = {
    "returned_before_barrier": [
        "barrier divergence",
        "threads 0-47 wait in threadgroup_barrier",
        "threads 48-63 have returned",
    ],
    "barrier_too_often": ["barrier divergence", "thread 63 waits in threadgroup_barrier", "threads 0-62 have returned"],
    "partial_simd_operation": [SIMD, "wait in simd_sum", "have returned"],
    "shuffle_from_no_lane": ["simd_shuffle at", "the lane argument must be below 32"],
    "broadcast_from_two_lanes": ["simd_broadcast at", "the same in every lane"],
}


@pytest.mark.parametrize("kernel", DIVERGENCE)
def test_divergence(any_order, kernel):
    message = failure(any_order, kernel, [zeros(ctypes.c_float, 64)])
    for part in [*DIVERGENCE[kernel], any_order.line("wrong", kernel)]:
        assert part in message


def test_partial_simd_operation_names_the_lanes(emulator):
    message = failure(emulator, "partial_simd_operation", [zeros(ctypes.c_float, 32)], grid=32)
    assert "threads 0-19 wait in simd_sum" in message
    assert "threads 20-31 have returned" in message


def test_different_barriers(any_order):
    message = failure(any_order, "barrier_in_branch", [zeros(ctypes.c_float, 64)])
    assert "barrier divergence" in message
    for threads, mark in (("0-31", "first"), ("32-63", "second")):
        assert (
            f"threads {threads} wait in threadgroup_barrier at {any_order.line('wrong', f'barrier_in_branch {mark}')}"
            in message
        )


def test_different_simd_operations(any_order):
    message = failure(any_order, "diverging_simd_operations", [zeros(ctypes.c_float, 32)], grid=32)
    assert SIMD in message
    for threads, operation in (("0-15", "sum"), ("16-31", "max")):
        line = any_order.line("wrong", f"diverging_simd_operations {operation}")
        assert f"threads {threads} wait in simd_{operation} at {line}" in message


def test_too_much_threadgroup_memory(any_order):
    message = failure(any_order, "too_much_memory", [zeros(ctypes.c_float, 32)], grid=32)
    assert "threadgroup memory of 33024 bytes, but a threadgroup has 32768" in message
    assert f"'large' of 32768 bytes at {any_order.line('wrong', 'too_much_memory')}" in message


SIZES = {
    (2048, 2048): "a threadgroup of 2048 threads, but the limit is 1024",
    (48, 48): "a threadgroup of 48 threads is not made of whole SIMD-groups of 32",
    (96, 64): "do not divide the grid",
    ((32, 33), (32, 2)): "do not divide the grid",
    (0, 32): "the grid (0, 1, 1) is empty",
    (32, 0): "the threadgroup (0, 1, 1) is empty",
}


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(emulator, size):
    with pytest.raises(KernelFailure, match=re.escape(SIZES[size])):
        emulator.run("wrong", "order_shows", *size, [zeros(ctypes.c_uint32, 1)])


def test_limit_of_the_kernel(emulator):
    output = zeros(ctypes.c_float, 128)
    emulator.run("correct", "small_groups", 128, 64, [output])
    message = failure(emulator, "small_groups", [output], grid=128, library="correct")
    assert "a threadgroup of 128 threads, but the limit is 64" in message


def test_arguments(emulator):
    output = zeros(ctypes.c_float, 32)
    assert "argument 1 ('offset') is not set" in failure(
        emulator, "constants", {0: output, 2: output}, grid=32, library="correct"
    )
    assert "there is no [[buffer(7)]]" in failure(emulator, "constants", {7: output}, grid=32, library="correct")
    assert "cannot be an integer" in failure(emulator, "constants", {0: 5}, grid=32, library="correct")
    four_bytes = zeros(ctypes.c_float, 1)
    assert "shorter than the 8 bytes" in failure(emulator, "constants", {1: four_bytes}, grid=32, library="correct")
    odd = (ctypes.c_char * 100).from_buffer(bytearray(101), 1)
    assert "not a multiple of 4" in failure(emulator, "constants", {0: odd}, grid=32, library="correct")


def test_unknown_kernel_lists_those_that_exist(emulator):
    with pytest.raises(
        KernelFailure, match="no kernel 'svd' in library 'skeleton', which has column_norms_f32, column_norms_c64"
    ):
        emulator.run("skeleton", "svd", 32, 32, [])


def test_text_must_be_the_translated_one(emulator):
    text = emulator.sources["skeleton"].replace("sum += squared", "sum -= squared")
    number = next(i for i, line in enumerate(text.splitlines(), start=1) if "sum -= squared" in line)
    with pytest.raises(KernelFailure, match=f"'skeleton' differs from it at line {number}"):
        emulator.run("skeleton", "column_norms_f32", 128, 128, [], source=text)


def test_faults_of_the_processor(emulator):
    thread = r"thread \d+ "
    output = zeros(ctypes.c_float, 64)
    message = failure(emulator, "no_memory_there", [output])
    assert re.search(
        thread + "accesses memory that does not exist at .*" + emulator.line("wrong", "no_memory_there"), message
    )
    message = failure(emulator, "division_by_zero", [zeros(ctypes.c_int32, 64)])
    assert re.search(thread + "divides an integer by zero at .*" + emulator.line("wrong", "division_by_zero"), message)
    message = failure(emulator, "endless_recursion", [output])
    assert re.search(thread + "uses more than 131072 bytes of its own memory at .*wrong.metal", message)


def test_order_of_threads_shows(emulator):
    seen = {}
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2), ("random", 1)):
        output = zeros(ctypes.c_uint32, 1)
        emulator.options(order=order, seed=seed)
        emulator.run("wrong", "order_shows", 64, 64, [output])
        seen.setdefault((order, seed), set()).add(output[0])
    assert seen["forward", 0] == {63}
    assert seen["reverse", 0] == {0}
    assert len(seen["random", 1]) == 1  # a seed repeats its order
    assert seen["random", 1] != seen["random", 2]


# A kernel whose result depends on nothing but its input gives the same bits in every order.


def test_orders_agree_bit_by_bit(emulator):
    values = floats([(i * 7919 % 1009) / 37 - 13 for i in range(600)])
    results = set()
    for order, seed in [("forward", 0), ("reverse", 0), *(("random", seed) for seed in range(5))]:
        norms = zeros(ctypes.c_float, 3)
        emulator.options(order=order, seed=seed)
        emulator.run("skeleton", "column_norms_f32", 384, 128, [values, norms, 200])
        results.add(bytes(norms))
    assert len(results) == 1


# Found by the memory check


@pytest.fixture
def checking(emulator):
    emulator.options(check_memory=True)
    return emulator


RACES = {
    "removed_barrier": ("write", "read", "tile 'tile'"),
    "barrier_without_memory": ("write", "read", "tile 'tile'"),
    "barrier_of_other_memory": ("", None, "tile 'tile'"),
    "device_race_in_group": ("", None, "argument 0 ('output')"),
    "write_after_read": ("write", "read", "tile 'tile'"),
    "same_value_twice": ("", None, "argument 0 ('output')"),
    "simdgroup_barrier_for_threadgroup": ("write", "read", "tile 'tile'"),
    "shuffle_for_barrier": ("", None, "tile 'tile'"),
}


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("kernel", RACES)
def test_races(emulator, kernel, order):
    emulator.options(order=order, check_memory=True)
    group = 32 if kernel == "shuffle_for_barrier" else 64
    message = failure(emulator, kernel, [zeros(ctypes.c_float, 64)], grid=group)
    first, second, memory = RACES[kernel]
    assert "race:" in message
    assert memory in message
    assert "no barrier orders the two" in message
    for mark in (first, second):
        if mark is not None:
            assert emulator.line("wrong", f"{kernel} {mark}".strip()) in message
    threads = re.findall(r"thread (\d+)", message)
    assert len(threads) == 2
    assert threads[0] != threads[1]


def test_race_across_threadgroups(checking):
    message = failure(checking, "race_across_threadgroups", [zeros(ctypes.c_float, 128)], grid=128, group=64)
    assert "threadgroup (1, 0, 0): race" in message
    assert "of threadgroup (0, 0, 0) wrote it" in message
    for mark in ("write", "read"):
        assert checking.line("wrong", f"race_across_threadgroups {mark}") in message


def test_plain_write_beside_atomics(checking):
    counts = zeros(ctypes.c_uint32, 64)
    message = failure(checking, "plain_beside_atomic", [counts, counts])
    assert "race" in message
    assert "atomically" in message
    for mark in ("atomic", "plain"):
        assert checking.line("wrong", f"plain_beside_atomic {mark}") in message


BOUNDS = {
    "past_end_of_tile": "thread 63 writes 4 bytes, just past the end of the 256 bytes of tile 'tile', at ",
    "past_end_of_buffer": "thread 63 writes 4 bytes, just past the end of the 256 bytes of argument 0 ('output'), at ",
    "before_start_of_buffer": "thread 0 writes 4 bytes, 8 bytes before the 256 bytes of argument 1 ('output'), at ",
    "read_past_end": "thread 16 reads 4 bytes, just past the end of the 256 bytes of argument 0 ('input'), at ",
}


@pytest.mark.parametrize("kernel", BOUNDS)
def test_bounds(checking, kernel):
    block = (ctypes.c_float * 256)()  # both arguments inside one array of Python's, so that nothing is damaged
    first, second = ((ctypes.c_float * 64).from_buffer(block, offset) for offset in (64, 640))
    message = failure(checking, kernel, [first] if kernel.startswith("past") else [first, second])
    assert "out of bounds" in message
    assert BOUNDS[kernel] + checking.line("wrong", kernel) in message


def test_write_to_constant(checking):
    message = failure(checking, "write_to_constant", [zeros(ctypes.c_float, 64)])
    assert "write to memory that the kernel only reads" in message
    assert checking.line("wrong", "write_to_constant") in message


def test_null_is_out_of_bounds(checking):
    message = failure(checking, "no_memory_there", [zeros(ctypes.c_float, 64)])
    assert "out of bounds" in message
    assert checking.line("wrong", "no_memory_there") in message


# Counters and processes


def test_counters(emulator):
    values, sums = floats([1.0] * 1024), zeros(ctypes.c_float, 4)
    emulator.run("correct", "tree_sum_f32", 1024, 256, [values, sums])
    plain = emulator.counters()
    assert (plain.dispatches, plain.threadgroups, plain.threads, plain.barriers) == (1, 4, 1024, 32)
    assert (plain.simd_operations, plain.bytes_read, plain.bytes_written) == (0, 0, 0)
    emulator.options(check_memory=True)
    emulator.run("correct", "tree_sum_f32", 1024, 256, [values, sums])
    checked = emulator.counters()
    assert (checked.bytes_read, checked.bytes_written) == (4096, 16)


def test_runs_in_a_forked_child(emulator):
    check_usable(emulator)
    child = os.fork()
    if child == 0:
        try:
            check_usable(emulator)
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
