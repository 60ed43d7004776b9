"""One Metal library = one text.

A library is a file kernels/<name>.metal and the headers it includes, flattened into a single text. The host hands this
text to the Metal runtime, the strict check parses it and the translator turns it into C++: all three read the same
bytes, and the map of lines brings every message back to the file that a person wrote.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys

_QUOTED_INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')
_SYSTEM_INCLUDE = re.compile(r"\s*#\s*include\s*<([^>]+)>")
_PRAGMA_ONCE = re.compile(r"\s*#\s*pragma\s+once\b")


@dataclasses.dataclass(frozen=True)
class Origin:
    """The place a line of the flattened text came from."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class SourceError(Exception):
    """Text that cannot be used, and where it stands."""

    def __init__(self, origin: Origin, message: str):
        super().__init__(f"{origin}: error: {message}")
        self.origin = origin


@dataclasses.dataclass(frozen=True)
class MetalSource:
    """The flattened text of a library. origins[i] is where line i (counted from 0) was written."""

    name: str
    text: str
    origins: tuple[Origin, ...]
    files: tuple[pathlib.Path, ...]  # everything that was read, for a build tool's dependency list

    def origin_of_offset(self, offset: int) -> Origin:
        return self.origins[min(self.text.count("\n", 0, offset), len(self.origins) - 1)]


class _Flattener:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.lines: list[str] = []
        self.origins: list[Origin] = []
        self.files: list[pathlib.Path] = []
        self.system_headers: set[str] = set()

    def display_name(self, path: pathlib.Path) -> str:
        try:
            return path.relative_to(self.root.parent).as_posix()
        except ValueError:
            return path.as_posix()

    def add(self, path: pathlib.Path) -> None:
        self.files.append(path)
        shown = self.display_name(path)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            self.add_line(line, Origin(shown, number))

    def add_line(self, line: str, origin: Origin) -> None:
        if _PRAGMA_ONCE.match(line):
            return
        if match := _QUOTED_INCLUDE.match(line):
            header = (self.root / match.group(1)).resolve()
            if not header.is_file():
                raise SourceError(origin, f'no header "{match.group(1)}" under {self.root}')
            if header not in self.files:
                self.add(header)
            return
        if match := _SYSTEM_INCLUDE.match(line):
            if not match.group(1).startswith("metal_"):
                raise SourceError(origin, f"<{match.group(1)}> is not a header of Metal")
            if match.group(1) in self.system_headers:
                return
            self.system_headers.add(match.group(1))
        self.lines.append(line)
        self.origins.append(origin)


def flatten(path: str | pathlib.Path, root: str | pathlib.Path | None = None) -> MetalSource:
    """Read a .metal file and, once each, the headers it includes. They are named relative to root, which is the file's
    own folder unless given."""
    path = pathlib.Path(path).resolve()
    flattener = _Flattener(pathlib.Path(root).resolve() if root else path.parent)
    flattener.add(path)
    text = "\n".join(flattener.lines) + "\n"
    return MetalSource(path.stem, text, tuple(flattener.origins), tuple(flattener.files))


def cpp_string_literals(text: str, piece_length: int = 8000) -> str:
    """Text as adjacent raw string literals, each short enough for any compiler."""
    pieces = [text[start : start + piece_length] for start in range(0, len(text), piece_length)]
    return "\n".join(f'R"METAL({piece})METAL"' for piece in pieces)


def write_dependencies(depfile: str, target: str, source_files: list[pathlib.Path]) -> None:
    """A make-style list of what was read, so that a build tool rebuilds when a header changes."""
    escaped = " ".join(str(path).replace(" ", "\\ ") for path in source_files)
    pathlib.Path(depfile).write_text(f"{target}: {escaped}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.write(flatten(*sys.argv[1:3]).text)
