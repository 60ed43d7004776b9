"""Turn one Metal library into C++ that g++ compiles and the emulated GPU runs, or into CUDA that nvcc compiles.

    python translate_metal.py kernels/svd.metal --output svd.cpp [--dialect cuda] [--depfile svd.d] [--root kernels]

The kernel text stays as it was written, apart from blanked attributes, threadgroup declarations and, for CUDA, the
words of Metal that its compiler knows by another name; #line directives lead every message back to the original files.
Behind the text comes one table entry a kernel.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
from typing import ClassVar

from metal_source import MetalSource, SourceError, cpp_string_literals, flatten, write_dependencies
from metal_syntax import Instantiation, Kernel, Syntax, Tile

_METAL_HEADER = re.compile(r"\s*#\s*include\s*<metal_")

# A kernel that the host can ask for: its name there, the C++ expression of the function, the kernel, and the offset of
# its instantiation.
Entry = tuple[str, str, Kernel, int]


class HostDialect:
    """What g++ is given. A threadgroup tile becomes a reference into memory that the emulator owns. Compiled once more
    with -DMETALSVD_CHECK_MEMORY -fsanitize=thread, the same file gives the instrumented kernels."""

    ignored_pragma = re.compile(r"\s*#\s*pragma\s+(METAL|unroll|clang|nounroll)\b")
    words: ClassVar[dict[str, str]] = {}  # written in place of others: none, macros do it (kernels/dialect/host.h)
    kernel_mark = ""

    def __init__(self, source: MetalSource):
        self.source = source

    def tile(self, tile: Tile, index: int) -> str:
        return f'[[maybe_unused]] {tile.reference} = metal::emulated::tile<{tile.array}>({index}, "{tile.name}");'

    def prologue(self) -> str:
        return (
            "// Written by cmake/translate_metal.py. Do not edit.\n"
            f"#define METALSVD_LIBRARY translated_{self.source.name}\n"
            '#include "kernels/dialect/host.h"\n'
            "namespace METALSVD_TRANSLATED {\n"
        )

    def epilogue(self, entries: list[Entry]) -> str:
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
        names = ", ".join(f'"{parameter.name}"' for parameter in kernel.parameters)
        namespace = "::".join(kernel.namespace)
        return [
            "",
            *([f"namespace {namespace} {{"] if namespace else []),
            f"static constexpr const char* emulated_names_{number}[] = {{{names or 'nullptr'}}};",
            f'#line {origin.line} "{origin.file}"',
            f"static constexpr auto emulated_kernel_{number} = metal::emulated::make_kernel<"
            f"{_call_of(function, kernel, 'metal::emulated')}>"
            f'("{host_name}", emulated_names_{number}, {kernel.max_threads or 1024});',
            f"static constexpr const ::metalsvd::emulator::Kernel* emulated_entry_{number} = "
            f"&emulated_kernel_{number};",
            *(["}"] if namespace else []),
        ]


class CudaDialect:
    """What nvcc is given. A kernel becomes a __device__ function, called by an entry point of its own for each
    instantiation, and a threadgroup tile a reference to a __shared__ array."""

    ignored_pragma = re.compile(r"\s*#\s*pragma\s+(METAL|clang|nounroll)\b")
    # Not macros: __device__ itself expands to __attribute__((device)). Inlined always, as by Metal: where nvcc leaves a
    # large function out of line it no longer knows of what memory its pointers are.
    words: ClassVar[dict[str, str]] = {
        "device": "",
        "constant": "const",
        "threadgroup": "",
        "thread": "",
        "inline": "__device__ __forceinline__",
    }
    kernel_mark = "__device__ __forceinline__"

    def __init__(self, source: MetalSource):
        self.source = source

    def tile(self, tile: Tile, index: int) -> str:
        return f"{tile.reference} = metal::cuda::tile<{tile.array}, {index}>();"

    def prologue(self) -> str:
        return (
            "// Written by cmake/translate_metal.py. Do not edit.\n"
            f"#define METALSVD_LIBRARY translated_{self.source.name}\n"
            '#include "kernels/dialect/cuda.h"\n'
            "namespace METALSVD_TRANSLATED {\n"
        )

    def epilogue(self, entries: list[Entry]) -> str:
        lines = []
        for host_name, function, kernel, offset in entries:
            lines += self._entry(host_name, function, kernel, offset)
        table = [
            f'    {{"{host_name}", reinterpret_cast<const void*>(&'
            f"{'::'.join((*kernel.namespace, _cuda_entry(host_name)))})}},"
            for host_name, _, kernel, _ in entries
        ]
        lines += [
            "",
            "static const ::metalsvd::cuda::Kernel kernels[] = {",
            *table,
            "};",
            f"static const ::metalsvd::cuda::Registration registration(kernels, {len(entries)});",
            "}  // namespace METALSVD_TRANSLATED",
        ]
        return "\n".join(lines) + "\n"

    def _entry(self, host_name: str, function: str, kernel: Kernel, offset: int) -> list[str]:
        origin = self.source.origin_of_offset(offset)
        namespace = "::".join(kernel.namespace)
        threads = kernel.max_threads or 1024
        # As many blocks as leave a thread the registers that it has on an Apple GPU, 128, where they are not too many.
        bounds = f"({threads}), ({threads}) < 512 ? 512 / ({threads}) : 1"
        bounds = next((special for name, special in _SPECIAL_BOUNDS.items() if host_name.startswith(name)), bounds)
        return [
            "",
            *([f"namespace {namespace} {{"] if namespace else []),
            f'#line {origin.line} "{origin.file}"',
            f"static __global__ void __launch_bounds__({bounds}) {_cuda_entry(host_name)}("
            f"const __grid_constant__ metal::cuda::Arguments arguments) {{ "
            f"metal::cuda::call<{_call_of(function, kernel, 'metal::cuda')}>(arguments); }}",
            *(["}"] if namespace else []),
        ]


# Kernels that take less time with other numbers of registers: where more threads at a time on a core save some, 96, or
# 80, which a block of more threads than there are leaves each; where lanes hold more, 168 or 255.
_SPECIAL_BOUNDS = {
    "block_wide_solve_": "768",
    "block_held_192_": "128, 3",
    "block_held_224_": "128, 3",
    "block_held_256_": "256, 2",
    "block_held_288_": "256, 2",
    "svd_simdgroup_10_f": "128, 5",  # complex ones need more
    "svd_simdgroup_10_bf": "128, 5",
    "svd_simdgroup_12_": "128, 5",
    "svd_simdgroup_14_": "128, 5",
    "svd_simdgroups_12_": "768",
    "svd_recovering_eighths_40_8_": "256, 2",
    "svd_recovering_eighths_48_8_": "256, 2",
    "svd_recovering_eighths_56_8_": "32, 8",
    "svd_recovering_eighths_64_8_": "32, 8",
    "svd_recovering_eighths_48_16_": "64, 6",
    "svd_recovering_eighths_56_16_": "64, 4",
    "svd_recovering_eighths_64_16_": "64, 4",
    "svd_recovering_blocks_72_8_": "96, 4",
    "svd_recovering_blocks_80_8_": "96, 4",
    "svd_recovering_blocks_80_16_": "160, 2",
    "svd_recovering_blocks_96_8_": "96, 4",
    "svd_recovering_blocks_96_16_": "192, 2",
    "svd_recovering_blocks_112_16_": "224, 2",
    "svd_recovering_blocks_128_16_": "256, 2",
    "svd_recovering_blocks_144_16_": "192, 2",
    "svd_recovering_blocks_144_32_": "384, 1",
    "svd_recovering_blocks_160_16_": "256, 1",
    "svd_recoverings_24_": "192, 2",
    "svd_recoverings_32_": "64, 4",
    "tall_product_narrow_": "128, 4",
    "tall_product_upper_narrow_": "128, 4",
}

DIALECTS = {"host": HostDialect, "cuda": CudaDialect}
Dialect = HostDialect | CudaDialect


def _cuda_entry(host_name: str) -> str:
    return f"metalsvd_{host_name}"


def _call_of(function: str, kernel: Kernel, namespace: str) -> str:
    """The function and where its parameters come from, as template arguments."""
    bindings = [
        f"{namespace}::buffer<{parameter.index}>"
        if parameter.attribute == "buffer"
        else f"{namespace}::{parameter.attribute}"
        for parameter in kernel.parameters
    ]
    return ", ".join([function, *bindings])


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _keep_lines(replacement: str, replaced: str) -> str:
    return replacement + "\n" * replaced.count("\n")


def _edits(syntax: Syntax, dialect: Dialect) -> list[tuple[int, int, str]]:
    text, edits = syntax.text, []
    for token in syntax.blanks:
        marks_kernel = token.text == "kernel" or any(name == "kernel" for name, _ in token.attributes)
        replaced = text[token.start : token.end]
        edits.append((token.start, token.end, dialect.kernel_mark * marks_kernel + _blank(replaced)))
    for token in syntax.tokens:
        if token.kind == "word" and token.text in dialect.words:
            edits.append((token.start, token.end, dialect.words[token.text]))
    for index, tile in enumerate(syntax.tiles):
        edits.append((tile.start, tile.end, _keep_lines(dialect.tile(tile, index), text[tile.start : tile.end])))
    for directive in syntax.directives:
        if dialect.ignored_pragma.match(directive.text) or _METAL_HEADER.match(directive.text):
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


def _entries(syntax: Syntax) -> list[Entry]:
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


def translate(source: MetalSource, dialect_name: str = "host") -> str:
    syntax = Syntax(source)
    dialect = DIALECTS[dialect_name](source)
    body = _with_line_directives(_apply(source.text, _edits(syntax, dialect)), source)
    # What follows counts on from the last line. A name of no file would be one that nvcc's output depends on.
    return dialect.prologue() + body + dialect.epilogue(_entries(syntax))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metal_file")
    parser.add_argument("--output", required=True)
    parser.add_argument("--dialect", choices=DIALECTS, default="host")
    parser.add_argument("--root", help="the folder that headers are named from; the file's own by default")
    parser.add_argument("--depfile")
    arguments = parser.parse_args()
    try:
        source = flatten(arguments.metal_file, arguments.root)
        pathlib.Path(arguments.output).write_text(translate(source, arguments.dialect), encoding="utf-8")
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.depfile:
        write_dependencies(arguments.depfile, arguments.output, list(source.files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
