"""PyTorch's own samples of everything built on its singular value decomposition: values and gradients on the device
under test beside the CPU. PyTorch's sample functions make their outputs independent of the phase of singular vectors.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves, tree_map

NAMES = {
    "svd", "linalg.svd", "linalg.svdvals", "svd_lowrank", "pca_lowrank", "linalg.pinv", "pinverse",
    "linalg.matrix_rank", "linalg.norm", "norm", "linalg.matrix_norm", "linalg.cond", "linalg.lstsq",
}  # fmt: skip
OPERATORS = [op for op in op_db if op.name in NAMES]
DTYPES = [torch.float32, torch.complex64]

NOT_ON_CUDA = {
    "linalg.lstsq": "torch has its driver gels only, which needs no singular values",
    "svd_lowrank": "draws random matrices on the device, which on cuda are others than on the cpu",
}

# Samples of torch 2.13; another version may have more or fewer.
SAMPLES_OF_2_13 = 2072

# Both sides compute in float32: gradients divide by gaps between singular values.
VALUE_TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
GRADIENT_TOLERANCE = {"rtol": 5e-3, "atol": 5e-3}

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's samples use deprecated functions


def samples(op, dtype: torch.dtype) -> list:
    torch.manual_seed(0)
    return list(op.sample_inputs("cpu", dtype, requires_grad=True))


def moved(tree, device: torch.device):
    """A copy of every tensor on the device, leaves of their own graph."""

    def copy(leaf):
        return leaf.detach().to(device).requires_grad_(leaf.requires_grad) if torch.is_tensor(leaf) else leaf

    return tree_map(copy, tree)


def run(op, sample, device: torch.device) -> tuple[list, list]:
    """Outputs and, of a weighted sum of them, gradients with respect to every input that wants one."""
    inputs, args, kwargs = moved((sample.input, sample.args, sample.kwargs), device)
    torch.manual_seed(1)  # the low-rank functions draw random matrices
    outputs = list(tree_leaves(sample.output_process_fn_grad(op(inputs, *args, **kwargs))))
    wanted = [leaf for leaf in tree_leaves((inputs, args, kwargs)) if torch.is_tensor(leaf) and leaf.requires_grad]
    loss = sum(weighted(output, 0.5 + index) for index, output in enumerate(outputs) if output.requires_grad)
    if not torch.is_tensor(loss):
        return outputs, []
    return outputs, list(torch.autograd.grad(loss, wanted, allow_unused=True))


def weighted(output: torch.Tensor, shift: float) -> torch.Tensor:
    """A real number that depends on every entry in its own way."""
    weights = torch.arange(output.numel(), dtype=torch.float32).add(shift).sin().reshape(output.shape).to(output.device)
    return (output * weights).sum().abs()


def assert_close(actual: list, expected: list, tolerance: dict, what: str) -> None:
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        if theirs is None:
            assert ours is None
            continue
        torch.testing.assert_close(ours.cpu(), theirs, equal_nan=True, msg=lambda text: f"{what}: {text}", **tolerance)


def test_the_number_of_samples():
    if not torch.__version__.startswith("2.13."):
        pytest.skip("counted for torch 2.13")
    count = sum(len(samples(op, dtype)) for op in OPERATORS for dtype in DTYPES)
    assert count == SAMPLES_OF_2_13


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.formatted_name)
def test_samples(op, dtype, target):
    if target.type == "cuda" and op.name in NOT_ON_CUDA:
        pytest.skip(NOT_ON_CUDA[op.name])
    for number, sample in enumerate(samples(op, dtype)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values, gradients = run(op, sample, target)
            expected_values, expected_gradients = run(op, sample, torch.device("cpu"))
        assert_close(values, expected_values, VALUE_TOLERANCE, f"sample {number}, values")
        assert_close(gradients, expected_gradients, GRADIENT_TOLERANCE, f"sample {number}, gradients")
