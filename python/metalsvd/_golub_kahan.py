"""Orthonormal bases Q and P of the two sides of A, grown block by block, with ``A^H Q = P T`` and T small.

What randomized_svd and lanczos_svd have in common: block Golub-Kahan with full reorthogonalisation. The singular value
decomposition of T gives that of Q Q^H A, the best approximation of A with range in Q.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._orthonormal import orthonormal_beside, polished, small_svd
from ._products import random_normal


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

    def extend(self, Y: Tensor) -> Tensor:
        """Adds the range of Y (*, m, columns) to Q and what A^H makes of it to P. Returns the new columns of P."""
        Q = self._beside(self.Q, Y)
        Z = self.matrix.adjoint_times(Q)
        P = self._beside(self.P, Z)
        if self.width == 0:
            self.Q, self.P, self.T = Q, P, P.mH @ Z
            return P
        zeros = self.T.new_zeros(*self.matrix.batch, P.shape[-1], self.width)
        self.Q, self.P = torch.cat([self.Q, Q], dim=-1), torch.cat([self.P, P], dim=-1)
        self.T = torch.cat([torch.cat([self.T, zeros], dim=-2), self.P.mH @ Z], dim=-1)
        return P

    def iterated(self, Y: Tensor) -> Tensor:
        """``A X / scale``, X a basis of ``A^H (1 - Q Q^H) Y``: a step of power iteration, which extends nothing."""
        Z = self.matrix.adjoint_times(self._beside(self.Q, Y, is_last=False))
        return self.matrix.times(self._beside(None, Z, is_last=False))

    def take_whole(self) -> None:
        """Bases of all directions at once: the thin decomposition of A itself, which has at least as many rows."""
        n = self.matrix.shape[1]
        self.Q, S, Vh, _ = small_svd(
            self.matrix.times(torch.eye(n, dtype=self.matrix.dtype, device=self.matrix.device))
        )
        self.P, self.T = Vh.mH, torch.diag_embed(S).to(self.matrix.dtype)

    def keep(self, X: Tensor, S: Tensor, W: Tensor, count: int) -> None:
        """Bases of the first Ritz triplets alone; polished, so that nothing accumulates from restart to restart."""
        self.Q, self.P = polished(self.Q @ X[..., :count]), polished(self.P @ W[..., :count])
        self.T = torch.diag_embed(S[..., :count]).to(self.matrix.dtype)

    def ritz(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """X, S, W and info of T = W diag(S) X^H: the columns of Q X and P W approximate singular vectors of A.

        From T^H: T is block upper triangular, and where its rows decay, rotating them takes fewer sweeps than rotating
        its columns (Drmac and Veselic 2008, "New fast and accurate Jacobi SVD algorithm").
        """
        X, S, Wh, info = small_svd(self.T.mH)
        return X, S, Wh.mH, info

    def _beside(self, basis: Tensor | None, Y: Tensor, is_last: bool = True) -> Tensor:
        return orthonormal_beside(basis, Y, random_normal(Y.shape[-2:], self.matrix, self._generator), is_last)
