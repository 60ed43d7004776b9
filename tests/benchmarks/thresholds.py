"""Whether time jumps where the planner changes its mind: ``python tests/benchmarks/thresholds.py [--most 260]``.

For square float32 matrices, of each two neighbouring sizes that go to different kernels: milliseconds of a call of
``svd_ex``, the median over some samples of several calls in a row, and the ratio of the second to the first; of one
matrix and of many, which are standard normal numbers. Needs a GPU: what the emulated one takes says nothing.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Iterator

import metalsvd
import torch
from metalsvd.bench.measure import sample

SAMPLES, SECONDS = 9, 0.3  # of a size, as metalsvd.bench counts them


def synchronize(device: str) -> None:
    getattr(torch, device).synchronize()


def kernels(size: int, batch: int, device: str) -> str:
    """What the planner says, but for how many threadgroups that are."""
    return re.sub(r"\d+ threadgroups of \d+ threads", "", metalsvd.plan((batch, size, size), device=device))


def thresholds(numbers: int, most: int, device: str) -> Iterator[tuple[int, int]]:
    """(batch, size), where size + 1 goes to other kernels: one matrix, or as many as have so many numbers."""
    for size in range(1, most):
        batch = max(numbers // (size + 1) ** 2, 1)
        if kernels(size, batch, device) != kernels(size + 1, batch, device):
            yield batch, size


def seconds(batch: int, size: int, device: str) -> float:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(batch, size, size, generator=generator).to(device)

    def run(calls: int, _first: int) -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            metalsvd.svd_ex(A)
        synchronize(device)
        return time.perf_counter() - begun

    run(2, 0)
    samples, _ = sample(run, SAMPLES, SECONDS)
    return statistics.median(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda or mps (default: cuda)")
    parser.add_argument("--most", type=int, default=260, help="the largest size (default: 260)")
    parser.add_argument("--numbers", type=int, default=2**25, help="of many matrices together (default: 2^25)")
    arguments = parser.parse_args()
    print(f"{'batch':>8} {'size':>5} {'ms':>9} {'next':>5} {'ms':>9} {'ratio':>6}")
    for numbers in (1, arguments.numbers):
        for batch, size in thresholds(numbers, arguments.most, arguments.device):
            first, second = (seconds(batch, n, arguments.device) for n in (size, size + 1))
            print(
                f"{batch:8} {size:5} {1e3 * first:9.3f} {size + 1:5} {1e3 * second:9.3f} {second / first:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
