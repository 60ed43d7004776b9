"""Half types: what float32 gives, rounded once. And the sign that every dtype's factors are turned to."""

from __future__ import annotations

import checks
import matrices
import metalsvd
import pytest
import torch

HALF_TYPES = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64}
SHAPES = [(1, 1), (4, 3), (3, 4), (9, 8), (33, 20), (20, 33)]
FAMILIES = ["normal", "geometric", "half_rank", "zero", "zero_columns", "column_graded_12", "identity", "ones"]

# Of torch's own, at the first complex32 tensor of a process.
pytestmark = [pytest.mark.kernels, pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")]


def wide_parts(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor as float32, real and imaginary parts apart."""
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).float()


@pytest.mark.parametrize("dtype", HALF_TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("full_matrices", [False, True])
def test_half_types_are_float32_rounded_once(shape, full_matrices, dtype, target):
    wide = HALF_TYPES[dtype]
    A = torch.stack([matrices.make(name, *shape, wide) for name in FAMILIES]).to(dtype)
    halves = metalsvd.svd(A.to(target), full_matrices)
    floats = metalsvd.svd(A.to(wide).to(target), full_matrices)
    for name, ours, theirs in zip(("U", "S", "V"), halves, floats, strict=True):
        assert ours.dtype == (dtype if name != "S" else dtype.to_real())
        rounded = theirs.cpu().to(ours.dtype)
        checks.assert_same_bits(wide_parts(ours.cpu()), wide_parts(rounded), name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_torch_takes_half_types_too(dtype, target):
    A = torch.randn(3, 6, 4).to(dtype).to(target).requires_grad_()
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    assert U.dtype == S.dtype == Vh.dtype == dtype
    S.sum().backward()
    assert torch.allclose(A.grad, U @ Vh, atol=0.05)
    A = A.detach().requires_grad_()
    torch.ops.metalsvd.svd(A)[1].sum().backward()
    assert torch.allclose(A.grad, U @ Vh, atol=0.05)


def test_a_half_singular_value_may_overflow(target):
    S = metalsvd.svdvals(torch.full((4, 4), 60000.0).half().to(target))
    assert S[0].isinf()
    assert (S[1:] < 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (9, 5), (5, 9), (40, 33)], ids=str)
def test_the_largest_entry_of_each_column_of_u_is_positive(shape, dtype, target):
    """The sign convention, for the columns that belong to singular values other than zero."""
    for name in ("normal", "geometric", "uniform"):
        U = metalsvd.svd(matrices.make(name, *shape, dtype).to(target)).U.cpu()
        largest = U.gather(0, U.abs().argmax(0, keepdim=True))
        assert (largest.real > 0).all()
        if dtype.is_complex:
            assert (largest.imag.abs() <= 4 * checks.EPS).all()
