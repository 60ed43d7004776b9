"""randomized_svd and pca: factors, the estimate of their error beside the true one, ranks by tolerance, bad input."""

from __future__ import annotations

import inspect
import math

import matrices
import metalsvd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metalsvd import _orthonormal, _products
from metalsvd._accuracy import orthogonality
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

EPS = 2.0**-24
# Sums of squares beyond float32: the estimate is infinite, and the Frobenius norm is.
OVERFLOWING = {"huge"}
OPTIONS = [{"method": "krylov", "n_iter": 1, "oversample": 3}, {"method": "power", "n_iter": 2, "oversample": 3}]


def double(X: Tensor) -> Tensor:
    return X.detach().cpu().to(torch.complex128 if X.is_complex() else torch.float64)


def true_error(A: Tensor, result: metalsvd.LowRankSVD) -> Tensor:
    """|A - U diag(S) V^H|_F in double precision."""
    U, S, Vh = double(result.U), double(result.S), double(result.Vh)
    return torch.linalg.matrix_norm(double(A) - (U * S.unsqueeze(-2)) @ Vh)


def assert_factors(A: Tensor, result: metalsvd.LowRankSVD, eps: float = EPS, label: str = "") -> None:
    """Orthonormal, sorted, singular values not above those of A, and the error estimate honest."""
    floor = 8 * eps * math.sqrt(max(A.shape[-2:]))
    for name, factor in (("U", result.U), ("V", result.V)):
        off = orthogonality(double(factor))
        assert off <= floor, f"{label} {name}: off orthonormality by {off:.2e}, bound {floor:.2e}"
    S, S64 = double(result.S), torch.linalg.svdvals(double(A))
    assert (S >= 0).all(), f"{label}: negative singular values"
    assert (S.diff() <= 0).all(), f"{label}: not sorted"
    above = (S - S64[..., : S.shape[-1]]).max().item()
    assert above <= floor * S64.max(), f"{label}: singular values above those of A by {above:.2e}"
    assert_honest(A, result, eps, label)


def assert_honest(A: Tensor, result: metalsvd.LowRankSVD, eps: float = EPS, label: str = "") -> None:
    """The estimate is within a factor 2 of the true error, or both are rounding."""
    norm, true, estimate = torch.linalg.matrix_norm(double(A)), true_error(A, result), double(result.error)
    rounding = 8 * eps * math.sqrt(max(A.shape[-2:])) * norm
    good = (estimate <= 2 * true + rounding) & (true <= 2 * estimate + rounding)
    assert good.all(), f"{label}: estimated {(estimate / norm).tolist()}, true {(true / norm).tolist()} of |A|"


def same_bits(X: Tensor, Y: Tensor) -> bool:
    return torch.equal(X.cpu(), Y.cpu())


@pytest.fixture
def generator(target) -> torch.Generator:
    return torch.Generator(device=target).manual_seed(0)


@pytest.mark.parametrize("options", OPTIONS, ids=["krylov", "power"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("shape", [(40, 26), (26, 40)], ids=str)
def test_every_family(shape, dtype, options, target, generator):
    names = list(matrices.FAMILIES)
    A = matrices.batch_of(names, shape, dtype)
    result = metalsvd.randomized_svd(A.to(target), 3, generator=generator, **options)
    assert result.U.shape == (len(names), shape[0], 3)
    assert result.S.shape == (len(names), 3)
    assert result.V.shape == (len(names), shape[1], 3)
    assert result.error.shape == (len(names),)
    for index, name in enumerate(names):
        one = metalsvd.LowRankSVD(*(factor[index] for factor in result))
        one.error = result.error[index]
        if name in OVERFLOWING:
            one.error = torch.as_tensor(true_error(A[index], one))
        assert_factors(A[index], one, label=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("method", ["krylov", "power"])
def test_every_family_on_the_cpu_at_a_larger_size(method, dtype):
    eps = torch.finfo(dtype).eps / 2
    for name in matrices.FAMILIES:
        A = matrices.make(name, 160, 120, dtype)
        result = metalsvd.randomized_svd(A, 8, method=method, generator=torch.Generator().manual_seed(1))
        if not (name in OVERFLOWING and result.error.isinf()):
            assert_factors(A, result, eps, name)


@pytest.mark.parametrize("tol", [0.3, 1e-2, 1e-4])
def test_the_rank_by_tolerance_is_enough_and_hardly_more(tol):
    for name in matrices.FAMILIES:
        A = matrices.make(name, 150, 200)
        result = metalsvd.randomized_svd(A, tol=tol, generator=torch.Generator().manual_seed(1))
        norm, S64 = torch.linalg.matrix_norm(A.double()), torch.linalg.svdvals(A.double())
        if name in OVERFLOWING:
            continue
        assert_honest(A, result, label=name)
        # Within the spread of 16 random probes.
        assert true_error(A, result) <= 1.3 * tol * norm + 1e-6 * norm, name
        tails = S64.square().flip(0).cumsum(0).flip(0).sqrt()  # of rank 0, 1, ...
        best = int((tails > tol * norm).sum())
        k = result.S.shape[-1]
        assert k <= 1.3 * best + 2, f"{name}: {k} triplets, {best} would do"


def test_the_rank_by_tolerance_on_the_device(target, generator):
    A = matrices.batch_of(["geometric", "rank_one", "half_rank"], (40, 30))
    result = metalsvd.randomized_svd(A.to(target), tol=0.2, n_iter=0, generator=generator)
    assert (true_error(A, result) <= 1.3 * 0.2 * torch.linalg.matrix_norm(A.double())).all()
    assert_honest(A, result)


def test_a_tolerance_that_k_triplets_do_not_meet_warns_with_the_error_reached(target, generator):
    A = matrices.make("arithmetic", 40, 30)
    with pytest.warns(
        UserWarning, match=r"tol=0.01 was not reached with 2 triplets, but an error of 0\.\d+ \|A\|_F"
    ) as r:
        result = metalsvd.randomized_svd(A.to(target), 2, tol=0.01, generator=generator)
    assert result.S.shape == (2,)
    assert r[0].filename == __file__, "the warning shows another line than the caller's"
    assert_honest(A, result)


def test_leading_triplets_are_those_of_the_whole(target, generator):
    A = matrices.make("geometric", 50, 40)
    U, S, V = metalsvd.randomized_svd(A.to(target), 3, n_iter=2, oversample=5, generator=generator)
    full = metalsvd.svd(A.double())
    assert (S.cpu() - full.S[:3]).abs().max() <= 1e-5 * full.S[0]
    for ours, exact in ((U, full.U), (V, full.V)):
        cosines = (double(ours).mH @ exact[:, :3]).diagonal()
        assert (cosines.abs() - 1).abs().max() <= 1e-4, f"cosines with the exact vectors {cosines.tolist()}"


def test_krylov_is_closer_than_power_at_equal_products():
    A = matrices.make("arithmetic", 300, 300, torch.float64)
    errors = {}
    for method in ("krylov", "power"):
        generator = torch.Generator().manual_seed(0)
        options = {"n_iter": 3, "oversample": 5, "method": method, "generator": generator}
        S = metalsvd.randomized_svd(A, 10, **options).S
        errors[method] = (S - torch.linalg.svdvals(A)[:10]).abs().max()
    assert errors["krylov"] < 0.5 * errors["power"], errors


@pytest.mark.parametrize("options", OPTIONS, ids=["krylov", "power"])
def test_the_same_generator_gives_the_same_bits(options, target):
    A = matrices.batch_of(["normal", "half_rank"], (40, 30)).to(target)
    first, second = (
        metalsvd.randomized_svd(A, 3, generator=torch.Generator(device=target).manual_seed(5), **options)
        for _ in range(2)
    )
    for name in ("U", "S", "V", "error"):
        assert same_bits(getattr(first, name), getattr(second, name)), name


def test_a_matrix_is_decomposed_as_it_is_alone(target):
    A = matrices.batch_of(["normal", "half_rank", "geometric"], (40, 30)).to(target)
    options = {"n_iter": 1, "oversample": 3}
    together = metalsvd.randomized_svd(A, 3, generator=torch.Generator(device=target).manual_seed(5), **options)
    alone = metalsvd.randomized_svd(A[1], 3, generator=torch.Generator(device=target).manual_seed(5), **options)
    assert (together.S[1] - alone.S).abs().max() <= 1e-5 * alone.S[0]


@pytest.mark.parametrize("power", [-100, 100])
def test_scaling_changes_the_singular_values_alone(power, target):
    A = matrices.make("half_rank", 40, 30)
    options = {"n_iter": 1, "oversample": 3}
    plain, scaled = (
        metalsvd.randomized_svd(B.to(target), 3, generator=torch.Generator(device=target).manual_seed(5), **options)
        for B in (A, A * 2.0**power)
    )
    assert (scaled.S.cpu() * 2.0**-power - plain.S.cpu()).abs().max() <= 4 * EPS * plain.S.max()
    assert (scaled.error.cpu() * 2.0**-power - plain.error.cpu()).abs() <= 1e-5 * plain.error.cpu()
    assert (scaled.U - plain.U).abs().max() <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_computed_with_in_float32(dtype, target, generator):
    A = matrices.make("normal", 48, 36, dtype)
    result = metalsvd.randomized_svd(A.to(target), 4, n_iter=2, oversample=2, generator=generator)
    assert {factor.dtype for factor in result} == {torch.float32}
    assert_factors(A.float(), result)


def test_half_types_are_converted_in_blocks(monkeypatch, generator, target):
    monkeypatch.setattr(metalsvd._products, "_BLOCK_ENTRIES", 1)
    A = matrices.make("normal", 300, 24, torch.bfloat16)
    result = metalsvd.randomized_svd(A.to(target), 2, n_iter=1, oversample=2, generator=generator)
    assert_factors(A.float(), result)
    rows = [block.shape[-2] for _, block in metalsvd._products.DenseMatrix(A)._row_blocks(1)]
    assert max(rows) * 24 <= 300 + 24, "more than O((m + n) columns) entries at a time"
    assert sum(rows) == 300


@pytest.mark.parametrize("shape", [(30, 24), (24, 30)], ids=str)
@pytest.mark.parametrize("method", ["krylov", "power"])
def test_pca_is_the_decomposition_of_the_centred_matrix(shape, method, target, generator):
    A = matrices.make("normal", *shape) + 100
    result = metalsvd.pca(A.to(target), 3, method=method, n_iter=2, oversample=4, generator=generator)
    centred = A.double() - A.double().mean(-2, keepdim=True)
    assert (double(result.mean) - A.double().mean(-2)).abs().max() <= 1e-4
    exact = torch.linalg.svdvals(centred)
    assert (double(result.S) <= exact[:3] * (1 + 1e-4)).all()
    assert (double(result.S) >= exact[:3] * 0.9).all()
    assert_honest(centred, result, eps=100 * EPS)


def test_pca_without_centring_is_randomized_svd(target):
    A = matrices.make("normal", 30, 24).to(target)
    pca, svd = (
        function(A, 2, generator=torch.Generator(device=target).manual_seed(1), **options)
        for function, options in ((metalsvd.pca, {"center": False}), (metalsvd.randomized_svd, {}))
    )
    assert pca.mean is None
    assert same_bits(pca.V, svd.V)


def test_the_basis_of_cpu_and_cuda_for_blocks_of_any_rank():
    """Cholesky QR in double precision, which the emulated device does not take."""
    noise = torch.randn(60, 56, generator=torch.Generator().manual_seed(0))
    for name in matrices.FAMILIES:
        Y = matrices.make(name, 60, 56)
        Y = Y / (Y.abs().max().item() or 1)
        Q = _orthonormal.orthonormal_beside(None, Y, noise)
        assert orthogonality(Q.double()) <= 8 * EPS * math.sqrt(60), name
        outside = torch.linalg.matrix_norm(Y.double() - Q.double() @ (Q.double().T @ Y.double()))
        assert outside <= 32 * EPS * max(1, torch.linalg.matrix_norm(Y.double())), f"{name}: {outside:.1e} of Y is lost"


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_cholesky_qr_does_not_depend_on_the_lengths_of_columns(dtype):
    Y = matrices.make("normal", 60, 20, dtype)
    Y[:, 1] = Y[:, 0] + 1e-6 * Y[:, 1]
    lengths = torch.exp2(torch.linspace(-60, 60, 20).round())
    for rounds in (1, 2):
        Q, scaled = (_orthonormal.cholesky_basis(block, rounds) for block in (Y, Y * lengths))
        assert same_bits(Q, scaled), f"{rounds} rounds: off by {(Q - scaled).abs().max():.1e}"
    off = orthogonality(double(Q))
    assert off <= 8 * EPS, f"off orthonormality by {off:.1e}"


def test_powers_of_two_below():
    entries = torch.tensor([0.0, math.nan, math.inf, 1.0, 3.9, 2.0**-149, 3e38])
    assert _products.power_of_two_below(entries).tolist() == [1, 1, 1, 1, 2, 2.0**-120, 2.0**120]


class Recorded(TorchDispatchMode):
    """The names of the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.append(operator.overloadpacket.__name__)
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["krylov", "power"])
def test_the_host_waits_once_and_last(method, target):
    A = matrices.make("normal", 40, 30).to(target)
    with Recorded() as recorded:
        metalsvd.randomized_svd(A, 3, n_iter=1, oversample=2, method=method)
    waits = [place - len(recorded.names) for place, name in enumerate(recorded.names) if name == "_local_scalar_dense"]
    assert waits == [-1], f"waits at {waits} of {len(recorded.names)} operators"


def test_no_host_wait_before_the_errors_are_read(emulated, target):
    A = matrices.make("normal", 40, 30).to(target)
    with metalsvd.error_checks(False):
        before = emulated.counters().host_waits
        metalsvd.randomized_svd(A, 3, n_iter=2, oversample=2)
        assert emulated.counters().host_waits == before


def test_the_svd_lowrank_and_pca_lowrank_of_torch(target):
    torch.manual_seed(0)
    A = matrices.make("geometric", 40, 30)
    for function in (torch.svd_lowrank, torch.pca_lowrank):
        B = A if function is torch.svd_lowrank else A - A.mean(0)
        U, S, V = function(A.to(target), 5)
        best = torch.linalg.svdvals(B.double())
        assert (S.cpu() - best[:5]).abs().max() <= 1e-4 * best[0]
        assert U.device.type == V.device.type == target.type


GRADIENTS = {
    "krylov": lambda A: metalsvd.randomized_svd(A, 3, n_iter=12, generator=torch.Generator().manual_seed(1)),
    "power": lambda A: metalsvd.randomized_svd(
        A, 3, n_iter=15, oversample=0, method="power", generator=torch.Generator().manual_seed(1)
    ),
    "pca": lambda A: metalsvd.pca(A, 3, n_iter=12, generator=torch.Generator().manual_seed(1)),
    "lanczos": lambda A: metalsvd.lanczos_svd(A, 3, tol=1e-13, subspace=6, generator=torch.Generator().manual_seed(1)),
}


@pytest.mark.parametrize("rank", ["low", "full"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("shape", [(9, 7), (7, 9)], ids=str)
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_converged_triplets(name, shape, dtype, rank):
    generator = torch.Generator().manual_seed(3)
    sigma = torch.tensor([5.0, 3, 2, 0.3, 0.2, 0.1, 0.01], dtype=torch.float64)
    if rank == "low":
        sigma[3:] = 0
    A = matrices.with_spectrum(sigma, *shape, generator).to(dtype)
    W = matrices.random(*shape, generator).to(dtype)

    def losses(A: Tensor) -> Tensor:
        # Functions that the phases of the vectors do not change.
        U, S, V = GRADIENTS[name](A)
        approximation = ((U * S) @ V.mH * W).sum().abs()
        polar = (U @ V.mH * W).sum().abs()
        return torch.stack([S.sum(), approximation, polar, U[0].abs().square()[0], V[1].abs().square()[1]])

    if name == "pca" and rank == "low" and dtype.is_complex:
        A = A - A.mean(0)
    perturbed = A.clone().requires_grad_()
    if rank == "low":
        # Within the matrices of this rank: others make the cut-off part appear at first order.
        B, C = (torch.linalg.svd(A, full_matrices=False)[index] for index in (0, 2))
        factors = [(B[:, :3] * sigma[:3]).clone().requires_grad_(), C[:3].clone().requires_grad_()]
        if name != "pca":
            assert torch.autograd.gradcheck(lambda L, R: losses(L @ R), factors, atol=1e-5, rtol=1e-4)
        return
    assert torch.autograd.gradcheck(losses, perturbed, atol=1e-5, rtol=1e-4)


def test_the_gradient_on_the_device(target, generator):
    A = matrices.make("geometric", 30, 20)
    on_device = A.clone().to(target).requires_grad_()
    U, S, V = metalsvd.randomized_svd(on_device, 2, n_iter=2, oversample=4, generator=generator)
    (U[0].square().sum() + V[0].square().sum() + S.sum()).backward()
    exact = A.double().requires_grad_()
    U, S, Vh = torch.linalg.svd(exact, full_matrices=False)
    (U[0, :2].square().sum() + Vh[:2, 0].square().sum() + S[:2].sum()).backward()
    off = (on_device.grad.cpu() - exact.grad).abs().max() / exact.grad.abs().max()
    assert off <= 1e-3, f"off by {off:.1e}"


def test_the_gradient_without_a_gap_warns():
    A = torch.eye(12, dtype=torch.float64).requires_grad_()
    U, _, _ = metalsvd.randomized_svd(A * 1.0, 2, n_iter=0, oversample=2, generator=torch.Generator().manual_seed(1))
    with pytest.warns(UserWarning, match="gradient of the singular vectors .* is inexact"):
        U[0, 0].backward()


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    m=st.integers(1, 60),
    n=st.integers(1, 60),
    data=st.data(),
    name=st.sampled_from(sorted(set(matrices.FAMILIES) - OVERFLOWING)),
    method=st.sampled_from(["krylov", "power"]),
)
def test_any_shape_and_rank(m, n, data, name, method):
    k = data.draw(st.integers(1, min(m, n)))
    n_iter, oversample = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 5))
    A = matrices.make(name, m, n)
    result = metalsvd.randomized_svd(
        A, k, n_iter=n_iter, oversample=oversample, method=method, generator=torch.Generator().manual_seed(7)
    )
    assert result.U.shape == (m, k)
    assert result.V.shape == (n, k)
    assert_factors(A, result, eps=2 * EPS, label=name)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, ValueError, "expected k, the number of triplets, or tol, a relative error, but got neither"),
        ({"k": 0}, ValueError, r"expected k to be an integer from 1 to min\(m, n\) = 6, but got 0"),
        ({"k": 7}, ValueError, r"expected k to be an integer from 1 to min\(m, n\) = 6, but got 7"),
        ({"k": 2.0}, ValueError, r"expected k to be an integer .* but got 2.0"),
        ({"k": True}, ValueError, r"expected k to be an integer .* but got True"),
        ({"tol": 0.0}, ValueError, "expected tol to be a number between 0 and 1, but got 0.0"),
        ({"tol": 1.0}, ValueError, "expected tol to be a number between 0 and 1, but got 1.0"),
        ({"tol": math.nan}, ValueError, "expected tol to be a number between 0 and 1, but got nan"),
        ({"tol": 0.1, "oversample": 3}, ValueError, "expected oversample to be 'auto' beside tol, but got 3"),
        ({"k": 1, "n_iter": -1}, ValueError, "expected n_iter to be 'auto' or an integer of at least 0, but got -1"),
        ({"k": 1, "oversample": "no"}, ValueError, "expected oversample to be 'auto' or an integer .* but got 'no'"),
        ({"k": 1, "method": "qr"}, ValueError, "expected method to be 'krylov' or 'power', but got 'qr'"),
        ({"k": 1, "generator": 3}, TypeError, "expected generator to be a torch.Generator, but got int"),
    ],
)
@pytest.mark.parametrize("function", [metalsvd.randomized_svd, metalsvd.pca])
def test_bad_arguments(function, arguments, error, words, target):
    with pytest.raises(error, match=f"{function.__name__}: {words}"):
        function(torch.ones(6, 8, device=target), **arguments)


def test_bad_matrices(target):
    with pytest.raises(RuntimeError, match="The input tensor A must have at least 2 dimensions"):
        metalsvd.randomized_svd(torch.ones(5, device=target), 1)
    with pytest.raises(RuntimeError, match=r"Expected a floating point or complex tensor as input\. Got int64"):
        metalsvd.randomized_svd(torch.ones(5, 5, dtype=torch.int64, device=target), 1)
    with pytest.raises(ValueError, match=r"expected k to be an integer from 1 to min\(m, n\) = 0"):
        metalsvd.randomized_svd(torch.ones(0, 5, device=target), 1)
    with pytest.raises(TypeError, match="expected A to be a tensor, but got list"):
        metalsvd.randomized_svd([[1.0, 2.0]], 1)


def test_a_generator_of_another_device(target):
    if target.type == "cpu":
        pytest.skip("every generator here is the cpu's")
    with pytest.raises(RuntimeError, match=f"Expected a '{target.type}' device type for generator but found 'cpu'"):
        metalsvd.randomized_svd(torch.ones(6, 8, device=target), 1, generator=torch.Generator())


@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("arguments", [{"k": 2}, {"tol": 0.1}], ids=str)
def test_a_matrix_that_is_not_finite(poison, arguments, target):
    A = matrices.batch_of(["normal"] * 3, (30, 24))
    A[1, 3, 4] = poison
    A = A.to(target)
    with pytest.raises(torch.linalg.LinAlgError, match=r"randomized_svd: \(Batch element 1\): .* non-finite values"):
        metalsvd.randomized_svd(A, **arguments)
    with metalsvd.error_checks(False):
        result = metalsvd.randomized_svd(A, 2)
    assert result.S[1].isnan().all()
    assert result.S[[0, 2]].isfinite().all()


def test_an_empty_batch(target):
    result = metalsvd.randomized_svd(torch.ones(0, 30, 24, device=target), 2)
    assert result.U.shape == (0, 30, 2)
    assert result.error.shape == (0,)


def test_the_result_is_a_tuple_of_three(target):
    result = metalsvd.randomized_svd(torch.ones(6, 5, device=target), 1)
    assert len(result) == 3
    assert isinstance(result, metalsvd.SVD)
    assert same_bits(result.Vh, result.V.mH)
    assert list(inspect.signature(metalsvd.randomized_svd).parameters) == [
        *("A", "k", "tol", "n_iter", "oversample", "method", "generator")
    ]
