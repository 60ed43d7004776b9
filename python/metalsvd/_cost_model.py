"""A model, not a measurement: what a call would take on an Apple GPU, from what the emulated one counted.

Nothing of it has been measured on a Mac by us. A dispatch costs a fixed time, and the host more to wait for it. The
dispatches of a call run one after the other; what they do takes the longest of

- bytes of device memory over its bandwidth,
- floating-point operations over half of the peak,
- what threadgroups do one after the other, on the critical path: rounds between two barriers, SIMD operations and
  dependent multiply-adds, times how often the threads fill the cores.
"""

from __future__ import annotations

import dataclasses

from .emulator import Counters


@dataclasses.dataclass(frozen=True)
class Device:
    """What the model knows of a GPU: data sheets, and latencies as others report them."""

    cores: int
    bandwidth: float  # bytes a second
    peak: float  # float32 operations a second, a multiply-add being two
    clock: float = 1.4e9  # cycles a second


DEVICES = {
    "m1": Device(cores=8, bandwidth=68e9, peak=2.6e12, clock=1.27e9),
    "m3 max": Device(cores=40, bandwidth=400e9, peak=14e12),
    "m4 max": Device(cores=40, bandwidth=546e9, peak=18e12, clock=1.6e9),
}

DISPATCH = 2e-6  # seconds of GPU time
HOST_WAIT = 170e-6  # seconds, pytorch#195950
PART_OF_PEAK = 0.5  # that good kernels reach
ROUND_CYCLES = 140  # between two barriers, beside its multiply-adds: threadgroup memory, a square root, divisions
SIMD_OPERATION_CYCLES = 8
MULTIPLY_ADD_CYCLES = 4  # from one to the next that needs it
LANES = 128  # multiply-adds that a core begins in a cycle
RESIDENT_THREADS = 1024  # of a core, at the registers and the threadgroup memory that our kernels need


def estimate(counters: Counters, device: str = "m3 max") -> float:
    """Modelled seconds of what `counters` counted under ``metalsvd.emulator.options(check_memory=True)``.

    Args:
        device: one of :data:`DEVICES`.

    Raises:
        ValueError: an unknown device, or counters without bytes and operations.
    """
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    if counters.bytes_read is None:
        raise ValueError("counters must have been counted under metalsvd.emulator.options(check_memory=True)")
    gpu = DEVICES[device]
    waiting = counters.dispatches * DISPATCH + counters.host_waits * HOST_WAIT
    if counters.dispatches == 0:
        return waiting
    memory = (counters.bytes_read + counters.bytes_written) / gpu.bandwidth
    operations = 2 * counters.multiply_adds / (gpu.peak * PART_OF_PEAK)
    # A threadgroup of many threads keeps its core's lanes busy, one of few waits for each result.
    multiply_add_cycles = max(MULTIPLY_ADD_CYCLES, counters.threads / counters.threadgroups / LANES)
    cycles = (
        counters.critical_barriers * ROUND_CYCLES
        + counters.critical_simd_operations * SIMD_OPERATION_CYCLES
        + counters.critical_multiply_adds * multiply_add_cycles
    )
    fills = max(1.0, counters.threads / counters.dispatches / (gpu.cores * RESIDENT_THREADS))
    return waiting + max(memory, operations, fills * cycles / gpu.clock)


def of_batch(counters: Counters, times: int) -> Counters:
    """What the same dispatches would count with a batch so many times as large, of like matrices."""
    grown = ("threadgroups", "threads", "barriers", "simd_operations", "bytes_read", "bytes_written", "multiply_adds")
    return dataclasses.replace(counters, **{name: times * getattr(counters, name) for name in grown})
