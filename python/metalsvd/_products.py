"""A matrix as low-rank methods see it: something that multiplies blocks of columns, scaled by a power of two.

The products are those of ``A / scale``, ``scale`` the power of two below the largest entry of A, so that neither A of
2^120 nor of 2^-120 overflows or underflows a sum of squares; no scaled copy of A is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ._dtypes import compute_dtype

# Rows that are converted at a time make a block of at least so many entries (32 MiB of float32), whatever the shape.
_BLOCK_ENTRIES = 2**23


def power_of_two_below(entry: Tensor) -> Tensor:
    """For entries >= 0: 2^floor(log2 x), within 2^-120 to 2^120; 1 where that is not finite."""
    return entry.log2().floor().nan_to_num(0, 0, 0).clamp(-120, 120).exp2()


def largest(A: Tensor, dim: tuple[int, ...]) -> Tensor:
    """The largest absolute value, of complex entries that of a part of them. No copy of real A.

    On the CPU a fortieth of the time of torch.linalg.vector_norm, which on CUDA reads A once and not twice.
    """
    if A.is_complex():
        A, dim = torch.view_as_real(A.resolve_conj()), (-1, *(where - 1 for where in dim))
    if A.is_cuda:
        return torch.linalg.vector_norm(A, math.inf, dim)
    return torch.maximum(A.amax(dim), -A.amin(dim))


class DenseMatrix:
    """``A (*, m, n)``, or with ``center`` A minus the mean of its rows, which is never formed as a whole.

    Half types, and A minus its mean, are converted in blocks of rows: beside A there is memory for one block only.
    """

    def __init__(self, A: Tensor, center: bool = False) -> None:
        self.A = A = A.detach()
        self.shape, self.batch, self.device = A.shape[-2:], A.shape[:-2], A.device
        self.dtype = compute_dtype(A.dtype)
        self.mean = self._mean() if center else None
        self._is_direct = A.dtype == self.dtype and not center
        # Of A itself also where it is centred: the mean lies within the entries.
        entry = largest(A, (-2, -1)).to(self.dtype.to_real())
        self.scale = power_of_two_below(entry)[..., None, None]

    def times(self, X: Tensor) -> Tensor:
        """``A X / scale`` of X (*, n, columns), batched or one for all of the batch."""
        X = X / self.scale
        if self._is_direct:
            return self.A @ X
        # Half times half on tensor cores, X split into parts of that type, would need no conversion, but truncates its
        # float32 sums: on an H100 it left errors of 1.6e-5 for a 10000x10000 float16 matrix, and this leaves 1.4e-6.
        return torch.cat([rows @ X for _, rows in self._row_blocks(X.shape[-1])], dim=-2)

    def adjoint_times(self, Y: Tensor) -> Tensor:
        """``A^H Y / scale`` of Y (*, m, columns)."""
        Y = Y / self.scale
        if self._is_direct:
            return self.A.mH @ Y
        return sum(rows.mH @ Y[..., where, :] for where, rows in self._row_blocks(Y.shape[-1]))

    def frobenius_norm(self) -> Tensor:
        """``|A|_F / scale``, shape (*)."""
        norms = [torch.linalg.vector_norm(rows / self.scale, dim=(-2, -1)) for _, rows in self._row_blocks(1)]
        return torch.linalg.vector_norm(torch.stack(norms), dim=0)

    def _mean(self) -> Tensor:
        """The mean of the rows, (*, 1, n)."""
        rows = self.shape[0]
        ones = self.A.new_ones(1, rows, dtype=self.dtype)
        if self.A.dtype == self.dtype:
            return ones @ self.A / rows
        self.mean = None
        return sum(block.sum(-2, keepdim=True) for _, block in self._row_blocks(1)) / rows

    def _row_blocks(self, columns: int) -> Iterator[tuple[slice, Tensor]]:
        m, n = self.shape
        entries = max(_BLOCK_ENTRIES, (m + n) * columns)
        step = max(1, entries // max(1, n * self.batch.numel()))
        for start in range(0, m, step):
            where = slice(start, min(start + step, m))
            rows = self.A[..., where, :].to(self.dtype)
            yield where, rows if self.mean is None else rows - self.mean


class SparseMatrix:
    """A sparse matrix (m, n), multiplied by torch."""

    def __init__(self, name: str, A: Tensor) -> None:
        if A.layout not in (torch.sparse_coo, torch.sparse_csr) or A.dim() != 2:
            raise RuntimeError(
                f"{name}: Expected a dense tensor or a sparse matrix of two dimensions, COO or CSR. "
                f"Got {A.layout} of {A.dim()} dimensions"
            )
        self.A = A.coalesce() if A.layout == torch.sparse_coo else A
        self.shape, self.batch, self.device, self.dtype = A.shape, torch.Size(), A.device, A.dtype
        if compute_dtype(A.dtype) != A.dtype:
            dtype = str(A.dtype).removeprefix("torch.")
            raise RuntimeError(f"{name}: Expected a sparse matrix of float32, complex64 or twice that. Got {dtype}")
        self._entries = self.A.values().clone()  # a view into CSR has no strides, torch says
        if A.numel() and not self._entries.numel():
            self._entries = self._entries.new_zeros(1)
        self.scale = power_of_two_below(largest(self._entries, (-1,))).reshape(1, 1)
        self._adjoint = self.A.mH if A.layout == torch.sparse_coo else self.A.mH.to_sparse_csr()

    def times(self, X: Tensor) -> Tensor:
        return self.A @ (X / self.scale)

    def adjoint_times(self, Y: Tensor) -> Tensor:
        return self._adjoint @ (Y / self.scale)

    def frobenius_norm(self) -> Tensor:
        return torch.linalg.vector_norm(self._entries / self.scale[0])


class OperatorMatrix:
    """A pair of functions, ``X -> A X`` and ``Y -> A^H Y``, whose results are checked."""

    def __init__(self, name, functions, shape, dtype, device) -> None:
        is_pair = isinstance(functions, (tuple, list)) and len(functions) == 2 and all(map(callable, functions))
        if not is_pair:
            got = type(functions).__name__
            raise TypeError(
                f"{name}: expected A to be a tensor or a pair (matvec, rmatvec) of functions, but got {got}"
            )
        if shape is None or len(shape) != 2 or not all(isinstance(size, int) and size > 0 for size in shape):
            raise ValueError(f"{name}: expected shape of the operator to be (m, n), but got {shape!r}")
        if dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
            raise ValueError(
                f"{name}: expected dtype of the operator to be float32, float64, complex64 or complex128, not {dtype}"
            )
        self._name, (self._matvec, self._rmatvec) = name, functions
        self.shape, self.batch, self.dtype = torch.Size(shape), torch.Size(), dtype
        self.device = torch.empty(0, device=device or "cpu").device
        self.scale = torch.ones(1, 1, dtype=dtype.to_real(), device=self.device)
        # The size of the entries from what becomes of one vector of length one.
        x = torch.full((shape[1], 1), shape[1] ** -0.5, dtype=dtype, device=self.device)
        self.scale = power_of_two_below(largest(self.times(x), (-2, -1))).reshape(1, 1)

    def times(self, X: Tensor) -> Tensor:
        return self._checked("matvec", self._matvec(X / self.scale), (self.shape[0], X.shape[-1]))

    def adjoint_times(self, Y: Tensor) -> Tensor:
        return self._checked("rmatvec", self._rmatvec(Y / self.scale), (self.shape[1], Y.shape[-1]))

    def frobenius_norm(self) -> None:
        return None

    def _checked(self, function: str, product: Tensor, shape: tuple[int, int]) -> Tensor:
        if not isinstance(product, Tensor):
            raise TypeError(f"{self._name}: expected {function} to return a tensor, but got {type(product).__name__}")
        expected = (shape, self.dtype, self.device)
        if (tuple(product.shape), product.dtype, product.device) != expected:
            raise ValueError(
                f"{self._name}: expected {function} to return shape {shape}, {self.dtype} on {self.device}, "
                f"but got shape {tuple(product.shape)}, {product.dtype} on {product.device}"
            )
        return product


class Adjoint:
    """``A^H`` of any such matrix."""

    def __init__(self, matrix) -> None:
        self.matrix = matrix
        self.batch, self.device, self.dtype, self.scale = matrix.batch, matrix.device, matrix.dtype, matrix.scale
        self.shape = torch.Size(reversed(matrix.shape))
        self.times, self.adjoint_times = matrix.adjoint_times, matrix.times
        self.frobenius_norm = matrix.frobenius_norm


def random_normal(shape: tuple[int, ...], matrix, generator: torch.Generator | None) -> Tensor:
    """Standard normal entries of the dtype and on the device of the matrix."""
    real = matrix.dtype.to_real()
    if not matrix.dtype.is_complex:
        return torch.randn(shape, dtype=real, device=matrix.device, generator=generator)
    return torch.view_as_complex(torch.randn((*shape, 2), dtype=real, device=matrix.device, generator=generator))
