"""From what the emulated GPU counts to seconds that a real one might take: a model, never a measurement."""

from __future__ import annotations

SECONDS_PER_DISPATCH = 2.05e-6
SECONDS_PER_HOST_WAIT = 170e-6  # pytorch#195950, flat from 1 to 910 matrices of 3x3 on an M5 Pro
BYTES_PER_SECOND = {"M1": 68e9, "M3 Max": 400e9, "M4 Max": 546e9}
REACHED = 0.5  # of the peak, by a good kernel


def estimate(counters: dict, chip: str = "M3 Max") -> float:
    """Seconds for what ``counters``, the fields of :class:`metalsvd.emulator.Counters`, say was done.

    Raises:
        ValueError: an unknown chip.
    """
    if chip not in BYTES_PER_SECOND:
        raise ValueError(f"chip must be one of {', '.join(BYTES_PER_SECOND)}, not {chip!r}")
    moved = (counters["bytes_read"] or 0) + (counters["bytes_written"] or 0)
    return (
        counters["dispatches"] * SECONDS_PER_DISPATCH
        + counters["host_waits"] * SECONDS_PER_HOST_WAIT
        + moved / (REACHED * BYTES_PER_SECOND[chip])
    )
