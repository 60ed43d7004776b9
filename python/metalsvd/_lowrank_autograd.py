"""The gradient of a truncated singular value decomposition.

With A = U S V^H + R, where R V = 0 and R^H U = 0, and K = diag(S), the differential of the factors is that of the thin
decomposition (_autograd.py) within the span of U and V. Outside of it, with P = 1 - U U^H and P' = 1 - V V^H,

    (P dU) K - R (P' dV) = P dA V        (P' dV) K - R^H (P dU) = P' dA^H U

so that gradients gU and gV add ``X V^H + U Y^H`` to that of A, where X and Y solve the same, symmetric, equations:

    X K - R Y = P gU        Y K - R^H X = P' gV

For each column they are positive definite where s_j > s_{k+1} = |R|, and conjugate gradients solve them with products
of A: in one step where A has rank k, and in the more of them the nearer s_{k+1} is to s_j. Two assumptions then: the
triplets have converged, and the last of them stands apart from what was cut off. The gradient of S alone needs neither
gap nor equations. The gradient cannot be differentiated again.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._autograd import core_backward
from ._products import DenseMatrix

_MOST_STEPS = 500
_STEPS_PER_LOOK = 5  # the host waits for the device once in so many steps


def differentiable(A: Tensor, U: Tensor, S: Tensor, V: Tensor, center: bool) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V, computed from A without a record, as functions of A."""
    if not (A.requires_grad and torch.is_grad_enabled()):
        return U, S, V
    if A.layout != torch.strided:
        raise RuntimeError(
            "a low-rank decomposition has a gradient for dense A only: expected A.requires_grad to be False"
        )
    return _TruncatedSVD.apply(A, U, S, V, center)


class _TruncatedSVD(torch.autograd.Function):
    @staticmethod
    def forward(ctx, A, U, S, V, center):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(A, U, S, V)
        ctx.center = center
        return U.clone(), S.clone(), V.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, gU, gS, gV):
        A, U, S, V = ctx.saved_tensors
        core = core_backward(U, S, V.mH, gU, gS, None if gV is None else gV.mH)
        left = U @ core
        if gU is None and gV is None:
            gA = left @ V.mH
        else:
            X, Y = _outside(DenseMatrix(A, ctx.center), U, S, V, gU, gV)
            gA = (left + X) @ V.mH + U @ Y.mH
        if ctx.center:
            gA = gA - gA.mean(-2, keepdim=True)
        return gA.to(A.dtype), None, None, None, None


def _outside(matrix: DenseMatrix, U: Tensor, S: Tensor, V: Tensor, gU: Tensor | None, gV: Tensor | None):
    """X and Y of the equations above, divided by s_j, by conjugate gradients on all columns at once."""
    m = U.shape[-2]
    sigma = S.unsqueeze(-2)
    row_scale = matrix.scale

    def project(XY: Tensor) -> Tensor:
        X, Y = XY[..., :m, :], XY[..., m:, :]
        return torch.cat([X - U @ (U.mH @ X), Y - V @ (V.mH @ Y)], dim=-2)

    def apply(XY: Tensor) -> Tensor:
        X, Y = XY[..., :m, :], XY[..., m:, :]
        crossed = torch.cat([matrix.times(Y), matrix.adjoint_times(X)], dim=-2) * row_scale
        return XY - project(crossed) / sigma

    gU = torch.zeros_like(U) if gU is None else gU
    gV = torch.zeros_like(V) if gV is None else gV
    return _conjugate_gradients(apply, project(torch.cat([gU, gV], dim=-2)) / sigma).split([m, V.shape[-2]], dim=-2)


def _conjugate_gradients(apply, B: Tensor) -> Tensor:
    """The solution Z of ``apply(Z) = B``, Hermitian positive definite for each column on its own."""
    eps = torch.finfo(B.dtype).eps
    Z, residual, direction, square = torch.zeros_like(B), B, B, _squares(B)
    enough = square * (4 * eps) ** 2
    for step in range(_MOST_STEPS):
        if step % _STEPS_PER_LOOK == 0 and not (square > enough).any():
            return Z
        image = apply(direction)
        curvature = (direction.conj() * image).sum(-2, keepdim=True).real
        # Where there is no gap the equations are singular, and what rounding makes of no curvature is no step.
        is_open = (square > enough) & (curvature > 16 * eps * _squares(direction))
        length = torch.where(is_open, square / curvature, 0)
        Z = Z + length * direction
        residual = residual - length * image
        before, square = square, _squares(residual)
        direction = residual + torch.where(is_open, square / before, 0) * direction
    reached = 4 * eps * (square / enough).nan_to_num().max().sqrt()
    warnings.warn(
        "the gradient of the singular vectors of a low-rank decomposition is inexact: the last singular value is too "
        f"near to those cut off, or the triplets have not converged (relative residual {reached:.1g})",
        UserWarning,
        stacklevel=2,
    )
    return Z


def _squares(X: Tensor) -> Tensor:
    return torch.linalg.vector_norm(X, dim=-2, keepdim=True).square()
