"""Bad input: the exceptions and words of torch.linalg.svd, for our operator and for what is routed to it."""

from __future__ import annotations

import math

import metalsvd
import pytest
import torch

ENTRIES = {
    "torch.linalg.svd": torch.linalg.svd,
    "torch.linalg.svdvals": torch.linalg.svdvals,
    "torch.ops.metalsvd.svd": torch.ops.metalsvd.svd,
    "metalsvd.svd": metalsvd.svd,
}

NOT_FINITE = "The algorithm failed to converge because the input matrix contained non-finite values."


@pytest.fixture(params=ENTRIES.values(), ids=ENTRIES.keys())
def svd(request):
    return request.param


@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_too_few_dimensions(shape, svd, target):
    with pytest.raises(RuntimeError, match="The input tensor A must have at least 2 dimensions"):
        svd(torch.ones(shape, device=target))


@pytest.mark.parametrize(("dtype", "name"), [(torch.int32, "Int"), (torch.int64, "Long"), (torch.bool, "Bool")])
def test_integers_are_refused(dtype, name, svd, target):
    with pytest.raises(RuntimeError, match=f"Expected a floating point or complex tensor as input. Got {name}"):
        svd(torch.ones(3, 3, dtype=dtype, device=target))


def test_float64_does_not_exist_on_mps(target):
    if target.type != "mps":
        pytest.skip("a property of mps")
    with pytest.raises(TypeError, match="float64"):
        torch.ones(3, 3, dtype=torch.float64).to(target)


def test_too_large_for_the_forced_method_names_the_limit(target):
    if target.type == "cpu":
        pytest.skip("a limit of the kernels")
    with pytest.raises(RuntimeError, match="300x300 float32 does not fit the threadgroup memory"):
        metalsvd.svd(torch.ones(300, 300, device=target), driver="threadgroup")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite_raises_and_names_the_batch_element(value, svd, target):
    if target.type == "cpu" and svd in (torch.linalg.svd, torch.linalg.svdvals):
        pytest.skip("LAPACK itself does not see every Inf")
    A = torch.randn(2, 3, 4, 5)
    A[1, 0, 2, 3] = value
    with pytest.raises(torch.linalg.LinAlgError, match=rf"linalg.svd: \(Batch element 3\): {NOT_FINITE}"):
        svd(A.to(target))
    with pytest.raises(torch.linalg.LinAlgError, match=rf"linalg.svd: {NOT_FINITE}"):
        svd(A[1, 0].to(target))


def test_error_checks_can_be_switched_off(svd, target):
    if target.type == "cpu":
        pytest.skip("torch.linalg.svd on cpu is torch's own")
    A = torch.randn(3, 4, 4)
    A[1] = math.nan
    A = A.to(target)
    with metalsvd.error_checks(False):
        S = torch.linalg.svdvals(A).cpu()
    assert torch.isnan(S[1]).all()
    assert torch.isfinite(S[::2]).all()
    with pytest.raises(torch.linalg.LinAlgError):
        svd(A)
    try:
        metalsvd.error_checks(False)
        svd(A)
        with metalsvd.error_checks(True), pytest.raises(torch.linalg.LinAlgError):
            svd(A)
        svd(A)
    finally:
        metalsvd.error_checks(True)


def test_nothing_waits_for_the_host(emulated, target):
    """svd_ex never, svd and torch.linalg.svd once, and not at all without error checks."""
    A = torch.randn(5, 4, 3).to(target)

    def waits(function) -> int:
        emulated.reset_counters()
        function(A)
        return emulated.counters().host_waits

    assert waits(torch.ops.metalsvd.svd_ex) == 0
    assert waits(torch.ops.metalsvd.svd) == 1
    assert waits(torch.linalg.svd) == 1
    with metalsvd.error_checks(False):
        assert waits(torch.linalg.svd) == 0
        assert waits(torch.ops.metalsvd.svd) == 0


def test_driver_of_torch_is_refused_on_mps(target):
    if target.type == "cuda":
        pytest.skip("cuda has cuSOLVER's drivers")
    with pytest.raises(RuntimeError, match="keyword argument `driver=` is only supported on CUDA inputs"):
        torch.linalg.svd(torch.ones(3, 3, device=target), driver="gesvd")


def test_unknown_driver_of_ours(target):
    with pytest.raises(RuntimeError, match="driver"):
        metalsvd.svd(torch.ones(3, 3, device=target), driver="nonsense")


def outs(target, **changes):
    """Right out= tensors for a 4x3 matrix, but for what is changed."""
    right = {"U": torch.empty(4, 4, device=target), "S": torch.empty(3, device=target)}
    right["Vh"] = torch.empty(3, 3, device=target)
    return tuple({**right, **changes}.values())


def test_out_is_written_and_returned(target):
    A = torch.randn(4, 3, device=target)
    out = outs(target)
    result = torch.linalg.svd(A, out=out)
    for ours, given, expected in zip(result, out, torch.linalg.svd(A), strict=True):
        assert ours.data_ptr() == given.data_ptr()
        assert torch.equal(given, expected)


def test_out_of_zero_size_is_resized_silently_and_a_wrong_size_with_a_warning(target):
    A = torch.randn(4, 3, device=target)
    out = tuple(torch.empty(0, device=target) for _ in range(3))
    torch.linalg.svd(A, out=out)
    assert [tuple(t.shape) for t in out] == [(4, 4), (3,), (3, 3)]
    with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
        torch.linalg.svd(A, out=outs(target, S=torch.empty(7, device=target)))


@pytest.mark.parametrize("name", ["U", "S", "Vh"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.complex64])
def test_out_of_a_wrong_dtype(name, dtype, target):
    A = torch.randn(4, 3, device=target)
    out = outs(target, **{name: torch.zeros(3, 3, dtype=dtype, device=target)})
    with pytest.raises(RuntimeError, match=r"Expected out tensor to have dtype .*float.*, but got .* instead"):
        torch.linalg.svd(A, out=out)


@pytest.mark.parametrize("name", ["U", "S", "Vh"])
def test_out_on_another_device(name, target):
    other = "meta" if target.type == "cpu" else "cpu"
    A = torch.randn(4, 3, device=target)
    with pytest.raises(RuntimeError, match=rf"Expected.*device {target.type}.*but got.*{other}|on the same device"):
        torch.linalg.svd(A, out=outs(target, **{name: torch.zeros(3, 3, device=other)}))


def test_a_failure_writes_nothing(target):
    out = outs(target, Vh=torch.zeros(3, 3, dtype=torch.int32, device=target))
    out[0].fill_(5)
    with pytest.raises(RuntimeError):
        torch.linalg.svd(torch.randn(4, 3, device=target), out=out)
    assert (out[0] == 5).all()
