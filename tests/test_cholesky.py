"""The QR of long matrices by Cholesky factors (kernels/cholesky.h): where it is accurate, and where reflectors are."""

from __future__ import annotations

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of

pytestmark = pytest.mark.kernels

WORDS = "QR by Cholesky factors, "
# Two panels and four, of which reflectors take over; one part of the rows and several; tall and wide.
SHAPES = [(90, 33), (300, 40), (64, 600), (530, 100), (300, 128)]


@pytest.mark.parametrize(
    ("shape", "options", "takes"),
    [
        ((33 * 256, 33), {}, True),
        ((3, 128, 128 * 256), {"compute_uv": False}, True),
        ((128 * 256 - 1, 128), {}, False),
        ((32 * 256, 32), {}, False),
        ((129 * 256, 129), {}, False),
        ((33 * 256, 33), {"dtype": torch.complex64}, False),
        ((33 * 256, 33), {"full_matrices": True}, False),
        ((90, 40), {"driver": "cholesky"}, True),
        ((90, 40), {}, False),
    ],
    ids=str,
)
def test_the_planner_takes_it_for_long_matrices(shape, options, takes):
    assert metalsvd.plan(shape, **options).startswith(WORDS) == takes


@pytest.mark.parametrize(
    ("shape", "dtype"), [((90, 32), torch.float32), ((300, 129), torch.float32), ((90, 40), torch.complex64)], ids=str
)
def test_what_it_is_not_for(shape, dtype):
    words = (
        "does not fit the driver 'cholesky', which is for reduced factors of real matrices of 33 to 128 rows or columns"
    )
    with pytest.raises(RuntimeError, match=words):
        metalsvd.plan(shape, dtype, driver="cholesky")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_family(shape, target):
    checks.assert_families_accurate(list(matrices.FAMILIES), shape, torch.float32, target, driver="cholesky")


@pytest.mark.parametrize("decades", [0, 1, 2, 3, 4, 6])
def test_any_condition(decades, target):
    """Small ones are settled, large ones left to reflectors, and those between the same to the eye."""
    A = matrices.make("normal", 400, 50).double()
    Q = torch.linalg.qr(matrices.make("normal", 50, 50).double()).Q
    A = (torch.linalg.qr(A).Q * 10 ** -torch.linspace(0, decades, 50, dtype=torch.float64) @ Q).float()
    U, S, V = metalsvd.svd(A.to(target), driver="cholesky")
    checks.assert_accurate(A, U, S, V.mH, f"10^{decades}")


def test_graded_columns_keep_their_digits(target):
    A = matrices.make("column_graded_12", 300, 50)
    checks.assert_relatively_accurate(A, metalsvd.svd(A.to(target), driver="cholesky").S)


@pytest.mark.parametrize("exponent", [60, -60])
def test_powers_of_two_change_nothing_else(exponent, target):
    A = matrices.make("normal", 200, 40).to(target)
    plain, scaled = metalsvd.svd(A, driver="cholesky"), metalsvd.svd(A * 2.0**exponent, driver="cholesky")
    checks.assert_same_bits(scaled.S, plain.S * 2.0**exponent, "S")
    checks.assert_same_bits(scaled.U, plain.U, "U")
    checks.assert_same_bits(scaled.V, plain.V, "V")


def test_the_same_bits_in_any_batch_with_and_without_vectors(target):
    """Settled matrices beside others, which takes both ways in one call."""
    A = batch_of(["normal", "half_rank", "column_graded_12", "zero"], (300, 70)).to(target)
    checks.assert_same_bits_in_any_batch(A, range(4), driver="cholesky")


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_matrix_that_is_not_finite_spoils_no_other(poison, target):
    A = batch_of(["normal", "normal", "half_rank"], (100, 34))
    checks.assert_only_one_is_not_finite(A, poison, target, entry=(2, 1), driver="cholesky")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_are_those_of_float32_rounded_once(dtype, target):
    A = matrices.make("normal", 100, 40).to(dtype).to(target)
    checks.assert_halves_are_rounded_once(A, driver="cholesky")


def test_long_matrices_take_it_by_default(target):
    A = matrices.make("normal", 33 * 256, 33)
    assert metalsvd.plan(A.shape).startswith(WORDS)
    U, S, V = metalsvd.svd(A.to(target))
    checks.assert_accurate(A, U, S, V.mH)
