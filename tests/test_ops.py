"""The operators as torch sees them: layouts, shapes, dtypes, opcheck, vmap, threads."""

from __future__ import annotations

import threading

import checks
import matrices
import metalsvd
import pytest
import torch

OPERATORS = [torch.ops.metalsvd.svd.default, torch.ops.metalsvd.svd_ex.default]

# torch 2.15 reads `.grad` of tensors that are no leaves while it checks.
by_opcheck = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")

# opcheck's autograd registration test knows CPU, CUDA and XPU only: it runs on the CPU below.
UTILS_FOR_MPS = ["test_schema", "test_faketensor", "test_aot_dispatch_dynamic"]


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(7))


@by_opcheck
@pytest.mark.parametrize("operator", OPERATORS, ids=str)
@pytest.mark.parametrize("full_matrices", [False, True])
@pytest.mark.parametrize("compute_uv", [False, True])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (0, 3), (3, 0), (2, 0, 0), (0, 3, 3)], ids=str)
def test_opcheck(operator, full_matrices, compute_uv, shape, target):
    A = sample(*shape).to(target).requires_grad_()
    utils = UTILS_FOR_MPS if target.type == "mps" else None
    torch.library.opcheck(operator, (A, full_matrices, compute_uv), **({"test_utils": utils} if utils else {}))


@by_opcheck
@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_opcheck_on_the_cpu(operator):
    for args in [(sample(4, 3).requires_grad_(),), (sample(2, 3, 5), True), (sample(5, 5), False, False)]:
        torch.library.opcheck(operator, args)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("full_matrices", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 3, 4, 6)], ids=str)
def test_shapes_dtypes_and_strides_are_those_of_torch(shape, full_matrices, dtype, target):
    A = sample(*shape, dtype=dtype).to(target)
    ours = torch.ops.metalsvd.svd(A, full_matrices)
    theirs = torch.linalg.svd(A.cpu(), full_matrices)
    fake = torch.ops.metalsvd.svd(A.to("meta"), full_matrices)
    for our, their, empty in zip(ours, theirs, fake, strict=True):
        assert our.shape == their.shape == empty.shape
        assert our.dtype == their.dtype == empty.dtype
        assert our.stride() == empty.stride()
        assert our.device.type == target.type
    U, S, Vh = ours
    assert U.mT.is_contiguous()
    assert S.is_contiguous()
    assert Vh.mT.is_contiguous()


def layouts(A: torch.Tensor) -> dict[str, torch.Tensor]:
    """The batch A (b, m, n), equal in value and different in memory."""
    b, m, n = A.shape
    room = A.new_zeros(b, 2 * m, 3 * n)
    room[:, ::2, ::3] = A
    behind = torch.cat([A.new_zeros(1, m, n), A])
    return {
        "contiguous": A.contiguous(),
        "column-major": A.mT.contiguous().mT,
        "strided": room[:, ::2, ::3],
        "with an offset": behind[1:],
        "batch innermost": A.permute(1, 2, 0).contiguous().permute(2, 0, 1),
        "expanded": A[:1].expand(b, m, n),
        "two batch dimensions": A.reshape(b // 2, 2, m, n).transpose(0, 1),
        "conjugated": A.conj().clone().conj(),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 3, 5)], ids=str)
def test_memory_layout_does_not_matter(shape, dtype, target):
    for name, A in layouts(sample(*shape, dtype=dtype).to(target)).items():
        actual, expected = metalsvd.svd(A), metalsvd.svd(A.cpu().contiguous().resolve_conj().to(target))
        for factor in ("U", "S", "V"):
            checks.assert_same_bits(getattr(actual, factor), getattr(expected, factor), f"{factor} of {name}")


def test_a_lazily_conjugated_input_is_conjugated(target):
    A = sample(4, 3, dtype=torch.complex64).to(target)
    U, S, V = metalsvd.svd(A.conj())
    checks.assert_accurate(A.conj().resolve_conj(), U, S, V.mH)
    U, S, V = metalsvd.svd(A.mH)
    checks.assert_accurate(A.mH.resolve_conj(), U, S, V.mH)


def test_the_input_is_not_written(target):
    A = sample(3, 6, 4).to(target)
    before = A.clone()
    metalsvd.svd(A, full_matrices=True)
    checks.assert_same_bits(A, before)


@pytest.mark.parametrize("full_matrices", [False, True])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 0, 3), (0, 4, 3), (2, 0, 5, 5)], ids=str)
def test_sizes_of_zero(shape, full_matrices, target):
    A = torch.empty(shape)
    ours = torch.ops.metalsvd.svd_ex(A.to(target), full_matrices)
    theirs = torch.linalg.svd(A, full_matrices)
    for our, their in zip(ours, theirs, strict=False):
        assert our.shape == their.shape
        checks.assert_same_bits(our, their)
    assert ours[3].shape == shape[:-2]
    assert not ours[3].any()


def test_named_tuples(target):
    A = sample(2, 4, 3).to(target)
    result = metalsvd.svd(A)
    assert result._fields == ("U", "S", "V")
    checks.assert_same_bits(result.Vh.contiguous(), torch.ops.metalsvd.svd(A)[2].contiguous())
    assert metalsvd.svd_ex(A)._fields == ("U", "S", "V", "info")
    assert metalsvd.svd_ex(A).info.dtype == torch.int32
    assert metalsvd.svd(A, compute_uv=False).Vh.shape == (0,)


@pytest.mark.parametrize("in_dim", [0, 1, 2])
@pytest.mark.parametrize("compute_uv", [False, True])
def test_vmap(in_dim, compute_uv, target):
    A = sample(4, 3, 5).to(target)

    def factors(a):
        U, S, Vh = torch.ops.metalsvd.svd(a, False, compute_uv)
        return (U, S, Vh) if compute_uv else S

    actual = torch.vmap(factors, in_dims=in_dim)(A)
    expected = factors(A.movedim(in_dim, 0).contiguous())
    if not compute_uv:
        actual, expected = (actual,), (expected,)
    for our, their in zip(actual, expected, strict=True):
        checks.assert_same_bits(our, their)


def test_threads_and_backward(target):
    """31 threads, each its own matrices, with gradients: no wrong value, nobody's error lost."""
    A = torch.stack([matrices.make("normal", 6, 4, seed=seed) for seed in range(31)])
    weights = sample(31, 4).to(target)
    expected = metalsvd.svd(A.to(target)).S
    errors: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for _ in range(100):
                X = A[index].to(target).requires_grad_()
                U, S, Vh = torch.linalg.svd(X, full_matrices=False)
                checks.assert_same_bits(S.detach(), expected[index])
                (S * weights[index]).sum().backward()
                gradient = (U * weights[index]) @ Vh
                assert torch.allclose(X.grad, gradient.detach(), atol=1e-6)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]


def test_public_names():
    public = {name for name in dir(metalsvd) if not name.startswith("_")}
    assert public - {"bench", "emulator", "lowrank", "ops", "os", "sklearn"} == set(metalsvd.__all__) - {"emulator"}
    assert len(metalsvd.__all__) == len(set(metalsvd.__all__))  # ruff keeps them in order
    for name in metalsvd.__all__:
        assert getattr(metalsvd, name).__doc__
