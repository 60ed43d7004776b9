"""Named matrices to test a singular value decomposition with: the hard spectra, not only random entries.

Every family is a function ``(m, n, generator) -> float64 matrix (m, n)``; ``make`` rounds it to the dtype wanted (for a
complex one it multiplies rows and columns by random phases, which leaves the singular values as they are). Sources:
LAPACK's test generator xLATMS (modes 1 to 6), MAGMA's magma_generate, Higham's "Accuracy and Stability of Numerical
Algorithms", chapter 28, and the matrices of closed bug reports.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor

EPS = 2.0**-24  # unit roundoff of float32

FAMILIES: dict[str, Callable[[int, int, Generator], Tensor]] = {}


def _family(make: Callable[[int, int, Generator], Tensor]) -> Callable[[int, int, Generator], Tensor]:
    FAMILIES[make.__name__] = make
    return make


def make(name: str, m: int, n: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """The matrix of family ``name``, on the CPU."""
    generator = Generator().manual_seed(seed)
    A = FAMILIES[name](m, n, generator)
    if dtype.is_complex:
        A = random_phases(m, generator)[:, None] * A * random_phases(n, generator)
    return A.to(dtype)


def batch_of(names: Iterable[str], shape: tuple[int, int], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """One matrix of each family, on the CPU."""
    return torch.stack([make(name, *shape, dtype, seed) for name in names])


def random(m: int, n: int, generator: Generator) -> Tensor:
    return torch.randn(m, n, dtype=torch.float64, generator=generator)


def random_phases(count: int, generator: Generator) -> Tensor:
    angles = 2 * math.pi * torch.rand(count, dtype=torch.float64, generator=generator)
    return torch.polar(torch.ones_like(angles), angles)


def orthonormal(m: int, k: int, generator: Generator) -> Tensor:
    return torch.linalg.qr(random(m, k, generator))[0]


def with_spectrum(sigma: Tensor, m: int, n: int, generator: Generator) -> Tensor:
    """A matrix with these singular values and random singular vectors."""
    k = min(m, n)
    return orthonormal(m, k, generator) * sigma @ orthonormal(n, k, generator).T


def decades(count: int, depth: float) -> Tensor:
    """1 down to 10^-depth, evenly in the logarithm."""
    return torch.logspace(0, -depth, count, dtype=torch.float64)


def column_graded(m: int, n: int, generator: Generator, depth: float = 12.0) -> Tensor:
    """B D with a well-conditioned B (condition 10) and D over `depth` decades in random order."""
    k = min(m, n)
    B = with_spectrum(torch.linspace(1, 0.1, k, dtype=torch.float64), m, n, generator)
    return B * decades(n, depth)[torch.randperm(n, generator=generator)]


@_family
def normal(m, n, generator):
    return random(m, n, generator)


@_family
def uniform(m, n, generator):
    return torch.rand(m, n, dtype=torch.float64, generator=generator)


# xLATMS modes 1 to 6, condition 1/eps


@_family
def one_large(m, n, generator):
    sigma = torch.full((min(m, n),), EPS, dtype=torch.float64)
    sigma[0] = 1
    return with_spectrum(sigma, m, n, generator)


@_family
def one_small(m, n, generator):
    sigma = torch.ones(min(m, n), dtype=torch.float64)
    sigma[-1] = EPS
    return with_spectrum(sigma, m, n, generator)


@_family
def geometric(m, n, generator):
    return with_spectrum(decades(min(m, n), -math.log10(EPS)), m, n, generator)


@_family
def arithmetic(m, n, generator):
    return with_spectrum(torch.linspace(1, EPS, min(m, n), dtype=torch.float64), m, n, generator)


@_family
def log_random(m, n, generator):
    exponents = torch.rand(min(m, n), dtype=torch.float64, generator=generator)
    return with_spectrum(EPS**exponents, m, n, generator)


@_family
def random_spectrum(m, n, generator):
    sigma = torch.rand(min(m, n), dtype=torch.float64, generator=generator)
    return with_spectrum(sigma, m, n, generator)


# Clusters and repetitions


@_family
def clusters(m, n, generator):
    k = min(m, n)
    sigma = torch.where(torch.arange(k) < k // 2, 1.0, 1e-3).double()
    return with_spectrum(sigma * (1 + 1e-6 * torch.rand(k, dtype=torch.float64, generator=generator)), m, n, generator)


@_family
def pairs_one_ulp_apart(m, n, generator):
    k = min(m, n)
    steps = torch.arange(k) // 2
    sigma = (1.0 / (1 + steps)).double() * (1 + 2 * EPS * (torch.arange(k) % 2))
    return with_spectrum(sigma, m, n, generator)


@_family
def orthogonal(m, n, generator):
    return with_spectrum(torch.ones(min(m, n), dtype=torch.float64), m, n, generator)


@_family
def identity(m, n, generator):
    return torch.eye(m, n, dtype=torch.float64)


@_family
def permutation(m, n, generator):
    return torch.eye(m, n, dtype=torch.float64)[torch.randperm(m, generator=generator)]


@_family
def ones(m, n, generator):
    return torch.ones(m, n, dtype=torch.float64)


# Rank-deficient


@_family
def zero(m, n, generator):
    return torch.zeros(m, n, dtype=torch.float64)


@_family
def rank_one(m, n, generator):
    return random(m, 1, generator) @ random(1, n, generator)


@_family
def half_rank(m, n, generator):
    r = max(1, min(m, n) // 2)
    return random(m, r, generator) @ random(r, n, generator)


@_family
def exact_half_rank(m, n, generator):
    """Small integers: the product is exact in float32, so the rank is exactly half."""
    r = max(1, min(m, n) // 2)
    left = torch.randint(-3, 4, (m, r), generator=generator)
    return (left @ torch.randint(-3, 4, (r, n), generator=generator)).double()


@_family
def zero_columns(m, n, generator):
    A = random(m, n, generator)
    A[:, ::2] = 0
    return A


@_family
def zero_rows(m, n, generator):
    A = random(m, n, generator)
    A[::2] = 0
    return A


@_family
def duplicate_columns(m, n, generator):
    return random(m, n, generator)[:, torch.arange(n) // 3 * 3]


@_family
def repeated_rows(m, n, generator):
    """A picture whose last rows were repeated to pad it: columns once rotated to where their squares underflow."""
    return torch.rand(m, n, dtype=torch.float64, generator=generator)[torch.arange(m).clamp(max=(3 * m) // 4)]


@_family
def single_entry(m, n, generator):
    A = torch.zeros(m, n, dtype=torch.float64)
    A[m // 2, n // 2] = -3
    return A


# Graded


@_family
def column_graded_12(m, n, generator):
    return column_graded(m, n, generator)


@_family
def row_graded_12(m, n, generator):
    return column_graded(n, m, generator).T


@_family
def both_graded(m, n, generator):
    return decades(m, 6)[:, None] * random(m, n, generator) * decades(n, 6)


@_family
def scaled_clusters(m, n, generator):
    """MAGMA's cluster spectrum with column scaling."""
    return clusters(m, n, generator) * decades(n, 4)[torch.randperm(n, generator=generator)]


# Classical


@_family
def hilbert(m, n, generator):
    return 1 / (torch.arange(m)[:, None] + torch.arange(n) + 1).double()


@_family
def kahan(m, n, generator):
    c = math.cos(1.2)
    upper = torch.triu(torch.full((m, n), -c, dtype=torch.float64), 1) + torch.eye(m, n, dtype=torch.float64)
    return (math.sin(1.2) ** torch.arange(m).double())[:, None] * upper


@_family
def laeuchli(m, n, generator):
    A = torch.zeros(m, n, dtype=torch.float64)
    A[0] = 1
    A[1:].fill_diagonal_(2.0**-12)
    return A


@_family
def vandermonde(m, n, generator):
    return torch.linspace(-1, 1, m, dtype=torch.float64)[:, None] ** torch.arange(n)


@_family
def godunov(m, n, generator):
    """Upper bidiagonal with a tiny last singular value hidden behind entries of one size."""
    A = torch.zeros(m, n, dtype=torch.float64)
    A.fill_diagonal_(1)
    A[:, 1:].fill_diagonal_(10)
    return A


# Scales


@_family
def huge(m, n, generator):
    return random(m, n, generator) * 2.0**120


@_family
def tiny(m, n, generator):
    return random(m, n, generator) * 2.0**-118


@_family
def mixed_scales(m, n, generator):
    return random(m, n, generator) * 2.0 ** torch.randint(-30, 30, (m, n), generator=generator)
