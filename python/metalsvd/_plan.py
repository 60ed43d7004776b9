"""What the planner would do, in words."""

from __future__ import annotations

import torch


def plan(
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    *,
    full_matrices: bool = False,
    compute_uv: bool = True,
    driver: str | None = None,
    device: torch.device | str = "mps",
) -> str:
    """What :func:`svd` would run for a tensor of ``shape`` ``(*, m, n)``: method, kernel and launch, in words.

    ``device`` is mps, where there need be none, or a CUDA device of this machine, whose limits count.

    Raises:
        RuntimeError: as :func:`svd` would; there is no such CUDA device.
        ValueError: another device.
    """
    device = torch.device(device)
    if device.type not in ("mps", "cuda"):
        raise ValueError(f"device must be mps or cuda, not {device}")
    cuda_device = None
    if device.type == "cuda":
        cuda_device = torch.cuda.current_device() if device.index is None else device.index
    *batch, m, n = shape
    return torch.ops.metalsvd.plan(
        torch.Size(batch).numel(), m, n, dtype, full_matrices, compute_uv, driver=driver, cuda_device=cuda_device
    )
