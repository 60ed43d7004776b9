// What g++ reads as <metal_stdlib>. The dialect is a closed list: a kernel that needs another word of Metal adds it
// here, and to the other dialects, in the same change. Left out on purpose: fast::, hypot, swizzles, double.
#pragma once

// First: what the others need.
#include "cxx_math.h"
#include "cxx_types.h"
#include "host_atomic.h"
#include "host_namespace.h"
#include "host_simd.h"

// Address spaces mean nothing to g++; the strict check and the instrumented kernels watch over them.
#define device
#define constant const
#define threadgroup
#define thread
