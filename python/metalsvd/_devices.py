"""Which devices metalsvd has kernels for."""

from __future__ import annotations

import torch

from . import emulator


def has_kernels(device_type: str) -> bool:
    """Whether our kernels run on ``mps`` (a real Apple GPU, or the emulated one where enabled) or ``cuda`` here."""
    if device_type == "mps":
        # is_built() first: a torch without mps that is asked is_available() remembers for good that there is none.
        return emulator.is_enabled() or (torch.backends.mps.is_built() and torch.backends.mps.is_available())
    return torch.cuda.is_available() and torch._C._dispatch_has_kernel_for_dispatch_key("metalsvd::svd_ex", "CUDA")


def best_device() -> torch.device:
    """The first of mps and cuda that our kernels run on here; cpu, which is LAPACK, where there is neither."""
    return torch.device(next(filter(has_kernels, ("mps", "cuda")), "cpu"))
