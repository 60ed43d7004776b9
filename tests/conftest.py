"""What every test shares: the device it runs on.

``--target`` names it: ``mps`` (a real Apple GPU where there is one, otherwise the emulated one), ``cuda`` (torch's
functions routed to our kernels there too) or ``cpu``. Without it the tests run on mps.
"""

from __future__ import annotations

import contextlib
import os

import metalsvd
import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", default="mps", choices=["mps", "cuda", "cpu"], help="the device that the tests run on")
    parser.addoption("--all-sizes", action="store_true", help="run the kernels' checks at large sizes too (slow)")


def pytest_configure(config: pytest.Config) -> None:
    # Several processes of torch, each with a thread a core, wait for each other for minutes.
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
    # Before any test: torch looks up its device hooks once, at the first backward.
    if config.getoption("--target") == "mps" and not torch.backends.mps.is_built():
        metalsvd.emulator.enable()
    if config.getoption("--target") == "cuda":
        if not torch.cuda.is_available():
            raise pytest.UsageError("--target cuda: this torch sees no CUDA device")
        metalsvd.patch_torch(devices=("mps", "cuda"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--target") == "cpu":
        for item in items:
            if item.get_closest_marker("kernels"):
                item.add_marker(pytest.mark.skip(reason="a promise of our kernels: needs mps or cuda"))


def pytest_report_header(config: pytest.Config) -> str:
    target = config.getoption("--target") + (" (emulated)" if metalsvd.emulator.is_enabled() else "")
    return f"metalsvd {metalsvd.__version__}, torch {torch.__version__}, target {target}"


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> torch.device:
    """The device under test."""
    return torch.device(request.config.getoption("--target"))


@pytest.fixture
def emulated(target: torch.device):
    """The emulator, for tests of what only it can show: counters, thread orders and memory checks."""
    if not metalsvd.emulator.is_enabled():
        pytest.skip("needs the emulated Apple GPU")
    return metalsvd.emulator


@pytest.fixture
def wide_lanes():
    """A GPU whose lanes have registers enough for more kernels, as on CUDA: the emulated one as if it were one."""
    with metalsvd.emulator.options(wide_lanes=True) if metalsvd.emulator.is_enabled() else contextlib.nullcontext():
        yield
