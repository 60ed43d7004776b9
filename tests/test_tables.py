"""The tables of tests/benchmarks that state a promise: they run, and keep it (``pytest -s`` prints them)."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import sys

import metalsvd
import pytest
import torch
from metalsvd import _cost_model

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "benchmarks"))

import accuracy
import costs

pytestmark = pytest.mark.kernels

# The methods of one dispatch: A is read once, the factors are written once, and there is no scratch.
ONE_DISPATCH = [(1000, 3, 3), (100, 5, 5), (4, 32, 32), (4, 33, 33), (1, 64, 64), (1, 128, 128), (2, 512, 8)]

MOST_GROWTH = 1.5  # of the modelled time, from a size to the next
# Steps that are larger yet, with what they may be: of a few matrices, and of a batch that fills the GPU.
LARGER_STEPS = {
    # From a thread a matrix to four lanes, three of complex numbers, that meet in rounds.
    ((128, 6, 6), (128, 7, 7)): (1.5, 1.7),
    ((128, 4, 4), (128, 5, 5), "complex64"): (1.5, 3.3),
    # A pair more, two rounds more and more entries a lane: all three make fewer matrices of a SIMD-group.
    ((48, 8, 8), (48, 9, 9)): (1.6, 2.1),
    ((15, 12, 12), (15, 13, 13)): (1.5, 1.7),
    ((12, 16, 16), (12, 17, 17)): (1.5, 1.6),
    ((40, 8, 8), (40, 9, 9), "complex64"): (1.5, 1.8),
    # Twice the lanes a column.
    ((5, 20, 20), (5, 21, 21)): (1.5, 1.6),  # on an H100 4096 take 1.5 times as long
    ((9, 10, 10), (9, 11, 11), "complex64"): (1.5, 2.2),
    ((3, 20, 20), (3, 21, 21), "complex64"): (1.5, 1.9),
    ((1, 40, 40), (1, 41, 41), "complex64"): (1.5, 1.6),
    # From one SIMD-group to two, with a barrier a round.
    ((5, 32, 32), (5, 33, 33)): (1.5, 1.7),
    ((9, 16, 16), (9, 17, 17), "complex64"): (1.5, 1.8),
    # The same of few matrices, whose kernels no large batch takes: on an H200 one takes 2.5 times as long.
    ((1, 32, 32), (1, 33, 33)): (1.6, math.inf),
    # From registers to a threadgroup.
    ((2, 320, 3), (2, 321, 3), "complex64"): (1.8, 1.5),
    # From one dispatch to some for each level of the tree. On an H100 by the same two methods one complex 512x3 takes
    # 1.3 times as long, 64 and 512 as long; one 128x48 takes 1.05 times as long, 1024 three quarters.
    ((1, 320, 12), (1, 321, 12)): (1.5, 1.6),
    ((1, 128, 60), (1, 129, 60)): (1.5, 1.8),
    ((2, 512, 5), (2, 513, 5)): (1.9, 4.9),
    ((2, 512, 3), (2, 513, 3), "complex64"): (2.2, 4.5),
    # From registers to device memory, and one dispatch to some for each round of each sweep: what fits no core any more
    # is read again and again. The model knows no cache: on an H100 by the same two methods 512 real ones take 2.1 times
    # as long, 64 take 1.6. There `block` takes over at 105 already: then 512 take 1.8 times as long, 64 1.6, one 1.4.
    # Of one matrix the tall QR takes narrow tiles, which read V twice as often: the model has a batch do so too.
    ((1, 128, 128), (1, 129, 129)): (2.4, 8.0),
    ((1, 80, 80), (1, 81, 81), "complex64"): (2.0, 3.5),
}


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_accuracy_of_every_method(dtype, target):
    families = ["normal", "geometric", "clusters", "half_rank", "zero_columns", "column_graded_12", "row_graded_12"]
    assert accuracy.main(["--dtype", dtype, "--families", *families, "--device", target.type]) <= 1


@pytest.mark.parametrize("shape", ONE_DISPATCH, ids=str)
def test_small_matrices_cost_one_dispatch_and_no_more_memory(shape, emulated):
    measured = costs.measure(shape)
    print(shape, measured)
    assert measured.dispatches == 1
    assert measured.host_waits == 0
    assert measured.read <= 1.2
    assert measured.written <= 1.2
    assert measured.scratch <= 0.05


@pytest.mark.parametrize("shape", [(1, 90, 90), (1, 2000, 3)], ids=str)
def test_large_matrices_never_wait_and_have_bounded_scratch(shape, emulated):
    measured = costs.measure(shape)
    print(shape, measured)
    assert measured.host_waits == 0
    assert measured.scratch <= 3


@pytest.mark.parametrize(
    ("dtype", "first", "second"),
    [(dtype, *step) for dtype, all_steps in costs.STEPS.items() for step in all_steps],
    ids=str,
)
def test_neighbouring_sizes_do_not_jump(dtype, first, second, emulated):
    before, behind = (costs.measure(shape, getattr(torch, dtype)) for shape in (first, second))
    key = (first, second) if dtype == "float32" else (first, second, dtype)
    few, many = LARGER_STEPS.get(key, (MOST_GROWTH, MOST_GROWTH))
    assert behind.seconds <= few * before.seconds, f"{behind.seconds / before.seconds:.2f} times the modelled time"
    growth = behind.seconds_of_full_batch / before.seconds_of_full_batch
    assert growth <= many, f"{growth:.2f} times the modelled time of a large batch"


def test_the_cost_model_adds_up(emulated):
    counters = metalsvd.emulator.Counters(
        dispatches=2, threadgroups=80, threads=80 * 128, barriers=0, simd_operations=0, bytes_read=400_000_000,
        bytes_written=0, host_waits=1, multiply_adds=0, critical_barriers=0, critical_simd_operations=0,
        critical_multiply_adds=0,
    )  # fmt: skip
    waiting = 2 * 2e-6 + 170e-6
    assert _cost_model.estimate(counters) == pytest.approx(waiting + 1e-3)  # at 400 GB/s
    assert _cost_model.estimate(counters, "m1") == pytest.approx(waiting + 400e6 / 68e9)
    busy = dataclasses.replace(counters, multiply_adds=7_000_000_000)
    assert _cost_model.estimate(busy) == pytest.approx(waiting + 2e-3)  # at half of 14 TFLOP/s
    deep = dataclasses.replace(counters, critical_barriers=100_000)
    assert _cost_model.estimate(deep) == pytest.approx(waiting + 100_000 * 140 / 1.4e9)
    many = _cost_model.of_batch(deep, 100)  # 10 times the threads that 40 cores hold, in each dispatch
    fills = 100 * 80 * 128 / 2 / (40 * 1024)
    assert _cost_model.estimate(many) == pytest.approx(waiting + fills * 100_000 * 140 / 1.4e9)


def test_the_cost_model_refuses_what_it_cannot_judge(emulated):
    counters = metalsvd.emulator.Counters(*[None] * len(dataclasses.fields(metalsvd.emulator.Counters)))
    with pytest.raises(ValueError, match="check_memory=True"):
        _cost_model.estimate(counters)
    with pytest.raises(ValueError, match="device must be one of m1, m3 max, m4 max, not 'm9'"):
        _cost_model.estimate(counters, "m9")
