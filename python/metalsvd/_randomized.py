"""The steps of randomized_svd, for a matrix with no more columns than rows: all results are those of A / scale."""

from __future__ import annotations

import warnings

from torch import Tensor

from ._golub_kahan import GolubKahan
from ._products import random_normal
from ._residual import PROBES, Residual

_FIRST_BLOCK = 16  # columns of the first block where the rank is found by tolerance; later ones double the basis


def columns_for(k: int, oversample: int | str, smallest: int) -> int:
    """How many random columns there are for k triplets."""
    if oversample == "auto":
        return min(-(-(k + max(8, k // 10)) // 8) * 8, smallest)
    return min(k + oversample, smallest)


def of_rank(matrix, k, columns, steps, method, generator):
    """U, S, V, the estimate of their error and info, for A / scale."""
    omega = random_normal((matrix.shape[1], columns + PROBES), matrix, generator)
    Y = matrix.times(omega)
    residual = Residual(matrix, omega[:, columns:], Y[..., columns:])
    bases = GolubKahan(matrix, generator)
    if _is_as_good_as_whole(matrix, bases, columns, steps, method):
        bases.take_whole()
    else:
        _add_block(bases, Y[..., :columns], steps, method)
    X, S, W, info = bases.ritz()
    return bases.Q @ X[..., :k], S[..., :k], bases.P @ W[..., :k], residual.errors(bases, X, S, W)[..., k - 1], info


def to_tolerance(name, matrix, k, tol, steps, method, generator):
    """The same for the smallest rank up to k whose estimated error is at most tol |A|_F."""
    most = min(matrix.shape) if k is None else k
    G = random_normal((matrix.shape[1], PROBES), matrix, generator)
    residual = Residual(matrix, G, matrix.times(G))
    bases = GolubKahan(matrix, generator)
    columns = _FIRST_BLOCK
    while True:
        if _is_as_good_as_whole(matrix, bases, columns, steps, method):
            bases.take_whole()
        else:
            _add_block(bases, matrix.times(random_normal((matrix.shape[1], columns), matrix, generator)), steps, method)
        X, S, W, info = bases.ritz()
        errors = residual.errors(bases, X, S, W)[..., :most]
        # Written so that a matrix that is not finite asks for no more blocks.
        is_open = errors > tol * residual.norm.unsqueeze(-1)
        rank = int(is_open.sum(-1).max()) + 1 if is_open.numel() else 1
        if rank <= errors.shape[-1]:
            break
        if bases.width == min(matrix.shape) or bases.width >= columns_for(most, "auto", min(matrix.shape)):
            rank = errors.shape[-1]
            reached = (errors[..., -1] / residual.norm).max()
            warnings.warn(
                f"{name}: tol={tol} was not reached with {rank} triplets, but an error of {reached:.2g} |A|_F",
                UserWarning,
                stacklevel=5,
            )
            break
        columns = max(columns, bases.width)
    return bases.Q @ X[..., :rank], S[..., :rank], bases.P @ W[..., :rank], errors[..., rank - 1], info


def _is_as_good_as_whole(matrix, bases: GolubKahan, columns: int, steps: int, method: str) -> bool:
    """Whether bases with one more block would hold half of all directions: then all of them cost no more."""
    width = bases.width + columns * (steps + 1 if method == "krylov" else 1)
    return 2 * width > min(matrix.shape)


def _add_block(bases: GolubKahan, Y: Tensor, steps: int, method: str) -> None:
    """Extends the bases by what `steps` steps make of Y = A Omega, each of a product with A^H and one with A."""
    for _ in range(steps):
        Y = bases.matrix.times(bases.extend(Y)) if method == "krylov" else bases.iterated(Y)
    bases.extend(Y)
