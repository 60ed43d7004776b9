"""torch.compile and torch.export with our operators and with torch.linalg.svd routed to them."""

from __future__ import annotations

import pytest
import torch
import torch._inductor.config

FUNCTIONS = {
    "torch.linalg.svd": lambda A: torch.linalg.svd(A, full_matrices=False),
    "torch.linalg.svdvals": lambda A: (torch.linalg.svdvals(A),),
    "ours": lambda A: torch.ops.metalsvd.svd(A),
    "ours, with info": lambda A: torch.ops.metalsvd.svd_ex(A),
    "ours, full": lambda A: torch.ops.metalsvd.svd(A, True),
    "within a graph": lambda A: ((lambda U, S, Vh: (U * S.unsqueeze(-2)) @ Vh + 1)(*torch.linalg.svd(A * 2, False)),),
}

pytestmark = pytest.mark.filterwarnings("ignore")  # of the compiler's own


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    # Metal code for elementwise graphs would need Apple's compiler: these fall back to eager operators.
    with torch._inductor.config.patch(fallback_by_default=True):
        yield


def assert_same(actual, expected) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.stride() == theirs.stride()
        # LAPACK rounds singular values without vectors, which a graph may ask for, in its own way.
        assert torch.equal(ours, theirs) or (ours.is_cpu and torch.allclose(ours, theirs, rtol=1e-5))


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compile(name, backend, target):
    compiled = torch.compile(FUNCTIONS[name], backend=backend, fullgraph=True)
    A = torch.randn(3, 5, 4, device=target)
    assert_same(compiled(A), FUNCTIONS[name](A))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dynamic_shapes(name, target):
    compiled = torch.compile(FUNCTIONS[name], backend="aot_eager", fullgraph=True, dynamic=True)
    for shape in [(3, 5, 4), (2, 7, 3), (4, 3, 6)]:
        A = torch.randn(shape, device=target)
        assert_same(compiled(A), FUNCTIONS[name](A))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("svd", [torch.ops.metalsvd.svd, torch.linalg.svd], ids=["ours", "torch.linalg.svd"])
def test_compiled_gradient(svd, backend, target):
    def loss(A):
        U, S, Vh = svd(A, False)
        return (S.square().sum(-1) + (U @ Vh).sum((-1, -2))).sum()

    A = torch.randn(2, 5, 3, device=target, requires_grad=True)
    expected = torch.autograd.grad(loss(A), A)[0]
    actual = torch.autograd.grad(torch.compile(loss, backend=backend, fullgraph=True)(A), A)[0]
    assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5)


class Factors(torch.nn.Module):
    def __init__(self, svd):
        super().__init__()
        self.svd = svd

    def forward(self, A):
        return tuple(self.svd(A, False))


@pytest.mark.parametrize("svd", [torch.ops.metalsvd.svd, torch.linalg.svd], ids=["ours", "torch.linalg.svd"])
def test_export(svd, target):
    A = torch.randn(2, 5, 3, device=target)
    module = Factors(svd)
    program = torch.export.export(module, (A,), dynamic_shapes={"A": {0: torch.export.Dim("batch", min=1, max=9)}})
    for batch in (2, 5):
        A = torch.randn(batch, 5, 3, device=target)
        assert_same(program.module()(A), module(A))
