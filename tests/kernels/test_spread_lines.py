"""Method `simdgroup` where columns are spread over the SIMD-groups of a threadgroup that several matrices share: lines
that begin and end anywhere give the bits that a matrix has in a SIMD-group of its own."""

from __future__ import annotations

import ctypes

import pytest
import torch
from metal_harness import HERE, Emulator, floats, zeros

DTYPES = {"f32": torch.float32, "c64": torch.complex64}
ROWS, COLUMNS = {"f32": 14, "c64": 7}, 5  # two lanes a column, three pairs: 16 slots of a SIMD-group
PARTS, SLOTS, PAIRS = 2, 16, 3


@pytest.fixture(scope="module")
def lines(pytestconfig):
    kernels = [HERE / "data" / "spread_lines.metal"]
    return Emulator(pytestconfig.cache.mkdir("emulated-kernels"), kernels, ("-Wno-unused-parameter",))


def batch(count: int, rows: int, dtype: torch.dtype) -> torch.Tensor:
    """Random matrices, among them every fourth of rank 2, one of zeros and one that is not finite."""
    A = torch.randn(count, rows, COLUMNS, dtype=dtype, generator=torch.Generator().manual_seed(count))
    A[::4, :, 2:] = A[::4, :, :1] * 2.0
    A[3] = 0
    A[6, 2, 1] = float("nan")
    return A


def factor(lines: Emulator, kernel: str, A: torch.Tensor, left_columns: int, matrices: int, simdgroups: int):
    count, rows, _ = A.shape
    numbers = 2 if A.is_complex() else 1
    memory = A.mT.contiguous()
    left = zeros(ctypes.c_float, max(1, count * rows * left_columns * numbers))
    S, right = zeros(ctypes.c_float, count * COLUMNS), zeros(ctypes.c_float, count * COLUMNS**2 * numbers)
    info, scratch = zeros(ctypes.c_int32, count), zeros(ctypes.c_float, 2)
    sizes = [count, rows, COLUMNS, left_columns, 0, rows * COLUMNS, 1, rows, PARTS]
    entries = floats((torch.view_as_real(memory) if A.is_complex() else memory).flatten().tolist())
    threads = 32 * simdgroups
    grid = -(-count // matrices) * threads
    lines.run("spread_lines", kernel, grid, threads, [entries, left, S, right, info, scratch, *sizes])
    assert list(info) == [int(i == 6) for i in range(count)]
    return [bytes(array) for array in (left, S, right)]


@pytest.mark.parametrize("order", ["forward", "reverse", "random", "checked"])
@pytest.mark.parametrize("left", ["values", "thin", "full"])
@pytest.mark.parametrize("simdgroups", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_lines_that_share_simdgroups(dtype, simdgroups, left, order, lines):
    rows = ROWS[dtype]
    left_columns = {"values": 0, "thin": COLUMNS, "full": rows}[left]
    together = simdgroups * SLOTS // PAIRS
    A = batch(together + 8, rows, DTYPES[dtype])  # the second threadgroup is not full
    lines.options()
    alone = factor(lines, f"alone_{dtype}", A, left_columns, SLOTS // PAIRS, 1)
    lines.options(**({"check_memory": True} if order == "checked" else {"order": order, "seed": 7}))
    spread = factor(lines, f"spread_{dtype}", A, left_columns, together, simdgroups)
    assert spread == alone
