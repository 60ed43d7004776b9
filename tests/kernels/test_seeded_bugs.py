"""Bugs put into a copy of our own kernel, each found by a check: the emulator while it runs, or the strict check."""

from __future__ import annotations

import ctypes
import pathlib
import random
import shutil
import subprocess
import sys

import pytest
from metal_harness import ROOT, Emulator, KernelFailure, floats, zeros

ROWS, COLUMNS = 9, 6

INSTANTIATION = """#include "threadgroup.h"
namespace metalsvd {
template [[host_name("svd")]] [[kernel]] decltype(svd_threadgroup<float, false, limits::threadgroup_tile_words>)
    svd_threadgroup<float, false, limits::threadgroup_tile_words>;
}
"""

# name: (file, text, replacement, what the emulator says)
BUGS = {
    "none": ("threadgroup.h", "", "", None),
    "removed_barrier": (
        "threadgroup_sweep.h",
        "    } else {\n      threadgroup_barrier(mem_flags::mem_threadgroup);\n    }",
        "    }",
        "race",
    ),
    "weak_barrier": (
        "threadgroup_sweep.h",
        "    } else {\n      threadgroup_barrier(mem_flags::mem_threadgroup);",
        "    } else {\n      threadgroup_barrier(mem_flags::mem_device);",
        "race",
    ),
    "one_buffer_of_squares": (
        "common/pivoted_qr.h",
        "states + (k + 1) % 2 * columns;",
        "states + k % 2 * columns;",
        "race",
    ),
    "shifting_owners_of_a_team": (
        "common/pivoted_qr.h",
        "first_owned(first, lane_in_team(team), limits::team_lanes)",
        "first + lane_in_team(team)",
        "race",
    ),
    "early_return": (
        "common/team.h",
        "  if (team.lane == 0) slots[team.simdgroup] = largest;",
        "  if (team.index == 33) return largest;",
        "race|barrier divergence",
    ),
    "one_past_the_end_of_a_buffer": (
        "threadgroup.h",
        "for (int k = team.index; k < shape.columns; k += team.threads) {",
        "for (int k = team.index; k <= shape.columns; k += team.threads) {",
        "out of bounds",
    ),
    "one_past_the_end_of_a_tile": (
        "common/team.h",
        "slots[team.simdgroup] = largest",
        "slots[team.simdgroup + limits::simdgroups_per_threadgroup] = largest",
        "out of bounds",
    ),
    "tile_of_33_kib": (
        "device_limits.h",
        "threadgroup_tile_words = threadgroup_bytes",
        "threadgroup_tile_words = 1024 + threadgroup_bytes",
        "32768",
    ),
    # Was once in the kernel: two reflectors dealt the rows of a column to the lanes differently.
    "shifting_owners": (
        "common/team.h",
        "first + ((lane - first) & (lanes - 1))",
        "first + lane % lanes",
        "race",
    ),
}


def seed_bug(folder: pathlib.Path, name: str, file: str, text: str, replacement: str) -> pathlib.Path:
    """A copy of the kernels with one bug, and a library of it that is called like the bug."""
    shutil.copytree(ROOT / "kernels", folder, ignore=shutil.ignore_patterns("dialect", "*.metal"), dirs_exist_ok=True)
    source = (folder / file).read_text()
    assert text in source, f"the text that '{name}' replaces is no longer in {file}"
    (folder / file).write_text(source.replace(text, replacement, 1) if text else source)
    library = folder / f"{name}.metal"
    library.write_text(INSTANTIATION)
    return library


@pytest.fixture(scope="module")
def seeded(tmp_path_factory, pytestconfig):
    folder = tmp_path_factory.mktemp("seeded")
    libraries = [seed_bug(folder / name, name, *bug[:3]) for name, bug in BUGS.items()]
    return Emulator(pytestconfig.cache.mkdir("emulated-kernels"), libraries)


def run(emulator: Emulator, name: str) -> list[float]:
    """The full decomposition of a rank-deficient matrix, on three SIMD-groups."""
    numbers = random.Random(0)
    column = [numbers.gauss(0, 1) for _ in range(ROWS * 2)]
    A = floats(column[2 * i] * (j % 2) + column[2 * i + 1] * (j % 3 == 0) for i in range(ROWS) for j in range(COLUMNS))
    S = zeros(ctypes.c_float, COLUMNS)
    left, right = zeros(ctypes.c_float, ROWS * ROWS), zeros(ctypes.c_float, COLUMNS * COLUMNS)
    info, scratch = zeros(ctypes.c_int32, 1), zeros(ctypes.c_float, 1)
    sizes = [1, ROWS, COLUMNS, ROWS, 0, ROWS * COLUMNS, COLUMNS, 1]
    emulator.options(check_memory=True)
    emulator.run(name, "svd", 96, 96, [A, left, S, right, info, scratch, *sizes])
    assert info[0] == 0
    return list(S)


def test_the_unchanged_kernel_raises_no_alarm(seeded):
    S = run(seeded, "none")
    assert S[0] >= S[1] > 0.1
    assert max(S[2:]) < 1e-6


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug[3]])
def test_the_emulator_finds(name, seeded):
    with pytest.raises(KernelFailure, match=BUGS[name][3]):
        run(seeded, name)


def test_the_strict_check_finds_a_double_literal(tmp_path):
    library = seed_bug(tmp_path / "double", "double", "common/rotation.h", "max(4.0f,", "max(4.0,")
    command = [sys.executable, ROOT / "cmake" / "check_metal.py", library]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert "common/rotation.h" in checked.stdout
    assert "double" in checked.stdout
