"""What Metal asks of a kernel: its result, its parameters with their attributes, its threadgroup memory."""

from __future__ import annotations

import re
from collections.abc import Iterable

import clang.cindex as cindex
from clang.cindex import CursorKind, TypeKind

from metal_check.clang_parser import CONSTANT, DEVICE, THREADGROUP, Unit, address_space, type_kind
from metal_check.syntax import ATTRIBUTES, INDEX_ATTRIBUTES, POSITION_ATTRIBUTES, Attribute, attributes_behind
from metal_check.text import Report

MAX_BUFFER_INDEX = 30
THREADGROUP_BYTES = 32768  # of every Apple GPU
# Metal asks for one type in each of these groups, and for one width in all of them.
_SAME_TYPE = (
    ("thread_position_in_grid", "threads_per_grid"),
    ("thread_position_in_threadgroup", "threads_per_threadgroup", "dispatch_threads_per_threadgroup"),
)


def check_kernel(unit: Unit, kernel: cindex.Cursor, report: Report) -> None:
    """The signature of a kernel, as a template or instantiated."""
    _Signature(unit, kernel, report).check()


def check_tiles(unit: Unit, kernel: cindex.Cursor, report: Report, offset: int) -> None:
    """The threadgroup memory of one compiled kernel, told at offset."""
    total = 0
    for tile in _tiles(kernel.walk_preorder()):
        align = max(tile.type.get_align(), 1)
        total = -(-total // align) * align + max(tile.type.get_size(), 0)
    if total > THREADGROUP_BYTES:
        needs = f"'{kernel.spelling}' takes {total} bytes of threadgroup memory"
        report.add(offset, f"{needs}, a GPU has {THREADGROUP_BYTES}")


def _tiles(cursors: Iterable[cindex.Cursor]) -> list[cindex.Cursor]:
    return [c for c in cursors if c.kind == CursorKind.VAR_DECL and address_space(c.type) == THREADGROUP]


class _Signature:
    def __init__(self, unit: Unit, kernel: cindex.Cursor, report: Report):
        self.unit = unit
        self.kernel = kernel
        self.report = report
        self.buffers: set[int] = set()
        self.positions: dict[str, tuple[str, int]] = {}  # attribute -> (scalar, width)
        self.indices: dict[str, tuple[str, cindex.Cursor]] = {}

    def check(self) -> None:
        if type_kind(self.kernel.result_type.get_canonical()) != TypeKind.VOID:
            self._add(self.kernel, "a kernel returns void")
        if self.kernel.semantic_parent.kind not in (CursorKind.TRANSLATION_UNIT, CursorKind.NAMESPACE):
            self._add(self.kernel, "a kernel cannot be a method")
        for child in self.kernel.get_children():
            if child.kind == CursorKind.PARM_DECL:
                self._check_parameter(child)
            elif child.kind == CursorKind.COMPOUND_STMT:
                self._check_tile_scopes(child)
        self._check_thread_index()

    def _add(self, cursor: cindex.Cursor, message: str) -> None:
        self.report.add(self.unit.original_offset(cursor), message)

    def _check_tile_scopes(self, body: cindex.Cursor) -> None:
        """A tile belongs to the whole kernel, not to a block inside it."""
        outermost = {tile.hash for statement in body.get_children() for tile in _tiles(statement.get_children())}
        for tile in _tiles(body.walk_preorder()):
            if tile.hash not in outermost:
                self._add(
                    tile, f"threadgroup variable '{tile.spelling}' must stand in the outermost scope of the kernel"
                )

    def _check_parameter(self, parameter: cindex.Cursor) -> None:
        behind = parameter.location.offset + len(parameter.spelling)
        attributes = [a for a in attributes_behind(self.unit.code, behind) if a.name != "maybe_unused"]
        if len(attributes) != 1:
            problem = "has two attributes" if attributes else "has no attribute, such as [[buffer(0)]]"
            self._add(parameter, f"kernel parameter '{parameter.spelling}' {problem}")
        for attribute in attributes[:1]:
            if attribute.name == "buffer":
                self._check_buffer(parameter, attribute)
            elif attribute.name in POSITION_ATTRIBUTES | INDEX_ATTRIBUTES:
                self._check_position(parameter, attribute.name)
            elif attribute.name in ATTRIBUTES:
                self._add(parameter, f"[[{attribute.name}]] does not belong on a kernel parameter")

    def _check_buffer(self, parameter: cindex.Cursor, attribute: Attribute) -> None:
        self._check_buffer_type(parameter)
        if not attribute.argument.isdigit() or int(attribute.argument) > MAX_BUFFER_INDEX:
            wrong = f"[[buffer({attribute.argument})]]"
            self._add(parameter, f"{wrong}: the index is a number from 0 to {MAX_BUFFER_INDEX}")
            return
        if int(attribute.argument) in self.buffers:
            self._add(parameter, f"a second [[buffer({attribute.argument})]] in this kernel")
        self.buffers.add(int(attribute.argument))

    def _check_buffer_type(self, parameter: cindex.Cursor) -> None:
        type_ = parameter.type.get_canonical()
        pointee = type_.get_pointee()
        indirect = type_kind(type_) in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE)
        if not indirect or pointee.get_address_space() not in (DEVICE, CONSTANT):
            self._add(parameter, f"buffer '{parameter.spelling}' must be a device or constant pointer or reference")
        elif type_kind(pointee.get_canonical()) == TypeKind.POINTER:
            self._add(parameter, f"buffer '{parameter.spelling}' is a pointer to a pointer")
        elif type_kind(pointee.get_canonical()) == TypeKind.BOOL:
            self._add(parameter, f"buffer '{parameter.spelling}' of bool: use a type whose size the host knows")

    def _check_position(self, parameter: cindex.Cursor, attribute: str) -> None:
        spelling = parameter.type.get_canonical().spelling
        match = re.fullmatch(
            r"(?:const )?(?:unsigned (int|short)|(?:uint|ushort|unsigned int|unsigned short))"
            r"(?: __attribute__\(\(ext_vector_type\((\d)\)\)\))?",
            spelling,
        )
        scalar = "ushort" if "short" in spelling else "uint"
        width = int(match.group(2) or 1) if match else 0
        if attribute in self.positions or attribute in self.indices:
            self._add(parameter, f"a second [[{attribute}]] in this kernel")
        elif attribute in INDEX_ATTRIBUTES:
            self.indices[attribute] = scalar, parameter
            if width != 1:
                self._add(parameter, f"[[{attribute}]] must be uint or ushort")
        elif not 1 <= width <= 3:
            self._add(parameter, f"[[{attribute}]] must be uint or ushort, or a vector of 2 or 3 of them")
        else:
            self._compare_positions(parameter, attribute, (scalar, width))

    def _compare_positions(self, parameter: cindex.Cursor, attribute: str, shape: tuple[str, int]) -> None:
        for other, other_shape in self.positions.items():
            if other_shape[1] != shape[1]:
                self._add(parameter, f"[[{attribute}]] and [[{other}]] must have the same number of components")
                break
            if other_shape != shape and any({attribute, other} <= set(group) for group in _SAME_TYPE):
                self._add(parameter, f"[[{attribute}]] and [[{other}]] must have the same type")
                break
        self.positions[attribute] = shape

    def _check_thread_index(self) -> None:
        position = self.positions.get("thread_position_in_threadgroup", ("", 0))[0]
        index, parameter = self.indices.get("thread_index_in_threadgroup", ("", self.kernel))
        if position == "uint" and index == "ushort":
            self._add(parameter, "[[thread_index_in_threadgroup]] must be uint, as thread_position_in_threadgroup is")
