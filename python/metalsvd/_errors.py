"""The operator ``metalsvd::svd``: ``svd_ex`` and, at the end, one look at what happened to each matrix.

In Python because only Python code can raise ``torch.linalg.LinAlgError``: a library of the stable ABI can throw nothing
that torch would turn into it.
"""

from __future__ import annotations

import torch

from . import _dispatch

_enabled = True

_REASONS = {
    1: "The algorithm failed to converge because the input matrix contained non-finite values.",
    2: "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated singular "
    "values (error code: 2).",
}


class error_checks:
    """Switches the reading of errors on or off: at once, and back at the end where used as a context manager.

    While it is off, ``svd`` and ``torch.linalg.svd`` on mps never wait for the device, as ``svd_ex``, and a matrix that
    is not finite has NaN factors instead of raising. The setting is one for the whole process.

    >>> with metalsvd.error_checks(False):  # doctest: +SKIP
    ...     U, S, Vh = torch.linalg.svd(A)
    """

    def __init__(self, enabled: bool) -> None:
        global _enabled
        self._before = _enabled
        _enabled = bool(enabled)

    def __enter__(self) -> error_checks:
        return self

    def __exit__(self, *exception: object) -> None:
        global _enabled
        _enabled = self._before


def is_enabled() -> bool:
    """Whether errors are read."""
    return _enabled


def raise_for_info(info: torch.Tensor, name: str = "linalg.svd") -> None:
    """Raises torch.linalg.LinAlgError for the first matrix whose ``info`` (int32, shape ``(*)``) is not zero.

    Waits for the device, unless ``error_checks(False)``.
    """
    # Of one matrix info needs no reduction, which would be one more launch.
    if not _enabled or not (info if info.numel() == 1 else info.any()):
        return
    flat = info.flatten().tolist()
    element = next(index for index, code in enumerate(flat) if code)
    where = f"(Batch element {element}): " if info.dim() else ""
    raise torch.linalg.LinAlgError(f"{name}: {where}{_REASONS[flat[element]]}")


@torch.library.impl("metalsvd::svd", "CompositeExplicitAutograd")
def _svd(
    A: torch.Tensor, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    U, S, Vh, info = _dispatch.svd_ex("metalsvd.svd", A, full_matrices, compute_uv, driver=driver)
    raise_for_info(info)
    return U, S, Vh
