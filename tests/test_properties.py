"""hypothesis draws matrices, batches, strides, dtypes and spectra, and looks for one that breaks a promise."""

from __future__ import annotations

import os

import checks
import matrices
import metalsvd
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.kernels

# The emulator takes its time; the target fixture is the same for every example. The usual run draws the same examples
# each time; METALSVD_EXPLORE=1000 draws that many new ones, with METALSVD_EXPLORE_SIZE=300 of up to so many rows and
# columns, for which a real device is the better one.
explore = int(os.environ.get("METALSVD_EXPLORE", "0"))
settings.register_profile(
    "device",
    deadline=None,
    derandomize=not explore,
    max_examples=explore or 40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("device")

most = int(os.environ.get("METALSVD_EXPLORE_SIZE", "36"))
SIZES = st.integers(1, 36) | st.integers(1, most)
DTYPES = st.sampled_from([torch.float32, torch.complex64])


@st.composite
def spectra(draw, k: int) -> torch.Tensor:
    """k singular values over up to 40 powers of ten, with repetitions and zeros."""
    exponents = draw(st.lists(st.floats(-20, 17), min_size=1, max_size=4))
    values = torch.tensor([10.0**exponent for exponent in exponents] + [0.0], dtype=torch.float64)
    picks = draw(st.lists(st.integers(0, len(values) - 1), min_size=k, max_size=k))
    return values[torch.tensor(picks)]


@st.composite
def batches(draw) -> torch.Tensor:
    """A batch of matrices of one shape, each with a spectrum or of a family of its own."""
    m, n, dtype = draw(SIZES), draw(SIZES), draw(DTYPES)
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    batch = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            batch.append(matrices.with_spectrum(draw(spectra(min(m, n))), m, n, generator).to(dtype))
        else:
            batch.append(matrices.make(draw(st.sampled_from(list(matrices.FAMILIES))), m, n, dtype, seed))
    return torch.stack(batch)


@st.composite
def layouts(draw, A: torch.Tensor) -> torch.Tensor:
    """The same matrices, differently in memory."""
    row_step, column_step = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    room = A.new_zeros(len(A), A.shape[1] * row_step + draw(st.integers(0, 2)), A.shape[2] * column_step)
    view = room[:, : A.shape[1] * row_step : row_step, ::column_step]
    view.copy_(A)
    if draw(st.booleans()):
        view = view.mT.contiguous().mT
    return view


DRIVERS = st.sampled_from([None, "threadgroup", "block", "qr", "cholesky", "recover", "whole"])


def assume_fits(A: torch.Tensor, driver: str | None, target: torch.device) -> None:
    """Has hypothesis draw another where the method does not take such a matrix."""
    try:
        metalsvd.plan(tuple(A.shape), A.dtype, driver=driver, device=target.type)
    except RuntimeError as refusal:
        assume("does not fit" not in str(refusal))
        raise


@given(A=batches(), driver=DRIVERS)
def test_accuracy(A, driver, target):
    assume_fits(A, driver, target)
    U, S, V = metalsvd.svd(A.to(target), driver=driver)
    for index, matrix in enumerate(A):
        checks.assert_accurate(matrix, U[index], S[index], V[index].mH)


@given(A=batches(), driver=DRIVERS)
def test_full_and_values_agree_with_thin(A, driver, target):
    assume_fits(A, driver, target)
    A = A.to(target)
    thin, full = (metalsvd.svd(A, full_matrices=full, driver=driver) for full in (False, True))
    values = metalsvd.svdvals(A, driver=driver)
    checks.assert_same_bits(values, thin.S, "values")
    checks.assert_full_extends_thin(full, thin)
    for index, matrix in enumerate(A):
        checks.assert_accurate(matrix, full.U[index], full.S[index], full.V[index].mH)


@given(data=st.data())
def test_layout_does_not_matter(data, target):
    A = data.draw(batches())
    expected = metalsvd.svd(A.to(target))
    # Copied to the device as it lies: .to() keeps dense strides, as_strided the others.
    laid_out = data.draw(layouts(A))
    room = laid_out._base if laid_out._base is not None else laid_out
    view = room.to(target).as_strided(laid_out.shape, laid_out.stride(), laid_out.storage_offset())
    actual = metalsvd.svd(view)
    for name in ("U", "S", "V"):
        checks.assert_same_bits(getattr(actual, name), getattr(expected, name), name)


@given(A=batches(), exponent=st.integers(-40, 40))
def test_powers_of_two_scale_the_singular_values_alone(A, exponent, target):
    parts = torch.view_as_real(A) if A.is_complex() else A
    nonzero = parts[parts != 0].abs()
    # Only where scaling A is exact: no entry leaves the normal numbers.
    if len(nonzero) and (nonzero.min() < 2.0**-80 or nonzero.max() > 2.0**80):
        return
    plain, scaled = metalsvd.svd(A.to(target)), metalsvd.svd((A * 2.0**exponent).to(target))
    checks.assert_same_bits(scaled.U, plain.U, "U")
    checks.assert_same_bits(scaled.V, plain.V, "V")
    checks.assert_same_bits(scaled.S, plain.S * 2.0**exponent, "S")
