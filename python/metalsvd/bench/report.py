"""What the user gets to read: the table, and ``results.json``."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .measure import MODEL_CHIP, REFERENCE_WORK, WRONG, Record, Settings, ratio_to_best_peer

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = 1
NOTHING = "-"
REMARK_WIDTH = 60
TIME_HEADINGS = ["median\nms", "quartiles\nms", "vs best\npeer"]
COUNT_HEADINGS = [
    "dispatches",
    "host\nwaits",
    "barriers",
    "bytes\nread",
    "bytes\nwritten",
    "scratch\nbytes",
    "(model\nms)",
]
BYTE_UNITS = ["", "K", "M", "G", "T"]


# --- words ------------------------------------------------------------------------------------------------------------


def short_method(words: str | None) -> str:
    """The names in the words of ``metalsvd.plan``: ``"qr + thread"`` for "tall QR of 2 + 1 ..., then thread: ..."."""
    if words is None:
        return ""
    front, _, behind = words.rpartition(", then ")
    name = behind.partition(":")[0]
    return f"qr + {name}" if front else name


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    number = seconds * 1e3
    return f"{number:.4g}" if number < 1000 else f"{number:.0f}"


def _quartiles(record: Record) -> str:
    return NOTHING if record.quartiles is None else " .. ".join(map(_milliseconds, record.quartiles))


def _error(number: float | None) -> str:
    return NOTHING if number is None else f"{number:.1e}"


def _bytes(number: int | None) -> str:
    """Three digits and the power of 1024: ``"1.25M"``."""
    if number is None:
        return NOTHING
    size, unit = float(number), 0
    while size >= 1000 and unit < len(BYTE_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.3g}{BYTE_UNITS[unit]}"


def _ratio(record: Record, records: list[Record]) -> str:
    ratio = ratio_to_best_peer(record, records)
    return NOTHING if ratio is None else f"{ratio:.2f}x"


def _remark(record: Record) -> str:
    if record.failure:
        return f"failed: {record.failure}"
    if record.is_wrong:
        return f"wrong (an error above {WRONG}): compared with nothing"
    return ""


# --- the table --------------------------------------------------------------------------------------------------------


def _cells_by_case(records: list[Record]) -> list[list[Record]]:
    return [list(group) for _, group in groupby(records, key=lambda record: record.case)]


def _error_cells(record: Record, job: str) -> list[str]:
    errors = record.errors
    if errors is None:
        return [NOTHING] * (2 if job == "values" else 3)
    if job == "values":
        return [_error(errors.norm_error), _error(errors.sigma_error)]
    return [_error(errors.residual), _error(errors.orthogonality), _error(errors.sigma_error)]


def _time_cells(record: Record, records: list[Record]) -> list[str]:
    if record.failure:
        return [NOTHING] * 3
    return [_milliseconds(record.median), _quartiles(record), _ratio(record, records)]


def _count_cells(record: Record) -> list[str]:
    counters = record.counters
    if counters is None or record.failure:
        return [NOTHING] * 7
    return [
        str(counters["dispatches"]),
        str(counters["host_waits"]),
        str(counters["barriers"]),
        _bytes(counters["bytes_read"]),
        _bytes(counters["bytes_written"]),
        _bytes(record.scratch_bytes),
        f"({_milliseconds(record.model_seconds)})",
    ]


def table(records: list[Record], settings: Settings, emulated: bool) -> Table:
    """One row a contender, one section a shape. Times, or counts, never without the errors behind them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    has_vectors = settings.job != "values"
    has_remarks = any(map(_remark, records))
    headings = [
        *(COUNT_HEADINGS if emulated else TIME_HEADINGS),
        *(["residual", "ortho-\ngonality"] if has_vectors else ["norm\nerror"]),
        "sigma\nerror",
        *([] if emulated else ["peak\nmemory"]),
    ]
    made = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("shape", style="bold", overflow="fold")
    made.add_column("contender", overflow="fold")
    made.add_column("method", overflow="fold")
    for heading in headings:
        made.add_column(heading, justify="right", overflow="fold")  # not one digit is lost on a narrow terminal
    if has_remarks:
        made.add_column("remark", max_width=REMARK_WIDTH, overflow="fold")

    for cell in _cells_by_case(records):
        for index, record in enumerate(cell):
            row = [
                "" if index else _case_name(record),
                record.name,
                short_method(record.method),
                *(_count_cells(record) if emulated else _time_cells(record, cell)),
                *_error_cells(record, settings.job),
                *([] if emulated else [_bytes(record.peak_bytes)]),
                *([_remark(record)] if has_remarks else []),
            ]
            style = "bold" if record.is_ours and len(cell) > 1 else ""
            made.add_row(*map(Text, row), style=style, end_section=index == len(cell) - 1)
    return made


def _case_name(record: Record) -> str:
    return record.case.name if record.case.dtype_name == "float32" else f"{record.case.name} {record.case.dtype_name}"


def legend(settings: Settings, emulated: bool) -> list[str]:
    """What the columns of the table are, in lines."""
    lines = []
    if emulated:
        lines.append(
            "counted on the emulated GPU in one call; nothing was timed. "
            f"(model ms): what a cost model makes of these counts for an {MODEL_CHIP}"
        )
        lines.append("scratch: the most device memory held during the call beyond A and the outputs; K = 1024 bytes")
    else:
        lines.append(
            "median and quartiles: of up to "
            f"{settings.repeat} samples after warming up, each one call or the mean of as many as take 1 ms"
        )
        lines.append("vs best peer: the median of the fastest peer that is right over this one's; above 1 is faster")
        lines.append("peak memory: held during the call beyond A, outputs included; K = 1024 bytes")
    if settings.job == "values":
        lines.append("norm error: abs(|S|_2 - |A|_F) / |A|_F")
    else:
        lines.append(
            "residual: |A - U S Vh|_F / |A|_F; orthogonality: the larger of |U^H U - I|_max, |Vh Vh^H - I|_max"
        )
    limit = round(REFERENCE_WORK ** (1 / 3))
    lines.append(
        "sigma error: max |sigma - sigma64| / sigma64_1, sigma64 by float64 LAPACK on the CPU; "
        f"'-' beyond m n min(m, n) = {limit}^3"
    )
    lines.append("every error is the worst of the batch; results.json tells of how many matrices sigma error is")
    return lines


# --- results.json -----------------------------------------------------------------------------------------------------


def _number(number: float | None) -> float | str | None:
    """JSON has no NaN and no infinity: they are strings."""
    if number is None or math.isfinite(number):
        return number
    return str(float(number))


def _record_json(record: Record, records: list[Record]) -> dict[str, Any]:
    case = record.case
    errors = record.errors and {
        name: _number(value) if isinstance(value, float) else value for name, value in record.errors._asdict().items()
    }
    return {
        "shape": list(case.shape),
        "batch": case.batch,
        "m": case.m,
        "n": case.n,
        "dtype": case.dtype_name,
        "job": record.job,
        "contender": record.name,
        "package": record.package,
        "driver": record.driver or None,
        "version": record.version,
        "ours": record.is_ours,
        "method": record.method,
        "seconds": record.seconds,
        "calls_per_sample": record.calls_per_sample,
        "median_seconds": record.median,
        "quartiles_seconds": record.quartiles and list(record.quartiles),
        "ratio_to_best_peer": ratio_to_best_peer(record, records),
        "errors": errors,
        "wrong": record.is_wrong,
        "peak_bytes": record.peak_bytes,
        "output_bytes": record.output_bytes,
        "counters": record.counters,
        "model_seconds": record.model_seconds,
        "failure": record.failure,
    }


def results(
    records: list[Record], settings: Settings, environment: dict[str, Any], notes: list[str], interrupted: bool
) -> dict[str, Any]:
    """What ``results.json`` holds; see :mod:`metalsvd.bench` for the schema."""
    return {
        "schema": SCHEMA,
        "environment": environment,
        "settings": settings._asdict(),
        "notes": notes,
        "interrupted": interrupted,
        "records": [_record_json(record, cell) for cell in _cells_by_case(records) for record in cell],
    }
