"""``python -m metalsvd doctor``: does metalsvd work here, and if not, what to do.

Exit status 0 where all is well, 1 where there is a problem, 2 for a wrong command line. What is found, and the JSON
that tells of it, stand in :mod:`metalsvd._diagnosis`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from . import __version__, _route, emulator, ops
from ._accuracy import Accuracy, accuracy, accuracy_bounds, lapack_accuracy
from ._devices import has_apple_gpu, is_built_for, torch_has_mps
from ._diagnosis import OLDEST_MACOS, Advice, Call, Check, Device, Library, Report, Routing, advise, lines_of
from ._dtypes import HALF_DTYPES, compute_dtype
from .bench.targets import Target, choose_target

DESCRIPTION = """\
Say whether metalsvd works here, and what to do where it does not.

Looks at versions, device and routing, compiles the Metal libraries, times first and later calls, checks the accuracy of
every method in every dtype, and measures how fast the device copies. Exit status 0 only where all is well.
"""

# A shape that is typical of each method, which `driver=` forces. On cpu there is LAPACK alone.
METHODS = {"thread": (4, 3), "simdgroup": (20, 8), "threadgroup": (40, 33), "block": (60, 50)}
METHODS |= {"qr": (300, 6), "recover": (60, 50)}
# Of real matrices alone.
REAL_METHODS = {"cholesky": (300, 40), "whole": (60, 50)}
LAPACK = {"lapack": (20, 8)}
LIBRARIES = [
    "thread",
    "simdgroup",
    "simdgroup_apart",
    "simdgroup_recover",
    "threadgroup",
    "block",
    "tall",
    "reflectors",
    "cholesky",
    "whole",
]
WIDE_DTYPES = [torch.float32, torch.complex64]

# By the chip's name, since torch tells no family (Apple's Metal feature set tables).
FAMILIES = {"M1": "Apple7", "M2": "Apple8", "M3": "Apple9", "M4": "Apple9", "M5": "Apple10"}
WARM_CALLS = 5
COPIES = 5
COPIED_BYTES = 2**29  # more than any cache holds
EMULATED_COPIED_BYTES = 2**26


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=["auto", "mps", "cuda", "emulated", "cpu"],
        default="auto",
        help="auto: the first there is of mps (an Apple GPU), cuda, and the emulated Apple GPU (default: auto)",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


# --- the device -------------------------------------------------------------------------------------------------------


class NoDevice(Exception):
    """There is none, and what to do about it."""


def find_target(wanted: str) -> Target:
    """``auto``, ``mps`` (a real one), ``cuda``, ``emulated`` or ``cpu`` -> where to look.

    Raises:
        NoDevice: there is none here.
    """
    reasons = {
        "mps": None if has_apple_gpu() else _why_no_mps(),
        "cuda": _why_no_cuda(),
        "emulated": _why_no_emulator(),
        "cpu": None,
    }
    if wanted == "auto":
        wanted = next((name for name in ("mps", "cuda", "emulated") if reasons[name] is None), wanted)
    if wanted == "auto":
        raise NoDevice(
            "There is no device here that metalsvd has kernels for. mps: {mps} cuda: {cuda} emulated: {emulated} "
            "On cpu metalsvd.svd is LAPACK's (--device cpu looks at that).".format(**reasons)
        )
    if reasons[wanted] is not None:
        raise NoDevice(f"There is no device {wanted} here: {reasons[wanted]}")
    return choose_target("mps" if wanted == "emulated" else wanted)


def _why_no_mps() -> str:
    if sys.platform != "darwin":
        return "Apple GPUs are in Macs. On Linux --device emulated runs the same kernels on the emulated one."
    if torch_has_mps():
        return f"torch finds no Apple GPU. It does on macOS {OLDEST_MACOS} and later, and not in most virtual Macs."
    return "this torch is built without mps. Install torch for arm64 into a Python for arm64, not one under Rosetta."


def _why_no_cuda() -> str | None:
    if not torch.cuda.is_available():
        return "torch finds no CUDA device. Look at nvidia-smi, and whether this torch is one for CUDA."
    if not is_built_for("cuda"):
        return "this metalsvd was built without CUDA kernels. Install it from source where nvcc is."
    return None


def _why_no_emulator() -> str | None:
    if torch_has_mps():
        return "this torch has the real one: --device mps."
    if not emulator.is_available():
        return "this metalsvd was built without it. Build it on Linux from a clone, with pybind11 installed."
    return None


def describe_device(target: Target) -> Device:
    name = target.environment()["device"]
    if target.emulated:
        times = "the emulator's on this CPU: they say nothing about a Mac"
        return Device("mps", "emulated Apple GPU", "Apple7", emulated=True, times_are=times)
    if target.device == "cuda":
        return Device("cuda", name, "sm_{}{}".format(*torch.cuda.get_device_capability()))
    if target.device == "mps":
        chip = re.search(r"\bM\d+\b", name)
        return Device("mps", name, FAMILIES.get(chip.group()) if chip else None)
    return Device("cpu", name, times_are="the CPU's")


# --- examining --------------------------------------------------------------------------------------------------------


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _seconds_of(call: Callable[[], object], target: Target) -> float:
    target.synchronize()
    start = time.perf_counter()
    call()
    target.synchronize()
    return time.perf_counter() - start


def compile_library(name: str, target: Target) -> Library:
    try:
        return Library(name, _seconds_of(lambda: torch.ops.metalsvd.compile_library(name), target))
    except Exception as error:
        return Library(name, failure=_line(error))


def _driver(method: str) -> str | None:
    return None if method in LAPACK else method


def time_calls(method: str, shape: tuple[int, int], target: Target) -> Call:
    call = Call(method, list(shape))
    try:
        A = _test_matrices(*shape, torch.float32)["normal"].to(target.device)
        seconds = [_seconds_of(lambda: ops.svd(A, driver=_driver(method)), target) for _ in range(1 + WARM_CALLS)]
        call.cold_seconds, call.warm_seconds = seconds[0], statistics.median(seconds[1:])
    except Exception as error:
        call.failure = _line(error)
    return call


def _test_matrices(m: int, n: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """The same ones always, on the CPU: easy, graded over six decades, rank-deficient and zero."""
    generator = torch.Generator().manual_seed(0)
    rank = max(1, min(m, n) // 2)
    normal = torch.randn(m, n, dtype=dtype, generator=generator)
    left = torch.randn(m, rank, dtype=dtype, generator=generator)
    right = torch.randn(rank, n, dtype=dtype, generator=generator)
    grades = torch.logspace(0, -6, n)
    return {"normal": normal, "graded": normal * grades, "half rank": left @ right, "zero": torch.zeros_like(normal)}


def check_accuracy(method: str, shape: tuple[int, int], dtype: torch.dtype, target: Target) -> Check:
    """The accuracy promise on a few matrices; half types against float32 rounded once."""
    check = Check(method, str(dtype).removeprefix("torch."), list(shape))
    examine = _check_half_type if dtype in HALF_DTYPES else _check_against_lapack
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "ComplexHalf support is experimental")  # torch's, of complex32
            examine(check, dtype, target)
        # Written so that NaN is not good.
        check.good = all(check.numbers[name] <= bound for name, bound in check.bounds.items())
    except Exception as error:
        check.failure = _line(error)
    return check


def _check_against_lapack(check: Check, dtype: torch.dtype, target: Target) -> None:
    matrices = _test_matrices(*check.shape, dtype)
    A = torch.stack(list(matrices.values()))
    factors = [factor.cpu() for factor in _factors(A.to(target.device), check.method)]
    worst = -math.inf
    for index, name in enumerate(matrices):
        numbers = accuracy(A[index], *(factor[index] for factor in factors))
        bounds = accuracy_bounds(A[index], lapack_accuracy(A[index]))
        ratio = _worst_ratio(numbers, bounds)
        if ratio > worst:
            worst, check.matrix = ratio, name
            check.numbers, check.bounds = numbers._asdict(), bounds._asdict()


def _worst_ratio(numbers: Accuracy, bounds: Accuracy) -> float:
    ratios = [number / bound for number, bound in zip(numbers, bounds, strict=True)]
    return math.inf if any(map(math.isnan, ratios)) else max(ratios)


def _check_half_type(check: Check, dtype: torch.dtype, target: Target) -> None:
    matrices = _test_matrices(*check.shape, compute_dtype(dtype))
    A = torch.stack(list(matrices.values())).to(dtype)  # dtypes are changed on the CPU: mps may not know how
    halves = _factors(A.to(target.device), check.method)
    floats = _factors(A.to(compute_dtype(dtype)).to(target.device), check.method)
    distances = []
    for half, wide in zip(halves, floats, strict=True):
        rounded = wide.cpu().to(half.dtype).to(wide.dtype)
        distances.append((half.cpu().to(wide.dtype) - rounded).abs().max().item())
    distance = math.nan if any(map(math.isnan, distances)) else max(distances)
    check.matrix, check.numbers, check.bounds = "all", {"distance": distance}, {"distance": 0.0}


def _factors(A: Tensor, method: str) -> tuple[Tensor, Tensor, Tensor]:
    result = ops.svd(A, driver=_driver(method))
    return result.U, result.S, result.Vh


def look_at_routing(target: Target) -> Routing:
    if not _route.is_patched(target.device):
        return Routing(patched=False)
    A = _test_matrices(9, 6, torch.float32)["normal"].to(target.device)
    try:
        theirs, ours = torch.linalg.svd(A, full_matrices=False), ops.svd(A)
        reached = all(torch.equal(*pair) for pair in zip(theirs, (ours.U, ours.S, ours.Vh), strict=True))
    except RuntimeError:
        reached = False
    return Routing(patched=True, reached=reached)


def measure_bandwidth(target: Target) -> float | None:
    """Bytes read and written a second by the fastest of some copies; None where there is no memory for it."""
    count = EMULATED_COPIED_BYTES if target.emulated or target.device == "cpu" else COPIED_BYTES
    try:
        source = torch.zeros(count, dtype=torch.uint8, device=target.device)
        copy = torch.ones_like(source)
        return 2 * count / min(_seconds_of(lambda: copy.copy_(source), target) for _ in range(COPIES))
    except RuntimeError:
        return None


def examine(wanted: str = "auto") -> Report:
    """All findings about the device ``wanted``, an option of the command, and the advice they give."""
    report = Report(
        versions={"metalsvd": __version__, "torch": torch.__version__, "python": platform.python_version()},
        system={"os": platform.platform(), "macos": platform.mac_ver()[0] or None, "machine": platform.machine()},
        device=Device(),
        routing=Routing(patched=False),
    )
    try:
        target = find_target(wanted)
    except NoDevice as absent:
        report.advice = [*advise(report), Advice(True, str(absent))]
        return report
    report.device = describe_device(target)
    if target.device == "mps":
        report.libraries = [compile_library(name, target) for name in LIBRARIES]
    methods = LAPACK if target.device == "cpu" else METHODS
    dtypes = WIDE_DTYPES if target.device == "cpu" else [*WIDE_DTYPES, *HALF_DTYPES]
    report.calls = [time_calls(method, shape, target) for method, shape in methods.items()]
    for method, shape in methods.items():
        report.checks += [check_accuracy(method, shape, dtype, target) for dtype in dtypes]
    for method, shape in REAL_METHODS.items() if target.device != "cpu" else []:
        real = [dtype for dtype in dtypes if not dtype.is_complex]
        report.checks += [check_accuracy(method, shape, dtype, target) for dtype in real]
    report.routing = look_at_routing(target)
    report.copy_bandwidth = measure_bandwidth(target)
    report.advice = list(advise(report))
    return report


# --- the command ------------------------------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> int:
    report = examine(arguments.device)
    if arguments.json:
        print(json.dumps(report.as_json(), indent=1, allow_nan=False))
    else:
        print(*lines_of(report), sep="\n")
    return 0 if report.healthy else 1
