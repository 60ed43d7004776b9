// What g++ reads as <metal_stdlib>. The dialect is a closed list: a kernel that needs another word of Metal adds it here, and to
// the other dialects, in the same change. Left out on purpose: fast::, hypot, swizzles, double.
//
// Everything lives in a namespace of the translated library's own, around the kernels' text too, so that no name of std or of
// the C library can be meant by mistake, and so that the plain and the instrumented kernels link into one binary.
#pragma once

#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "csrc/emulator/kernel_interface.h"

#define METALSVD_JOIN_(a, b) a##b
#define METALSVD_JOIN(a, b) METALSVD_JOIN_(a, b)
#ifdef METALSVD_CHECK_MEMORY
#define METALSVD_TRANSLATED METALSVD_JOIN(METALSVD_LIBRARY, _checked)
#define METALSVD_IS_CHECKED true
#else
#define METALSVD_TRANSLATED METALSVD_JOIN(METALSVD_LIBRARY, _plain)
#define METALSVD_IS_CHECKED false
#endif

// Inlined always, so that a memory access inside is reported at the kernel's own line.
#define METAL_FUNC [[gnu::always_inline]] inline

#define M_PI_F 3.14159265358979323846f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
#define HALF_MAX half::from_bits(0x7BFF)
#define HALF_EPSILON half::from_bits(0x1400)

#include "host_types.h"

#include "host_math.h"

#include "host_simd.h"

#include "host_atomic.h"

// Address spaces mean nothing to g++; the strict check and the instrumented kernels watch over them.
#define device
#define constant const
#define threadgroup
#define thread
