"""Which devices metalsvd has kernels for."""

from __future__ import annotations

import torch

from . import emulator


def is_built_for(device_type: str) -> bool:
    """Whether this library holds the operators for ``mps``, ``cuda`` or ``cpu``, be there such a device or not."""
    return torch._C._dispatch_has_kernel_for_dispatch_key("metalsvd::svd_ex", device_type.upper())


def torch_has_mps() -> bool:
    """Whether this torch is built for Apple GPUs, be there one or not; the emulated one is none."""
    return not emulator.is_enabled() and torch.backends.mps.is_built()


def has_apple_gpu() -> bool:
    """Whether torch finds a real Apple GPU."""
    # The build first: a torch without mps that is asked is_available() remembers for good that there is none.
    return torch_has_mps() and torch.backends.mps.is_available()


def has_kernels(device_type: str) -> bool:
    """Whether our kernels run on ``mps`` (a real Apple GPU, or the emulated one where enabled) or ``cuda`` here."""
    if device_type == "mps":
        return emulator.is_enabled() or has_apple_gpu()
    return device_type == "cuda" and torch.cuda.is_available() and is_built_for("cuda")


def best_device() -> torch.device:
    """The first of mps and cuda that our kernels run on here; cpu, which is LAPACK, where there is neither."""
    return torch.device(next(filter(has_kernels, ("mps", "cuda")), "cpu"))
