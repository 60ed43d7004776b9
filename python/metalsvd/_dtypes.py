"""Half types, and what is computed in their stead where there is no arithmetic of theirs."""

from __future__ import annotations

import torch

HALF_DTYPES = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64}


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that matrices of ``dtype`` are computed with in: single precision for a half type, else itself."""
    return HALF_DTYPES.get(dtype, dtype)
