"""What a call takes the host, and what the device.  python tests/benchmarks/host.py [SHAPE ...]

Prints, for each shape (BATCHxMxN or MxN), medians in ms: the time until ``svd_ex`` returns and until its results are
there, of calls that come again with tensors at the same places and of calls whose matrices and results are kept, so
that all tensors are new; and the time of a CUDA graph of it all, which the host has no part in. Needs a CUDA device.
"""

from __future__ import annotations

import statistics
import sys
import time

import metalsvd
import torch
from spectra import milliseconds
from torch import Tensor

SHAPES = ["32x32", "128x128", "512x512", "1024x1024", "2048x2048"]
CALLS = 9


def returned_and_done(A: Tensor, kept: list | None) -> tuple[float, float]:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    factors = metalsvd.svd_ex(A)
    returned = time.perf_counter()
    torch.cuda.synchronize()
    done = time.perf_counter()
    if kept is not None:
        kept.append(factors)
    return 1e3 * (returned - begin), 1e3 * (done - begin)


def medians(times: list[tuple[float, float]]) -> str:
    returned, done = (statistics.median(column) for column in zip(*times, strict=True))
    return f"{returned:8.3f} {done:8.3f}"


def graph_of(A: Tensor) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        metalsvd.svd_ex(A)
    return graph


def main() -> None:
    print(f"{'':>12} {'again':>17} {'all new':>17} {'graph':>8}")
    for shape in sys.argv[1:] or SHAPES:
        A = torch.randn([int(size) for size in shape.split("x")], device="cuda")
        for _ in range(3):
            metalsvd.svd_ex(A)
        again = [returned_and_done(A, None) for _ in range(CALLS)]
        samples, kept = [torch.randn_like(A) for _ in range(CALLS)], []
        new = [returned_and_done(sample, kept) for sample in samples]
        print(f"{shape:>12} {medians(again)} {medians(new)} {milliseconds(graph_of(A).replay):8.3f}", flush=True)


if __name__ == "__main__":
    main()
