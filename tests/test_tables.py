"""The tables of tests/benchmarks that state a promise: they run, and keep it (``pytest -s`` prints them)."""

from __future__ import annotations

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "benchmarks"))

import accuracy
import costs

pytestmark = pytest.mark.kernels

ONE_DISPATCH = [(1000, 3, 3), (100, 5, 5), (4, 32, 32), (4, 33, 33), (1, 63, 63)]


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
