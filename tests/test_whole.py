"""Sweeps of ``block`` that rotate all columns at once (kernels/whole.h): forced, and behind the QR of long matrices."""

from __future__ import annotations

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of

pytestmark = pytest.mark.kernels

# One subtile of 32 x 32 and several, full and not; tall, wide and square.
SHAPES = [(20, 10), (32, 32), (45, 40), (40, 66), (65, 65), (96, 96), (140, 97)]


@pytest.mark.parametrize(
    ("shape", "options", "makes"),
    [
        ((60, 50), {"driver": "whole"}, True),
        ((3, 1200, 1100), {"driver": "whole", "compute_uv": False}, True),
        ((65 * 256, 65), {}, True),
        ((65, 65 * 256), {"full_matrices": True}, True),
        ((65 * 256 - 1, 65), {}, False),
        ((512 * 256, 512), {}, True),
        ((513 * 256, 513), {}, False),
        ((64 * 256, 64), {}, False),
        ((65 * 256, 65), {"dtype": torch.complex64}, False),
        ((300, 300), {}, False),
        ((60, 50), {"driver": "recover"}, False),
    ],
    ids=str,
)
def test_the_planner_lets_long_matrices_make_them(shape, options, makes):
    words = metalsvd.plan(shape, **options)
    assert (", all columns at once first" in words) == makes


def test_complex_matrices_are_refused():
    with pytest.raises(
        RuntimeError, match="60x50 complex64 does not fit the driver 'whole', which is for real matrices"
    ):
        metalsvd.plan((60, 50), torch.complex64, driver="whole")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_family(shape, target):
    checks.assert_families_accurate(list(matrices.FAMILIES), shape, torch.float32, target, driver="whole")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_are_those_of_float32_rounded_once(dtype, target):
    A = matrices.make("normal", 45, 40).to(dtype).to(target)
    checks.assert_halves_are_rounded_once(A, driver="whole")


@pytest.mark.parametrize("shape", [(80, 70), (40, 45)], ids=str)
def test_full_matrices(shape, target):
    families = ["normal", "half_rank", "zero", "zero_columns", "column_graded_12"]
    checks.assert_full_matrices_accurate(families, shape, torch.float32, target, driver="whole")


@pytest.mark.parametrize("shape", [(70, 66), (45, 40)], ids=str)
def test_graded_columns_keep_their_digits(shape, target):
    A = matrices.make("column_graded_12", *shape)
    checks.assert_relatively_accurate(A, metalsvd.svd(A.to(target), driver="whole").S)


def test_the_same_bits_in_any_batch_with_and_without_vectors(target):
    """Of many matrices threadgroups make four subtiles of a product each, rather than one."""
    A = batch_of(["normal", "half_rank", "column_graded_12", "zero"] * 12, (70, 68)).to(target)
    checks.assert_same_bits_in_any_batch(A, range(4), driver="whole")


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_matrix_that_is_not_finite_spoils_no_other(poison, target):
    A = batch_of(["normal", "normal", "half_rank"], (36, 34))
    checks.assert_only_one_is_not_finite(A, poison, target, entry=(2, 1), driver="whole")


@pytest.mark.parametrize("n", [256, 245])
def test_sweeps_that_do_not_suffice_are_followed_by_those_of_tables(n, target):
    """Some 35 are needed for so large a triangle of ones: angles between all columns are large, and shortened."""
    A = torch.ones(n, n).triu()
    U, S, V = metalsvd.svd(A.to(target), driver="whole")
    checks.assert_accurate(A, U, S, V.mH)
