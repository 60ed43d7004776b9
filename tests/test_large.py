"""Tensors so large that their entries are not counted in 32 bits: offsets beyond 2^31, in what is read and written.

The memory between the entries that a test uses is never touched, and so never there.
"""

from __future__ import annotations

import checks
import metalsvd
import pytest
import torch

pytestmark = pytest.mark.kernels

FAR = 2**31
SHAPES = {"thread": (4, 3), "simdgroup": (8, 5), "threadgroup": (12, 9), "block": (34, 33), "qr": (520, 3)}
SHAPES["recover"] = (12, 9)


@pytest.fixture(autouse=True)
def only_where_memory_is_not_touched(emulated):
    """A real GPU may keep all of it."""


def far_apart(direction: str, m: int, n: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and strides by which the last row, column or matrix begins at FAR or beyond."""
    if direction == "rows":
        return (m, n), (FAR // (m - 1) + 1, 1)
    if direction == "columns":
        return (m, n), (1, FAR // (n - 1) + 1)
    return (2, m, n), (FAR, n, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.complex64])
@pytest.mark.parametrize("direction", ["rows", "columns", "matrices"])
@pytest.mark.parametrize("is_wide", [False, True], ids=["tall", "wide"])
@pytest.mark.parametrize("driver", SHAPES)
def test_strides_beyond_31_bits(driver, is_wide, direction, dtype, target):
    m, n = SHAPES[driver][::-1] if is_wide else SHAPES[driver]
    size, stride = far_apart(direction, m, n)
    entries = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(dtype).to(target)
    room = torch.empty(FAR + 2**20, dtype=dtype, device=target)
    assert sum((length - 1) * step for length, step in zip(size, stride, strict=True)) >= FAR
    A = room.as_strided(size, stride)
    A.copy_(entries)
    ours, expected = metalsvd.svd(A, driver=driver), metalsvd.svd(entries, driver=driver)
    for name in ("U", "S", "V"):
        actual, wanted = getattr(ours, name), getattr(expected, name)
        if dtype == torch.float16:
            actual, wanted = actual.float(), wanted.float()
        checks.assert_same_bits(actual, wanted, name)


def test_a_factor_of_more_than_31_bits(pytestconfig, target):
    """46342 x 46342 in float16: 4.3 GB, about a minute."""
    if not pytestconfig.getoption("--all-sizes"):
        pytest.skip("slow: --all-sizes")
    m = 46342
    A = torch.randn(m, 1, generator=torch.Generator().manual_seed(0)).half().to(target)
    U = metalsvd.svd(A, full_matrices=True).U
    assert U.numel() > FAR
    first = U[:, 0].cpu().float()
    for k in (1, m // 2, m - 1):
        column = U[:, k].cpu().float()
        length, cosine = column.norm().item(), (column @ first).item()
        assert abs(length - 1) <= 2**-11, f"column {k} has length {length}"
        assert abs(cosine) <= 2**-11, f"columns 0 and {k} have the product {cosine:.1e}"


def test_much_fresh_memory_costs_none(emulated, target):
    """What the tests above stand on: pages come when they are touched, and are zero."""
    fresh = torch.empty(FAR, dtype=torch.float16, device=target)
    assert fresh[-1].item() == 0
