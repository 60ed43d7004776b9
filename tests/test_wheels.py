"""The check of the macOS wheel finds what is wrong with a wheel, and nothing wrong with a sound one.

Made of a few lines of C by zig, which has a linker for macOS: a libtorch_cpu, and libraries beside it that are sound,
or not in one way each.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOOLS = [ROOT / "cmake", ROOT / "cmake" / "wheels"]
sys.path[:0] = map(str, TOOLS)
try:
    import check_macos_wheel
    import macho
    import metal_source
    import torch_wheels
finally:
    del sys.path[: len(TOOLS)]

ziglang = pytest.importorskip("ziglang", reason="needs a linker for macOS: pip install ziglang==0.17.0")

METAL_TEXTS = "\n".join(
    f'__attribute__((used)) static const char text_{file.stem}[] = {{0,\n#embed "{file.stem}.text"\n, 0}};'
    for file in (ROOT / "kernels").glob("*.metal")
)
SOUND = """
int torch_function(int);
void* __cxa_allocate_exception(unsigned long);
__attribute__((visibility("default"))) void* metalsvd_function(int x) {
  return __cxa_allocate_exception(torch_function(x));
}
"""
# What of a static libc++ shows in whoever links it.
STATIC_LIBCXX = """
int torch_function(int);
void* __cxa_allocate_exception(unsigned long bytes) { return (void*)bytes; }
__attribute__((visibility("default"))) void* metalsvd_function(int x) {
  return __cxa_allocate_exception(torch_function(x));
}
"""
RPATH = ("-rpath", "@loader_path/../torch/lib")
INSTALL_NAME = "@rpath/libmetalsvd.dylib"


def link(folder, name, source, *options, install_name=INSTALL_NAME, minimum="14.0"):
    """Compile C into a library of this name; returns the file."""
    (folder / f"{name}.c").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "ziglang", "build-lib", "-dynamic", "-target", f"aarch64-macos.{minimum}", "-lc"]
    command += ["-fno-compiler-rt", "-O", "ReleaseSmall", "-fno-strip", "-install_name", install_name]
    command += [f"-femit-bin={name}.dylib", f"{name}.c", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder / f"{name}.dylib"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a libtorch_cpu.dylib, that library in a wheel, a stub of libc++ and the Metal texts."""
    folder = tmp_path_factory.mktemp("wheels")
    library = link(
        folder, "libtorch_cpu", "int torch_function(int x) { return x; }", install_name="@rpath/libtorch_cpu.dylib"
    )
    with zipfile.ZipFile(folder / "torch-2.10.0-macosx.whl", "w") as wheel:
        wheel.write(library, "torch/lib/libtorch_cpu.dylib")
    torch_wheels.write_libcxx_stub(folder / "libc++.1.tbd")
    for file in (ROOT / "kernels").glob("*.metal"):
        (folder / f"{file.stem}.text").write_text(metal_source.flatten(file).text, encoding="utf-8")
    return folder


@pytest.fixture
def check(folder, capsys):
    """Pack a library into a wheel and check it: (exit status, what was printed)."""

    def check(library: bytes, tag: str = check_macos_wheel.TAG):
        name = folder / f"metalsvd-0.1.0-{tag}.whl"
        with zipfile.ZipFile(name, "w") as wheel:
            wheel.writestr("metalsvd/libmetalsvd.dylib", library)
            wheel.writestr("metalsvd-0.1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        status = check_macos_wheel.main([str(name), "--torch", str(folder / "torch-2.10.0-macosx.whl")])
        return status, capsys.readouterr().out

    return check


def link_metalsvd(folder, source=SOUND, options=("libtorch_cpu.dylib", "libc++.1.tbd", *RPATH), **others):
    return link(folder, "libmetalsvd", source + METAL_TEXTS, *options, **others).read_bytes()


def faults(printed: str) -> list[str]:
    return [line.strip() for line in printed.splitlines() if line.startswith("       ")]


def test_a_sound_wheel_passes(folder, check):
    status, printed = check(link_metalsvd(folder))
    assert (status, faults(printed)) == (0, []), printed
    assert "1 from /usr/lib/libc++.1.dylib, 1 from @rpath/libtorch_cpu.dylib" in printed
    assert "beside torch-2.10.0-macosx.whl" in printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minimum": "13.0"}, ["minimum macOS 13.0, expected 14.0"]),
        (
            {"options": ("libtorch_cpu.dylib", "libc++.1.tbd", "-rpath", "@loader_path/torch/lib")},
            ["rpaths ['@loader_path/torch/lib'], expected @loader_path/../torch/lib alone"],
        ),
        (
            {"options": ("libtorch_cpu.dylib", "libc++.1.tbd", *RPATH, "-rpath", "/opt/homebrew/lib")},
            ["rpaths ['@loader_path/../torch/lib', '/opt/homebrew/lib'], expected @loader_path/../torch/lib alone"],
        ),
        (
            {"source": STATIC_LIBCXX, "options": ("libtorch_cpu.dylib", *RPATH)},
            [
                "/usr/lib/libc++.1.dylib is not among the libraries that are loaded: "
                "/usr/lib/libSystem.B.dylib, @rpath/libtorch_cpu.dylib",
                "libc++ is linked statically: 1 of its symbols are defined in the library, "
                "among them ___cxa_allocate_exception",
            ],
        ),
        (
            {"install_name": "/tmp/build/libmetalsvd.dylib"},
            ["install name /tmp/build/libmetalsvd.dylib, expected @rpath/libmetalsvd.dylib"],
        ),
        (
            {"options": ("libtorch_cpu.dylib", *RPATH, "-fallow-shlib-undefined"), "source": SOUND},
            [
                "/usr/lib/libc++.1.dylib is not among the libraries that are loaded: "
                "/usr/lib/libSystem.B.dylib, @rpath/libtorch_cpu.dylib",
                "the symbol ___cxa_allocate_exception is bound to no library: any that happens to be loaded would do",
            ],
        ),
    ],
    ids=["minimum macOS", "rpath", "second rpath", "static libc++", "install name", "flat lookup"],
)
def test_a_library_linked_wrongly_is_found(folder, check, options, words):
    status, printed = check(link_metalsvd(folder, **options))
    assert (status, faults(printed)) == (1, words), printed


def test_a_symbol_that_torch_lacks_is_found(folder, check):
    newer = link(
        folder,
        "newer_torch",
        "int torch_function(int x) { return x; } int torch_new(int x) { return x; }",
        install_name="@rpath/libtorch_cpu.dylib",
    )
    source = SOUND.replace("torch_function(x)", "torch_new(x)").replace("torch_function(int)", "torch_new(int)")
    status, printed = check(link_metalsvd(folder, source, (newer.name, "libc++.1.tbd", *RPATH)))
    assert (status, faults(printed)) == (1, ["the symbol _torch_new is not known to be in @rpath/libtorch_cpu.dylib"])


def test_a_symbol_that_macos_is_not_known_to_have_is_found(folder, check):
    stub = folder / "newer.tbd"
    stub.write_text((folder / "libc++.1.tbd").read_text().replace("symbols: [ ", "symbols: [ '___new_in_libcxx', "))
    source = SOUND.replace("__cxa_allocate_exception", "__new_in_libcxx")
    status, printed = check(link_metalsvd(folder, source, ("libtorch_cpu.dylib", stub.name, *RPATH)))
    assert (status, faults(printed)) == (
        1,
        ["the symbol ___new_in_libcxx is not known to be in /usr/lib/libc++.1.dylib"],
    )


def test_a_library_that_torch_lacks_is_found(folder, check):
    other = link(folder, "libother", "int torch_function(int x) { return x; }", install_name="@rpath/libother.dylib")
    status, printed = check(link_metalsvd(folder, options=(other.name, "libc++.1.tbd", *RPATH)))
    assert (status, faults(printed)) == (
        1,
        ["the library @rpath/libother.dylib is neither in torch/lib nor in macos_symbols.json"],
    )


def test_a_change_after_signing_and_a_foreign_metal_text_are_found(folder, check):
    library = bytearray(link_metalsvd(folder))
    at = library.index(b"[[kernel]]")
    library[at - 2] ^= 1
    status, printed = check(bytes(library))
    assert status == 1
    assert len(faults(printed)) == 3, printed
    assert "1 pages changed after the library was signed, the first is " in printed
    assert "is in the library 0 times, expected once" in printed
    assert "1 Metal texts in the library are not those of kernels/*.metal" in printed


def test_an_unsigned_library_is_found(folder, check):
    library = bytearray(link_metalsvd(folder))
    signature = macho.read(bytes(library)).signature_at[0]
    library[signature] ^= 0xFF  # its magic number
    status, printed = check(bytes(library))
    assert (status, faults(printed)) == (1, ["no code signature, without which macOS on arm64 loads nothing"])


def test_a_wrong_tag_is_found(folder, check):
    status, printed = check(link_metalsvd(folder), tag="cp312-cp312-macosx_11_0_arm64")
    assert status == 1
    assert [fault.split(", expected")[0] for fault in faults(printed)] == [
        "the wheel is named metalsvd-0.1.0-cp312-cp312-macosx_11_0_arm64.whl",
        "metalsvd-0.1.0.dist-info/WHEEL has the tags ['cp312-cp312-macosx_11_0_arm64']",
    ]


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + bytes(60), bytes.fromhex("cffaedfe07000001") + bytes(60)])
def test_other_files_are_refused(data):
    with pytest.raises(macho.MachOError, match="not a"):
        macho.read(data)
