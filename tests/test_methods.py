"""Every method for small matrices keeps every promise on the sizes that it fits, chosen by the planner or not."""

from __future__ import annotations

import math

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of

pytestmark = pytest.mark.kernels

# Around the limits of each method and of its kernels: up to 6 rows; 8 and 16 rows and columns, 32 and 64 rows.
TINY_SHAPES = [(1, 1), (1, 2), (1, 4), (4, 1), (2, 2), (2, 3), (3, 3), (4, 3), (4, 4)]
SMALL_SHAPES = [(5, 5), (7, 8), (8, 8), (9, 8), (10, 9), (16, 16), (17, 16), (32, 5), (5, 32), (64, 3), (32, 15)]
THREAD_SHAPES = [(5, 5), (6, 6), (6, 4), (3, 5)]
REAL_SHAPES = [(12, 11), (13, 13), (17, 17), (20, 24), (25, 25), (32, 32), (33, 16), (15, 64)]
# Method `simdgroup` spreads them over two SIMD-groups and more.
SPREAD_SHAPES = [(21, 21), (24, 33), (33, 33), (41, 40), (41, 41), (43, 50), (5, 400)]
COMPLEX_SPREAD_SHAPES = [(11, 11), (17, 17), (21, 24), (65, 9)]
SHAPES = {
    ("thread", torch.float32): TINY_SHAPES + THREAD_SHAPES,
    ("thread", torch.complex64): TINY_SHAPES,
    ("simdgroup", torch.float32): TINY_SHAPES + SMALL_SHAPES + REAL_SHAPES + SPREAD_SHAPES,
    ("simdgroup", torch.complex64): TINY_SHAPES + SMALL_SHAPES + COMPLEX_SPREAD_SHAPES,
    ("threadgroup", torch.float32): TINY_SHAPES + SMALL_SHAPES + REAL_SHAPES,
    ("threadgroup", torch.complex64): TINY_SHAPES + SMALL_SHAPES + REAL_SHAPES,
}

# One size of each method that has null and missing columns to complete, and more matrices than a threadgroup takes.
SAMPLES = {"thread": (4, 3), "simdgroup": (11, 6), "threadgroup": (11, 6)}
ODD_BATCHES = {"thread": 131, "simdgroup": 13, "threadgroup": 3}
JOBS = [{"compute_uv": False}, {}, {"full_matrices": True}]


def random_batch(count: int, shape: tuple[int, int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, *shape, dtype=dtype, generator=torch.Generator().manual_seed(count))


def assert_same_factors(actual, expected, label: str) -> None:
    for name in ("U", "S", "V"):
        checks.assert_same_bits(getattr(actual, name), getattr(expected, name), f"{name} {label}")


@pytest.mark.parametrize(
    ("driver", "dtype", "shape"), [(*key, shape) for key, shapes in SHAPES.items() for shape in shapes], ids=str
)
def test_every_family(driver, shape, dtype, target):
    names = list(matrices.FAMILIES)
    A = batch_of(names, shape, dtype).to(target)
    values, thin, full = (metalsvd.svd(A, **job, driver=driver) for job in JOBS)
    checks.assert_same_bits(values.S, thin.S, "S of values and thin")
    checks.assert_full_extends_thin(full, thin)
    for index, name in enumerate(names):
        checks.assert_accurate(A[index], full.U[index], full.S[index], full.Vh[index], name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize(
    ("shape", "drivers"),
    [
        ((4, 4), ["thread", "simdgroup", "threadgroup"]),
        ((3, 4), ["thread", "simdgroup", "threadgroup"]),
        ((8, 8), ["simdgroup", "threadgroup"]),
        ((7, 32), ["simdgroup", "threadgroup"]),
    ],
    ids=str,
)
def test_methods_agree(shape, drivers, dtype, target):
    """Vectors too: their signs are fixed, and these singular values are well apart."""
    generator = torch.Generator().manual_seed(0)
    A = matrices.with_spectrum(torch.linspace(2, 1, min(shape), dtype=torch.float64), *shape, generator).to(dtype)
    first, *others = (metalsvd.svd(A.to(target), driver=driver) for driver in drivers)
    for driver, other in zip(drivers[1:], others, strict=True):
        for name in ("U", "S", "V"):
            distance = (getattr(other, name) - getattr(first, name)).abs().max().item()
            assert distance <= checks.METHOD_DISTANCE, f"{name} of {driver} and {drivers[0]}: {distance:.2e} apart"


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize(
    "shape",
    [(8, 8), (7, 12), (16, 16), (30, 5), (18, 18), (20, 17), (24, 23), (32, 32), (40, 21), (33, 36), (50, 12)],
    ids=str,
)
def test_few_matrices_have_the_bits_that_they_have_among_many(shape, dtype, target):
    """They are held by more lanes, and have neighbours that take fewer sweeps or more. Zeros have no signs."""
    names = ["normal", "half_rank", "normal", "zero_columns", "geometric", "clusters", "normal", "mixed_scales"]
    A = torch.cat([batch_of(names, shape, dtype), random_batch(33, shape, dtype)])
    A[-33:][A[-33:].real > 0.5] *= -0.0
    A = A.to(target)
    many = metalsvd.svd(A, full_matrices=True, driver="simdgroup")
    for index in range(len(names) + 2):
        few = metalsvd.svd(A[index : index + 1], full_matrices=True, driver="simdgroup")
        for name in ("U", "S", "V"):
            checks.assert_same_bits(getattr(few, name)[0], getattr(many, name)[index], f"{name} of {index}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("driver", SAMPLES)
def test_the_largest_entry_of_each_column_of_U_is_positive(driver, dtype, target):
    m, n = SAMPLES[driver]
    for shape in [(m, n), (n, m)]:
        U = metalsvd.svd(random_batch(5, shape, dtype).to(target), driver=driver).U.cpu()
        largest = U.gather(-2, U.abs().argmax(-2, keepdim=True))
        assert (largest.real > 0).all()
        if dtype.is_complex:
            assert (largest.imag.abs() <= checks.EPS_FACTOR * checks.EPS).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize(
    ("driver", "shape"),
    [("thread", (4, 4)), ("simdgroup", (8, 8)), ("threadgroup", (16, 16)), ("simdgroup", (60, 7))],
    ids=str,
)
def test_column_graded_singular_values_are_relatively_accurate(driver, shape, dtype, target):
    for seed in range(3):
        A = matrices.make("column_graded_12", *shape, dtype, seed)
        checks.assert_relatively_accurate(A, metalsvd.svd(A.to(target), driver=driver).S)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("exponent", [60, -90], ids="2^{}".format)
@pytest.mark.parametrize("driver", SAMPLES)
def test_scaling_changes_only_the_singular_values(driver, exponent, dtype, target):
    A = random_batch(3, SAMPLES[driver], dtype).to(target)
    plain, scaled = metalsvd.svd(A, driver=driver), metalsvd.svd(A * 2.0**exponent, driver=driver)
    checks.assert_same_bits(scaled.U, plain.U, "U")
    checks.assert_same_bits(scaled.S, plain.S * 2.0**exponent, "S")
    checks.assert_same_bits(scaled.V, plain.V, "V")


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex32], ids=str)
@pytest.mark.parametrize("driver", SAMPLES)
def test_half_types_are_float32_rounded_once(driver, dtype, target):
    wide = torch.complex64 if dtype.is_complex else torch.float32
    A = batch_of(["normal", "half_rank", "zero"], SAMPLES[driver], wide).to(dtype).to(target)
    for job in JOBS:
        actual, expected = (metalsvd.svd(X, **job, driver=driver) for X in (A, A.to(wide)))
        for name in ("U", "S", "V"):
            rounded = getattr(expected, name).cpu().to(getattr(actual, name).dtype)
            # Widened again, which is exact: not every operator takes complex halves.
            checks.assert_same_bits(
                getattr(actual, name).cpu().to(getattr(expected, name).dtype),
                rounded.to(getattr(expected, name).dtype),
                f"{name} {job}",
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("driver", SAMPLES)
def test_same_bits_alone_in_any_batch_and_again(driver, dtype, target):
    A = random_batch(ODD_BATCHES[driver], SAMPLES[driver], dtype).to(target)
    full = {"full_matrices": True, "driver": driver}
    whole = metalsvd.svd(A, **full)
    assert_same_factors(metalsvd.svd(A, **full), whole, "again")
    for index in (0, len(A) // 2, len(A) - 1):
        alone = metalsvd.svd(A[index], **full)
        for name in ("U", "S", "V"):
            checks.assert_same_bits(getattr(alone, name), getattr(whole, name)[index], f"{name} of {index} alone")
    for count in (0, 1, 3):
        some = metalsvd.svd(A[:count], **full)
        for name in ("U", "S", "V"):
            checks.assert_same_bits(getattr(some, name), getattr(whole, name)[:count], f"{name} of {count}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("driver", SAMPLES)
def test_a_bad_matrix_leaves_its_neighbours_alone(driver, poison, dtype, target):
    A = random_batch(3, SAMPLES[driver], dtype)
    checks.assert_only_one_is_not_finite(A, poison, target, entry=(2, 1), full_matrices=True, driver=driver)


@pytest.mark.parametrize(("shape", "seed"), [((4, 5), 1071), ((5, 4), 1071), ((23, 21), 1)])
def test_columns_that_complete_a_factor_have_unit_length(shape, seed, target):
    """As exactly as all others: once they were as long as the reflectors' rounding errors left them."""
    A = matrices.make("scaled_clusters", *shape, torch.complex64, seed).to(target)
    U, _, Vh, _ = torch.ops.metalsvd.svd_ex(A, True, True)
    for factor in (U.cpu().to(torch.complex128), Vh.cpu().to(torch.complex128)):
        distance = (factor.mH @ factor - torch.eye(factor.shape[0])).abs().max().item()
        assert distance <= 4 * 2.0**-24 * max(shape) ** 0.5, distance


@pytest.mark.parametrize("family", ["row_graded_12", "column_graded_12", "geometric", "kahan", "vandermonde"])
def test_pivoting_saves_the_sweeps_of_graded_matrices(family, emulated, target):
    """Barriers tell sweeps: as many for these as for a random matrix, while Jacobi on A itself takes up to three times
    as many (row_graded_12: 21 sweeps, normal: 9)."""

    def barriers(name: str) -> int:
        A = matrices.make(name, 48, 48).to(target)
        emulated.reset_counters()
        metalsvd.svd_ex(A, driver="threadgroup")
        return emulated.counters().barriers

    assert barriers(family) <= barriers("normal")
