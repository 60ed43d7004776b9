"""R of square matrices by block reflectors: panels that no one Cholesky factor makes orthonormal, and the promises."""

from __future__ import annotations

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of

pytestmark = pytest.mark.kernels

WORDS = "QR by block reflectors, "


@pytest.mark.parametrize(
    ("shape", "options", "reflects"),
    [
        ((512, 512), {}, False),
        ((513, 513), {}, True),
        ((3, 600, 600), {"compute_uv": False}, True),
        ((256, 256), {"dtype": torch.complex64}, False),
        ((257, 257), {"full_matrices": True, "dtype": torch.complex64}, True),
        ((1024, 1023), {}, True),
        ((600, 256), {"compute_uv": False}, True),
        ((600, 255), {}, False),
        ((513, 2052), {"full_matrices": True}, True),
        ((2053, 513), {}, False),
        ((33, 33), {"driver": "recover"}, True),
        ((33, 33), {"driver": "recover", "compute_uv": False}, True),
        ((32, 32), {"driver": "recover"}, False),
        ((17, 17), {"driver": "recover", "dtype": torch.complex64}, True),
        ((1024, 1024), {"driver": "block"}, False),
    ],
    ids=str,
)
def test_the_planner_takes_them_where_q_is_not_needed(shape, options, reflects):
    assert metalsvd.plan(shape, **options).startswith(WORDS) == reflects


def points(n: int) -> torch.Tensor:
    return torch.linspace(0, 1, n, dtype=torch.float64)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def smooth_kernel(n):
    return torch.exp(-3 * (points(n)[:, None] - points(n)) ** 2)


def cosines(n):
    return torch.cos(0.1 * torch.outer(points(n), torch.arange(n, dtype=torch.float64)))


def exponentials(n):
    return torch.exp(-5 * torch.outer(points(n), points(n)))


def cauchy(n):
    return 1 / (points(n)[:, None] + points(n) + 0.5)


def nearly_parallel(n):
    return random(n, 1) + 1e-5 * random(n, n)


def copies_with_noise(n):
    return random(n, 3).repeat(1, n)[:, :n] + 1e-7 * random(n, n)


def copies(n):
    return random(n, 5).repeat(1, n)[:, :n]


def growing_triangle(n):
    """No pivot of the Cholesky factor of the Gram matrix is small, and its inverse grows as 2^n."""
    return torch.eye(n, dtype=torch.float64) - torch.triu(torch.ones(n, n, dtype=torch.float64), 1)


def unit_vectors_and_zeros(n):
    """What a column of zeros is replaced by may be a column already."""
    return torch.diag((torch.arange(n) % 3 > 0).double())


def integers(n):
    return torch.randint(-1, 2, (n, n), generator=torch.Generator().manual_seed(7)).double()


def scaled_columns(n):
    return cosines(n) * torch.logspace(-12, 0, n, dtype=torch.float64)


def tiny_remainders(n):
    """What the first column leaves of the others has squares that are denormal."""
    A = 1e-20 * random(n, n)
    A[0] += 1
    return A


HARD = [
    tiny_remainders,
    smooth_kernel,
    cosines,
    exponentials,
    cauchy,
    nearly_parallel,
    copies_with_noise,
    copies,
    growing_triangle,
    unit_vectors_and_zeros,
    integers,
    scaled_columns,
]
SHAPES = [(torch.float32, 33, 33), (torch.float32, 70, 70), (torch.float32, 131, 131), (torch.float32, 140, 66)]
SHAPES += [(torch.complex64, 35, 35), (torch.complex64, 90, 35)]


@pytest.mark.parametrize(("dtype", "rows", "columns"), SHAPES, ids=str)
@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
def test_panels_of_nearly_dependent_columns(make, dtype, rows, columns, target):
    A = make(rows)[:, :columns].to(dtype)
    if dtype.is_complex:
        A *= matrices.random_phases(rows, torch.Generator().manual_seed(1)).to(dtype)[:, None]
    U, S, V = metalsvd.svd(A.to(target), driver="recover")
    checks.assert_accurate(A, U, S, V.mH, make.__name__)


def test_squares_of_columns_may_be_denormal(emulated, target):
    """Their inverses overflowed on a GPU that does not flush them: S was NaN where columns depend on others exactly."""
    others = batch_of(["ones", "zero_rows", "kahan", "repeated_rows"], (70, 70), torch.float32)
    A = torch.cat([others, tiny_remainders(70).float()[None]])
    with emulated.options(keep_denormals=True):
        U, S, V = metalsvd.svd(A.to(target), driver="recover")
    for index in range(len(A)):
        checks.assert_accurate(A[index], U[index], S[index], V[index].mH, f"matrix {index}")


def test_tiles_of_rows_that_a_threadgroup_takes_change_no_bit(emulated, target):
    """On a GPU of one core threadgroups take some tiles of rows, one after the other, the more the larger the batch."""
    A = batch_of(["normal", "half_rank"], (132, 132), torch.float32).to(target)
    with emulated.options(wide_lanes=True):
        whole = metalsvd.svdvals(A.repeat(2, 1, 1), driver="recover")
        for index in range(4):
            checks.assert_same_bits(whole[index], metalsvd.svdvals(A[index % 2], driver="recover"), f"S of {index}")


# The first panels of each need more than one pass, those of random numbers one.
@pytest.mark.parametrize(
    ("make", "n", "dtype"),
    [(smooth_kernel, 36, torch.float32), (random, 36, torch.float32), (copies, 18, torch.complex64)],
    ids=["smooth_kernel", "random", "copies"],
)
def test_no_race_no_stray_access_and_the_same_bits_in_every_order(make, n, dtype, emulated, target):
    A = (make(n, n) if make is random else make(n)).to(dtype).to(target)
    checks.assert_safe_in_every_order(A, emulated, ("random",), compute_uv=False, driver="recover")
