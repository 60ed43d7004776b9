"""lanczos_svd: triplets to the wanted precision with their residuals, operators and sparse matrices, and bad input."""

from __future__ import annotations

import math
import warnings

import matrices
import metalsvd
import pytest
import torch
from test_lowrank import EPS, OVERFLOWING, assert_factors, double


def assert_triplets(A, result, tol: float, label: str = "") -> None:
    """Residuals are what is reported, and singular values as near to those of A as residuals allow."""
    U, S, V = (double(factor) for factor in result)
    norm = torch.linalg.svdvals(double(A))[..., :1]
    left, right = double(A) @ V - U * S.unsqueeze(-2), double(A).mH @ U - V * S.unsqueeze(-2)
    true = torch.hypot(torch.linalg.vector_norm(left, dim=-2), torch.linalg.vector_norm(right, dim=-2))
    eps = torch.finfo(result.S.dtype).eps / 2
    rounding = 8 * eps * math.sqrt(max(A.shape[-2:])) * norm
    off = (double(result.residuals) - true).abs()
    assert (off <= rounding).all(), f"{label}: residuals {true.tolist()}, reported {result.residuals.tolist()}"
    if result.converged.all():
        assert (true <= tol * norm + rounding).all(), f"{label}: residuals {(true / norm).tolist()}"
        error = (S - torch.linalg.svdvals(double(A))[..., : S.shape[-1]]).abs()
        # A residual bounds the distance to some singular value; that none was missed is what the test is for.
        assert (error <= 2 * tol * norm + rounding).all(), f"{label}: sigma off by {(error / norm).tolist()}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("shape", [(30, 22), (22, 30)], ids=str)
def test_every_family(shape, dtype, target):
    names = sorted(set(matrices.FAMILIES) - OVERFLOWING)
    A = matrices.batch_of(names, shape, dtype)
    generator = torch.Generator(device=target).manual_seed(0)
    result = metalsvd.lanczos_svd(A.to(target), 2, tol=1e-3, block=4, subspace=12, generator=generator)
    assert result.converged.shape == (len(names), 2)
    assert result.converged.all()
    assert_triplets(A, result, 1e-3)
    for index, name in enumerate(names):
        one = metalsvd.LowRankSVD(*(factor[index] for factor in result))
        one.error = result.error[index]
        assert_factors(A[index], one, label=name)


@pytest.mark.parametrize(("dtype", "block"), [(torch.float32, 3), (torch.float64, 1), (torch.complex64, 1)], ids=str)
def test_every_family_to_the_default_tolerance_on_the_cpu(dtype, block):
    eps = torch.finfo(dtype).eps
    for name in sorted(set(matrices.FAMILIES) - OVERFLOWING):
        A = matrices.make(name, 120, 90, dtype)
        result = metalsvd.lanczos_svd(A, 4, block=block, generator=torch.Generator().manual_seed(1))
        assert result.converged.all(), f"{name}: residuals {result.residuals.tolist()}"
        assert_triplets(A, result, eps ** (2 / 3), name)
        assert_factors(A, result, eps / 2, name)


def test_high_precision_where_singular_values_decay_slowly():
    A = matrices.make("arithmetic", 500, 400, torch.float64)
    result = metalsvd.lanczos_svd(A, 10, tol=1e-12, generator=torch.Generator().manual_seed(0))
    assert result.converged.all()
    error = (result.S - torch.linalg.svdvals(A)[:10]).abs().max().item()
    assert error <= 1e-13, f"sigma off by {error:.1e}"
    assert result.n_iter > 1, "no restart was needed: the test shows nothing"


def test_what_has_not_converged_is_reported(target):
    A = matrices.make("arithmetic", 40, 30).to(target)
    generator = torch.Generator(device=target).manual_seed(0)
    with pytest.warns(UserWarning, match=r"of 3 triplets did not converge in n_iter=1, .* is 0\.\d+ S\[0\]") as record:
        result = metalsvd.lanczos_svd(A, 3, n_iter=1, tol=1e-5, block=3, subspace=9, generator=generator)
    assert record[0].filename == __file__, "the warning shows another line than the caller's"
    assert not result.converged.all()
    assert result.n_iter == 1
    assert_triplets(A.cpu(), result, 1e-5)


def test_a_tolerance_below_rounding_is_not_said_to_be_met():
    A = matrices.make("normal", 60, 40)
    with pytest.warns(UserWarning, match="did not converge"):
        result = metalsvd.lanczos_svd(A, 2, tol=1e-9, generator=torch.Generator().manual_seed(0))
    assert not result.converged.all()
    assert_triplets(A, result, 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_an_operator_is_the_matrix_it_multiplies_by(dtype, target):
    A = matrices.make("geometric", 30, 24, dtype)
    on_device = A.to(target)
    widths = []

    def matvec(X):
        widths.append(X.shape[-1])
        return on_device @ X

    result = metalsvd.lanczos_svd(
        (matvec, lambda Y: on_device.mH @ Y),
        3,
        tol=1e-3,
        block=4,
        subspace=12,
        shape=(30, 24),
        dtype=dtype,
        device=target,
        generator=torch.Generator(device=target).manual_seed(0),
    )
    assert_triplets(A, result, 1e-3)
    assert_factors(A, result)
    assert max(widths) > 1, "columns came one by one"


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_an_operator_of_any_scale(scale):
    A = matrices.make("half_rank", 40, 30) * scale
    result = metalsvd.lanczos_svd((lambda X: A @ X, lambda Y: A.mH @ Y), 3, shape=(40, 30), dtype=torch.float32)
    assert (result.S.double() - torch.linalg.svdvals(A.double())[:3]).abs().max() <= 1e-5 * result.S[0]


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64], ids=str)
def test_sparse_matrices(layout, dtype):
    generator = torch.Generator().manual_seed(0)
    A = matrices.make("normal", 120, 80, dtype) * (torch.rand(120, 80, generator=generator) < 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR support a beta
        sparse = A.to_sparse(layout=layout)
    result = metalsvd.lanczos_svd(sparse, 4, generator=generator)
    assert result.converged.all()
    assert_triplets(A, result, 1e-4)
    assert_factors(A, result, torch.finfo(dtype).eps / 2)


def test_half_types_are_computed_with_in_float32(target):
    A = matrices.make("normal", 30, 24, torch.bfloat16)
    result = metalsvd.lanczos_svd(A.to(target), 2, tol=1e-3, block=4, subspace=16)
    assert {factor.dtype for factor in result} == {torch.float32}
    assert_triplets(A.float(), result, 1e-3)


def test_the_same_generator_gives_the_same_bits():
    A = matrices.make("normal", 60, 40)
    first, second = (metalsvd.lanczos_svd(A, 3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    for name in ("U", "S", "V", "error", "residuals"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_a_matrix_that_is_not_finite(target):
    A = matrices.batch_of(["normal"] * 3, (20, 16))
    A[1, 3, 4] = math.nan
    with pytest.raises(torch.linalg.LinAlgError, match=r"lanczos_svd: \(Batch element 1\): .* non-finite values"):
        metalsvd.lanczos_svd(A.to(target), 2, block=4)
    with metalsvd.error_checks(False), pytest.warns(UserWarning, match="did not converge"):
        result = metalsvd.lanczos_svd(A.to(target), 2, block=4, tol=1e-3)
    assert result.converged.tolist() == [[True, True], [False, False], [True, True]]


OPERATOR = (lambda X: X.new_zeros(6, X.shape[-1]), lambda Y: Y.new_zeros(8, Y.shape[-1]))
SHAPE = {"shape": (6, 8), "dtype": torch.float32}


@pytest.mark.parametrize(
    ("A", "arguments", "error", "words"),
    [
        (torch.ones(6, 8), {"k": 7}, ValueError, r"expected k to be an integer from 1 to min\(m, n\) = 6, but got 7"),
        (torch.ones(6, 8), {"k": None}, ValueError, "expected k, the number of triplets"),
        (torch.ones(6, 8), {"k": 1, "tol": 0}, ValueError, "expected tol to be a number between 0 and 1, but got 0"),
        (torch.ones(6, 8), {"k": 1, "n_iter": 0}, ValueError, "expected n_iter to be an integer of at least 1"),
        (torch.ones(6, 8), {"k": 1, "block": 0}, ValueError, "expected block to be an integer of at least 1"),
        (
            torch.ones(6, 8),
            {"k": 2, "subspace": 2},
            ValueError,
            "expected subspace to be an integer of at least 3, but got 2",
        ),
        (torch.ones(6, 8), {"k": 1, "shape": (6, 8)}, ValueError, "expected shape, dtype and device for an operator"),
        (torch.ones(6), {"k": 1}, RuntimeError, "The input tensor A must have at least 2 dimensions"),
        ([1, 2], {"k": 1}, TypeError, "expected A to be a tensor or a pair"),
        (OPERATOR, {"k": 1, "dtype": torch.float32}, ValueError, r"expected shape of the operator to be \(m, n\)"),
        (OPERATOR, {"k": 1, "shape": (6, 8)}, ValueError, "expected dtype of the operator to be float32"),
        (OPERATOR, {"k": 1, "shape": (6, 8), "dtype": torch.float16}, ValueError, "expected dtype of the operator"),
        (OPERATOR, {"k": 1, **SHAPE, "shape": (7, 8)}, ValueError, r"expected matvec to return shape \(7, 1\)"),
        (OPERATOR, {"k": 1, **SHAPE, "shape": (6, 9)}, ValueError, r"expected rmatvec to return shape \(9, \d+\)"),
        ((lambda X: 1, OPERATOR[1]), {"k": 1, **SHAPE}, TypeError, "expected matvec to return a tensor, but got int"),
        (
            (lambda X: X.new_zeros(6, X.shape[-1], dtype=torch.float64), OPERATOR[1]),
            {"k": 1, **SHAPE},
            ValueError,
            r"expected matvec to return shape \(6, 1\), torch.float32 on cpu, but got .*, torch.float64 on cpu",
        ),
    ],
)
def test_bad_arguments(A, arguments, error, words):
    with pytest.raises(error, match=f"lanczos_svd: {words}"):
        metalsvd.lanczos_svd(A, **arguments)


def test_a_zero_operator_has_zero_singular_values():
    result = metalsvd.lanczos_svd(OPERATOR, 2, **SHAPE)
    assert (result.S == 0).all()
    assert result.error == 0
    assert (result.U.mT @ result.U - torch.eye(2)).abs().max() <= 8 * EPS


def test_the_gradient_of_a_sparse_matrix_is_refused():
    A = torch.eye(6).to_sparse().requires_grad_()
    with pytest.raises(RuntimeError, match="gradient for dense A only"):
        metalsvd.lanczos_svd(A, 2)


def test_a_sparse_matrix_without_entries():
    result = metalsvd.lanczos_svd(torch.zeros(40, 30).to_sparse(), 2)
    assert (result.S == 0).all()
    assert result.error == 0
