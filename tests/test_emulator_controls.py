"""The controls of the emulated Apple GPU, metalsvd.emulator, and its memory."""

import contextlib
import ctypes
import dataclasses
import gc
import os
import sys

import pytest
import torch
from metalsvd import emulator
from processes import run_code

if sys.platform == "darwin":
    pytest.skip("a Mac has the real device", allow_module_level=True)


@pytest.fixture(autouse=True)
def emulated_device(target):
    if target.type != "mps":
        pytest.skip("the device cannot be added once tests on the CPU have called backward")
    emulator.enable()


# ---- Memory ---------------------------------------------------------------------------------------------------------


def test_memory_statistics():
    gc.collect()
    emulator.reset_peak_memory()
    before = emulator.memory()
    x = torch.ones(1000, device="mps")
    y = x + 1
    del y
    assert torch.mps.current_allocated_memory() == emulator.memory().live == before.live + 4000
    assert torch.mps.driver_allocated_memory() >= torch.mps.current_allocated_memory()
    assert torch.mps.recommended_max_memory() > 2**28
    assert emulator.memory().peak == before.live + 8000
    torch.mps.empty_cache()
    del x
    assert emulator.memory().live == before.live
    emulator.reset_peak_memory()
    assert emulator.memory().peak == before.live


def test_memory_returns_to_its_start_after_many_calls():
    x = torch.randn(16, 16) + 16 * torch.eye(16)

    def backward():
        leaf = x.to("mps").requires_grad_()
        (torch.linalg.inv(leaf) @ leaf.sin()).abs().sum().backward()
        return leaf.grad

    backward()
    gc.collect()
    before = emulator.memory().live
    out = torch.empty(0, device="mps")
    for _ in range(50):
        backward()
        torch.linalg.qr(x.to("mps"))
        torch.add(x.to("mps"), 1, out=out.resize_(0))
    del out
    gc.collect()
    assert emulator.memory().live == before


def test_memory_limit():
    x = torch.ones(10, device="mps")
    torch.mps.set_per_process_memory_fraction(1e-12)
    try:
        with pytest.raises(RuntimeError, match="MPS backend out of memory"):
            torch.ones(10**6, device="mps")
    finally:
        torch.mps.set_per_process_memory_fraction(0.0)
    assert torch.equal((x + torch.ones(10, device="mps")).cpu(), torch.full((10,), 2.0))


def test_writes_out_of_bounds_are_found():
    program = """
import ctypes, torch, metalsvd.emulator as emulator
emulator.enable()
for offset in (-1, 12):
    x = torch.ones(3, device="mps")
    ctypes.memset(x.data_ptr() + offset, 0, 1)
    del x
print(emulator.memory().damaged_blocks)
"""
    ended = run_code(program)
    assert (ended.returncode, ended.stdout.strip()) == (0, "2")
    assert ended.stderr.count("written out of bounds") == 2


def test_data_is_aligned_and_is_host_memory():
    tensors = [torch.full((n,), 3.0, device="mps") for n in (1, 3, 17, 100)]
    assert all(x.data_ptr() % 64 == 0 for x in tensors)
    assert ctypes.c_float.from_address(tensors[2].data_ptr() + 64).value == 3.0


# ---- metalsvd.emulator ----------------------------------------------------------------------------------------------


def test_enabling():
    assert emulator.is_available()
    assert emulator.is_enabled()
    loaded = sys.modules["metalsvd._emulator"]
    emulator.enable()
    assert sys.modules["metalsvd._emulator"] is loaded


def test_the_operator_library_finds_the_symbols_of_the_emulator():
    assert hasattr(ctypes.CDLL(None), "PyInit__emulator")
    assert not sys.getdlopenflags() & os.RTLD_GLOBAL


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("torch._C._has_mps = True", "real MPS backend"),
        ("emulator.is_available = lambda: False", "was built without the emulated Apple GPU. Build it"),
        ("torch.backends.mps.is_available()", "before the emulator was enabled"),
    ],
)
def test_enabling_refuses(before, message):
    program = f"""
import torch
from metalsvd import emulator
{before}
for attempt in range(2):
    try:
        emulator.enable()
    except RuntimeError as error:
        print(error)
assert not emulator.is_enabled()
try:
    emulator.counters()
except RuntimeError as error:
    print(error)
"""
    ended = run_code(program)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(message) == 2
    assert "call metalsvd.emulator.enable() first" in ended.stdout


def test_enabling_comes_after_other_work():
    program = """
import torch
before = torch.linalg.qr(torch.ones(2, 2)).R
from metalsvd import emulator
emulator.enable()
x = torch.ones(2, 2, device="mps", requires_grad=True)
torch.linalg.qr(x).R.sum().backward()
assert torch.equal(torch.linalg.qr(x).R.detach().cpu(), before)
"""
    ended = run_code(program)
    assert ended.returncode == 0, ended.stderr


def test_options_are_restored():
    module = sys.modules["metalsvd._emulator"]

    def in_force():
        found = module.options()
        return found.order.name, found.seed, found.check_memory, found.keep_denormals, found.wide_lanes

    outside = in_force()
    with emulator.options(order="random", seed=5):
        assert in_force() == ("random", 5, *outside[2:])
        wanted = {"order": "reverse", "check_memory": True, "keep_denormals": True, "wide_lanes": True}
        with contextlib.suppress(KeyError), emulator.options(**wanted):
            assert in_force() == ("reverse", 5, True, True, True)
            raise KeyError
        assert in_force() == ("random", 5, *outside[2:])
    assert in_force() == outside
    for wrong in ({"order": "sideways"}, {"seed": -1}, {"seed": 2**64}):
        with pytest.raises(ValueError, match="must be"), emulator.options(**wrong):
            pass
    assert in_force() == outside


def test_counters():
    torch.mps.synchronize()
    emulator.reset_counters()
    zero = emulator.counters()
    assert zero == emulator.Counters(0, 0, 0, 0, 0, None, None, 0, None, 0, 0, None)
    torch.mps.synchronize()
    assert emulator.counters() == dataclasses.replace(zero, host_waits=1)
    assert zero.host_waits == 0
    with emulator.options(check_memory=True):
        pass
    assert emulator.counters().bytes_read == emulator.counters().bytes_written == 0
    emulator.reset_counters()
    assert emulator.counters().bytes_read is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        zero.host_waits = 2
