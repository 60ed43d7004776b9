"""What metalsvd tells through :mod:`logging`, under the name ``metalsvd``: nothing unless somebody listens.

``METALSVD_LOG=info`` or ``debug`` writes it to standard error. At ``info`` a line a call: who called, sizes, dtype,
device, job, and the plan in the words of :func:`metalsvd.plan`. At ``debug``, on the emulated GPU, how many dispatches
the call made as well.

Logged are metalsvd.svd, svdvals and svd_ex, torch.ops.metalsvd.svd, and torch.linalg.svd with all that is built on it
where it is routed to metalsvd. Not logged are calls of torch.ops.metalsvd.svd_ex itself, which go to C++ directly; in
graphs of torch.compile metalsvd.svd_ex is one of these.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings

import torch
from torch import Tensor

from ._plan import plan

LOGGER = logging.getLogger("metalsvd")
LOGGER.addHandler(logging.NullHandler())

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}


def listen_as_environment_says() -> None:
    """Writes to standard error what ``METALSVD_LOG`` asks for."""
    wanted = os.environ.get("METALSVD_LOG", "")
    if not wanted:
        return
    if wanted.lower() not in _LEVELS:
        warnings.warn(f"METALSVD_LOG: expected debug or info, but got {wanted!r}", RuntimeWarning, stacklevel=2)
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s: %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(_LEVELS[wanted.lower()])


def plan_of(A: Tensor, full_matrices: bool, compute_uv: bool, driver: str | None) -> str:
    """What :func:`metalsvd.plan` says of svd of A (*, m, n): on its device if that is CUDA, otherwise on mps.

    Raises:
        RuntimeError: the planner refuses A.
    """
    options = {"full_matrices": full_matrices, "compute_uv": compute_uv, "driver": driver}
    return plan(A.shape, A.dtype, device=A.device if A.is_cuda else "mps", **options)


def log_plan(caller: str, A: Tensor, full_matrices: bool, compute_uv: bool, driver: str | None) -> None:
    job = "values" if not compute_uv else "full" if full_matrices else "thin"
    dtype = str(A.dtype).removeprefix("torch.")
    words = _in_words(A, full_matrices, compute_uv, driver)
    LOGGER.info("%s: %s %s on %s, %s: %s", caller, "x".join(map(str, A.shape)), dtype, A.device, job, words)


def _in_words(A: Tensor, full_matrices: bool, compute_uv: bool, driver: str | None) -> str:
    if A.dim() < 2:
        return "no matrix"
    if A.numel() == 0:
        return "nothing to compute"
    if A.is_cpu:
        return "LAPACK, through torch"
    if A.is_cuda and A.dtype in (torch.float64, torch.complex128):
        return "torch's own"
    try:
        return plan_of(A, full_matrices, compute_uv, driver)
    except RuntimeError as error:
        return f"refused: {error}"
