"""Kernels without a fault compute what plain Python computes, in every order of the threads, and no check complains."""

import ctypes
import functools
import math
import operator
import random
import struct

import pytest
from metal_harness import floats, zeros


def half_bits(value: float) -> int:
    return struct.unpack("<H", struct.pack("<e", value))[0]


def half_value(bits: int) -> float:
    return struct.unpack("<e", struct.pack("<H", bits))[0]


def bfloat_bits(value: float) -> int:
    """Round a float32 to the nearest bfloat, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def bfloat_value(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def single(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def butterfly(values, combine):
    """The documented order of SIMD reductions."""
    values, distance = list(values), 16
    while distance:
        values = [combine(values[i], values[i + distance]) for i in range(distance)]
        distance //= 2
    return values[0]


def numbers(count: int, seed: int = 1) -> list[float]:
    generator = random.Random(seed)
    return [single(generator.uniform(-2, 2)) for _ in range(count)]


def test_tree_sum(any_order):
    values = numbers(4 * 256)
    sums = zeros(ctypes.c_float, 4)
    any_order.run("correct", "tree_sum_f32", 1024, 256, [floats(values), sums])
    assert list(sums) == pytest.approx([math.fsum(values[256 * i : 256 * i + 256]) for i in range(4)], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "to_bits", "to_value"),
    [("f16", half_bits, half_value), ("bf16", bfloat_bits, bfloat_value)],
    ids=["half", "bfloat"],
)
def test_tree_sum_of_small_floats_rounds_every_addition(any_order, name, to_bits, to_value):
    values = [to_value(to_bits(v)) for v in numbers(64)]
    sums = zeros(ctypes.c_uint16, 1)
    any_order.run("correct", f"tree_sum_{name}", 64, 64, [(ctypes.c_uint16 * 64)(*map(to_bits, values)), sums])
    while len(values) > 1:
        half = len(values) // 2
        values = [to_value(to_bits(single(values[i] + values[i + half]))) for i in range(half)]
    assert to_value(sums[0]) == values[0]


@pytest.mark.parametrize("group", [(32, 8), (32, 32), (32, 1)])
def test_transpose_through_a_two_dimensional_tile(any_order, group):
    rows, columns = 64, 96
    values = numbers(rows * columns)
    output = zeros(ctypes.c_float, rows * columns)
    grid = (columns, rows // 32 * group[1])
    any_order.run("correct", "transpose", grid, group, [floats(values), output, rows, columns])
    assert list(output) == [values[r * columns + c] for c in range(columns) for r in range(rows)]


def test_positions_in_a_three_dimensional_grid(any_order):
    grid, group = (8, 6, 4), (4, 3, 2 * 4)
    grid = (8, 6, 8)
    group = (4, 2, 4)
    output = zeros(ctypes.c_uint32, 23 * grid[0] * grid[1] * grid[2])
    any_order.run("correct", "positions", grid, group, [output])
    for z in range(grid[2]):
        for y in range(grid[1]):
            for x in range(grid[0]):
                inside = (x % group[0], y % group[1], z % group[2])
                index = inside[0] + group[0] * (inside[1] + group[1] * inside[2])
                start = 23 * (x + grid[0] * (y + grid[1] * z))
                expected = [x, y, z, *inside, x // group[0], y // group[1], z // group[2], *group]
                expected += [g // s for g, s in zip(grid, group, strict=True)]
                expected += [*grid, index, index % 32, index // 32, 1, 32]
                assert list(output[start : start + 23]) == expected


def test_atomics(any_order):
    counts, extremes, total, bits = (
        zeros(t, n) for t, n in ((ctypes.c_uint32, 9), (ctypes.c_int32, 2), (ctypes.c_float, 1), (ctypes.c_uint32, 3))
    )
    bits[1] = 0xFFFFFFFF
    any_order.run("correct", "atomics", 512, 128, [counts, extremes, total, bits])
    values = [i * 7919 % 1000 - 500 for i in range(512)]
    assert list(counts) == [64] * 8 + [512]
    assert list(extremes) == [min(values), max(values)]
    assert total[0] == 256.0
    assert list(bits) == [0xFFFFFFFF, 0xFFFF0000, 1024]


def test_simdgroup_barrier_orders_lanes_of_a_simdgroup(any_order):
    values = numbers(256)
    output = zeros(ctypes.c_float, 256)
    any_order.run("correct", "simdgroup_exchange", 256, 128, [floats(values), output])
    assert list(output) == [single(single(single(values[i ^ 1] + 1) + 1) + 1) for i in range(256)]


def test_barrier_orders_device_memory(any_order):
    values = zeros(ctypes.c_float, 64)
    any_order.run("correct", "through_device_memory", 64, 64, [values])
    assert list(values) == [float((i + 1) % 64) for i in range(64)]


def test_threadgroup_memory_starts_as_nan(any_order):
    output = zeros(ctypes.c_uint32, 32)
    any_order.run("correct", "unwritten_tile", 32, 32, [output])
    assert set(output) == {0xFFFFFFFF}


def test_denormals_are_flushed_in_kernels_only(any_order):
    tiny = struct.unpack("<f", struct.pack("<I", 1000))[0]
    products = zeros(ctypes.c_float, 32)
    any_order.run(
        "correct", "denormals", 32, 32, [floats([1e-30, 1e-10, tiny, 1.0, 1e-18, 1e-18, *[2.0] * 58]), products]
    )
    assert list(products[:3]) == [0.0, 0.0, single(single(1e-18) ** 2)]
    assert list(products[3:]) == [4.0] * 29
    assert 5e-324 > 0
    assert 2.0**-1074 * 3 / 3 > 0


def test_denormals_are_kept_if_wanted(emulator):
    tiny = struct.unpack("<f", struct.pack("<I", 1000))[0]
    products = zeros(ctypes.c_float, 32)
    emulator.options(keep_denormals=True)
    emulator.run("correct", "denormals", 32, 32, [floats([1e-30, 1e-10, tiny, 1.0, *[2.0] * 60]), products])
    assert list(products[:3]) == [single(single(1e-30) * single(1e-10)), tiny, 4.0]


def test_constant_arguments_and_tables(any_order):
    output = zeros(ctypes.c_float, 32)
    any_order.run("correct", "constants", 32, 32, [output, -(2**20), floats([0.5])])
    assert list(output) == [(1 + i % 4) * 0.5 - 2**20 for i in range(32)]


def test_float_to_half_and_bfloat(any_order):
    special = [
        65504.0,
        65519.9,
        65520.0,
        1e9,
        -1e9,
        6e-8,
        3e-8,
        2.9802322387695312e-08,
        -6.1e-5,
        0.1,
        math.inf,
        -math.inf,
        0.0,
        -0.0,
    ]
    values = [single(v) for v in special + numbers(128 - len(special))]
    halves, bfloats = zeros(ctypes.c_uint16, 128), zeros(ctypes.c_uint16, 128)
    any_order.run("correct", "half_neighbours", 128, 64, [floats(values), halves, bfloats])
    assert list(bfloats) == [bfloat_bits(v) for v in values]
    infinity = {math.inf: 0x7C00, -math.inf: 0xFC00}
    assert list(halves) == [half_bits(v) if abs(v) < 65520 else infinity[math.copysign(math.inf, v)] for v in values]


def test_half_arithmetic(any_order):
    values = [half_value(half_bits(v)) for v in numbers(64)]
    output = zeros(ctypes.c_uint16, 6 * 32)
    any_order.run("correct", "half_arithmetic", 32, 32, [(ctypes.c_uint16 * 64)(*map(half_bits, values)), output])
    for i in range(32):
        a, b = values[2 * i : 2 * i + 2]
        third = half_value(half_bits(single(single(a * b) * 3)))
        expected = [a + b, a * b, single(a / b), a * b + 1, single(math.sqrt(abs(a))), third - 2]
        assert [half_value(bits) for bits in output[6 * i : 6 * i + 6]] == [half_value(half_bits(v)) for v in expected]


def test_tile_of_structures(any_order):
    values = numbers(128)
    where = zeros(ctypes.c_int32, 1)
    any_order.run("correct", "argmax", 64, 64, [floats(values), where])
    assert where[0] == max(range(64), key=lambda i: math.hypot(values[2 * i], values[2 * i + 1]))


def test_simd_arithmetic_in_the_documented_order(any_order):
    values = numbers(32)
    output = zeros(ctypes.c_float, 6 * 32)
    any_order.run("simd", "arithmetic_f32", 32, 32, [floats(values), output])
    rows = [list(output[32 * i : 32 * i + 32]) for i in range(6)]
    assert rows[0] == [butterfly(values, lambda a, b: single(a + b))] * 32
    assert rows[1:3] == [[max(values)] * 32, [min(values)] * 32]
    assert rows[3] == [butterfly(values, lambda a, b: single(a * b))] * 32
    sums = values
    for distance in (1, 2, 4, 8, 16):
        sums = [single(sums[i - distance] + sums[i]) if i >= distance else sums[i] for i in range(32)]
    assert rows[4:] == [sums, [0.0, *sums[:-1]]]


def test_simd_arithmetic_of_integers(any_order):
    values = [random.Random(i).randint(-1000, 1000) for i in range(32)]
    output = zeros(ctypes.c_int32, 6 * 32)
    any_order.run("simd", "arithmetic_i32", 32, 32, [(ctypes.c_int32 * 32)(*values), output])
    product = ctypes.c_int32(math.prod(values)).value
    assert [output[32 * i] for i in range(4)] == [sum(values), max(values), min(values), product]
    assert list(output[160:]) == [sum(values[:i]) for i in range(32)]


def test_simd_arithmetic_of_halves(any_order):
    values = [half_value(half_bits(v)) for v in numbers(32)]
    output = zeros(ctypes.c_uint16, 6 * 32)
    any_order.run("simd", "arithmetic_f16", 32, 32, [(ctypes.c_uint16 * 32)(*map(half_bits, values)), output])
    expected = butterfly(values, lambda a, b: half_value(half_bits(a + b)))
    assert [half_value(output[i]) for i in (0, 31, 32, 64)] == [expected, expected, max(values), min(values)]


@pytest.mark.parametrize(
    ("kernel", "ctype", "width"),
    [
        ("f32", ctypes.c_float, 1),
        ("f16", ctypes.c_uint16, 1),
        ("f32x2", ctypes.c_float, 2),
        ("f32x4", ctypes.c_float, 4),
        ("i64", ctypes.c_int64, 1),
    ],
)
def test_simd_shuffles(any_order, kernel, ctype, width):
    values = list(range(1, 32 * width + 1))
    output = zeros(ctype, 6 * 32 * width)
    any_order.run("simd", f"shuffles_{kernel}", 32, 32, [(ctype * (32 * width))(*values), output])
    lanes = range(32)
    sources = [
        [i * 5 % 32 for i in lanes],
        [i ^ 3 for i in lanes],
        [i - 2 if i >= 2 else i for i in lanes],
        [i + 7 if i + 7 < 32 else i for i in lanes],
        [9] * 32,
        [0] * 32,
    ]
    assert list(output) == [values[s * width + part] for row in sources for s in row for part in range(width)]


def test_simd_bits_and_votes(any_order):
    values = [random.Random(i).randint(1, 2**32 - 1) for i in range(31)] + [77]
    output = zeros(ctypes.c_uint32, 6 * 32)
    any_order.run("simd", "bits", 32, 32, [(ctypes.c_uint32 * 32)(*values), output])
    folds = [functools.reduce(f, values) for f in (operator.and_, operator.or_, operator.xor)]
    ballot = sum((v % 3 == 0) << i for i, v in enumerate(values))
    assert [output[32 * i] for i in range(5)] == [*folds, ballot, 3]
    counts = [32 - v.bit_length() + 100 * ((v & -v).bit_length() - 1) + 10000 * v.bit_count() for v in values]
    assert list(output[160:]) == counts


def test_simd_sum_of_complex_numbers(any_order):
    values = numbers(64)
    output = zeros(ctypes.c_float, 64)
    any_order.run("simd", "complex_sum", 32, 32, [floats(values), output])
    assert list(output[:2]) == [butterfly(values[part::2], lambda a, b: single(a + b)) for part in (0, 1)]


def test_simdgroups_may_differ(any_order):
    output = zeros(ctypes.c_float, 128)
    any_order.run("simd", "unequal_simdgroups", 128, 128, [output])
    assert [output[32 * i] for i in range(4)] == [2.0, 5.0, 8.0, 16.0]


@pytest.mark.parametrize(("kernel", "width"), [("column_norms_f32", 1), ("column_norms_c64", 2)])
def test_skeleton(any_order, kernel, width):
    rows, columns, batch = 200, 3, 2
    values = numbers(batch * rows * columns * width)
    norms = zeros(ctypes.c_float, batch * columns)
    any_order.run("skeleton", kernel, (128 * columns, batch), (128, 1), [floats(values), norms, rows])
    for b in range(batch):
        for j in range(columns):
            entries = [((b * rows + i) * columns + j) * width + part for i in range(rows) for part in range(width)]
            assert norms[b * columns + j] == pytest.approx(
                math.sqrt(math.fsum(values[e] ** 2 for e in entries)), rel=1e-6
            )
