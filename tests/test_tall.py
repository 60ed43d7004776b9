"""The tall QR in front of a method: the accuracy promise through trees of one, two and three levels, and its costs."""

from __future__ import annotations

import contextlib
import math
import re

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of
from metalsvd import _accuracy

pytestmark = pytest.mark.kernels

DTYPES = [torch.float32, torch.complex64]

# Levels of the tree, by shape: chunks have 512 rows, 256 of complex numbers, and 16 R's of a full panel meet in a node.
ONE_LEVEL = [(1, 1), (24, 24), (40, 7), (7, 40), (33, 32)]
TWO_LEVELS = [(513, 1), (1030, 5), (5, 1030)]
THREE_LEVELS = {torch.float32: [(8200, 32), (30, 8200)], torch.complex64: [(4100, 16), (16, 4100)]}
# Around the most columns of a panel, 32 or 16, and of two of them.
PANELS = {
    torch.float32: [
        ((40, 31), 1),
        ((40, 32), 1),
        ((40, 33), 2),
        ((33, 40), 2),
        ((70, 63), 2),
        ((64, 70), 2),
        ((70, 65), 3),
    ],
    torch.complex64: [((40, 15), 1), ((40, 16), 1), ((40, 17), 2), ((17, 40), 2), ((40, 32), 2), ((40, 33), 3)],
}
FEW_FAMILIES = ["normal", "geometric", "exact_half_rank", "clusters", "orthogonal", "zero", "zero_columns"]
JOBS = {"values": {"compute_uv": False}, "thin": {}, "full": {"full_matrices": True}}


def levels_of(shape, dtype=torch.float32, driver="qr"):
    words = metalsvd.plan(shape, dtype, driver=driver)
    assert words.startswith("tall QR of "), words
    return [int(nodes) for nodes in words.removeprefix("tall QR of ").split(" threadgroups")[0].split(" + ")]


def panels_of(shape, dtype=torch.float32):
    words = re.search(r"a matrix, (\d+) panels of", metalsvd.plan(shape, dtype, driver="qr"))
    return int(words[1]) if words else 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ONE_LEVEL + TWO_LEVELS, ids=str)
def test_every_family(shape, dtype, target):
    assert len(levels_of(shape, dtype)) == (1 if shape in ONE_LEVEL else 2)
    checks.assert_families_accurate(list(matrices.FAMILIES), shape, dtype, target, driver="qr")


@pytest.mark.parametrize(
    ("dtype", "shape"), [(dtype, shape) for dtype in DTYPES for shape in THREE_LEVELS[dtype]], ids=str
)
def test_three_levels(shape, dtype, target):
    assert len(levels_of(shape, dtype)) == 3
    checks.assert_families_accurate(["normal", "exact_half_rank"], shape, dtype, target, driver="qr")


@pytest.mark.parametrize(
    ("dtype", "shape", "panels"), [(dtype, *case) for dtype in DTYPES for case in PANELS[dtype]], ids=str
)
def test_panels(shape, panels, dtype, target):
    assert panels_of(shape, dtype) == panels
    names = [*FEW_FAMILIES, "kahan", "column_graded_12", "duplicate_columns", "mixed_scales"]
    checks.assert_families_accurate(names, shape, dtype, target, driver="qr")


@pytest.mark.parametrize(("dtype", "shape"), [(torch.float32, (1100, 36)), (torch.complex64, (18, 600))], ids=str)
def test_panels_of_two_levels(shape, dtype, target):
    assert panels_of(shape, dtype) == 2
    assert len(levels_of(shape, dtype)) == 2
    checks.assert_families_accurate(
        ["normal", "exact_half_rank", "column_graded_12"], shape, dtype, target, driver="qr"
    )


@pytest.mark.parametrize("shape", [(64, 300), (64, 512)], ids=str)
def test_many_equal_rows(shape, target):
    """Products with reflectors of equal entries: every addition errs alike, and so for all reflectors of a panel."""
    checks.assert_families_accurate(["kahan", "ones"], shape, torch.float32, target, driver="qr")


def test_an_r_that_only_block_can_take(target):
    assert "then block: " in metalsvd.plan((264, 130))
    checks.assert_families_accurate(["normal", "exact_half_rank"], (264, 130), torch.float32, target)


@pytest.mark.parametrize("shape", [(20000, 3), (3, 20000), (3000, 20)], ids=str)
def test_large(shape, target):
    assert metalsvd.plan(shape) == metalsvd.plan(shape, driver="qr")
    checks.assert_families_accurate(["normal", "exact_half_rank"], shape, torch.float32, target, driver="qr")


def test_a_batch_of_tall_matrices_with_strides(target):
    A = torch.stack([matrices.make("normal", 600, 4, seed=seed) for seed in range(6)])
    room = torch.zeros(3, 2, 1200, 12)
    room[..., ::2, ::3] = A.unflatten(0, (3, 2))
    expected = metalsvd.svd(A.to(target))
    strided = metalsvd.svd(room.to(target)[..., ::2, ::3])
    for name in ("U", "S", "V"):
        checks.assert_same_bits(getattr(strided, name).flatten(0, 1), getattr(expected, name), name)
    for index in range(6):
        checks.assert_accurate(A[index], expected.U[index], expected.S[index], expected.Vh[index])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 5), (6, 4), (4, 33), (33, 20), (520, 3), (3, 520), (60, 36), (36, 60)], ids=str)
def test_full_matrices(shape, dtype, target):
    checks.assert_full_matrices_accurate(FEW_FAMILIES, shape, dtype, target, driver="qr")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 1030), (1030, 5), (12, 7), (60, 36)], ids=str)
def test_values_only_are_those_of_the_vectors(shape, dtype, target):
    A = batch_of(["normal", "half_rank", "geometric"], shape, dtype).to(target)
    values = metalsvd.svdvals(A, driver="qr")
    checks.assert_same_bits(values, metalsvd.svd(A, driver="qr").S, "S with and without vectors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(600, 5), (5, 600), (20, 6), (60, 36), (36, 60)], ids=str)
def test_half_types_are_float32_rounded_once(shape, dtype, target):
    A = batch_of(["normal", "half_rank"], shape, torch.float32).to(dtype).to(target)
    checks.assert_halves_are_rounded_once(A, max(shape) < 100, driver="qr")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(24, 24), (60, 20), (1100, 12), (90, 40)], ids=str)
def test_column_graded_singular_values_are_relatively_accurate(shape, dtype, target):
    for seed in range(3):
        A = matrices.make("column_graded_12", *shape, dtype, seed)
        checks.assert_relatively_accurate(A, metalsvd.svd(A.to(target), driver="qr").S)


@pytest.mark.parametrize(("shape", "dtype"), [((8, 8), torch.complex64), ((8, 11), torch.float32)], ids=str)
def test_columns_that_a_reflector_stretched_have_unit_length(shape, dtype, target):
    """Where singular values fall steeply, a vector lies along a reflector and takes four times the error of its tau."""
    generator = torch.Generator().manual_seed(0)
    k = min(shape)
    many = [matrices.with_spectrum(matrices.decades(k, 7), *shape, generator) for _ in range(1000)]
    A = torch.stack(many).to(dtype)
    U, _, V = metalsvd.svd(A.to(target), full_matrices=True, driver="qr")
    for Q in (U, V):
        off = _accuracy.orthogonality(Q.cpu().to(torch.complex128))
        assert off <= _accuracy.EPS_FACTOR * _accuracy.EPS * max(shape) ** 0.5, off


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [60, -60, 110, -110], ids="2^{}".format)
def test_scaling_changes_only_the_singular_values(exponent, dtype, target):
    A = matrices.make("normal", 700, 4, dtype)
    plain, ours = metalsvd.svd(A.to(target)), metalsvd.svd((A * 2.0**exponent).to(target))
    checks.assert_same_bits(ours.U, plain.U, "U")
    checks.assert_same_bits(ours.V, plain.V, "V")
    expected = plain.S.cpu().double() * 2.0**exponent
    error = (ours.S.cpu().double() - expected).abs() / expected
    assert (error <= checks.SCALED_SIGMA_ERROR).all(), f"off by {error.max():.2e}"


def test_norms_near_overflow_and_denormal_entries(target):
    for size in (2.0**120, 2.0**-149):
        S = metalsvd.svdvals(torch.full((700, 4), size).to(target)).cpu().double()
        assert math.isclose(S[0] / size, math.sqrt(2800), rel_tol=checks.SCALED_SIGMA_ERROR if size > 1 else 0.01)
        assert (S[1:] <= checks.EPS * S[0]).all()


@pytest.mark.parametrize("driver", ["qr", "recover", "threadgroup", "simdgroup", "block"])
@pytest.mark.parametrize("n", [2, 45])
def test_phases_of_denormal_numbers_have_modulus_one(n, driver, target):
    """Where denormal numbers are kept, the magnitude of one has few bits: a reflector left 0.6% of a column behind."""
    A = torch.zeros(1, n + 1, n, dtype=torch.complex64)
    A[0, torch.arange(n).flip(0), torch.arange(n)] = 2.0**60
    A[0, :n] += torch.eye(n) * (1.5 + 1.5j) * 2.0**-127
    emulated = metalsvd.emulator.is_enabled()
    with metalsvd.emulator.options(keep_denormals=True) if emulated else contextlib.nullcontext():
        found = metalsvd.svd_ex(A.to(target), full_matrices=False, driver=driver)
    checks.assert_accurate(A[0], found.U[0], found.S[0], found.Vh[0], driver)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 5), (600, 4), (4, 600), (60, 36)], ids=str)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_bad_matrix_leaves_its_neighbours_alone(poison, shape, dtype, target):
    A = batch_of(["normal", "uniform", "geometric"], shape, dtype)
    checks.assert_only_one_is_not_finite(A, poison, target, full_matrices=max(shape) < 100, driver="qr")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(700, 3), (3, 700), (20, 6), (60, 36)], ids=str)
def test_the_largest_entry_of_a_column_of_u_is_positive(shape, dtype, target):
    U = metalsvd.svd(batch_of(["normal", "uniform"], shape, dtype).to(target), driver="qr").U.cpu()
    largest = torch.gather(U, -2, U.abs().argmax(-2, keepdim=True))
    assert (largest.real > 0).all()
    if dtype.is_complex:
        assert (largest.imag.abs() <= checks.EPS_FACTOR * checks.EPS).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(600, 4), (60, 36)], ids=str)
def test_same_bits_alone_in_a_batch_and_again(shape, dtype, target):
    A = batch_of(["normal", "half_rank", "zero_columns", "geometric"], shape, dtype).to(target)
    first, again = metalsvd.svd(A, driver="qr"), metalsvd.svd(A, driver="qr")
    for name in ("U", "S", "V"):
        checks.assert_same_bits(getattr(again, name), getattr(first, name), f"{name} again")
        for index in range(len(A)):
            alone = metalsvd.svd(A[index], driver="qr")
            checks.assert_same_bits(getattr(alone, name), getattr(first, name)[index], f"{name} alone")


def test_rows_of_whole_packs_or_not_give_the_same_bits(target):
    A = matrices.make("normal", 520, 8).to(target)
    room = torch.zeros(520 * 8 + 1).to(target)
    shifted = room[1:].view(520, 8)
    shifted.copy_(A)
    for other in (shifted, A.T.contiguous().T):
        for name in ("U", "S", "V"):
            checks.assert_same_bits(
                getattr(metalsvd.svd(other, driver="qr"), name), getattr(metalsvd.svd(A, driver="qr"), name), name
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (520, 2), (2, 520), (50, 34)], ids=str)
@pytest.mark.parametrize("job", JOBS)
def test_no_race_no_stray_access_and_the_same_bits_in_every_order(job, shape, dtype, emulated, target):
    A = batch_of(["normal", "half_rank", "zero"], shape, dtype).to(target)
    checks.assert_safe_in_every_order(A, emulated, **JOBS[job], driver="qr")


def test_several_panels_and_levels_are_safe_too(emulated, target):
    A = batch_of(["normal", "normal"], (530, 36), torch.float32).to(target)
    A[1, 200, 3] = math.nan
    expected = metalsvd.svd_ex(A, driver="qr")
    with emulated.options(order="random", check_memory=True):
        actual = metalsvd.svd_ex(A, driver="qr")
    assert actual.info.tolist() == [0, 1]
    checks.assert_same_bits(actual.U[0], expected.U[0], "U")


@pytest.mark.parametrize("shape", [(1, 3000, 8), (6, 8, 700), (1, 20000, 3)], ids=str)
@pytest.mark.parametrize("job", ["values", "thin"])
def test_costs(shape, job, emulated, target):
    """Two dispatches a level and four more, no wait. B is read twice, once for its scale. With vectors its reflectors
    are written and read, P likewise before it is turned, its rows being whole packs, then P is written: seven passes
    over the size of A, two without vectors. The rest, of the size of R, adds little."""
    A = torch.randn(shape).to(target)
    levels = len(levels_of(shape))
    emulated.reset_counters()
    with emulated.options(check_memory=True):
        metalsvd.svd_ex(A, **JOBS[job])
    counters = emulated.counters()
    assert counters.dispatches == (levels + 3 if job == "values" else 2 * levels + 4)
    assert counters.host_waits == 0
    read, written = counters.bytes_read / A.nbytes, counters.bytes_written / A.nbytes
    columns = min(shape[1:])
    padded = -(-columns // 4) * 4 / columns
    most_read, most_written = (2, 0) if job == "values" else (2 + 2 * padded, 1 + 2 * padded)
    room = 0.4
    assert read <= most_read + room, f"A read {read:.2f} times"
    assert written <= most_written + room, f"A written {written:.2f} times"


@pytest.mark.parametrize(("job", "dispatches"), [("values", 15), ("thin", 23), ("full", 23)])
def test_costs_of_several_panels(job, dispatches, emulated, target):
    """Two dispatches to know the scale and to copy, one for each of 3 panels and 2 levels, one more for those that have
    columns behind them, one to collect R and one to factor it; then one a panel and level, and three."""
    shape = (600, 70)
    assert (panels_of(shape), levels_of(shape)) == (3, [2, 1])
    A = torch.randn(shape).to(target)
    before = emulated.memory().live
    emulated.reset_counters()
    emulated.reset_peak_memory()
    outputs = metalsvd.svd_ex(A, **JOBS[job])
    counters = emulated.counters()
    assert (counters.dispatches, counters.host_waits) == (dispatches, 0)
    made = sum(output.nbytes for output in outputs[:3])
    scratch = (emulated.memory().peak - before - made) / (A.nbytes + made)
    assert scratch <= 3, f"scratch of {scratch:.2f} times A and outputs"


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_long_rows_are_moved_as_a_whole(transposed, dtype, target):
    """Of matrices whose columns are orthogonal already, which take a sweep or two; rows of more than the threads."""
    order, columns = torch.randperm(260, generator=torch.Generator().manual_seed(1)), torch.arange(260)
    A = torch.zeros(2, 270, 260, dtype=dtype)
    A[0, order, columns] = torch.arange(1.0, 261.0).to(dtype)
    A[1, order + 10, columns] = torch.arange(260.0, 0.0, -1.0).to(dtype)
    A = (A.mT if transposed else A).contiguous().to(target)
    computed = A if dtype.is_complex else A.float()
    expected = metalsvd.svd(computed, driver="recover")
    for index in range(2):
        U, S, V = (factor[index] for factor in expected)
        checks.assert_accurate(computed[index], U, S, V.mH, f"matrix {index}")
    padded = torch.nn.functional.pad(A, (0, 5))[..., : A.shape[-1]]
    for name, same in {"rows": A, "rows apart": padded, "columns": A.mT.contiguous().mT}.items():
        for factor, theirs in zip(metalsvd.svd(same, driver="recover"), expected, strict=True):
            checks.assert_same_bits(factor, theirs.to(factor.dtype), name)


@pytest.mark.parametrize(
    ("shape", "driver"),
    [((300, 45), "qr"), ((301, 46), "recover"), ((47, 300), "whole"), ((300, 49), "cholesky"), ((60, 50), "recover")],
    ids=str,
)
def test_workspaces_may_hold_anything_before(shape, driver, target):
    """The end of the last pack of a row of R was not written, and what was there came into products as NaN times 0."""
    A = matrices.make("half_rank", *shape)
    rubbish = [
        torch.full((size,), float("nan"), device=target) for size in (2**k * j for k in range(4, 18) for j in (1, 3))
    ]
    del rubbish
    U, S, V = metalsvd.svd(A.to(target), driver=driver)
    checks.assert_accurate(A, U, S, V.mH)
