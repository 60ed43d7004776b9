"""The strict Metal check: nothing that Apple's compiler would reject reaches a user.

text.py          the flattened text of a library, its comments masked, and edits that remember where they were made
syntax.py        kernels, attributes, instantiations and tiles, found in the text; the edits that let clang read it
clang_parser.py  parsing with libclang, its errors in Metal's words, and the repair of whole-struct copies
rules.py         what clang accepts and Metal does not, one syntax tree node at a time
kernels.py       the signature and the threadgroup memory of kernels
calls.py         what the kernels call: recursion, functions without a body
"""

from __future__ import annotations

import dataclasses
import pathlib

import metal_source

from metal_check import syntax
from metal_check.calls import CallGraph
from metal_check.clang_parser import parse
from metal_check.rules import TreeWalk
from metal_check.text import Finding, Report, Text

__all__ = ["Finding", "check_file"]


def check_file(path: str | pathlib.Path) -> list[Finding]:
    """What is wrong with a .metal file; its quoted includes are named relative to its own folder."""
    try:
        source = metal_source.flatten(path)
    except metal_source.SourceError as error:
        message = str(error).split(": error: ", 1)[-1]
        return [Finding(error.origin.file, error.origin.line, 1, message)]
    text = Text(source.text)
    report = Report(text)
    found = syntax.read(text, report)
    unit = parse(text, found.edits, report)
    calls = CallGraph(unit)
    walk = TreeWalk(unit, found, calls, report)
    walk.run()
    calls.check(report)
    return _in_files(report, source)


def _in_files(report: Report, source: metal_source.MetalSource) -> list[Finding]:
    """The findings, moved from the flattened text to the files that it was made of."""
    findings = []
    for finding in report.findings():
        origin = source.origins[min(finding.line, len(source.origins)) - 1]
        findings.append(dataclasses.replace(finding, file=origin.file, line=origin.line))
    return findings
