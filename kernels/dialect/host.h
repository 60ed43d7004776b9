// What g++ reads as <metal_stdlib>. The dialect is a closed list: a kernel that needs another word of Metal adds it
// here, and to the other dialects, in the same change. Left out on purpose: fast::, hypot, swizzles, double.
#pragma once

#include "host_atomic.h"
#include "host_simd.h"
#include "shared_math.h"
#include "shared_types.h"

// Address spaces mean nothing to g++; the strict check and the instrumented kernels watch over them.
#define device
#define constant const
#define threadgroup
#define thread
