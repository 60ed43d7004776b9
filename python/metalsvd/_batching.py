"""torch.vmap over the operators: a vmapped dimension is one more batch dimension, in front."""

from __future__ import annotations

import torch


def _register(name: str) -> None:
    operator = getattr(torch.ops.metalsvd, name)

    @torch.library.register_vmap(f"metalsvd::{name}")
    def _(info, in_dims, A, full_matrices=False, compute_uv=True, *, driver=None):
        A = A.movedim(in_dims[0], 0)
        if A.dim() < 3:
            raise RuntimeError("linalg.svd: The input tensor A must have at least 2 dimensions.")
        outputs = operator(A, full_matrices, compute_uv, driver=driver)
        if compute_uv:
            return outputs, (0,) * len(outputs)
        # Without vectors U and Vh are one empty tensor each, whatever the batch.
        return outputs, tuple(None if i in (0, 2) else 0 for i in range(len(outputs)))


_register("svd")
_register("svd_ex")
