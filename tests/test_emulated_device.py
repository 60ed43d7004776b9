"""The emulated Apple GPU as a PyTorch device, without any kernel of ours: tensors, operators, autograd, torch.mps."""

import copy
import gc
import io
import pickle
import sys
import threading

import pytest
import torch
from metalsvd import emulator
from processes import run_code
from torch.testing import assert_close

if sys.platform == "darwin":
    pytest.skip("a Mac has the real device", allow_module_level=True)

MPS = torch.device("mps")


@pytest.fixture(autouse=True)
def emulated_device(target):
    """Enables the device, and fails the test that wrote outside a tensor."""
    if target.type != "mps":
        pytest.skip("the device cannot be added once tests on the CPU have called backward")
    emulator.enable()
    damaged = emulator.memory().damaged_blocks
    yield
    gc.collect()
    assert emulator.memory().damaged_blocks == damaged


@pytest.fixture
def host_waits():
    """A function that tells how often the host has waited since the last time it was asked."""
    seen = emulator.counters().host_waits

    def since_last_asked():
        nonlocal seen
        before, seen = seen, emulator.counters().host_waits
        return seen - before

    return since_last_asked


# ---- Creation and copies --------------------------------------------------------------------------------------------


def test_torch_reports_the_device():
    assert torch.backends.mps.is_built()
    assert torch.backends.mps.is_available()
    assert torch.mps.device_count() == 1
    assert torch.backends.mps.get_name() == "Emulated Apple GPU"
    assert torch.accelerator.current_accelerator() == MPS
    assert torch.empty(1, device="mps").device == torch.device("mps:0")


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.uint8, torch.bool]
)
def test_creation_and_round_trip(dtype):
    values = torch.arange(12).reshape(3, 4).to(dtype)
    on_device = values.to("mps")
    assert on_device.is_mps
    assert on_device.dtype == dtype
    assert on_device.data_ptr() != values.data_ptr()
    assert torch.equal(on_device.cpu(), values)
    assert torch.equal(torch.zeros(3, 4, dtype=dtype, device="mps").cpu(), torch.zeros(3, 4, dtype=dtype))
    assert torch.equal(torch.ones_like(on_device).cpu(), torch.ones_like(values))


def test_factories_agree_with_the_cpu():
    for make in (
        lambda device: torch.arange(1, 9, 2, device=device),
        lambda device: torch.linspace(0, 1, 5, device=device),
        lambda device: torch.eye(3, 4, device=device),
        lambda device: torch.full((2, 3), 7.5, device=device),
        lambda device: torch.tensor([[1, 2], [3, 4]], device=device),
        lambda device: torch.tril_indices(3, 3, device=device),
    ):
        made = make("mps")
        assert made.is_mps
        assert torch.equal(made.cpu(), make("cpu"))


def test_fresh_memory_is_nan_and_zeros_are_zeros():
    assert torch.empty(1000, device="mps").isnan().all()
    assert torch.empty_strided((4, 4), (1, 4), device="mps").isnan().all()
    assert torch.empty(1000, dtype=torch.complex64, device="mps").isnan().all()
    assert not torch.zeros(1000, device="mps").any()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)])
def test_copies_of_any_shape(shape):
    values = torch.randn(shape)
    assert torch.equal(values.to("mps").clone().cpu(), values)


def test_copy_converts_broadcasts_and_keeps_strides():
    target = torch.zeros(3, 4, dtype=torch.int32, device="mps").t()
    target.copy_(torch.tensor([1.9, 2.9, 3.9]))
    assert target.stride() == (1, 4)
    assert torch.equal(target.cpu(), torch.tensor([1, 2, 3], dtype=torch.int32).expand(4, 3))
    transposed = torch.randn(5, 7).t().to("mps")
    assert transposed.stride() == (1, 7)
    host = torch.empty(7, 5)
    host.copy_(transposed)
    assert torch.equal(host, transposed.cpu())


def test_float64_on_the_host_is_converted_on_the_way_to_the_device():
    target = torch.zeros(3, device="mps")
    target.copy_(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert torch.equal(target.cpu(), torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(
        (torch.ones(2, device="mps") * torch.tensor(2.5, dtype=torch.float64)).cpu(), torch.full((2,), 2.5)
    )


# ---- What a Mac refuses ---------------------------------------------------------------------------------------------

NO_FLOAT64 = (
    r"^Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64\. "
    r"Please use float32 instead\.$"
)
NO_COMPLEX128 = r"^Trying to convert ComplexDouble to the MPS backend but it does not have support for that dtype\.$"


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, dtype=torch.float64, device="mps"),
        lambda: torch.empty_strided((2,), (1,), dtype=torch.float64, device="mps"),
        lambda: torch.ones(2, dtype=torch.float64).to("mps"),
        lambda: torch.ones(2, device="mps").double(),
        lambda: torch.ones(2, device="mps").sum(dtype=torch.float64),
        lambda: torch.ones(2, device="mps").to("cpu", torch.float64),
        lambda: torch.float_power(torch.ones(2, device="mps"), 2),
    ],
)
def test_float64_is_refused(make):
    with pytest.raises(TypeError, match=NO_FLOAT64):
        make()


def test_complex128_is_refused():
    with pytest.raises(TypeError, match=NO_COMPLEX128):
        torch.ones(2, dtype=torch.complex64, device="mps").to(torch.complex128)
    with pytest.raises(TypeError, match=NO_COMPLEX128):
        torch.zeros(2, dtype=torch.complex128, device="mps")


def test_other_refusals():
    ours, theirs = torch.ones(2, 2, device="mps"), torch.ones(2, 2)
    for mix in (lambda: ours @ theirs, lambda: ours + theirs, lambda: torch.linalg.qr(ours)[0].mm(theirs)):
        with pytest.raises(RuntimeError, match="same device"):
            mix()
    with pytest.raises(TypeError, match="can't convert mps:0 device type tensor to numpy"):
        ours.numpy()
    with pytest.raises(RuntimeError, match="MPS supports tensors with dimensions <= 16, but got 17"):
        torch.empty([1] * 17, device="mps")
    with pytest.raises(NotImplementedError, match="only strided tensors are supported on MPS"):
        ours.to_sparse()


def test_an_operator_of_another_library_does_not_run_on_the_host():
    with torch.library._scoped_library("metalsvd_test_device", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CPU")
        assert torch.equal(torch.ops.metalsvd_test_device.twice(torch.ones(2)), torch.full((2,), 2.0))
        with pytest.raises(NotImplementedError, match="'metalsvd_test_device::twice' is not currently implemented"):
            torch.ops.metalsvd_test_device.twice(torch.ones(2, device="mps"))


# ---- Views ----------------------------------------------------------------------------------------------------------

VIEWS = {
    "transpose": lambda x: x.mT,
    "slice": lambda x: x[1:, ::2],
    "select": lambda x: x[:, 1],
    "flatten": lambda x: x.view(-1),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "diagonal": lambda x: x.diagonal(),
    "expand": lambda x: x.unsqueeze(0).expand(3, -1, -1),
    "as_strided": lambda x: x.as_strided((2, 2), (1, 2), 1),
    "reinterpret": lambda x: x.view(torch.int32),
    "split": lambda x: x.split(2, dim=1)[1],
    "detach": lambda x: x.detach(),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_a_view_shares_memory(view):
    values = torch.arange(24.0).reshape(4, 6)
    base = values.to("mps")
    seen, expected = view(base), view(values)
    assert seen.is_mps
    assert seen.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()
    assert (seen.shape, seen.stride(), seen.storage_offset()) == (
        expected.shape,
        expected.stride(),
        expected.storage_offset(),
    )
    base.mul_(2)
    values.mul_(2)
    assert torch.equal(seen.cpu(), expected)


def test_writing_through_a_view_changes_the_base():
    base = torch.zeros(4, 4, device="mps")
    base[1:3, ::2].fill_(1)
    base.diagonal().add_(5)
    base[3] = torch.arange(4.0)
    expected = torch.zeros(4, 4)
    expected[1:3, ::2].fill_(1)
    expected.diagonal().add_(5)
    expected[3] = torch.arange(4.0)
    assert torch.equal(base.cpu(), expected)


def test_conjugate_and_negative_views():
    values = torch.randn(3, 4, dtype=torch.complex64)
    ours = values.to("mps")
    assert ours.conj().is_conj()
    assert ours.conj().data_ptr() == ours.data_ptr()
    assert torch.equal(ours.conj().cpu(), values.conj())
    assert torch.equal(ours.conj().imag.cpu(), values.conj().imag)
    assert ours.conj().imag.is_neg()
    assert torch.equal(ours.conj().resolve_conj().cpu(), values.conj().resolve_conj())
    assert torch.equal(torch.view_as_real(ours).cpu(), torch.view_as_real(values))
    assert_close((ours.mH @ ours).cpu(), values.mH @ values)
    assert_close(torch.linalg.qr(ours.mH).R.cpu(), torch.linalg.qr(values.mH).R)
    ours.conj().copy_(values)
    assert torch.equal(ours.cpu(), values.conj().resolve_conj())
    host = torch.zeros(3, 4, dtype=torch.complex64)
    host.conj().copy_(ours)
    assert torch.equal(host, values)


# ---- out=, in-place, resizing ---------------------------------------------------------------------------------------


def test_out_keeps_its_identity_and_may_grow():
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    out = torch.empty(0, device="mps")
    result = torch.add(a.to("mps"), b.to("mps"), out=out)
    assert result is out
    assert out.shape == (3, 4)
    assert torch.equal(out.cpu(), a + b)

    strided = torch.zeros(4, 6, device="mps")[:, ::2].t()
    pointer = strided.data_ptr()
    torch.mul(a.to("mps"), b.to("mps"), out=strided)
    assert strided.data_ptr() == pointer
    assert torch.equal(strided.cpu(), a * b)

    q, r = torch.empty(0, device="mps"), torch.empty(0, device="mps")
    torch.linalg.qr(a.to("mps"), out=(q, r))
    assert_close((q @ r).cpu(), a)
    values, indices = torch.empty(0, device="mps"), torch.empty(0, dtype=torch.int64, device="mps")
    torch.sort(a.to("mps"), out=(values, indices))
    assert torch.equal(values.cpu(), a.sort().values)
    assert torch.equal(indices.cpu(), a.sort().indices)


def test_in_place_operators():
    values = torch.randn(3, 4)
    ours = values.to("mps")
    alias = ours.view(-1)
    assert ours.add_(1) is ours
    ours.sin_().clamp_(min=0).masked_fill_(ours > 0.5, 9)
    values.add_(1).sin_().clamp_(min=0).masked_fill_(values > 0.5, 9)
    assert torch.equal(alias.cpu(), values.view(-1))
    ours[torch.tensor([0, 2]), 1:] = torch.tensor(4.0)  # indices and value on the host, as a Mac allows
    values[torch.tensor([0, 2]), 1:] = 4.0
    assert torch.equal(ours.cpu(), values)
    lists = [torch.ones(2, device="mps"), torch.ones(3, device="mps")]
    torch._foreach_add_(lists, 2.0)
    assert [t.sum().item() for t in lists] == [6.0, 9.0]


def test_resize_and_set():
    x = torch.arange(6.0, device="mps")
    assert x.resize_(3, 4) is x
    assert torch.equal(x.flatten()[:6].cpu(), torch.arange(6.0))
    assert x.flatten()[6:].numel() == 6
    y = torch.ones(2, 3, device="mps")
    x.set_(y)
    assert x.is_set_to(y)
    x.fill_(8)
    assert torch.equal(y.cpu(), torch.full((2, 3), 8.0))
    x.set_(y.untyped_storage(), 1, (2, 2), (2, 1))
    assert x.storage_offset() == 1
    assert x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
    x.set_()
    assert x.numel() == 0
    assert x.is_mps


# ---- Random numbers -------------------------------------------------------------------------------------------------


def test_seeds():
    torch.manual_seed(7)
    first = torch.randn(5, device="mps")
    torch.manual_seed(7)
    assert torch.equal(torch.randn(5, device="mps"), first)
    assert not torch.equal(torch.randn(5, device="mps"), first)
    torch.mps.manual_seed(7)
    assert torch.equal(torch.randn(5, device="mps"), first)

    for draw in (
        lambda: torch.rand(9, device="mps"),
        lambda: torch.randint(0, 100, (9,), device="mps"),
        lambda: torch.randperm(9, device="mps"),
        lambda: torch.nn.functional.dropout(torch.ones(99, device="mps")),
        lambda: torch.empty(9, device="mps").exponential_(),
    ):
        state = torch.mps.get_rng_state()
        drawn = draw()
        torch.mps.set_rng_state(state)
        assert drawn.is_mps
        assert torch.equal(draw(), drawn)
        assert not torch.equal(torch.mps.get_rng_state(), state)


def test_the_device_has_its_own_generator():
    on_host = torch.get_rng_state()
    torch.rand(9, device="mps")
    torch.mps.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), on_host)

    generator = torch.Generator(device="mps").manual_seed(11)
    assert generator.device == torch.device("mps:0")
    assert generator.initial_seed() == 11
    state = generator.get_state()
    first = torch.randn(5, device="mps", generator=generator)
    assert not torch.equal(torch.randn(5, device="mps", generator=generator), first)
    generator.set_state(state)
    assert torch.equal(torch.randn(5, device="mps", generator=generator), first)
    generator.set_state(state)
    torch.randn(5, device="mps", generator=generator.clone_state())
    assert torch.equal(torch.randn(5, device="mps", generator=generator), first)
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(5, device="mps", generator=torch.Generator())


# ---- Objects in Python ----------------------------------------------------------------------------------------------


def test_save_load_pickle_and_deepcopy():
    saved = {"x": torch.randn(3, 4, device="mps").t(), "z": torch.randn(2, dtype=torch.complex64, device="mps")}
    file = io.BytesIO()
    torch.save(saved, file)
    for location, device in ((None, "mps"), ("mps", "mps"), ("cpu", "cpu")):
        file.seek(0)
        loaded = torch.load(file, map_location=location)
        assert all(loaded[key].device.type == device for key in saved)
        assert all(torch.equal(loaded[key].cpu(), saved[key].cpu()) for key in saved)
        assert loaded["x"].stride() == saved["x"].stride()
    for copied in (pickle.loads(pickle.dumps(saved["x"])), copy.deepcopy(saved["x"])):
        assert copied.is_mps
        assert copied.data_ptr() != saved["x"].data_ptr()
        assert torch.equal(copied.cpu(), saved["x"].cpu())


def test_host_tensors_load_onto_the_device():
    file = io.BytesIO()
    torch.save(torch.arange(3.0), file)
    file.seek(0)
    loaded = torch.load(file, map_location="mps")
    assert loaded.is_mps
    assert torch.equal(loaded.cpu(), torch.arange(3.0))


def test_printing_and_reading():
    x = torch.tensor([[1.5, -2.0]], device="mps")
    assert repr(x) == "tensor([[ 1.5000, -2.0000]], device='mps:0')"
    assert x.tolist() == [[1.5, -2.0]]
    assert x[0, 1].item() == -2.0
    assert bool(x.any())
    assert f"{x[0, 0]:.2f}" == "1.50"
    z = torch.tensor(1 + 2j, dtype=torch.complex64, device="mps")
    assert z.item() == 1 + 2j
    assert z.conj().item() == 1 - 2j


# ---- Autograd -------------------------------------------------------------------------------------------------------


def loss_and_gradient(x):
    x = x.detach().requires_grad_()
    loss = (torch.linalg.inv(x) @ x.sin()).abs().sum() + x[0].exp().norm()
    loss.backward()
    assert x.grad.device == x.device
    return loss.detach().cpu(), x.grad.cpu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_backward_agrees_with_the_cpu(dtype):
    x = torch.randn(4, 4, dtype=dtype) + 4 * torch.eye(4)
    for ours, theirs in zip(loss_and_gradient(x.to("mps")), loss_and_gradient(x), strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_backward_from_many_threads():
    inputs = [torch.randn(6, 6) + 6 * torch.eye(6) for _ in range(8)]
    expected = [loss_and_gradient(x) for x in inputs]
    found = [None] * len(inputs)

    def work(i):
        for _ in range(10):
            found[i] = loss_and_gradient(inputs[i].to("mps"))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_autograd_sees_views_and_in_place_writes():
    x = torch.ones(3, 3, device="mps", requires_grad=True)
    y = x * 1
    y[0].mul_(5)
    y.diagonal().zero_()
    y.sum().backward()
    assert torch.equal(x.grad.cpu(), torch.tensor([[0.0, 5, 5], [1, 0, 1], [1, 1, 0]]))

    y = x * 1
    z = y.sin()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()

    with torch.inference_mode():
        made = torch.ones(2, device="mps")
        assert made.is_inference()
        assert made[0].is_inference()
        assert not x[0].is_inference()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_forward_mode_double_backward_and_vmap():
    x = torch.randn(3, 4, 4)
    ours = x.to("mps")
    assert_close(torch.vmap(torch.matmul)(ours, ours.mT).cpu(), torch.vmap(torch.matmul)(x, x.mT))
    _, tangent = torch.func.jvp(torch.matrix_exp, (ours,), (torch.ones_like(ours),))
    assert tangent.is_mps
    assert_close(tangent.cpu(), torch.func.jvp(torch.matrix_exp, (x,), (torch.ones_like(x),))[1], rtol=1e-4, atol=1e-4)
    hessian = torch.func.hessian(lambda v: v.sin().prod())
    assert_close(hessian(ours[0, 0]).cpu(), hessian(x[0, 0]))


def test_training_agrees_with_the_cpu():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.ReLU(), torch.nn.Linear(7, 2))
    data = torch.randn(10, 5)

    def train(model, data):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            model(data).square().mean().backward()
            optimizer.step()
        return [p.detach().cpu() for p in model.parameters()]

    assert_close(train(copy.deepcopy(model).to("mps"), data.to("mps")), train(model, data), rtol=1e-3, atol=1e-4)


def test_aot_compiled_functions():
    def f(x):
        return torch.linalg.qr(x).R.sum() + (x @ x.mT).sin().mean()

    x = torch.randn(4, 3, device="mps")
    assert_close(torch.compile(f, backend="aot_eager", fullgraph=True)(x), f(x))


@pytest.mark.parametrize("attempt", range(4))
def test_a_process_that_called_backward_ends_well(attempt):
    # The main thread keeps the GIL until it is asked to give it away, so the thread of backward is still busy at exit.
    program = """
import sys, torch, metalsvd.emulator
metalsvd.emulator.enable()
sys.setswitchinterval(10)
x = torch.randn(8, 8, device="mps", requires_grad=True)
(x @ x).sum().backward()
"""
    ended = run_code(program)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


# ---- Waits, events and guards ---------------------------------------------------------------------------------------


def test_host_waits(host_waits):
    x = torch.ones(4, 4, device="mps")
    y = (torch.linalg.qr(x.cos() @ x).R + torch.ones(4, 4).to("mps")).clone()
    assert host_waits() == 0
    y.cpu()
    assert host_waits() == 1
    y[0, 0].item()
    assert host_waits() == 1
    torch.mps.synchronize()
    torch.accelerator.synchronize()
    assert host_waits() == 2
    y.to("cpu", non_blocking=True)
    assert host_waits() == 0
    assert y.sum() != 0
    assert host_waits() == 1


def test_events_guards_and_streams():
    start, end = torch.mps.Event(enable_timing=True), torch.mps.Event(enable_timing=True)
    start.record()
    torch.ones(100, device="mps").sin()
    end.record()
    end.wait()
    end.synchronize()
    assert end.query()
    assert 0 < start.elapsed_time(end) < 60_000
    event = torch.Event(device="mps")
    event.record()
    assert event.query()
    with torch.device("mps"):
        assert torch.ones(2).is_mps
    assert torch.ones(2).is_cpu
    assert torch.accelerator.current_device_index() == 0
    torch.accelerator.set_device_index(0)
    assert torch.accelerator.current_stream().device == torch.device("mps:0")
