"""Pairs of blocks that ``block`` meets in registers (kernels/block_held.h), where lanes have enough of them: behind the
QR, up to 288 real columns."""

from __future__ import annotations

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("wide_lanes")]

# Four blocks of five fours of columns, of six and of seven, some of which end in the middle of a SIMD-group.
SHAPES = [(66, 70), (90, 85), (102, 97)]
SMALL = (70, 66)
# The fewest columns that a SIMD-group holds a pair of small blocks of: of seven columns, of four, and of four whose
# entries are no whole vectors.
LARGE = (196, 193)
LARGER = (227, 225)
LARGEST = (258, 257)


@pytest.mark.parametrize(
    ("shape", "options", "blocks"),
    [
        ((129, 129), {"driver": "recover"}, "6 blocks of 24 columns, 5 rounds"),
        ((161, 161), {}, "6 blocks of 28 columns, 5 rounds"),
        ((700, 192), {}, "6 blocks of 32 columns, 5 rounds"),
        ((193, 193), {}, "8 blocks of 28 columns, 7 rounds"),
        ((225, 225), {}, "8 blocks of 32 columns, 7 rounds"),
        ((256, 9000), {"compute_uv": False}, "8 blocks of 32 columns, 7 rounds"),
        ((3, 66, 70), {"driver": "recover", "dtype": torch.bfloat16}, "4 blocks of 20 columns, 3 rounds"),
        ((257, 257), {}, "10 blocks of 28 columns, 9 rounds"),
        ((288, 288), {}, "10 blocks of 32 columns, 9 rounds"),
        ((289, 289), {}, None),
        ((64, 64), {"driver": "recover"}, None),
        ((200, 200), {"driver": "block"}, None),
        ((200, 200), {"driver": "recover", "dtype": torch.complex64}, None),
    ],
    ids=str,
)
def test_plans(shape, options, blocks, emulated):
    words = metalsvd.plan(shape, **options, device="mps")
    assert ("one step in registers" in words) == (blocks is not None)
    if blocks is not None:
        assert f"then block: {blocks} a sweep" in words
        assert words.endswith(", left vectors from the right ones") == options.get("compute_uv", True)


def test_lanes_of_an_apple_gpu_have_too_few_registers(emulated):
    with emulated.options(wide_lanes=False):
        assert "registers" not in metalsvd.plan((161, 161), device="mps")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_family(shape, target):
    checks.assert_families_accurate(list(matrices.FAMILIES), shape, torch.float32, target, driver="recover")


@pytest.mark.parametrize(
    ("shape", "families"), [(LARGE, ["normal", "half_rank"]), (LARGER, ["ones"]), (LARGEST, ["normal"])], ids=str
)
def test_the_tallest_columns(shape, families, target):
    checks.assert_families_accurate(families, shape, torch.float32, target)


def test_full_matrices(target):
    families = ["normal", "half_rank", "zero", "zero_columns", "column_graded_12"]
    checks.assert_full_matrices_accurate(families, SMALL, torch.float32, target, driver="recover")


def test_column_graded_singular_values_are_relatively_accurate(target):
    A = matrices.make("column_graded_12", *SMALL, torch.float32)
    checks.assert_relatively_accurate(A, metalsvd.svd(A.to(target), driver="recover").S)


def test_batches_values_only_and_runs_change_no_bit(target):
    A = batch_of(["normal", "mixed_scales", "half_rank"], SMALL, torch.float32).to(target)
    checks.assert_same_bits_in_any_batch(A, range(3), driver="recover")


def test_a_matrix_that_is_not_finite_leaves_its_neighbours_alone(target):
    A = batch_of(["normal", "uniform", "geometric"], SMALL, torch.float32)
    checks.assert_only_one_is_not_finite(A, float("nan"), target, entry=(2, 1), driver="recover")


@pytest.mark.parametrize(("shape", "driver"), [((66, 70), "recover"), (LARGE, None)], ids=str)
def test_no_race_no_stray_access_and_the_same_bits_in_every_order(shape, driver, emulated, target):
    A = matrices.make("half_rank" if driver else "ones", *shape, torch.float32).to(target)
    checks.assert_safe_in_every_order(A, emulated, checked_orders=("random",), driver=driver)
