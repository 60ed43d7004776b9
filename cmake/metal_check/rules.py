"""What clang accepts and Metal does not, node by node: in the text as written, and in every instantiation of it."""

from __future__ import annotations

import re

import clang.cindex as cindex
from clang.cindex import CursorKind, StorageClass, TypeKind

from metal_check.calls import KERNEL_REFERENCE, CallGraph
from metal_check.clang_parser import (
    ARRAYS,
    CONSTANT,
    THREADGROUP,
    Unit,
    address_space,
    is_ours,
    type_kind,
    with_space_names,
)
from metal_check.kernels import check_kernel, check_tiles
from metal_check.syntax import ADDRESS_SPACES, ATTRIBUTE_GROUP, RESERVED_NAMES, Syntax
from metal_check.text import Report, matching, split_at_commas

_SPACE_WORD = re.compile(rf"\b(?:{'|'.join(ADDRESS_SPACES)})\b")
_DECLARATOR = re.compile(r"&&|[*&]")
# An empty macro to clang, which lets a declaration start behind it.
_LEADING_THREAD = re.compile(r"\bthread\s+(?:(?:const|volatile)\s+)*$")
_BAD_TYPES = {
    TypeKind.DOUBLE: "double is not in Metal: write 1.0f, and float for the result",
    TypeKind.LONGDOUBLE: "long double is not in Metal",
    TypeKind.FLOAT128: "a 128-bit float is not in Metal",
    TypeKind.LONGLONG: "long long is not in Metal: long has 64 bits",
    TypeKind.ULONGLONG: "long long is not in Metal: ulong has 64 bits",
    TypeKind.INT128: "a 128-bit integer is not in Metal",
    TypeKind.UINT128: "a 128-bit integer is not in Metal",
    TypeKind.WCHAR: "wchar_t is not in Metal",
    TypeKind.CHAR16: "char16_t is not in Metal",
    TypeKind.CHAR32: "char32_t is not in Metal",
}
_NAMED = {
    CursorKind.VAR_DECL, CursorKind.PARM_DECL, CursorKind.FIELD_DECL, CursorKind.FUNCTION_DECL, CursorKind.CXX_METHOD,
    CursorKind.FUNCTION_TEMPLATE, CursorKind.STRUCT_DECL, CursorKind.CLASS_DECL, CursorKind.CLASS_TEMPLATE,
    CursorKind.ENUM_DECL, CursorKind.ENUM_CONSTANT_DECL, CursorKind.TYPEDEF_DECL, CursorKind.TYPE_ALIAS_DECL,
    CursorKind.TEMPLATE_TYPE_PARAMETER, CursorKind.TEMPLATE_NON_TYPE_PARAMETER, CursorKind.NAMESPACE,
}  # fmt: skip
_FUNCTIONS = {
    CursorKind.FUNCTION_DECL, CursorKind.CXX_METHOD, CursorKind.FUNCTION_TEMPLATE, CursorKind.CONSTRUCTOR,
    CursorKind.CONVERSION_FUNCTION,
}  # fmt: skip
_VALUES = {CursorKind.VAR_DECL, CursorKind.PARM_DECL, CursorKind.FIELD_DECL, CursorKind.TEMPLATE_NON_TYPE_PARAMETER}
# Where a type enters a program: every other expression has it from one of these.
_TYPED = _VALUES | _FUNCTIONS | {
    CursorKind.FLOATING_LITERAL, CursorKind.INTEGER_LITERAL, CursorKind.CHARACTER_LITERAL,
    CursorKind.TYPEDEF_DECL, CursorKind.TYPE_ALIAS_DECL,
}  # fmt: skip
_SCOPES = {
    CursorKind.TRANSLATION_UNIT, CursorKind.NAMESPACE, CursorKind.STRUCT_DECL, CursorKind.CLASS_DECL,
    CursorKind.CLASS_TEMPLATE, CursorKind.CLASS_TEMPLATE_PARTIAL_SPECIALIZATION,
}  # fmt: skip
_CASTS = {CursorKind.CSTYLE_CAST_EXPR, CursorKind.CXX_REINTERPRET_CAST_EXPR, CursorKind.CXX_STATIC_CAST_EXPR}
_POINTERS = {TypeKind.POINTER, TypeKind.LVALUEREFERENCE, TypeKind.RVALUEREFERENCE}


def is_function_pointer(type_: cindex.Type) -> bool:
    type_ = type_.get_canonical()
    while type_kind(type_) in ARRAYS:
        type_ = type_.element_type.get_canonical()
    if type_kind(type_) == TypeKind.MEMBERPOINTER:
        return True
    pointee = type_kind(type_.get_pointee().get_canonical()) if type_kind(type_) in _POINTERS else None
    return pointee in (TypeKind.FUNCTIONPROTO, TypeKind.FUNCTIONNOPROTO)


class TreeWalk:
    """Applies the rules to each node; functions reached from kernels are walked once for each instantiation."""

    def __init__(self, unit: Unit, syntax: Syntax, calls: CallGraph, report: Report):
        self.unit = unit
        self.syntax = syntax
        self.calls = calls
        self.report = report

    def run(self) -> None:
        for cursor in self.unit.declarations:
            self._walk(cursor)
        pending = list(self.calls.roots())
        for function in pending:
            self.calls.functions[function.get_usr()] = function
            if self._is_kernel(function):
                check_tiles(self.unit, function, self.report, self.unit.original_offset(function))
        for instantiation, function in self.calls.instantiated_kernels():
            check_tiles(self.unit, function, self.report, self.unit.original_offset(instantiation))
            self.calls.functions[function.get_usr()] = function
            pending.append(function)
            self._walk(function)
        while pending:
            pending.extend(self._walk_calls(pending.pop()))

    def _walk(self, root: cindex.Cursor) -> None:
        for cursor in root.walk_preorder():
            if not cursor.spelling.startswith(KERNEL_REFERENCE):
                self._check(cursor)

    def _walk_calls(self, caller: cindex.Cursor) -> list[cindex.Cursor]:
        """Follow what a function uses; the instantiations among it are walked, the rest was."""
        found = []
        for cursor in caller.walk_preorder():
            if cursor.kind not in (CursorKind.CALL_EXPR, CursorKind.DECL_REF_EXPR, CursorKind.MEMBER_REF_EXPR):
                continue
            function = cursor.referenced
            if function is not None and function.kind == CursorKind.FUNCTION_DECL and self._is_kernel(function):
                self._add(cursor, f"the kernel '{function.spelling}' cannot be called by a function")
            definition = self.calls.callee(caller, cursor)
            if definition is not None:
                self._walk(definition)
                found.append(definition)
        return found

    def _add(self, cursor: cindex.Cursor, message: str) -> None:
        self.report.add(self.unit.original_offset(cursor), message)

    def _is_kernel(self, cursor: cindex.Cursor) -> bool:
        return is_ours(cursor.location) and self.unit.original_offset(cursor) in self.syntax.kernels

    def _check(self, cursor: cindex.Cursor) -> None:
        kind = cursor.kind
        if kind in _NAMED:
            self._check_name(cursor)
        if kind in _TYPED:
            self._check_type(cursor)
        if kind in _VALUES:
            self._check_value(cursor)
        if kind == CursorKind.VAR_DECL:
            self._check_variable(cursor)
        elif kind in _FUNCTIONS:
            self._check_function(cursor)
        elif kind in (CursorKind.TYPEDEF_DECL, CursorKind.TYPE_ALIAS_DECL):
            self._check_alias(cursor)
        elif kind in _CASTS:
            self._check_cast(cursor)
        elif kind == CursorKind.LAMBDA_EXPR:
            self._add(cursor, "lambdas are not in Metal")

    # Names and types

    def _check_type(self, cursor: cindex.Cursor) -> None:
        result = cursor.result_type if cursor.kind in _FUNCTIONS else cursor.type
        message = _BAD_TYPES.get(type_kind(result.get_canonical()))
        if message:
            self._add(cursor, message)

    def _check_name(self, cursor: cindex.Cursor) -> None:
        if cursor.spelling in RESERVED_NAMES:
            self._add(cursor, f"'{cursor.spelling}' is a word of Metal and cannot be a name")

    def _check_value(self, cursor: cindex.Cursor) -> None:
        if is_function_pointer(cursor.type):
            self._add(cursor, f"'{cursor.spelling}' is a function pointer, which the dialect does not have")
        self._check_spaces(cursor, self._declaration(cursor), cursor.spelling)

    def _check_alias(self, cursor: cindex.Cursor) -> None:
        if is_function_pointer(cursor.underlying_typedef_type):
            self._add(cursor, f"'{cursor.spelling}' is a function pointer, which the dialect does not have")
        self._check_spaces(cursor, self._code(cursor.extent.start.offset, cursor.extent.end.offset), cursor.spelling)

    def _declaration(self, cursor: cindex.Cursor) -> str:
        """The specifiers and the declarator up to the name: of `device T *a, *b` for b `device T *`."""
        parts = split_at_commas(self._code(cursor.extent.start.offset, cursor.location.offset))
        if len(parts) == 1:
            return parts[0]
        return _DECLARATOR.split(parts[0].split("=")[0])[0] + parts[-1]

    def _code(self, start: int, end: int) -> str:
        leading = _LEADING_THREAD.search(self.unit.code, max(0, start - 40), start)
        return ATTRIBUTE_GROUP.sub(" ", self.unit.code[leading.start() if leading else start : end])

    def _check_spaces(self, cursor: cindex.Cursor, code: str, name: str) -> None:
        """Each * and & needs an address space of its own."""
        if len(_DECLARATOR.findall(code)) > len(_SPACE_WORD.findall(code)):
            shown = f"'{name}'" if name else "this type"
            self._add(cursor, f"{shown} is a pointer or reference without an address space (`thread` for private)")

    # Variables

    def _check_variable(self, cursor: cindex.Cursor) -> None:
        space = address_space(cursor.type)
        if cursor.semantic_parent is not None and cursor.semantic_parent.kind in _SCOPES:
            if space != CONSTANT:
                self._add(cursor, f"'{cursor.spelling}' at program scope must be `constant`")
        elif space == THREADGROUP:
            if not self._is_kernel(cursor.semantic_parent):
                self._add(cursor, f"threadgroup variable '{cursor.spelling}' outside a kernel")
        elif cursor.storage_class == StorageClass.STATIC:
            self._add(cursor, f"'{cursor.spelling}' is a static variable, which is not in Metal")
        if cursor.storage_class == StorageClass.EXTERN:
            self._add(cursor, f"'{cursor.spelling}' is extern, and there is nothing to link with")

    # Functions

    def _check_function(self, cursor: cindex.Cursor) -> None:
        head = self._code(cursor.extent.start.offset, cursor.location.offset)
        while template := re.match(r"\s*template\s*(?=<)", head):
            head = head[matching(head, template.end()) + 1 :]
        if cursor.kind != CursorKind.CONVERSION_FUNCTION:
            self._check_spaces(cursor, head, cursor.spelling)
        if type_kind(cursor.type) == TypeKind.FUNCTIONPROTO and cursor.type.is_function_variadic():
            self._add(cursor, f"'{cursor.spelling}' takes any number of arguments (...), which is not in Metal")
        if self._is_kernel(cursor):
            check_kernel(self.unit, cursor, self.report)

    # Casts

    def _check_cast(self, cursor: cindex.Cursor) -> None:
        opener = "(" if cursor.kind == CursorKind.CSTYLE_CAST_EXPR else "<"
        code, start = self.unit.code, cursor.extent.start.offset
        if cursor.kind == CursorKind.CXX_STATIC_CAST_EXPR and not code.startswith("static_cast", start):
            return  # of an assignment of structs, which clang has written
        opening = code.find(opener, start)
        if opening != -1:
            self._check_spaces(cursor, code[opening : matching(code, opening)], "")
        operands = [child for child in cursor.get_children() if child.kind.is_expression()]
        if not operands:
            return
        target, source = cursor.type.get_canonical(), operands[-1].type.get_canonical()
        both_pointers = type_kind(target) == type_kind(source) == TypeKind.POINTER
        if both_pointers and target.get_pointee().get_address_space() != source.get_pointee().get_address_space():
            types = with_space_names(f"{source.spelling} to {target.spelling}")
            self._add(cursor, f"cast across address spaces: {types}")
