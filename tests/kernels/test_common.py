"""The helpers of kernels/common, each against what it promises: exactly where the numbers allow it."""

import ctypes
import math
import random
import struct

import pytest
import torch
from metal_harness import floats, zeros

EPS = 2.0**-24
DTYPES = {"f32": torch.float32, "c64": torch.complex64}


def to_device(tensor):
    """Column-major, real and imaginary parts side by side."""
    tensor = tensor.mT.contiguous() if tensor.dim() == 2 else tensor
    return floats((torch.view_as_real(tensor) if tensor.is_complex() else tensor).flatten().tolist())


def to_host(array, shape, dtype):
    values = torch.tensor(list(array), dtype=torch.float32)
    if dtype.is_complex:
        values = torch.view_as_complex(values.unflatten(0, (-1, 2)))
    return values.view(shape[::-1]).mT if len(shape) == 2 else values.view(shape)


def numbers(*shape, dtype, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


@pytest.mark.parametrize("columns", [1, 2, 3, 8, 9, 16, 31, 32, 33])
def test_a_tournament_meets_every_pair_once_and_no_column_twice_a_round(columns, emulator):
    rounds, pairs_a_round = columns + columns % 2 - 1, (columns + 1) // 2
    flat = zeros(ctypes.c_int, 2 * rounds * pairs_a_round)
    emulator.run("common", "tournament", 64, 64, [flat, columns])
    pairs = [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
    for r in range(rounds):
        met = [column for pair in pairs[r * pairs_a_round : (r + 1) * pairs_a_round] for column in pair]
        assert len(set(met)) == len(met)
    real = [pair for pair in pairs if pair[1] < columns]  # in the others one column rests
    assert sorted(real) == [(p, q) for p in range(columns) for q in range(p + 1, columns)]


def test_scaling_by_powers_of_two_is_exact_and_rounds_once_where_it_cannot_be(emulator):
    generator = random.Random(0)
    denormal = [math.ldexp(generator.randrange(1, 2**23), -149) for _ in range(40)]
    normal = [single(math.ldexp(generator.uniform(1, 2), generator.randrange(-126, 127))) for _ in range(200)]
    values = [sign * value for value in [*denormal, *normal, 1.0, 2.0**-126, 2.0**-149] for sign in (1, -1)]
    shifts = [generator.randrange(-250, 251) for _ in values]
    # What does not overflow: that much the callers promise.
    shifts = [min(shift, 127 - math.frexp(value)[1]) for value, shift in zip(values, shifts, strict=True)]
    scaled, exponents = zeros(ctypes.c_float, len(values)), zeros(ctypes.c_int, len(values))
    grid = -(-len(values) // 32) * 32
    arguments = [floats(values), (ctypes.c_int * len(values))(*shifts), scaled, exponents, len(values)]
    emulator.run("common", "powers", grid, 32, arguments)
    expected = [single(math.ldexp(value, shift)) for value, shift in zip(values, shifts, strict=True)]
    assert list(scaled) == expected
    assert list(exponents) == [math.frexp(value)[1] - 1 for value in values]


@pytest.mark.parametrize("shift", [-200, -30, 0, 30, 200])
def test_numbers_that_are_scaled_together_are_scaled_as_alone(shift, emulator):
    """Fours of which all, some and none are denormal, or become so, with zeros of either sign among them."""
    generator = random.Random(0)
    least, behind = -126 - min(shift, 0), 127 - max(shift, 0)  # exponents of what is normal and remains so
    exponents = [generator.randrange(-149, behind) for _ in range(400)]
    exponents += [generator.randrange(least, behind) for _ in range(400)]
    values = [
        single(math.ldexp(generator.choice((-1, 1)) * generator.uniform(1, 2), exponent)) for exponent in exponents
    ]
    values += [0.0, -0.0, 2.0**least, 2.0 ** (least + 1)] * 4
    scaled = floats(values)
    emulator.run("common", "powers_of_four", 256, 32, [scaled, shift, len(values)])
    expected = [single(math.ldexp(value, shift)) for value in values]
    assert [math.copysign(1, value) for value in scaled] == [math.copysign(1, value) for value in expected]
    assert list(scaled) == expected


@pytest.mark.parametrize("rows", [2, 31, 33, 70])
@pytest.mark.parametrize("kind", DTYPES)
def test_a_rotation_makes_two_columns_orthogonal_and_keeps_what_they_span(kind, rows, any_order):
    dtype = DTYPES[kind]
    for scale in (1.0, 2.0**40, 2.0**-20):  # of the second column
        X = numbers(rows, 2, dtype=dtype) * torch.tensor([1.0, scale])
        array, rotated = to_device(X), zeros(ctypes.c_int, 1)
        any_order.run("common", f"rotate_{kind}", 32, 32, [array, rotated, rows])
        assert rotated[0] == 1
        wide = torch.complex128 if dtype.is_complex else torch.float64
        Y = to_host(array, (rows, 2), dtype).to(wide)
        norms = torch.linalg.vector_norm(Y, dim=0)
        product, left = (Z[:, 0].conj() @ Z[:, 1] for Z in (X.to(wide), Y))
        # A large angle is right to 1.4e-4, a small one to some ulps.
        bound = 3e-4 * product.abs() if scale == 1 else 16 * EPS * norms.prod()
        assert left.abs() <= bound, f"off by {left.abs() / bound:.1e} of what it may be at {scale}"
        before = X.to(wide) @ X.to(wide).mH  # a unitary rotation leaves it
        error = ((Y @ Y.mH - before).abs().max() / before.abs().max()).item()
        assert error <= 8 * EPS, f"off by {error:.1e} at {scale}"


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("columns", [([1, 0], [0, 1]), ([3, 4], [-4, 3]), ([1, 2], [0, 0]), ([1, 2], [2.0**-50] * 2)])
def test_orthogonal_and_negligible_columns_are_left_alone(columns, kind, emulator):
    X = torch.tensor(columns, dtype=torch.float32).T.to(DTYPES[kind])
    array, rotated = to_device(X), zeros(ctypes.c_int, 1)
    emulator.run("common", f"rotate_{kind}", 32, 32, [array, rotated, 2])
    assert rotated[0] == 0
    assert torch.equal(to_host(array, (2, 2), DTYPES[kind]), X)


@pytest.mark.parametrize(
    ("entries", "square", "largest"),
    [
        ([3, -4], 25, -4),
        ([2] * 40, 160, 2),
        ([0] * 35, 0, 0),
        ([1] * 32 + [-5, 5], 82, -5),
        ([3 + 4j, -5, 5j], 75, 3 + 4j),
    ],
    ids=str,
)
def test_square_and_largest_entry_of_a_column(entries, square, largest, any_order):
    """The first of the largest, where several are."""
    kind = "c64" if any(isinstance(entry, complex) for entry in entries) else "f32"
    x = torch.tensor(entries, dtype=DTYPES[kind])
    array, squares, found = to_device(x), zeros(ctypes.c_float, 1), zeros(ctypes.c_float, 2 if kind == "c64" else 1)
    any_order.run("common", f"column_{kind}", 32, 32, [array, squares, found, len(entries)])
    assert squares[0] == square
    assert to_host(found, (1,), DTYPES[kind]).item() == largest


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("rows", [1, 32, 200])
def test_a_normalised_column_has_length_one_and_a_positive_largest_entry(rows, kind, emulator):
    x = numbers(rows, dtype=DTYPES[kind])
    array, squares, found = to_device(x), zeros(ctypes.c_float, 1), zeros(ctypes.c_float, 2)
    emulator.run("common", f"column_{kind}", 32, 32, [array, squares, found, rows])
    ours = to_host(array, (rows,), DTYPES[kind])
    length = torch.linalg.vector_norm(ours.to(torch.complex128)).item()
    assert abs(length - 1) <= EPS, f"length off by {length - 1:.1e}"
    entry = ours[x.abs().argmax()].item()
    assert entry.real > 0
    assert abs(entry.imag) <= EPS


@pytest.mark.parametrize(
    ("x", "first", "v", "r", "tau"),
    [
        ([3, 4], 0, [8, 4], -5, 2 / 80),
        ([-3, 4], 0, [-8, 4], 5, 2 / 80),
        ([7, 0, 3, 0, 4], 1, [7, 5, 3, 0, 4], -5, 2 / 50),  # a zero head; what stands above is left alone
        ([5, 0, 0], 0, [5, 0, 0], 5, 0),  # nothing to reflect
        ([3j, 0, 4], 0, [8j, 0, 4], -5j, 2 / 80),
    ],
    ids=str,
)
def test_a_reflector_is_exact_on_small_integers(x, first, v, r, tau, any_order):
    kind = "c64" if any(isinstance(entry, complex) for entry in x) else "f32"
    dtype = DTYPES[kind]
    array, reflected = to_device(torch.tensor(x, dtype=dtype)), to_device(torch.tensor(x, dtype=dtype))
    results = zeros(ctypes.c_float, 4 if kind == "c64" else 2)
    any_order.run("common", f"reflector_{kind}", 32, 32, [array, reflected, results, first, len(x)])
    assert to_host(array, (len(x),), dtype).tolist() == torch.tensor(v, dtype=dtype).tolist()
    assert to_host(results, (2,), dtype).tolist() == [r, single(tau)]
    expected = torch.tensor([*x[:first], r, *[0] * (len(x) - first - 1)], dtype=dtype)
    error = (to_host(reflected, (len(x),), dtype) - expected).abs().max().item()
    assert error <= 8 * EPS, f"H x is off by {error:.1e}"


@pytest.mark.parametrize("kind", DTYPES)
def test_sums_over_entries_in_registers(kind, emulator):
    x, y = (torch.tensor(values, dtype=torch.float32) for values in ([1, -2, 3, 0, 4], [2, 1, 0, 5, -1]))
    if DTYPES[kind].is_complex:
        x, y = torch.complex(x, x.flip(0)), torch.complex(y, y.flip(0))
    square, product = zeros(ctypes.c_float, 1), zeros(ctypes.c_float, 2)
    emulator.run("common", f"entries_{kind}", 32, 32, [to_device(x), to_device(y), square, product])
    assert square[0] == (x.conj() @ x).real.item()
    expected = (x.conj() @ y + 1).item()
    assert list(product) == [expected.real, expected.imag]


@pytest.mark.parametrize("threads", [32, 96])
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (33, 7), (70, 12)], ids=str)
def test_the_pivoted_qr_factorisation(shape, kind, threads, any_order):
    rows, columns = shape
    B = numbers(rows, columns, dtype=DTYPES[kind])
    B[:, columns // 2] *= columns == 1  # a zero column
    array, triangle = to_device(B), to_device(torch.zeros(columns, columns, dtype=DTYPES[kind]))
    order = zeros(ctypes.c_uint32, columns)
    any_order.run("common", f"qr_{kind}", threads, threads, [array, triangle, order, rows, columns])
    assert sorted(order) == list(range(columns))
    wide = torch.complex128 if B.is_complex() else torch.float64
    Q = to_host(array, shape, DTYPES[kind]).to(wide)
    R = to_host(triangle, (columns, columns), DTYPES[kind]).to(wide)
    assert torch.equal(R, R.triu())
    orthogonality = (Q.mH @ Q - torch.eye(columns)).abs().max().item()
    assert orthogonality <= 16 * EPS, f"Q^H Q is off by {orthogonality:.1e}"
    residual = (torch.linalg.norm(Q @ R - B[:, list(order)]) / torch.linalg.norm(B)).item()
    assert residual <= 16 * EPS, f"Q R is off by {residual:.1e}"
    for k in range(columns):  # each pivot was the longest of what was left
        left = torch.linalg.vector_norm(R[k:, k:], dim=0)
        assert left.max() <= left[0] * (1 + 16 * EPS)


def test_the_critical_path_is_that_of_the_busiest_threadgroup_summed_over_dispatches(emulator):
    emulator.options(check_memory=True)
    B = numbers(5, 5, dtype=torch.float32)
    for _ in range(2):
        emulator.run(
            "common", "qr_f32", 96, 96, [to_device(B), to_device(torch.zeros(5, 5)), zeros(ctypes.c_uint32, 5), 5, 5]
        )
    alone = emulator.counters()
    assert alone.critical_barriers == alone.barriers > 0
    assert 0 < alone.critical_simd_operations <= alone.simd_operations / 3  # SIMD-groups
    assert 0 < alone.critical_multiply_adds <= alone.multiply_adds / 96  # threads
    memory = [floats([1.0] * 128), zeros(ctypes.c_int, 128), zeros(ctypes.c_float, 128), zeros(ctypes.c_int, 128)]
    emulator.run("common", "powers", 128, 32, [*memory, 128])  # four threadgroups without a barrier
    idle = emulator.counters()
    assert (idle.threadgroups, idle.barriers, idle.critical_barriers, idle.critical_multiply_adds) == (4, 0, 0, 0)
