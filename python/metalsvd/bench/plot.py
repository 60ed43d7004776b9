"""``plot.png``: time against size, and below it the errors, one panel for each family of shapes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .cases import Case
from .measure import MODEL_CHIP, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORT = {"complex64": "c64", "float16": "f16", "bfloat16": "bf16"}
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
    order: int  # the highest is drawn last, on top


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
        order = -index if record.is_ours else -100 - len(chosen)  # on top metalsvd auto, below it our other drivers
        chosen[record.name] = Style(colors[index % len(colors)], marker, width, order)
    return chosen


def _tick_labels(cases: list[Case], dtypes: set[str]) -> list[str]:
    """Shapes, and where the figure holds several dtypes all but float32."""
    if len(dtypes) == 1:
        return [case.name for case in cases]
    return [case.name if case.dtype_name == "float32" else f"{case.name} {SHORT[case.dtype_name]}" for case in cases]


def _seconds(record: Record) -> float | None:
    if record.failure or record.errors is None:  # no time without its error below
        return None
    return record.model_seconds if record.counters else record.median


def _draw_lines(axes: Axes, errors: Axes, records: list[Record], place: dict[Case, float], styles_: dict) -> None:
    for name, style in sorted(styles_.items(), key=lambda item: item[1].order):
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


def _format_x(axes: Axes, errors: Axes, places: list[float], labels: list[str], label: str) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    for one in (axes, errors):
        one.set_xscale("log")
        one.set_xlim(places[0] / 1.3, places[-1] * 1.3)
        one.xaxis.set_major_locator(FixedLocator(places))
        one.xaxis.set_minor_locator(NullLocator())
        one.grid(True, which="major", color="0.9")
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelbottom=False)
    errors.set_xticks(places, labels, rotation=45, ha="right", fontsize=8)
    errors.set_xlabel(label)


def _format_y(axes: Axes) -> None:
    """Logarithmic, in whole decades, of what is drawn in all panels of the row: there are labels always."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)))
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.yaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=12))
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw(records: list[Record], facts: dict[str, Any]) -> Figure:
    """The figure. ``facts`` is the environment of results.json."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    groups = families([record.case for record in records])
    widths = [0.52 * len(cases) + 2 for cases in groups.values()]
    figure = Figure(figsize=(max(9.0, sum(widths) + 0.8), 7.4), layout="constrained")
    figure.suptitle(_title(records, facts), fontsize=11)
    if not groups:
        figure.text(0.5, 0.5, "nothing was measured", ha="center", va="center")
        return figure

    grid = figure.subplots(
        2, len(groups), squeeze=False, sharex="col", sharey="row", width_ratios=widths, height_ratios=[3, 1.2]
    )
    dtypes = {record.case.dtype_name for record in records}
    styles_ = styles(records)
    for (name, cases), axes, errors in zip(groups.items(), *grid, strict=True):
        places, label = positions(cases)
        place = dict(zip(cases, places, strict=True))
        _draw_lines(axes, errors, [record for record in records if record.case in place], place, styles_)
        _format_x(axes, errors, places, _tick_labels(cases, dtypes), label)
        axes.set_title(name, fontsize=11)
    for row in grid:
        _format_y(row[0])  # shared by the row
    grid[0, 0].yaxis.set_major_formatter(lambda milliseconds, _: f"{milliseconds:g}")
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
    columns = min(len(handles), round(figure.get_figwidth() / 1.8))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _title(records: list[Record], facts: dict[str, Any]) -> str:
    dtypes = ", ".join(dict.fromkeys(record.case.dtype_name for record in records)) or "nothing"
    jobs = {"thin": "U, S, Vh thin", "full": "U, S, Vh full", "values": "singular values"}
    job = ", ".join(dict.fromkeys(jobs[record.job] for record in records))
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    where = f"{facts['device']} ({facts['driver']}, {facts['runtime']})"
    if facts["emulated"]:
        where = facts["device"]
    return f"Singular value decomposition on {where}\n{dtypes}; {job}; {facts['date'][:10]}; {versions}"
