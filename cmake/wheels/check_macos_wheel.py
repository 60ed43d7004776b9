"""Prove on any machine that a metalsvd wheel for macOS loads beside PyTorch's own macOS wheels.

python cmake/wheels/check_macos_wheel.py WHEEL --torch 2.10 2.11 ...    (versions, fetched with pip, or torch wheels)

Python's standard library only. Prints what it checked, one line a fault, and exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import posixpath
import re
import sys
import zipfile
from collections.abc import Iterator

import macho
import torch_wheels
from torch_wheels import LIBCXX

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "cmake"))
import metal_source  # noqa: E402

LIBRARY = "metalsvd/libmetalsvd.dylib"
INSTALL_NAME = "@rpath/libmetalsvd.dylib"
RPATH = "@loader_path/../torch/lib"
MINIMUM_MACOS = "14.0"
TAG = "py3-none-macosx_14_0_arm64"
# Needed by what was linked without chained fixups, as zig does: libSystem has exported it on every macOS with arm64.
LINKER_SYMBOLS = {"dyld_stub_binder"}


def tag_faults(wheel: zipfile.ZipFile) -> Iterator[str]:
    name = pathlib.Path(wheel.filename).name
    if not name.endswith(f"-{TAG}.whl"):
        yield f"the wheel is named {name}, expected the tag {TAG}"
    metadata = next(file for file in wheel.namelist() if file.endswith(".dist-info/WHEEL"))
    tags = re.findall(r"^Tag: (.*)$", wheel.read(metadata).decode(), re.MULTILINE)
    if tags != [TAG]:
        yield f"{metadata} has the tags {tags}, expected {TAG} alone"
    binaries = [file for file in wheel.namelist() if file.endswith((".so", ".dylib"))]
    if binaries != [LIBRARY]:
        yield f"the wheel holds the libraries {binaries}, expected {LIBRARY} alone"


def header_faults(library: macho.MachO) -> Iterator[str]:
    if library.install_name != INSTALL_NAME:
        yield f"install name {library.install_name}, expected {INSTALL_NAME}"
    if library.rpaths != (RPATH,):
        yield f"rpaths {list(library.rpaths)}, expected {RPATH} alone"
    if library.minimum_macos != MINIMUM_MACOS:
        yield f"minimum macOS {library.minimum_macos}, expected {MINIMUM_MACOS}"
    changed = library.unsigned_pages()
    if changed is None:
        yield "no code signature, without which macOS on arm64 loads nothing"
    elif changed:
        yield f"{len(changed)} pages changed after the library was signed, the first is {changed[0]}"


def metal_faults(library: macho.MachO) -> Iterator[str]:
    """The Metal texts in the library are those of the repository, byte for byte: all of them and no other."""
    embedded = [text for text in library.data.split(b"\0") if b"[[kernel]]" in text]
    texts = {file.name: metal_source.flatten(file).text.encode() for file in (REPOSITORY / "kernels").glob("*.metal")}
    for name, text in sorted(texts.items()):
        if embedded.count(text) != 1:
            yield f"the text of kernels/{name} is in the library {embedded.count(text)} times, expected once"
    foreign = [text for text in embedded if text not in texts.values()]
    if foreign:
        yield f"{len(foreign)} Metal texts in the library are not those of kernels/*.metal"


def private_cxx_faults(library: macho.MachO, macos: dict[str, frozenset[str]]) -> Iterator[str]:
    """A second, static libc++ has its own type information: exceptions thrown by torch would pass our handlers."""
    if LIBCXX not in library.libraries:
        yield f"{LIBCXX} is not among the libraries that are loaded: {', '.join(library.libraries)}"
    own = sorted(library.strong_definitions & macos[LIBCXX])
    if own:
        yield f"libc++ is linked statically: {len(own)} of its symbols are defined in the library, among them {own[0]}"


def provided_by(source: str, torch: torch_wheels.TorchWheel, macos: dict[str, frozenset[str]]) -> frozenset[str] | None:
    """The symbols of the library that dyld finds by this install name, None where it finds none."""
    if source in macos:
        return macos[source] | LINKER_SYMBOLS
    folder, name = posixpath.split(source)
    return torch.exports.get(name) if folder == "@rpath" else None  # header_faults() has seen the rpath


def link_faults(
    library: macho.MachO, torch: torch_wheels.TorchWheel, macos: dict[str, frozenset[str]]
) -> Iterator[str]:
    """Each library that is loaded exists, and each undefined symbol is exported by the one it is bound to."""
    provided = {source: provided_by(source, torch, macos) for source in library.libraries}
    for source, names in provided.items():
        if names is None:
            yield f"the library {source} is neither in torch/lib nor in macos_symbols.json"
    for symbol in library.undefined:
        source = library.library_of(symbol)
        if source is None:
            yield f"the symbol {symbol.name} is bound to no library: any that happens to be loaded would do"
        elif provided[source] is not None and symbol.name not in provided[source]:
            yield f"the symbol {symbol.name} is not known to be in {source}"


def describe(library: macho.MachO) -> str:
    counts = collections.Counter(library.library_of(symbol) for symbol in library.undefined)
    needs = ", ".join(f"{counts[source]} from {source}" for source in library.libraries)
    return (
        f"{LIBRARY}: {library.install_name}, rpath {', '.join(library.rpaths)}, macOS {library.minimum_macos}, "
        f"{len(library.undefined)} undefined symbols: {needs}"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("--torch", nargs="+", required=True, help="versions, 2.10 say, or macOS wheels of torch")
    options = parser.parse_args(arguments)

    torches = [torch_wheels.read(torch_wheels.fetch(torch)) for torch in options.torch]
    macos = torch_wheels.macos_symbols()
    found = 0

    def report(what: str, faults: Iterator[str]) -> None:
        nonlocal found
        faults = list(faults)
        found += len(faults)
        print(f"{'FAULT' if faults else 'ok':5}  {what}")
        for fault in faults:
            print(f"       {fault}")

    print(options.wheel.name)
    with zipfile.ZipFile(options.wheel) as wheel:
        report("tag, and one library", tag_faults(wheel))
        library = macho.read(wheel.read(LIBRARY))
    print(describe(library))
    report("install name, rpath, minimum macOS, signature", header_faults(library))
    report("the Metal texts of the repository", metal_faults(library))
    report("the libc++ of macOS, and no other", private_cxx_faults(library, macos))
    for torch in torches:
        report(f"libraries and symbols, beside {torch.name}", link_faults(library, torch, macos))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
