"""The CUDA dialect: what the translator writes for nvcc, and, where nvcc is, that it compiles without a warning."""

import pathlib
import re
import shutil
import subprocess

import pytest
from metal_harness import ROOT, metal_source, translate_metal

NVCC = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
# As cmake/Cuda.cmake has them.
FLAGS = ["-std=c++20", "--expt-relaxed-constexpr", "-fmad=false", "-ftz=false", "-Werror=all-warnings"]

TEXT = """\
#include <metal_stdlib>
namespace metalsvd {
using namespace metal;
constant constexpr uint most = 64;
inline float read(threadgroup const float* x, thread int& i) {
#pragma unroll
  for (int j = 0; j < 4; ++j) i += j;
  return x[i];
}
template <typename T>
[[kernel, max_total_threads_per_threadgroup(most)]] void k(
    device const T* a [[buffer(0)]], device T* out [[buffer(2)]], constant long& n [[buffer(1)]],
    uint i [[thread_index_in_threadgroup]]) {
  threadgroup T tile[most]
                    [2];
  out[i] = a[n];
}
template [[host_name("k_f32")]] [[kernel]] decltype(k<float>) k<float>;
kernel void plain(device int* out [[buffer(0)]]) { out[0] = 1; }
}
"""


def translate(path: pathlib.Path) -> str:
    return translate_metal.translate(metal_source.flatten(path), "cuda")


@pytest.fixture
def translated(tmp_path):
    (tmp_path / "a.metal").write_text(TEXT)
    return translate(tmp_path / "a.metal")


@pytest.mark.parametrize(
    "line",
    [
        "const constexpr uint most = 64;",
        "#pragma unroll",
        "__device__ __forceinline__ float read( const float* x,  int& i) {",
        "T (&tile)[most] [2] = metal::cuda::tile<T[most] [2], 0>();",
        '    {"k_f32", reinterpret_cast<const void*>(&metalsvd::metalsvd_k_f32)},',
        "static const ::metalsvd::cuda::Registration registration(kernels, 2);",
    ],
)
def test_words_of_metal_are_rewritten(translated, line):
    assert re.search(rf"^ *{re.escape(line.strip())}", translated, re.MULTILINE), translated


def test_a_kernel_is_a_device_function_and_each_instantiation_an_entry_point(translated):
    assert re.search(r"^__device__ __forceinline__ +void k\($", translated, re.MULTILINE)
    assert re.search(r"^__device__ __forceinline__ +void plain\(", translated, re.MULTILINE)
    entries = re.findall(
        r"static __global__ void __launch_bounds__\(\((\w+)\), [^{]*\) (\w+)\(const.*call<(.*)>\(arguments\)",
        translated,
    )
    position = "metal::cuda::thread_index_in_threadgroup"
    buffers = [f"metal::cuda::buffer<{i}>" for i in (0, 2, 1)]
    assert entries == [
        ("1024", "metalsvd_plain", "plain, metal::cuda::buffer<0>"),
        ("most", "metalsvd_k_f32", ", ".join(["k<float>", *buffers, position])),
    ]


def test_lines_are_those_of_the_metal_file(translated):
    text = translated.split('#line 1 "')[1].splitlines()
    for number, line in enumerate(TEXT.splitlines(), start=1):
        if "out[" in line:
            assert text[number].split("{")[-1].strip() == line.split("{")[-1].strip()


def test_no_word_of_metal_is_left_in_any_shipped_kernel():
    for path in (ROOT / "kernels").glob("*.metal"):
        code = re.sub(r"//[^\n]*", "", translate(path))
        assert not re.findall(r"\b(device|constant|threadgroup|thread|kernel)\b(?![.:])", code), path


def test_the_skeleton_kernel_compiles(tmp_path):
    if NVCC is None:
        pytest.skip("needs nvcc")
    source = tmp_path / "skeleton.cu"
    source.write_text(translate(ROOT / "kernels" / "skeleton.metal"))
    command = [NVCC, *FLAGS, "-arch=sm_90", "-I", str(ROOT), "-c", str(source), "-o", str(tmp_path / "skeleton.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_error_is_reported_at_the_line_of_the_metal_file(tmp_path):
    if NVCC is None:
        pytest.skip("needs nvcc")
    (tmp_path / "a.metal").write_text(TEXT.replace("out[0] = 1", "out[0] = missing"))
    (tmp_path / "a.cu").write_text(translate(tmp_path / "a.metal"))
    command = [NVCC, *FLAGS, "-arch=sm_90", "-I", str(ROOT), "-ptx", str(tmp_path / "a.cu"), "-o", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert re.search(r'a\.metal\(19\): error: identifier "missing" is undefined', done.stdout + done.stderr), (
        done.stderr
    )
