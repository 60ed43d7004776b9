"""Method `block`: the promises of tests/checks.py at sizes that test it (small ones, forced) and that need it."""

from __future__ import annotations

import math

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of
from test_accuracy import DTYPES

pytestmark = pytest.mark.kernels

# Single columns, one pair of blocks, tall and wide, the first size with more pairs than one.
SHAPES = [(1, 1), (5, 5), (6, 1), (20, 7), (7, 20), (33, 33)]
# The last size of one pair, several rounds, padding (complex: 70 columns are 5 blocks of 14), one chunk of rows and
# several.
LARGE_SHAPES = [(32, 32), (40, 40), (96, 70), (128, 20), (9, 257)]
# Real tables of 64 columns: rows that are not whole fours, full blocks, and more than pairs of these.
WIDE_SHAPES = [(131, 66), (128, 128), (198, 195)]
LARGE_FAMILIES = ["normal", "row_graded_12", "zero_rows", "exact_half_rank", "clusters"]
# The first squares and panels of 3 columns that threadgroup memory does not hold, and several pairs in two chunks.
BOUNDARIES = {torch.float32: [(89, 89), (2717, 3), (34, 257)], torch.complex64: [(64, 64), (3, 1360)]}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_family(shape, dtype, target):
    checks.assert_families_accurate(list(matrices.FAMILIES), shape, dtype, target, driver="block")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LARGE_SHAPES, ids=str)
def test_hard_families_at_larger_sizes(shape, dtype, target):
    checks.assert_families_accurate(LARGE_FAMILIES, shape, dtype, target, driver="block")


@pytest.mark.parametrize("shape", WIDE_SHAPES, ids=str)
def test_hard_families_in_pairs_of_64_columns(shape, target):
    checks.assert_families_accurate(LARGE_FAMILIES, shape, torch.float32, target, driver="block")


@pytest.mark.parametrize(
    ("dtype", "shape"), [(dtype, shape) for dtype in DTYPES for shape in BOUNDARIES[dtype]], ids=str
)
def test_the_first_sizes_beyond_threadgroup_memory(shape, dtype, target):
    checks.assert_families_accurate(["half_rank"], shape, dtype, target)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (6, 4), (4, 6), (40, 20), (20, 33)], ids=str)
def test_full_matrices(shape, dtype, target):
    checks.assert_full_matrices_accurate(list(matrices.FAMILIES), shape, dtype, target, driver="block")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 5), (20, 7), (7, 20), (36, 36)], ids=str)
def test_values_only_are_those_of_the_vectors(shape, dtype, target):
    A = batch_of(["normal", "half_rank", "geometric"], shape, dtype).to(target)
    values = metalsvd.svdvals(A, driver="block")
    checks.assert_same_bits(values, metalsvd.svd(A, driver="block").S, "S with and without vectors")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8, 8), (24, 24), (60, 20), (64, 50)], ids=str)
def test_column_graded_singular_values_are_relatively_accurate(shape, dtype, target):
    """What Gram matrices are suspected of losing: singular values 12 decades below the largest."""
    for seed in range(2):
        A = matrices.make("column_graded_12", *shape, dtype, seed)
        checks.assert_relatively_accurate(A, metalsvd.svdvals(A.to(target), driver="block"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [60, -60, 120], ids="2^{}".format)
def test_scaling_changes_only_the_singular_values(exponent, dtype, target):
    A = matrices.make("normal", 36, 35, dtype)
    plain = metalsvd.svd(A.to(target), driver="block")
    scaled = metalsvd.svd((A * 2.0**exponent).to(target), driver="block")
    checks.assert_same_bits(scaled.U, plain.U, "U")
    checks.assert_same_bits(scaled.V, plain.V, "V")
    checks.assert_same_bits(scaled.S, plain.S * 2.0**exponent, "S")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 5), (9, 40), (34, 34)], ids=str)
@pytest.mark.parametrize("full", [False, True], ids=["thin", "full"])
def test_a_bad_matrix_leaves_its_neighbours_alone(full, shape, dtype, target):
    A = batch_of(["normal", "uniform", "half_rank"], shape, dtype)
    for poison in (math.nan, math.inf):
        checks.assert_only_one_is_not_finite(A, poison, target, full_matrices=full, driver="block")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(13, 11)], ids=str)
def test_same_bits_alone_in_a_batch_and_again(shape, dtype, target):
    A = batch_of(list(matrices.FAMILIES), shape, dtype).to(target)
    first, again = metalsvd.svd(A, driver="block"), metalsvd.svd(A, driver="block")
    for name in ("U", "S", "V"):
        checks.assert_same_bits(getattr(again, name), getattr(first, name), f"{name} again")
    for index in range(0, len(A), 5):
        alone = metalsvd.svd(A[index], driver="block")
        for name in ("U", "S", "V"):
            checks.assert_same_bits(getattr(alone, name), getattr(first, name)[index], f"{name} alone")


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_whether_a_round_is_one_step_or_two(dtype, target):
    A = batch_of(["normal", "half_rank"] * 40, (129, 33), dtype).to(target)  # 3 blocks each, one of which rests
    assert "of one step" in metalsvd.plan(A.shape, dtype, driver="block")
    assert "of two steps" in metalsvd.plan(A.shape[1:], dtype, driver="block")
    together = metalsvd.svd(A, driver="block")
    for index in range(2):
        alone = metalsvd.svd(A[index], driver="block")
        for name in ("U", "S", "V"):
            checks.assert_same_bits(getattr(alone, name), getattr(together, name)[index], name)


def test_same_bits_whether_a_round_of_wide_pairs_is_two_steps_or_three(target):
    """One of them takes so many sweeps that the last ones are of two steps anyhow."""
    shape = (190, 66)
    copies = 11 if target.type == "mps" else 35  # two tables each, more than cores
    A = batch_of(["normal", "half_rank"] * copies, shape, torch.float32)
    A[2] *= matrices.decades(shape[0], 24).float()[:, None]
    A = A.to(target)
    assert "of three steps" in metalsvd.plan(A.shape, driver="block")
    assert "of two steps" in metalsvd.plan(shape, driver="block")
    together = metalsvd.svd(A, driver="block")
    for index in range(3):
        alone = metalsvd.svd(A[index], driver="block")
        for name in ("U", "S", "V"):
            checks.assert_same_bits(getattr(alone, name), getattr(together, name)[index], name)


def slow_to_converge(n, dtype=torch.float32):
    """Rows graded over 24 decades: 13 to 20 sweeps, and so some of those in which groups of blocks meet."""
    A = matrices.make("normal", n, n, dtype)
    return A * matrices.decades(n, 24).to(A.real.dtype)[:, None]


@pytest.mark.parametrize(("dtype", "n"), [(torch.float32, 80), (torch.complex64, 80), (torch.float32, 160)], ids=str)
def test_sweeps_in_which_groups_of_blocks_meet(dtype, n, emulated, target):
    """80 complex columns are two groups of 3 blocks; real ones are two of 2 blocks, 160 two of 3."""
    A = slow_to_converge(n, dtype)
    factors = metalsvd.svd_ex(A.to(target), driver="block")
    assert factors.info.item() == 0
    checks.assert_accurate(A, factors.U, factors.S, factors.Vh)
    with emulated.options(order="random", check_memory=n == 80):
        again = metalsvd.svd_ex(A.to(target), driver="block")
    for name in ("U", "S", "V"):
        checks.assert_same_bits(getattr(again, name), getattr(factors, name), f"{name}, random order")


def test_singular_values_that_agree_to_rounding_take_fewer_sweeps_than_random_ones(emulated, target):
    """Barriers tell sweeps. Angles between such columns are never small, which once asked for one sweep after another:
    2048x2048 took up to eight times as long as a random matrix, 4096x4096 twelve times."""
    n = 160

    def barriers(A: torch.Tensor) -> int:
        emulated.reset_counters()
        factors = metalsvd.svd_ex(A.to(target), driver="block")
        barriers = emulated.counters().barriers
        checks.assert_accurate(A, factors.U, factors.S, factors.Vh)
        return barriers

    generator = torch.Generator().manual_seed(0)
    sigma = torch.linspace(1, 1 + 1e-5, n, dtype=torch.float64)
    close = barriers(matrices.with_spectrum(sigma, n, n, generator).float())
    random = barriers(matrices.make("normal", n, n))
    assert close <= 0.75 * random, f"{close} barriers, {random} of a random matrix"


@pytest.mark.parametrize(("family", "most"), [("kahan", 1.5), ("row_graded_12", 4)])
def test_graded_rows_are_sorted_in_late_sweeps_too(family, most, emulated, target):
    """Barriers tell sweeps. Once only the first sweeps sorted columns, and the Kahan matrix of 523 columns, without a
    QR in front, did not converge within 40 of them."""
    n = 100

    def barriers(A: torch.Tensor) -> int:
        emulated.reset_counters()
        metalsvd.svd_ex(A.to(target), driver="block")
        return emulated.counters().barriers

    graded, random = (barriers(matrices.make(name, n, n)) for name in (family, "normal"))
    assert graded <= most * random, f"{graded} barriers, {random} of a random matrix"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("full", [False, True], ids=["thin", "full"])
@pytest.mark.parametrize("shape", [(33, 33), (12, 40), (3, 40, 12)], ids=str)
def test_half_types_are_float32_rounded_once(shape, full, dtype, target):
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    A[..., -1] = 0  # a column to complete
    checks.assert_halves_are_rounded_once(A.to(target), full, driver="block")


@pytest.mark.parametrize("full", [False, True], ids=["thin", "full"])
def test_any_strides(full, target):
    room = torch.randn(3, 80, 100, generator=torch.Generator().manual_seed(0)).to(target)
    strided = room.mT[:, ::2, ::3]  # 50 x 27, neither of its strides 1
    ours = metalsvd.svd(strided, full, driver="block")
    plain = metalsvd.svd(strided.contiguous(), full, driver="block")
    for name in ("U", "S", "V"):
        checks.assert_same_bits(getattr(ours, name), getattr(plain, name), name)


def test_torch_linalg_svd_takes_what_no_threadgroup_holds(target):
    A = torch.randn(130, 130, generator=torch.Generator().manual_seed(0))
    checks.assert_accurate(A, *torch.linalg.svd(A.to(target)))


@pytest.mark.parametrize("options", [{}, {"compute_uv": False}], ids=["thin", "values"])
@pytest.mark.parametrize("shape", [(288, 160), (128, 128)], ids=str)
def test_costs(shape, options, emulated, target):
    """Dispatches as planned, no wait, and at most 3 times the memory of A beside A and the factors."""
    A = torch.randn(shape).to(target)  # 5 or 4 blocks of 32 columns; at last 2 groups of up to 3, all sweeps at once
    rounds, panels = 5 if shape[1] > 128 else 3, shape[1] // 32
    emulated.reset_counters()
    before = emulated.memory().live
    emulated.reset_peak_memory()
    factors = torch.ops.metalsvd.svd_ex(A, **options, driver="block")
    counters, peak = emulated.counters(), emulated.memory().peak
    full_sweeps, one_step_sweeps, ends = 10, 2, 4 if options else 4 + 1 + 2 * panels - 1 + 1
    assert counters.dispatches == full_sweeps * rounds * 2 + one_step_sweeps * rounds + 1 + ends
    assert counters.host_waits == 0
    workspace = peak - before - sum(factor.nbytes for factor in factors)
    assert workspace <= 3 * A.nbytes


def test_zero_columns_do_not_change_seats_with_columns_that_are_not_there(target):
    """Seven blocks of 29 columns leave seats empty; what took them for columns lost vectors of V, and U's were NaN."""
    checks.assert_families_accurate(["ones", "zero_columns"], (198, 197), torch.float32, target, driver="block")


# An odd number of blocks, of which one rests, and an even one; pairs of blocks at a table, and more.
@pytest.mark.parametrize(
    ("shape", "families", "copies"),
    [
        ((150, 70), ["normal", "half_rank", "clusters"], 12),
        ((135, 100), ["normal", "half_rank", "clusters"], 12),
        ((200, 195), ["normal"], 6),
    ],
    ids=str,
)
def test_rounds_of_two_steps_give_the_bits_of_rounds_of_three(shape, families, copies, target):
    """One matrix takes two steps a round, in which many threadgroups solve for one table; many take three."""
    A = batch_of(families, shape, torch.float32).to(target)
    many = metalsvd.svd(A.repeat(copies, 1, 1), driver="block")
    for index in range(len(families)):
        for name, expected, actual in zip("USV", metalsvd.svd(A[index], driver="block"), many, strict=True):
            checks.assert_same_bits(actual[index], expected, f"{name} of {index}")
            checks.assert_same_bits(actual[index - len(families)], expected, f"{name} of the last copy of {index}")
