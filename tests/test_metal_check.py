"""The strict Metal check: each seeded violation is caught on its line, legal Metal and our own kernels pass."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels"
DATA = ROOT / "tests" / "data"
MARK = "// reject: "


def split_violations():
    """(name, expected message, line marked `here`, text): the text keeps its line numbers, and the head of the file."""
    lines = (DATA / "violations.metal").read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith(MARK)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        name, message = lines[start].removeprefix(MARK).split(": ", 1)
        here = [i + 1 for i in range(start, end) if lines[i].endswith("// here")]
        assert len(here) == 1, f"{name}: one line must be marked"
        kept = [line if i < starts[0] or start <= i < end else "" for i, line in enumerate(lines)]
        yield pytest.param(message, here[0], "\n".join(kept) + "\n", id=name)


@pytest.fixture(scope="module")
def check_file():
    sys.path.insert(0, str(ROOT / "cmake"))
    try:
        import metal_check
    except ImportError as error:
        pytest.fail(f"{error}: the strict Metal check needs libclang, pip install libclang==18.1.1")
    finally:
        sys.path.remove(str(ROOT / "cmake"))
    return metal_check.check_file


def command(*arguments):
    arguments = [sys.executable, str(ROOT / "cmake" / "check_metal.py"), *map(str, arguments)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("message", "here", "text"), list(split_violations()))
def test_violation_is_rejected_on_its_line(check_file, tmp_path, message, here, text):
    file = tmp_path / "violation.metal"
    file.write_text(text, encoding="utf-8")
    findings = check_file(file)
    told = "\n".join(map(str, findings)) or "nothing was found"
    assert any(message in finding.message for finding in findings), told
    assert {finding.line for finding in findings} == {here}, told


def test_legal_metal_is_accepted(check_file):
    assert check_file(DATA / "accepted.metal") == []


def test_casts_of_implicit_assignments_are_not_looked_for_in_the_text(check_file, tmp_path):
    """Clang places them at the struct, and what followed it between < and > was taken for a type."""
    file = tmp_path / "assigned.metal"
    file.write_text(
        "#include <metal_stdlib>\nusing namespace metal;\n"
        "struct Numbers {\n  int x;\n  int y;\n};\n"
        "inline bool lie_between(int a, int b, int c) { return a < b && b > c; }\n"
        "inline Numbers same(Numbers a) { return a; }\n"
        "inline Numbers second_of(Numbers a, Numbers b) {\n  a = same(b);\n  return a;\n}\n",
        encoding="utf-8",
    )
    assert "\n".join(map(str, check_file(file))) == ""


@pytest.mark.parametrize("file", sorted(KERNELS.glob("*.metal")), ids=lambda file: file.name)
def test_kernels_pass(check_file, file):
    assert "\n".join(map(str, check_file(file))) == ""


def test_findings_are_told_where_they_were_written(check_file, tmp_path):
    kernels = tmp_path / "kernels"
    (kernels / "common").mkdir(parents=True)
    header = "#pragma once\n#include <metal_stdlib>\n\ninline float scale(float x) { return x * 0.5; }\n"
    (kernels / "common" / "scale.h").write_text(header, encoding="utf-8")
    text = '// first line\n#include "common/scale.h"\n#include <metal_stdlib>\nusing namespace metal;\nfloat* p;\n'
    (kernels / "scale.metal").write_text(text, encoding="utf-8")
    findings = check_file(kernels / "scale.metal")
    places = {(finding.file, finding.line, finding.column) for finding in findings}
    assert places == {("kernels/common/scale.h", 4, 42), ("kernels/scale.metal", 5, 8)}


def test_missing_header_is_told_at_its_include(check_file, tmp_path):
    file = tmp_path / "missing.metal"
    file.write_text('#include <metal_stdlib>\n#include "no_such_file.h"\n', encoding="utf-8")
    (finding,) = check_file(file)
    assert finding.line == 2
    assert "no_such_file.h" in finding.message


def test_command_succeeds_in_silence():
    done = command(DATA / "accepted.metal")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_command_prints_findings_and_fails(tmp_path):
    file = tmp_path / "double.metal"
    file.write_text("inline float half_of(float x) { return x * 0.5; }\n", encoding="utf-8")
    shown = f"{tmp_path.name}/double.metal"
    done = command(file)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{shown}:1:44: double is not in Metal")
    done = command("--json", file, DATA / "accepted.metal")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)
    assert (finding["file"], finding["line"], finding["column"]) == (shown, 1, 44)


def test_command_names_a_file_that_is_not_there():
    done = command("no_such_file.metal")
    assert done.returncode == 2
    assert "no_such_file.metal" in done.stderr
