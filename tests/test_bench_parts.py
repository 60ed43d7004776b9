"""The parts of the benchmark: shapes and inputs, contenders and peers, times and errors."""

from __future__ import annotations

import argparse
import importlib.machinery
import math
import sys
import time
import types

import metalsvd
import numpy
import pytest
import torch
from bench_records import GOOD, make_case, make_record
from checks import EPS
from metalsvd.bench import cases, contenders, measure, peers, targets
from metalsvd.bench.measure import Judge, Settings
from metalsvd.bench.targets import Target

# --- cases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sizes", "dtype"),
    [("4x5", (4, 5), None), ("1024x64x32", (1024, 64, 32), None), ("7x4x4:complex64", (7, 4, 4), torch.complex64)],
)
def test_shapes(text, sizes, dtype):
    assert cases.parse_shape(text) == (sizes, dtype)
    case = cases.parse_shape(text).case(torch.float16)
    assert case.dtype == (dtype or torch.float16)
    assert (case.batch, case.m, case.n) == (sizes if len(sizes) == 3 else (1, *sizes))


@pytest.mark.parametrize(
    "text", ["", "4", "4x", "x4x4", "4x0", "0x4x4", "2x3x4x5", "-4x4", "4x4:float64", "4x4:", "4X4"]
)
def test_bad_shapes(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected BATCHxMxN or MxN"):
        cases.parse_shape(text)


@pytest.mark.parametrize("name", cases.PRESETS)
@pytest.mark.parametrize("emulated", [False, True])
def test_presets(name, emulated):
    shapes = cases.preset(name, emulated)
    assert len(set(shapes)) == len(shapes) >= 6
    if name == "h100":
        assert len(shapes) == 20
        assert cases.parse_shape("4096x16x16:complex64") in shapes


def test_inputs_take_turns_only_where_a_cache_could_hold_them():
    small, large = make_case((10, 4, 4)), make_case((1000, 100, 100))
    assert cases.input_set_count(small, 2**20) == cases.MOST_INPUT_SETS
    assert cases.input_set_count(large, 2**20) == 1
    assert cases.input_set_count(make_case((512, 512)), 2**20) == 2
    assert cases.input_set_count(small, 0) == 1


@pytest.mark.parametrize("dtype", list(cases.DTYPES.values()), ids=str)
def test_inputs_are_random_and_the_same_every_time(dtype):
    case = make_case((3, 8, 5), dtype)
    first, second = cases.make_inputs(case, 2, 7, "cpu")
    assert first.shape == case.shape
    assert first.dtype == dtype
    assert first.abs().float().std() > 0.3
    assert not torch.equal(first, second)
    assert torch.equal(cases.make_inputs(case, 1, 8, "cpu")[0], second)


# --- contenders -------------------------------------------------------------------------------------------------------


def test_our_drivers_are_those_of_the_planner():
    with pytest.raises(RuntimeError, match="only accepts one of None, ") as error:
        metalsvd.plan((4, 4), driver="nonsense")
    listed = str(error.value).partition("one of None, ")[2].partition("\n")[0].replace(" and ", ", ").split(", ")
    expected = ["auto", *listed]
    assert expected == contenders.OUR_DRIVERS


@pytest.mark.parametrize(
    ("drivers", "ours", "of_torch"),
    [
        ([], ["auto"], ["default", "gesvdj", "gesvda", "gesvd"]),
        (["block", "auto"], ["auto", "block"], ["default", "gesvdj", "gesvda", "gesvd"]),
        (["gesvd"], ["auto"], ["gesvd"]),
        (["all"], contenders.OUR_DRIVERS, contenders.TORCH_DRIVERS),
        (["auto", "svd_ex"], ["auto", "svd_ex"], contenders.TORCH_DRIVERS),
        (["svd_ex"], ["svd_ex"], contenders.TORCH_DRIVERS),
    ],
)
def test_drivers(drivers, ours, of_torch):
    target = Target()
    target.device = "cuda"
    assert [one.driver for one in contenders.ours(target, drivers)] == ours
    assert [one.driver for one in contenders.of_torch(target, drivers)] == of_torch


@pytest.mark.parametrize("job", ["thin", "full", "values"])
def test_unchecked_calls_do_not_wait(job, target, emulated):
    (unchecked,) = contenders.ours(targets.choose_target("mps"), ["svd_ex"])
    A = torch.randn(2, 5, 3).to(target)
    emulated.reset_counters()
    outputs = unchecked.svd(A, job)
    assert emulated.counters().host_waits == 0
    U, S, Vh = unchecked.factors(outputs, job)
    assert torch.allclose(S.cpu(), torch.linalg.svdvals(A.cpu()), rtol=1e-5)
    assert (U is None) == (Vh is None) == (job == "values")
    assert job == "values" or U.shape == ((2, 5, 5) if job == "full" else (2, 5, 3))


def test_on_a_mac_torch_goes_through_the_cpu_too():
    target = Target()
    target.device = "mps"
    assert [one.name for one in contenders.of_torch(target, [])] == ["torch default", "torch via cpu"]


def test_torch_is_measured_without_metalsvd():
    assert metalsvd.is_patched()
    with contenders.Torch(Target(), "default").session():
        assert not metalsvd.is_patched()
    assert metalsvd.is_patched()


def test_a_device_without_our_kernels_is_told():
    target = Target()
    target.device = "xpu"
    with pytest.raises(RuntimeError, match="built without kernels for xpu"):
        contenders.Metalsvd(target, "auto").method(make_case(), "thin")


def install_fake(monkeypatch, name: str, **contents: object) -> None:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__version__ = "9.9"
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def fake_cupy(monkeypatch) -> types.SimpleNamespace:
    """numpy under the names that CuPy has, and a pool that counts what was asked of it."""
    log = types.SimpleNamespace(waits=0, held=[100])
    stream = types.SimpleNamespace(synchronize=lambda: setattr(log, "waits", log.waits + 1))
    pool = types.SimpleNamespace(free_all_blocks=lambda: log.held.append(100), total_bytes=lambda: log.held[-1])

    def svd(A, full_matrices=True, compute_uv=True):
        log.held.append(350)
        return numpy.linalg.svd(A, full_matrices=full_matrices, compute_uv=compute_uv)

    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=RuntimeError)
    install_fake(
        monkeypatch,
        "cupy",
        asarray=numpy.asarray,
        asnumpy=numpy.asarray,
        linalg=types.SimpleNamespace(svd=svd),
        cuda=types.SimpleNamespace(runtime=runtime, get_current_stream=lambda: stream),
        get_default_memory_pool=lambda: pool,
    )
    return log


def fake_jax(monkeypatch) -> types.SimpleNamespace:
    """numpy under the names that JAX has."""
    log = types.SimpleNamespace(waits=0)

    def block_until_ready(outputs):
        log.waits += 1
        return outputs

    analysis = types.SimpleNamespace(temp_size_in_bytes=200, output_size_in_bytes=50)
    compiled = types.SimpleNamespace(memory_analysis=lambda: analysis)

    def jit(function):
        def jitted(A):
            return function(A)

        jitted.lower = lambda A: types.SimpleNamespace(compile=lambda: compiled)
        return jitted

    def devices(name):
        if name != "cpu":
            raise RuntimeError(f"Unknown backend {name}. Available backends are ['cpu']")
        return [name]

    install_fake(
        monkeypatch,
        "jax",
        jit=jit,
        devices=devices,
        device_put=lambda A, device: A,
        block_until_ready=block_until_ready,
        clear_caches=lambda: None,
        numpy=types.SimpleNamespace(linalg=numpy.linalg),
    )
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return log


@pytest.mark.parametrize("job", cases.JOBS)
@pytest.mark.parametrize("shape", [(3, 6, 4), (5, 7)])
@pytest.mark.parametrize("package", ["jax", "cupy", "scipy"])
def test_peers_measure(monkeypatch, package, shape, job):
    fakes = {"jax": fake_jax, "cupy": fake_cupy}
    if package == "scipy":
        pytest.importorskip("scipy")
        log = None
    else:
        log = fakes[package](monkeypatch)
    monkeypatch.setitem(peers._OTHERS, "cupy", (["cpu"], peers.Cupy))
    case, target, settings = make_case(shape), Target(), Settings(job, repeat=3, seconds=0.01)
    inputs = cases.make_inputs(case, 2, 0, "cpu")
    [peer] = peers.make_peers(package, target, [])
    assert peer.name == package
    record = measure.measure(case, peer, inputs, Judge(case, inputs[0], target, job), target, settings)
    assert record.failure is None
    assert len(record.seconds) == 3
    assert not record.is_ours
    assert record.errors.worst < 1e-6
    assert record.peak_bytes == (None if package == "scipy" else 250)
    if log:
        assert record.version == "9.9"
        assert log.waits >= 4


def test_absent_peers(monkeypatch):
    target = Target()
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(peers.Absent, match="jax is not installed, left out"):
        peers.make_peers("jax", target, [])
    with pytest.raises(peers.Absent, match="cupy does not work on cpu, left out"):
        peers.make_peers("cupy", target, [])


def test_a_peer_without_the_device_is_absent(monkeypatch):
    fake_jax(monkeypatch)
    target = Target()
    target.device = "cuda"
    with pytest.raises(peers.Absent, match="jax has no cuda device here, left out: Unknown backend cuda"):
        peers.make_peers("jax", target, [])


def test_a_broken_peer_is_absent(monkeypatch):
    def broken(target):
        raise ImportError("libsomething.so: not found\nmore")

    monkeypatch.setitem(peers._OTHERS, "scipy", (["cpu"], broken))
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: True)
    with pytest.raises(peers.Absent, match=r"scipy cannot be imported, left out: libsomething.so: not found$"):
        peers.make_peers("scipy", Target(), [])


# --- targets ----------------------------------------------------------------------------------------------------------


def test_cuda(monkeypatch):
    properties = types.SimpleNamespace(name="NVIDIA Fake", L2_cache_size=50 * 2**20)
    log = []
    fakes = {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "get_device_properties": lambda device: properties,
        "synchronize": lambda: log.append("synchronize"),
        "reset_peak_memory_stats": lambda: log.append("reset"),
        "memory_allocated": lambda: 1000,
        "max_memory_allocated": lambda: 1700,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(targets, "_first_line", lambda command: "580.1")
    target = targets.choose_target("auto")
    assert (target.device, target.emulated, target.cache_bytes) == ("cuda", False, 50 * 2**20)
    assert target.peak_of(lambda: log.append("call") or "result") == ("result", 700)
    assert log == ["synchronize", "reset", "call", "synchronize"]
    environment = target.environment()
    assert environment["device"] == "NVIDIA Fake"
    assert environment["driver"] == "NVIDIA 580.1"
    assert environment["runtime"].startswith("CUDA ")


@pytest.mark.parametrize("job", cases.JOBS)
def test_what_a_mac_does(job, target, monkeypatch):
    """Timed as a real Apple GPU is; on the emulated one the times are thrown away."""
    if target.type != "mps":
        pytest.skip("needs mps, real or emulated")
    case, place, settings = make_case((3, 6, 4)), targets.Mps(), Settings(job, 3, 0.01)
    inputs = cases.make_inputs(case, 2, 0, place.device)
    everybody = contenders.ours(place, []) + contenders.of_torch(place, [])
    assert [one.name for one in everybody] == ["metalsvd auto", "torch default", "torch via cpu"]
    for limit, computed_in in ((measure.REFERENCE_WORK, "float64 on cpu"), (1, "float32 on mps")):
        monkeypatch.setattr(measure, "REFERENCE_WORK", limit)
        judge = Judge(case, inputs[0], place, job)
        for contender in everybody:
            record = measure.measure(case, contender, inputs, judge, place, settings)
            contender.release_memory()
            assert record.failure is None
            assert len(record.seconds) == 3
            assert record.errors.worst < 60 * EPS
            assert record.errors.computed_in == computed_in
            assert (record.errors.sigma_error is None) == (limit == 1)
            assert record.output_bytes > 0
    assert metalsvd.is_patched()


# --- measuring --------------------------------------------------------------------------------------------------------


class FakeClock:
    """A call takes ``seconds``; remembers the calls of every sample and the inputs they began with."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.runs = seconds, 0.0, []

    def run(self, calls: int, first: int) -> float:
        self.runs.append((calls, first))
        self.now += calls * self.seconds
        return calls * self.seconds

    def sample(self, repeat: int, seconds: float):
        return measure.sample(self.run, repeat, seconds, clock=lambda: self.now)


@pytest.mark.parametrize(
    ("call", "repeat", "seconds", "samples", "calls"),
    [
        (0.1, 20, 100.0, 20, 1),  # all samples
        (0.1, 20, 0.55, 6, 1),  # as many as the budget holds
        (0.1, 20, 0.15, 3, 1),  # three at least
        (5.0, 20, 2.0, 1, 1),  # unless one takes too long
        (0.1, 2, 0.15, 2, 1),  # or fewer were asked for
        (1e-4, 20, 100.0, 20, 10),  # short calls in a row
    ],
)
def test_samples_within_their_budget(call, repeat, seconds, samples, calls):
    clock = FakeClock(call)
    times, made = clock.sample(repeat, seconds)
    assert made == calls
    assert times == pytest.approx([call] * samples)


def test_samples_go_on_where_the_inputs_of_the_last_ended():
    clock = FakeClock(1e-4)
    clock.sample(5, 100.0)
    sampled = clock.runs[-5:]
    assert [first for _, first in sampled] == [1, 11, 21, 31, 41]


def test_every_sample_waits_for_the_device_and_the_inputs_take_turns():
    log = []

    class Logging(contenders.Contender):
        package, version = "torch", "0"

        def svd(self, A, job):
            log.append(A)
            time.sleep(0.002)  # longer than SHORTEST_SAMPLE: one call a sample
            return A

        def synchronize(self, outputs):
            assert outputs == log[-1]
            log.append("wait")

    record = make_record("torch a", [])
    measure._time(Logging(Target(), "a"), ["first", "second"], record, Settings(repeat=3, seconds=60))
    assert len(record.seconds) == 3
    assert min(record.seconds) >= 0.002
    # Warming up, the call whose factors are judged, two more beside these, and three samples.
    warming = ["first", "wait", "first", "wait", "first", "second", "wait"]
    assert log == [*warming, "first", "wait", "second", "wait", "first", "wait"]


def test_statistics():
    record = make_record(seconds=[0.5, 0.1, 0.2, 0.3, 0.4])
    assert record.median == 0.3
    assert record.quartiles == pytest.approx((0.2, 0.4))
    assert make_record(seconds=[0.5]).quartiles == (0.5, 0.5)
    assert make_record(seconds=[]).quartiles is None


@pytest.mark.parametrize("job", cases.JOBS)
@pytest.mark.parametrize("shape", [(5, 9, 6), (4, 3, 8), (7, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_judge(dtype, shape, job):
    case = make_case(shape, dtype)
    [A] = cases.make_inputs(case, 1, 3, "cpu")
    judge = Judge(case, A, Target(), job)
    U, S, Vh = torch.linalg.svd(A, full_matrices=job == "full")
    errors = judge.errors(None, S, None) if job == "values" else judge.errors(U, S, Vh)
    assert errors.worst < 60 * EPS
    assert errors.sigma_sample == case.batch
    assert errors.computed_in == "float64 on cpu"
    if job == "values":
        assert errors.residual is errors.orthogonality is None
        spoiled = judge.errors(None, 1.25 * S, None)
    else:
        spoiled = judge.errors(U, 1.25 * S, Vh)
        assert spoiled.residual == pytest.approx(0.25, abs=1e-6)
        assert judge.errors(1.5 * U, S, Vh).u_orthogonality == pytest.approx(1.25, abs=1e-5)
        assert judge.errors(U, S, 1.5 * Vh).orthogonality == pytest.approx(1.25, abs=1e-5)
        assert judge.errors(U, S, 1.5 * Vh).u_orthogonality < 60 * EPS
    assert spoiled.sigma_error == pytest.approx(0.25, abs=1e-6)
    assert spoiled.norm_error == pytest.approx(0.25, abs=1e-6)


def test_judge_takes_the_worst_of_the_batch_whatever_the_step(monkeypatch):
    monkeypatch.setattr(measure, "NUMBERS_AT_ONCE", 2 * 4 * 4)
    case = make_case((5, 4, 4))
    [A] = cases.make_inputs(case, 1, 0, "cpu")
    U, S, Vh = torch.linalg.svd(A)
    S[3] *= 2
    assert Judge(case, A, Target(), "thin").errors(U, S, Vh).residual == pytest.approx(1.0, abs=1e-6)
    U[1, 0, 0] = math.nan
    assert math.isnan(Judge(case, A, Target(), "thin").errors(U, S, Vh).residual)


def test_judge_samples_the_reference_and_leaves_it_out_beyond_its_limit(monkeypatch):
    case = make_case((9, 4, 4))
    [A] = cases.make_inputs(case, 1, 0, "cpu")
    factors = torch.linalg.svd(A)
    monkeypatch.setattr(measure, "REFERENCE_WORK", 3 * 4**3)
    errors = Judge(case, A, Target(), "thin").errors(*factors)
    assert errors.sigma_sample == 3
    assert errors.sigma_error < 60 * EPS
    factors.S[8] *= 2  # the last is in the sample
    assert Judge(case, A, Target(), "thin").errors(*factors).sigma_error == pytest.approx(1.0, abs=1e-6)
    monkeypatch.setattr(measure, "REFERENCE_WORK", 4**3 - 1)
    errors = Judge(case, A, Target(), "thin").errors(*factors)
    assert (errors.sigma_error, errors.sigma_sample) == (None, 0)
    assert errors.residual == pytest.approx(1.0, abs=1e-6)


def test_full_factors_are_no_answer_to_the_job_thin():
    case = make_case((5, 3))
    [A] = cases.make_inputs(case, 1, 0, "cpu")
    U, S, Vh = torch.linalg.svd(A, full_matrices=True)
    with pytest.raises(ValueError, match=r"U has the shape \[5, 5\], expected \[5, 3\] for the job 'thin'"):
        Judge(case, A, Target(), "thin").errors(U, S, Vh)
    with pytest.raises(ValueError, match="expected None for the job 'values'"):
        Judge(case, A, Target(), "values").errors(U, S, Vh)


@pytest.mark.parametrize("worst", [0.06, math.nan, math.inf])
def test_what_is_wrong_is_compared_with_nothing(worst):
    ours, wrong, slow = make_record(), make_record("torch a", [0.0001], GOOD._replace(residual=worst)), None
    assert wrong.is_wrong
    assert measure.ratio_to_best_peer(ours, [ours, wrong]) is None
    slow = make_record("torch b", [0.01])
    assert measure.ratio_to_best_peer(ours, [ours, wrong, slow]) == pytest.approx(5.0)
    assert measure.ratio_to_best_peer(wrong, [ours, wrong, slow]) is None
    assert measure.best_peer([ours, wrong, slow]) is slow


def test_a_time_without_errors_is_compared_with_nothing():
    ours, peer = make_record(errors=None), make_record("torch a")
    assert measure.ratio_to_best_peer(ours, [ours, peer]) is None
    ours, peer = make_record(), make_record("torch a", errors=None)
    assert measure.ratio_to_best_peer(ours, [ours, peer]) is None
