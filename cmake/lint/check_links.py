"""Check that every relative link and image of the Markdown files leads to a file, and every #anchor to a heading.

    python cmake/lint/check_links.py README.md CONTRIBUTING.md ...

Reads files only, never the network: links to other hosts are not followed.
"""

from __future__ import annotations

import functools
import pathlib
import re
import sys
import urllib.parse
from collections.abc import Iterator

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# [text](target), ![text](target), both with an optional title, and [label]: target
_INLINE = re.compile(r"\]\(\s*(?:<([^>]*)>|([^\s()]*(?:\([^\s()]*\)[^\s()]*)*))(?:\s+[\"'(][^)]*)?\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)")
_HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)\s*=\s*[\"']([^\"']*)[\"']", re.IGNORECASE)
_HTML_ANCHOR = re.compile(r"<[a-z0-9]+\b[^>]*?\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)


def _without_comments(text: str) -> str:
    return _COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), text)


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines outside fenced code."""
    fence = None
    for number, line in enumerate(_without_comments(text).splitlines(), start=1):
        mark = _FENCE.match(line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is not None:
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = None
        else:
            yield number, line


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # links count by their text
    heading = re.sub(r"[`*]|<[^>]+>", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


@functools.cache
def anchors(path: pathlib.Path) -> frozenset[str]:
    found: set[str] = set()
    seen: dict[str, int] = {}
    for _, line in prose_lines(path.read_text(encoding="utf-8")):
        found.update(_HTML_ANCHOR.findall(line))
        if heading := _HEADING.match(line):
            name = slug(heading[1])
            count = seen.get(name, 0)
            seen[name] = count + 1
            found.add(f"{name}-{count}" if count else name)
    return frozenset(found)


def links(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    for number, line in prose_lines(path.read_text(encoding="utf-8")):
        line = _CODE_SPAN.sub("", line)
        for found in _INLINE.finditer(line):
            yield number, found[1] if found[1] is not None else found[2]
        if found := _REFERENCE.match(line):
            yield number, found[1]
        for target in _HTML.findall(line):
            yield number, target


def problem(path: pathlib.Path, target: str) -> str | None:
    """What is wrong with a link of the file ``path``, or None."""
    parts = urllib.parse.urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    if not target:
        return "empty link"
    if parts.path.startswith("/"):
        return f"{target}: an absolute path leads nowhere outside this machine"
    file = path.parent / urllib.parse.unquote(parts.path) if parts.path else path
    if not file.exists():
        return f"{target}: no such file"
    if parts.fragment and file.suffix == ".md" and urllib.parse.unquote(parts.fragment) not in anchors(file):
        return f"{target}: no such heading"
    return None


def main(names: list[str]) -> int:
    count = 0
    broken = 0
    for path in map(pathlib.Path, names):
        for number, target in links(path):
            count += 1
            if reason := problem(path, target):
                broken += 1
                print(f"{path}:{number}: {reason}", file=sys.stderr)
    print(f"{count} links in {len(names)} files, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
