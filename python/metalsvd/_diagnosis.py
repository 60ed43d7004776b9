"""What the doctor finds, the advice that this gives, and both in words. Nothing here looks at a device.

The findings as JSON (schema 1; what ``python -m metalsvd doctor --json`` prints) are one object. What is unknown is
null; NaN and infinity are the strings ``"nan"``, ``"inf"``, ``"-inf"``.

``schema``, ``healthy``
    1, and whether no advice is a problem
``versions``
    of ``metalsvd``, ``torch`` and ``python``
``system``
    ``os`` in words, ``macos``: its version, ``machine``: the processor's architecture
``device``
    ``type`` (mps, cuda or cpu; null where there is none), ``name``, ``family`` (of GPU: Apple7 and so on, or sm_90) and
    ``emulated``; ``times_are``: whose the seconds below are, in words
``routing``
    ``patched``: whether torch.linalg.svd on the device is routed to metalsvd; ``reached``: whether it gave the bits of
    metalsvd.svd (null where it is not routed)
``libraries``
    of Metal, on mps: ``name``, ``seconds`` that compiling it took (macOS keeps what it compiled before: only the first
    time ever is it all), ``failure`` in a line
``calls``
    of each method: ``method``, ``shape``, ``cold_seconds`` (the first in this process, its libraries compiled),
    ``warm_seconds`` (median of those after it), ``failure``
``checks``
    of each method and dtype: ``method``, ``dtype``, ``shape``, ``good``, ``matrix`` (the one nearest to its bounds),
    ``numbers`` and ``bounds`` by name, ``failure``. The numbers of float32 and complex64 are those of the accuracy
    promise; of a half type ``distance``, the largest between its factors and those of float32 rounded once.
``copy_bandwidth``
    bytes read and written a second by a copy on the device
``advice``
    ``problem`` (false: worth knowing, and no illness) and ``text``
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator
from typing import Any

from . import _cost_model, _errors

OLDEST_TORCH = (2, 10)
OLDEST_MACOS = 14
LEAST_PART_OF_BANDWIDTH = 0.4  # of the data sheet's


# --- findings ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Device:
    type: str | None = None
    name: str | None = None
    family: str | None = None
    emulated: bool = False
    times_are: str = "the device's"


@dataclasses.dataclass
class Routing:
    patched: bool
    reached: bool | None = None


@dataclasses.dataclass
class Library:
    name: str
    seconds: float | None = None
    failure: str | None = None


@dataclasses.dataclass
class Call:
    method: str
    shape: list[int]
    cold_seconds: float | None = None
    warm_seconds: float | None = None
    failure: str | None = None


@dataclasses.dataclass
class Check:
    method: str
    dtype: str
    shape: list[int]
    good: bool = False
    matrix: str | None = None
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    bounds: dict[str, float] = dataclasses.field(default_factory=dict)
    failure: str | None = None


@dataclasses.dataclass
class Advice:
    problem: bool
    text: str


@dataclasses.dataclass
class Report:
    versions: dict[str, str]
    system: dict[str, str | None]
    device: Device
    routing: Routing
    libraries: list[Library] = dataclasses.field(default_factory=list)
    calls: list[Call] = dataclasses.field(default_factory=list)
    checks: list[Check] = dataclasses.field(default_factory=list)
    copy_bandwidth: float | None = None
    advice: list[Advice] = dataclasses.field(default_factory=list)

    @property
    def healthy(self) -> bool:
        return not any(advice.problem for advice in self.advice)

    def as_json(self) -> dict[str, Any]:
        return _encoded({"schema": 1, "healthy": self.healthy, **dataclasses.asdict(self)})


def _encoded(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are strings."""
    if isinstance(value, dict):
        return {key: _encoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


# --- advice -----------------------------------------------------------------------------------------------------------


def advise(report: Report) -> Iterator[Advice]:
    """What is off in the findings and what to do about it, in plain words."""
    yield from _advise_on_environment(report)
    yield from _advise_on_kernels(report)
    yield from _advise_on_routing(report)
    yield from _advise_on_bandwidth(report)


def _advise_on_environment(report: Report) -> Iterator[Advice]:
    torch_version = tuple(int(part) for part in re.findall(r"\d+", report.versions["torch"])[:2])
    if torch_version < OLDEST_TORCH:
        yield Advice(True, f"torch {report.versions['torch']} is too old: metalsvd needs 2.10 or later.")
    macos = report.system["macos"]
    if macos and int(macos.partition(".")[0]) < OLDEST_MACOS:
        yield Advice(True, f"macOS {macos} is too old: metalsvd needs {OLDEST_MACOS} or later.")
    device = report.device
    if device.type == "mps" and device.family is None:
        yield Advice(
            False,
            f"The GPU of {device.name} is none that metalsvd knows. Its kernels need family Apple7 (M1) or later; "
            "trust the checks above.",
        )
    if device.type == "mps" and os.environ.get("PYTORCH_MPS_FAST_MATH", "0") != "0":
        yield Advice(
            False,
            "PYTORCH_MPS_FAST_MATH makes Metal compile less exact arithmetic. Unset it: metalsvd's accuracy is "
            "promised without it.",
        )
    if os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD") == "0":
        yield Advice(
            False, "TORCH_DEVICE_BACKEND_AUTOLOAD=0: `import torch` alone does not load metalsvd, import it as well."
        )
    if not _errors.is_enabled():
        yield Advice(False, "Errors are not read (metalsvd.error_checks(False)): bad matrices give NaN and no error.")


def _advise_on_kernels(report: Report) -> Iterator[Advice]:
    tell = "report it with what `python -m metalsvd doctor --json` prints"
    for library in report.libraries:
        if library.failure:
            yield Advice(
                True,
                f"The Metal library '{library.name}' does not compile ({library.failure}). Reinstall metalsvd and "
                f"update macOS; if that does not help, {tell}.",
            )
    for call in report.calls:
        if call.failure:
            yield Advice(
                True,
                f"Method '{call.method}' does not run ({call.failure}). Reinstall metalsvd for this torch; if that "
                f"does not help, {tell}.",
            )
    bad = [check for check in report.checks if not check.good]
    for check in bad:
        what = check.failure or "on the matrix '{}' {}".format(check.matrix, ", ".join(_beyond(check)))
        yield Advice(True, f"Method '{check.method}' is wrong in {check.dtype}: {what}.")
    if bad:
        yield Advice(
            True,
            "Do not use wrong results: METALSVD_ROUTE=0 in the environment, or metalsvd.unpatch_torch(), gives "
            f"torch.linalg.svd back to torch. Then {tell}.",
        )


def _beyond(check: Check) -> list[str]:
    return [
        f"{name} is {number:.1e}, at most {check.bounds[name]:.1e} is right"
        for name, number in check.numbers.items()
        if not number <= check.bounds[name]
    ]


def _advise_on_routing(report: Report) -> Iterator[Advice]:
    device, routing = report.device, report.routing
    if device.type == "mps" and not routing.patched:
        is_by_environment = os.environ.get("METALSVD_ROUTE") == "0"
        why = "METALSVD_ROUTE=0 is set" if is_by_environment else "by metalsvd.unpatch_torch()"
        yield Advice(
            False,
            f"torch.linalg.svd on mps does not use metalsvd: routing is switched off ({why}). Unset METALSVD_ROUTE or "
            "call metalsvd.patch_torch() to use it; metalsvd.svd does in any case.",
        )
    if routing.reached is False:
        yield Advice(
            True,
            f"torch.linalg.svd on {device.type} is routed to metalsvd and does not give its results. Another package "
            "may have replaced aten::_linalg_svd: import metalsvd last, or call metalsvd.unpatch_torch() and "
            "patch_torch().",
        )


def _advise_on_bandwidth(report: Report) -> Iterator[Advice]:
    if report.device.emulated or report.copy_bandwidth is None:
        return
    known = _cost_model.DEVICES.get((report.device.name or "").removeprefix("Apple ").lower())
    if known and report.copy_bandwidth < LEAST_PART_OF_BANDWIDTH * known.bandwidth:
        yield Advice(
            False,
            f"A copy moves {report.copy_bandwidth / 1e9:.0f} GB/s of the {known.bandwidth / 1e9:.0f} GB/s of "
            f"{report.device.name}. Something else may be using the GPU, or low power mode is on.",
        )


# --- what the user sees -----------------------------------------------------------------------------------------------


def lines_of(report: Report) -> Iterator[str]:
    versions, system, device = report.versions, report.system, report.device
    yield f"metalsvd {versions['metalsvd']}, torch {versions['torch']}, Python {versions['python']}"
    yield f"{system['os']}" + (f", macOS {system['macos']}" if system["macos"] else "")
    if device.type is not None:
        yield f"device {device.type}: {device.name}" + (f", family {device.family}" if device.family else "")
        yield from _device_lines(report)
    yield ""
    for advice in report.advice:
        yield f"{'PROBLEM' if advice.problem else 'note'}: {advice.text}"
    yield "healthy" if report.healthy else "not healthy"


def _device_lines(report: Report) -> Iterator[str]:
    routing, device = report.routing, report.device
    reaches = {None: "torch's own", True: "metalsvd's", False: "routed to metalsvd, and not reaching it"}
    yield f"torch.linalg.svd on {device.type}: {reaches[routing.reached]}"
    yield f"times are {device.times_are}; each number of a check stands beside its bound"
    yield ""
    for library in report.libraries:
        yield f"Metal library {library.name:12} " + (library.failure or f"compiled in {_milliseconds(library.seconds)}")
    for call in report.calls:
        times = f"first call {_milliseconds(call.cold_seconds)}, later {_milliseconds(call.warm_seconds)}"
        yield f"method {call.method:12} {_sizes(call.shape):>7}  {call.failure or times}"
    for check in report.checks:
        numbers = ", ".join(f"{name} {number:.0e} / {check.bounds[name]:.0e}" for name, number in check.numbers.items())
        verdict = f"{check.dtype:10} {'good' if check.good else 'BAD '} {check.failure or numbers}"
        yield f"check  {check.method:12} {_sizes(check.shape):>7}  {verdict}"
    if report.copy_bandwidth is not None:
        yield f"copying: {report.copy_bandwidth / 1e9:.1f} GB/s read and written"


def _milliseconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1e3:.2f} ms"


def _sizes(shape: list[int]) -> str:
    return "x".join(map(str, shape))
