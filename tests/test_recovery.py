"""Left vectors that ``block`` has not accumulated: they follow from the right ones, and keep every promise."""

from __future__ import annotations

import math

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of

pytestmark = pytest.mark.kernels

# One panel and several; tall, wide and square, and long, of which the left vectors are those of R, to which Q is
# applied. The product has tiles of 64 rows and 64 real or 32 complex columns, or wide ones, of twice as many, where few
# places are left empty.
SHAPES = {
    torch.float32: [(20, 10), (45, 40), (40, 45), (66, 68), (132, 129), (20, 20), (70, 70), (131, 131), (264, 66)],
    torch.complex64: [(10, 12), (45, 40), (33, 70), (70, 66), (12, 12), (70, 70)],
}
SHAPES[torch.float32] += [(45, 10), (161, 40), (40, 161)]
SHAPES[torch.complex64] += [(50, 12), (30, 125)]
CASES = [(dtype, shape) for dtype, shapes in SHAPES.items() for shape in shapes]
SMALL = [(torch.float32, (45, 40)), (torch.float32, (40, 45)), (torch.float32, (40, 40)), (torch.complex64, (33, 50))]
SMALL += [(torch.float32, (161, 40)), (torch.float32, (100, 34)), (torch.complex64, (30, 125))]


@pytest.mark.parametrize(
    ("shape", "options", "recovers"),
    [
        ((255, 255), {}, False),
        ((256, 256), {}, True),
        ((256, 9000), {"dtype": torch.bfloat16}, True),
        ((9, 81, 300), {"dtype": torch.complex64, "full_matrices": True}, True),
        ((4096, 4096), {"compute_uv": False}, False),
        ((4096, 4096), {"driver": "block"}, False),
        ((100, 90), {"driver": "recover"}, True),
        ((3, 4), {"driver": "recover"}, True),
        ((100, 90), {"driver": "recover", "compute_uv": False}, False),
    ],
    ids=str,
)
def test_the_planner_recovers_the_left_vectors_of_many_columns(shape, options, recovers):
    words = metalsvd.plan(shape, **options)
    assert "block: " in words
    assert words.endswith(", left vectors from the right ones") == recovers


@pytest.mark.parametrize("shape", [(80, 80), (81, 80)], ids=str)
def test_other_methods_behind_the_qr_have_made_the_left_vectors(shape, target):
    A = matrices.make("normal", *shape, torch.complex64)
    assert "left vectors" not in metalsvd.plan(shape, torch.complex64, driver="qr")
    U, S, V = metalsvd.svd(A.to(target), driver="qr")
    checks.assert_accurate(A, U, S, V.mH)


@pytest.mark.parametrize(("dtype", "shape"), CASES, ids=str)
def test_every_family(dtype, shape, target):
    checks.assert_families_accurate(list(matrices.FAMILIES), shape, dtype, target, driver="recover")


@pytest.mark.parametrize(("dtype", "shape"), SMALL, ids=str)
def test_full_matrices(dtype, shape, target):
    families = ["normal", "half_rank", "zero", "zero_columns", "column_graded_12"]
    checks.assert_full_matrices_accurate(families, shape, dtype, target, driver="recover")


def assert_values_only_are_those_of_the_vectors(dtype, shape, target):
    A = batch_of(["normal", "half_rank", "geometric"], shape, dtype).to(target)
    values = metalsvd.svdvals(A, driver="recover")
    checks.assert_same_bits(values, metalsvd.svd(A, driver="recover").S, "S with and without vectors")


@pytest.mark.parametrize(("dtype", "shape"), SMALL, ids=str)
def test_values_only_are_those_of_the_vectors(dtype, shape, target):
    assert_values_only_are_those_of_the_vectors(dtype, shape, target)


@pytest.mark.parametrize("shape", [(42, 8), (3, 65), (7, 6), (1, 6)], ids=str)
def test_values_only_of_one_panel_have_room_for_the_matrix(shape, target):
    assert_values_only_are_those_of_the_vectors(torch.float32, shape, target)


@pytest.mark.parametrize("rows", [45, 40])
@pytest.mark.parametrize("dtype", list(SHAPES), ids=str)
def test_column_graded_singular_values_are_relatively_accurate(dtype, rows, target):
    A = matrices.make("column_graded_12", rows, 40, dtype)
    checks.assert_relatively_accurate(A, metalsvd.svd(A.to(target), driver="recover").S)


@pytest.mark.parametrize("rows", [45, 40])
@pytest.mark.parametrize("exponent", [-60, 60])
def test_scaling_changes_the_singular_values_alone(exponent, rows, target):
    A = matrices.make("normal", rows, 40, torch.float32).to(target)
    plain = metalsvd.svd(A, driver="recover")
    scaled = metalsvd.svd(A * 2.0**exponent, driver="recover")
    for name, expected, actual in zip("USV", plain, scaled, strict=True):
        checks.assert_same_bits(actual, expected * 2.0**exponent if name == "S" else expected, name)


@pytest.mark.parametrize(("dtype", "shape"), SMALL, ids=str)
def test_batches_runs_and_full_matrices_change_no_bit(dtype, shape, target):
    A = batch_of(["normal", "mixed_scales", "column_graded_12"], shape, dtype).to(target)
    checks.assert_same_bits_in_any_batch(A, range(3), driver="recover")
    whole = metalsvd.svd(A, driver="recover")
    checks.assert_full_extends_thin(metalsvd.svd(A, full_matrices=True, driver="recover"), whole)


@pytest.mark.parametrize("rows", [45, 40])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_bad_matrix_leaves_its_neighbours_alone(poison, rows, target):
    A = batch_of(["normal", "uniform", "geometric"], (rows, 40), torch.float32)
    checks.assert_only_one_is_not_finite(A, poison, target, entry=(2, 1), driver="recover")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_rounded_once(dtype, target):
    A = matrices.make("normal", 45, 40, torch.float32).to(dtype).to(target)
    checks.assert_halves_are_rounded_once(A, driver="recover")


def test_another_qr_factors_only_what_products_do_not_settle(emulated):
    def critical_barriers(diagonal):
        before = emulated.counters().critical_barriers
        metalsvd.svd(torch.diag(diagonal).to("mps"), driver="recover")
        return emulated.counters().critical_barriers - before

    n = 40  # two panels, which take a barrier a column
    full_rank = torch.arange(n, 0.0, -1.0)
    one_less = torch.cat([full_rank[:-1], torch.zeros(1)])
    settled, unsettled = critical_barriers(full_rank), critical_barriers(one_less)
    print("barriers of full rank and of one less:", settled, unsettled)
    assert unsettled - settled >= n


def falling(decades: float, n: int = 70) -> torch.Tensor:
    """Singular values that fall evenly over so many decades."""
    left, right = (torch.linalg.qr(matrices.make("normal", n, n, torch.float64, seed)).Q for seed in (1, 2))
    return ((left * torch.logspace(0, -decades, n, dtype=torch.float64)) @ right).float()


def test_what_products_leave_within_the_bound_is_settled(emulated):
    """The sum of defects was read as other numbers than were written: only matrices without any were settled."""

    def barriers_of_vectors(A):
        counts = []
        for vectors in (True, False):  # of the same sweeps
            before = emulated.counters().critical_barriers
            torch.ops.metalsvd.svd_ex(A.to("mps"), False, vectors, driver="recover")
            counts.append(emulated.counters().critical_barriers - before)
        return counts[0] - counts[1]

    settled = barriers_of_vectors(falling(4.5))
    assert barriers_of_vectors(falling(5)) == settled
    assert barriers_of_vectors(falling(7)) >= settled + 70
    # By the first of two steps.
    assert barriers_of_vectors(falling(2)) == barriers_of_vectors(falling(2.5)) < settled


def test_full_matrices_are_completed_beside_what_is_settled(target):
    """Settled by the first step of products, by the second, and by another QR; each has the bits of the thin ones."""
    A = torch.stack([falling(decades)[:, :34] for decades in (0, 4.5, 30)]).to(target)
    whole = metalsvd.svd(A, full_matrices=True, driver="recover")
    checks.assert_full_extends_thin(whole, metalsvd.svd(A, driver="recover"))
    for index in range(len(A)):
        U, S, V = (factor[index] for factor in whole)
        checks.assert_accurate(A[index].cpu(), U, S, V.mH, f"matrix {index}")


@pytest.mark.parametrize("decades", [3, 3.25, 3.5, 3.75, 4, 4.5, 5, 5.25, 5.5, 5.75, 6])
def test_left_vectors_are_orthonormal_on_both_sides_of_the_bounds(decades, target):
    A = falling(decades)
    U, S, V = metalsvd.svd(A.to(target), driver="recover")
    checks.assert_accurate(A, U, S, V.mH)


@pytest.mark.parametrize("smallest", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 0.0])
def test_one_small_singular_value_leaves_the_left_vectors_orthonormal(smallest, target):
    left, right = (torch.linalg.qr(matrices.make("normal", 70, 70, torch.float64, seed)).Q for seed in (1, 2))
    sigma = torch.linspace(1.0, 0.5, 70, dtype=torch.float64)
    sigma[-1] = smallest
    A = ((left * sigma) @ right).float()
    U, S, V = metalsvd.svd(A.to(target), driver="recover")
    checks.assert_accurate(A, U, S, V.mH)


def test_tiles_of_products_change_no_bit(target):
    A = batch_of(["normal", "half_rank"], (72, 70), torch.float32).to(target)
    factors = metalsvd.svd(A, driver="recover")  # fewer narrow tiles than cores
    for copies in (10, 20) if target.type == "mps" else (30, 70):  # more of them; a wide tile for each core
        whole = metalsvd.svd(A.repeat(copies, 1, 1), driver="recover")
        for name, expected, actual in zip("USV", factors, whole, strict=True):
            for index in (0, 1, 2 * copies - 2, 2 * copies - 1):
                checks.assert_same_bits(actual[index], expected[index % 2], f"{name} of {index}, {copies} copies")


def test_loosely_orthonormal_right_vectors_leave_no_residual(target):
    """R X = Z diag(sigma) (I + E): without the factor I - E, E = X^H X - I, the residual is that of X, not rounding."""
    A = matrices.make("normal", 129, 129, torch.float32)
    residuals = [
        float(torch.linalg.norm(A.double() - U.cpu().double() * S.cpu() @ V.cpu().double().mH))
        for U, S, V in (metalsvd.svd(A.to(target), driver="recover"), metalsvd.svd(A.to(target)))
    ]
    print("residual, accumulated and recovered:", residuals[::-1])
    assert residuals[0] <= 1.25 * residuals[1]
