"""What each method costs, counted by the emulated Apple GPU: ``python tests/benchmarks/costs.py``.

For both sides of each size at which the planner changes its mind: dispatches, waits of the host, device memory read and
written (in units of the bytes of A and of the outputs) and scratch (in units of A and outputs together), as counted;
and a model's estimate of the time on an M3 Max (metalsvd/_cost_model.py), with the ratio of the two sides, of a few
matrices and of as many as fill the GPU. Nothing here is measured on a Mac.
"""

from __future__ import annotations

import dataclasses

import metalsvd
import torch
from metalsvd import _cost_model

# (batch, m, n) of the first side, the second being the same batch of the shape that follows.
STEPS: dict[str, list[tuple[tuple[int, int, int], tuple[int, int, int]]]] = {
    "float32": [
        ((128, 6, 6), (128, 7, 7)),
        ((48, 8, 8), (48, 9, 9)),
        ((15, 12, 12), (15, 13, 13)),
        ((12, 16, 16), (12, 17, 17)),
        ((5, 20, 20), (5, 21, 21)),
        ((5, 24, 24), (5, 25, 25)),
        ((5, 32, 32), (5, 33, 33)),
        ((1, 32, 32), (1, 33, 33)),
        ((1, 40, 32), (1, 41, 32)),
        ((2, 40, 40), (2, 41, 41)),
        ((1, 48, 48), (1, 49, 49)),
        ((1, 64, 64), (1, 65, 65)),
        ((1, 80, 80), (1, 81, 81)),
        ((1, 96, 96), (1, 97, 97)),
        ((1, 128, 128), (1, 129, 129)),
        ((2, 128, 20), (2, 129, 20)),
        ((1, 320, 12), (1, 321, 12)),
        ((1, 128, 60), (1, 129, 60)),
        ((2, 512, 5), (2, 513, 5)),
    ],
    "complex64": [
        ((128, 4, 4), (128, 5, 5)),
        ((40, 8, 8), (40, 9, 9)),
        ((9, 10, 10), (9, 11, 11)),
        ((9, 16, 16), (9, 17, 17)),
        ((3, 20, 20), (3, 21, 21)),
        ((3, 32, 32), (3, 33, 33)),
        ((1, 40, 40), (1, 41, 41)),
        ((1, 64, 64), (1, 65, 65)),
        ((1, 80, 80), (1, 81, 81)),
        ((1, 80, 45), (1, 81, 45)),
        ((2, 80, 16), (2, 81, 16)),
        ((1, 160, 12), (1, 161, 12)),
        ((2, 320, 3), (2, 321, 3)),
        ((2, 512, 3), (2, 513, 3)),
    ],
}
FULL_BATCH = 16384  # matrices: many times what any GPU runs at once


@dataclasses.dataclass(frozen=True)
class Costs:
    dispatches: int
    host_waits: int
    read: float  # times the bytes of A
    written: float  # times the bytes of the outputs
    scratch: float  # times the bytes of A and outputs
    seconds: float  # modelled
    seconds_of_full_batch: float  # modelled, a matrix


def measure(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, **options) -> Costs:
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype).to("mps")
    before = metalsvd.emulator.memory().live
    metalsvd.emulator.reset_counters()
    metalsvd.emulator.reset_peak_memory()
    with metalsvd.emulator.options(check_memory=True):
        outputs = torch.ops.metalsvd.svd_ex(A, **options)
    counters, peak = metalsvd.emulator.counters(), metalsvd.emulator.memory().peak
    made = sum(output.nbytes for output in outputs)
    full_batch = _cost_model.of_batch(counters, FULL_BATCH // shape[0])
    return Costs(
        counters.dispatches,
        counters.host_waits,
        counters.bytes_read / A.nbytes,
        counters.bytes_written / made,
        (peak - before - made) / (A.nbytes + made),
        _cost_model.estimate(counters),
        _cost_model.estimate(full_batch) / FULL_BATCH,
    )


def steps(dtype: str):
    """((shape, costs) of one side, (shape, costs) of the other), one threshold after the other."""
    for first, second in STEPS[dtype]:
        yield tuple((shape, measure(shape, getattr(torch, dtype))) for shape in (first, second))


def main() -> None:
    print(
        f"{'shape':>16} {'dispatches':>10} {'waits':>5} {'read/A':>7} {'written/out':>11} {'scratch':>7} "
        f"{'model us':>9} {'ratio':>5} {'full batch, us a matrix':>23} {'ratio':>5}  method"
    )
    for dtype in STEPS:
        print(dtype)
        for sides in steps(dtype):
            before = None
            for shape, costs in sides:
                ratios = ("", "")
                if before is not None:
                    few = costs.seconds / before.seconds
                    many = costs.seconds_of_full_batch / before.seconds_of_full_batch
                    ratios = (f"{few:.2f}", f"{many:.2f}")
                words = metalsvd.plan(shape, getattr(torch, dtype)).split(":")[0]
                print(
                    f"{'x'.join(map(str, shape)):>16} {costs.dispatches:10} {costs.host_waits:5} {costs.read:7.2f} "
                    f"{costs.written:11.2f} {costs.scratch:7.2f} {1e6 * costs.seconds:9.1f} {ratios[0]:>5} "
                    f"{1e6 * costs.seconds_of_full_batch:23.3f} {ratios[1]:>5}  {words}",
                    flush=True,
                )
                before = costs


if __name__ == "__main__":
    metalsvd.emulator.enable()
    main()
