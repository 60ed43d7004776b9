"""How good the factors of a matrix are, in four numbers, and the bounds that are promised for them.

For A (m, n) of float32 or complex64 each number of :func:`accuracy` is at most twice what LAPACK (gesdd) makes of the
same matrix in the same precision, or ``4 eps sqrt(max(m, n))``, eps = 2^-24, whichever is larger.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 2.0**-24
TIMES_LAPACK = 2.0
EPS_FACTOR = 4.0  # times eps sqrt(max(m, n))


class Accuracy(NamedTuple):
    """The worst of a batch, as :func:`accuracy` measures it. None where there are no vectors to measure."""

    residual: float | None
    u_orthogonality: float | None
    v_orthogonality: float | None
    sigma_error: float


def accuracy(A: Tensor, U: Tensor | None, S: Tensor, Vh: Tensor | None, S64: Tensor | None = None) -> Accuracy:
    """Measures ``A = U diag(S) Vh``, each number the worst over the batch, computed on the CPU in double precision.

    ======================= ========================================================
    ``residual``            ``|A - U diag(S) Vh|_F / |A|_F``
    ``u_orthogonality``     ``|U^H U - I|_max``, over all columns of U, thin or full
    ``v_orthogonality``     ``|Vh Vh^H - I|_max``, over all rows of Vh, thin or full
    ``sigma_error``         ``max_i |S_i - S64_i| / S64_1``
    ======================= ========================================================

    The first three show that the factors are those of a matrix near A, the last that the singular values are A's
    (LAPACK Users' Guide, section 4.9). A zero matrix has nothing to be relative to: its residual and sigma error are
    absolute. NaN among the factors makes a number NaN, never small.

    Args:
        A: shape ``(*, m, n)``, any floating or complex dtype, any device.
        U: ``(*, m, k or m)``, or None or an empty tensor of one dimension where no vectors were computed.
        S: ``(*, k)``, ``k = min(m, n)``.
        Vh: ``(*, k or n, n)``, or as U.
        S64: the true singular values ``(*, k)``; None computes them with LAPACK in double precision.
    """
    A, S = _double(A), _double(S)
    S64 = torch.linalg.svdvals(A) if S64 is None else _double(S64)
    if U is None or Vh is None or U.dim() < 2 or Vh.dim() < 2:
        return Accuracy(None, None, None, sigma_error(S, S64))
    U, Vh = _double(U), _double(Vh)
    return Accuracy(residual(A, U, S, Vh), orthogonality(U), orthogonality(Vh.mH), sigma_error(S, S64))


def lapack_accuracy(A: Tensor, full_matrices: bool = False) -> Accuracy:
    """What LAPACK makes of A (CPU) in A's own precision."""
    return accuracy(A, *torch.linalg.svd(A, full_matrices))


def accuracy_bounds(A: Tensor, lapack: Accuracy) -> Accuracy:
    """What is promised for A, of which LAPACK made ``lapack``."""
    floor = EPS_FACTOR * EPS * math.sqrt(max(A.shape[-2:]))
    return Accuracy(*(max(TIMES_LAPACK * number, floor) for number in lapack))


# Each of these is the worst over the batch, computed where its tensors are and in their precision.


def residual(A: Tensor, U: Tensor, S: Tensor, Vh: Tensor) -> float:
    """``|A - U diag(S) Vh|_F / |A|_F``, of thin or full U and Vh."""
    k = S.shape[-1]
    difference = A - (U[..., :k] * S.unsqueeze(-2)) @ Vh[..., :k, :]
    return _worst(_frobenius(difference) / _or_one(_frobenius(A)))


def orthogonality(Q: Tensor) -> float:
    """``|Q^H Q - I|_max`` over all columns of Q."""
    gram = Q.mH @ Q
    return _worst((gram - torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)).abs())


def norm_error(A: Tensor, S: Tensor) -> float:
    """``abs(|S|_2 - |A|_F) / |A|_F``: what singular values show of their error without others beside them."""
    norm = _frobenius(A)
    return _worst((torch.linalg.vector_norm(S, dim=-1) - norm).abs() / _or_one(norm))


def sigma_error(S: Tensor, S64: Tensor) -> float:
    """``max_i |S_i - S64_i| / S64_1``."""
    return _worst((S - S64).abs() / _or_one(S64[..., :1]))


def _double(X: Tensor) -> Tensor:
    # To the CPU first: mps has no float64.
    return X.detach().cpu().to(torch.complex128 if X.is_complex() else torch.float64)


def _or_one(norm: Tensor) -> Tensor:
    return torch.where(norm == 0, torch.ones_like(norm), norm)


def _frobenius(X: Tensor) -> Tensor:
    return torch.linalg.vector_norm(X, dim=(-2, -1))


def _worst(X: Tensor) -> float:
    return X.max().item() if X.numel() else 0.0
