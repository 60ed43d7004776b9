"""The text of one library as clang shall see it, and the way back from clang's offsets to what a person wrote."""

from __future__ import annotations

import bisect
import dataclasses
import re

_NOT_CODE = re.compile(
    r"""//(?:\\\n|[^\n])* | /\*.*?\*/ | "(?:\\.|[^"\\\n])*" | (?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'""",
    re.VERBOSE | re.DOTALL,
)
_OPENERS = {"(": ")", "[": "]", "{": "}", "<": ">"}


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class Text:
    """Text in which every character is one byte, so that clang's offsets are Python's, and a copy that is code only."""

    def __init__(self, text: str):
        self.text = re.sub(r"[^\x00-\x7f]", "?", text)
        self.code = _NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), self.text)
        self._line_starts = [0] + [match.end() for match in re.finditer("\n", text)]

    def line_and_column(self, offset: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1


class Report:
    """Findings by offset in a Text, each message once a line: templates are seen once for every instantiation."""

    def __init__(self, text: Text):
        self.text = text
        self._findings: dict[tuple[int, str], Finding] = {}

    def add(self, offset: int, message: str) -> None:
        line, column = self.text.line_and_column(offset)
        self._findings.setdefault((line, message), Finding("", line, column, message))

    def findings(self) -> list[Finding]:
        return sorted(self._findings.values())


@dataclasses.dataclass(frozen=True)
class Edit:
    """Put `replacement` in place of [start, end). What clang says about it is reported at `origin`."""

    start: int
    end: int
    replacement: str
    origin: int


def insertion(at: int, replacement: str, origin: int | None = None) -> Edit:
    return Edit(at, at, replacement, at if origin is None else origin)


class EditedText:
    """The text after edits. Lines stay where they are; offsets are translated back."""

    def __init__(self, original: Text, edits: list[Edit]):
        pieces, position, length = [], 0, 0
        self._starts: list[int] = []  # of each piece in the edited text
        self._origins: list[tuple[int, bool]] = []  # its offset in the original, and whether it was copied from there
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
            replacement = edit.replacement + "\n" * original.text.count("\n", edit.start, edit.end)
            for piece, origin, copied in (
                (original.text[position : edit.start], position, True),
                (replacement, edit.origin, False),
            ):
                if piece:
                    self._starts.append(length)
                    self._origins.append((origin, copied))
                    pieces.append(piece)
                    length += len(piece)
            position = edit.end
        self._starts.append(length)
        self._origins.append((position, True))
        self.edited = Text("".join(pieces) + original.text[position:])

    def original_offset(self, offset: int) -> int:
        piece = bisect.bisect_right(self._starts, offset) - 1
        origin, copied = self._origins[piece]
        return origin + (offset - self._starts[piece] if copied else 0)


def skip_space(code: str, offset: int) -> int:
    while offset < len(code) and code[offset].isspace():
        offset += 1
    return offset


def matching(code: str, offset: int) -> int:
    """The offset of the bracket that closes the one at offset, or the end of the text."""
    opener, closer, depth = code[offset], _OPENERS[code[offset]], 0
    for i in range(offset, len(code)):
        if code[i] == opener:
            depth += 1
        elif code[i] == closer:
            depth -= 1
            if depth == 0:
                return i
    return len(code)


def split_at_commas(code: str) -> list[str]:
    """The parts between the commas that no bracket encloses."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(code):
        if character in "([{<":
            depth += 1
        elif character in ")]}>":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(code[start:i])
            start = i + 1
    return [*parts, code[start:]]
