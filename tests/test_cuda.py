"""What only CUDA has: streams, captured graphs, several devices, torch's own kernels that ours can stand in for."""

from __future__ import annotations

import checks
import matrices
import metalsvd
import pytest
import torch
from matrices import batch_of
from metalsvd.bench import contenders
from metalsvd.bench.targets import Target
from processes import run_code

# A shape of each method, and the tall QR in front of one.
SHAPES = {"thread": (7, 4, 3), "simdgroup": (5, 20, 8), "threadgroup": (3, 40, 33), "block": (2, 70, 50)}
SHAPES |= {"qr": (2, 900, 6), "recover": (2, 90, 70)}
METHODS = pytest.mark.parametrize("driver", SHAPES)


@pytest.fixture(autouse=True)
def on_cuda(target):
    if target.type != "cuda":
        pytest.skip("needs --target cuda")


@pytest.fixture
def unpatched():
    """torch.linalg.svd as torch has it, and afterwards routed again."""
    metalsvd.unpatch_torch()
    yield
    metalsvd.patch_torch(devices=("mps", "cuda"))


def sample(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).to("cuda")


def assert_same(actual, expected, label: str) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        assert torch.equal(ours, theirs), f"{label}: up to {(ours - theirs).abs().max():.2e} apart"


@METHODS
def test_kernels_run_on_the_current_stream(driver):
    """Behind a slow kernel on a stream of its own: on any other the matrix would still be zero."""
    values, A = sample(*SHAPES[driver]), torch.zeros(SHAPES[driver], device="cuda")
    expected = metalsvd.svd_ex(values, driver=driver)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # cycles: a tenth of a second
        A.copy_(values)
        actual = metalsvd.svd_ex(A, driver=driver)
        assert not stream.query(), "the host has waited for the device"
    stream.synchronize()
    assert_same(actual, expected, driver)


@METHODS
@pytest.mark.parametrize("full_matrices", [False, True])
def test_a_graph_is_captured_and_replayed(driver, full_matrices):
    """Which also proves that nothing waits for the host or allocates behind torch's back."""
    A = torch.zeros(SHAPES[driver], device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = metalsvd.svd_ex(A, full_matrices, driver=driver)
    for seed in (1, 2):
        values = sample(*SHAPES[driver], seed=seed)
        A.copy_(values)
        graph.replay()
        assert_same(captured, metalsvd.svd_ex(values, full_matrices, driver=driver), f"{driver}, seed {seed}")


@METHODS
def test_calls_that_come_again_give_the_same_bits(driver):
    """What is launched with the same tensors once more is replayed as a graph: of what they hold now."""
    A = torch.empty(SHAPES[driver], device="cuda")
    values = [sample(*SHAPES[driver], seed=seed) for seed in range(6)]
    expected = [metalsvd.svd_ex(value, driver=driver) for value in values]  # each with tensors of its own
    for _ in range(2):
        for seed, value in enumerate(values):
            A.copy_(value)
            assert_same(metalsvd.svd_ex(A, driver=driver), expected[seed], f"{driver}, seed {seed}")


def test_a_call_that_comes_again_is_a_graph_on_any_stream():
    A = sample(*SHAPES["recover"])
    expected = metalsvd.svd_ex(A, driver="recover")
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            for _ in range(3):
                assert_same(metalsvd.svd_ex(A, driver="recover"), expected, str(stream))
            stream.synchronize()
            with torch.profiler.profile(acc_events=True) as profile:
                metalsvd.svd_ex(A, driver="recover")
                stream.synchronize()
        assert any("cudaGraphLaunch" in event.name for event in profile.events()), f"no graph on {stream}"


def test_graphs_can_be_switched_off():
    code = """
        import torch, metalsvd
        A = torch.randn(90, 70, device="cuda")
        for _ in range(3):
            metalsvd.svd_ex(A, driver="recover")
        with torch.profiler.profile(acc_events=True) as profile:
            metalsvd.svd_ex(A, driver="recover")
        print(any("cudaGraphLaunch" in event.name for event in profile.events()))
    """
    for value, expected in {"0": "False", "1": "True"}.items():
        result = run_code(code, METALSVD_CUDA_GRAPHS=value)
        assert result.stdout.strip() == expected, result.stderr


def test_graphs_of_many_shapes_make_room_for_each_other():
    """More steps than are kept, twice, so that each is forgotten before it comes again."""
    samples = [sample(n, 33, seed=n) for n in range(34, 134)]
    expected = [metalsvd.svd_ex(A, driver="recover") for A in samples]
    for _ in range(2):
        for A, factors in zip(samples, expected, strict=True):
            for _ in range(2):
                assert_same(metalsvd.svd_ex(A, driver="recover"), factors, str(A.shape))


def test_torch_is_captured_too_without_error_checks():
    A = sample(3, 6, 5)
    expected = torch.linalg.svd(A)
    graph = torch.cuda.CUDAGraph()
    with metalsvd.error_checks(False), torch.cuda.graph(graph):
        captured = torch.linalg.svd(A)
    graph.replay()
    assert_same(captured, expected, "torch.linalg.svd")


@pytest.mark.parametrize(
    "function",
    [torch.linalg.svdvals, lambda A: torch.linalg.svd(A).S, lambda A: torch.svd(A).S, lambda A: A.svd().S],
    ids=["linalg.svdvals", "linalg.svd", "svd", "Tensor.svd"],
)
def test_patching_and_undoing(function, unpatched):
    A = sample(2, 17, 9)
    ours = metalsvd.svdvals(A)
    assert not metalsvd.is_patched("cuda")
    theirs = function(A)
    assert not torch.equal(theirs, ours), "the test cannot tell cuSOLVER's bits from ours"
    metalsvd.patch_torch(devices=("cuda",))
    assert metalsvd.is_patched("cuda")
    assert not metalsvd.is_patched("mps")
    assert torch.equal(function(A), ours)
    metalsvd.unpatch_torch()
    assert torch.equal(function(A), theirs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("full_matrices", [False, True])
def test_double_precision_is_torchs_own(full_matrices, dtype, unpatched):
    A = sample(3, 6, 4, dtype=dtype)
    theirs = torch.linalg.svd(A, full_matrices)
    for patched in (False, True):
        if patched:
            metalsvd.patch_torch(devices=("cuda",))
        assert_same(torch.ops.metalsvd.svd(A, full_matrices), theirs, f"ours, patched: {patched}")
        assert_same(torch.linalg.svd(A, full_matrices), theirs, f"torch.linalg.svd, patched: {patched}")
        outs = tuple(torch.empty_like(factor) for factor in theirs)
        assert_same(torch.linalg.svd(A, full_matrices, out=outs), theirs, f"out=, patched: {patched}")


def test_a_bad_matrix_in_double_precision_leaves_its_neighbours_alone():
    A = sample(3, 5, 4, dtype=torch.float64)
    A[1, 2, 3] = torch.nan
    U, S, V, info = metalsvd.svd_ex(A)
    assert info.tolist() == [0, 1, 0]
    assert torch.isnan(S[1]).all()
    assert torch.isfinite(S[::2]).all()
    assert torch.isnan(U[1]).all()
    assert torch.isnan(V[1]).all()
    error = (S[::2] - torch.linalg.svdvals(A[::2])).abs().max().item()
    assert error < 1e-12, f"singular values of the others are off by {error:.2e}"


@pytest.mark.parametrize("driver", ["gesvd", "gesvdj"])
def test_drivers_of_cusolver_are_torchs_own(driver, unpatched):
    A = sample(6, 4)
    theirs = torch.linalg.svd(A, driver=driver)
    metalsvd.patch_torch(devices=("cuda",))
    assert_same(torch.linalg.svd(A, driver=driver), theirs, driver)


def test_drivers_of_ours_are_for_our_dtypes():
    A = sample(6, 4)
    with pytest.raises(RuntimeError, match="driver 'thread' is a method of our kernels: for float64"):
        metalsvd.svd(A.double(), driver="thread")


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.float64])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 5)], ids=str)
def test_routed_factors_have_torchs_strides(shape, dtype, unpatched):
    """cuSOLVER's Vh is row-major, and compiled graphs rely on it."""
    A = sample(*shape, dtype=dtype)
    theirs = torch.linalg.svd(A)
    metalsvd.patch_torch(devices=("cuda",))
    assert [factor.stride() for factor in torch.linalg.svd(A)] == [factor.stride() for factor in theirs]


def test_gradients_of_routed_torch():
    A = sample(2, 7, 4).requires_grad_()
    wide = A.detach().cpu().double().requires_grad_()
    for X in (A, wide):
        U, S, Vh = torch.linalg.svd(X, full_matrices=False)
        ((U @ Vh).sum() + S.square().sum()).backward()
    error = ((A.grad.cpu() - wide.grad).abs().max() / wide.grad.abs().max()).item()
    assert error < 1e-4, f"relative error of the gradient {error:.2e}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("shape", [(65537, 3, 3), (20001, 8, 8), (3000, 48, 32)], ids=str)
def test_large_batches(shape, dtype):
    """Of which the emulator can run a few matrices only: here every one is checked by its residuals."""
    A = sample(*shape, dtype=dtype)
    U, S, V, info = metalsvd.svd_ex(A)
    assert not info.any()
    wide = torch.complex128 if dtype.is_complex else torch.float64
    A, U, S, Vh = A.to(wide), U.to(wide), S.double(), V.mH.to(wide)
    eye = torch.eye(S.shape[-1], device="cuda", dtype=wide)
    residual = (torch.linalg.matrix_norm((U * S.unsqueeze(-2)) @ Vh - A) / torch.linalg.matrix_norm(A)).max().item()
    defect = max((U.mH @ U - eye).abs().max().item(), (Vh @ Vh.mH - eye).abs().max().item())
    bound = 8 * 2**-24 * max(shape[-2:]) ** 0.5
    assert residual < bound, f"|A - U S Vh| / |A| up to {residual:.2e}, bound {bound:.2e}"
    assert defect < bound, f"|U^H U - I|_max up to {defect:.2e}, bound {bound:.2e}"


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (700, 700)], ids=str)
def test_large_matrices(shape):
    A = matrices.make("normal", *shape, torch.float32)
    for full_matrices in (False, True):
        U, S, V = metalsvd.svd(A.to("cuda"), full_matrices)
        checks.assert_accurate(A, U, S, V.mH)


def test_another_device_than_the_current_one():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    A = sample(5, 20, 16)
    expected = metalsvd.svd_ex(A)
    there = A.to("cuda:1")
    actual = metalsvd.svd_ex(there)
    assert torch.cuda.current_device() == 0
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.device == there.device
        assert torch.equal(ours.cpu(), theirs.cpu())


# The first, one in between and the last size of the tile that only CUDA devices have.
@pytest.mark.parametrize("n", [64, 85, 91], ids=str)
def test_larger_tiles_are_accurate(n):
    names = ["normal", "geometric", "exact_half_rank", "clusters", "column_graded_12", "row_graded_12"]
    A = batch_of(names, (n, n), torch.complex64)
    shared_memory = torch.cuda.get_device_properties(0).shared_memory_per_block_optin
    if shared_memory < 132 * 1024:
        pytest.skip("this device has less shared memory")
    U, S, V = metalsvd.svd(A.cuda(), driver="threadgroup")
    for index, name in enumerate(names):
        checks.assert_accurate(A[index], U[index], S[index], V[index].mH, name)


def test_a_plan_knows_the_device():
    """On CUDA lanes hold blocks of columns, and large tiles find room."""
    assert "svd_recovering_blocks_128_16_f32" in metalsvd.plan((128, 128), device="cuda")
    assert "svd_recovering_blocks_144_32_f32" in metalsvd.plan((129, 129), device="cuda:0")
    assert "then block: " in metalsvd.plan((161, 161), device="cuda:0")
    if torch.cuda.get_device_properties(0).shared_memory_per_block_optin >= 132 * 1024:
        assert "svd_threadgroup_132k_c64" in metalsvd.plan((91, 91), torch.complex64, device="cuda")
        assert "then block: " in metalsvd.plan((92, 92), torch.complex64, device="cuda")
    with pytest.raises(RuntimeError, match="limits of the device '99'"):
        metalsvd.plan((3, 3), device="cuda:99")


@pytest.mark.parametrize("n", [48, 49, 64, 65, 96, 97, 128, 129, 144, 145, 160, 161, 256, 257])
def test_both_sides_of_each_kernels_size_are_accurate(n):
    names = ["normal", "geometric", "exact_half_rank", "clusters", "column_graded_12", "row_graded_12"]
    A = batch_of(names, (n, n), torch.float32)
    U, S, V = metalsvd.svd(A.cuda())
    for index, name in enumerate(names):
        checks.assert_accurate(A[index], U[index], S[index], V[index].mH, name)


def test_bench_leaves_routing_as_it_was(unpatched):
    metalsvd.patch_torch(devices=("cuda",))
    with contenders.Torch(Target(), "default").session():
        assert not metalsvd.is_patched("cuda")
    assert metalsvd.is_patched("cuda")
