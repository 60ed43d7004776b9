"""Where it is measured: how to wait for the device, what memory a call takes, what the machine is."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from typing import Any

import torch

from .. import emulator
from .._cli import UserError, choose_device

_MIB = 2**20


class Target:
    """The CPU, and what the others do differently."""

    device = "cpu"
    emulated = False
    cache_bytes = 64 * _MIB  # no processor tells; more than the last level of most
    has_float64 = True

    def synchronize(self) -> None:
        """Wait until all that was launched is done."""

    def peak_of(self, call: Callable[[], Any]) -> tuple[Any, int | None]:
        """The result of ``call()``, and the most bytes it held beyond those held before; None where nobody counts."""
        return call(), None

    def release_memory(self) -> None:
        """Give back what torch keeps for later, so that no contender is charged for another's."""

    def environment(self) -> dict[str, str]:
        """``device``, ``driver`` and ``runtime`` in words."""
        return {
            "device": f"{_processor()}, {torch.get_num_threads()} threads",
            "driver": f"{platform.system()} {platform.release()}",
            "runtime": "LAPACK through torch",
        }


class Cuda(Target):
    device = "cuda"

    def __init__(self) -> None:
        self._properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self.cache_bytes = getattr(self._properties, "L2_cache_size", 64 * _MIB)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def peak_of(self, call: Callable[[], Any]) -> tuple[Any, int | None]:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        return result, torch.cuda.max_memory_allocated() - before

    def release_memory(self) -> None:
        torch.cuda.empty_cache()

    def environment(self) -> dict[str, str]:
        return {
            "device": self._properties.name,
            "driver": _nvidia_driver(),
            "runtime": f"CUDA {torch.version.cuda}",
        }


class Mps(Target):
    device = "mps"
    has_float64 = False

    def synchronize(self) -> None:
        torch.mps.synchronize()

    def peak_of(self, call: Callable[[], Any]) -> tuple[Any, int | None]:
        torch.mps.synchronize()
        torch.mps.empty_cache()
        before = torch.mps.driver_allocated_memory()
        result = call()
        torch.mps.synchronize()
        # torch keeps what the call released: what it holds now is what the call needed.
        return result, torch.mps.driver_allocated_memory() - before

    def release_memory(self) -> None:
        torch.mps.empty_cache()

    def environment(self) -> dict[str, str]:
        return {"device": _processor(), "driver": f"macOS {platform.mac_ver()[0]}", "runtime": "Metal"}


class Emulated(Target):
    """Counts instead of times: what it takes on this CPU says nothing about a GPU."""

    device = "mps"
    emulated = True
    cache_bytes = 0
    has_float64 = False

    def peak_of(self, call: Callable[[], Any]) -> tuple[Any, int | None]:
        before = emulator.memory().live
        emulator.reset_peak_memory()
        result = call()
        return result, emulator.memory().peak - before

    def environment(self) -> dict[str, str]:
        return {"device": "emulated Apple GPU", "driver": "none", "runtime": "metalsvd.emulator on " + _processor()}


def choose_target(wanted: str) -> Target:
    """``auto``, ``mps``, ``cuda`` or ``cpu`` -> where to measure; ``auto`` is the first there is of cuda, mps and cpu.

    Raises:
        UserError: there is no such device here.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device here (expected one, or --device mps or cpu)")
    if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()):
        return Cuda()
    device = choose_device(wanted)
    if device.emulated:
        return Emulated()
    return Mps() if device.torch_name == "mps" else Target()


def _processor() -> str:
    if platform.system() == "Darwin":
        return _first_line(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _nvidia_driver() -> str:
    index = torch.cuda.current_device()
    version = _first_line(["nvidia-smi", f"--id={index}", "--query-gpu=driver_version", "--format=csv,noheader"])
    return f"NVIDIA {version or 'of unknown version'}"


def _first_line(command: list[str]) -> str:
    """What a command prints first; nothing where it is missing or fails."""
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return finished.stdout.strip().partition("\n")[0]
