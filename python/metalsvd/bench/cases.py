"""What is decomposed: shapes, dtypes, presets and the random inputs made of them."""

from __future__ import annotations

import argparse
import math
import re
from typing import NamedTuple

import torch
from torch import Tensor

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (
    torch.float32, torch.float16, torch.bfloat16, torch.complex64,
)}  # fmt: skip

JOBS = ["thin", "full", "values"]

# Shapes as --shapes takes them. h100 is the table that metalsvd is measured against on an H100.
PRESETS = {
    "quick": "1000x3x3 1000x8x8 256x16x16 256x32x32 64x64x64 128x128 256x256 10000x16",
    "small": "100000x3x3 20000x4x4 10000x8x8 4096x16x16 4096x32x32 1024x64x64",
    "large": "256x256 512x512 1024x1024 2048x2048 4096x2048 4096x4096",
    "tall": "20000x3 100000x16 1000000x16 20000x32 100000x64 100000x128",
    "h100": "100000x3x3 20000x4x4 10000x8x8 4096x16x16 4096x16x16:complex64 4096x32x32 1024x64x64 64x128x128 "
    "512x128x128 64x256x256 16x512x512 32x32 128x128 512x512 1024x1024 2048x2048 4096x2048 4096x4096 100000x128 "
    "1000000x16",
}
# The emulator runs every thread of every matrix on the CPU.
PRESET_QUICK_EMULATED = "1000x3x3 100x8x8 20x16x16 8x32x32 64x64 96x96 5000x16"

# Inputs that a cache could hold from one call to the next take turns; more than this many are not needed.
MOST_INPUT_SETS = 16


class Case(NamedTuple):
    """One cell's input: ``shape`` is ``(batch, m, n)`` or ``(m, n)``."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def batch(self) -> int:
        return math.prod(self.shape[:-2])

    @property
    def m(self) -> int:
        return self.shape[-2]

    @property
    def n(self) -> int:
        return self.shape[-1]

    @property
    def k(self) -> int:
        return min(self.m, self.n)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def name(self) -> str:
        return "x".join(map(str, self.shape))

    @property
    def bytes(self) -> int:
        return self.batch * self.m * self.n * self.dtype.itemsize


class Shape(NamedTuple):
    """A shape as the user wrote it; ``dtype`` is None where it is that of ``--dtype``."""

    sizes: tuple[int, ...]
    dtype: torch.dtype | None = None

    def case(self, dtype: torch.dtype) -> Case:
        return Case(self.sizes, self.dtype or dtype)


def parse_shape(text: str) -> Shape:
    """``"64x32x32"``, ``"32x32"`` or ``"64x32x32:complex64"`` -> Shape.

    Raises:
        argparse.ArgumentTypeError: it is none of them.
    """
    match = re.fullmatch(r"(\d+(?:x\d+){1,2})(?::(\w+))?", text)
    sizes = tuple(map(int, match[1].split("x"))) if match else ()
    if not sizes or 0 in sizes or (match[2] and match[2] not in DTYPES):
        raise argparse.ArgumentTypeError(
            "expected BATCHxMxN or MxN, whole numbers of at least 1, and after a colon a dtype "
            f"({', '.join(DTYPES)}) where it is another than that of --dtype, but got {text!r}"
        )
    return Shape(sizes, DTYPES[match[2]] if match[2] else None)


def preset(name: str, emulated: bool) -> list[Shape]:
    text = PRESET_QUICK_EMULATED if emulated and name == "quick" else PRESETS[name]
    return [parse_shape(shape) for shape in text.split()]


def input_set_count(case: Case, cache_bytes: int) -> int:
    """As many as twice the cache holds, so that no call finds its input there."""
    return min(MOST_INPUT_SETS, max(1, math.ceil(2 * cache_bytes / case.bytes)))


def make_inputs(case: Case, count: int, seed: int, device: str) -> list[Tensor]:
    """Standard normal numbers; set i is made with the seed ``seed + i``, on the CPU: the same on every device."""
    drawn = torch.complex64 if case.dtype.is_complex else torch.float32
    inputs = []
    for i in range(count):
        generator = torch.Generator().manual_seed(seed + i)
        inputs.append(torch.randn(case.shape, dtype=drawn, generator=generator).to(case.dtype).to(device))
    return inputs
