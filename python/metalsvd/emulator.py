"""An emulated Apple GPU for machines that have none.

:func:`enable` adds the device ``mps`` to a PyTorch that was built without it. Its tensors live in host memory,
PyTorch's own operators run on the CPU under its name, and Metal kernels run thread by thread in an emulator that checks
what a real GPU leaves unchecked and counts what they do::

    import torch
    import metalsvd.emulator

    metalsvd.emulator.enable()
    A = torch.randn(100, 8, 8, device="mps")
    with metalsvd.emulator.options(order="random", seed=1):
        U, S, Vh = torch.linalg.svd(A)
    print(metalsvd.emulator.counters().dispatches)

Results say nothing about speed. Where a Mac differs: its random numbers are others, and it refuses the operators that
PyTorch has not written for Metal, which here run on the CPU.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

__all__ = [
    "Counters",
    "Memory",
    "counters",
    "enable",
    "is_available",
    "is_enabled",
    "memory",
    "options",
    "reset_counters",
    "reset_peak_memory",
]

_MODULE_NAME = f"{__package__}._emulator"
_lock = threading.RLock()
_module: ModuleType | None = None
_counts_bytes = False  # whether check_memory was on at any time since the counters were last reset


@dataclasses.dataclass(frozen=True)
class Counters:
    """What the emulated GPU has done since the start or the last :func:`reset_counters`."""

    dispatches: int
    """Kernels launched."""
    threadgroups: int
    threads: int
    barriers: int
    """``threadgroup_barrier``, counted once for each threadgroup that passes it."""
    simd_operations: int
    """Shuffles, sums and votes, counted once for each SIMD-group that performs them."""
    bytes_read: int | None
    """From device memory by kernels; None unless ``options(check_memory=True)`` was in force."""
    bytes_written: int | None
    """To device memory by kernels; None unless ``options(check_memory=True)`` was in force."""
    host_waits: int
    """Times the host waited for the device: copies to the CPU, ``item()``, ``synchronize()``."""
    multiply_adds: int | None
    """``fma`` of floats in kernels; None unless ``options(check_memory=True)`` was in force."""
    critical_barriers: int
    """What a GPU of any size does one after the other: of each dispatch the barriers of the threadgroup that passed the
    most, summed over the dispatches."""
    critical_simd_operations: int
    """Likewise, of a SIMD-group of that threadgroup."""
    critical_multiply_adds: int | None
    """Likewise, of a thread; None unless ``options(check_memory=True)`` was in force."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of the emulated GPU, in bytes."""

    live: int
    """Held by tensors now."""
    peak: int
    """The most that was held at once since the start or the last :func:`reset_peak_memory`."""
    damaged_blocks: int
    """Released blocks around which somebody had written out of bounds."""


def is_available() -> bool:
    """Whether this installation of metalsvd contains the emulator."""
    return importlib.util.find_spec(_MODULE_NAME) is not None


def is_enabled() -> bool:
    """Whether :func:`enable` has added the emulated device to PyTorch."""
    return _module is not None


def enable() -> None:
    """Add the emulated Apple GPU to PyTorch as the device ``mps``. A second call does nothing.

    Call it right after ``import torch``: PyTorch decides once whether there is an MPS device and how many threads
    ``backward`` needs, the first time that somebody asks.

    Raises:
        RuntimeError: if PyTorch has a real MPS backend, if metalsvd was built without the emulator, or if PyTorch has
            already found that there is no MPS device.
    """
    global _module
    with _lock:
        if _module is not None:
            return
        if torch.backends.mps.is_built():
            raise RuntimeError("This PyTorch has a real MPS backend; metalsvd.emulator is for machines without one.")
        if not is_available():
            raise RuntimeError(
                "metalsvd was built without the emulated Apple GPU. Build it on Linux from a checkout of metalsvd, "
                "with torch and pybind11 installed: `pip install pybind11 && pip install --no-build-isolation .`"
            )
        module = _load_for_everyone(_MODULE_NAME)
        _complete_torch()
        if not torch.backends.mps.is_available():
            torch._C._has_mps = False
            raise RuntimeError(
                "PyTorch was asked for an MPS device before the emulator was enabled, and remembers that there is "
                "none. Call metalsvd.emulator.enable() right after `import torch`."
            )
        atexit.register(_let_autograd_threads_finish)
        _module = module


def counters() -> Counters:
    """The counters of the emulated GPU."""
    values = _enabled_module().counters()
    counted = {field.name: getattr(values, field.name) for field in dataclasses.fields(Counters)}
    if not _counts_bytes:
        counted.update(bytes_read=None, bytes_written=None, multiply_adds=None, critical_multiply_adds=None)
    return Counters(**counted)


def reset_counters() -> None:
    """Set every counter of the emulated GPU to zero."""
    global _counts_bytes
    module = _enabled_module()
    module.reset_counters()
    _counts_bytes = module.options().check_memory


def memory() -> Memory:
    """The memory that the tensors of the emulated GPU hold."""
    module = _enabled_module()
    return Memory(live=module.live_bytes(), peak=module.peak_bytes(), damaged_blocks=module.damaged_blocks())


def reset_peak_memory() -> None:
    """Let :attr:`Memory.peak` start again from the memory held now."""
    _enabled_module().reset_peak_bytes()


@contextlib.contextmanager
def options(
    *,
    order: str | None = None,
    seed: int | None = None,
    check_memory: bool | None = None,
    keep_denormals: bool | None = None,
    wide_lanes: bool | None = None,
) -> Iterator[None]:
    """Run Metal kernels differently inside a ``with`` block. What is None stays as it is; all is restored at the end.

    The options are those of the whole process, not of one thread.

    Args:
        order: in which threads and threadgroups get their turn: ``"forward"``, ``"reverse"`` or ``"random"``.
        seed: of ``order="random"``.
        check_memory: watch device memory: races, accesses out of bounds, and the bytes read and written. Slow.
        keep_denormals: compute with denormal numbers, as the kernels do on CUDA, where an Apple GPU has zeros.
        wide_lanes: plan as for lanes with registers for more than 128 words, which run other kernels of method
            ``simdgroup`` from 41 real or 21 complex columns on, and behind the QR of ``block`` up to 256 real ones, as
            on CUDA.

    Raises:
        ValueError: if ``order`` is none of the three, or ``seed`` is negative or has more than 64 bits.
        RuntimeError: if the emulator is not enabled.
    """
    global _counts_bytes
    module = _enabled_module()
    wanted, restored = module.options(), module.options()
    if order is not None:
        if order not in module.Order.__members__:
            raise ValueError(f"order must be one of {', '.join(module.Order.__members__)}, not {order!r}")
        wanted.order = module.Order.__members__[order]
    if seed is not None:
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must be from 0 to 2**64 - 1, not {seed}")
        wanted.seed = seed
    if check_memory is not None:
        wanted.check_memory = check_memory
    if keep_denormals is not None:
        wanted.keep_denormals = keep_denormals
    if wide_lanes is not None:
        wanted.wide_lanes = wide_lanes
    _counts_bytes = _counts_bytes or wanted.check_memory
    module.set_options(wanted)
    try:
        yield
    finally:
        module.set_options(restored)


def _enabled_module() -> ModuleType:
    if _module is None:
        raise RuntimeError("The emulated Apple GPU is not enabled; call metalsvd.emulator.enable() first.")
    return _module


def _load_for_everyone(name: str) -> ModuleType:
    """Import a module with its symbols open to libraries loaded later: they bind the Metal functions found there."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    try:
        return importlib.import_module(name)
    finally:
        sys.setdlopenflags(flags)


def _complete_torch() -> None:
    """Give a PyTorch built without MPS the Python-side pieces of one that has it."""
    torch._C._has_mps = True  # without it torch.manual_seed passes the device over
    torch._C._mps_get_name = lambda: "Emulated Apple GPU"
    torch._C._mps_get_core_count = lambda: os.cpu_count() or 1
    torch.UntypedStorage.mps = _storage_on_device  # torch.load puts tensors onto the device with it
    for function in vars(torch.backends.mps).values():  # answers given before
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def _storage_on_device(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """The storage itself if it is on the device, otherwise a copy there."""
    if storage.device.type == "mps":
        return storage
    copied = torch.empty(storage.nbytes(), dtype=torch.uint8, device="mps").untyped_storage()
    return copied.copy_(storage, False)


def _let_autograd_threads_finish(seconds: float = 2.0) -> None:
    """Wait at exit until the threads of backward idle: one that wants the GIL while Python shuts down aborts.

    They drop their last Python references after backward has returned to its caller. Sleeping leaves them the GIL, so a
    thread that the system calls asleep several times in a row has nothing left to do.
    """
    deadline = time.monotonic() + seconds
    looks_asleep = 0
    while looks_asleep < 3 and time.monotonic() < deadline:
        states = _autograd_thread_states()
        if not states:
            return
        looks_asleep = looks_asleep + 1 if set(states) == {"S"} else 0
        time.sleep(0.005)


def _autograd_thread_states() -> list[str]:
    """The scheduler's letter for each thread of backward: R for running or ready, S for asleep."""
    states = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(") ")
            if name.startswith("pt_autograd"):
                states.append(rest[0])
    return states
