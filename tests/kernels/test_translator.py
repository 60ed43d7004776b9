"""The flattened text, and what the translator refuses: always with file and line."""

import re

import pytest
from metal_harness import ROOT, metal_source, translate_metal

HEADER = """\
#pragma once
#include <metal_stdlib>
namespace metalsvd {
using namespace metal;
"""
PARAMETERS = "device float* out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]"


def translate(tmp_path, body: str) -> str:
    """Translate a library whose header, a.h, holds the body from its line 5 on."""
    (tmp_path / "a.h").write_text(HEADER + body + "\n}\n")
    (tmp_path / "a.metal").write_text('#include "a.h"\n')
    return translate_metal.translate(metal_source.flatten(tmp_path / "a.metal"))


def test_flattened_text_has_each_header_once_and_knows_its_lines(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "b.h").write_text("#pragma once\n#include <metal_stdlib>\nint b;\n")
    (tmp_path / "a.h").write_text('#include <metal_stdlib>\n#include "common/b.h"\n\nint a;\n')
    (tmp_path / "x.metal").write_text('#include "a.h"\n#include "common/b.h"\nint x;\n')
    source = metal_source.flatten(tmp_path / "x.metal")
    assert source.text == "#include <metal_stdlib>\nint b;\n\nint a;\nint x;\n"
    folder = tmp_path.name
    assert [str(origin) for origin in source.origins] == [
        f"{folder}/a.h:1",
        f"{folder}/common/b.h:3",
        f"{folder}/a.h:3",
        f"{folder}/a.h:4",
        f"{folder}/x.metal:3",
    ]
    assert [path.name for path in source.files] == ["x.metal", "a.h", "b.h"]


@pytest.mark.parametrize(
    ("include", "message"), [('"none.h"', 'no header "none.h"'), ("<vector>", "<vector> is not a header of Metal")]
)
def test_includes_that_cannot_be(tmp_path, include, message):
    (tmp_path / "x.metal").write_text(f"\n#include {include}\n")
    with pytest.raises(metal_source.SourceError, match=message) as caught:
        metal_source.flatten(tmp_path / "x.metal")
    assert str(caught.value).startswith(f"{tmp_path.name}/x.metal:2: error: ")


def test_translation_keeps_the_text_of_a_kernel(tmp_path):
    translated = translate(tmp_path, "[[kernel]] void k(" + PARAMETERS + ") { out[i] = 1.0f; }")
    assert f'#line 2 "{tmp_path.name}/a.h"' in translated
    assert "void k(device float* out              , uint i" in translated
    assert 'make_kernel<k, metal::emulated::buffer<0>, metal::emulated::thread_index_in_threadgroup>("k"' in translated


def test_tiles_become_references(tmp_path):
    body = f"""kernel void k({PARAMETERS}) {{
  threadgroup array<float, 4> tile[N * 2][33];
  threadgroup float2 single;
  threadgroup float* pointer = (threadgroup float*)tile;
  threadgroup float (&row)[33] = tile[0];
}}"""
    translated = translate(tmp_path, body)
    assert (
        'array<float, 4> (&tile)[N * 2][33] = metal::emulated::tile<array<float, 4>[N * 2][33]>(0, "tile");'
        in translated
    )
    assert 'float2 &single = metal::emulated::tile<float2>(1, "single");' in translated
    assert "threadgroup float* pointer = (threadgroup float*)tile;" in translated
    assert "threadgroup float (&row)[33] = tile[0];" in translated


def test_kernel_limit_and_host_name(tmp_path):
    body = f"""constant constexpr uint most = 64;
template <typename T>
[[kernel, max_total_threads_per_threadgroup(most)]] void k({PARAMETERS}) {{}}
template [[host_name("k_f32")]] [[kernel]] decltype(k<float>) k<float>;"""
    translated = translate(tmp_path, body)
    assert "make_kernel<k<float>, " in translated
    assert '("k_f32", emulated_names_0, most);' in translated
    assert "decltype(k<float>)" not in translated.split("static const char source[]")[0]


def test_every_shipped_kernel_file_translates():
    for path in (ROOT / "kernels").glob("*.metal"):
        assert "make_kernel<" in translate_metal.translate(metal_source.flatten(path))


KERNEL = "kernel void k(" + PARAMETERS + ") {{ {} }}"
REFUSED = {
    "two tiles in one statement": (
        KERNEL.format("threadgroup float a[2], b[3];"),
        "one threadgroup declaration a statement",
    ),
    "initialised tile": (KERNEL.format("threadgroup float a = 1.0f;"), "one threadgroup declaration a statement"),
    "tile behind another specifier": (
        KERNEL.format("alignas(16) threadgroup float a[4];"),
        "this use of 'threadgroup'",
    ),
    "tile outside of a kernel": (
        "inline void f() { threadgroup float a[4]; }",
        "tile 'a' is declared in 'f', which is not a kernel",
    ),
    "threadgroup by value": ("inline void f(threadgroup float a) {}", "this use of 'threadgroup'"),
    "threadgroup member": ("struct S { threadgroup float a[4]; };", "this use of 'threadgroup'"),
    "parameter without attribute": (
        "kernel void k(device float* a) {}",
        "parameter 'device float* a' needs one attribute",
    ),
    "unknown attribute": ("kernel void k(device float* a [[texture(0)]]) {}", "unknown attribute"),
    "attribute in the wrong place": ('kernel void k(uint a [[host_name("x")]]) {}', "does not belong on parameter 'a'"),
    "buffer number by name": ("kernel void k(device float* a [[buffer(first)]]) {}", "the index is a number"),
    "buffer number too large": (
        "kernel void k(device float* a [[buffer(31)]]) {}",
        "the index is a number from 0 to 30",
    ),
    "buffer by value": ("kernel void k(float a [[buffer(0)]]) {}", "must be a device or constant pointer or reference"),
    "buffer without address space": (
        "kernel void k(float* a [[buffer(0)]]) {}",
        "must be a device or constant pointer",
    ),
    "dynamic threadgroup memory": ("kernel void k(threadgroup float* a [[threadgroup(0)]]) {}", "unknown attribute"),
    "one buffer twice": (
        "kernel void k(device int* a [[buffer(0)]], device int* b [[buffer(0)]]) {}",
        "two parameters of one",
    ),
    "kernel declared only": (f"kernel void k({PARAMETERS});", "a kernel is defined where it is declared"),
    "two kernels of a name": (KERNEL.format("") + KERNEL.format(""), "a second kernel 'k'"),
    "no kernel": ("inline void f() {}", "no kernel in this library"),
    "kernel from a macro": ("#define K kernel void k()", "cannot come from a macro"),
    "spelled-out instantiation": (
        'template [[host_name("k_f32")]] [[kernel]] void k<float>(device float*);',
        "a kernel is instantiated in the form",
    ),
    "two names": ('template [[host_name("k")]] [[kernel]] decltype(k<float>) k<half>;', "the name in decltype"),
    "no such template": (
        'template [[host_name("k")]] [[kernel]] decltype(k<float>) k<float>;',
        "no kernel template 'k'",
    ),
    "unclosed brace": ("kernel void k(" + PARAMETERS + ") {{", "no '}' closes this '{'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_file_and_line(tmp_path, case):
    body, message = REFUSED[case]
    with pytest.raises(metal_source.SourceError, match=re.escape(message)) as caught:
        translate(tmp_path, body)
    line = 2 if case == "no kernel" else 5
    assert str(caught.value).startswith(f"{tmp_path.name}/a.h:{line}: error: ")


def test_command_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.metal").write_text("int a;\n")
    monkeypatch.setattr(
        "sys.argv", ["translate_metal.py", str(tmp_path / "a.metal"), "--output", str(tmp_path / "a.cpp")]
    )
    assert translate_metal.main() == 1
    assert capsys.readouterr().err == f"{tmp_path.name}/a.metal:1: error: no kernel in this library\n"
    assert not (tmp_path / "a.cpp").exists()
