"""The rotations of a table of 64 columns (kernels/block_wide_solve.h), from its Gram matrix: all at once where they are
not too large together (kernels/block_wide_exponential.h), one after the other where they are."""

import ctypes

import pytest
import torch
from metal_harness import floats, zeros

COLUMNS = 64
ROWS = 256
LATE = 7  # a sweep that neither sorts nor takes large rotations at once
EPS = 2.0**-24


def turned(emulator, G, sweep):
    """J in float64, and what was found."""
    words, found, seats = floats(G.flatten().tolist()), zeros(ctypes.c_int, 1), zeros(ctypes.c_int, COLUMNS)
    emulator.run("common", "turn_table", 256, 256, [words, found, seats, sweep, ROWS])
    J = torch.eye(COLUMNS, dtype=torch.float64)
    if found[0] != 0:
        J += torch.tensor(list(words), dtype=torch.float64).view(COLUMNS, COLUMNS)
    return J, found[0], list(seats)


def gram_of(off_diagonal, lengths=None, seed=0):
    """A Gram matrix, exactly symmetric, of columns of such lengths whose cosines are of that size."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.linspace(1, 2, COLUMNS, dtype=torch.float64) if lengths is None else lengths
    cosines = off_diagonal * torch.randn(COLUMNS, COLUMNS, generator=generator, dtype=torch.float64).triu(1)
    cosines = (cosines + cosines.mT).fill_diagonal_(1)
    return (lengths[:, None] * cosines * lengths).float()


def largest_cosine(G):
    lengths = G.diagonal().clamp_min(0).sqrt()
    return ((G / lengths / lengths[:, None]).fill_diagonal_(0)).abs().max().item()


# Those of X, X^2 and X^4 that the polynomials are of; larger ones, once in passes and once at once, in part.
@pytest.mark.parametrize("sweep", [1, LATE])
@pytest.mark.parametrize("off_diagonal", [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1])
def test_rotations_of_any_size_are_orthogonal(off_diagonal, sweep, emulator):
    J, found, _ = turned(emulator, gram_of(off_diagonal), sweep)
    assert found != 0
    defect = (J.mT @ J - torch.eye(COLUMNS)).abs().max().item()
    assert defect <= 8 * EPS, f"{defect / EPS:.1f} eps"


@pytest.mark.parametrize("off_diagonal", [1e-5, 1e-4, 1e-3])
def test_what_small_rotations_leave_is_of_second_order(off_diagonal, emulator):
    G = gram_of(off_diagonal)
    J, *_ = turned(emulator, G, LATE)
    left = J.mT @ G.double() @ J
    # Squares of lengths are 2 / 63 apart or more, so that no angle is more than some 60 cosines.
    assert largest_cosine(left) <= max(5e3 * off_diagonal**2, 2e-6)


def test_a_pair_that_has_nothing_in_common_with_the_rest_is_nearly_orthogonal_at_once(emulator):
    for alpha, beta, cosine in [(1.0, 1.0, 0.9), (1.0, 1.001, 0.01), (4.0, 1e-6, 0.7), (1.0, 1.0, -1e-4)]:
        G = torch.eye(COLUMNS)
        G[3, 3], G[40, 40] = alpha, beta
        G[3, 40] = G[40, 3] = cosine * (alpha * beta) ** 0.5
        J, *_ = turned(emulator, G, LATE)
        assert largest_cosine(J.mT @ G.double() @ J) <= 0.02 * abs(cosine)
        assert (J.mT @ J - torch.eye(COLUMNS)).abs().max() <= 4 * EPS


@pytest.mark.parametrize("sweep", [1, LATE])
def test_columns_of_equal_lengths_turn_one_way(sweep, emulator):
    """Each pair is looked at from both sides, and by 45 degrees it could be turned to either."""
    G = torch.full((COLUMNS, COLUMNS), 0.01).fill_diagonal_(1)
    J, *_ = turned(emulator, G, sweep)
    assert (J.mT @ J - torch.eye(COLUMNS)).abs().max() <= 8 * EPS


@pytest.mark.parametrize("sweep", [1, LATE])
def test_rotations_of_graded_columns_keep_the_short_ones(sweep, emulator):
    """Rounding in what a column gets of others is relative to its own length, not to theirs."""
    lengths = 10 ** torch.linspace(0, -12, COLUMNS, dtype=torch.float64)
    G = gram_of(0.003, lengths)
    J, *_ = turned(emulator, G, sweep)
    left = J.mT @ G.double() @ J
    assert largest_cosine(left) <= 0.1 * largest_cosine(G.double())
    scaled = lengths[:, None] * (J.mT @ J - torch.eye(COLUMNS)) / lengths
    assert scaled.triu().abs().max() <= 8 * EPS


def test_orthogonal_columns_are_left_alone(emulator):
    G = torch.eye(COLUMNS) * torch.linspace(1, 2, COLUMNS)
    G[0, 1] = G[1, 0] = 1e-8
    J, found, _ = turned(emulator, G, LATE)
    assert found == 0
    assert torch.equal(J, torch.eye(COLUMNS, dtype=torch.float64))


def test_the_first_sweeps_sort_columns_by_their_lengths(emulator):
    lengths = torch.linspace(1, 2, COLUMNS, dtype=torch.float64)
    *_, seats = turned(emulator, gram_of(1e-3, lengths), 1)
    assert seats == list(range(COLUMNS))[::-1]
    *_, seats = turned(emulator, gram_of(1e-3, lengths), LATE)
    assert seats == list(range(COLUMNS))
