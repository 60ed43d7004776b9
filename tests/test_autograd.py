"""Gradients: our formula in float64 through the CPU key, and in float32 on the device beside torch's own formula."""

from __future__ import annotations

import metalsvd
import pytest
import torch

SHAPES = [(3, 3), (5, 3), (3, 5), (2, 4, 3)]


def factors_without_phase(A: torch.Tensor, full_matrices: bool = False) -> tuple[torch.Tensor, ...]:
    """What a loss may depend on: S, |U|, |Vh| and U Vh, of the k vectors that A determines."""
    U, S, Vh = torch.ops.metalsvd.svd(A, full_matrices)
    k = S.shape[-1]
    U, Vh = U[..., :k], Vh[..., :k, :]
    return S, U.abs(), Vh.abs(), U @ Vh


def sample(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("full_matrices", [False, True])
def test_gradcheck(shape, dtype, full_matrices):
    A = sample(shape, dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda A: factors_without_phase(A, full_matrices), A)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradgradcheck(shape, dtype):
    A = sample(shape, dtype).requires_grad_()
    assert torch.autograd.gradgradcheck(factors_without_phase, A)


def test_a_gradient_that_torch_cannot_give_is_refused_and_not_zero():
    """torch.func.grad marks no tensor of its own, so that one could think none was asked for."""
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.grad(lambda A: metalsvd.svdvals(A).sum())(sample((3, 2), torch.float32))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradcheck_of_values_alone(shape, dtype):
    A = sample(shape, dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda A: torch.ops.metalsvd.svd(A, False, False)[1], A)
    assert torch.autograd.gradgradcheck(lambda A: torch.ops.metalsvd.svd(A, False, False)[1], A)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradcheck_of_svd_ex(dtype):
    A = sample((4, 3), dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda A: torch.ops.metalsvd.svd_ex(A)[1], A)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("svd", [torch.ops.metalsvd.svd, torch.linalg.svd], ids=["ours", "torch.linalg.svd"])
def test_gradient_on_the_device(svd, shape, dtype, target):
    """Our operator and torch's routed one, beside torch.linalg.svd in double precision on the CPU."""

    def gradient(function, A):
        A = A.detach().requires_grad_()
        U, S, Vh = function(A, False)
        loss = (S * torch.arange(1, S.shape[-1] + 1, device=S.device)).sum() + (U @ Vh).abs().square().sum()
        loss = loss + U.abs()[..., 0, :].sum() + Vh.abs()[..., 0].sum()
        return torch.autograd.grad(loss, A)[0]

    A = sample(shape, dtype)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    expected = gradient(torch.linalg.svd, A.to(wide))
    actual = gradient(svd, A.to(target)).cpu().to(wide)
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    assert error < 1e-4, f"relative error of the gradient {error:.2e}"


@pytest.mark.parametrize("operator", [torch.ops.metalsvd.svd, torch.ops.metalsvd.svd_ex], ids=str)
def test_values_of_a_singular_matrix_have_a_gradient(operator, target):
    """A zero singular value must not turn the gradient of the others into NaN (#nan-gradient-of-rank-one)."""
    A = torch.ones(5, 3, device=target).requires_grad_()
    operator(A)[1][0].backward()
    expected = torch.full((5, 3), 15**-0.5)
    assert (A.grad.cpu() - expected).abs().max() < 1e-6


def test_close_singular_values_neither_overflow_nor_underflow(target):
    """Scaling A by 2^k scales the gradient of U by 2^-k, also where the squares of singular values leave float32."""
    A = sample((4, 3), torch.float32)

    def gradient(scale):
        X = (A * scale).to(target).requires_grad_()
        U, _, Vh = torch.ops.metalsvd.svd(X)
        return torch.autograd.grad(((U @ Vh) * torch.arange(12.0, device=target).reshape(4, 3)).sum(), X)[0].cpu()

    plain = gradient(1.0)
    for exponent in (-80, 80):
        scaled = gradient(2.0**exponent) * 2.0**exponent
        assert torch.allclose(scaled, plain, rtol=1e-4, atol=1e-4 * plain.abs().max().item())
