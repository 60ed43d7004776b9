"""The gradient of the singular value decomposition, in plain torch operators, so that it can be differentiated again.

With A = U S Vh thin, k = min(m, n), and the gradients gU, gS, gVh, the differential of the factors (Townsend 2016,
"Differentiating the singular value decomposition"; Wan and Zhang 2019 for complex A) gives

    gA = U [ (skew(U^H gU) / E) S + S (skew(Vh gV) / E) + diag(gS) ] Vh
         + (1 - U U^H) gU S^-1 Vh + U S^-1 gVh (1 - V V^H)

where skew(X) = X - X^H and E_jk = s_k^2 - s_j^2. It is defined where the non-zero singular values differ, and for a
loss that does not depend on the phase of the singular vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _skew(X: Tensor) -> Tensor:
    return X - X.mH


def _over_gaps(X: Tensor, sigma: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """X_jk sigma / (s_k^2 - s_j^2) off the diagonal, zero on it; sigma is s_j or s_k, so that no square overflows."""
    eye = torch.eye(X.shape[-1], dtype=torch.bool, device=X.device)
    difference = (row - column).masked_fill(eye, 1)
    total = (row + column).masked_fill(eye, 1)
    return (X * (sigma / total) / difference).masked_fill(eye, 0)


def core_backward(U: Tensor, S: Tensor, Vh: Tensor, gU: Tensor | None, gS: Tensor | None, gVh: Tensor | None) -> Tensor:
    """The middle factor of ``U core Vh``, what the gradient of A is within the spans of U and Vh; (*, k, k)."""
    row, column = S.unsqueeze(-2), S.unsqueeze(-1)  # s_k and s_j of an entry jk
    core = torch.zeros_like(U[..., : S.shape[-1], :]) if gS is None else torch.diag_embed(gS).to(U.dtype)
    if gU is not None:
        UhgU = U.mH @ gU
        core = core + _over_gaps(_skew(UhgU), row, row, column)
        if U.is_complex():
            # The phase of u_j v_j^H is fixed: what turns u_j alone turns v_j with it.
            core = core + torch.diag_embed(_skew(UhgU).diagonal(dim1=-2, dim2=-1) / (2 * S))
    if gVh is not None:
        core = core + _over_gaps(_skew((gVh @ Vh.mH).mH), column, row, column)
    return core


def svd_backward(U: Tensor, S: Tensor, Vh: Tensor, gU: Tensor | None, gS: Tensor | None, gVh: Tensor | None) -> Tensor:
    """The gradient with respect to A of shape (*, m, n), from thin factors U (*, m, k), S (*, k), Vh (*, k, n)."""
    m, n, k = U.shape[-2], Vh.shape[-1], S.shape[-1]
    gA = U @ core_backward(U, S, Vh, gU, gS, gVh) @ Vh
    if gU is not None and m > k:
        gA = gA + ((gU - U @ (U.mH @ gU)) / S.unsqueeze(-2)) @ Vh
    if gVh is not None and n > k:
        gA = gA + U @ ((gVh - (gVh @ Vh.mH) @ Vh) / S.unsqueeze(-1))
    return gA


def _setup_context(ctx, inputs, keyword_only_inputs, output):
    # Without this a gradient that is absent comes as zeros, and zero over a zero singular value is NaN.
    ctx.set_materialize_grads(False)
    A, ctx.full_matrices, ctx.compute_uv = inputs
    U, S, Vh = output[:3]
    if ctx.compute_uv:
        ctx.save_for_backward(U, S, Vh)
    else:
        ctx.save_for_backward(A)
        ctx.driver = keyword_only_inputs["driver"]


def _backward(ctx, gU, gS, gVh, *ginfo):
    if ctx.compute_uv:
        U, S, Vh = ctx.saved_tensors
    else:
        # Only singular values were asked for: their gradient needs the vectors, which are computed now.
        (A,) = ctx.saved_tensors
        U, S, Vh = torch.ops.metalsvd.svd(A, False, True, driver=ctx.driver)
        gU = gVh = None
    if ctx.full_matrices:
        # The vectors beyond the k-th are any orthonormal completion: no gradient passes through them.
        k = S.shape[-1]
        U, Vh = U[..., :k], Vh[..., :k, :]
        gU = None if gU is None else gU[..., :k]
        gVh = None if gVh is None else gVh[..., :k, :]
    return svd_backward(U, S, Vh, gU, gS, gVh), None, None


for _name in ("svd", "svd_ex"):
    torch.library.register_autograd(f"metalsvd::{_name}", _backward, setup_context=_setup_context)
