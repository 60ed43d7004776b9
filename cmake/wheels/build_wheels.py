"""Build and check what is published: the source distribution, the Linux wheel and, on Linux too, the macOS wheel.

python cmake/wheels/build_wheels.py [sdist] [linux] [macos] [--output dist]    (default: all three)

From a clean clone, with the tools that pyproject.toml lists under `wheels`, in a virtual environment of their own
(build/wheel-tools) or, with --here, in the Python that runs this. The wheels are without the emulated GPU and
without CUDA, and serve every Python.

linux: against an installed torch (TORCH_DIR, or in the Python that runs this), for the glibc and the libstdc++ of this
    machine; with --container by cibuildwheel (pyproject.toml) in the container of the oldest ones that torch itself
    supports, which needs docker and is how the wheel is made that is published.
macos: on a Mac by Apple's compiler, against an installed torch; anywhere else cross-compiled by zig against PyTorch's
    own macOS wheel, which pip downloads.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys
import venv

import torch_wheels
from check_macos_wheel import MINIMUM_MACOS, REPOSITORY

BUILD = REPOSITORY / "build"
# The first version that we support: what links with it links with those that follow.
OLDEST_TORCH = "2.10"
HOST_PLATFORM = f"macosx-{MINIMUM_MACOS}-arm64"  # becomes the wheel's tag


def run(command: list, **environment: str) -> None:
    command = list(map(str, command))
    print("$", *command, flush=True)
    status = subprocess.run(command, cwd=REPOSITORY, env=os.environ | environment).returncode
    if status != 0:
        sys.exit(f"build_wheels.py: this failed with exit status {status}: {' '.join(command)}")


def tools() -> pathlib.Path:
    """The Python of a virtual environment that holds the tools."""
    folder = BUILD / "wheel-tools"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    run([python, REPOSITORY / "cmake" / "install_tools.py", "wheels"])
    return python


def installed_torch() -> str:
    found = importlib.util.find_spec("torch")
    folder = os.environ.get("TORCH_DIR") or (found and found.submodule_search_locations[0])
    if not folder:
        sys.exit(f"build_wheels.py: this wheel needs torch, in {sys.executable} or named by TORCH_DIR")
    return folder


def empty(output: pathlib.Path) -> None:
    for old in output.glob("metalsvd-*"):
        old.unlink()


def build(
    python: pathlib.Path, kind: str, source: pathlib.Path, output: pathlib.Path, defines: dict, **environment: str
) -> pathlib.Path:
    """Build an "sdist" or a "wheel" into `output`, which is emptied of what was built there before; returns the file.
    `source` is the repository or a source distribution."""
    empty(output)
    settings = [f"--config-setting=cmake.define.{name}={value}" for name, value in defines.items()]
    command = [python, "-m", "build", "--no-isolation", "--skip-dependency-check", f"--{kind}", "--outdir", output]
    # The tools come first: a system's own cmake may be too old.
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    run([*command, *settings, source], PATH=path, METALSVD_EMULATOR="false", **environment)
    (built,) = output.glob("metalsvd-*")
    return built


def build_linux(python: pathlib.Path, source: pathlib.Path, output: pathlib.Path, in_container: bool) -> pathlib.Path:
    if in_container:
        empty(output)
        run([python, "-m", "cibuildwheel", "--platform", "linux", "--output-dir", output, source])
    else:
        built = build(python, "wheel", source, output, {"TORCH_DIR": installed_torch(), "METALSVD_CUDA": "OFF"})
        # Names the oldest manylinux that has what the library needs. torch is loaded before it, and never bundled.
        repair = [python, "-m", "auditwheel", "repair", "--exclude", "libtorch_cpu.so", "--wheel-dir", output, built]
        run(repair, PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}")
        built.unlink()
    (wheel,) = output.glob("metalsvd-*")
    return wheel


def build_macos(python: pathlib.Path, source: pathlib.Path, output: pathlib.Path) -> pathlib.Path:
    if sys.platform == "darwin":
        defines = {"TORCH_DIR": installed_torch(), "METALSVD_CUDA": "OFF"}
        minimum = {"MACOSX_DEPLOYMENT_TARGET": MINIMUM_MACOS, "ARCHFLAGS": "-arch arm64"}
        return build(python, "wheel", source, output, defines, _PYTHON_HOST_PLATFORM=HOST_PLATFORM, **minimum)
    wheel = torch_wheels.fetch(OLDEST_TORCH)
    stub = BUILD / "libc++.1.tbd"
    torch_wheels.write_libcxx_stub(stub)
    zig = subprocess.run(
        [python, "-c", "import ziglang; print(ziglang.__path__[0])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    defines = {
        "CMAKE_TOOLCHAIN_FILE": pathlib.Path(__file__).with_name("macos_arm64.cmake"),
        "TORCH_DIR": torch_wheels.extract_for_linking(wheel, BUILD / "torch-macos" / wheel.stem),
        "METALSVD_CUDA": "OFF",
    }
    return build(
        python,
        "wheel",
        source,
        output,
        defines,
        ZIG=f"{zig}/zig",
        LIBCXX_STUB=str(stub),
        _PYTHON_HOST_PLATFORM=HOST_PLATFORM,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="sdist|linux|macos", default=["sdist", "linux", "macos"])
    parser.add_argument("--output", type=pathlib.Path, default=REPOSITORY / "dist")
    parser.add_argument("--torch", nargs="+", default=[OLDEST_TORCH], help="what the macOS wheel is checked against")
    parser.add_argument("--here", action="store_true", help="use the tools of this Python")
    parser.add_argument(
        "--container", action="store_true", help="build the Linux wheel as it is published: needs docker"
    )
    options = parser.parse_args()

    output = options.output.resolve()
    python = pathlib.Path(sys.executable) if options.here else tools()
    run([python, "-m", "validate_pyproject", "pyproject.toml"])
    built = {}
    for kind in options.kinds:
        # From the source distribution where there is one: it has to be complete.
        source = built.get("sdist", REPOSITORY)
        if kind == "sdist":
            built[kind] = build(python, "sdist", REPOSITORY, output / kind, {})
        elif kind == "linux":
            built[kind] = build_linux(python, source, output / kind, options.container)
        elif kind == "macos":
            built[kind] = build_macos(python, source, output / kind)
        else:
            parser.error(f"{kind}: expected sdist, linux or macos")

    run([python, "-m", "twine", "check", "--strict", *built.values()])
    wheels = [file for kind, file in built.items() if kind != "sdist"]
    if wheels:
        run([python, "-m", "check_wheel_contents", *wheels])
    if "macos" in built:
        checker = pathlib.Path(__file__).with_name("check_macos_wheel.py")
        run([python, checker, built["macos"], "--torch", *options.torch])
    for kind, file in built.items():
        print(f"{kind}: {file}")


if __name__ == "__main__":
    main()
