"""One cell: a contender on a case, timed or counted, and how good its factors are."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _accuracy, _cost_model, emulator
from .cases import Case
from .contenders import Contender
from .targets import Target

# Beyond m n min(m, n) = 2048^3 float64 LAPACK on a CPU takes too long for a reference.
REFERENCE_WORK = 2**33
# float64 numbers of A that are looked at together when residuals are computed.
NUMBERS_AT_ONCE = 2**26
# An error as large as this is no decomposition in any dtype: such a cell is marked and compared with nothing.
WRONG = 0.05
# Shorter calls are timed several in a row, or the clock and the waiting would count.
SHORTEST_SAMPLE = 1e-3
LEAST_SAMPLES = 3
MODEL_CHIP = "M3 Max"  # that the cost model is asked about


class Settings(NamedTuple):
    job: str = "thin"
    repeat: int = 20  # samples a cell at most
    seconds: float = 2.0  # budget a cell
    seed: int = 0


class Errors(NamedTuple):
    """How good factors are, each the worst over the batch; see :mod:`metalsvd.bench`."""

    residual: float | None
    u_orthogonality: float | None
    v_orthogonality: float | None
    norm_error: float
    sigma_error: float | None
    sigma_sample: int  # matrices that sigma_error is about
    computed_in: str

    @property
    def orthogonality(self) -> float | None:
        if self.u_orthogonality is None or self.v_orthogonality is None:
            return None
        return _worst([self.u_orthogonality, self.v_orthogonality])

    @property
    def worst(self) -> float:
        numbers = (self.residual, self.u_orthogonality, self.v_orthogonality, self.norm_error, self.sigma_error)
        return _worst([number for number in numbers if number is not None])


@dataclasses.dataclass
class Record:
    """What is known of one cell."""

    case: Case
    job: str
    package: str
    driver: str
    name: str
    is_ours: bool
    version: str
    method: str | None = None
    seconds: list[float] = dataclasses.field(default_factory=list)
    calls_per_sample: int | None = None
    errors: Errors | None = None
    peak_bytes: int | None = None
    output_bytes: int | None = None
    counters: dict[str, int] | None = None
    model_seconds: float | None = None
    failure: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def quartiles(self) -> tuple[float, float] | None:
        if not self.seconds:
            return None
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        lower, _, upper = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return lower, upper

    @property
    def is_wrong(self) -> bool:
        """Whether the errors are beyond what could be called a decomposition; NaN is."""
        return self.errors is not None and not self.errors.worst <= WRONG

    @property
    def can_be_compared(self) -> bool:
        """There is a time, and errors to stand beside it."""
        return self.median is not None and self.errors is not None and not self.is_wrong

    @property
    def scratch_bytes(self) -> int | None:
        if self.peak_bytes is None or self.output_bytes is None:
            return None
        return max(0, self.peak_bytes - self.output_bytes)


class Judge:
    """Measures the factors of one case's first input; the float64 reference is computed once, when first needed."""

    def __init__(self, case: Case, A: Tensor, target: Target, job: str) -> None:
        self._case, self._A, self._target, self._job = case, A, target, job
        work = case.m * case.n * case.k
        count = min(case.batch, REFERENCE_WORK // work)
        self._sample = torch.linspace(0, case.batch - 1, count).round().long() if count else None
        self._reference: Tensor | None = None
        # What has float64 computes in it where it is; of mps the CPU helps out, up to the size of the reference.
        self._device = torch.device("cpu" if not target.has_float64 and count else target.device)
        self._in_float64 = target.has_float64 or self._device.type == "cpu"

    def errors(self, U: Tensor | None, S: Tensor, Vh: Tensor | None) -> Errors:
        """Raises ValueError where the shapes are not those of the job."""
        self._check_shapes(U, S, Vh)
        A, S = self._stacked(self._A, 2), self._stacked(S, 1)
        U, Vh = (None if X is None else self._stacked(X, 2) for X in (U, Vh))
        numbers = []
        step = max(1, NUMBERS_AT_ONCE // (self._case.m * self._case.n))
        for start in range(0, self._case.batch, step):
            part = slice(start, start + step)
            numbers.append(self._errors_of(A[part], None if U is None else U[part], S[part],
                                           None if Vh is None else Vh[part]))  # fmt: skip
        residual, of_u, of_v, norm_error = (
            None if column[0] is None else _worst(column) for column in zip(*numbers, strict=True)
        )
        precision = "float64" if self._in_float64 else "float32"
        sample = 0 if self._sample is None else len(self._sample)
        computed_in = f"{precision} on {self._device.type}"
        return Errors(residual, of_u, of_v, norm_error, self._sigma_error(S), sample, computed_in)

    def _errors_of(self, A: Tensor, U: Tensor | None, S: Tensor, Vh: Tensor | None) -> tuple[float | None, ...]:
        A, S = self._precise(A), self._precise(S)
        norm_error = _accuracy.norm_error(A, S)
        if U is None or Vh is None:
            return None, None, None, norm_error
        U, Vh = self._precise(U), self._precise(Vh)
        orthogonality = _accuracy.orthogonality(U), _accuracy.orthogonality(Vh.mH)
        return _accuracy.residual(A, U, S, Vh), *orthogonality, norm_error

    def _sigma_error(self, S: Tensor) -> float | None:
        if self._sample is None:
            return None
        if self._reference is None:
            A = self._stacked(self._A, 2)[self._sample.to(self._A.device)].cpu()
            self._reference = torch.linalg.svdvals(A.to(torch.complex128 if A.is_complex() else torch.float64))
        return _accuracy.sigma_error(S[self._sample.to(S.device)].cpu().double(), self._reference)

    def _stacked(self, X: Tensor, dimensions: int) -> Tensor:
        return X.unsqueeze(0) if X.dim() == dimensions else X

    def _precise(self, X: Tensor) -> Tensor:
        if self._in_float64:
            return X.detach().to(self._device).to(torch.complex128 if X.is_complex() else torch.float64)
        return X.detach().to(torch.complex64 if X.is_complex() else torch.float32)

    def _check_shapes(self, U: Tensor | None, S: Tensor, Vh: Tensor | None) -> None:
        *batch, m, n = self._case.shape
        k, full = self._case.k, self._job == "full"
        expected: dict[str, list[int] | None] = {"U": [*batch, m, m if full else k], "S": [*batch, k]}
        expected["Vh"] = [*batch, n if full else k, n]
        if self._job == "values":
            expected["U"] = expected["Vh"] = None
        for name, factor in {"U": U, "S": S, "Vh": Vh}.items():
            shape = None if factor is None else list(factor.shape)
            if shape != expected[name]:
                raise ValueError(f"{name} has the shape {shape}, expected {expected[name]} for the job {self._job!r}")


def measure(
    case: Case, contender: Contender, inputs: list[Tensor], judge: Judge, target: Target, settings: Settings
) -> Record:
    """One cell. Whatever goes wrong in it becomes its ``failure``."""
    record = Record(
        case,
        settings.job,
        contender.package,
        contender.driver,
        contender.name,
        contender.is_ours,
        contender.version,
    )
    try:
        record.method = contender.method(case, settings.job)
        with contender.session():
            adopted = [contender.adopt(A) for A in inputs]
            if target.emulated:
                outputs = _count(contender, adopted[0], record)
            else:
                outputs = _time(contender, adopted, record, settings)
        factors = contender.factors(outputs, settings.job)
        record.output_bytes = sum(factor.nbytes for factor in factors if factor is not None)
        record.errors = judge.errors(*factors)
    except Exception as error:
        record.failure = reason(error)
    return record


def reason(error: Exception) -> str:
    """The first line of what an exception says."""
    first = str(error).strip().partition("\n")[0]
    return first if first else type(error).__name__


def _time(contender: Contender, adopted: list[Any], record: Record, settings: Settings) -> Any:
    """Fills in the times and the memory of the record. Returns the outputs for the first input."""
    job = settings.job
    contender.synchronize(contender.svd(adopted[0], job))  # compiles, loads libraries, makes handles
    outputs, record.peak_bytes = contender.peak_of(adopted[0], job)
    contender.synchronize(outputs)

    def run(calls: int, first: int) -> float:
        begun = time.perf_counter()
        for i in range(calls):
            last = contender.svd(adopted[(first + i) % len(adopted)], job)
        contender.synchronize(last)
        return time.perf_counter() - begun

    run(2, 0)  # beside the outputs that are kept: with tensors where they are now calls may be captured as graphs
    record.seconds, record.calls_per_sample = sample(run, settings.repeat, settings.seconds)
    return outputs


def sample(
    run: Callable[[int, int], float], repeat: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> tuple[list[float], int]:
    """Times a call that is warm already.

    Args:
        run: ``run(calls, first)`` makes so many calls in a row, the first with input number ``first``; its seconds.
        repeat: samples at most.
        seconds: no new sample after that long, once there are three, or one where a call takes longer than that.

    Returns:
        Seconds a call, one number a sample, and the calls that were made in a row for each.
    """
    with _no_garbage_collection():
        begun = clock()
        once = run(1, 0)
        calls = max(1, math.ceil(SHORTEST_SAMPLE / max(once, 1e-9)))
        if calls > 1:  # a single call is mostly waiting: look again at how long many take
            calls = max(1, min(calls, math.ceil(calls * SHORTEST_SAMPLE / max(run(calls, 1), 1e-9))))
        samples = [once] if calls == 1 else []
        least = LEAST_SAMPLES if once <= seconds else 1
        first = 1
        while len(samples) < repeat and (len(samples) < least or clock() - begun < seconds):
            samples.append(run(calls, first) / calls)
            first += calls
    return samples, calls


def _count(contender: Contender, A: Any, record: Record) -> Any:
    """Fills in what the emulated GPU counts for one call and what the cost model makes of it. Returns the outputs."""
    with emulator.options(check_memory=True):  # which counts the bytes
        emulator.reset_counters()
        outputs, record.peak_bytes = contender.peak_of(A, record.job)
    counters = emulator.counters()
    record.counters = dataclasses.asdict(counters)
    record.model_seconds = model_seconds(counters)
    return outputs


def model_seconds(counters: emulator.Counters) -> float:
    """What the cost model makes of counters that include bytes: an estimate for ``MODEL_CHIP``, no measurement."""
    return _cost_model.estimate(counters, MODEL_CHIP.lower())


def best_peer(records: list[Record]) -> Record | None:
    """The fastest of the records of one case that is not ours and is right."""
    peers = [record for record in records if not record.is_ours and record.can_be_compared]
    return min(peers, key=lambda record: record.median or math.inf, default=None)


def ratio_to_best_peer(record: Record, records: list[Record]) -> float | None:
    """The best peer's median over this one's: more than 1 is faster. None where either has no time or no errors."""
    best = best_peer(records)
    if best is None or not record.can_be_compared:
        return None
    return best.median / record.median


def _worst(numbers: Any) -> float:
    """The largest; NaN where there is one."""
    return math.nan if any(math.isnan(number) for number in numbers) else max(numbers, default=0.0)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
