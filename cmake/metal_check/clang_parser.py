"""Parsing with libclang: C++14 with the extensions of Apple's compiler, check.h in place of <metal_stdlib>."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re

import clang.cindex as cindex

from metal_check.text import Edit, EditedText, Report, Text, insertion, split_at_commas

CHECK_HEADER = pathlib.Path(__file__).resolve().parents[2] / "kernels" / "dialect" / "check.h"
FILE_NAME = "library.metal"
DEVICE, CONSTANT, THREADGROUP = 1, 2, 3  # the address spaces of check.h
ARRAYS = {cindex.TypeKind.CONSTANTARRAY, cindex.TypeKind.INCOMPLETEARRAY, cindex.TypeKind.DEPENDENTSIZEDARRAY}
# Metal 3 is C++14, whose compiler reads `if constexpr` and a few more of C++17 as extensions; so does this one.
_ARGUMENTS = [
    "-x", "c++", "-std=c++14", "--target=x86_64-linux-gnu", "-ffreestanding", "-nostdinc", "-nostdinc++",
    "-fno-exceptions", "-fno-rtti", "-ferror-limit=0", "-include", str(CHECK_HEADER),
    "-pedantic-errors", "-Wno-c++17-extensions", "-Wno-unknown-attributes", "-Wno-duplicate-decl-specifier",
    "-Werror=vla", "-Werror=global-constructors", "-Werror=return-type", "-Werror=uninitialized",
    "-Werror=sometimes-uninitialized", "-Werror=undefined-inline", "-Werror=unknown-pragmas",
]  # fmt: skip
_MAX_REPAIRS = 8

_NOT_IN_DIALECT = "'{0}' is not declared here and not in the dialect (kernels/dialect/check.h)"
_NOT_IN_METAL = " is not in Metal"
_SPACES = {str(DEVICE): "device", str(CONSTANT): "constant", str(THREADGROUP): "threadgroup"}
# clang's words -> Metal's. {0} is the first group.
_TRANSLATIONS = [
    (r"use of undeclared identifier '(.+?)'.*", _NOT_IN_DIALECT),
    (r"unknown type name '(.+?)'.*", _NOT_IN_DIALECT),
    (r"no template named '(.+?)'.*", _NOT_IN_DIALECT),
    (r"no (?:type|member) named '(.+?)' in namespace 'metal.*", _NOT_IN_DIALECT),
    (r"no member named '(mem_\w+)' in 'metal::mem_flags'.*", _NOT_IN_DIALECT),
    (r"automatic variable qualified with an address space",
     "a local variable cannot be placed in device, constant or threadgroup memory (a tile begins with `threadgroup`)"),
    (r"variable with 'loader_uninitialized' attribute cannot have an initializer",
     "a threadgroup variable cannot be initialised"),
    (r"variable with 'loader_uninitialized' attribute.*", "a threadgroup variable cannot have a constructor"),
    (r"cannot initialize object parameter of type .* with an expression of type '(.+?)'.*",
     "a method of '{0}' is called on an object that is not in `thread` memory"),
    (r"declaration requires a global constructor", "a program-scope constant needs a compile-time initialiser"),
    (r"no matching function for call to '(threadgroup_barrier|simdgroup_barrier)'",
     "{0} needs one mem_flags that is a compile-time constant"),
    (r"variable length arrays.*|variable-sized object.*", "variable length arrays are not in Metal"),
    (r"excess elements in scalar initializer", "build a vector by its name: v = float2(x, y)"),
    (r"no matching function for call to '(simd_\w+)'",
     "{0} does not take this: it takes numbers of at most 32 bits, or vectors of them"),
    (r"no matching function for call to 'as_type'", "as_type needs two types of the same size"),
    (r"no matching function for call to 'metal_check_vector'",
     "the components do not add up to those of the vector, or are no numbers"),
    (r"static (?:assertion|_assert) failed.*?: (.*)", "{0}"),
]  # fmt: skip

_COPY = re.compile(
    r"\(the implicit copy (constructor|assignment operator)\) not viable: cannot bind reference in address"
)
_STORE = re.compile(r"\(the implicit copy assignment operator\) not viable: 'this' object is in address space")
_CONVERSION = re.compile(r"no viable conversion from '(__attribute__|device|constant|threadgroup|const )")
_METHOD = re.compile(r"'this' object is in address space")


@dataclasses.dataclass(frozen=True)
class Unit:
    """The syntax tree, and the edited text that it was made from."""

    tree: cindex.TranslationUnit
    source: EditedText

    @functools.cached_property
    def text(self) -> str:
        return self.source.edited.text

    @functools.cached_property
    def code(self) -> str:
        return self.source.edited.code

    @functools.cached_property
    def declarations(self) -> list[cindex.Cursor]:
        """The outermost declarations, without those of check.h."""
        return [cursor for cursor in self.tree.cursor.get_children() if is_ours(cursor.location)]

    def original_offset(self, cursor: cindex.Cursor) -> int:
        return self.source.original_offset(cursor.location.offset)


def type_kind(type_: cindex.Type) -> cindex.TypeKind | None:
    """The kind of a type; None for those that the Python binding has no name for, such as _Float16."""
    try:
        return type_.kind
    except ValueError:
        return None


def address_space(type_: cindex.Type) -> int:
    """Where an object lies; of an array, where its elements do."""
    type_ = type_.get_canonical()
    while type_.get_address_space() == 0 and type_kind(type_) in ARRAYS:
        type_ = type_.element_type.get_canonical()
    return type_.get_address_space()


def is_ours(location: cindex.SourceLocation) -> bool:
    return location.file is not None and location.file.name == FILE_NAME


def parse(text: Text, edits: list[Edit], report: Report) -> Unit:
    """Parse the edited text, let whole structs be copied across address spaces, and report what clang finds wrong."""
    repairs: set[Edit] = set()
    for _ in range(_MAX_REPAIRS):
        in_order = sorted(repairs, key=lambda edit: (edit.start, edit.replacement))
        unit = _parse_once(EditedText(text, [*edits, *in_order]))
        found = {edit for diagnostic in unit.tree.diagnostics for edit in _repairs(diagnostic, unit)}
        if found <= repairs:
            break
        repairs |= found
    _report_errors(unit, text, report)
    return unit


def _report_errors(unit: Unit, text: Text, report: Report) -> None:
    messages: dict[int, list[str]] = {}
    for diagnostic in unit.tree.diagnostics:
        if diagnostic.severity >= cindex.Diagnostic.Error:
            location = _our_location(diagnostic)
            offset = unit.source.original_offset(location.offset) if location else 0
            messages.setdefault(offset, []).append(_in_metal_words(diagnostic, text, offset))
    for offset, found in messages.items():
        not_in_metal = [message for message in found if message.endswith(_NOT_IN_METAL)]
        for message in not_in_metal or found:  # what else clang says about a forbidden word is beside the point
            report.add(offset, message)


def _parse_once(source: EditedText) -> Unit:
    tree = cindex.Index.create().parse(FILE_NAME, _ARGUMENTS, [(FILE_NAME, source.edited.text)])
    return Unit(tree, source)


def _our_location(diagnostic: cindex.Diagnostic) -> cindex.SourceLocation | None:
    """Where the error is, or, for one inside check.h, the place in our text that led there."""
    locations = [diagnostic.location, *(note.location for note in diagnostic.children)]
    return next((location for location in locations if is_ours(location)), None)


def _in_metal_words(diagnostic: cindex.Diagnostic, text: Text, offset: int) -> str:
    message = diagnostic.spelling
    if "poisoned identifier" in message:
        return f"'{re.match(r'[A-Za-z_0-9]*', text.text[offset:]).group()}'{_NOT_IN_METAL}"
    message = with_space_names(message)
    for pattern, translation in _TRANSLATIONS:
        if match := re.fullmatch(pattern, message, re.DOTALL):
            return translation.format(*(match.groups() or ("",)))
    return message + _reason(diagnostic)


def _reason(diagnostic: cindex.Diagnostic) -> str:
    """Why the only function that could have been meant does not fit."""
    reasons = [note.spelling for note in diagnostic.children if "candidate" in note.spelling]
    return f" ({with_space_names(reasons[0].split(': ', 1)[-1])})" if len(reasons) == 1 else ""


def with_space_names(message: str) -> str:
    """clang's numbers of address spaces by their Metal names."""
    message = re.sub(r"__attribute__\(\(address_space\((\d)\)\)\)", lambda match: _SPACES[match.group(1)], message)
    message = re.sub(r"address space '(\d)'", lambda match: f"`{_SPACES[match.group(1)]}`", message)
    return message.replace("generic address space", "`thread`")


def _repairs(diagnostic: cindex.Diagnostic, unit: Unit) -> list[Edit]:
    """A whole-struct copy across address spaces is legal in Metal: pass it through a function that knows the spaces."""
    notes = [note.spelling for note in diagnostic.children]
    ranges = [(r.start.offset, r.end.offset) for r in diagnostic.ranges if is_ours(r.start)]
    if diagnostic.severity < cindex.Diagnostic.Error or not ranges:
        return []
    if diagnostic.spelling == "no viable overloaded '='" and len(ranges) == 2:
        if any(map(_STORE.search, notes)):
            return _wrap("metal_check_store", ranges[0], unit) + _wrap("metal_check_load", ranges[1], unit)
        if any(map(_COPY.search, notes)):
            return _wrap("metal_check_load", ranges[1], unit)
    elif diagnostic.spelling.startswith(("no matching constructor", "no matching conversion")):
        if any(map(_COPY.search, notes)):
            return _wrap("metal_check_load", ranges[-1], unit)
    elif _CONVERSION.match(diagnostic.spelling) and not any(map(_METHOD.search, notes)):
        return _wrap("metal_check_load", ranges[0], unit)
    return []


def _wrap(function: str, span: tuple[int, int], unit: Unit) -> list[Edit]:
    start, end = span
    code = unit.code[start:end]
    if code.startswith("{"):
        if len(split_at_commas(code[1:-1])) > 1:  # a list of members is no copy
            return []
        start, end = start + 1, end - 1
    original = unit.source.original_offset(start), unit.source.original_offset(end)
    return [insertion(original[0], f"{function}("), insertion(original[1], ")", original[0])]
