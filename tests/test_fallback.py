"""set_fallback: off at first, only for what the planner refuses, and with a warning each time."""

from __future__ import annotations

import warnings

import checks
import metalsvd
import pytest
import torch
from metalsvd import _dispatch, _log


@pytest.fixture
def fallback(emulated):
    metalsvd.set_fallback("cpu")
    yield
    metalsvd.set_fallback(None)


@pytest.fixture
def refuse(monkeypatch):
    """A planner that has no method for any size: real refusals are too large to compute here on the CPU as well."""

    def plan_of(*arguments):
        raise RuntimeError("linalg.svd: does not fit the kernels")

    monkeypatch.setattr(_log, "plan_of", plan_of)


def too_large(*shape: int) -> torch.Tensor:
    return torch.zeros((), device="mps").expand(shape)


@pytest.mark.parametrize(
    ("shape", "limit"),
    [((2**31, 1), "2147482623"), ((1, 2**31), "2147482623"), ((2**33, 3, 3), "4294967296|4294967295")],
    ids=["rows", "columns", "batch"],
)
def test_what_the_planner_refuses(shape, limit, emulated):
    reason = _dispatch._refusal(too_large(*shape), False, True, None)
    assert reason is not None
    assert any(number in reason for number in limit.split("|")), reason


def test_off_at_first(emulated):
    with pytest.raises(RuntimeError, match="they take at most 2147482623"):
        metalsvd.svdvals(too_large(2**31, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.float16, torch.bfloat16])
def test_factors_are_lapacks_on_the_device(dtype, fallback, refuse):
    A = torch.randn(3, 6, 4).to(dtype).to("mps")
    for function in (metalsvd.svd, metalsvd.svd_ex):
        with pytest.warns(UserWarning, match=f"metalsvd.{function.__name__} falls back to the CPU .* does not fit"):
            result = function(A)
        assert result.U.is_mps
        assert result.U.dtype == result.V.dtype == dtype
        assert result.S.dtype == dtype.to_real()
        wide = torch.promote_types(dtype, torch.float32)
        U, S, Vh = torch.linalg.svd(A.cpu().to(wide), full_matrices=False)
        for ours, theirs in ((result.U, U), (result.S, S), (result.V, Vh.mH)):
            assert torch.equal(ours.cpu(), theirs.to(ours.dtype))
    assert result.info.is_mps
    assert result.info.tolist() == [0, 0, 0]


def test_routed_torch_functions_and_gradients(fallback, refuse):
    A = torch.randn(5, 4)
    for function, name in ((torch.linalg.svdvals, "torch.linalg.svd"), (metalsvd.svdvals, "metalsvd.svd")):
        ours = A.to("mps").requires_grad_()
        with pytest.warns(UserWarning, match=f"{name} falls back to the CPU"):
            S = function(ours)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our gradient computes the vectors then
            S.sum().backward()
        U, _, Vh = torch.linalg.svd(A, full_matrices=False)
        assert torch.allclose(ours.grad.cpu(), U @ Vh, atol=1e-5)


def test_a_matrix_that_is_not_finite_raises_as_ever(fallback, refuse):
    A = torch.full((3, 3), torch.nan, device="mps")
    with pytest.warns(UserWarning, match="falls back"), pytest.raises(torch.linalg.LinAlgError, match="non-finite"):
        metalsvd.svd(A)


def test_what_has_a_kernel_stays_on_the_device(fallback, emulated):
    A = torch.randn(7, 5, device="mps")
    emulated.reset_counters()
    ours = metalsvd.svd(A)
    assert emulated.counters().dispatches == 1
    metalsvd.set_fallback(None)
    checks.assert_same_bits(metalsvd.svd(A).U, ours.U, "U")


def test_what_torch_refuses_stays_refused(fallback):
    with pytest.raises(RuntimeError, match="Expected a floating point or complex tensor"):
        metalsvd.svd(torch.ones(3, 3, dtype=torch.int32, device="mps"))
    with pytest.raises(RuntimeError, match="at least 2 dimensions"):
        metalsvd.svd(torch.ones(3, device="mps"))
    with pytest.raises(RuntimeError, match="a matrix of 9x9 float32 does not fit"):
        metalsvd.svd(torch.ones(9, 9, device="mps"), driver="thread")


def test_other_devices_are_not_offered():
    with pytest.raises(ValueError, match="set_fallback: expected 'cpu' or None, but got 'cuda'"):
        metalsvd.set_fallback("cuda")
