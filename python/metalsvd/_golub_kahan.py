"""Orthonormal bases Q and P of the two sides of A, grown block by block, with ``A^H Q = P T`` and T small.

What randomized_svd and lanczos_svd have in common: block Golub-Kahan with full reorthogonalisation. The singular value
decomposition of T gives that of Q Q^H A, the best approximation of A with range in Q.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._products import random_normal

# Added to columns that are zero, those of A / scale being of size one.
_TINY = 1e-18


def small_svd(T: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """U, S, Vh and info, without waiting for the device."""
    return torch.ops.metalsvd.svd_ex(T, False, True)


def orthonormal_basis(Y: Tensor) -> Tensor:
    """Orthonormal columns whose span holds that of Y's (*, rows, columns), columns <= rows, whatever the rank of Y.

    On mps U of our own singular value decomposition, since torch.linalg.qr goes to the CPU there; Householder QR on cpu
    and cuda. Never waits for the device.
    """
    if Y.device.type == "mps":
        return small_svd(Y)[0]
    return torch.linalg.qr(Y).Q


def orthonormal_beside(Q: Tensor, Y: Tensor, noise: Tensor) -> Tensor:
    """Orthonormal columns, orthogonal to those of Q, whose span holds that of (1 - Q Q^H) Y but for rounding.

    ``noise``, standard normal entries, is added in the size of the rounding errors of Y. Where nothing else is left of
    a column it decides where that goes: errors of rounding may lie in the range of Q, for a matrix of ones all do.
    """
    size = torch.linalg.vector_norm(Y, dim=-2, keepdim=True) * (torch.finfo(Y.dtype).eps / Y.shape[-2] ** 0.5) + _TINY
    Y = Y + size * noise
    if Q.shape[-1] == 0:
        return orthonormal_basis(Y)
    # Twice is enough (Parlett, "The Symmetric Eigenvalue Problem", 6.9) for columns that are not rounding alone; once
    # more for those that are, when they have length one.
    for _ in range(2):
        Y = Y - Q @ (Q.mH @ Y)
    Y = orthonormal_basis(Y)
    return orthonormal_basis(Y - Q @ (Q.mH @ Y))


class GolubKahan:
    """Q (*, m, w), P (*, n, w), orthonormal, and T (*, w, w) with ``A^H Q = P T / scale``; w grows with `extend`."""

    def __init__(self, matrix, generator: torch.Generator | None) -> None:
        m, n = matrix.shape
        self.matrix, self._generator = matrix, generator
        options = {"dtype": matrix.dtype, "device": matrix.device}
        self.Q = torch.empty(*matrix.batch, m, 0, **options)
        self.P = torch.empty(*matrix.batch, n, 0, **options)
        self.T = torch.empty(*matrix.batch, 0, 0, **options)

    @property
    def width(self) -> int:
        return self.T.shape[-1]

    @property
    def room(self) -> int:
        """How many columns Q and P can still take."""
        return min(self.matrix.shape) - self.width

    def extend(self, Y: Tensor) -> Tensor:
        """Adds the range of Y (*, m, columns) to Q and what A^H makes of it to P. Returns the new columns of P."""
        Q = self.beside_Q(Y)
        Z = self.matrix.adjoint_times(Q)
        P = self._beside(self.P, Z)
        top = torch.cat([self.T, self.P.mH @ Z], dim=-1)
        bottom = torch.cat([self.T.new_zeros(*self.matrix.batch, P.shape[-1], self.width), P.mH @ Z], dim=-1)
        self.T = torch.cat([top, bottom], dim=-2)
        self.Q, self.P = torch.cat([self.Q, Q], dim=-1), torch.cat([self.P, P], dim=-1)
        return P

    def beside_Q(self, Y: Tensor) -> Tensor:
        """An orthonormal basis of (1 - Q Q^H) Y."""
        return self._beside(self.Q, Y)

    def take_whole(self) -> None:
        """Bases of all directions at once: Q of the columns of A, at most as many as rows, and P the identity."""
        n = self.matrix.shape[1]
        self.P = torch.eye(n, dtype=self.matrix.dtype, device=self.matrix.device).expand(*self.matrix.batch, n, n)
        A = self.matrix.times(self.P)
        self.Q = orthonormal_basis(A)
        self.T = A.mH @ self.Q

    def keep(self, X: Tensor, S: Tensor, W: Tensor, count: int) -> None:
        """Bases of the first Ritz triplets alone."""
        self.Q, self.P = self.Q @ X[..., :count], self.P @ W[..., :count]
        self.T = torch.diag_embed(S[..., :count]).to(self.matrix.dtype)

    def ritz(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """X, S, W and info of T = W diag(S) X^H: the columns of Q X and P W approximate singular vectors of A."""
        W, S, Xh, info = small_svd(self.T)
        return Xh.mH, S, W, info

    def _beside(self, basis: Tensor, Y: Tensor) -> Tensor:
        return orthonormal_beside(basis, Y, random_normal(Y.shape[-2:], self.matrix, self._generator))
