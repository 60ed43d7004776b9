"""The planner, which needs no device: what it chooses, and what it refuses and why."""

from __future__ import annotations

import re

import metalsvd
import pytest
import torch
from metalsvd._devices import is_built_for


def threads_of(words: str) -> int:
    return int(re.search(r"of (\d+) threads", words)[1])


@pytest.mark.parametrize(
    ("shape", "dtype", "kernel"),
    [
        ((20, 20), torch.float32, "svd_threadgroup_4k_f32"),
        ((22, 22), torch.float32, "svd_threadgroup_9k_f32"),
        ((32, 32), torch.float32, "svd_threadgroup_9k_f32"),
        ((43, 43), torch.bfloat16, "svd_threadgroup_18k_bf16"),
        ((63, 63), torch.float32, "svd_threadgroup_32k_f32"),
        ((64, 64), torch.float32, "svd_threadgroup_split_f32"),
        ((44, 44), torch.complex64, "svd_threadgroup_32k_c64"),
        ((45, 45), torch.complex64, "svd_threadgroup_split_c64"),
        ((2713, 3), torch.float32, "svd_threadgroup_32k_f32"),
        ((2714, 3), torch.float32, "svd_threadgroup_split_f32"),
    ],
)
def test_both_factors_of_the_qr_are_staged_while_they_fit(shape, dtype, kernel):
    assert f"kernel {kernel}," in metalsvd.plan(shape, dtype, driver="threadgroup")


def test_singular_values_come_from_the_same_kernel_with_and_without_vectors():
    for n in (63, 64):
        assert metalsvd.plan((n, n), compute_uv=False) == metalsvd.plan((n, n))


@pytest.mark.parametrize(
    ("fits", "too_large", "dtype"),
    [
        ((88, 88), (89, 89), torch.float32),
        ((63, 63), (64, 64), torch.complex64),
        ((2716, 3), (2717, 3), torch.float32),
        ((3, 2716), (3, 2717), torch.float32),
    ],
)
def test_a_matrix_too_large_for_a_threadgroup_names_the_limit(fits, too_large, dtype):
    metalsvd.plan(fits, dtype, driver="threadgroup")
    assert not metalsvd.plan(too_large, dtype).startswith("threadgroup: ")
    with pytest.raises(RuntimeError, match=rf"{too_large[0]}x{too_large[1]}.*does not fit.*of the 32640"):
        metalsvd.plan(too_large, dtype, driver="threadgroup")


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((1, 1), "2 blocks of 1 columns, 1 rounds"),
        ((40, 7), "2 blocks of 4 columns, 1 rounds"),
        ((32, 32), "2 blocks of 16 columns, 1 rounds"),
        ((33, 33), "3 blocks of 11 columns, 3 rounds"),
        ((64, 64), "4 blocks of 16 columns, 3 rounds"),
        ((65, 65), "3 blocks of 22 columns, 3 rounds"),
        ((128, 128), "2 tables of 64 columns, 3 rounds"),
        ((129, 129), "3 tables of 64 columns, 5 rounds"),
        ((512, 512), "8 tables of 64 columns, 9 rounds"),
        ((4096, 11008), "64 tables of 64 columns, 65 rounds"),
    ],
    ids=str,
)
def test_blocks_are_few_and_padded_little(shape, blocks):
    assert f"block: {blocks} a sweep" in metalsvd.plan(shape, driver="block")


def test_complex_blocks_have_half_the_columns():
    assert "block: 7 blocks of 15 columns, 7 rounds" in metalsvd.plan((100, 100), torch.complex64, driver="block")


def test_block_cuts_rows_into_chunks():
    assert "kernels block_*_bf16, 3 threadgroups of 256" in metalsvd.plan((3, 128, 20), torch.bfloat16, driver="block")
    assert "kernels block_*_c64, 6 threadgroups of 256" in metalsvd.plan((3, 129, 20), torch.complex64, driver="block")
    # Tables of 64 columns: two of 2 chunks; 8 of 4; 32 of 8, and 64 of 4, of more rows.
    for shape, threadgroups in [
        ((129, 90), 2 * 2),
        ((512, 512), 8 * 4),
        ((2048, 2048), 32 * 8),
        ((4096, 4096), 64 * 4),
    ]:
        assert f"kernels block_*_f32, {threadgroups} threadgroups of 256" in metalsvd.plan(shape, driver="block")


@pytest.mark.parametrize("shape", [(50, 20), (5000, 20)])
def test_wide_is_planned_as_its_transpose(shape):
    tall, wide = metalsvd.plan(shape), metalsvd.plan(shape[::-1])
    assert wide == tall + ", on the conjugate transpose"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((7, 130, 33, 33), "304 threadgroups of 128 threads"),  # 3 matrices of 17 pairs, 16 a SIMD-group
        ((383, 33, 33), "192 threadgroups of 96 threads"),
        ((5, 33, 33), "5 threadgroups of 64 threads"),
        ((7, 130, 9, 9), "152 threadgroups of 32 threads"),  # 6 matrices of 5 lanes a SIMD-group
        ((5000, 9, 9), "209 threadgroups of 128 threads"),
        ((4, 8, 8), "1 threadgroups of 32 threads"),  # few: eight lanes each
        ((5, 8, 8), "2 threadgroups of 32 threads"),
        ((40, 8, 8), "5 threadgroups of 32 threads"),
        ((41, 8, 8), "6 threadgroups of 32 threads"),
        ((7, 130, 3, 3), "8 threadgroups of 128 threads"),
        ((33, 3, 3), "1 threadgroups of 64 threads"),
    ],
)
def test_small_matrices_share_threadgroups(shape, words):
    assert metalsvd.plan(shape).endswith(words)


def is_reduced(shape, dtype=torch.float32, **options):
    return metalsvd.plan(shape, dtype, **options).startswith("tall QR of")


@pytest.mark.parametrize(
    ("other", "reduced", "dtype"),
    [
        ((512, 3), (513, 3), torch.float32),
        ((3, 512), (3, 513), torch.complex64),
        ((128, 16), (129, 16), torch.float32),  # registers take R in less time
        ((80, 16), (81, 16), torch.complex64),
        ((160, 15), (161, 15), torch.complex64),  # from here on they do not take the matrix
        ((44, 80), (44, 81), torch.complex64),
    ],
)
def test_the_tall_qr_stands_in_front_of_tall_matrices(other, reduced, dtype):
    assert not is_reduced(other, dtype)
    assert is_reduced(reduced, dtype)
    assert is_reduced(other, dtype, driver="qr")


def test_the_tall_qr_stands_in_front_of_what_only_block_could_take():
    assert not is_reduced((128, 87))
    assert is_reduced((129, 87))
    assert "then simdgroup: " in metalsvd.plan((129, 128))
    assert not is_reduced((128, 128))
    assert is_reduced((129, 129))
    assert "then block: " in metalsvd.plan((129, 129))
    assert not is_reduced((80, 80), torch.complex64)
    assert is_reduced((81, 80), torch.complex64)


def test_plans_are_for_a_gpu():
    assert metalsvd.plan((3, 3), device="mps") == metalsvd.plan((3, 3))
    with pytest.raises(ValueError, match="device must be mps or cuda, not cpu"):
        metalsvd.plan((3, 3), device="cpu")


@pytest.mark.skipif(is_built_for("cuda"), reason="this metalsvd has kernels for cuda")
def test_plans_for_cuda_need_its_kernels():
    with pytest.raises(RuntimeError, match="built without kernels for cuda"):
        metalsvd.plan((3, 3), device="cuda:0")


def test_the_levels_of_the_tall_qr():
    """Chunks of 512 rows; above, as many R's of `columns` rows each."""
    for shape, levels in {(512, 4): "1", (513, 4): "2 + 1", (65536, 4): "128 + 1", (65537, 4): "129 + 2 + 1"}.items():
        words = metalsvd.plan(shape, driver="qr")
        assert words.startswith(f"tall QR of {levels} threadgroups of 32 threads a matrix, then thread: "), words


@pytest.mark.parametrize(
    ("columns", "dtype", "words"),
    [
        (32, torch.float32, "tall QR of 2 + 1 threadgroups of 256 threads a matrix, then "),
        (33, torch.float32, "tall QR of 2 + 1 threadgroups of 160 threads a matrix, 2 panels of 20 columns, then "),
        (128, torch.float32, "tall QR of 2 + 1 threadgroups of 256 threads a matrix, 4 panels of 32 columns, then "),
        (16, torch.complex64, "tall QR of 4 + 1 threadgroups of 128 threads a matrix, then "),
        (17, torch.complex64, "tall QR of 4 + 1 threadgroups of 96 threads a matrix, 2 panels of 10 columns, then "),
    ],
)
def test_panels_of_the_tall_qr(columns, dtype, words):
    """As few as 128 bytes a row allow, of as many columns each, in whole packs of 16 bytes."""
    assert metalsvd.plan((1000, columns), dtype, driver="qr").startswith(words)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (33, 33), (64, 64), (89, 89), (2718, 3), (1, 2719)])
def test_threads_are_whole_simdgroups_within_the_limit(shape):
    threads = threads_of(metalsvd.plan(shape))
    assert threads % 32 == 0
    assert 32 <= threads <= 1024


@pytest.mark.parametrize(
    ("shape", "dtype", "kernel"),
    [
        ((1, 1), torch.float32, "svd_thread_2_f32"),
        ((2, 3), torch.bfloat16, "svd_thread_3_bf16"),
        ((4, 4), torch.complex64, "svd_thread_4_c64"),
        ((6, 6), torch.float32, "svd_thread_6_f32"),
        ((7, 4), torch.float32, "svd_simdgroup_8_f32"),
        ((1, 7), torch.float32, "svd_simdgroup_8_f32"),
        ((8, 8), torch.float16, "svd_simdgroup_8_f16"),
        ((9, 9), torch.float32, "svd_simdgroup_10_f32"),
        ((11, 11), torch.float16, "svd_simdgroup_12_f16"),
        ((12, 12), torch.bfloat16, "svd_simdgroup_12_bf16"),
        ((13, 13), torch.float32, "svd_simdgroup_14_f32"),
        ((16, 16), torch.float32, "svd_simdgroup_16_f32"),
        ((17, 17), torch.float32, "svd_simdgroup_18_f32"),
        ((20, 20), torch.float32, "svd_simdgroup_20_f32"),
        ((21, 21), torch.float32, "svd_simdgroup_12_f32"),  # two lanes a column
        ((21, 17), torch.float32, "svd_simdgroups_12_f32"),  # 16 pairs a SIMD-group
        ((25, 25), torch.float32, "svd_simdgroup_14_f32"),
        ((29, 29), torch.float32, "svd_simdgroup_16_f32"),
        ((32, 32), torch.float32, "svd_simdgroup_16_f32"),
        ((33, 33), torch.float32, "svd_simdgroups_20_f32"),
        ((41, 41), torch.float32, "svd_simdgroups_12_f32"),  # four lanes a column
        ((49, 49), torch.bfloat16, "svd_simdgroups_16_bf16"),
        ((65, 65), torch.float32, "svd_simdgroups_20_f32"),
        ((81, 81), torch.float32, "svd_simdgroups_12_f32"),  # eight
        ((128, 128), torch.float32, "svd_simdgroups_16_f32"),
        ((129, 129), torch.float32, "block_*_f32"),
        ((33, 32), torch.float32, "svd_simdgroup_18_f32"),
        ((37, 32), torch.float32, "svd_simdgroup_20_f32"),
        ((20, 8), torch.float32, "svd_simdgroup_20_f32"),
        ((64, 16), torch.float32, "svd_simdgroup_16_f32"),
        ((65, 16), torch.float32, "svd_simdgroup_18_f32"),
        ((3, 129), torch.float32, "svd_simdgroup_18_f32"),
        ((512, 8), torch.float32, "svd_simdgroups_16_f32"),  # a column all over a SIMD-group
        ((512, 9), torch.float32, "svd_simdgroup_10_f32"),  # of R
        ((400, 4), torch.complex64, "svd_threadgroup_18k_c64"),  # R would be that of one thread
        ((400, 5), torch.complex64, "svd_simdgroup_8_c64"),
        ((5, 5), torch.complex64, "svd_simdgroup_8_c64"),
        ((16, 16), torch.complex64, "svd_simdgroup_8_c64"),
        ((17, 17), torch.complex64, "svd_simdgroups_10_c64"),
        ((21, 21), torch.complex64, "svd_simdgroups_8_c64"),
        ((33, 16), torch.complex64, "svd_simdgroup_10_c64"),
        ((64, 64), torch.complex64, "svd_simdgroups_8_c64"),
        ((80, 80), torch.complex64, "svd_simdgroups_10_c64"),
        ((81, 81), torch.complex64, "block_*_c64"),
    ],
)
def test_the_method_with_the_fewest_threads_a_matrix_is_chosen(shape, dtype, kernel):
    assert re.search(rf"kernels? {re.escape(kernel)},", metalsvd.plan((1000, *shape), dtype))


@pytest.mark.parametrize(
    ("most", "shape", "dtype", "kernel", "kernel_of_many"),
    [
        (32, (8, 8), torch.float32, "simdgroup_4_f32", "simdgroup_8_f32"),  # four matrices a SIMD-group, of eight
        (4, (12, 12), torch.bfloat16, "simdgroup_apart_8_bf16", "simdgroup_4_bf16"),  # a SIMD-group for W, one for Q
        (8, (12, 12), torch.bfloat16, "simdgroup_4_bf16", "simdgroup_12_bf16"),
        (4, (16, 9), torch.float32, "simdgroup_apart_8_f32", "simdgroup_4_f32"),
        (8, (16, 16), torch.float32, "simdgroup_4_f32", "simdgroup_16_f32"),
        (4, (17, 17), torch.float16, "simdgroup_apart_12_f16", "simdgroup_18_f16"),
        (4, (24, 24), torch.float32, "simdgroup_apart_12_f32", "simdgroup_12_f32"),
        (4, (32, 32), torch.float32, "simdgroup_apart_16_f32", "simdgroup_16_f32"),
        (4, (20, 40), torch.bfloat16, "simdgroup_apart_20_bf16", "simdgroup_20_bf16"),
        (2, (33, 33), torch.float32, "simdgroups_apart_20_f32", "simdgroups_20_f32"),  # two for each
        (2, (24, 41), torch.float32, "simdgroups_apart_12_f32", "simdgroups_12_f32"),
        (2, (64, 32), torch.float16, "simdgroups_apart_16_f16", "simdgroups_16_f16"),
        (1, (70, 16), torch.float32, "simdgroups_4_f32", "simdgroup_18_f32"),
        (8, (10, 10), torch.complex64, "simdgroup_4_c64", "simdgroup_10_c64"),
        (2, (17, 17), torch.complex64, "simdgroups_4_c64", "simdgroups_10_c64"),
        (0, (41, 41), torch.float32, "", "simdgroups_12_f32"),  # one would take more than a few SIMD-groups
    ],
    ids=str,
)
def test_few_matrices_get_more_lanes(most, shape, dtype, kernel, kernel_of_many):
    if most > 0:
        assert f"kernel svd_{kernel}," in metalsvd.plan((most, *shape), dtype)
    assert f"kernel svd_{kernel_of_many}," in metalsvd.plan((most + 1, *shape), dtype)


@pytest.mark.parametrize("driver", ["thread", "simdgroup", "threadgroup"])
def test_driver_can_be_forced(driver):
    assert metalsvd.plan((3, 4), driver=driver).startswith(f"{driver}: kernel svd_{driver}_")


@pytest.mark.parametrize(
    ("driver", "shape", "dtype", "words"),
    [
        ("thread", (7, 2), torch.float32, "7x2 float32 does not fit .* 'thread' takes at most 6 rows and 6 columns"),
        ("thread", (5, 2), torch.complex64, "5x2 complex64 does not fit .* takes at most 4 rows and 4 columns"),
        (
            "simdgroup",
            (513, 3),
            torch.float32,
            "513x3 float32 does not fit .* at most a matrix of 512x3 or its transpose",
        ),
        (
            "simdgroup",
            (200, 200),
            torch.float32,
            "200x200 float32 does not fit .* at most 128 rows or columns, whichever are fewer",
        ),
        (
            "simdgroup",
            (70, 129),
            torch.complex64,
            "70x129 complex64 does not fit .* at most a matrix of 80x70 or its transpose",
        ),
        (
            "simdgroup",
            (100, 90),
            torch.complex64,
            "100x90 complex64 does not fit .* at most 80 rows or columns, whichever are fewer",
        ),
    ],
)
def test_a_forced_method_that_does_not_fit_names_its_limit(driver, shape, dtype, words):
    with pytest.raises(RuntimeError, match=words):
        metalsvd.plan(shape, dtype, driver=driver)


@pytest.mark.parametrize("shape", [(2**31, 3), (3, 2**31), (2**31 - 1024, 1), (5, 2**62)], ids=str)
@pytest.mark.parametrize(
    "driver", [None, "thread", "simdgroup", "threadgroup", "block", "qr", "cholesky", "recover", "whole"]
)
def test_rows_and_columns_beyond_32_bits_name_the_limit(shape, driver):
    words = f"{shape[0]}x{shape[1]} float32 does not fit .* count rows and columns in 32 bits: .* at most 2147482623"
    with pytest.raises(RuntimeError, match=words):
        metalsvd.plan(shape, driver=driver)


def test_the_most_rows_are_planned():
    most = 2**31 - 1025
    assert metalsvd.plan((most, 3)).startswith("tall QR of 4194302 + ")
    assert metalsvd.plan((2, most)).endswith("on the conjugate transpose")


@pytest.mark.parametrize(
    ("most", "shape", "options", "method"),
    [
        (2**32 - 1025, (3, 3), {}, "thread"),
        ((2**32 - 1025) // 4, (7, 7), {}, "simdgroup"),
        ((2**32 - 1025) // 512, (128, 128), {}, "simdgroup"),
        ((2**32 - 1025) // 32, (400, 3), {"dtype": torch.complex64}, "threadgroup"),
        ((2**32 - 1025) // (5 * 10 * 256), (129, 129), {}, "block"),
        ((2**32 - 1025) // (5 * 5 * 256), (129, 129), {"compute_uv": False}, "block"),
        ((2**32 - 1025) // (625 * 313 * 256), (20000, 1), {"full_matrices": True}, "thread"),
        ((2**32 - 1025) // (79 * 256), (20000, 1), {}, "thread"),
        ((2**32 - 1025) // 512, (8, 8), {"driver": "qr"}, "simdgroup"),
        ((2**32 - 1025) // (2 * 1024), (60, 40), {"driver": "recover"}, "block"),
    ],
    ids=str,
)
def test_a_batch_whose_grid_is_beyond_32_bits_names_the_limit(most, shape, options, method):
    metalsvd.plan((most, *shape), **options)
    with pytest.raises(RuntimeError, match=rf"a batch of {most + 1} .* '{method}' takes fewer, at most {most} such"):
        metalsvd.plan((most + 1, *shape), **options)


def test_one_matrix_whose_grid_is_beyond_32_bits():
    metalsvd.plan((2**16, 2**16))
    words = "one matrix of 131072x131072 float32 needs a grid of more threads than the 4294967295 that a GPU counts"
    with pytest.raises(RuntimeError, match=words):
        metalsvd.plan((2**17, 2**17))


def test_a_round_is_one_step_where_rows_are_one_chunk_or_pairs_are_many():
    dtype = torch.complex64
    for shape in (128, 90), (27, 129, 90):  # 3 pairs of blocks each, 40 cores
        assert "rounds a sweep of one step" in metalsvd.plan(shape, dtype, driver="block")
    for shape in (129, 90), (26, 129, 90):
        assert "rounds a sweep of two steps" in metalsvd.plan(shape, dtype, driver="block")


def test_wide_pairs_take_three_steps_where_two_would_solve_too_often():
    assert "rounds a sweep of one step" in metalsvd.plan((124, 90), driver="block")
    # Two tables each, of 284 rows with those of V, on 40 cores, each of which turns up to 256.
    for shape in (125, 90), (10, 192, 90), (21, 128, 90):
        assert "rounds a sweep of two steps" in metalsvd.plan(shape, driver="block")
    assert "rounds a sweep of three steps" in metalsvd.plan((11, 192, 90), driver="block")
    assert "rounds a sweep of three steps" in metalsvd.plan((1024, 1024))


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
