"""The functions that clang compiles from the text, template instantiations included, and what each of them calls."""

from __future__ import annotations

from collections.abc import Iterator

import clang.cindex as cindex
from clang.cindex import CursorKind

from metal_check.clang_parser import Unit, is_ours
from metal_check.text import Report

KERNEL_REFERENCE = "metal_check_kernel_"  # the variables that check.h makes of kernel instantiations
_FUNCTIONS = {
    CursorKind.FUNCTION_DECL,
    CursorKind.CXX_METHOD,
    CursorKind.CONSTRUCTOR,
    CursorKind.CONVERSION_FUNCTION,
    CursorKind.DESTRUCTOR,
}


class CallGraph:
    """Functions by USR, which tells f<float> from f<float2>; the edges are added while their bodies are walked."""

    def __init__(self, unit: Unit):
        self.unit = unit
        self.functions: dict[str, cindex.Cursor] = {}
        self._calls: dict[str, dict[str, int]] = {}  # caller -> callee -> offset of the first call
        self._undefined: dict[int, str] = {}

    def roots(self) -> Iterator[cindex.Cursor]:
        """Every function that no template parameter keeps from being compiled."""
        pending = list(self.unit.declarations)
        while pending:
            cursor = pending.pop()
            if cursor.kind in _FUNCTIONS and cursor.is_definition():
                yield cursor
            elif cursor.kind in (CursorKind.NAMESPACE, CursorKind.STRUCT_DECL, CursorKind.CLASS_DECL):
                pending.extend(cursor.get_children())

    def instantiated_kernels(self) -> Iterator[tuple[cindex.Cursor, cindex.Cursor]]:
        """The variable made of each instantiation, and the kernel it leads to."""
        for cursor in self._variables():
            for part in cursor.walk_preorder():
                function = part.referenced if part.kind == CursorKind.DECL_REF_EXPR else None
                if function is not None and function.kind == CursorKind.FUNCTION_DECL:
                    yield cursor, function.get_definition() or function
                    break

    def _variables(self) -> Iterator[cindex.Cursor]:
        pending = self.unit.declarations[::-1]
        while pending:
            cursor = pending.pop()
            if cursor.kind == CursorKind.NAMESPACE:
                pending.extend(cursor.get_children())
            elif cursor.kind == CursorKind.VAR_DECL and cursor.spelling.startswith(KERNEL_REFERENCE):
                yield cursor

    def callee(self, caller: cindex.Cursor, reference: cindex.Cursor) -> cindex.Cursor | None:
        """Note a use of a function; its definition, if it is ours and was not seen before."""
        function = reference.referenced
        if function is None or function.kind not in _FUNCTIONS or not is_ours(function.location):
            return None
        usr = function.get_usr()
        self._calls.setdefault(caller.get_usr(), {}).setdefault(usr, self.unit.original_offset(reference))
        definition = function.get_definition()
        if definition is None:
            if not function.is_default_method() and function.kind in (CursorKind.FUNCTION_DECL, CursorKind.CXX_METHOD):
                self._undefined[self.unit.original_offset(reference)] = function.spelling
            return None
        if usr in self.functions:
            return None
        self.functions[usr] = definition
        return definition

    def check(self, report: Report) -> None:
        if not report.findings():  # clang drops a body with errors, which then looks as if it was never written
            for offset, name in self._undefined.items():
                report.add(offset, f"'{name}' is declared but never defined")
        done: set[str] = set()
        for usr in list(self._calls):
            self._find_recursion(usr, [], done, report)

    def _find_recursion(self, usr: str, path: list[str], done: set[str], report: Report) -> None:
        if usr in done:
            return
        path.append(usr)
        for callee, offset in self._calls.get(usr, {}).items():
            if callee in path:
                names = [self.functions[u].spelling if u in self.functions else "?" for u in path[path.index(callee) :]]
                report.add(offset, f"recursion is not in Metal: {' -> '.join([*names, names[0]])}")
            else:
                self._find_recursion(callee, path, done, report)
        path.pop()
        done.add(usr)
