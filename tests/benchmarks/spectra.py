"""How long matrices take whose spectrum is not a random one's.  python tests/benchmarks/spectra.py [SHAPE ...]

Prints, for each shape (BATCHxMxN or MxN) and spectrum, the median time of ``svd_ex``, and behind it the largest of
residual and orthogonality in units of eps sqrt(max(m, n)), of which README.md promises 4; then, of one matrix, the time
of torch's driver gesvda, which does not look at the spectrum. Needs a CUDA device.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import metalsvd
import torch
from torch import Tensor

SHAPES = ["64x256x256", "512x512", "1024x1024", "2048x2048", "4096x4096"]
CALLS = 5

# Of k values i = 0 .. 1, in float64.
SPECTRA: dict[str, Callable[[Tensor], Tensor]] = {
    "four decades": lambda i: 10 ** (-4 * i),
    "eight decades": lambda i: 10 ** (-8 * i),
    "exact rank k / 4": lambda i: (i < 0.25).double(),
    "low rank + noise": lambda i: (i < 0.05) + 1e-2 * (1 - 0.5 * i),
    "kernel + ridge": lambda i: 10 ** (-8 * i) + 1e-3,
    "two values": lambda i: torch.where(i < 0.1, 1.0, 1e-3).double(),
    "equal to rounding": lambda i: 1 + 1e-7 * len(i) * i,
}


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, device="cuda", generator=torch.Generator("cuda").manual_seed(0))


def with_spectrum(shape: list[int], spectrum: Callable[[Tensor], Tensor]) -> Tensor:
    *batch, m, n = shape
    k = min(m, n)
    sigma = spectrum(torch.linspace(0, 1, k, dtype=torch.float64, device="cuda"))
    U, V = (torch.linalg.qr(random(*batch, rows, k))[0] for rows in (m, n))
    return ((U * sigma) @ V.mT).float()


def milliseconds(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(CALLS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def worst_error(A: Tensor) -> float:
    """Residual or orthogonality of the factors, in units of eps sqrt(max(m, n))."""
    factors = metalsvd.svd_ex(A)
    A, U, S, Vh = (x.double() for x in (A, factors.U, factors.S, factors.Vh))
    residual = ((A - (U * S[..., None, :]) @ Vh).flatten(-2).norm(dim=-1) / A.flatten(-2).norm(dim=-1)).max()
    one = torch.eye(S.shape[-1], dtype=torch.float64, device=A.device)
    orthogonality = max((X - one).abs().max() for X in (U.mT @ U, Vh @ Vh.mT))
    return float(max(residual, orthogonality)) / (2**-24 * max(A.shape[-2:]) ** 0.5)


def main() -> None:
    for shape in sys.argv[1:] or SHAPES:
        sizes = [int(size) for size in shape.split("x")]
        for name, spectrum in {"random": None, **SPECTRA}.items():
            A = random(*sizes).float() if spectrum is None else with_spectrum(sizes, spectrum)
            words = f"{milliseconds(lambda A=A: metalsvd.svd_ex(A)):9.2f} ms  {worst_error(A):4.1f}"
            if A.ndim == 2:
                try:
                    time = milliseconds(lambda A=A: torch.linalg.svd(A, full_matrices=False, driver="gesvda"))
                    words += f"  gesvda {time:7.2f} ms"
                except torch.linalg.LinAlgError:
                    words += "  gesvda failed"
            print(f"{shape:11} {name:17} {words}", flush=True)


if __name__ == "__main__":
    main()
