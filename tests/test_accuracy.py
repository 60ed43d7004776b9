"""The accuracy promise of tests/checks.py, for every method, over every family of tests/matrices.py."""

from __future__ import annotations

import math

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of

pytestmark = pytest.mark.kernels

DTYPES = [torch.float32, torch.complex64]

# Around the SIMD width (31, 32, 33), m = n +- 1, tall, wide and single rows and columns.
SMALL_SHAPES = [(1, 1), (1, 6), (6, 1), (2, 2), (3, 3), (4, 3), (3, 4), (5, 5), (8, 8), (9, 8), (17, 16)]
TALL_AND_WIDE_SHAPES = [(40, 7), (7, 40)]
MIDDLE_SHAPES = [(31, 31), (32, 32), (33, 32), (32, 33), (33, 33)]

# The last sizes whose right vectors are staged beside the matrix, the first whose are not, the largest that fit at all.
LIMIT_SHAPES = {
    torch.float32: [(63, 63), (64, 64), (88, 88), (2714, 3), (3, 2716)],
    torch.complex64: [(44, 44), (45, 45), (63, 63), (1356, 3), (3, 1358)],
}
LIMIT_FAMILIES = ["normal", "geometric", "exact_half_rank", "clusters", "orthogonal", "column_graded_12"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SMALL_SHAPES + TALL_AND_WIDE_SHAPES + MIDDLE_SHAPES, ids=str)
def test_every_family(shape, dtype, target):
    checks.assert_families_accurate(list(matrices.FAMILIES), shape, dtype, target)


@pytest.mark.parametrize(
    ("dtype", "shape"), [(dtype, shape) for dtype in DTYPES for shape in LIMIT_SHAPES[dtype]], ids=str
)
def test_limits(shape, dtype, target):
    checks.assert_families_accurate(LIMIT_FAMILIES, shape, dtype, target, driver="threadgroup")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (6, 4), (4, 6), (33, 20), (20, 33), (120, 3), (45, 40)], ids=str)
def test_full_matrices(shape, dtype, target):
    checks.assert_full_matrices_accurate(list(matrices.FAMILIES), shape, dtype, target)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 5), (20, 7), (7, 20), (63, 63)], ids=str)
def test_values_only_are_those_of_the_vectors(shape, dtype, target):
    A = batch_of(["normal", "half_rank", "geometric"], shape, dtype).to(target)
    U, S, V = metalsvd.svd(A, compute_uv=False)
    assert U.numel() == V.numel() == 0
    checks.assert_same_bits(S, metalsvd.svd(A).S, "S with and without vectors")
    checks.assert_same_bits(metalsvd.svdvals(A), S, "svdvals")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8, 8), (24, 24), (60, 20)], ids=str)
def test_column_graded_singular_values_are_relatively_accurate(shape, dtype, target):
    for seed in range(3):
        A = matrices.make("column_graded_12", *shape, dtype, seed)
        checks.assert_relatively_accurate(A, metalsvd.svd(A.to(target)).S)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [60, -60, 120, -100, -140], ids="2^{}".format)
def test_scaling_changes_only_the_singular_values(exponent, dtype, target):
    """2^-140 makes every entry denormal, with few bits left: those that are left must all count."""
    A = matrices.make("normal", 12, 9, dtype)
    factor = 2.0**exponent
    if exponent < -100:
        # Few enough bits that the scaled matrix is the same matrix.
        A = (torch.view_as_real(A) if dtype.is_complex else A).mul(16).round().div(16)
        A = torch.view_as_complex(A) if dtype.is_complex else A
    scaled = (A.to(torch.complex128 if dtype.is_complex else torch.float64) * factor).to(dtype)
    plain, ours = metalsvd.svd(A.to(target)), metalsvd.svd(scaled.to(target))
    checks.assert_same_bits(ours.U, plain.U, "U")
    checks.assert_same_bits(ours.V, plain.V, "V")
    expected = plain.S.cpu().double() * factor
    spacing = 2.0**-149 if exponent < -100 else 0.0
    error = (ours.S.cpu().double() - expected).abs()
    assert (error <= checks.SCALED_SIGMA_ERROR * expected + spacing).all(), f"off by {(error / expected).max():.2e}"


@pytest.mark.parametrize("driver", [None, "threadgroup", "block", "qr"])
@pytest.mark.parametrize("shape", [(16, 16), (32, 32)], ids=str)
def test_tiny_columns_do_not_rotate_forever(driver, shape, target):
    """The triangle of a matrix with repeated rows, transposed: columns whose squares are flushed to zero."""
    R = torch.linalg.qr(matrices.make("repeated_rows", *shape))[1]
    U, S, V = metalsvd.svd(R.mT.to(target), driver=driver)
    checks.assert_accurate(R.mT, U, S, V.mH)


def test_norms_of_right_vectors_do_not_drift(target):
    """Rank one takes many sweeps. A difference between the norms of columns of V would become one of their angle."""
    A = torch.stack([matrices.make("rank_one", 40, 40, torch.complex64, seed) for seed in range(40)])
    U, S, V = metalsvd.svd(A.to(target))
    for seed in range(40):
        checks.assert_accurate(A[seed], U[seed], S[seed], V[seed].mH, f"seed {seed}")


def test_norms_near_overflow(target):
    A = torch.full((6, 4), 2.0**124)
    S = metalsvd.svd(A.to(target)).S.cpu().double()
    assert math.isclose(S[0], 2.0**124 * math.sqrt(24), rel_tol=checks.SCALED_SIGMA_ERROR)
    assert (S[1:] <= checks.EPS * S[0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 5), (40, 9), (9, 40), (63, 63)], ids=str)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_bad_matrix_leaves_its_neighbours_alone(poison, shape, dtype, target):
    A = batch_of(["normal", "uniform", "geometric"], shape, dtype)
    checks.assert_only_one_is_not_finite(A, poison, target)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_alone_in_a_batch_and_again(dtype, target):
    A = batch_of(list(matrices.FAMILIES), (13, 11), dtype).to(target)
    first, again = metalsvd.svd(A), metalsvd.svd(A)
    for name in ("U", "S", "V"):
        checks.assert_same_bits(getattr(again, name), getattr(first, name), f"{name} again")
    for index in range(0, len(A), 5):
        alone = metalsvd.svd(A[index])
        for name in ("U", "S", "V"):
            checks.assert_same_bits(getattr(alone, name), getattr(first, name)[index], f"{name} alone")


def test_the_checks_see_a_wrong_answer(target):
    """The bounds are tight enough to matter: one part in a hundred thousand is too much."""
    A = matrices.make("normal", 10, 8)
    U, S, V = metalsvd.svd(A.to(target))
    with pytest.raises(AssertionError, match="sigma_error"):
        checks.assert_accurate(A, U, S * (1 + 1e-5), V.mH)
    with pytest.raises(AssertionError, match="u_orthogonality"):
        checks.assert_accurate(A, U * (1 + 1e-5), S, V.mH)
    with pytest.raises(AssertionError, match="residual"):
        checks.assert_accurate(A, U.flip(-1), S, V.mH)
