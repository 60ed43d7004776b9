"""The accuracy promise, asserted: numbers and bounds stand in metalsvd._accuracy, bounds of tests alone here.

A failure prints every number beside its bound and LAPACK's.
"""

from __future__ import annotations

from collections.abc import Iterable

import matrices
import metalsvd
import torch
from metalsvd._accuracy import EPS, EPS_FACTOR, Accuracy, accuracy, accuracy_bounds, lapack_accuracy  # noqa: F401
from torch import Tensor

GRADED_SIGMA_ERROR = 1e-5  # relative to each singular value, on column-graded matrices
METHOD_DISTANCE = 1e-5  # between the factors of two methods, singular values well apart
SCALED_SIGMA_ERROR = 4 * EPS  # relative, between a matrix and its multiple by a power of two

ORDERS = ("forward", "reverse", "random")  # of the emulator's threads


def assert_accurate(A: Tensor, U: Tensor, S: Tensor, Vh: Tensor, label: str = "") -> Accuracy:
    """Asserts the promise for the factors of A, and S sorted and non-negative. Returns the numbers."""
    A, U, S, Vh = A.cpu(), U.cpu(), S.cpu(), Vh.cpu()
    ours = accuracy(A, U, S, Vh)
    lapack = lapack_accuracy(A, full_matrices=U.shape[-1] != S.shape[-1] or Vh.shape[-2] != S.shape[-1])
    bounds = accuracy_bounds(A, lapack)
    lines = [
        f"{'ok ' if number <= bound else 'BAD'} {name:16} ours {number:.2e}  bound {bound:.2e}  lapack {beside:.2e}"
        for name, number, bound, beside in zip(Accuracy._fields, ours, bounds, lapack, strict=True)
    ]
    # Written so that NaN fails.
    good = all(number <= bound for number, bound in zip(ours, bounds, strict=True))
    assert good, "\n".join([f"{label} {tuple(A.shape)} {A.dtype}", *lines])
    assert (S >= 0).all(), f"{label}: negative singular values, down to {S.min():.2e}"
    steps = S[..., 1:] - S[..., :-1]
    assert (steps <= 0).all(), f"{label}: singular values not sorted, a step up of {steps.max():.2e}"
    return ours


def assert_families_accurate(
    names: Iterable[str], shape: tuple[int, int], dtype: torch.dtype, target: torch.device, **options
) -> None:
    """One batch of all these families through svd on the target, then the promise for each."""
    A = matrices.batch_of(names, shape, dtype)
    U, S, V = metalsvd.svd(A.to(target), **options)
    for index, name in enumerate(names):
        assert_accurate(A[index], U[index], S[index], V[index].mH, name)


def assert_full_matrices_accurate(
    names: Iterable[str], shape: tuple[int, int], dtype: torch.dtype, target: torch.device, **options
) -> None:
    """The same with full matrices, which extend the thin ones to the last bit."""
    A = matrices.batch_of(names, shape, dtype)
    full, thin = (metalsvd.svd(A.to(target), full_matrices=full, **options) for full in (True, False))
    assert_full_extends_thin(full, thin)
    for index, name in enumerate(names):
        assert_accurate(A[index], full.U[index], full.S[index], full.Vh[index], name)


def assert_safe_in_every_order(A: Tensor, emulated, checked_orders: tuple[str, ...] = ORDERS, **options) -> None:
    """No race and no stray access, and the same bits of svd_ex whatever the order of the emulator's threads; accesses
    are checked in ``checked_orders``."""
    expected = metalsvd.svd_ex(A, **options)
    assert not expected.info.any()
    for seed, order in enumerate(ORDERS):
        with emulated.options(order=order, seed=seed, check_memory=order in checked_orders):
            actual = metalsvd.svd_ex(A, **options)
        for name in ("U", "S", "V"):
            assert_same_bits(getattr(actual, name), getattr(expected, name), f"{name}, {order} order")


def assert_only_one_is_not_finite(
    A: Tensor, poison: float, target: torch.device, entry: tuple[int, int] = (-1, 0), place: int = 1, **options
) -> None:
    """With ``poison`` at that entry of the matrix at that place of the batch, svd_ex reports it, its factors are NaN,
    and the bits of the others stay."""
    good = metalsvd.svd_ex(A.to(target), **options)
    A = A.clone()
    A[place][entry] = poison
    bad = metalsvd.svd_ex(A.to(target), **options)
    others = [index for index in range(len(A)) if index != place % len(A)]
    assert bad.info.tolist() == [0 if index in others else 1 for index in range(len(A))]
    for name in ("U", "S", "V"):
        factor = getattr(bad, name).cpu()
        for index in others:
            assert_same_bits(factor[index], getattr(good, name)[index], f"{name} of {index}")
        assert torch.isnan(torch.view_as_real(factor[place]) if factor.is_complex() else factor[place]).all()


def jacobi_singular_values(A: Tensor) -> Tensor:
    """Singular values of one matrix by one-sided Jacobi in float64: right to the last digits of the smallest, where
    LAPACK is not (Demmel and Veselic 1992). All pairs of a round-robin round are rotated at once."""
    W = (A if A.shape[-2] >= A.shape[-1] else A.mH).to(torch.complex128 if A.is_complex() else torch.float64)
    n = W.shape[-1]
    W = torch.nn.functional.pad(W, (0, n % 2))
    players = torch.arange(W.shape[-1])
    worst = 1.0
    while worst > 1e-14:
        worst = 0.0
        for _ in range(len(players) - 1):
            p, q = players[: len(players) // 2], players[len(players) // 2 :].flip(0)
            worst = max(worst, _orthogonalize(W, p, q))
            players = torch.cat([players[:1], players[1:].roll(1)])
    return torch.linalg.vector_norm(W, dim=0)[:n].sort(descending=True).values


def _orthogonalize(W: Tensor, p: Tensor, q: Tensor) -> float:
    """Rotates each pair of columns in place and returns the largest cosine there was between two."""
    x, y = W[:, p], W[:, q]
    alpha, beta = torch.linalg.vector_norm(x, dim=0), torch.linalg.vector_norm(y, dim=0)
    gamma = (x.conj() * y).sum(0)
    there = gamma.abs() > 0
    cosine = torch.where(there, gamma.abs() / (alpha * beta), 0.0)
    zeta = (beta - alpha) * (beta + alpha) / (2 * gamma.abs())
    t = torch.copysign(1 / (zeta.abs() + zeta.square().add(1).sqrt()), zeta)
    c = 1 / t.square().add(1).sqrt()
    s = c * t * gamma / gamma.abs()
    W[:, p] = torch.where(there, c * x - s.conj() * y, x)
    W[:, q] = torch.where(there, s * x + c * y, y)
    return cosine.max().item()


def relative_sigma_error(S: Tensor, exact: Tensor) -> float:
    """max |sigma_i - exact_i| / exact_i over the singular values that are not zero."""
    S, exact = S.cpu().double(), exact.cpu().double()
    there = exact > 0
    return ((S - exact).abs()[there] / exact[there]).max().item()


def assert_relatively_accurate(A: Tensor, S: Tensor) -> None:
    """Asserts that S holds the singular values of the column-graded matrix A, each to GRADED_SIGMA_ERROR of itself."""
    exact = jacobi_singular_values(A)
    error, lapack = (relative_sigma_error(values, exact) for values in (S, torch.linalg.svdvals(A)))
    assert error <= GRADED_SIGMA_ERROR, (
        f"relative error {error:.2e}, bound {GRADED_SIGMA_ERROR:.0e}, LAPACK {lapack:.2e}"
    )


def assert_same_bits(actual: Tensor, expected: Tensor, label: str = "") -> None:
    """Asserts equality to the last bit, NaN included."""
    actual, expected = actual.cpu().resolve_conj().contiguous(), expected.cpu().resolve_conj().contiguous()
    assert actual.shape == expected.shape, f"{label}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if actual.is_complex():
        actual, expected = torch.view_as_real(actual), torch.view_as_real(expected)
    different = actual.view(torch.int32) != expected.view(torch.int32)
    assert not different.any(), (
        f"{label}: {int(different.sum())} of {different.numel()} entries differ, "
        f"by up to {(actual - expected).abs().max():.2e}"
    )


def assert_same_bits_in_any_batch(A: Tensor, indices: Iterable[int], **options) -> None:
    """Of a batch, called again, without vectors, and of some of its matrices alone."""
    whole, again = metalsvd.svd(A, **options), metalsvd.svd(A, **options)
    for name, first, second in zip("USV", whole, again, strict=True):
        assert_same_bits(second, first, f"{name} again")
    assert_same_bits(metalsvd.svdvals(A, **options), whole.S, "S without vectors")
    for index in indices:
        for name, expected, actual in zip("USV", whole, metalsvd.svd(A[index], **options), strict=True):
            assert_same_bits(actual, expected[index], f"{name} of matrix {index}")


def assert_halves_are_rounded_once(A: Tensor, *args, **options) -> None:
    """The factors of A, of float16 or bfloat16, are those of the same numbers in float32, rounded."""
    half, single = metalsvd.svd(A, *args, **options), metalsvd.svd(A.float(), *args, **options)
    for name, actual, expected in zip("USV", half, single, strict=True):
        assert actual.dtype == A.dtype, name
        # Widened again, which is exact: halves may be odd in number.
        assert_same_bits(actual.float(), expected.to(A.dtype).float(), name)


def assert_full_extends_thin(full, thin) -> None:
    """Asserts that the factors of full_matrices are those without, to the last bit, and more columns behind them."""
    k = thin.S.shape[-1]
    assert_same_bits(full.U[..., :k], thin.U, "U of thin and full")
    assert_same_bits(full.S, thin.S, "S of thin and full")
    assert_same_bits(full.V[..., :k], thin.V, "V of thin and full")
