"""Write the C++ file that carries the text of every Metal library (declared in csrc/shader_libraries.h).

python embed_metal.py --output shader_libraries.cpp [--depfile shader_libraries.d] kernels/a.metal kernels/b.metal
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import metal_source

_FILE = """\
// Written by cmake/embed_metal.py. Do not edit.
#include "shader_libraries.h"

namespace metalsvd {{

extern const ShaderLibrary shader_libraries[] = {{
{entries}
}};
extern const std::size_t shader_library_count = {count};

}}  // namespace metalsvd
"""


def embed(sources: list[metal_source.MetalSource]) -> str:
    entries = ",\n".join(f'{{"{source.name}",\n{metal_source.cpp_string_literals(source.text)}}}' for source in sources)
    return _FILE.format(entries=entries, count=len(sources))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True)
    parser.add_argument("--depfile")
    parser.add_argument("metal_files", nargs="+")
    arguments = parser.parse_args()
    try:
        sources = [metal_source.flatten(path) for path in arguments.metal_files]
    except metal_source.SourceError as error:
        print(error, file=sys.stderr)
        return 1
    pathlib.Path(arguments.output).write_text(embed(sources), encoding="utf-8")
    if arguments.depfile:
        metal_source.write_dependencies(
            arguments.depfile, arguments.output, [file for source in sources for file in source.files]
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
