"""PyTorch's own macOS wheels: fetched from the package index, and read for what a library beside them can rely on.

python cmake/wheels/torch_wheels.py 2.10 2.11 ...    writes macos_symbols.json from these versions
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
import zipfile

import macho

# A wheel of this Python exists for each torch since 2.10. The libraries that we link do not depend on it.
_PYTHON_VERSION = "3.12"
_PLATFORM = "macosx_14_0_arm64"
LIBCXX = "/usr/lib/libc++.1.dylib"
_LIBSYSTEM = "/usr/lib/libSystem.B.dylib"
# What these two have: all that some torch since 2.10 needs of them. One torch alone needs less than another compiler.
MACOS_SYMBOLS = pathlib.Path(__file__).with_name("macos_symbols.json")
DOWNLOADS = pathlib.Path(__file__).resolve().parents[2] / "build" / "torch-wheels"


@dataclasses.dataclass(frozen=True)
class TorchWheel:
    """libraries: those of torch/lib, by file name."""

    name: str
    libraries: dict[str, macho.MachO]

    @functools.cached_property
    def exports(self) -> dict[str, frozenset[str]]:
        """The symbols that each library exports, by file name."""
        return {name: library.exports() for name, library in self.libraries.items()}


def read(wheel: pathlib.Path) -> TorchWheel:
    with zipfile.ZipFile(wheel) as archive:
        files = [file for file in archive.namelist() if file.startswith("torch/lib/") and file.endswith(".dylib")]
        return TorchWheel(
            wheel.name, {pathlib.PurePosixPath(file).name: macho.read(archive.read(file)) for file in files}
        )


def fetch(torch: str, folder: pathlib.Path = DOWNLOADS) -> pathlib.Path:
    """The wheel that `torch` names: a file, or a version that pip downloads into `folder` (2.10: the newest 2.10.x)."""
    if torch.endswith(".whl"):
        return pathlib.Path(torch)
    release = torch if torch.count(".") > 1 else f"{torch}.*"
    target = folder / torch
    if not list(target.glob("torch-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--platform", _PLATFORM, "--python-version", _PYTHON_VERSION, "--dest", str(target)]
        subprocess.run([*command, f"torch=={release}"], check=True)
    return next(target.glob("torch-*.whl"))


def extract_for_linking(wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Unpack the headers and libtorch_cpu into `folder`; returns what TORCH_DIR has to name."""
    if not (folder / "torch").is_dir():
        with zipfile.ZipFile(wheel) as archive:
            wanted = ("torch/include/", "torch/lib/libtorch_cpu.dylib")
            archive.extractall(folder / "partial", [file for file in archive.namelist() if file.startswith(wanted)])
        (folder / "partial" / "torch").rename(folder / "torch")
    return folder / "torch"


def macos_symbols() -> dict[str, frozenset[str]]:
    """The symbols that libraries of macOS are known to export, by install name."""
    return {source: frozenset(names) for source, names in json.loads(MACOS_SYMBOLS.read_text())["symbols"].items()}


def write_libcxx_stub(path: pathlib.Path) -> None:
    """A text stub (.tbd), which a linker takes for the libc++ of macOS."""
    names = ", ".join(f"'{name}'" for name in sorted(macos_symbols()[LIBCXX]))
    path.write_text(
        "--- !tapi-tbd\ntbd-version: 4\ntargets: [ arm64-macos ]\n"
        f"install-name: '{LIBCXX}'\nexports:\n  - targets: [ arm64-macos ]\n    symbols: [ {names} ]\n...\n",
        encoding="utf-8",
    )


def write_macos_symbols(torches: list[TorchWheel]) -> None:
    """Symbols bound weakly prove nothing: the library that needs them loads without."""
    needed: dict[str, set[str]] = {LIBCXX: set(), _LIBSYSTEM: set()}
    for library in (library for torch in torches for library in torch.libraries.values()):
        for symbol in library.undefined:
            source = library.library_of(symbol)
            if source in needed and not symbol.is_weak:
                needed[source].add(symbol.name)
    found = {
        "needed by": [torch.name for torch in torches],
        "symbols": {source: sorted(names) for source, names in needed.items()},
    }
    MACOS_SYMBOLS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_macos_symbols([read(fetch(torch)) for torch in sys.argv[1:]])
