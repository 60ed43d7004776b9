"""What the low-rank functions refuse, in torch.linalg's words where it has them."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def check_matrix(name: str, A: Tensor) -> None:
    """A is a matrix or a batch of them, floating point or complex."""
    if not isinstance(A, Tensor):
        raise TypeError(f"{name}: expected A to be a tensor, but got {type(A).__name__}")
    if A.dim() < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    if not (A.is_floating_point() or A.is_complex()):
        dtype = str(A.dtype).removeprefix("torch.")
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {dtype}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_tolerance(name: str, tol: float | None) -> None:
    if tol is not None and not (isinstance(tol, (int, float)) and 0 < tol < 1):
        raise ValueError(f"{name}: expected tol to be a number between 0 and 1, but got {tol!r}")


def check_rank(name: str, shape: tuple[int, ...], k: int | None, tol: float | None) -> None:
    """k or tol is there, and within its range."""
    smallest = min(shape[-2:])
    if k is None and tol is None:
        raise ValueError(f"{name}: expected k, the number of triplets, or tol, a relative error, but got neither")
    if k is not None and not (_is_int(k) and 1 <= k <= smallest):
        raise ValueError(f"{name}: expected k to be an integer from 1 to min(m, n) = {smallest}, but got {k!r}")
    _check_tolerance(name, tol)
    if smallest == 0:
        raise ValueError(f"{name}: expected A to have rows and columns, but got shape {tuple(shape)}")


def check_iteration(name: str, n_iter: int | str, oversample: int | str, method: str, tol: float | None) -> None:
    """How to iterate."""
    for argument, value in (("n_iter", n_iter), ("oversample", oversample)):
        if value != "auto" and not (_is_int(value) and value >= 0):
            raise ValueError(f"{name}: expected {argument} to be 'auto' or an integer of at least 0, but got {value!r}")
    if tol is not None and oversample != "auto":
        raise ValueError(f"{name}: expected oversample to be 'auto' beside tol, but got {oversample!r}")
    if method not in ("krylov", "power"):
        raise ValueError(f"{name}: expected method to be 'krylov' or 'power', but got {method!r}")


def check_lanczos(
    name: str, n_iter: int, tol: float | None, block: int, subspace: int | None, k: int, smallest: int
) -> None:
    """The options of lanczos_svd."""
    for argument, value in (("n_iter", n_iter), ("block", block)):
        if not (_is_int(value) and value >= 1):
            raise ValueError(f"{name}: expected {argument} to be an integer of at least 1, but got {value!r}")
    _check_tolerance(name, tol)
    least = min(k + block, smallest)
    if subspace is not None and not (_is_int(subspace) and least <= subspace):
        raise ValueError(f"{name}: expected subspace to be an integer of at least {least}, but got {subspace!r}")


def check_generator(name: str, generator: Generator | None, device: torch.device) -> None:
    """The generator is one, and of the device that the random columns are drawn on."""
    if generator is None:
        return
    if not isinstance(generator, Generator):
        raise TypeError(f"{name}: expected generator to be a torch.Generator, but got {type(generator).__name__}")
    if generator.device.type != device.type:
        raise RuntimeError(
            f"{name}: Expected a '{device.type}' device type for generator but found '{generator.device.type}'"
        )
