"""What the documents say is true: their Python runs, their commands are understood, their names are the public ones."""

from __future__ import annotations

import pathlib
import re
import shlex

import metalsvd
import pytest
from metalsvd import __main__

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def blocks(language: str) -> list:
    """The fenced blocks of that language, each with where it stands."""
    found = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[1], id=f"{name}:{line}"))
    return found


def commands(start: str) -> list:
    """The lines of shell blocks that begin so, or go on so behind &&."""
    found = []
    for block in blocks("sh"):
        for line in block.values[0].splitlines():
            parts = [part.strip() for part in line.split("#")[0].split("&&")]
            found += [pytest.param(part, id=part) for part in parts if start in part]
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_the_documents_runs(code, emulated, capsys):
    exec(compile(code, "document", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("command", commands("-m metalsvd"))
def test_the_commands_of_the_documents_are_understood(command):
    words = shlex.split(command)
    parsed = __main__.make_parser().parse_args(words[words.index("metalsvd") + 1 :])
    assert parsed.command


@pytest.mark.parametrize("command", commands("python"))
def test_the_files_of_the_documents_exist(command):
    for word in shlex.split(command):
        if "/" in word and not word.startswith("-"):
            assert (ROOT / word).exists(), f"{command}: there is no {word}"


def path_of_a_call() -> list[tuple[str, list[str]]]:
    """(file, functions) of each row of the table."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("<!-- path of a call -->")[1].split("\n\n")[1]
    rows = [line.split("|")[2:4] for line in table.splitlines()[2:]]
    return [(re.search(r"\((.*?)\)", file)[1], re.findall(r"`(\w+)`", functions)) for file, functions in rows]


def test_the_path_of_a_call_is_the_one_that_is_told():
    """Each function is defined in its file, and the first of a row named in one of the rows before: where it is called
    or, an operator, registered."""
    before = "metalsvd.svd"
    rows = path_of_a_call()
    assert len(rows) == 9
    for file, functions in rows:
        text = (ROOT / file).read_text(encoding="utf-8")
        for name in functions:
            definition = rf"^def {name}\(" if file.endswith(".py") else rf"\b{name}\([^;{{]*\)[^;{{]*\{{"
            assert re.search(definition, text, re.MULTILINE), f"{file} does not define {name}"
        if functions:
            # Kernels are launched by a name that the planner composes.
            called = functions[0].removeprefix("svd_") if file.startswith("kernels/") else functions[0].strip("_")
            assert re.search(rf"\b{called}\b", before), f"{functions[0]} is not called before {file}"
        before += text


def test_the_public_names_are_listed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Public names") : text.index("## What works")]
    listed = set(re.findall(r"`metalsvd\.(\w+)`", table)) - {"svd`"}
    assert listed == set(metalsvd.__all__)
    assert all(hasattr(metalsvd, name) for name in listed)


def test_the_changelog_names_this_version_and_its_oldest_torch():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## (\S+)", text, re.MULTILINE)[1]
    assert first == metalsvd.__version__
    needs = re.search(r"Needs torch (\d+\.\d+) or later", text)[1]
    assert f'"torch>={needs}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
