"""Routes torch's own singular value decomposition on mps, and on demand on cuda, to our kernels.

``aten::_linalg_svd`` is what torch.linalg.svd, svdvals, pinv, matrix_rank, cond, matrix_norm, svd_lowrank and others
call, with gradients, forward-mode derivatives and batching rules of torch's own around it. Only its kernel for the
device's key is replaced; taking the replacement away uncovers whatever was there.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from . import _dispatch
from ._devices import is_built_for
from ._errors import raise_for_info

_lock = threading.Lock()
_libraries: dict[str, torch.library.Library] = {}  # of each device type that is patched: what makes it so

# Torch's own kernels on CUDA, for what ours do not compute: their function and out= forms.
_OWN_OVERLOADS = ("aten::_linalg_svd", "aten::_linalg_svd.U")
_own_on_cuda: dict[str, object] = {}


def _linalg_svd(A: Tensor, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None):
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    U, S, Vh, info = _dispatch.svd_ex("torch.linalg.svd", A, full_matrices, compute_uv)
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


def _is_torchs_own(A: Tensor, driver: str | None) -> bool:
    """Whether torch computes this on CUDA still: float64, not for our kernels, or where a cuSOLVER driver is named."""
    return driver is not None or A.dtype in (torch.float64, torch.complex128)


def _linalg_svd_cuda(keys, A, full_matrices=False, compute_uv=True, *, driver=None):
    if _is_torchs_own(A, driver):
        own = _own_on_cuda["aten::_linalg_svd"]
        return own.call_boxed(keys, A, full_matrices, compute_uv, driver=driver)
    U, S, Vh = _linalg_svd(A, full_matrices, compute_uv)
    return U, S, Vh.contiguous()  # row-major, as torch's kernel for CUDA returns it


def _linalg_svd_cuda_out(keys, A, full_matrices=False, compute_uv=True, *, driver=None, U, S, Vh):
    if _is_torchs_own(A, driver):
        own = _own_on_cuda["aten::_linalg_svd.U"]
        return own.call_boxed(keys, A, full_matrices, compute_uv, driver=driver, U=U, S=S, Vh=Vh)
    return _linalg_svd_out(A, full_matrices, compute_uv, U=U, S=S, Vh=Vh)


def _patch_mps(library: torch.library.Library) -> None:
    library.impl("_linalg_svd", _linalg_svd, "MPS")
    library.impl("_linalg_svd.U", _linalg_svd_out, "MPS")


def _patch_cuda(library: torch.library.Library) -> None:
    if not is_built_for("cuda"):
        raise RuntimeError("patch_torch: this build of metalsvd has no CUDA kernels (CMake option METALSVD_CUDA)")
    for overload in _OWN_OVERLOADS:
        _own_on_cuda[overload] = torch.library.get_kernel(overload, "CUDA")
    library.impl("_linalg_svd", _linalg_svd_cuda, "CUDA", with_keyset=True)
    library.impl("_linalg_svd.U", _linalg_svd_cuda_out, "CUDA", with_keyset=True)


_PATCHES = {"mps": _patch_mps, "cuda": _patch_cuda}


def patch_torch(devices: Iterable[str] = ("mps",)) -> None:
    """Makes torch.linalg.svd and all that is built on it use our kernels on these device types.

    Those that already do are left as they are. Done for mps when metalsvd is imported, unless the environment says
    ``METALSVD_ROUTE=0``. On cuda float64, complex128 and calls that name a cuSOLVER driver stay torch's own.

    Args:
        devices: device types, of ``"mps"`` and ``"cuda"``.

    Raises:
        ValueError: another device type.
        RuntimeError: ``"cuda"``, and this metalsvd was built without CUDA.
    """
    devices = (devices,) if isinstance(devices, str) else tuple(devices)
    for device in devices:
        if device not in _PATCHES:
            raise ValueError(f"patch_torch: expected devices of {', '.join(_PATCHES)}, but got {device!r}")
    with _lock:
        for device in devices:
            if device not in _libraries:
                _libraries[device] = _patched(device)


def _patched(device: str) -> torch.library.Library:
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        # Where torch has a kernel of its own (on mps from 2.14 on), replacing it is the purpose.
        warnings.simplefilter("ignore")
        _PATCHES[device](library)
    return library


def unpatch_torch() -> None:
    """Undoes :func:`patch_torch`: what torch had for every device before is there again. May be called twice."""
    with _lock:
        for library in _libraries.values():
            library._destroy()
        _libraries.clear()
        _own_on_cuda.clear()


def is_patched(device: str = "mps") -> bool:
    """Whether torch.linalg.svd on this device type uses our kernels."""
    return device in _libraries
