"""The recovering kernels of method `simdgroup` (kernels/simdgroup_recover.h): those of GPUs whose lanes have registers
enough, which the emulator stands for if asked."""

from __future__ import annotations

import checks
import matrices
import metalsvd
import pytest
import torch

pytestmark = pytest.mark.usefixtures("wide_lanes")

# A SIMD-group a matrix, of the most rows and columns and of fewer rows than lanes hold; more SIMD-groups, of real
# matrices lines of blocks in them.
REAL, COMPLEX = torch.float32, torch.complex64
EIGHTHS = [(33, 33), (40, 40), (48, 35), (41, 41), (48, 48), (43, 50), (56, 49), (60, 43), (57, 62)]
REAL_SHAPES = [*EIGHTHS, (65, 65), (80, 74), (96, 90), (98, 97), (120, 113)]
SHAPES = [(shape, REAL) for shape in REAL_SHAPES]
SHAPES += [(shape, COMPLEX) for shape in [(21, 21), (32, 32), (25, 30), (40, 22), (33, 34), (66, 65)]]


def batch_of_all(shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    return matrices.batch_of(list(matrices.FAMILIES), shape, dtype, seed=3)


@pytest.mark.parametrize(("shape", "dtype"), SHAPES)
@pytest.mark.parametrize("full", [False, True])
def test_accurate_on_every_family(shape, dtype, full, target):
    A = batch_of_all(shape, dtype)
    found = metalsvd.svd_ex(A.to(target), full_matrices=full)
    for i, family in enumerate(matrices.FAMILIES):
        assert found.info[i] == 0
        checks.assert_accurate(A[i], found.U[i], found.S[i], found.Vh[i], family)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        *[(shape, REAL) for shape in [(36, 33), (41, 48), (50, 56), (64, 64), (80, 66), (90, 85)]],
        *[(shape, COMPLEX) for shape in [(23, 22), (33, 33)]],
    ],
)
def test_one_matrix_has_the_bits_that_it_has_in_a_batch(shape, dtype, target):
    """One has twice to sixteen times the lanes, and nobody to keep step with."""
    A = batch_of_all(shape, dtype).to(target)
    together = metalsvd.svd_ex(A, full_matrices=True)
    for i in range(len(A)):
        alone = metalsvd.svd_ex(A[i], full_matrices=True)
        for factor in ("U", "S", "V"):
            checks.assert_same_bits(getattr(alone, factor), getattr(together, factor)[i], f"{factor} of {i}")


@pytest.mark.parametrize("rows", [64, 65, 80])
@pytest.mark.parametrize("columns", [22, 31, 64])
def test_lines_of_one_complex_matrix_find_room(rows, columns, target):
    """Where lanes of four entries would need more threadgroup memory than their kernel has."""
    A = matrices.make("normal", rows, columns, COMPLEX)
    found = metalsvd.svd_ex(A.to(target))
    checks.assert_accurate(A, found.U, found.S, found.Vh)


@pytest.mark.parametrize(("shape", "dtype"), [((60, 43), REAL), ((70, 66), REAL), ((30, 22), COMPLEX)])
def test_thin_factors_are_those_of_full_ones(shape, dtype, target):
    A = batch_of_all(shape, dtype).to(target)
    thin = metalsvd.svd_ex(A, full_matrices=False)
    full = metalsvd.svd_ex(A, full_matrices=True)
    columns = min(shape)
    checks.assert_same_bits(thin.U, full.U[..., :columns], "U")
    checks.assert_same_bits(thin.S, full.S, "S")
    checks.assert_same_bits(thin.Vh, full.Vh[..., :columns, :], "Vh")
    checks.assert_same_bits(thin.S, metalsvd.svd_ex(A, compute_uv=False).S, "values only")


# Blocks of six columns, and of five, the last of which are not whole.
@pytest.mark.parametrize("shape", [(130, 129), (146, 152)])
@pytest.mark.parametrize("full", [False, True])
def test_wide_blocks_are_accurate(shape, full, target):
    families = ["normal", "half_rank", "column_graded_12", "clusters", "mixed_scales"]
    A = matrices.batch_of(families, shape, REAL, seed=3)
    found = metalsvd.svd_ex(A.to(target), full_matrices=full)
    alone = metalsvd.svd_ex(A[1].to(target), full_matrices=full)  # in twice the lanes, up to 144 rows
    for i, family in enumerate(families):
        checks.assert_accurate(A[i], found.U[i], found.S[i], found.Vh[i], family)
    for factor in ("U", "S", "Vh"):
        checks.assert_same_bits(getattr(alone, factor), getattr(found, factor)[1], factor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_rounded_once(dtype, target):
    A = matrices.batch_of(["normal", "geometric", "half_rank"], (50, 45), dtype, seed=1).to(target)
    half = metalsvd.svd_ex(A, full_matrices=False)
    single = metalsvd.svd_ex(A.float(), full_matrices=False)
    for factor in ("U", "S", "Vh"):
        assert torch.equal(getattr(half, factor), getattr(single, factor).to(dtype)), factor


def test_a_matrix_that_is_not_finite_spoils_no_other(target):
    A = matrices.batch_of(["normal"] * 3, (44, 44), REAL, seed=2)
    checks.assert_only_one_is_not_finite(A, float("inf"), target, entry=(5, 7))


@pytest.mark.parametrize("shape", [(33, 33), (48, 44)])
@pytest.mark.parametrize("place", [5, -1])
def test_a_matrix_that_is_not_finite_stops_none_that_keep_step_with_it(shape, place, target):
    """Threadgroups of several matrices (kernels/simdgroup_lockstep.h), the last of them with fewer."""
    A = matrices.batch_of(["normal"] * 33, shape, REAL, seed=2)
    checks.assert_only_one_is_not_finite(A, float("nan"), target, entry=(3, 1), place=place)


@pytest.mark.parametrize("shape", [(45, 45), (90, 80)])
def test_any_strides(shape, target):
    A = matrices.batch_of(["normal", "geometric"], shape, REAL, seed=5).to(target)
    expected = metalsvd.svd_ex(A)
    spaced = torch.zeros(2, 2 * shape[0], 3 * shape[1], device=target)[:, ::2, ::3]
    spaced.copy_(A)
    for strided in (A.mT.contiguous().mT, spaced):
        found = metalsvd.svd_ex(strided)
        for factor in ("U", "S", "Vh"):
            checks.assert_same_bits(getattr(expected, factor), getattr(found, factor), factor)


@pytest.mark.kernels
@pytest.mark.parametrize("job", [{"compute_uv": False}, {}, {"full_matrices": True}])
@pytest.mark.parametrize(
    ("shape", "dtype", "families"),
    [
        ((33, 34), REAL, ["half_rank", *16 * ["normal"]]),  # a SIMD-group a matrix, of which three keep step
        ((42, 41), REAL, ["half_rank", *8 * ["normal"]]),  # or two, and one alone
        ((46, 44), REAL, ["normal"]),  # few: sixteen lanes a column, in two SIMD-groups
        ((50, 49), REAL, ["half_rank"]),
        ((66, 65), REAL, ["half_rank", *2 * ["normal"]]),  # in three, of which the last has the block at rest alone
        ((68, 66), REAL, ["normal"]),  # few: in four and that of the block at rest
        ((73, 41), REAL, ["half_rank", *2 * ["normal"]]),  # the last with lanes that hold none
        ((98, 50), REAL, ["half_rank"]),  # sixteen lanes a pair, and a block at rest
        ((82, 41), REAL, ["normal"]),  # few: sixteen lanes a column
        ((98, 41), REAL, ["normal"]),  # in three of twice the lanes a column, whose entries are no whole vectors
        ((114, 41), REAL, ["normal"]),  # whose entries are
        ((130, 41), REAL, ["half_rank"]),  # few, of wide blocks: a pair has a whole SIMD-group
        ((130, 41), REAL, 5 * ["normal"]),
        ((146, 43), REAL, ["half_rank"]),  # blocks of an odd number of columns
        ((22, 21), COMPLEX, ["half_rank", *5 * ["normal"]]),
        ((25, 30), COMPLEX, ["half_rank"]),
        ((34, 33), COMPLEX, ["half_rank", "normal"]),
    ],
)
def test_no_race_no_stray_access_and_the_same_bits_in_every_order(shape, dtype, families, job, emulated, target):
    A = torch.stack([matrices.make(name, *shape, dtype) for name in families]).to(target)
    checks.assert_safe_in_every_order(A, emulated, checked_orders=("random",), driver="simdgroup", **job)


def test_matrices_keep_step_where_there_are_many_and_they_are_small(emulated):
    for shape, simdgroups in [((9, 40, 40), 2), ((17, 33, 33), 3), ((99, 48, 48), 8), ((99, 56, 56), 1)]:
        threadgroups = -(-shape[0] // simdgroups)
        assert f"{threadgroups} threadgroups of {32 * simdgroups} threads" in metalsvd.plan(shape, device="mps")


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [
        ((4, 32, 32), "svd_simdgroup_apart_16_f32"),
        ((8, 33, 33), "svd_recovering_eighths_40_16_f32"),
        ((9, 33, 33), "svd_recovering_eighths_40_8_f32"),
        ((9, 40, 40), "svd_recovering_eighths_40_8_f32"),
        ((9, 48, 33), "svd_recovering_eighths_48_8_f32"),
        ((9, 49, 40), "svd_simdgroups_16_f32"),
        ((9, 41, 41), "svd_recovering_eighths_48_8_f32"),
        ((1, 48, 48), "svd_recovering_eighths_48_16_f32"),
        ((9, 49, 41), "svd_recovering_eighths_56_8_f32"),
        ((1, 57, 57), "svd_recovering_eighths_64_16_f32"),
        ((9, 64, 64), "svd_recovering_eighths_64_8_f32"),
        ((1, 65, 65), "svd_recovering_blocks_80_16_f32"),
        ((9, 65, 65), "svd_recovering_blocks_72_8_f32"),
        ((9, 72, 41), "svd_recovering_blocks_72_8_f32"),
        ((9, 73, 41), "svd_recovering_blocks_80_8_f32"),
        ((1, 81, 65), "svd_recovering_blocks_96_16_f32"),
        ((9, 96, 81), "svd_recovering_blocks_96_8_f32"),
        ((2, 97, 97), "svd_recovering_blocks_112_16_f32"),
        ((1, 112, 112), "svd_recovering_blocks_112_16_f32"),
        ((2, 113, 97), "svd_recovering_blocks_128_16_f32"),
        ((1, 128, 128), "svd_recovering_blocks_128_16_f32"),
        ((1, 129, 129), "svd_recovering_blocks_144_32_f32"),
        ((2, 130, 144), "svd_recovering_blocks_144_16_f32"),
        ((1, 160, 129), "svd_recovering_blocks_160_16_f32"),
        ((2, 129, 50), "svd_recovering_eighths_56_16_f32"),  # of R
        ((2, 161, 129), "svd_recovering_blocks_144_16_f32"),
        ((2, 161, 160), "svd_recovering_blocks_160_16_f32"),
        ((9, 20, 20), "svd_simdgroups_10_c64"),
        ((9, 21, 21), "svd_recovering_12_c64"),
        ((9, 25, 25), "svd_recovering_16_c64"),
        ((1, 64, 64), "svd_recoverings_4_c64"),
        ((9, 40, 20), "svd_simdgroups_10_c64"),
        ((9, 40, 22), "svd_recoverings_24_c64"),
        ((9, 64, 64), "svd_recoverings_32_c64"),
        ((9, 80, 80), "svd_recoverings_24_c64"),
        ((9, 81, 80), "svd_recoverings_24_c64"),  # of R
    ],
)
def test_plans(shape, kernel, emulated):
    is_complex = kernel.endswith("c64")
    plan = metalsvd.plan(shape, COMPLEX if is_complex else REAL, device="mps")
    assert f"kernel {kernel}," in plan
    rows, columns = max(shape[1:]), min(shape[1:])
    assert plan.startswith("tall QR") == (rows > (80 if is_complex else 160 if columns > 128 else 128))
