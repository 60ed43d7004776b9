"""Method block behind a QR by order of norms, as the planner runs it: what sorting and R^H must not change."""

from __future__ import annotations

import math

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of

pytestmark = pytest.mark.kernels

# The smallest that no other method takes, tall and wide.
REAL = [(132, 129), (129, 132)]
COMPLEX = [(85, 81), (81, 85)]
FEW_FAMILIES = ["normal", "geometric", "half_rank", "kahan", "column_graded_12", "mixed_scales"]
JOBS = {"values": {"compute_uv": False}, "thin": {}, "full": {"full_matrices": True}}


@pytest.mark.parametrize("shape", REAL + COMPLEX, ids=str)
def test_the_planner_sorts_in_front_of_block(shape):
    words = metalsvd.plan(shape, torch.complex64 if shape in COMPLEX else torch.float32)
    assert "sorted by norm, then block: " in words
    assert (", on the conjugate transpose" in words) == (shape[0] > shape[1])


@pytest.mark.parametrize("shape", COMPLEX, ids=str)
def test_every_family(shape, target):
    checks.assert_families_accurate(list(matrices.FAMILIES), shape, torch.complex64, target)


@pytest.mark.parametrize("shape", REAL, ids=str)
def test_families_in_wide_pairs_of_blocks(shape, target):
    checks.assert_families_accurate(FEW_FAMILIES, shape, torch.float32, target)


@pytest.mark.parametrize("shape", COMPLEX, ids=str)
def test_full_matrices(shape, target):
    checks.assert_full_matrices_accurate(["normal", "half_rank", "zero_columns"], shape, torch.complex64, target)


def test_values_only_are_those_of_the_vectors(target):
    A = batch_of(["normal", "half_rank", "geometric"], COMPLEX[0], torch.complex64).to(target)
    checks.assert_same_bits(metalsvd.svdvals(A), metalsvd.svd(A).S, "S with and without vectors")


@pytest.mark.parametrize(("shape", "dtype"), [(REAL[0], torch.float32), (COMPLEX[0], torch.complex64)], ids=str)
def test_column_graded_singular_values_are_relatively_accurate(shape, dtype, target):
    A = matrices.make("column_graded_12", *shape, dtype)
    # Not in the order that the QR wants.
    A = A[:, torch.randperm(shape[1], generator=torch.Generator().manual_seed(0))]
    checks.assert_relatively_accurate(A, metalsvd.svd(A.to(target)).S)


@pytest.mark.parametrize("shape", COMPLEX, ids=str)
def test_strides_and_batches_change_no_bit(shape, target):
    A = batch_of(["normal", "mixed_scales", "column_graded_12"], shape, torch.complex64).to(target)
    whole = metalsvd.svd(A)
    room = torch.zeros(3, 2 * shape[0], 3 * shape[1], dtype=A.dtype, device=A.device)
    room[:, ::2, ::3] = A
    variants = {"column-major": A.mT.contiguous().mT, "strided": room[:, ::2, ::3]}
    for label, variant in variants.items():
        for name, expected, actual in zip("USV", whole, metalsvd.svd(variant), strict=True):
            checks.assert_same_bits(actual, expected, f"{name} {label}")
    for index in range(3):
        for name, expected, actual in zip("USV", whole, metalsvd.svd(A[index]), strict=True):
            checks.assert_same_bits(actual, expected[index], f"{name} of {index} alone")


@pytest.mark.parametrize("shape", COMPLEX, ids=str)
def test_a_bad_matrix_leaves_its_neighbours_alone(shape, target):
    A = batch_of(["normal", "uniform", "geometric"], shape, torch.complex64)
    checks.assert_only_one_is_not_finite(A, math.nan, target, entry=(2, 1))


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_complex_halves_are_rounded_once(target):
    A = batch_of(["normal", "half_rank"], COMPLEX[0], torch.complex64).to(torch.complex32).to(target)
    for job in JOBS.values():
        for actual, expected in zip(metalsvd.svd(A, **job), metalsvd.svd(A.to(torch.complex64), **job), strict=True):
            rounded = expected.cpu().to(actual.dtype).to(expected.dtype)
            checks.assert_same_bits(actual.cpu().to(expected.dtype), rounded, str(job))


def test_sorting_saves_the_sweeps_of_decaying_singular_values(emulated, target):
    """Barriers tell sweeps: kernels of those that are not needed return at once."""
    A = matrices.make("geometric", *COMPLEX[0], torch.complex64).to(target)

    def barriers(driver: str | None) -> int:
        emulated.reset_counters()
        metalsvd.svd_ex(A, driver=driver)
        return emulated.counters().barriers

    ours, alone = barriers(None), barriers("block")
    assert ours <= 0.6 * alone, f"{ours} barriers behind a QR, {alone} without"


@pytest.mark.parametrize(
    ("family", "shape", "dtype", "most"),
    [
        ("vandermonde", (150, 140), torch.float32, 2.8),
        ("duplicate_columns", (150, 140), torch.float32, 2.45),
        ("vandermonde", (110, 100), torch.complex64, 1.75),
    ],
    ids=str,
)
def test_columns_that_are_rounding_errors_become_zero(family, shape, dtype, most, emulated, target):
    """Rather than orthogonal to each other to many digits, which takes sweep after sweep; but no singular value that is
    more than rounding. The tables of a random matrix take fewer barriers a sweep."""

    def factored(A: torch.Tensor) -> tuple[torch.Tensor, int]:
        emulated.reset_counters()
        factors = metalsvd.svd_ex(A.to(target))
        barriers = emulated.counters().barriers
        checks.assert_accurate(A, factors.U, factors.S, factors.Vh)
        return factors.S.cpu(), barriers

    A = matrices.make(family, *shape, dtype)
    sigma, barriers = factored(A)
    expected = torch.linalg.svdvals(A.to(torch.complex128 if dtype.is_complex else torch.float64))
    assert (sigma == 0).sum() >= shape[1] // 2
    assert (expected[sigma == 0] <= 2**-24 * expected[0]).all()
    random = factored(matrices.make("normal", *shape, dtype))[1]
    assert barriers <= most * random, f"{barriers} barriers, {random} of a random matrix"
