"""Orthonormal bases of tall blocks, computed on their device and without waiting for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Added to columns that are zero, those of A / scale being of size one.
_TINY = 1e-18


def small_svd(T: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """U, S, Vh and info, without waiting for the device."""
    return torch.ops.metalsvd.svd_ex(T, False, True)


def orthonormal_beside(Q: Tensor | None, Y: Tensor, noise: Tensor, is_last: bool = True) -> Tensor:
    """Orthonormal columns, orthogonal to those of Q, whose span holds that of (1 - Q Q^H) Y but for rounding.

    Args:
        Q: orthonormal columns (*, rows, any), or None.
        Y: (*, rows, columns), no more columns than rows can be independent of Q, of any rank.
        noise: standard normal entries (rows, columns), added in the size of the rounding errors of Y. Where nothing
            else is left of a column it decides where that goes: what is left of rounding may lie in the range of Q
            again, as all of it does for a matrix of ones.
        is_last: False where the columns need only be well conditioned, because a product with A comes next.
    """
    rounding = torch.finfo(Y.dtype).eps / math.sqrt(Y.shape[-2])
    size = torch.linalg.vector_norm(Y, dim=-2, keepdim=True) + _TINY / rounding
    Y = torch.addcmul(Y, size, noise, value=rounding)
    if Q is None or Q.shape[-1] == 0:
        return _basis(Y, is_last)
    # Twice is enough (Parlett, "The Symmetric Eigenvalue Problem", 6.9) for columns that are not rounding alone; once
    # more for those that are, when they have length one.
    for _ in range(2):
        Y = Y - Q @ (Q.mH @ Y)
    Y = _basis(Y, is_last=False)
    return _basis(Y - Q @ (Q.mH @ Y), is_last)


def _basis(Y: Tensor, is_last: bool) -> Tensor:
    """Orthonormal columns with the span of Y's.

    On mps U of our own singular value decomposition, because there is neither float64 nor a QR that stays on the GPU
    whatever the version of torch; Cholesky QR in double precision on cpu and cuda, Householder QR of what is double.
    """
    if Y.shape[-1] == 1:
        return Y / torch.linalg.vector_norm(Y, dim=-2, keepdim=True)
    if Y.device.type == "mps":
        return small_svd(Y)[0]
    if Y.dtype in (torch.float32, torch.complex64):
        return cholesky_basis(Y, rounds=2 if is_last else 1)
    return torch.linalg.qr(Y).Q


def polished(Q: Tensor) -> Tensor:
    """Columns that are orthonormal but for errors of some eps, orthonormal but for their squares and rounding: one
    Newton step towards the nearest orthonormal ones. Of k columns, two products of their size with one of k x k."""
    return 1.5 * Q - 0.5 * (Q @ (Q.mH @ Q))


def fix_phases(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """U and V with the entry of largest magnitude in each column of U real and positive, as metalsvd.svd has it."""
    largest = U.gather(-2, U.abs().argmax(-2, keepdim=True))
    phase = largest / largest.abs() if U.is_complex() else torch.where(largest < 0, -1, 1).to(U.dtype)
    return U / phase, V / phase


def cholesky_basis(Y: Tensor, rounds: int) -> Tensor:
    """Cholesky QR of a block in single precision, in double precision (Yamazaki, Tomov and Dongarra 2015).

    Were the columns of one length, the noise in Y would keep its condition at 1e8 or below, and so that of Y^H Y at
    1e16; the shift keeps what is left of that positive (Fukaya et al. 2020, "Shifted Cholesky QR"). It is relative to
    each diagonal entry, which does the same for columns of any length: Cholesky QR does not depend on that. One round
    leaves columns of condition 1e2 at most, two leave them orthonormal.
    """
    Q = Y.to(torch.complex128 if Y.is_complex() else torch.float64)
    shift = 10 * math.sqrt(Y.shape[-2]) * torch.finfo(torch.float64).eps * Y.shape[-1]
    for _ in range(rounds):
        gram = Q.mH @ Q
        gram.diagonal(dim1=-2, dim2=-1).mul_(1 + shift)
        L = torch.linalg.cholesky_ex(gram).L
        Q = torch.linalg.solve_triangular(L.mH, Q, upper=True, left=False)
    return Q.to(Y.dtype)
