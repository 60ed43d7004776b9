"""Routing: which functions of torch reach our kernels on mps, that the others do not, and that it can be undone."""

from __future__ import annotations

import metalsvd
import pytest
import torch
from metalsvd._devices import is_built_for
from processes import python_path, run_code

ROUTED = {
    "linalg.svd": lambda A: torch.linalg.svd(A),
    "linalg.svdvals": lambda A: torch.linalg.svdvals(A),
    "svd": lambda A: torch.svd(A),
    "Tensor.svd": lambda A: A.svd(),
    "linalg.pinv": lambda A: torch.linalg.pinv(A),
    "linalg.matrix_rank": lambda A: torch.linalg.matrix_rank(A),
    "linalg.cond": lambda A: torch.linalg.cond(A),
    "linalg.matrix_norm 2": lambda A: torch.linalg.matrix_norm(A, 2),
    "linalg.matrix_norm nuc": lambda A: torch.linalg.matrix_norm(A, "nuc"),
    "svd_lowrank": lambda A: torch.svd_lowrank(A, 2),
    "pca_lowrank": lambda A: torch.pca_lowrank(A, 2),
}


@pytest.fixture
def on_mps(target):
    if target.type != "mps":
        pytest.skip("routing concerns mps")
    return target


@pytest.mark.parametrize("name", ROUTED)
def test_functions_reach_our_kernel(name, on_mps, emulated):
    A = torch.randn(2, 5, 4).to(on_mps)
    torch.manual_seed(0)
    emulated.reset_counters()
    with metalsvd.error_checks(False):
        ROUTED[name](A)
    assert emulated.counters().dispatches == 1


def test_cpu_is_untouched(on_mps, emulated):
    A = torch.randn(5, 4)
    emulated.reset_counters()
    for function in ROUTED.values():
        function(A)
    assert emulated.counters().dispatches == 0


def test_patching_twice_and_undoing(on_mps, emulated):
    A = torch.randn(5, 4).to(on_mps)

    def dispatches() -> int:
        emulated.reset_counters()
        torch.linalg.svdvals(A)
        return emulated.counters().dispatches

    assert metalsvd.is_patched()
    try:
        metalsvd.patch_torch()
        assert dispatches() == 1
        metalsvd.unpatch_torch()
        assert not metalsvd.is_patched()
        assert dispatches() == 0
        metalsvd.unpatch_torch()
        assert dispatches() == 0
    finally:
        metalsvd.patch_torch()
    assert metalsvd.is_patched()
    assert dispatches() == 1


def test_only_devices_that_there_are_kernels_for():
    with pytest.raises(ValueError, match="expected devices of mps, cuda, but got 'xpu'"):
        metalsvd.patch_torch(devices=("mps", "xpu"))
    if not is_built_for("cuda"):
        with pytest.raises(RuntimeError, match="this build of metalsvd has no CUDA kernels"):
            metalsvd.patch_torch(devices=("cuda",))
        assert not metalsvd.is_patched("cuda")


def test_unpatching_restores_the_kernel_that_was_there(on_mps):
    """As torch 2.14 has one: ours replaces it without a word and gives it back."""
    result = run_code(
        """
        import torch
        library = torch.library.Library("aten", "IMPL")
        def theirs(A, full_matrices=False, compute_uv=True, *, driver=None):
            return A.new_full((), 1.), A.new_full((), 2.), A.new_full((), 3.)
        library.impl("_linalg_svd", theirs, "MPS")
        import metalsvd
        assert not metalsvd.is_patched()
        metalsvd.emulator.enable()
        A = torch.eye(2, device="mps")
        def first(): return torch.linalg.svdvals(A).cpu().tolist()
        assert first() == 2., first()
        metalsvd.patch_torch()
        assert first() == [1., 1.], first()
        metalsvd.unpatch_torch()
        assert first() == 2., first()
        """,
        METALSVD_ROUTE="0",
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(("route", "patched"), [("0", "False"), ("1", "True")])
def test_environment_opts_out(route, patched):
    result = run_code("import torch, metalsvd; print(metalsvd.is_patched())", METALSVD_ROUTE=route)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, patched, "")


def test_import_torch_alone_loads_us_and_says_nothing():
    result = run_code("import sys, torch; print('metalsvd' in sys.modules, hasattr(torch.ops.metalsvd, 'svd'))")
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "True True", "")


def test_autoload_can_be_switched_off():
    result = run_code("import sys, torch; print('metalsvd' in sys.modules)", TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "False", "")


def test_a_broken_installation_does_not_break_torch(tmp_path):
    """A metalsvd whose library is missing: torch works, with one warning that says what to do."""
    package = tmp_path / "metalsvd"
    package.mkdir()
    (package / "__init__.py").write_text("raise OSError('libmetalsvd.so: cannot open shared object file')\n")
    result = run_code("import torch; print(torch.ones(2).sum().item())", PYTHONPATH=python_path(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "2.0"
    assert "metalsvd could not be loaded and torch goes on without it" in result.stderr


def test_without_mps_and_emulator_the_cpu_works_and_mps_says_what_is_missing():
    result = run_code(
        """
        import torch, metalsvd
        assert metalsvd.svdvals(torch.eye(2)).tolist() == [1, 1]
        if not torch.backends.mps.is_available():
            try:
                metalsvd.svd(torch.eye(2, device="mps"))
            except Exception as error:
                print(type(error).__name__, error)
        """,
        METALSVD_EMULATE="0",
    )
    assert result.returncode == 0, result.stderr
    if not torch.backends.mps.is_built():
        assert "mps" in result.stdout.lower()
