"""The command of the benchmark: what it shows and writes, with contenders that fail, lie or are stopped."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
import types

import metalsvd
import pytest
import torch
from bench_records import GOOD, make_case, make_record
from checks import EPS
from metalsvd.__main__ import main
from metalsvd.bench import command, measure, peers, plot, report
from metalsvd.bench.contenders import Contender
from metalsvd.bench.measure import Errors, Settings
from metalsvd.bench.targets import Target


class LapackPeer(Contender):
    """A peer that works, under a name of its own."""

    package = "torch"
    version = "0"

    def svd(self, A, job):
        return torch.linalg.svdvals(A) if job == "values" else torch.linalg.svd(A, full_matrices=job == "full")


class FailingPeer(LapackPeer):
    def svd(self, A, job):
        raise RuntimeError("out of memory: tried to allocate [too much]\nsecond line")


class LyingPeer(LapackPeer):
    """Fast and wrong: another matrix's singular values."""

    def svd(self, A, job):
        U, S, Vh = super().svd(A, job)
        return U, 2 * S, Vh


class NotANumberPeer(LapackPeer):
    def svd(self, A, job):
        U, S, Vh = super().svd(A, job)
        return U * math.nan, S, Vh


class InterruptedPeer(LapackPeer):
    def svd(self, A, job):
        raise KeyboardInterrupt


@pytest.fixture
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, wide_terminal):
    """Runs the command with a list of peers; status, what it printed and the folder it ran in."""

    def run_bench(*arguments: object, with_peers: list[Contender] | None = None):
        monkeypatch.chdir(tmp_path)
        if with_peers is not None:
            monkeypatch.setattr(command, "make_peers", lambda name, target, drivers: with_peers)
            arguments = (*arguments, "--peers", "torch")
        try:
            status = main(["bench", *map(str, arguments)])
        except SystemExit as stop:  # how argparse ends
            status = stop.code
        captured = capsys.readouterr()
        return types.SimpleNamespace(status=status, out=captured.out, err=captured.err, folder=tmp_path)

    return run_bench


def rows_of(out: str, name: str) -> list[str]:
    return [line for line in out.splitlines() if f" {name} " in f" {line} "]


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "short"),
    [
        (metalsvd.plan((9, 3, 3)), "thread"),
        (metalsvd.plan((50, 5000)), "qr + "),
        ("LAPACK", "LAPACK"),
        (None, ""),
    ],
)
def test_short_method(words, short):
    assert report.short_method(words).startswith(short)
    assert len(report.short_method(words)) < 20


def render(records) -> str:
    from rich.console import Console

    console = Console(width=220, file=None, color_system=None)
    with console.capture() as capture:
        console.print(report.table(records, Settings(), emulated=False))
    return capture.get()


def test_the_table_has_no_ratio_without_errors():
    ours = make_record(seconds=[0.002])
    others = {
        "right": make_record("torch right", [0.006]),
        "unknown": make_record("torch unknown", [0.001], errors=None),
        "wrong": make_record("torch wrong", [0.001], GOOD._replace(sigma_error=0.5)),
        "failed": make_record("torch failed", [], errors=None, failure="no [bold]memory[/bold]"),
    }
    out = render([ours, *others.values()])
    assert "3.00x" in rows_of(out, "metalsvd auto")[0]
    assert "1.00x" in rows_of(out, "torch right")[0]
    for name in ("unknown", "wrong", "failed"):
        [row] = rows_of(out, f"torch {name}")
        assert "x " not in row.partition(name)[2], row
    assert "wrong (an error above 0.05): compared with nothing" in out
    assert "failed: no [bold]memory[/bold]" in out
    for name in ("metalsvd auto", "torch right"):
        assert "1.0e-07" in rows_of(out, name)[0]  # residual
        assert "2.0e-07" in rows_of(out, name)[0]  # the larger orthogonality
        assert "3.0e-07" in rows_of(out, name)[0]  # sigma


def test_a_narrow_terminal_loses_no_digit(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["bench", "--device", "cpu", "--shapes", "3x3", "--seconds", "0.01", "--peers", "none"]) == 0
    assert "…" not in capsys.readouterr().out


def test_nan_is_a_string_in_json():
    record = make_record(errors=GOOD._replace(residual=math.nan))
    [written] = report.results([record], Settings(), {}, [], False)["records"]
    assert written["errors"]["residual"] == "nan"
    assert written["wrong"] is True
    json.dumps(written, allow_nan=False)


def test_positions_ascend_and_the_batch_is_the_axis_where_nothing_else_differs():
    same = [make_case((batch, 4, 4)) for batch in (10, 100, 1000)]
    assert plot.positions(same) == ([10, 100, 1000], "batch")
    places, label = plot.positions([make_case((64, 128, 128)), make_case((512, 128, 128)), make_case((9, 130, 130))])
    assert places[0] == 128
    assert all(after >= plot.LEAST_STEP * before for before, after in itertools.pairwise(places))
    assert label != "batch"


def test_families():
    shapes = [(9, 3, 3), (4, 4), (100, 16), (16, 100), (2, 500, 4), (5, 4)]
    found = plot.families([make_case(shape) for shape in shapes])
    assert {name: [case.shape for case in members] for name, members in found.items()} == {
        "batches": [(9, 3, 3)],
        "one matrix": [(4, 4), (5, 4)],
        "tall or wide matrices": [(100, 16), (16, 100), (2, 500, 4)],
    }


FACTS = {"device": "a GPU", "driver": "1", "runtime": "2", "emulated": False, "date": "2026-01-02T03:04:05+00:00"}


def test_the_plot_draws_no_time_without_errors():
    names = ["metalsvd auto", "torch a"]
    records = [make_record(name, case=make_case((n, n))) for n in (4, 8, 16) for name in names]
    records += [make_record("torch unknown", case=make_case((4, 4)), errors=None)]
    figure = plot.draw(records, FACTS | {"versions": {"torch": "2"}})
    times, errors = figure.axes
    assert times.get_yscale() == times.get_xscale() == errors.get_yscale() == "log"
    assert sorted(line.get_label() for line in times.lines) == names
    assert all(list(line.get_xdata()) == [4, 8, 16] for line in times.lines)
    assert "a GPU" in figure.get_suptitle()
    assert "2026-01-02" in figure.get_suptitle()


def test_the_plot_of_nothing(tmp_path):
    plot.draw([], FACTS | {"versions": {}}).savefig(tmp_path / "empty.png")


# --- the command ------------------------------------------------------------------------------------------------------

RECORD_FIELDS = {
    *("shape", "batch", "m", "n", "dtype", "job", "contender", "package", "driver", "version", "ours", "method"),
    *("seconds", "calls_per_sample", "median_seconds", "quartiles_seconds", "ratio_to_best_peer", "errors", "wrong"),
    *("peak_bytes", "output_bytes", "counters", "model_seconds", "failure"),
}
ENVIRONMENT_FIELDS = {
    *("device", "driver", "runtime", "python", "system", "target", "emulated", "versions", "date", "command", "seeds"),
}


def check_schema(results: dict) -> None:
    assert results["schema"] == 1
    assert set(results) == {"schema", "environment", "settings", "notes", "interrupted", "records"}
    assert set(results["environment"]) == ENVIRONMENT_FIELDS
    assert set(results["settings"]) == {"job", "repeat", "seconds", "seed"}
    documented = metalsvd.bench.__doc__
    for field in [*results, *ENVIRONMENT_FIELDS, *RECORD_FIELDS, *Errors._fields]:
        assert field == "schema" or f"``{field}``" in documented, f"{field} is not documented"
    for record in results["records"]:
        assert set(record) == RECORD_FIELDS
        assert (record["errors"] is None) == (record["failure"] is not None)
        if record["ratio_to_best_peer"] is not None:
            assert record["errors"]
            assert record["median_seconds"]
        if record["errors"]:
            assert set(record["errors"]) == set(Errors._fields)


def test_bench_on_cpu(run):
    peers_ = [LapackPeer(Target(), "one"), LapackPeer(Target(), "two")]
    options = ["--device", "cpu", "--shapes", "20x4x3", "12x9", "--seconds", "0.02", "--repeat", "4", "--seed", "5"]
    finished = run(*options, "--output", "new/folder", with_peers=peers_)
    assert finished.status == 0, finished.err
    folder = finished.folder / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == ["plot.png", "results.json"]
    results = json.loads((folder / "results.json").read_text())
    check_schema(results)
    assert results["environment"]["seeds"] == [5, 20]
    assert [(record["shape"], record["contender"]) for record in results["records"]] == [
        (shape, name) for shape in ([20, 4, 3], [12, 9]) for name in ("metalsvd auto", "torch one", "torch two")
    ]
    for record in results["records"]:
        assert 3 <= len(record["seconds"]) <= 4
        assert record["errors"]["residual"] < 60 * EPS
        assert record["counters"] is record["model_seconds"] is None
    for ratio in [r["ratio_to_best_peer"] for r in results["records"] if not r["ours"]]:
        assert ratio <= 1
    from PIL import Image

    with Image.open(folder / "plot.png") as picture:
        assert min(picture.size) > 600
    assert "seeds 5 to 20" in finished.out
    assert len(rows_of(finished.out, "metalsvd auto")) == 2


def test_bench_counts_on_the_emulated_gpu(run, emulated):
    finished = run("--device", "mps", "--shapes", "6x3x3", "9x8", "600x3", "--drivers", "all", "--output", "out")
    assert finished.status == 0, finished.err
    results = json.loads((finished.folder / "out" / "results.json").read_text())
    check_schema(results)
    assert results["environment"]["emulated"] is True
    assert "peers are left out on the emulated GPU" in results["notes"][0]
    drivers = {}
    for record in results["records"]:
        drivers.setdefault(tuple(record["shape"]), []).append(record["driver"])
        assert record["failure"] is None
        assert record["method"]
        assert record["seconds"] == []
        assert record["median_seconds"] is record["ratio_to_best_peer"] is None
        assert record["counters"]["dispatches"] > 0
        assert record["counters"]["bytes_read"] > 0
        assert record["peak_bytes"] >= record["output_bytes"] > 0
        assert record["errors"]["residual"] < 60 * EPS
        counters = emulated.Counters(**record["counters"])
        assert 0 < record["model_seconds"] == pytest.approx(measure.model_seconds(counters))
        more = dataclasses.replace(counters, dispatches=2 * counters.dispatches)
        assert measure.model_seconds(more) > record["model_seconds"]
    assert drivers == {
        (6, 3, 3): ["auto", "thread", "simdgroup", "threadgroup", "block", "qr", "recover", "whole"],
        (9, 8): ["auto", "simdgroup", "threadgroup", "block", "qr", "recover", "whole"],
        (600, 3): ["auto", "threadgroup", "block", "qr", "recover", "whole"],
    }
    assert "nothing was timed" in finished.out
    assert "median" not in finished.out
    assert "best peer" not in finished.out


@pytest.mark.parametrize(("job", "dtype"), [("full", "float16"), ("values", "bfloat16"), ("thin", "complex64")])
def test_jobs_and_dtypes_on_the_emulated_gpu(run, emulated, job, dtype):
    finished = run("--device", "mps", "--shapes", "3x6x4", "--job", job, "--dtype", dtype, "--json")
    results = json.loads(finished.out)
    check_schema(results)
    [record] = results["records"]
    assert (record["failure"], record["wrong"], record["dtype"]) == (None, False, dtype)
    assert (record["errors"]["residual"] is None) == (job == "values")


def test_a_driver_that_does_not_fit_says_so_where_it_was_asked_for(run, emulated):
    finished = run("--device", "mps", "--shapes", "9x8", "--drivers", "thread,auto", "--json")
    auto, thread = json.loads(finished.out)["records"]
    assert auto["failure"] is None
    assert "9x8 float32 does not fit the registers of one thread" in thread["failure"]


def test_json_alone_on_standard_output(run):
    finished = run("--device", "cpu", "--shapes", "3x3", "--json", "--seconds", "0.01", with_peers=[])
    check_schema(json.loads(finished.out))
    assert list(finished.folder.iterdir()) == []


def test_contenders_that_fail_or_lie_do_not_stop_the_others(run):
    peers_ = [
        FailingPeer(Target(), "failing"),
        LyingPeer(Target(), "lying"),
        NotANumberPeer(Target(), "nan"),
        LapackPeer(Target(), "right"),
    ]
    arguments = ["--device", "cpu", "--shapes", "3x4x4", "5x5", "--seconds", "0.01"]
    finished = run(*arguments, "--output", ".", with_peers=peers_)
    assert finished.status == 0
    results = json.loads((finished.folder / "results.json").read_text())
    check_schema(results)
    assert len(results["records"]) == 10
    for record in results["records"]:
        name = record["contender"]
        failing = name == "torch failing"
        assert record["failure"] == ("out of memory: tried to allocate [too much]" if failing else None)
        assert record["wrong"] == (name in ("torch lying", "torch nan"))
        assert (record["ratio_to_best_peer"] is None) == (name not in ("metalsvd auto", "torch right"))
    assert "failed: out of memory: tried to allocate [too much]" in finished.out
    assert len(rows_of(finished.out, "torch right")) == 2


def test_interruption_keeps_what_was_measured(run):
    peers_ = [LapackPeer(Target(), "right"), InterruptedPeer(Target(), "interrupted")]
    arguments = ["--device", "cpu", "--shapes", "4x4", "5x5", "--seconds", "0.01", "--output", "."]
    finished = run(*arguments, with_peers=peers_)
    assert finished.status == 130
    assert finished.err.endswith("python -m metalsvd bench: interrupted\n")
    assert "interrupted after 2 of 6 cells" in finished.out
    assert len(rows_of(finished.out, "torch right")) == 1
    results = json.loads((finished.folder / "results.json").read_text())
    check_schema(results)
    assert results["interrupted"] is True
    assert [record["contender"] for record in results["records"]] == ["metalsvd auto", "torch right"]
    assert sorted(path.name for path in finished.folder.iterdir()) == ["plot.png", "results.json"]


def test_missing_peers_are_told_in_a_line_each(run, monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    finished = run("--device", "cpu", "--shapes", "3x3", "--seconds", "0.01")
    assert finished.status == 0
    lines = [line.strip() for line in finished.out.splitlines()]
    for line in (
        "jax is not installed, left out",
        "cupy does not work on cpu, left out",
        "scipy is not installed, left out",
    ):
        assert lines.count(line) == 1
    assert rows_of(finished.out, "torch default")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "4by4"], "--shapes: expected BATCHxMxN or MxN"),
        (["--shapes", "4x4:int8"], "but got '4x4:int8'"),
        (["--shapes"], "--shapes: expected at least one argument"),
        (["--preset", "huge"], "--preset: invalid choice: 'huge'"),
        (["--shapes", "4x4", "--preset", "small"], "not allowed with argument"),
        (["--dtype", "float64"], "--dtype: invalid choice: 'float64'"),
        (["--job", "most"], "--job: invalid choice: 'most'"),
        (["--drivers", "gesdd"], "--drivers: expected all, or a list with commas of auto, thread"),
        (["--drivers", "all,auto"], "--drivers: expected all, or a list"),
        (["--peers", "matlab"], "--peers: expected all or none, or a list with commas of torch, jax, cupy, scipy"),
        (["--repeat", "0"], "--repeat: expected a whole number of at least 1, but got '0'"),
        (["--seconds", "-1"], "--seconds: expected a number of seconds above 0, but got '-1'"),
        (["--seconds", "nan"], "--seconds: expected a number of seconds above 0, but got 'nan'"),
        (["--seed", "-1"], "--seed: expected a whole number of at least 0, but got '-1'"),
        (["--device", "tpu"], "--device: invalid choice: 'tpu'"),
        (["--output", "file"], "--output file: cannot make the folder: File exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments_are_one_line_and_status_2(run, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    device = [] if "--device" in arguments else ["--device", "cpu"]
    finished = run(*device, *arguments)
    assert finished.status == 2
    assert finished.out == ""
    assert finished.err.count("\n") == 1
    assert finished.err.startswith("python -m metalsvd bench: ")
    assert message in finished.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_device(run):
    finished = run("--device", "cuda")
    assert finished.status == 2
    assert "--device cuda: torch finds no CUDA device here" in finished.err


def test_missing_optional_package(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    finished = run("--device", "cpu")
    assert finished.status == 2
    assert finished.err == "python -m metalsvd bench: the benchmark needs rich: pip install 'metalsvd[bench]'\n"
