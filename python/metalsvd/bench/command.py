"""The command: its arguments, the loop over the cells, and where the results go."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .. import __version__
from .._cli import UserError, not_negative, positive, require_packages, written_whole
from . import report
from .cases import DTYPES, JOBS, PRESETS, Case, Shape, input_set_count, make_inputs, parse_shape, preset
from .contenders import OUR_DRIVERS, TORCH_DRIVERS, UNCHECKED, Contender, Metalsvd, ours
from .measure import Judge, Record, Settings, measure
from .peers import PEERS, Absent, make_peers
from .targets import Target, choose_target

DESCRIPTION = """\
Measure speed, accuracy and memory of metalsvd beside its peers.

Prints a table with a row for each shape and contender: median time and quartiles, the ratio to the best peer, and
always the errors of that very result. On the emulated Apple GPU nothing is timed: its counters, and what a cost model
makes of them, stand in the table. Progress goes to standard error.
"""

DRIVERS = [*OUR_DRIVERS, UNCHECKED, *TORCH_DRIVERS]


# --- arguments --------------------------------------------------------------------------------------------------------


def _names(text: str, known: list[str], alone: list[str]) -> list[str]:
    """A list with commas of ``known`` names, or one of ``alone``."""
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in known and not (name in alone and len(names) == 1):
            raise argparse.ArgumentTypeError(
                f"expected {' or '.join(alone)}, or a list with commas of {', '.join(known)}, but got {text!r}"
            )
    return names


def _peers(text: str) -> list[str]:
    names = _names(text, PEERS, ["all", "none"])
    return PEERS if names == ["all"] else [] if names == ["none"] else names


def _drivers(text: str) -> list[str]:
    return _names(text, DRIVERS, ["all"])


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, but got {text!r}")
    return seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=["auto", "mps", "cuda", "cpu"],
        default="auto",
        help="mps: an Apple GPU, else the emulated one; auto: the first there is of cuda, mps, cpu (default: auto)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--shapes",
        type=parse_shape,
        nargs="+",
        metavar="SHAPE",
        help="BATCHxMxN or MxN, with :DTYPE behind it where it is another than --dtype, as 64x32x32:complex64",
    )
    what.add_argument(
        "--preset",
        choices=list(PRESETS),
        default="quick",
        help="a set of shapes; h100: the one that the project's figures are about (default: quick)",
    )
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32", help="of the inputs (default: float32)")
    parser.add_argument(
        "--job", choices=JOBS, default="thin", help="thin or full U and V, or singular values alone (default: thin)"
    )
    parser.add_argument(
        "--drivers",
        type=_drivers,
        default=[],
        metavar="D,D,...",
        help=f"of metalsvd: {', '.join(OUR_DRIVERS)}, {UNCHECKED} (auto, but no call waits for errors); of torch: "
        f"{', '.join(TORCH_DRIVERS)}; or all: of metalsvd's those that fit a shape (default: auto, and on cuda all of "
        "torch's)",
    )
    parser.add_argument(
        "--peers",
        type=_peers,
        default=PEERS,
        metavar="P,P,...",
        help=f"{', '.join(PEERS)}; all: those that are installed; or none (default: all)",
    )
    parser.add_argument("--repeat", type=positive, default=20, help="samples a cell at most (default: 20)")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=2.0,
        help="time for a cell's samples; three are made anyhow (default: 2)",
    )
    parser.add_argument("--seed", type=not_negative, default=0, help="of the random inputs (default: 0)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write results.json and plot.png there")
    parser.add_argument("--json", action="store_true", help="print results.json instead of the table")


# --- who takes part ---------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    case: Case
    contender: Contender


def make_contenders(arguments: argparse.Namespace, target: Target) -> tuple[list[Contender], list[str]]:
    """Those who take part, and for each who does not a line why."""
    contenders, notes = ours(target, arguments.drivers), []
    if target.emulated:
        if arguments.peers:
            notes.append("peers are left out on the emulated GPU: it has counters for metalsvd's kernels alone")
        return contenders, notes
    for name in arguments.peers:
        try:
            contenders += make_peers(name, target, arguments.drivers)
        except Absent as absent:
            notes.append(str(absent))
    return contenders, notes


def make_cells(shapes: list[Shape], contenders: list[Contender], arguments: argparse.Namespace) -> list[Cell]:
    """Case by case, none twice; where all drivers take part, those of metalsvd that fit the shape."""
    cells = []
    for case in dict.fromkeys(shape.case(DTYPES[arguments.dtype]) for shape in shapes):
        for contender in contenders:
            every_driver = "all" in arguments.drivers and isinstance(contender, Metalsvd)
            if not every_driver or contender.fits(case, arguments.job):
                cells.append(Cell(case, contender))
    return cells


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_all(cells: list[Cell], target: Target, settings: Settings, report_progress: Any) -> Iterator[Record]:
    """One record a cell. ``report_progress(cell)`` is called before each."""
    case, inputs, judge = None, [], None
    for cell in cells:
        report_progress(cell)
        if cell.case != case:
            case, inputs, judge = cell.case, [], None  # the old inputs go before the new ones come
            count = 1 if target.emulated else input_set_count(case, target.cache_bytes)
            inputs = make_inputs(case, count, settings.seed, target.device)
            judge = Judge(case, inputs[0], target, settings.job)
        yield measure(case, cell.contender, inputs, judge, target, settings)
        cell.contender.release_memory()


def environment(target: Target, contenders: list[Contender], cases: list[Case], seed: int) -> dict[str, Any]:
    sets = max((1 if target.emulated else input_set_count(case, target.cache_bytes) for case in cases), default=1)
    versions = {"metalsvd": __version__, "torch": torch.__version__}
    return {
        "target": target.device,
        "emulated": target.emulated,
        **target.environment(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions | {contender.package: contender.version for contender in contenders},
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "metalsvd", *sys.argv[1:]]),
        "seeds": [seed, seed + sets - 1],
    }


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("bench", total=count)
        begun = 0

        def begin(cell: Cell) -> None:
            nonlocal begun
            progress.update(task, completed=begun, description=escape(f"{cell.case.name} {cell.contender.name}"))
            begun += 1

        yield begin
        progress.update(task, completed=begun)


# --- the results ------------------------------------------------------------------------------------------------------


class Outputs(NamedTuple):
    """Files that become results.json and plot.png when the run ends without an error."""

    results: Path
    plot: Path


@contextlib.contextmanager
def _outputs(folder: Path | None) -> Iterator[Outputs | None]:
    if folder is None:
        yield None
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot make the folder: {error.strerror}") from error
    with written_whole(folder / "results.json") as results, written_whole(folder / "plot.png") as plot:
        yield Outputs(results, plot)


def _print_table(records: list[Record], settings: Settings, facts: dict[str, Any], notes: list[str]) -> None:
    from rich.console import Console

    emulated = facts["emulated"]
    table = report.table(records, settings, emulated)
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:  # a file has no width of its own
        console.width = max(console.width, console.measure(table, options=console.options.update(width=400)).maximum)
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    lines = [
        f"{facts['device']}; {facts['driver']}; {facts['runtime']}",
        f"{versions}, Python {facts['python']}; {facts['date']}",
        f"job {settings.job}; standard normal inputs, seeds {facts['seeds'][0]} to {facts['seeds'][1]}",
    ]
    for line in lines:
        console.print(line, markup=False)
    console.print(table)
    for line in [*report.legend(settings, emulated), *notes]:
        console.print(line, markup=False, style="dim")


def run(arguments: argparse.Namespace) -> None:
    require_packages("benchmark", ["rich", *(["matplotlib"] if arguments.output else [])], extra="bench")
    target = choose_target(arguments.device)
    settings = Settings(arguments.job, arguments.repeat, arguments.seconds, arguments.seed)
    contenders, notes = make_contenders(arguments, target)
    shapes = arguments.shapes or preset(arguments.preset, target.emulated)
    cells = make_cells(shapes, contenders, arguments)
    facts = environment(target, contenders, [cell.case for cell in cells], settings.seed)

    records: list[Record] = []
    interrupted = False
    with _outputs(arguments.output) as outputs:
        with contextlib.ExitStack() as stack:
            begin = stack.enter_context(_progress(len(cells)))
            try:
                for record in measure_all(cells, target, settings, begin):
                    records.append(record)
            except KeyboardInterrupt:
                interrupted = True
                notes.append(f"interrupted after {len(records)} of {len(cells)} cells")
        results = report.results(records, settings, facts, notes, interrupted)
        text = json.dumps(results, indent=1, allow_nan=False) + "\n"
        if outputs:
            from .plot import draw

            outputs.results.write_text(text)
            draw(records, facts).savefig(outputs.plot, format="png", dpi=120)
        if arguments.json:
            sys.stdout.write(text)
        else:
            _print_table(records, settings, facts, notes)
    if interrupted:
        raise KeyboardInterrupt
