"""How Python code calls the operator ``metalsvd::svd_ex``: with a line for those who listen to the log, and with the
fallback to the CPU where the user has asked for it."""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor

from . import _log, emulator
from ._dtypes import compute_dtype

_fallback: str | None = None


def set_fallback(device: str | None) -> None:
    """What happens to a tensor on mps whose size our kernels refuse: an error, or LAPACK on the CPU with a warning.

    Nothing else ever falls back: our kernels take every dtype that ``torch.linalg.svd`` takes and mps has, and refuse
    only matrices of more than 2147482623 rows or columns and batches that need more threads than a GPU counts
    (2^32). What torch.linalg.svd itself refuses, as integers, stays refused, as does a ``driver`` that does not fit.
    The results are on mps, of A's dtype. The setting is one for the whole process, and off at first. It concerns
    metalsvd.svd, svdvals and svd_ex and the routed torch.linalg.svd; torch.ops.metalsvd.svd_ex, also where it is
    what torch.compile makes of metalsvd.svd_ex, raises still.

    Args:
        device: ``"cpu"``, or None to switch it off.

    Raises:
        ValueError: another device.
    """
    global _fallback
    if device not in (None, "cpu"):
        raise ValueError(f"set_fallback: expected 'cpu' or None, but got {device!r}")
    _fallback = device


def svd_ex(
    caller: str, A: Tensor, full_matrices: bool, compute_uv: bool, *, driver: str | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """U, S, Vh and info of ``torch.ops.metalsvd.svd_ex``; ``caller`` is what the user called, for log and warning."""
    operator = torch.ops.metalsvd.svd_ex.default
    if torch.compiler.is_compiling():  # the graph holds the operator, and nothing around it
        return operator(A, full_matrices, compute_uv, driver=driver)
    is_heard = _log.LOGGER.isEnabledFor(logging.INFO)
    if is_heard:
        _log.log_plan(caller, A, full_matrices, compute_uv, driver)
        before = _dispatches()
    reason = _refusal(A, full_matrices, compute_uv, driver) if _fallback else None
    if reason is not None:
        return _on_cpu(caller, A, full_matrices, compute_uv, reason)
    outputs = call(operator, A, full_matrices, compute_uv, driver=driver)
    if is_heard and A.is_mps and emulator.is_enabled():
        _log.LOGGER.debug("%s: %d dispatches", caller, _dispatches() - before)
    return outputs


def call(
    operator: torch._ops.OpOverload, A: Tensor, full_matrices: bool, compute_uv: bool, *, driver: str | None
) -> tuple[Tensor, ...]:
    """The operator. Where no gradient can be wanted torch's layer for it is left out: a quarter of the host's time for
    small matrices, since it is Python code."""
    is_wanted = torch.is_grad_enabled() and A.requires_grad
    if is_wanted or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return operator(A, full_matrices, compute_uv, driver=driver)
    with torch._C._AutoDispatchBelowAutograd():
        return operator(A, full_matrices, compute_uv, driver=driver)


def _dispatches() -> int:
    return emulator.counters().dispatches if emulator.is_enabled() else 0


def _refusal(A: Tensor, full_matrices: bool, compute_uv: bool, driver: str | None) -> str | None:
    """Why the planner has no method for A, a tensor on mps that torch.linalg.svd would take; None where it has one."""
    is_matrix = A.dim() >= 2 and (A.is_floating_point() or A.is_complex())
    if not A.is_mps or not is_matrix or A.numel() == 0 or driver is not None:
        return None
    try:
        _log.plan_of(A, full_matrices, compute_uv, driver)
    except RuntimeError as refusal:
        return str(refusal)
    return None


def _on_cpu(
    caller: str, A: Tensor, full_matrices: bool, compute_uv: bool, reason: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # The frame that is shown is the caller's of the function that the user called, where torch shows it to Python.
    warnings.warn(f"{caller} falls back to the CPU (metalsvd.set_fallback): {reason}", UserWarning, stacklevel=4)
    A_cpu = A.to("cpu", compute_dtype(A.dtype))  # LAPACK has no half types
    U, S, Vh, info = torch.ops.metalsvd.svd_ex.default(A_cpu, full_matrices, compute_uv)
    return U.to(A.device, A.dtype), S.to(A.device, A.dtype.to_real()), Vh.to(A.device, A.dtype), info.to(A.device)
