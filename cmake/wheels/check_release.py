"""Check that a tag, the version of pyproject.toml, CHANGELOG.md and the files to publish are one release.

python cmake/wheels/check_release.py v1.2.3 [--files FOLDER]

Python's standard library only. Prints one line a fault, and exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
from collections.abc import Iterator

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# One of each.
EXPECTED_FILES = {
    "source distribution": "metalsvd-{version}.tar.gz",
    "Linux wheel": "metalsvd-{version}-py3-none-manylinux_*_x86_64.whl",
    "macOS wheel": "metalsvd-{version}-py3-none-macosx_14_0_arm64.whl",
}


def version_of(pyproject: str) -> str:
    """The version of the project. By a regular expression, because Python 3.10 reads no TOML."""
    return re.search(r'^\[project\]$.*?^version = "([^"]+)"$', pyproject, re.MULTILINE | re.DOTALL)[1]


def tag_faults(tag: str, version: str) -> Iterator[str]:
    if tag != f"v{version}":
        yield f"the tag is {tag}, expected v{version}: the version of pyproject.toml is {version}"


def changelog_faults(changelog: str, version: str) -> Iterator[str]:
    heading = re.search(r"^## (.*)$", changelog, re.MULTILINE)
    if heading is None or not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", heading[1]):
        found = heading[1] if heading else "nothing"
        yield f"CHANGELOG.md begins with {found}, expected {version} and the day of the release, (2026-01-31) say"


def file_faults(folder: pathlib.Path, version: str) -> Iterator[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    for what, pattern in EXPECTED_FILES.items():
        pattern = pattern.format(version=version)
        matching = [file for file in files if file.match(pattern)]
        if len(matching) != 1:
            yield f"{folder} holds {len(matching)} files {pattern}, expected one {what}"
        files = [file for file in files if file not in matching]
    for file in files:
        yield f"{file} is none of {', '.join(EXPECTED_FILES)} of version {version}"


def main(arguments: list[str] | None = None, repository: pathlib.Path = REPOSITORY) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tag")
    parser.add_argument("--files", type=pathlib.Path, help="a folder, with what is to be published in it or below")
    options = parser.parse_args(arguments)

    version = version_of((repository / "pyproject.toml").read_text(encoding="utf-8"))
    faults = [*tag_faults(options.tag, version)]
    faults += changelog_faults((repository / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if options.files is not None:
        faults += file_faults(options.files, version)
    for fault in faults:
        print(f"check_release.py: {fault}", file=sys.stderr)
    if not faults:
        print(f"{options.tag}: version {version}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
