"""The Metal text that the library carries is the one that was checked, and holds every kernel that the host asks for.

Host code, planner included, runs as it is, over a Metal runtime that runs no kernel (data/recording_shim.c) and records
each text it is given and each kernel that is asked of it.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import metalsvd._load
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "cmake"))
try:
    import metal_source
    import metal_syntax
finally:
    sys.path.remove(str(ROOT / "cmake"))

# Small matrices of every size, few and many, and of larger ones some for each method.
ASK_FOR_ALL = """
import ctypes, json, sys

recording = ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
import torch
import metalsvd

metalsvd.emulator.enable()  # for tensors on mps: the shim that was loaded first is the one that is found
shapes = [(n, n) for n in (*range(1, 34), *range(34, 130, 5))] + [(n + 9, n) for n in range(3, 130, 25)]
shapes += [(600, 3), (512, 8), (700, 12), (200, 40), (130, 129), (350, 300), (9, 600), (40, 200)]
dtypes = (torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex32)
sizes = [(2, *shape) for shape in shapes] + [(40, n, n) for n in range(7, 34)] + [(1, 70, 16), (2, 48, 24), (2, 64, 24)]
wide_sizes = [(1, 41, 41), (9, 21, 21), (9, 25, 25), (1, 170, 170), (1, 200, 200)]
wide_sizes += [(1, 230, 230), (1, 260, 260)]
wide_sizes += [(count, n, n) for n in (40, 48, 56, 64, *range(66, 161, 7)) for count in (1, 9)]
cases = [(False, dtype, *size) for dtype in dtypes for size in sizes]
cases += [(True, dtype, *size) for dtype in dtypes for size in wide_sizes]
for wide_lanes, dtype, count, m, n in cases:
    ctypes.c_bool.in_dll(recording, "recording_wide_lanes").value = wide_lanes
    A = torch.empty(count, m, n, dtype=dtype, device="mps")
    for driver in (None, "thread", "simdgroup", "threadgroup", "block", "qr", "cholesky", "recover", "whole"):
        for full_matrices, compute_uv in ((False, False), (False, True), (True, True)):
            try:
                metalsvd.svd_ex(A, full_matrices, compute_uv, driver=driver)
            except RuntimeError as error:
                if driver is None or "does not fit" not in str(error):
                    raise
asked = range(recording.recording_count())
recording.recording_source.restype = recording.recording_kernel.restype = ctypes.c_char_p
names = [(recording.recording_source(i).decode(), recording.recording_kernel(i).decode()) for i in asked]
print(json.dumps(names))
"""


@pytest.fixture(scope="module")
def sources():
    return [metal_source.flatten(file) for file in sorted((ROOT / "kernels").glob("*.metal"))]


def test_the_library_holds_the_texts_that_were_checked_and_no_other(sources):
    """metal_source.flatten is what the strict check reads; the emulator refuses any text that it was not built from."""
    embedded = [text for text in metalsvd._load.library_path.read_bytes().split(b"\0") if b"[[kernel]]" in text]
    assert sorted(embedded) == sorted(source.text.encode() for source in sources)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """(text of the library, kernel), as host code asks for them."""
    if not metalsvd.emulator.is_available():
        pytest.skip("needs tensors on mps: metalsvd was built without the emulated Apple GPU")
    compiler = shutil.which("cc") or shutil.which("c++")
    library = tmp_path_factory.mktemp("recording") / "librecording.so"
    source = ROOT / "tests" / "data" / "recording_shim.c"
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", "-w", source, "-o", library], check=True)
    done = subprocess.run([sys.executable, "-c", ASK_FOR_ALL, library], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {(source, kernel) for source, kernel in json.loads(done.stdout)}


def test_every_kernel_that_is_asked_for_is_in_its_text(sources, asked):
    """And every kernel is asked for: a sweep that missed a method could not tell that its kernels are there."""
    texts = {source.text: source.name for source in sources}
    foreign = {kernel for text, kernel in asked if text not in texts}
    assert not foreign, "asked for in a text that was never checked"
    instantiated = {
        f"{source.name}/{instantiation.host_name}"
        for source in sources
        if source.name != "skeleton"  # for people to copy
        for instantiation in metal_syntax.Syntax(source).instantiations
    }
    names = {f"{texts[text]}/{kernel}" for text, kernel in asked}
    assert sorted(names - instantiated) == [], "asked for and not instantiated"
    assert sorted(instantiated - names) == [], "instantiated and never asked for"
