"""Builds the emulator and the translated test kernels into one shared library and runs kernels in it, without torch."""

from __future__ import annotations

import concurrent.futures
import ctypes
import dataclasses
import hashlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "cmake"))

import metal_source  # noqa: E402
import translate_metal  # noqa: E402

CORE = [
    "controls",
    "failure_text",
    "fiber",
    "memory",
    "memory_checks",
    "runtime",
    "sanitizer_hooks",
    "scheduler",
    "shim",
    "signals",
    "threadgroup",
    "threadgroup_failure",
]
FLAGS = ["-std=c++20", "-g1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-iquote", str(ROOT)]
# Only for the declarations of the C shim: torch itself is neither linked nor loaded.
CORE_FLAGS = ["-O2", "-isystem", f"{importlib.util.find_spec('torch').submodule_search_locations[0]}/include"]
# Without the second, the lines that errors name would begin with the folder of the compilation.
KERNEL_FLAGS = ["-O2", f"-fdebug-prefix-map={os.getcwd()}=.", "-ffp-contract=off", "-fno-strict-aliasing"]
CHECKED_FLAGS = ["-fsanitize=thread", "-DMETALSVD_CHECK_MEMORY"]
METAL_FILES = [HERE / "data" / f"{name}.metal" for name in ("correct", "simd", "wrong", "common")] + [
    ROOT / "kernels" / "skeleton.metal"
]
ORDERS = {"forward": 0, "reverse": 1, "random": 2}


def flatten(path: pathlib.Path) -> metal_source.MetalSource:
    """The tests' kernels include nothing, but for those of what stands in kernels."""
    return metal_source.flatten(path, ROOT / "kernels" if path.stem in ("common", "spread_lines") else None)


class KernelFailure(Exception):
    """What the emulator says of a kernel."""


@dataclasses.dataclass(frozen=True)
class Counters:
    dispatches: int
    threadgroups: int
    threads: int
    barriers: int
    simd_operations: int
    bytes_read: int
    bytes_written: int
    host_waits: int
    multiply_adds: int
    critical_barriers: int
    critical_simd_operations: int
    critical_multiply_adds: int


class _Argument(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("integer", ctypes.c_int64),
    ]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


class _Builder:
    """Compiles what has changed since the last session."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.compiler = [os.environ.get("CXX", "g++"), *FLAGS]
        headers = sorted([*(ROOT / "csrc" / "emulator").glob("*.h"), *(ROOT / "kernels" / "dialect").glob("*.h")])
        self.headers = b"".join(path.read_bytes() for path in headers)

    def compile(self, source: pathlib.Path, flags: list[str]) -> pathlib.Path:
        command = [*self.compiler, *flags]
        key = hashlib.sha256(self.headers + source.read_bytes() + " ".join(command).encode()).hexdigest()[:16]
        target = self.folder / f"{source.stem}-{key}.o"
        if not target.exists():
            partial = target.with_suffix(f".{os.getpid()}.partial")
            _run([*command, "-c", str(source), "-o", str(partial)])
            partial.rename(target)
        return target

    def translate(self, metal_file: pathlib.Path) -> pathlib.Path:
        target = self.folder / f"{metal_file.stem}.cpp"
        target.write_text(translate_metal.translate(flatten(metal_file)))
        return target


def build(folder: pathlib.Path, metal_files: list[pathlib.Path], extra_flags: tuple[str, ...] = ()) -> pathlib.Path:
    """The shared library of emulator, harness and kernels, each kernel plain and instrumented."""
    builder = _Builder(folder)
    kernel_flags = [*KERNEL_FLAGS, *extra_flags]
    jobs = [(builder.translate(path), kernel_flags + extra) for path in metal_files for extra in ([], CHECKED_FLAGS)]
    core = [ROOT / "csrc" / "emulator" / f"{name}.cpp" for name in CORE] + [
        HERE / "harness.cpp",
        HERE / "fake_torch.cpp",
        HERE / "host_seating.cpp",
        ROOT / "csrc" / "seating.cpp",
    ]
    jobs += [(path, CORE_FLAGS + list(extra_flags)) for path in core]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda job: builder.compile(*job), jobs))
    library = folder / f"kernels-{hashlib.sha256(' '.join(map(str, objects)).encode()).hexdigest()[:16]}.so"
    if not library.exists():
        partial = library.with_suffix(f".{os.getpid()}.partial")
        _run(
            [
                builder.compiler[0],
                "-shared",
                "-o",
                str(partial),
                *map(str, objects),
                "-ldl",
                "-pthread",
                "-Wl,-z,defs,-Bsymbolic",
            ]
        )
        partial.rename(library)
    return library


class Emulator:
    """The emulated GPU with the kernels of some Metal files."""

    def __init__(
        self, folder: pathlib.Path, metal_files: list[pathlib.Path] = METAL_FILES, extra_flags: tuple[str, ...] = ()
    ):
        self.library = ctypes.CDLL(str(build(folder, metal_files, extra_flags)))
        self.library.test_last_error.restype = ctypes.c_char_p
        self.sources = {path.stem: flatten(path).text for path in metal_files}
        self.files = {path.stem: path for path in metal_files}

    def options(
        self, order: str = "forward", seed: int = 0, check_memory: bool = False, keep_denormals: bool = False
    ) -> None:
        self.library.test_options(ORDERS[order], ctypes.c_uint64(seed), check_memory, keep_denormals)

    def counters(self) -> Counters:
        """What was done since the last call."""
        values = (ctypes.c_uint64 * len(dataclasses.fields(Counters)))()
        self.library.test_counters(values)
        return Counters(*values)

    def run(self, library: str, kernel: str, grid, group, arguments, source: str | None = None) -> None:
        """arguments: ctypes arrays (device memory) and integers, by position or as {index: argument}."""
        items = arguments.items() if isinstance(arguments, dict) else enumerate(arguments)
        bound = [
            _Argument(i, None, 0, a) if isinstance(a, int) else _Argument(i, ctypes.addressof(a), ctypes.sizeof(a), 0)
            for i, a in items
        ]
        failed = self.library.test_run(
            (source or self.sources[library]).encode(),
            kernel.encode(),
            (_Argument * len(bound))(*bound),
            ctypes.c_size_t(len(bound)),
            _size3(grid),
            _size3(group),
        )
        if failed:
            raise KernelFailure(self.library.test_last_error().decode())

    def line(self, library: str, mark: str) -> str:
        """'file:line' of the line with the comment 'at: mark'."""
        path = self.files[library]
        for number, text in enumerate(path.read_text().splitlines(), start=1):
            if re.search(rf"// at: {re.escape(mark)}$", text):
                return f"{path.parent.name}/{path.name}:{number}"
        raise LookupError(mark)


def _size3(size):
    size = (size,) if isinstance(size, int) else tuple(size)
    return (ctypes.c_uint32 * 3)(*size, *[1] * (3 - len(size)))


def floats(values) -> ctypes.Array:
    values = list(values)
    return (ctypes.c_float * len(values))(*values)


def zeros(ctype, count: int) -> ctypes.Array:
    return (ctype * count)()
