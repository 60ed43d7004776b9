"""Turn one Metal library into C++ that g++ compiles and the emulated GPU runs.

    python translate_metal.py kernels/svd.metal --output svd.cpp [--depfile svd.d] [--root kernels]

The kernel text stays as it was written, apart from blanked attributes and threadgroup declarations, which become
references into the threadgroup's memory; #line directives lead every message back to the original files. Behind the
text comes one table entry a kernel. Compiled once more with -DMETALSVD_CHECK_MEMORY -fsanitize=thread, the same file
gives the instrumented kernels.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys

from metal_source import MetalSource, SourceError, cpp_string_literals, flatten, write_dependencies
from metal_syntax import Instantiation, Kernel, Parameter, Syntax, Tile

_IGNORED_PRAGMA = re.compile(r"\s*#\s*pragma\s+(METAL|unroll|clang|nounroll)\b")
_METAL_HEADER = re.compile(r"\s*#\s*include\s*<metal_")


class HostDialect:
    """What g++ is given. Another compiler would be another class with the same methods."""

    def __init__(self, source: MetalSource):
        self.source = source

    def tile(self, tile: Tile, index: int) -> str:
        array = f"{tile.element}{tile.dimensions}"
        reference = f"(&{tile.name}){tile.dimensions}" if tile.dimensions else f"&{tile.name}"
        return f'[[maybe_unused]] {tile.element} {reference} = metal::emulated::tile<{array}>({index}, "{tile.name}");'

    def prologue(self) -> str:
        return (
            "// Written by cmake/translate_metal.py. Do not edit.\n"
            f"#define METALSVD_LIBRARY translated_{self.source.name}\n"
            '#include "kernels/dialect/host.h"\n'
            "namespace METALSVD_TRANSLATED {\n"
        )

    def epilogue(self, entries: list[tuple[str, str, Kernel, int]]) -> str:
        """entries: name on the host, C++ expression of the function, the kernel, offset of its instantiation."""
        lines = [
            "}  // namespace METALSVD_TRANSLATED",
            '#include "kernels/dialect/host_entry.h"',
            "namespace METALSVD_TRANSLATED {",
        ]
        for number, (host_name, function, kernel, offset) in enumerate(entries):
            lines += self._entry(number, host_name, function, kernel, offset)
        table = ", ".join(
            "::".join(("", *kernel.namespace, f"emulated_entry_{i}"))[2:] for i, (_, _, kernel, _) in enumerate(entries)
        )
        lines += [
            "",
            f"static const ::metalsvd::emulator::Kernel* const kernels[] = {{{table}}};",
            "static const char source[] =",
            f"{cpp_string_literals(self.source.text)};",
            "static const ::metalsvd::emulator::Registration registration{",
            f'    {{"{self.source.name}", source, kernels, {len(entries)}, METALSVD_IS_CHECKED}}}};',
            "}  // namespace METALSVD_TRANSLATED",
        ]
        return "\n".join(lines) + "\n"

    def _entry(self, number: int, host_name: str, function: str, kernel: Kernel, offset: int) -> list[str]:
        origin = self.source.origin_of_offset(offset)
        bindings = ", ".join(self._binding(parameter) for parameter in kernel.parameters)
        names = ", ".join(f'"{parameter.name}"' for parameter in kernel.parameters)
        namespace = "::".join(kernel.namespace)
        arguments = ", ".join(part for part in (function, bindings) if part)
        return [
            "",
            *([f"namespace {namespace} {{"] if namespace else []),
            f"static constexpr const char* emulated_names_{number}[] = {{{names or 'nullptr'}}};",
            f'#line {origin.line} "{origin.file}"',
            f"static constexpr auto emulated_kernel_{number} = metal::emulated::make_kernel<{arguments}>("
            f'"{host_name}", emulated_names_{number}, {kernel.max_threads or 1024});',
            f"static constexpr const ::metalsvd::emulator::Kernel* emulated_entry_{number} = "
            f"&emulated_kernel_{number};",
            *(["}"] if namespace else []),
        ]

    def _binding(self, parameter: Parameter) -> str:
        return (
            f"metal::emulated::buffer<{parameter.index}>"
            if parameter.attribute == "buffer"
            else f"metal::emulated::{parameter.attribute}"
        )


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _keep_lines(replacement: str, replaced: str) -> str:
    return replacement + "\n" * replaced.count("\n")


def _edits(syntax: Syntax, dialect: HostDialect) -> list[tuple[int, int, str]]:
    text, edits = syntax.text, []
    for token in syntax.blanks:
        edits.append((token.start, token.end, _blank(text[token.start : token.end])))
    for index, tile in enumerate(syntax.tiles):
        edits.append((tile.start, tile.end, _keep_lines(dialect.tile(tile, index), text[tile.start : tile.end])))
    for directive in syntax.directives:
        if _IGNORED_PRAGMA.match(directive.text) or _METAL_HEADER.match(directive.text):
            edits.append((directive.start, directive.end, _blank(directive.text)))
    for made in syntax.instantiations:
        edits.append((made.start, made.end, _blank(text[made.start : made.end])))
    return edits


def _apply(text: str, edits: list[tuple[int, int, str]]) -> str:
    """Edits do not overlap, but for attributes inside an instantiation that is blanked as a whole."""
    pieces, position = [], 0
    for start, end, replacement in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if start >= position:
            pieces += [text[position:start], replacement]
            position = end
    return "".join([*pieces, text[position:]])


def _with_line_directives(text: str, source: MetalSource) -> str:
    lines, expected = [], None
    for line, origin in zip(text.splitlines(), source.origins, strict=True):
        if expected != (origin.file, origin.line):
            lines.append(f'#line {origin.line} "{origin.file}"')
        lines.append(line)
        expected = (origin.file, origin.line + 1)
    return "\n".join(lines) + "\n"


def _entries(syntax: Syntax) -> list[tuple[str, str, Kernel, int]]:
    """Every kernel the host can ask for by name."""
    entries = [(kernel.name, kernel.name, kernel, kernel.offset) for kernel in syntax.kernels if not kernel.is_template]
    for made in syntax.instantiations:
        entries.append((made.host_name, made.expression, _instantiated_kernel(syntax, made), made.start))
    names = [entry[0] for entry in entries]
    for name, _, _, offset in entries:
        if names.count(name) > 1:
            raise syntax.error(offset, f"two kernels are called '{name}' on the host")
    if not entries:
        raise syntax.error(0, "no kernel in this library")
    return entries


def _instantiated_kernel(syntax: Syntax, made: Instantiation) -> Kernel:
    for kernel in syntax.kernels:
        if kernel.name == made.kernel and kernel.namespace == made.namespace and kernel.is_template:
            return kernel
    raise syntax.error(made.start, f"no kernel template '{made.kernel}' in this namespace")


def translate(source: MetalSource) -> str:
    syntax = Syntax(source)
    dialect = HostDialect(source)
    body = _with_line_directives(_apply(source.text, _edits(syntax, dialect)), source)
    return dialect.prologue() + body + '#line 1 "translated end"\n' + dialect.epilogue(_entries(syntax))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metal_file")
    parser.add_argument("--output", required=True)
    parser.add_argument("--root", help="the folder that headers are named from; the file's own by default")
    parser.add_argument("--depfile")
    arguments = parser.parse_args()
    try:
        source = flatten(arguments.metal_file, arguments.root)
        pathlib.Path(arguments.output).write_text(translate(source), encoding="utf-8")
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.depfile:
        write_dependencies(arguments.depfile, arguments.output, list(source.files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
