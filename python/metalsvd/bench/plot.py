"""``plot.png``: time against size, and below it the errors, one panel for each family of shapes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .cases import Case
from .measure import MODEL_CHIP, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From here on a matrix is tall or wide.
LONG = 4
# Neighbours on the axis stand this far apart at least, or their labels would cover each other.
LEAST_STEP = 1.25
OUR_COLORS = ["#d62728", "#ff7f0e", "#e377c2", "#8c564b", "#bcbd22", "#7f2704"]
PEER_COLORS = {
    "torch": ["#1f77b4", "#17becf", "#08306b", "#6baed6", "#9ecae1"],
    "jax": ["#2ca02c"],
    "cupy": ["#9467bd"],
    "scipy": ["#555555"],
}
MARKERS = "os^Dv<>P"


class Style(NamedTuple):
    color: str
    marker: str
    width: float
    is_ours: bool


def family(case: Case) -> str:
    if max(case.m, case.n) >= LONG * case.k:
        return "tall or wide matrices"
    return "batches" if case.batch > 1 else "one matrix"


def families(cases: list[Case]) -> dict[str, list[Case]]:
    """Families in the order in which they come, their cases by size."""
    found: dict[str, list[Case]] = {}
    for case in dict.fromkeys(cases):
        found.setdefault(family(case), []).append(case)
    return {name: sorted(members, key=lambda case: (_size(case), case.batch)) for name, members in found.items()}


def _size(case: Case) -> float:
    return math.sqrt(case.m * case.n)


def positions(cases: list[Case]) -> tuple[list[float], str]:
    """Where sorted cases stand on the axis, ascending, and what the axis is: the batch where nothing else differs."""
    if len(cases) > 1 and len({(case.m, case.n, case.dtype) for case in cases}) == 1:
        wanted, label = [float(case.batch) for case in cases], "batch"
    else:
        wanted, label = [_size(case) for case in cases], "size of a matrix, $\\sqrt{m n}$"
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] * LEAST_STEP) if places else place)
    return places, label


def styles(records: list[Record]) -> dict[str, Style]:
    """One style a contender, the same in every panel."""
    chosen: dict[str, Style] = {}
    used: dict[str, int] = {}
    for record in records:
        if record.name in chosen:
            continue
        index = used.get(record.package, 0)
        used[record.package] = index + 1
        marker = MARKERS[len(chosen) % len(MARKERS)]
        colors = OUR_COLORS if record.is_ours else PEER_COLORS.get(record.package, ["#999999"])
        width = 2.4 if record.is_ours else 1.2
        chosen[record.name] = Style(colors[index % len(colors)], marker, width, record.is_ours)
    return chosen


def _tick_label(case: Case) -> str:
    return case.name if case.dtype_name == "float32" else f"{case.name} {case.dtype_name}"


def _seconds(record: Record) -> float | None:
    if record.failure or record.errors is None:  # no time without its error below
        return None
    return record.model_seconds if record.counters else record.median


def _draw_lines(axes: Axes, errors: Axes, records: list[Record], place: dict[Case, float], styles_: dict) -> None:
    # Ours last, on top of the others.
    for name, style in sorted(styles_.items(), key=lambda item: item[1].is_ours):
        shown = [record for record in records if record.name == name and _seconds(record) is not None]
        shown.sort(key=lambda record: place[record.case])
        if not shown:
            continue
        look = {"color": style.color, "marker": style.marker, "linewidth": style.width, "markersize": 5}
        x = [place[record.case] for record in shown]
        axes.plot(x, [_seconds(record) * 1e3 for record in shown], **look, label=name)
        for record in shown:
            if record.quartiles:
                lower, upper = (seconds * 1e3 for seconds in record.quartiles)
                axes.vlines(place[record.case], lower, upper, color=style.color, alpha=0.5)
        # NaN leaves a gap, and zero has no logarithm.
        worst = [max(record.errors.worst, 1e-9) for record in shown]
        errors.plot(x, worst, **(look | {"linewidth": style.width / 2, "markersize": 4}))


def _finish(axes: Axes, errors: Axes, cases: list[Case], places: list[float], label: str) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    for one in (axes, errors):
        one.set_xscale("log")
        one.set_yscale("log")
        one.set_xlim(places[0] / 1.3, places[-1] * 1.3)
        one.xaxis.set_major_locator(FixedLocator(places))
        one.xaxis.set_minor_locator(NullLocator())
        one.yaxis.set_major_locator(LogLocator(numticks=12))
        one.yaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=12))
        one.yaxis.set_minor_formatter(NullFormatter())
        one.grid(True, which="major", color="0.9")
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    low, high = errors.get_ylim()
    errors.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda milliseconds, _: f"{milliseconds:g}"))
    axes.tick_params(axis="x", labelbottom=False)
    errors.set_xticks(places, [_tick_label(case) for case in cases], rotation=45, ha="right", fontsize=8)
    errors.set_xlabel(label)


def draw(records: list[Record], facts: dict[str, Any]) -> Figure:
    """The figure. ``facts`` is the environment of results.json."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    groups = families([record.case for record in records])
    widths = [max(4.0, 0.5 * len(cases) + 1.5) for cases in groups.values()] or [6.0]
    figure = Figure(figsize=(sum(widths) + 0.8, 7.4), layout="constrained")
    figure.suptitle(_title(records, facts), fontsize=11)
    if not groups:
        figure.text(0.5, 0.5, "nothing was measured", ha="center", va="center")
        return figure

    grid = figure.subplots(
        2, len(groups), squeeze=False, sharex="col", sharey="row", width_ratios=widths, height_ratios=[3, 1.2]
    )
    styles_ = styles(records)
    for column, (name, cases) in enumerate(groups.items()):
        axes, errors = grid[0, column], grid[1, column]
        places, label = positions(cases)
        place = dict(zip(cases, places, strict=True))
        _draw_lines(axes, errors, [record for record in records if record.case in place], place, styles_)
        _finish(axes, errors, cases, places, label)
        axes.set_title(name, fontsize=11)
    grid[0, 0].set_ylabel(
        f"estimate of a cost model for {MODEL_CHIP}, ms\n(from counts of the emulator: nothing was timed)"
        if facts["emulated"]
        else "median time, ms (bars: quartiles)"
    )
    grid[1, 0].set_ylabel("largest error")
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linewidth=style.width, markersize=5, label=name)
        for name, style in styles_.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), round(figure.get_figwidth() / 1.8)),
        frameon=False,
    )
    return figure


def _title(records: list[Record], facts: dict[str, Any]) -> str:
    dtypes = ", ".join(dict.fromkeys(record.case.dtype_name for record in records)) or "nothing"
    jobs = {"thin": "U, S, Vh thin", "full": "U, S, Vh full", "values": "singular values"}
    job = ", ".join(dict.fromkeys(jobs[record.job] for record in records))
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    where = f"{facts['device']} ({facts['driver']}, {facts['runtime']})"
    if facts["emulated"]:
        where = facts["device"]
    return f"Singular value decomposition on {where}\n{dtypes}; {job}; {versions}; {facts['date'][:10]}"
