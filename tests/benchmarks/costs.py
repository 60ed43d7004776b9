"""What each method costs, counted by the emulated Apple GPU: ``python tests/benchmarks/costs.py``.

Dispatches, waits of the host, device memory read and written (in units of the bytes of A and of the outputs), and
scratch (in units of A and outputs together). Counts, not times: they are what is known without a Mac.
"""

from __future__ import annotations

import dataclasses

import metalsvd
import torch

# At, before and behind the sizes where the planner changes its mind.
SHAPES = [
    (1000, 3, 3),
    (1000, 4, 4),
    (100, 5, 5),
    (20, 16, 16),
    (4, 32, 32),
    (4, 33, 33),
    (1, 63, 63),
    (1, 64, 64),
    (1, 89, 89),
    (1, 90, 90),
    (1, 128, 128),
    (1, 512, 12),
    (1, 513, 12),
    (1, 20000, 3),
]


@dataclasses.dataclass(frozen=True)
class Costs:
    dispatches: int
    host_waits: int
    read: float  # times the bytes of A
    written: float  # times the bytes of the outputs
    scratch: float  # times the bytes of A and outputs


def measure(shape: tuple[int, ...], **options) -> Costs:
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to("mps")
    before = metalsvd.emulator.memory().live
    metalsvd.emulator.reset_counters()
    metalsvd.emulator.reset_peak_memory()
    with metalsvd.emulator.options(check_memory=True):
        outputs = torch.ops.metalsvd.svd_ex(A, **options)
    counters, peak = metalsvd.emulator.counters(), metalsvd.emulator.memory().peak
    made = sum(output.nbytes for output in outputs)
    return Costs(
        counters.dispatches,
        counters.host_waits,
        counters.bytes_read / A.nbytes,
        counters.bytes_written / made,
        (peak - before - made) / (A.nbytes + made),
    )


def main() -> None:
    print(f"{'shape':>16}  {'dispatches':>10} {'waits':>6} {'read/A':>8} {'written/out':>12} {'scratch':>8}  method")
    for shape in SHAPES:
        costs = measure(shape)
        words = metalsvd.plan(shape).split(":")[0]
        print(
            f"{'x'.join(map(str, shape)):>16}  {costs.dispatches:10} {costs.host_waits:6} {costs.read:8.2f} "
            f"{costs.written:12.2f} {costs.scratch:8.2f}  {words}"
        )


if __name__ == "__main__":
    metalsvd.emulator.enable()
    main()
