"""The few largest singular triplets of a big matrix: public functions over Golub-Kahan bases (_golub_kahan.py)."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Generator, Tensor

from ._errors import raise_for_info
from ._golub_kahan import GolubKahan, orthonormal_basis
from ._lowrank_checks import check_generator, check_iteration, check_matrix, check_rank
from ._products import Adjoint, DenseMatrix, random_normal
from .ops import SVD

# Columns of standard normal entries that measure the residual where the difference of norms cannot. The estimate of a
# residual of rank one, the hardest, is within a factor 2 in 999 of 1000 cases, and of 3 in 99999 of 100000.
_PROBES = 16
# |A|^2 - sum S^2 is right to some eps |A|^2: it is the estimate where it is larger than that by this factor.
_RELIABLE_DIFFERENCE = 1024

_AUTO_STEPS = {"krylov": 2, "power": 4}
_FIRST_BLOCK = 16  # columns of the first block where the rank is found by tolerance; later ones double the basis


class LowRankSVD(SVD):
    """``A ~ U diag(S) V^H``: a named tuple ``(U, S, V)`` with ``.Vh`` and ``.error`` beside it.

    ``error``, real, of shape ``(*)``: the estimate of ``|A - U diag(S) V^H|_F`` of each matrix.
    """

    error: Tensor


def randomized_svd(
    A: Tensor,
    k: int | None = None,
    *,
    tol: float | None = None,
    n_iter: int | Literal["auto"] = "auto",
    oversample: int | Literal["auto"] = "auto",
    method: Literal["krylov", "power"] = "krylov",
    generator: Generator | None = None,
) -> LowRankSVD:
    """The `k` largest singular triplets of each matrix of a batch, or as many as an error of `tol` needs.

    Block Krylov (Musco and Musco 2015) or power iteration (Halko, Martinsson and Tropp 2011) on random columns, one for
    all matrices of the batch. Orthogonalised on the device at every product with A; the host waits once, at the end, to
    read whether A was finite (see :class:`error_checks`), and with `tol` once for each block that is added.

    Args:
        A: shape ``(*, m, n)``: float32, float16, bfloat16, complex64 or complex32, on cpu and cuda float64 and
            complex128 as well. Half types are multiplied in blocks of rows in float32, without a copy of A.
        k: how many triplets, 1 to ``min(m, n)``. With `tol` the most that there may be; None: ``min(m, n)``.
        tol: adds random blocks until the estimated error is at most ``tol * |A|_F``, and returns the fewest triplets
            for which it is: the same number for all matrices of a batch, and at least one. Between 0 and 1.
        n_iter: steps of the iteration, each of one product with A^H and one with A, beside the one of both that there
            always is. "auto": 2 of "krylov", 4 of "power".
        oversample: how many random columns more than k. "auto": 8 or k/10, the larger, and up to a multiple of 8 of
            both together. Not with `tol`, where blocks of 16, 32, 64, ... columns are added.
        method: "krylov" keeps the blocks of all steps, and so ``n_iter + 1`` times the memory for them; "power" the
            last one. Bases that would hold half of ``min(m, n)`` columns or more are given up for the thin SVD of A.
        generator: of A's device; None: torch's own. The same state gives the same result, of a matrix alone or in any
            batch up to rounding.

    Returns:
        :class:`LowRankSVD` ``(U, S, V)`` with ``U (*, m, k)``, ``S (*, k)``, ``V (*, n, k)``, of float32 or complex64
        for half types; orthonormal columns, also of matrices of smaller rank; S descending; in each column of U the
        entry of largest magnitude real and positive. ``.error`` is the estimate of ``|A - U diag(S) V^H|_F``:
        ``(|A|_F^2 - sum S^2)^(1/2)``, and where that is rounding alone what 16 random probes measure.

    Raises:
        ValueError: k, tol, n_iter, oversample or method missing or out of range.
        RuntimeError: A is no floating-point or complex matrix; `generator` is of another device.
        torch.linalg.LinAlgError: a matrix holds NaN or Inf; names the batch element.

    Warns:
        UserWarning: `tol` was not reached with k triplets; names the error that was.
    """
    return _randomized_svd("randomized_svd", A, k, tol, n_iter, oversample, method, generator, center=False)


def _randomized_svd(name, A, k, tol, n_iter, oversample, method, generator, center):
    check_matrix(name, A)
    check_rank(name, A.shape, k, tol)
    check_iteration(name, n_iter, oversample, method, tol)
    check_generator(name, generator, A.device)
    return decompose(name, DenseMatrix(A, center), k, tol, n_iter, oversample, method, generator)


def decompose(name, matrix, k, tol, n_iter, oversample, method, generator) -> LowRankSVD:
    """:func:`randomized_svd` of anything that multiplies as :class:`DenseMatrix` does; arguments are not checked."""
    with torch.no_grad():
        is_wide = matrix.shape[0] < matrix.shape[1]
        if is_wide:
            matrix = Adjoint(matrix)
        steps = _AUTO_STEPS[method] if n_iter == "auto" else n_iter
        if tol is None:
            columns = _columns(k, oversample, min(matrix.shape))
            U, S, V, error, info = _of_rank(matrix, k, columns, steps, method, generator)
        else:
            U, S, V, error, info = _to_tolerance(name, matrix, k, tol, steps, method, generator)
        raise_for_info(info, name)
        U, V = fix_phases(*((V, U) if is_wide else (U, V)))
        scale = matrix.scale[..., 0, 0]
        return low_rank_svd(U, S * scale.unsqueeze(-1), V, error * scale)


def low_rank_svd(U: Tensor, S: Tensor, V: Tensor, error: Tensor) -> LowRankSVD:
    result = LowRankSVD(U, S, V)
    result.error = error
    return result


def _columns(k: int, oversample: int | str, smallest: int) -> int:
    """How many random columns there are for k triplets."""
    if oversample == "auto":
        return min(-(-(k + max(8, k // 10)) // 8) * 8, smallest)
    return min(k + oversample, smallest)


def _of_rank(matrix, k, columns, steps, method, generator):
    """U, S, V, the estimate of their error and info, for A / scale."""
    omega = random_normal((matrix.shape[1], columns + _PROBES), matrix, generator)
    Y = matrix.times(omega)
    residual = Residual(matrix, omega[:, columns:], Y[..., columns:])
    bases = GolubKahan(matrix, generator)
    if _is_as_good_as_whole(matrix, bases, columns, steps, method):
        bases.take_whole()
    else:
        _add_block(bases, Y[..., :columns], steps, method)
    X, S, W, info = bases.ritz()
    return bases.Q @ X[..., :k], S[..., :k], bases.P @ W[..., :k], residual.errors(bases, X, S, W)[..., k - 1], info


def _to_tolerance(name, matrix, k, tol, steps, method, generator):
    """The same for the smallest rank up to k whose estimated error is at most tol |A|_F."""
    most = min(matrix.shape) if k is None else k
    G = random_normal((matrix.shape[1], _PROBES), matrix, generator)
    residual = Residual(matrix, G, matrix.times(G))
    bases = GolubKahan(matrix, generator)
    columns = _FIRST_BLOCK
    while True:
        if _is_as_good_as_whole(matrix, bases, columns, steps, method):
            bases.take_whole()
        else:
            _add_block(bases, matrix.times(random_normal((matrix.shape[1], columns), matrix, generator)), steps, method)
        X, S, W, info = bases.ritz()
        errors = residual.errors(bases, X, S, W)[..., :most]
        # Written so that a matrix that is not finite asks for no more blocks.
        is_open = errors > tol * residual.norm.unsqueeze(-1)
        rank = int(is_open.sum(-1).max()) + 1 if is_open.numel() else 1
        if rank <= errors.shape[-1]:
            break
        if bases.room == 0 or bases.width >= _columns(most, "auto", min(matrix.shape)):
            rank = errors.shape[-1]
            reached = (errors[..., -1] / residual.norm).max()
            warnings.warn(
                f"{name}: tol={tol} was not reached with {rank} triplets, but an error of {reached:.2g} |A|_F",
                UserWarning,
                stacklevel=4,
            )
            break
        columns = max(columns, bases.width)
    return bases.Q @ X[..., :rank], S[..., :rank], bases.P @ W[..., :rank], errors[..., rank - 1], info


def _is_as_good_as_whole(matrix, bases: GolubKahan, columns: int, steps: int, method: str) -> bool:
    """Whether bases with one more block would hold half of all directions: then all of them cost no more."""
    width = bases.width + columns * (steps + 1 if method == "krylov" else 1)
    return 2 * width > min(matrix.shape)


def _add_block(bases: GolubKahan, Y: Tensor, steps: int, method: str) -> None:
    """Extends the bases by what `steps` steps make of Y = A Omega, each of a product with A^H and one with A."""
    matrix = bases.matrix
    for _ in range(steps):
        if method == "krylov":
            X = bases.extend(Y)
        else:
            X = orthonormal_basis(matrix.adjoint_times(bases.beside_Q(Y)))
        Y = matrix.times(X)
    bases.extend(Y)


class Residual:
    """Estimates ``|A - U diag(S) V^H|_F / scale`` of the factors that Golub-Kahan bases give, for every rank.

    Q Q^H A is a projection of A, so that the squares of its norm and of the residual's add up to |A|^2. Where the
    difference would be rounding alone, random columns G measure |(A - Q Q^H A) G|, whose expected square is that of
    the residual times their number. What is cut off of Q Q^H A are its smaller singular values.
    """

    def __init__(self, matrix, G: Tensor, AG: Tensor) -> None:
        self.norm, self.G, self.AG = matrix.frobenius_norm(), G, AG

    def errors(self, bases: GolubKahan, X: Tensor, S: Tensor, W: Tensor) -> Tensor:
        """The estimates for 1 to all of the triplets, (*, w), descending."""
        eps = torch.finfo(S.dtype).eps
        difference = self.norm.square() - S.square().sum(-1)
        residual = self.AG - bases.Q @ (X @ (S.unsqueeze(-1) * (W.mH @ (bases.P.mH @ self.G))))
        probed = torch.linalg.vector_norm(residual, dim=(-2, -1)).square() / _PROBES
        is_reliable = difference > _RELIABLE_DIFFERENCE * eps * self.norm.square()
        outside = torch.where(is_reliable, difference, probed)
        # The sum of S_j^2, j > i, from the smallest on.
        tails = S.square().flip(-1).cumsum(-1).flip(-1)
        tails = torch.cat([tails[..., 1:], torch.zeros_like(tails[..., :1])], dim=-1)
        return (outside.unsqueeze(-1) + tails).sqrt()


def fix_phases(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """U and V with the entry of largest magnitude in each column of U real and positive, as metalsvd.svd has it."""
    largest = U.gather(-2, U.abs().argmax(-2, keepdim=True))
    phase = largest / largest.abs() if U.is_complex() else torch.where(largest < 0, -1, 1).to(U.dtype)
    return U / phase, V / phase
