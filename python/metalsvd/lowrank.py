"""The few largest singular triplets of a big matrix.

Each function is the checks, the method (_randomized.py or _lanczos.py, both over the bases of _golub_kahan.py), and
what makes the result differentiable (_lowrank_autograd.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor

from ._errors import raise_for_info
from ._lanczos import Restarts, thick_restart_lanczos
from ._lowrank_autograd import differentiable
from ._lowrank_checks import check_generator, check_iteration, check_lanczos, check_matrix, check_rank
from ._orthonormal import fix_phases, polished
from ._products import Adjoint, DenseMatrix, OperatorMatrix, SparseMatrix
from ._randomized import columns_for, of_rank, to_tolerance
from .ops import SVD

_AUTO_STEPS = {"krylov": 2, "power": 4}


class LowRankSVD(SVD):
    """``A ~ U diag(S) V^H``: a named tuple ``(U, S, V)``, with ``.Vh`` and these beside it, not differentiable.

    ============== ===========================================================================================
    ``error``      the estimate of ``|A - U diag(S) V^H|_F`` of each matrix, real, ``(*)``
    ``mean``       of :func:`pca`: the mean of the rows of A, ``(*, n)``
    ``residuals``  of :func:`lanczos_svd`: ``(|A v - s u|^2 + |A^H u - s v|^2)^(1/2)`` of each triplet, ``(*, k)``
    ``converged``  of :func:`lanczos_svd`: whether that is at most ``tol * S[0]``, ``(*, k)``
    ``n_iter``     of :func:`lanczos_svd`: how many times the bases were grown, the first time included
    ============== ===========================================================================================
    """

    error: Tensor
    mean: Tensor | None = None
    residuals: Tensor | None = None
    converged: Tensor | None = None
    n_iter: int | None = None


def randomized_svd(
    A: Tensor,
    k: int | None = None,
    *,
    tol: float | None = None,
    n_iter: int | Literal["auto"] = "auto",
    oversample: int | Literal["auto"] = "auto",
    method: Literal["krylov", "power"] = "krylov",
    generator: Generator | None = None,
) -> LowRankSVD:
    """The `k` largest singular triplets of each matrix of a batch, or as many as an error of `tol` needs.

    Differentiable where the triplets have converged and the last stands apart from the next (_lowrank_autograd.py).
    Block Krylov (Musco and Musco 2015) or power iteration (Halko, Martinsson and Tropp 2011) on random columns, one for
    all matrices of the batch. Orthogonalised on the device at every product with A; the host waits once, at the end, to
    read whether A was finite (see :class:`error_checks`), and with `tol` once for each block that is added.

    Args:
        A: shape ``(*, m, n)``: float32, float16, bfloat16, complex64 or complex32, on cpu and cuda float64 and
            complex128 as well. Half types are multiplied in blocks of rows in float32, without a copy of A.
        k: how many triplets, 1 to ``min(m, n)``. With `tol` the most that there may be; None: ``min(m, n)``.
        tol: adds random blocks until the estimated error is at most ``tol * |A|_F``, and returns the fewest triplets
            for which it is: the same number for all matrices of a batch, and at least one. Between 0 and 1.
        n_iter: steps of the iteration, each of one product with A^H and one with A, beside the one of both that there
            always is. "auto": 2 of "krylov", 4 of "power".
        oversample: how many random columns more than k. "auto": 8 or k/10, the larger, and up to a multiple of 8 of
            both together. Not with `tol`, where blocks of 16, 32, 64, ... columns are added.
        method: "krylov" keeps the blocks of all steps, and so ``n_iter + 1`` times the memory for them; "power" the
            last one. Bases that would hold half of ``min(m, n)`` columns or more are given up for the thin SVD of A.
        generator: of A's device; None: torch's own. The same state gives the same result, of a matrix alone or in any
            batch up to rounding.

    Returns:
        :class:`LowRankSVD` ``(U, S, V)`` with ``U (*, m, k)``, ``S (*, k)``, ``V (*, n, k)``, of float32 or complex64
        for half types; orthonormal columns, also of matrices of smaller rank; S descending; in each column of U the
        entry of largest magnitude real and positive. ``.error`` is the estimate of ``|A - U diag(S) V^H|_F``:
        ``(|A|_F^2 - sum S^2)^(1/2)``, and where that is rounding alone what 16 random probes measure.

    Raises:
        ValueError: k, tol, n_iter, oversample or method missing or out of range.
        RuntimeError: A is no floating-point or complex matrix; `generator` is of another device.
        torch.linalg.LinAlgError: a matrix holds NaN or Inf; names the batch element.

    Warns:
        UserWarning: `tol` was not reached with k triplets; names the error that was.
    """
    return _randomized_svd("randomized_svd", A, k, tol, n_iter, oversample, method, generator, center=False)


def pca(
    A: Tensor,
    k: int | None = None,
    *,
    tol: float | None = None,
    center: bool = True,
    n_iter: int | Literal["auto"] = "auto",
    oversample: int | Literal["auto"] = "auto",
    method: Literal["krylov", "power"] = "krylov",
    generator: Generator | None = None,
) -> LowRankSVD:
    """Principal components: :func:`randomized_svd` of A minus the mean of its rows, which is never formed as a whole.

    Rows are centred in blocks as they are multiplied, so that a mean far larger than what varies about it costs no
    digits more than forming the difference would, and memory for one block.

    Args:
        A: shape ``(*, m, n)``: m samples of n features.
        center: False takes A as it is.

    Returns:
        :class:`LowRankSVD`: the columns of V are the principal directions, ``S**2 / (m - 1)`` the variances along them,
        ``U * S`` the samples in their coordinates; ``.mean`` is what was subtracted, ``(*, n)``, None without `center`.
        The other arguments, errors and warnings are those of :func:`randomized_svd`.
    """
    return _randomized_svd("pca", A, k, tol, n_iter, oversample, method, generator, center)


def _randomized_svd(name, A, k, tol, n_iter, oversample, method, generator, center):
    check_matrix(name, A)
    check_rank(name, A.shape, k, tol)
    check_iteration(name, n_iter, oversample, method, tol)
    check_generator(name, generator, A.device)
    dense = DenseMatrix(A, center)
    U, S, V, error = randomized_triplets(name, dense, k, tol, n_iter, oversample, method, generator)
    result = LowRankSVD(*differentiable(A, U, S, V, center))
    result.error = error
    if center:
        result.mean = dense.mean.squeeze(-2)
    return result


def randomized_triplets(name, matrix, k, tol, n_iter, oversample, method, generator):
    """U, S, V and error of any matrix of _products.py, without checks of arguments and without gradients."""
    with torch.no_grad():
        matrix, is_wide = _at_least_as_tall(matrix)
        steps = _AUTO_STEPS[method] if n_iter == "auto" else n_iter
        if tol is None:
            columns = columns_for(k, oversample, min(matrix.shape))
            U, S, V, error, info = of_rank(matrix, k, columns, steps, method, generator)
        else:
            U, S, V, error, info = to_tolerance(name, matrix, k, tol, steps, method, generator)
        triplets = _unscaled(matrix, is_wide, U, S, V, error)
        raise_for_info(info, name)  # last, since it waits for the device
        return triplets


def lanczos_svd(
    A: Tensor | tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    k: int,
    *,
    n_iter: int = 100,
    tol: float | None = None,
    block: int = 1,
    subspace: int | None = None,
    generator: Generator | None = None,
    shape: tuple[int, int] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> LowRankSVD:
    """The `k` largest singular triplets to a wanted precision, however slowly the singular values decay.

    Golub-Kahan-Lanczos with full reorthogonalisation on both sides and thick restart (Baglama and Reichel 2005). The
    host waits once a restart, to read whether all triplets have converged.

    Args:
        A: shape ``(*, m, n)``, of the dtypes of :func:`randomized_svd`; or a sparse matrix (m, n), COO or CSR, where
            torch multiplies it; or an operator: the pair ``(matvec, rmatvec)`` of functions that map X (n, columns) to
            ``A X`` (m, columns) and Y (m, columns) to ``A^H Y`` (n, columns), with `shape`, `dtype` and `device`.
        k: how many triplets, 1 to ``min(m, n)``.
        n_iter: how many times the bases may be grown to `subspace` columns.
        tol: a triplet has converged where its residual is at most ``tol * S[0]``. None: eps^(2/3), which is 2e-5 of
            float32 and 4e-11 of float64.
        block: columns that are multiplied at a time. More of them take fewer and larger products, but a larger
            `subspace` for the same result.
        subspace: columns of the bases, ``k + block`` or more. None: ``max(2 k, k + 20, k + 4 block)``. Where that is
            ``min(m, n)`` or more the thin SVD of A is computed instead.
        generator: of A's device, for the first block; None: torch's own.
        shape, dtype, device: of an operator only: ``(m, n)``, float32, complex64, float64 or complex128; default cpu.

    Returns:
        :class:`LowRankSVD`, as :func:`randomized_svd`, with ``.residuals``, measured on the triplets as they are
        returned, ``.converged`` and ``.n_iter``.

    Raises:
        ValueError, TypeError: an argument missing or out of range, or an operator that returns another shape, dtype or
            device.
        RuntimeError: A is no floating-point or complex matrix; `generator` is of another device.
        torch.linalg.LinAlgError: a matrix holds NaN or Inf.

    Warns:
        UserWarning: triplets have not converged; names how many, and the largest residual.
    """
    name = "lanczos_svd"
    matrix = _matrix_of(name, A, shape, dtype, device)
    check_rank(name, matrix.shape, k, tol=None)
    check_lanczos(name, n_iter, tol, block, subspace, k, min(matrix.shape))
    restarts = Restarts.of(matrix, k, n_iter, tol, block, subspace)
    check_generator(name, generator, matrix.device)
    with torch.no_grad():
        matrix, is_wide = _at_least_as_tall(matrix)
        found = thick_restart_lanczos(name, matrix, restarts, generator)
        U, S, V, error = _unscaled(matrix, is_wide, found.U, found.S, found.V, found.error)
    result = LowRankSVD(*(differentiable(A, U, S, V, False) if isinstance(A, Tensor) else (U, S, V)))
    result.error, result.n_iter = error, found.n_iter
    result.residuals, result.converged = found.residuals * matrix.scale[..., 0], found.converged
    return result


def _matrix_of(name, A, shape, dtype, device):
    if isinstance(A, Tensor):
        if (shape, dtype, device) != (None, None, None):
            raise ValueError(f"{name}: expected shape, dtype and device for an operator only, but A is a tensor")
        check_matrix(name, A)
        return SparseMatrix(name, A.detach()) if A.layout != torch.strided else DenseMatrix(A)
    return OperatorMatrix(name, A, shape, dtype, device)


def _at_least_as_tall(matrix):
    """The matrix or its adjoint, whichever has as many rows as columns or more; and whether it is the adjoint."""
    is_wide = matrix.shape[0] < matrix.shape[1]
    return Adjoint(matrix) if is_wide else matrix, is_wide


def _unscaled(matrix, is_wide, U, S, V, error):
    if is_wide:
        U, V = V, U
    U, V = fix_phases(polished(U), polished(V))
    scale = matrix.scale[..., 0, 0]
    return U, S * scale.unsqueeze(-1), V, error * scale
