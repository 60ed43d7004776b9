"""Singular value decomposition for PyTorch on Apple GPUs.

Importing this package makes ``torch.linalg.svd`` and everything built on it run our Metal kernels on mps tensors
(``METALSVD_ROUTE=0`` opts out). ``metalsvd.svd`` and ``torch.ops.metalsvd.svd`` call them directly.
"""

import os

from . import _load  # noqa: F401  isort: skip  (the operators must exist before anything is registered for them)
from . import _autograd, _batching, _fake, _log, emulator  # noqa: F401  (what importing them registers)
from ._dispatch import set_fallback
from ._errors import error_checks
from ._route import is_patched, patch_torch, unpatch_torch
from .lowrank import LowRankSVD, lanczos_svd, pca, randomized_svd
from .ops import SVD, SVDInfo, plan, svd, svd_ex, svdvals

__version__ = "0.1.0"

__all__ = [
    "SVD",
    "LowRankSVD",
    "SVDInfo",
    "emulator",
    "error_checks",
    "is_patched",
    "lanczos_svd",
    "patch_torch",
    "pca",
    "plan",
    "randomized_svd",
    "set_fallback",
    "svd",
    "svd_ex",
    "svdvals",
    "unpatch_torch",
]

_log.listen_as_environment_says()
if os.environ.get("METALSVD_EMULATE") == "1":
    emulator.enable()
if os.environ.get("METALSVD_ROUTE") != "0":
    patch_torch()
