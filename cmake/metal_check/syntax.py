"""What only Metal's own syntax says: attributes, kernels, instantiations, tiles. Each is found in the text, checked
where clang could not, and rewritten on its line where clang could not read it."""

from __future__ import annotations

import dataclasses
import re

from metal_check.text import Edit, Report, Text, insertion, matching, skip_space, split_at_commas

ADDRESS_SPACES = ("device", "constant", "threadgroup", "thread")
_VECTOR = r"(?:float|half|bfloat|char|uchar|short|ushort|int|uint|long|ulong)[234]"
_VECTOR_CALL = re.compile(rf"(?<![\w.])(?<!operator )({_VECTOR})\s*\(")
_TILE = re.compile(r"(?<=[;{}])\s*(threadgroup)\b(?=([^;=\[{]*))")
ATTRIBUTE_GROUP = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_INSTANTIATION = re.compile(r"\btemplate\s*((?:\[\[.*?\]\]\s*)+)([^;]*);", re.DOTALL)
_HOST_NAME = re.compile(r'\bhost_name\s*\(\s*"([^"]*)"\s*\)')
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*(?:include|import|include_next)\b[ \t]*(.*)$", re.MULTILINE)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)((?:\\\n|.)*)$", re.MULTILINE)
# Behind a parameter list, with or without const, an address space is that of a method's object.
_WORD_AS_NAME = re.compile(
    rf"(?:\.|->)\s*(?P<member>{'|'.join(ADDRESS_SPACES)}|kernel)\b"
    rf"|(?<!\) )(?<!const )\b(?P<name>{'|'.join(ADDRESS_SPACES)}|kernel)\b(?=\s*(?:[=;,)\[(.+\-/<>!?:|^%{{}}]|$))"
)
_UNDERSCORED = re.compile(r"\b__\w+")
_UNDERSCORED_ALLOWED = {"__METAL__", "__METAL_VERSION__", "__VA_ARGS__", "__LINE__", "__FILE__", "__COUNTER__"}

_POSITIONS = (
    "dispatch_threads_per_threadgroup grid_origin grid_size thread_position_in_grid thread_position_in_threadgroup "
    "threadgroup_position_in_grid threadgroups_per_grid threads_per_grid threads_per_threadgroup"
)
_INDICES = (
    "dispatch_simdgroups_per_threadgroup simdgroup_index_in_threadgroup simdgroups_per_threadgroup "
    "thread_index_in_simdgroup thread_index_in_threadgroup threads_per_simdgroup"
)
POSITION_ATTRIBUTES = frozenset(_POSITIONS.split())
INDEX_ATTRIBUTES = frozenset(_INDICES.split())
ATTRIBUTES = POSITION_ATTRIBUTES | INDEX_ATTRIBUTES | {
    "kernel", "host_name", "buffer", "max_total_threads_per_threadgroup", "maybe_unused",
}  # fmt: skip

# Keywords and built-in types of Metal, which C++ would let a program use as names.
_KEYWORDS = {"kernel", "vertex", "fragment", "threadgroup_imageblock", "ray_data", "object_data", "sampler", "main"}
_SCALARS = {"half", "bfloat", "uchar", "ushort", "uint", "ulong", "size_t", "ptrdiff_t"}
_ELEMENTS = {*_SCALARS, "bool", "char", "short", "int", "long", "float"}
_VECTORS = {f"{element}{width}" for element in _ELEMENTS for width in "234"}
RESERVED_NAMES = frozenset(_KEYWORDS | _SCALARS | _VECTORS | set(ADDRESS_SPACES))


@dataclasses.dataclass(frozen=True)
class Attribute:
    name: str
    argument: str
    offset: int


@dataclasses.dataclass
class Syntax:
    """The kernels by the offset of their name, and what clang needs changed."""

    kernels: dict[int, str] = dataclasses.field(default_factory=dict)
    edits: list[Edit] = dataclasses.field(default_factory=list)


def attributes_in(code: str, start: int, end: int) -> list[Attribute]:
    """The attributes of the [[...]] groups between two offsets."""
    found = []
    for group in ATTRIBUTE_GROUP.finditer(code, start, end):
        offset = group.start(1)
        for part in split_at_commas(group.group(1)):
            match = re.fullmatch(r"\s*([\w:]*)\s*(?:\((.*)\))?\s*", part, re.DOTALL)
            name, argument = match.groups() if match else (part.strip(), None)
            found.append(Attribute(name, (argument or "").strip(), offset + len(part) - len(part.lstrip())))
            offset += len(part) + 1
    return found


def attributes_behind(code: str, offset: int) -> list[Attribute]:
    """The attributes that follow a declared name."""
    start = offset = skip_space(code, offset)
    while group := ATTRIBUTE_GROUP.match(code, offset):
        offset = skip_space(code, group.end())
    return attributes_in(code, start, offset)


def read(text: Text, report: Report) -> Syntax:
    """Find Metal's own constructs and check those that clang never sees."""
    syntax = Syntax()
    _check_includes(text, report, syntax)
    _check_names(text, report)
    _check_attributes(text, report)
    instantiations = _read_instantiations(text, report, syntax)
    _read_kernels(text, report, syntax, instantiations)
    _read_tiles(text, report, syntax)
    _read_vectors(text, syntax)
    return syntax


def _check_includes(text: Text, report: Report, syntax: Syntax) -> None:
    for match in _INCLUDE.finditer(text.text):
        if text.code[match.start() : match.start(1)].strip() == "":
            continue
        header = match.group(1).split("//")[0].strip()
        if not re.fullmatch(r"<metal_\w+>", header):
            report.add(match.start(1), f"{header} is not a header of Metal: include <metal_stdlib> or a quoted file")
        syntax.edits.append(Edit(match.start(), match.end(), "", match.start()))


def _check_names(text: Text, report: Report) -> None:
    spans = [match.span() for match in ATTRIBUTE_GROUP.finditer(text.code)]
    for match in _WORD_AS_NAME.finditer(text.code):
        if not any(start <= match.start() < end for start, end in spans):
            word = match.lastgroup
            report.add(match.start(word), f"'{match.group(word)}' is a keyword of Metal and cannot be a name")
    for match in _UNDERSCORED.finditer(text.code):
        if match.group() not in _UNDERSCORED_ALLOWED:
            report.add(match.start(), f"'{match.group()}' belongs to a compiler and is not in the dialect")
    for match in _DEFINE.finditer(text.code):
        if match.group(1) in RESERVED_NAMES:
            report.add(match.start(1), f"'{match.group(1)}' is a word of Metal and cannot be a macro")


def _check_attributes(text: Text, report: Report) -> None:
    for attribute in attributes_in(text.code, 0, len(text.code)):
        if attribute.name not in ATTRIBUTES:
            report.add(attribute.offset, f"attribute [[{attribute.name}]] is not in the dialect")


def _read_instantiations(text: Text, report: Report, syntax: Syntax) -> set[int]:
    """Turn each kernel instantiation into a constant that holds its address. Returns where they start."""
    host_names: set[str] = set()
    starts = set()
    for match in _INSTANTIATION.finditer(text.code):
        start, rest = match.start(), match.group(2)
        starts.add(start)
        attributes = {attribute.name for attribute in attributes_in(text.code, match.start(1), match.end(1))}
        host_name = _HOST_NAME.search(text.text, match.start(1), match.end(1))
        if not {"host_name", "kernel"} <= attributes:
            report.add(start, 'a kernel is instantiated with both [[host_name("...")]] and [[kernel]]')
        elif host_name and host_name.group(1) in host_names:
            report.add(host_name.start(1), f'a second kernel with the host name "{host_name.group(1)}"')
        if host_name:
            host_names.add(host_name.group(1))
        _rewrite_instantiation(text, report, syntax, match, rest)
    return starts


def _rewrite_instantiation(text: Text, report: Report, syntax: Syntax, match: re.Match, rest: str) -> None:
    start, rest_start = match.start(), match.start(2)
    if rest.startswith("decltype"):
        opening = text.code.index("(", rest_start)
        closing = matching(text.code, opening)
        named = text.code[opening + 1 : closing], text.code[closing + 1 : match.end(2)]
        if re.sub(r"\s", "", named[0]) != re.sub(r"\s", "", named[1]):
            report.add(opening + 1, "the name in decltype(...) and the instantiated name differ")
        syntax.edits.append(Edit(start, closing + 1, "METAL_CHECK_KERNEL", start))
        return
    # template void f<float>(...): clang compares the parameters, the constant behind it leads to the body
    syntax.edits.append(Edit(start, rest_start, "template ", start))
    name = re.search(r"([\w:]+\s*<.*>)\s*\(", rest, re.DOTALL)
    if name:
        syntax.edits.append(insertion(match.end(), f" METAL_CHECK_KERNEL {' '.join(name.group(1).split())};", start))


def _read_kernels(text: Text, report: Report, syntax: Syntax, instantiations: set[int]) -> None:
    code = text.code
    for word in re.finditer(r"\bkernel\b", code):
        head = 1 + max(code.rfind(character, 0, word.start()) for character in ";{}")
        if any(head <= start <= word.start() for start in instantiations):
            continue
        line = code.rfind("\n", 0, word.start()) + 1
        if code[line : word.start()].lstrip().startswith("#"):
            report.add(word.start(), "a kernel cannot come from a macro: neither check nor translator would see it")
            continue
        opening = _parameter_list(code, word.end())
        name = re.search(r"(\w+)\s*$", code[head:opening])
        if opening < len(code) and name:
            syntax.kernels[head + name.start(1)] = name.group(1)
            _check_max_threads(code, report, syntax, (head, opening), head + name.start(1))


def _parameter_list(code: str, offset: int) -> int:
    """Where the parameters of a function open, from inside or behind its attributes."""
    closing, opening = code.find("]]", offset), code.find("[[", offset)
    if closing != -1 and (opening == -1 or closing < opening):
        offset = closing + 2
    while (opening := code.find("[[", offset)) != -1 and "(" not in code[offset:opening]:
        offset = code.find("]]", opening) + 2
    parenthesis = code.find("(", offset)
    return len(code) if parenthesis == -1 else parenthesis


def _check_max_threads(code: str, report: Report, syntax: Syntax, head: tuple[int, int], name: int) -> None:
    """The promised size is an expression, even of template parameters: clang shall evaluate it in the body."""
    limits = [a for a in attributes_in(code, *head) if a.name == "max_total_threads_per_threadgroup"]
    if not limits:
        report.add(name, "the kernel lacks [[max_total_threads_per_threadgroup(n)]]")
        return
    body = skip_space(code, matching(code, head[1]) + 1)
    if code[body : body + 1] == "{":
        n = " ".join(limits[0].argument.split())
        message = "max_total_threads_per_threadgroup must be 1 to 1024"
        condition = f'static_assert(({n}) >= 1 && ({n}) <= 1024, "{message}");'
        syntax.edits.append(insertion(body + 1, condition, limits[0].offset))


def _read_tiles(text: Text, report: Report, syntax: Syntax) -> None:
    """Threadgroup memory is static to clang, never a variable of the stack; pointers into it are ordinary variables."""
    for match in _TILE.finditer(text.code):
        if not re.search(r"[*&]", re.sub(r"<.*>", "", match.group(2), flags=re.DOTALL)):
            syntax.edits.append(insertion(match.start(1), "static __attribute__((loader_uninitialized)) "))
    for match in re.finditer(r"\bstatic\s+threadgroup\b|\bthreadgroup\s+static\b", text.code):
        report.add(match.start(), "a threadgroup variable cannot be static")


def _read_vectors(text: Text, syntax: Syntax) -> None:
    """float2(a, b) is a call to us; in a declarator such as `float2 (&row)[4]` it stays."""
    for match in _VECTOR_CALL.finditer(text.code):
        behind = skip_space(text.code, matching(text.code, match.end() - 1) + 1)
        if text.code[behind : behind + 1] not in ("[", "("):
            vector = match.group(1)
            syntax.edits.append(Edit(match.start(1), match.end(1), f"metal_check_vector<{vector}>", match.start(1)))
