"""Golub-Kahan-Lanczos with thick restart (Baglama and Reichel 2005), for a matrix with no more columns than rows.

With ``A^H Q = P T`` and ``T = W diag(S) X^H`` the Ritz triplets ``(Q x, s, P w)`` meet ``A^H u = s v`` exactly, and
``A v`` misses ``s u`` by what A makes of the last block of P outside of Q. A restart keeps the first of them, and that
block.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ._errors import raise_for_info
from ._golub_kahan import GolubKahan
from ._products import random_normal
from ._residual import PROBES, Residual


class Restarts(NamedTuple):
    """What is wanted, and how."""

    k: int
    n_iter: int
    tol: float
    block: int
    subspace: int

    @classmethod
    def of(cls, matrix, k: int, n_iter: int, tol: float | None, block: int, subspace: int | None) -> Restarts:
        """With the defaults of lanczos_svd, and no more columns than the matrix has."""
        tol = torch.finfo(matrix.dtype).eps ** (2 / 3) if tol is None else tol
        subspace = max(2 * k, k + 20, k + 4 * block) if subspace is None else subspace
        return cls(k, n_iter, tol, block, min(subspace, *matrix.shape))

    @property
    def keep(self) -> int:
        """How many triplets a restart keeps: those wanted, and half of the rest, which speed their convergence."""
        return self.k + max(0, self.subspace - self.k - self.block) // 2


class Triplets(NamedTuple):
    """What was found for A / scale, see LowRankSVD."""

    U: Tensor
    S: Tensor
    V: Tensor
    error: Tensor
    residuals: Tensor
    converged: Tensor
    n_iter: int


def thick_restart_lanczos(name: str, matrix, restarts: Restarts, generator: Generator | None) -> Triplets:
    k = restarts.k
    omega = random_normal((matrix.shape[1], restarts.block + PROBES), matrix, generator)
    products = matrix.times(omega)
    Y = products[..., : restarts.block]
    residual = Residual(matrix, omega[:, restarts.block :], products[..., restarts.block :])
    bases = GolubKahan(matrix, generator)
    if restarts.subspace == min(matrix.shape):
        bases.take_whole()
        Y = torch.zeros_like(Y)
    for n_iter in range(1, restarts.n_iter + 1):
        # Whole blocks only: a column that were left out of Q would be missing from the residuals.
        while bases.width + restarts.block <= restarts.subspace:
            Y = matrix.times(bases.extend(Y))
        X, S, W, info = bases.ritz()
        raise_for_info(info, name)
        # What A makes of the other blocks of P is in Q already.
        Y = Y - bases.Q @ (bases.Q.mH @ Y)
        estimates = torch.linalg.vector_norm(Y @ W[..., -Y.shape[-1] :, :k], dim=-2)
        # Written so that NaN stops; where errors are not read there may be some.
        if n_iter == restarts.n_iter or not (estimates > restarts.tol * S[..., :1]).any():
            break
        bases.keep(X, S, W, restarts.keep)
    errors = residual.errors(bases, X, S, W)
    U, S, V = bases.Q @ X[..., :k], S[..., :k], bases.P @ W[..., :k]
    residuals = _residuals(matrix, U, S, V)
    converged = residuals <= restarts.tol * S[..., :1]
    _warn_unless(name, converged, residuals, S, n_iter)
    return Triplets(U, S, V, errors[..., k - 1], residuals, converged, n_iter)


def _residuals(matrix, U: Tensor, S: Tensor, V: Tensor) -> Tensor:
    left = matrix.times(V) - U * S.unsqueeze(-2)
    right = matrix.adjoint_times(U) - V * S.unsqueeze(-2)
    return torch.hypot(torch.linalg.vector_norm(left, dim=-2), torch.linalg.vector_norm(right, dim=-2))


def _warn_unless(name: str, converged: Tensor, residuals: Tensor, S: Tensor, n_iter: int) -> None:
    if converged.all():
        return
    worst = (residuals / S[..., :1])[~converged].max()
    warnings.warn(
        f"{name}: {int((~converged).sum())} of {converged.numel()} triplets did not converge in n_iter={n_iter}, "
        f"the largest residual is {worst:.2g} S[0]",
        UserWarning,
        stacklevel=4,
    )
