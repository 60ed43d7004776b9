"""Routes torch's own singular value decomposition on mps to our kernels.

``aten::_linalg_svd`` is what torch.linalg.svd, svdvals, pinv, matrix_rank, cond, matrix_norm, svd_lowrank and others
call, with gradients, forward-mode derivatives and batching rules of torch's own around it. Only its kernel for the MPS
key is replaced; taking the replacement away uncovers whatever was there.
"""

from __future__ import annotations

import threading
import warnings

import torch
from torch import Tensor

from ._errors import raise_for_info

_lock = threading.Lock()
_library: torch.library.Library | None = None


def _linalg_svd(A: Tensor, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None):
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    U, S, Vh, info = torch.ops.metalsvd.svd_ex.default(A, full_matrices, compute_uv)
    raise_for_info(info)
    return U, S, Vh


def _check_out(out: Tensor, result: Tensor) -> None:
    # A kernel that replaces torch's stands behind its checks of out=, so they are made here, in torch's words.
    if out.dtype != result.dtype:
        raise RuntimeError(f"Expected out tensor to have dtype {result.dtype}, but got {out.dtype} instead")
    if out.device != result.device:
        raise RuntimeError(f"Expected out tensor to have device {result.device}, but got {out.device} instead")


def _write_out(out: Tensor, result: Tensor) -> None:
    if out.shape != result.shape:
        if out.numel() > 0:
            warnings.warn(
                "An output with one or more elements was resized since it had shape "
                f"{list(out.shape)}, which does not match the required output shape {list(result.shape)}.",
                UserWarning,
                stacklevel=2,
            )
        out.resize_(result.shape)
        out.as_strided_(result.shape, result.stride())
    out.copy_(result)


def _linalg_svd_out(A, full_matrices=False, compute_uv=True, *, driver=None, U, S, Vh):
    results = _linalg_svd(A, full_matrices, compute_uv, driver=driver)
    outs = (U, S, Vh)
    for out, result in zip(outs, results, strict=True):
        _check_out(out, result)
    for out, result in zip(outs, results, strict=True):
        _write_out(out, result)
    return outs


def patch_torch() -> None:
    """Makes torch.linalg.svd and all that is built on it use our kernels on mps. Does nothing where it already is so.

    Done when metalsvd is imported, unless the environment says ``METALSVD_ROUTE=0``. cpu and cuda are not touched.
    """
    global _library
    with _lock:
        if _library is not None:
            return
        library = torch.library.Library("aten", "IMPL")
        with warnings.catch_warnings():
            # Where torch has a kernel of its own (2.14 and later), replacing it is the purpose.
            warnings.simplefilter("ignore")
            library.impl("_linalg_svd", _linalg_svd, "MPS")
            library.impl("_linalg_svd.U", _linalg_svd_out, "MPS")
        _library = library


def unpatch_torch() -> None:
    """Undoes :func:`patch_torch`: what torch had for mps before is there again. May be called twice."""
    global _library
    with _lock:
        if _library is not None:
            _library._destroy()
            _library = None


def is_patched() -> bool:
    """Whether torch.linalg.svd on mps uses our kernels."""
    return _library is not None
