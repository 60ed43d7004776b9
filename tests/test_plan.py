"""The planner, which needs no device: what it chooses, and what it refuses and why."""

from __future__ import annotations

import re

import metalsvd
import pytest
import torch


def threads_of(words: str) -> int:
    return int(re.search(r"of (\d+) threads", words)[1])


@pytest.mark.parametrize(
    ("shape", "dtype", "kernel"),
    [
        ((63, 63), torch.float32, "svd_threadgroup_f32"),
        ((64, 64), torch.float32, "svd_threadgroup_device_right_f32"),
        ((44, 44), torch.complex64, "svd_threadgroup_c64"),
        ((45, 45), torch.complex64, "svd_threadgroup_device_right_c64"),
        ((2715, 3), torch.float32, "svd_threadgroup_f32"),
        ((2716, 3), torch.float32, "svd_threadgroup_device_right_f32"),
    ],
)
def test_right_vectors_are_staged_while_they_fit(shape, dtype, kernel):
    assert f"kernel {kernel}," in metalsvd.plan(shape, dtype, driver="threadgroup")


def test_without_vectors_nothing_stands_beside_the_matrix():
    assert "kernel svd_threadgroup_f32," in metalsvd.plan((89, 89), compute_uv=False)


@pytest.mark.parametrize(
    ("fits", "too_large", "dtype"),
    [
        ((89, 89), (90, 90), torch.float32),
        ((63, 63), (64, 64), torch.complex64),
        ((2718, 3), (2719, 3), torch.float32),
        ((3, 2718), (3, 2719), torch.float32),
    ],
)
def test_a_matrix_too_large_names_the_limit(fits, too_large, dtype):
    metalsvd.plan(fits, dtype, driver="threadgroup")
    with pytest.raises(RuntimeError, match=rf"{too_large[0]}x{too_large[1]}.*does not fit.*of the 32640"):
        metalsvd.plan(too_large, dtype, driver="threadgroup")


@pytest.mark.parametrize("shape", [(50, 20), (5000, 20)])
def test_wide_is_planned_as_its_transpose(shape):
    tall, wide = metalsvd.plan(shape), metalsvd.plan(shape[::-1])
    assert wide == tall + ", on the conjugate transpose"


def is_reduced(shape, dtype=torch.float32, **options):
    return metalsvd.plan(shape, dtype, **options).startswith("tall QR of")


@pytest.mark.parametrize(
    ("other", "reduced", "dtype"),
    [
        ((512, 3), (513, 3), torch.float32),
        ((3, 512), (3, 513), torch.complex64),
        ((134, 60), (135, 60), torch.float32),  # from here on the matrix does not fit one threadgroup
        ((44, 91), (44, 92), torch.complex64),
    ],
)
def test_the_tall_qr_stands_in_front_of_tall_matrices(other, reduced, dtype):
    assert not is_reduced(other, dtype)
    assert is_reduced(reduced, dtype)
    assert is_reduced(other, dtype, driver="qr")


def test_the_levels_of_the_tall_qr():
    """Chunks of 512 rows or what the tile holds; above, as many R's of `columns` rows each."""
    for shape, levels in {(512, 4): "1", (513, 4): "2 + 1", (65536, 4): "128 + 1", (65537, 4): "129 + 2 + 1"}.items():
        words = metalsvd.plan(shape, driver="qr")
        assert words.startswith(f"tall QR of {levels} threadgroups of 128 threads a matrix, then threadgroup: "), words


@pytest.mark.parametrize(
    ("fits", "too_many", "dtype"),
    [((1000, 63), (1000, 64), torch.float32), ((1000, 45), (1000, 46), torch.complex64)],
)
def test_columns_of_the_tall_qr(fits, too_many, dtype):
    """A chunk needs two rows a column in the tile."""
    assert is_reduced(fits, dtype)
    assert is_reduced(fits, dtype, compute_uv=False)
    with pytest.raises(RuntimeError, match=rf"driver 'qr' cannot take.*1000x{too_many[1]}.*too many columns"):
        metalsvd.plan(too_many, dtype, driver="qr")


def test_batches_are_threadgroups():
    assert "910 threadgroups of" in metalsvd.plan((7, 130, 3, 3))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (33, 33), (64, 64), (89, 89), (2718, 3), (1, 2719)])
def test_threads_are_whole_simdgroups_within_the_limit(shape):
    threads = threads_of(metalsvd.plan(shape))
    assert threads % 32 == 0
    assert 32 <= threads <= 1024


def test_driver_can_be_forced():
    assert metalsvd.plan((5, 5), driver="threadgroup") == metalsvd.plan((5, 5))


@pytest.mark.parametrize("driver", ["thread", "simdgroup", "block"])
def test_a_method_to_come_says_so(driver):
    with pytest.raises(RuntimeError, match=f"driver '{driver}' has no kernel in this version"):
        metalsvd.plan((5, 5), driver=driver)


def test_unknown_driver():
    with pytest.raises(RuntimeError, match="unknown svd driver gesvd: `driver` only accepts one of None, thread"):
        metalsvd.plan((5, 5), driver="gesvd")


def test_bad_arguments():
    with pytest.raises(RuntimeError, match="expected positive sizes, but got batch 1, m 0, n 3"):
        metalsvd.plan((0, 3))
    with pytest.raises(
        RuntimeError, match="on mps A must be of dtype float32, float16, bfloat16 or complex64, but got Double"
    ):
        metalsvd.plan((3, 3), torch.float64)
