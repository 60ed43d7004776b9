"""The first steps to a new kernel, as CONTRIBUTING.md gives them, lead to one that is checked and runs."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from metal_harness import ROOT, Emulator, floats


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of what the commands touch, in which they have run."""
    clone = tmp_path_factory.mktemp("clone")
    for folder in ("cmake", "kernels"):
        shutil.copytree(ROOT / folder, clone / folder)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- new kernel -->\n *```sh\n(.*?)\n *```", text, re.DOTALL)
    commands = textwrap.dedent(block).replace("python ", f"{sys.executable} ")
    done = subprocess.run(["bash", "-euc", commands], cwd=clone, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "expected a silent check"
    return clone


def test_the_copy_is_strictly_checked(clone):
    header = clone / "kernels" / "sums.h"
    broken = clone / "kernels" / "broken.h"
    broken.write_text(header.read_text().replace("float sum = 0.0f;", "float sum = 0.0;"))
    metal_file = clone / "kernels" / "broken.metal"
    metal_file.write_text((clone / "kernels" / "sums.metal").read_text().replace("sums.h", "broken.h"))
    check = [sys.executable, "cmake/check_metal.py", metal_file]
    done = subprocess.run(check, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 1
    assert "broken.h" in done.stdout, done.stdout


def test_the_copy_runs_in_every_order(clone, compiled):
    """With another sum in it: of magnitudes rather than of squares, and no root."""
    header = clone / "kernels" / "sums.h"
    text = header.read_text()
    edits = {"{ return x * x; }": "{ return abs(x); }", "precise::sqrt(total)": "total"}
    for before, after in edits.items():
        assert text.count(before) == 1, f"the skeleton no longer has {before}"
        text = text.replace(before, after)
    header.write_text(text)
    emulator = Emulator(pathlib.Path(compiled), [clone / "kernels" / "sums.metal"])
    rows, columns = 200, 3
    values = [((7 * i) % 31 - 15) / 4 for i in range(rows * columns)]
    expected = [sum(abs(values[i * columns + j]) for i in range(rows)) for j in range(columns)]
    for options in ({"order": "reverse"}, {"order": "random", "seed": 5}, {"check_memory": True}):
        sums = floats([0.0] * columns)
        emulator.options(**options)
        emulator.run("sums", "sums_columns_f32", (128 * columns, 1), (128, 1), [floats(values), sums, rows])
        assert list(sums) == expected, options  # quarters, of which float32 makes no error
