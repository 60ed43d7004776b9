"""What torch's CUDA drivers and ours make of matrices that are not random.  python tests/benchmarks/hard_spectra.py

Prints, for 64x64 float32 matrices of some families of tests/matrices.py, residual, orthogonality and sigma error of
each driver (tests/checks.py says what they are), or why it failed. Needs a CUDA device.
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import matrices
import metalsvd
import torch
from metalsvd._accuracy import accuracy

FAMILIES = ["normal", "geometric", "log_random", "half_rank", "zero_columns", "column_graded_12", "kahan"]
SEEDS = 4


def factors(A: torch.Tensor, driver: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if driver == "metalsvd":
        U, S, V = metalsvd.svd(A)
        return U, S, V.mH
    return torch.linalg.svd(A, full_matrices=False, driver=driver)


def main() -> None:
    for family in FAMILIES:
        A = torch.stack([matrices.make(family, 64, 64, seed=seed) for seed in range(SEEDS)])
        for driver in ("metalsvd", "gesvda", "gesvdj", "gesvd"):
            try:
                U, S, Vh = (factor.cpu() for factor in factors(A.cuda(), driver))
                each = [accuracy(A[index], U[index], S[index], Vh[index]) for index in range(SEEDS)]
                words = "  ".join(
                    f"{name} {max(getattr(numbers, name) for numbers in each):.1e}" for name in each[0]._fields
                )
            except torch.linalg.LinAlgError as error:
                words = f"failed: {str(error)[:90]}"
            print(f"{family:18} {driver:10} {words}", flush=True)


if __name__ == "__main__":
    main()
