"""What is logged and what a profiler sees: the plan of each call, and nothing, at no cost, where nobody listens."""

from __future__ import annotations

import itertools
import logging

import metalsvd
import pytest
import torch
from metalsvd import _log
from processes import run_code
from torch.profiler import ProfilerActivity, profile

CALLS = {
    "metalsvd.svd": lambda A: metalsvd.svd(A),
    "metalsvd.svd_ex": lambda A: metalsvd.svd_ex(A),
    "torch.linalg.svd": lambda A: torch.linalg.svd(A, full_matrices=False),
}


def lines(caplog) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "metalsvd"]


@pytest.mark.parametrize("name", CALLS)
def test_plan_of_each_call(name, emulated, caplog):
    A = torch.randn(2, 5, 4, device="mps")
    with caplog.at_level(logging.DEBUG, "metalsvd"):
        CALLS[name](A)
    assert lines(caplog) == [
        ("INFO", f"{name}: 2x5x4 float32 on mps:0, thin: {metalsvd.plan((2, 5, 4))}"),
        ("DEBUG", f"{name}: 1 dispatches"),
    ]


def test_info_leaves_dispatches_out(emulated, caplog):
    with caplog.at_level(logging.INFO, "metalsvd"):
        metalsvd.svdvals(torch.randn(40, 33, device="mps"), driver="block")
    plan = metalsvd.plan((40, 33), compute_uv=False, driver="block")
    assert lines(caplog) == [("INFO", f"metalsvd.svd: 40x33 float32 on mps:0, values: {plan}")]


def test_what_has_no_plan(target, caplog):
    with caplog.at_level(logging.INFO, "metalsvd"):
        metalsvd.svd(torch.randn(3, 2), full_matrices=True)
        metalsvd.svd(torch.empty(0, 3, 2, device=target))
        with pytest.raises(RuntimeError, match="at least 2 dimensions"):
            metalsvd.svd(torch.randn(3, device=target))
    (_, lapack), (_, empty), (_, vector) = lines(caplog)
    assert lapack == "metalsvd.svd: 3x2 float32 on cpu, full: LAPACK, through torch"
    assert empty.endswith("thin: nothing to compute")
    assert vector.endswith("thin: no matrix")


def test_a_tensor_without_data_has_a_plan(caplog):
    with caplog.at_level(logging.INFO, "metalsvd"):
        metalsvd.svd_ex(torch.empty(5, 4, device="meta"))
    assert lines(caplog) == [("INFO", f"metalsvd.svd_ex: 5x4 float32 on meta, thin: {metalsvd.plan((5, 4))}")]


def test_a_refused_call_is_told_before_it_raises(emulated, caplog):
    with caplog.at_level(logging.INFO, "metalsvd"), pytest.raises(RuntimeError, match="does not fit"):
        metalsvd.svd(torch.randn(9, 9, device="mps"), driver="thread")
    assert "refused: linalg.svd: a matrix of 9x9" in lines(caplog)[0][1]


def test_no_plan_is_made_where_nobody_listens(target, monkeypatch):
    def never(*arguments):
        raise AssertionError("a plan in words was made")

    monkeypatch.setattr(_log, "plan_of", never)
    for call in CALLS.values():
        call(torch.randn(5, 4, device=target))


@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_compiled_graphs_stay_whole_where_somebody_listens(target, caplog):
    torch._dynamo.reset()
    A = torch.randn(5, 4, device=target)
    with caplog.at_level(logging.DEBUG, "metalsvd"):
        compiled = torch.compile(lambda A: metalsvd.svd_ex(A).S, backend="eager", fullgraph=True)
        assert torch.equal(compiled(A), metalsvd.svd_ex(A).S)


CODE = "import torch, metalsvd; metalsvd.svd(torch.eye(3))"


def test_silent_by_default():
    result = run_code(CODE)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("level", ["info", "DEBUG"])
def test_environment_switches_it_on(level):
    result = run_code(CODE, METALSVD_LOG=level)
    expected = "metalsvd INFO: metalsvd.svd: 3x3 float32 on cpu, thin: LAPACK, through torch\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, "", expected)


def test_environment_with_another_word():
    result = run_code(CODE, METALSVD_LOG="loud")
    assert result.returncode == 0
    assert "METALSVD_LOG: expected debug or info, but got 'loud'" in result.stderr


def profiler():
    # Without `acc_events` torch 2.11 warns of events that it would drop.
    return profile(activities=[ProfilerActivity.CPU], acc_events=True)


@pytest.mark.parametrize(("name", "operators"), [(name, {"metalsvd::svd_ex"}) for name in CALLS])
def test_a_profiler_shows_our_operators(name, operators, target):
    A = torch.randn(5, 4, device=target)
    with profiler() as profiled:
        CALLS[name](A)
    seen = {event.key for event in profiled.key_averages()}
    if name == "torch.linalg.svd":
        if not metalsvd.is_patched(target.type):
            pytest.skip("torch's functions are not routed on this device")
        operators = operators | {"aten::linalg_svd", "aten::_linalg_svd"}
    if name == "metalsvd.svd":
        operators = operators | {"metalsvd::svd"}
    assert operators <= seen, sorted(seen)


BLOCK = ["block load", "block sweep", "block sort", "block store", "block complete"]


@pytest.mark.parametrize(
    ("shape", "options", "steps"),
    [
        ((4, 4), {}, ["thread"]),
        ((20, 20), {}, ["simdgroup"]),
        ((200, 40), {"driver": "threadgroup"}, ["threadgroup"]),
        ((40, 33), {"driver": "block"}, BLOCK),
        ((40, 33), {"driver": "block", "compute_uv": False}, BLOCK[:3]),
        ((900, 12), {"driver": "qr"}, ["qr reduce", "simdgroup", "qr expand"]),
        ((40, 33), {"driver": "recover"}, ["qr reduce", *BLOCK, "qr recover", "qr complete", "qr expand"]),
    ],
    ids=str,
)
@pytest.mark.kernels
def test_a_profiler_shows_the_steps_of_an_operator(shape, options, steps, target):
    A = torch.randn(2, *shape, device=target)
    with profiler() as profiled:
        metalsvd.svd_ex(A, **options)
    events = sorted(profiled.events(), key=lambda event: event.time_range.start)
    (operator,) = [event for event in events if event.name == "metalsvd::svd_ex"]
    inside = [event for event in events if event.name.startswith("metalsvd::") and event is not operator]
    names = [name for name, _ in itertools.groupby(event.name for event in inside)]  # a step for each sweep
    assert names == [f"metalsvd::{step}" for step in steps]
    assert all(event.cpu_parent is operator for event in inside)
