"""Our kernels under the emulator's checkers: no race, no access out of bounds, and the same bits in every thread order.

The full matrix of checks is ``pytest tests/test_kernel_safety.py --all-sizes``.
"""

from __future__ import annotations

import re

import checks
import matrices
import metalsvd
import pytest
import torch

pytestmark = pytest.mark.kernels

# Every branch of the kernels. `threadgroup`: staged and unstaged right vectors, tall and wide, completion of zero and
# missing columns. `thread` and `simdgroup`: each kernel, with completion too, and threads that have no matrix.
CASES = {
    "square": ("threadgroup", (6, 6), ["normal", "clusters"]),
    "one SIMD-group a matrix": ("threadgroup", (2, 2), ["normal", "zero", "ones"]),
    "odd and tall": ("threadgroup", (9, 5), ["normal", "half_rank", "zero_columns"]),
    "wide": ("threadgroup", (5, 40), ["normal", "zero_columns", "zero"]),
    "single column": ("threadgroup", (33, 1), ["normal", "zero"]),
    "a block rests, a column is missing": ("threadgroup", (11, 9), ["half_rank"]),
    "two SIMD-groups": ("threadgroup", (18, 18), ["normal", "zero_columns"]),
    "thread, 2": ("thread", (1, 2), ["normal", "zero"]),
    "thread, 3": ("thread", (3, 2), ["normal", "half_rank"]),
    "thread, 4": ("thread", (3, 4), ["normal", "zero_columns", "zero"]),
    "simdgroup, a lane a column": ("simdgroup", (8, 7), ["zero_columns", "half_rank", "zero", *30 * ["uniform"]]),
    "simdgroup, lanes left over": ("simdgroup", (10, 12), ["half_rank", "zero", *7 * ["uniform"]]),
    "simdgroup, two lanes a column": ("simdgroup", (14, 13), ["half_rank", "zero_columns", *7 * ["uniform"]]),
    "simdgroup, tall": ("simdgroup", (30, 7), ["normal", "zero_columns", "half_rank"]),
    "simdgroup, one matrix": ("simdgroup", (18, 18), ["normal", "zero_columns", "uniform"]),
    "simdgroup, few": ("simdgroup", (10, 12), ["normal", "half_rank", "zero"]),
    "simdgroup, few and spread, or Q apart": ("simdgroup", (18, 17), ["normal", "zero_columns"]),
    "simdgroup, Q apart, most rows": ("simdgroup", (21, 40), ["normal", "half_rank"]),
    "simdgroup, spread, or Q apart": ("simdgroup", (34, 33), ["normal", "half_rank"]),
    "simdgroup, Q apart, four lanes a column": ("simdgroup", (17, 42), ["half_rank"]),
    "simdgroup, spread": ("simdgroup", (34, 33), ["normal", "half_rank", "normal"]),
    "simdgroup, spread and factored": ("simdgroup", (42, 41), ["half_rank", "normal"]),
}
LARGE_CASES = {
    "last staged": ("threadgroup", (63, 63), ["normal"]),
    "first split": ("threadgroup", (64, 64), ["normal", "half_rank"]),
    "last split": ("threadgroup", (88, 88), ["half_rank"]),
    "tall and split": ("threadgroup", (2716, 3), ["normal"]),
    "simdgroup, most entries": ("simdgroup", (32, 32), ["normal", "half_rank"]),
    "simdgroup, most rows of a SIMD-group": ("simdgroup", (64, 15), ["normal", "half_rank"]),
    "simdgroup, most SIMD-groups": ("simdgroup", (128, 128), ["half_rank"]),
}
JOBS = {"values": {"compute_uv": False}, "thin": {}, "full": {"full_matrices": True}}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = {**CASES, **LARGE_CASES} if metafunc.config.getoption("--all-sizes") else CASES
        metafunc.parametrize("case", cases.values(), ids=cases.keys())


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("job", JOBS)
def test_no_race_no_stray_access_and_the_same_bits_in_every_order(case, job, dtype, emulated, target):
    driver, (m, n), families = case
    if dtype.is_complex and (m * n > 2000 or (driver == "simdgroup" and (m > 45 or n > 45))):
        m, n = (m + 1) // 2, (n + 1) // 2
    A = torch.stack([matrices.make(name, m, n, dtype) for name in families]).to(target)
    checks.assert_safe_in_every_order(A, emulated, **JOBS[job], driver=driver)


# One pair of blocks and more, rows in one chunk and in two, completion, reflectors in one panel and in two.
BLOCK_CASES = {
    "one pair": ((9, 5), ["normal", "half_rank"]),
    "wide": ((3, 40), ["zero_columns"]),
    "two chunks": ((129, 2), ["normal"]),
    "two pairs, two panels": ((34, 33), ["half_rank"]),
}


def assert_block_safe_in_every_order(A, emulated, **options) -> None:
    """Checked in one order: the checks are slow, and look at the same accesses in every order."""
    checks.assert_safe_in_every_order(A, emulated, checked_orders=("random",), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(("shape", "families"), BLOCK_CASES.values(), ids=BLOCK_CASES.keys())
def test_block_has_no_race_no_stray_access_and_the_same_bits(shape, families, job, dtype, emulated, target):
    A = torch.stack([matrices.make(name, *shape, dtype) for name in families]).to(target)
    assert_block_safe_in_every_order(A, emulated, **JOBS[job], driver="block")


# One panel and several, with another QR and without.
@pytest.mark.parametrize(
    ("family", "shape", "dtype"),
    [
        ("half_rank", (9, 7), torch.complex64),
        ("half_rank", (36, 40), torch.float32),
        ("normal", (36, 40), torch.float32),
    ],
    ids=str,
)
def test_recovered_vectors_have_no_race_no_stray_access_and_the_same_bits(family, shape, dtype, emulated, target):
    A = matrices.make(family, *shape, dtype).to(target)
    assert_block_safe_in_every_order(A, emulated, driver="recover")


# One subtile of a product and several; a matrix that is settled, and one that is left to reflectors.
@pytest.mark.parametrize(
    ("family", "shape", "driver"),
    [
        ("half_rank", (9, 7), "whole"),
        ("normal", (40, 36), "whole"),
        ("normal", (80, 36), "cholesky"),
        ("half_rank", (70, 34), "cholesky"),
    ],
    ids=str,
)
def test_drivers_for_real_matrices_have_no_race_no_stray_access_and_the_same_bits(
    family, shape, driver, emulated, target
):
    A = matrices.make(family, *shape).to(target)
    assert_block_safe_in_every_order(A, emulated, driver=driver)


# Rounds of one step, of two and of three, which a GPU of one core takes.
@pytest.mark.parametrize(("shape", "one_core"), [((70, 66), False), ((129, 66), False), ((190, 66), True)], ids=str)
def test_pairs_of_64_columns_have_no_race_no_stray_access_and_the_same_bits(shape, one_core, emulated, target):
    A = matrices.make("half_rank", *shape).to(target)
    with emulated.options(wide_lanes=one_core):
        assert ("of three steps" in metalsvd.plan(shape, driver="block")) == one_core
        assert_block_safe_in_every_order(A, emulated, driver="block")


@pytest.mark.parametrize("order", checks.ORDERS)
@pytest.mark.parametrize("driver", ["thread", "simdgroup", "threadgroup"])
def test_a_matrix_that_is_not_finite_is_safe_too(driver, order, emulated, target):
    A = torch.stack([matrices.make("normal", 4, 3) for _ in range(3)])
    A[1, 3, 2] = float("nan")
    with emulated.options(order=order, check_memory=True):
        assert metalsvd.svd_ex(A.to(target), driver=driver).info.tolist() == [0, 1, 0]


def test_strided_input_is_read_in_bounds(emulated, target):
    room = torch.zeros(2, 10, 12)
    room[:, ::2, ::3] = torch.stack([matrices.make("normal", 5, 4), matrices.make("uniform", 5, 4)])
    with emulated.options(check_memory=True):
        strided = metalsvd.svd(room.to(target)[:, ::2, ::3])
        plain = metalsvd.svd(room[:, ::2, ::3].contiguous().to(target))
    checks.assert_same_bits(strided.S, plain.S)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("driver", "shape"),
    [
        ("thread", (131, 3, 3)),
        ("thread", (40, 2, 4)),
        ("simdgroup", (6, 8, 8)),
        ("simdgroup", (7, 9, 9)),
        ("simdgroup", (5, 32, 32)),
        ("simdgroup", (3, 16, 60)),
        ("simdgroup", (3, 41, 40)),
        ("simdgroup", (1, 41, 41)),
        ("threadgroup", (12, 32, 32)),
        ("threadgroup", (100, 3, 3)),
        ("threadgroup", (3, 60, 20)),
        ("threadgroup", (3, 20, 60)),
    ],
    ids=str,
)
def test_costs(driver, shape, job, emulated, target):
    """One dispatch, no wait, A read once, U, S, Vh and info written once: the promise for all that is staged or held in
    registers. Completion by `threadgroup` goes through device memory."""
    A = torch.randn(shape).to(target)
    emulated.reset_counters()
    with emulated.options(check_memory=True):
        factors = torch.ops.metalsvd.svd_ex(A, **JOBS[job], driver=driver)
    counters = emulated.counters()
    assert counters.dispatches == 1
    assert counters.host_waits == 0
    shares_nothing = re.search(r"kernel svd_(thread|simdgroup)_\d", metalsvd.plan(shape, driver=driver))
    assert (counters.barriers == 0) == bool(shares_nothing)
    completes_in_memory = driver == "threadgroup" and job == "full"
    assert counters.bytes_read <= 1.2 * A.nbytes or completes_in_memory
    written = sum(factor.nbytes for factor in factors)
    assert counters.bytes_written == written or (completes_in_memory and counters.bytes_written >= written)


def test_memory_returns_to_its_start(emulated, target):
    A = torch.randn(4, 5, 3).to(target)

    def live_after(calls: int) -> int:
        for _ in range(calls):
            torch.linalg.svd(A)
        return torch.mps.current_allocated_memory()

    assert live_after(10) == live_after(1000)
