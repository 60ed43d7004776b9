"""Cases and records of the benchmark, made up for its tests."""

from __future__ import annotations

import torch
from metalsvd.bench.cases import Case
from metalsvd.bench.measure import Errors, Record

GOOD = Errors(1e-7, 1e-7, 2e-7, 1e-8, 3e-7, 4, "float64 on cpu")


def make_case(shape=(4, 6, 5), dtype=torch.float32) -> Case:
    return Case(shape, dtype)


def make_record(name="metalsvd auto", seconds=(0.002,), errors=GOOD, case=None, **fields) -> Record:
    package, _, driver = name.partition(" ")
    is_ours = package == "metalsvd"
    return Record(
        case or make_case(), "thin", package, driver, name, is_ours, "1", None, list(seconds), errors=errors, **fields
    )
