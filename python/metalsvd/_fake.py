"""Shapes, dtypes and strides of the operators without data, for torch.compile, torch.export and the meta device."""

from __future__ import annotations

import torch


def _empty_column_major(A: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return A.new_empty((*A.shape[:-2], columns, rows)).mT


def _svd_ex(A, full_matrices=False, compute_uv=True, *, driver=None):
    torch._check(A.dim() >= 2, lambda: "linalg.svd: The input tensor A must have at least 2 dimensions.")
    torch._check(
        A.is_floating_point() or A.is_complex(),
        lambda: f"linalg.svd: Expected a floating point or complex tensor as input. Got {A.dtype}",
    )
    m, n = A.shape[-2:]
    k = torch.sym_min(m, n)
    S = A.new_empty((*A.shape[:-2], k), dtype=A.dtype.to_real())
    info = A.new_empty(A.shape[:-2], dtype=torch.int32)
    if not compute_uv:
        return A.new_empty(0), S, A.new_empty(0), info
    U = _empty_column_major(A, m, m if full_matrices else k)
    Vh = _empty_column_major(A, n if full_matrices else k, n)
    return U, S, Vh, info


@torch.library.register_fake("metalsvd::svd_ex")
def _(A, full_matrices=False, compute_uv=True, *, driver=None):
    return _svd_ex(A, full_matrices, compute_uv)


@torch.library.register_fake("metalsvd::svd")
def _(A, full_matrices=False, compute_uv=True, *, driver=None):
    return _svd_ex(A, full_matrices, compute_uv)[:3]
