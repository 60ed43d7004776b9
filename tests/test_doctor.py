"""The doctor: healthy here, and advice and exit status 1 for each thing that is made to go wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import metalsvd
import pytest
import torch
from metalsvd import _diagnosis, _doctor
from metalsvd.__main__ import main
from processes import python_path, run_command, run_python

FEW_METHODS = {"thread": (4, 3), "simdgroup": (20, 8)}

# Every key of the JSON and the types of its value; a list holds the form of its items.
TEXT, NUMBER, MAYBE_TEXT = (str,), (float, str), (str, type(None))
MAYBE_NUMBER = (float, str, type(None))
SCHEMA = {
    "schema": (int,),
    "healthy": (bool,),
    "versions": {"metalsvd": TEXT, "torch": TEXT, "python": TEXT},
    "system": {"os": TEXT, "macos": MAYBE_TEXT, "machine": TEXT},
    "device": {
        "type": MAYBE_TEXT,
        "name": MAYBE_TEXT,
        "family": MAYBE_TEXT,
        "emulated": (bool,),
        "times_are": TEXT,
    },
    "routing": {"patched": (bool,), "reached": (bool, type(None))},
    "libraries": [{"name": TEXT, "seconds": MAYBE_NUMBER, "failure": MAYBE_TEXT}],
    "calls": [
        {
            "method": TEXT,
            "shape": [(int,)],
            "cold_seconds": MAYBE_NUMBER,
            "warm_seconds": MAYBE_NUMBER,
            "failure": MAYBE_TEXT,
        }
    ],
    "checks": [
        {
            "method": TEXT,
            "dtype": TEXT,
            "shape": [(int,)],
            "good": (bool,),
            "matrix": MAYBE_TEXT,
            "numbers": {...: NUMBER},
            "bounds": {...: NUMBER},
            "failure": MAYBE_TEXT,
        }
    ],
    "copy_bandwidth": MAYBE_NUMBER,
    "advice": [{"problem": (bool,), "text": TEXT}],
}


def assert_form(value, form, path: str = "report") -> None:
    if isinstance(form, dict):
        assert isinstance(value, dict), path
        if ... in form:
            form = dict.fromkeys(value, form[...])
        assert list(value) == list(form), path
        for key in form:
            assert_form(value[key], form[key], f"{path}.{key}")
    elif isinstance(form, list):
        assert isinstance(value, list), path
        for index, item in enumerate(value):
            assert_form(item, form[0], f"{path}[{index}]")
    else:
        assert type(value) in form, f"{path} is {value!r}"


@pytest.fixture
def wanted(target) -> str:
    """The option of --device for the device under test."""
    return "emulated" if metalsvd.emulator.is_enabled() else target.type


@pytest.fixture
def quick(monkeypatch):
    """Two methods, and little to copy."""
    monkeypatch.setattr(_doctor, "METHODS", FEW_METHODS)
    monkeypatch.setattr(_doctor, "REAL_METHODS", {})
    monkeypatch.setattr(_doctor, "EMULATED_COPIED_BYTES", 2**20)
    monkeypatch.delenv("METALSVD_ROUTE", raising=False)


def diagnose(capsys, *arguments: str) -> tuple[int, dict]:
    status = main(["doctor", "--json", *arguments])
    report = json.loads(capsys.readouterr().out)
    assert_form(report, SCHEMA)
    assert report["schema"] == 1
    assert status == (0 if report["healthy"] else 1)
    return status, report


def texts(report: dict, problem: bool) -> str:
    return "\n".join(advice["text"] for advice in report["advice"] if advice["problem"] == problem)


# --- healthy ----------------------------------------------------------------------------------------------------------


def test_a_healthy_emulated_gpu(emulated):
    """The command as a user types it: all methods in all dtypes, exit status 0."""
    result = run_python("-W", "error", "-m", "metalsvd", "doctor", "--json", "--device", "emulated")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    report = json.loads(result.stdout)
    assert_form(report, SCHEMA)
    assert report["healthy"]
    assert report["device"]["emulated"]
    assert "say nothing about a Mac" in report["device"]["times_are"]
    assert report["routing"] == {"patched": True, "reached": True}
    methods = ["thread", "simdgroup", "threadgroup", "block", "qr", "recover"]
    dtypes = ["float32", "complex64", "float16", "bfloat16", "complex32"]
    expected = [(method, dtype) for method in methods for dtype in dtypes]
    expected += [(method, dtype) for method in ["cholesky", "whole"] for dtype in dtypes if "complex" not in dtype]
    assert [(check["method"], check["dtype"]) for check in report["checks"]] == expected
    assert [call["method"] for call in report["calls"]] == methods
    assert all(call["warm_seconds"] > 0 for call in report["calls"])
    assert report["copy_bandwidth"] > 0


def test_the_text_says_the_same(quick, wanted, capsys):
    assert main(["doctor", "--device", wanted]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"metalsvd {metalsvd.__version__}, torch {torch.__version__}, Python ")
    assert lines[-1] == "healthy"
    if wanted == "emulated":
        assert sum(line.startswith("Metal library") for line in lines) == len(_doctor.LIBRARIES)
        assert sum(line.startswith("check  simdgroup") and " good " in line for line in lines) == 5
        assert any("say nothing about a Mac" in line for line in lines)


def test_cpu(quick, capsys):
    status, report = diagnose(capsys, "--device", "cpu")
    assert status == 0, report
    assert report["libraries"] == []
    assert {check["method"] for check in report["checks"]} == {"lapack"}


def test_every_metal_library_is_compiled():
    files = Path(__file__).parent.parent.joinpath("kernels").glob("*.metal")
    assert {file.stem for file in files} - {"skeleton"} == set(_doctor.LIBRARIES)


def test_every_method_is_called():
    """driver= forces what the table says."""
    reflectors = "QR by block reflectors"
    beginnings = {"qr": "tall QR", "cholesky": "QR by Cholesky factors", "recover": reflectors, "whole": reflectors}
    for method, shape in (_doctor.METHODS | _doctor.REAL_METHODS).items():
        assert metalsvd.plan(shape, driver=method).startswith(beginnings.get(method, f"{method}:"))


# --- not healthy ------------------------------------------------------------------------------------------------------


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wrong_results(dtype, quick, wanted, monkeypatch, capsys):
    right = metalsvd.ops.svd

    def wrong(A, *args, **options):
        result = right(A, *args, **options)
        return result._replace(U=result.U * 1.01) if A.dtype == dtype else result

    monkeypatch.setattr(_doctor.ops, "svd", wrong)
    status, report = diagnose(capsys, "--device", wanted)
    assert status == 1
    name = str(dtype).removeprefix("torch.")
    # bfloat16 is compared with float32, both of which are wrong where that is.
    assert f"Method 'simdgroup' is wrong in {name}: on the matrix" in texts(report, problem=True)
    assert "METALSVD_ROUTE=0" in texts(report, problem=True)
    assert [check["good"] for check in report["checks"] if check["dtype"] == "complex64"] == [True, True]


@pytest.mark.kernels
def test_results_that_are_nan(quick, wanted, monkeypatch, capsys):
    right = metalsvd.ops.svd

    def nan(A, *args, **options):
        result = right(A, *args, **options)
        return result._replace(S=result.S * math.nan)

    monkeypatch.setattr(_doctor.ops, "svd", nan)
    status, report = diagnose(capsys, "--device", wanted)
    assert status == 1
    assert not any(check["good"] for check in report["checks"])
    assert "sigma_error is nan" in texts(report, problem=True)


def test_a_metal_library_that_does_not_compile(quick, emulated, monkeypatch, capsys):
    monkeypatch.setattr(_doctor, "LIBRARIES", ["thread", "nonsense"])
    status, report = diagnose(capsys, "--device", "emulated")
    assert status == 1
    good, bad = report["libraries"]
    assert good["failure"] is None
    assert good["seconds"] > 0
    assert bad["seconds"] is None
    assert "there is no Metal library 'nonsense'" in bad["failure"]
    assert "The Metal library 'nonsense' does not compile" in texts(report, problem=True)


@pytest.mark.kernels
def test_a_method_that_does_not_run(quick, wanted, monkeypatch, capsys):
    monkeypatch.setattr(_doctor, "METHODS", {"thread": (9, 9)})
    status, report = diagnose(capsys, "--device", wanted)
    assert status == 1
    assert "Method 'thread' does not run (RuntimeError: linalg.svd: a matrix of 9x9" in texts(report, problem=True)
    assert "Method 'thread' is wrong in float32: RuntimeError" in texts(report, problem=True)


def test_an_installation_without_its_operator_library(tmp_path):
    source = Path(metalsvd.__file__).parent
    shutil.copytree(source, tmp_path / "metalsvd", ignore=shutil.ignore_patterns("*.so", "*.dylib", "__pycache__"))
    result = run_command("doctor", PYTHONPATH=python_path(tmp_path), TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert result.returncode == 1
    assert "metalsvd is installed without its operator library" in result.stderr
    assert "reinstall it" in result.stderr


# --- routing ----------------------------------------------------------------------------------------------------------


def test_routing_switched_off_is_told_and_no_illness(quick, emulated, monkeypatch, capsys):
    monkeypatch.setenv("METALSVD_ROUTE", "0")
    metalsvd.unpatch_torch()
    try:
        status, report = diagnose(capsys, "--device", "emulated")
    finally:
        metalsvd.patch_torch()
    assert status == 0
    assert report["routing"] == {"patched": False, "reached": None}
    assert "routing is switched off (METALSVD_ROUTE=0 is set)" in texts(report, problem=False)


def test_routing_that_does_not_reach_us(quick, wanted, monkeypatch, capsys):
    if not metalsvd.is_patched(torch.device("mps" if wanted == "emulated" else wanted).type):
        pytest.skip("torch's functions are not routed on this device")
    right = torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda A, **options: right(2 * A, **options))
    status, report = diagnose(capsys, "--device", wanted)
    assert status == 1
    assert report["routing"] == {"patched": True, "reached": False}
    assert "does not give its results" in texts(report, problem=True)


# --- devices ----------------------------------------------------------------------------------------------------------


def test_a_device_that_is_not_there(quick, emulated, monkeypatch, capsys):
    for device, advice in {"mps": "Apple GPUs are in Macs", "cuda": "torch finds no CUDA device"}.items():
        if device == "cuda":
            monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        status, report = diagnose(capsys, "--device", device)
        assert status == 1
        assert report["device"]["type"] is None
        assert f"There is no device {device} here: {advice}" in texts(report, problem=True)


def test_no_device_at_all(quick, emulated, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(_doctor.emulator, "is_available", lambda: False)
    status, report = diagnose(capsys)
    assert status == 1
    assert "There is no device here that metalsvd has kernels for" in texts(report, problem=True)


def test_a_device_nobody_has_heard_of(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["doctor", "--device", "tpu"])
    assert exit_.value.code == 2
    assert "invalid choice: 'tpu'" in capsys.readouterr().err


# --- advice on findings that are not to be had here -------------------------------------------------------------------


def healthy_mac(**changes) -> _diagnosis.Report:
    report = _diagnosis.Report(
        versions={"metalsvd": "0.1.0", "torch": "2.13.0", "python": "3.12.1"},
        system={"os": "macOS-15.1-arm64", "macos": "15.1", "machine": "arm64"},
        device=_diagnosis.Device("mps", "Apple M3 Max", "Apple9"),
        routing=_diagnosis.Routing(patched=True, reached=True),
        copy_bandwidth=330e9,
    )
    return dataclasses.replace(report, **changes)


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("METALSVD_ROUTE", "PYTORCH_MPS_FAST_MATH", "TORCH_DEVICE_BACKEND_AUTOLOAD"):
        monkeypatch.delenv(name, raising=False)


def advice_on(report: _diagnosis.Report) -> list[tuple[bool, str]]:
    return [(advice.problem, advice.text) for advice in _diagnosis.advise(report)]


def test_no_advice_for_a_healthy_mac(plain_environment):
    assert advice_on(healthy_mac()) == []


@pytest.mark.parametrize(
    ("changes", "problem", "text"),
    [
        ({"versions": {"torch": "2.9.1+cu130"}}, True, "torch 2.9.1+cu130 is too old"),
        ({"system": {"macos": "13.6.1"}}, True, "macOS 13.6.1 is too old"),
        ({"device": _diagnosis.Device("mps", "AMD Radeon Pro 5500M")}, False, "none that metalsvd knows"),
        ({"copy_bandwidth": 50e9}, False, "A copy moves 50 GB/s of the 400 GB/s of Apple M3 Max"),
        (
            {"routing": _diagnosis.Routing(patched=False)},
            False,
            "routing is switched off (by metalsvd.unpatch_torch())",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_advice(changes, problem, text, plain_environment):
    ((is_problem, advice),) = advice_on(healthy_mac(**changes))
    assert is_problem == problem
    assert text in advice


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("PYTORCH_MPS_FAST_MATH", "1", "less exact arithmetic"),
        ("TORCH_DEVICE_BACKEND_AUTOLOAD", "0", "`import torch` alone does not load metalsvd"),
    ],
)
def test_advice_on_the_environment(name, value, text, plain_environment, monkeypatch):
    monkeypatch.setenv(name, value)
    ((problem, advice),) = advice_on(healthy_mac())
    assert not problem
    assert text in advice


def test_advice_on_errors_that_are_not_read(plain_environment):
    with metalsvd.error_checks(False):
        ((problem, advice),) = advice_on(healthy_mac())
    assert not problem
    assert "metalsvd.error_checks(False)" in advice


@pytest.mark.parametrize(
    ("name", "family"),
    [("Apple M1", "Apple7"), ("Apple M2 Ultra", "Apple8"), ("Apple M4 Max", "Apple9"), ("Apple M99", None)],
)
def test_family_of_a_mac(name, family):
    class Mac:
        device, emulated = "mps", False

        def environment(self):
            return {"device": name}

    assert _doctor.describe_device(Mac()) == _diagnosis.Device("mps", name, family)


def test_family_of_an_nvidia_gpu(monkeypatch):
    class Nvidia:
        device, emulated = "cuda", False

        def environment(self):
            return {"device": "NVIDIA H100 80GB HBM3"}

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert _doctor.describe_device(Nvidia()) == _diagnosis.Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90")
