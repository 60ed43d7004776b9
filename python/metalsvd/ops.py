"""The public functions. Each is a few lines over an operator of ``torch.ops.metalsvd``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _dispatch
from ._plan import plan as plan


class SVD(NamedTuple):
    """The factors of ``A = U diag(S) V^H``, with ``Vh`` (the V^H of torch.linalg.svd) beside them."""

    U: Tensor
    S: Tensor
    V: Tensor

    @property
    def Vh(self) -> Tensor:
        """``V^H``, a view."""
        return self.V.mH if self.V.dim() >= 2 else self.V


class SVDInfo(NamedTuple):
    """The factors of ``A = U diag(S) V^H`` and, for each matrix, what happened to it."""

    U: Tensor
    S: Tensor
    V: Tensor
    info: Tensor

    Vh = SVD.Vh


def _with_v(Vh: Tensor) -> Tensor:
    return Vh.mH if Vh.dim() >= 2 else Vh


def svd(A: Tensor, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None) -> SVD:
    """Singular value decomposition ``A = U diag(S) V^H`` of each matrix of a batch.

    On mps (a real or the emulated Apple GPU) and, where metalsvd was built for it, on cuda one-sided Jacobi in our
    kernels (Hestenes 1958; Demmel and Veselic 1992, "Jacobi's method is more accurate than QR"): singular values of
    column-graded matrices keep their relative accuracy. On cpu LAPACK, through torch.

    Args:
        A: shape ``(*, m, n)``, ``*`` zero or more batch dimensions, any strides. float32, float16, bfloat16,
            complex64 or complex32 on mps and cuda; float32, float64, complex64 or complex128 on cpu; float64 and
            complex128 on cuda are computed by torch's own.
        full_matrices: U and V square instead of ``k = min(m, n)`` columns each.
        compute_uv: without it only S is computed, and U and V are empty.
        driver: the method of our kernels: ``"thread"``, ``"simdgroup"``, ``"threadgroup"``, ``"block"``, or
            ``"qr"`` for the tall QR in front of one, ``"cholesky"`` for one by Cholesky factors where it is accurate
            (real, 33 to 128 columns, not `full_matrices`), ``"recover"`` for the tall QR, ``"block"`` and left vectors
            that follow from the right ones, or ``"whole"`` for that with sweeps that rotate all columns at once (real;
            two thirds of the time for one matrix of 190 to 400 columns, twice the time for hundreds). None lets the
            planner choose (see :func:`plan`).

    Returns:
        ``(U, S, V)`` with ``U (*, m, k or m)`` and ``V (*, n, k or n)`` of A's dtype, orthonormal columns always, and
        ``S (*, k)`` real, descending and non-negative.

    Raises:
        torch.linalg.LinAlgError: a matrix holds NaN or Inf, or did not converge; names the batch element. See
            :func:`svd_ex` and :class:`error_checks` to be told instead of stopped.
        RuntimeError: fewer than two dimensions, a dtype that the device has no kernel for, an unknown driver, or a
            matrix too large for the method that `driver` names (the message names the limit).
    """
    U, S, Vh = _dispatch.call(torch.ops.metalsvd.svd.default, A, full_matrices, compute_uv, driver=driver)
    return SVD(U, S, _with_v(Vh))


def svd_ex(A: Tensor, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None) -> SVDInfo:
    """:func:`svd` that never raises on data and, on mps and cuda, never waits for the device.

    Returns:
        ``(U, S, V, info)``: ``info``, int32 of shape ``(*)``, is 0 where all is well, 1 where the matrix holds NaN or
        Inf (its factors are NaN, its neighbours as if it were not there), 2 where it did not converge.
    """
    U, S, Vh, info = _dispatch.svd_ex("metalsvd.svd_ex", A, full_matrices, compute_uv, driver=driver)
    return SVDInfo(U, S, _with_v(Vh), info)


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values of each matrix, shape ``(*, k)``, descending: :func:`svd` without computing vectors."""
    return _dispatch.call(torch.ops.metalsvd.svd.default, A, False, False, driver=driver)[1]
