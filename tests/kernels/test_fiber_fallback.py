"""The scheduler over the C library's ucontext, for machines that have no assembly switch."""

import ctypes

import pytest
from metal_harness import METAL_FILES, Emulator, KernelFailure, floats, zeros


@pytest.fixture(scope="module")
def portable(pytestconfig):
    return Emulator(pytestconfig.cache.mkdir("emulated-kernels"), METAL_FILES, ("-DMETALSVD_UCONTEXT",))


@pytest.mark.parametrize("check_memory", [False, True])
def test_kernels_run(portable, check_memory):
    portable.options(check_memory=check_memory)
    sums = zeros(ctypes.c_float, 4)
    portable.run("correct", "tree_sum_f32", 1024, 256, [floats(range(1024)), sums])
    assert list(sums) == [sum(range(256 * i, 256 * i + 256)) for i in range(4)]
    output = zeros(ctypes.c_float, 128)
    portable.run("simd", "unequal_simdgroups", 128, 128, [output])
    assert [output[32 * i] for i in range(4)] == [2.0, 5.0, 8.0, 16.0]


@pytest.mark.parametrize("kernel", ["returned_before_barrier", "endless_recursion", "no_memory_there"])
def test_faults_are_survived(portable, kernel):
    portable.options()
    for _ in range(3):
        with pytest.raises(KernelFailure, match=f"kernel '{kernel}'"):
            portable.run("wrong", kernel, 64, 64, [zeros(ctypes.c_float, 64)])
    sums = zeros(ctypes.c_float, 4)
    portable.run("correct", "tree_sum_f32", 1024, 256, [floats([1.0] * 1024), sums])
    assert list(sums) == [256.0] * 4
