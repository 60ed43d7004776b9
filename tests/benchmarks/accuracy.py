"""How accurate each method is on each family of matrices, beside LAPACK: ``python tests/benchmarks/accuracy.py``.

For each method and family the four numbers of tests/checks.py, ours / LAPACK's (gesdd) in the same precision, and the
largest ratio of ours to its bound. On mps, the emulated Apple GPU where there is no real one, or with --device cuda.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import checks
import matrices
import metalsvd
import torch
from metalsvd._accuracy import Accuracy, accuracy

# A shape that is typical of each method: drivers are forced.
SHAPES = {"thread": (4, 3), "simdgroup": (20, 8), "threadgroup": (40, 33), "block": (60, 50), "qr": (300, 6)}
SHAPES["recover"] = (60, 50)


def measure(
    driver: str, shape: tuple[int, int], family: str, dtype: torch.dtype, device: str
) -> tuple[Accuracy, Accuracy, Accuracy]:
    """Ours, LAPACK's, and the bounds."""
    A = matrices.make(family, *shape, dtype)
    U, S, V = (factor.cpu() for factor in metalsvd.svd(A.to(device), driver=driver))
    lapack = checks.lapack_accuracy(A)
    return accuracy(A, U, S, V.mH), lapack, checks.accuracy_bounds(A, lapack)


def worst_ratio(ours: Accuracy, bounds: Accuracy) -> float:
    return max(number / bound for number, bound in zip(ours, bounds, strict=True))


def main(arguments: list[str] | None = None) -> float:
    """Prints the table and returns the largest ratio of a number to its bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drivers", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--families", nargs="+", default=list(matrices.FAMILIES), choices=matrices.FAMILIES)
    parser.add_argument("--dtype", default="float32", choices=["float32", "complex64"])
    parser.add_argument("--device", default="mps", choices=["mps", "cuda"])
    options = parser.parse_args(arguments)
    if options.device == "mps" and not torch.backends.mps.is_built():
        metalsvd.emulator.enable()
    dtype = getattr(torch, options.dtype)
    worst = 0.0
    for driver in options.drivers:
        print(f"\n{driver} {SHAPES[driver][0]}x{SHAPES[driver][1]} {options.dtype}, ours/LAPACK")
        print(f"{'':22}" + "".join(f"{name:>20}" for name in Accuracy._fields) + "  ours/bound")
        for family in options.families:
            ours, lapack, bounds = measure(driver, SHAPES[driver], family, dtype, options.device)
            ratio = worst_ratio(ours, bounds)
            worst = max(worst, ratio)
            pairs = zip(ours, lapack, strict=True)
            print(f"{family:22}" + "".join(f"{f'{x:.1e}/{y:.1e}':>20}" for x, y in pairs) + f"  {ratio:10.2f}")
    print(f"\nlargest ratio of a number to its bound: {worst:.2f}")
    return worst


if __name__ == "__main__":
    main()
