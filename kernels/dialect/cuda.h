// What nvcc reads as <metal_stdlib>: the same closed list as host.h, on an NVIDIA GPU. A SIMD-group is a warp.
//
// Float stays IEEE float: compiled without fused products and sums but those of fma(), with denormal numbers taken for
// zero as on an Apple GPU (cmake/Cuda.cmake has the options), so that results are those of the emulator wherever the
// mathematical functions are correctly rounded.
//
// The words of Metal (device, constant, threadgroup, thread, inline) are rewritten by the translator: as macros they
// would break nvcc's own, which expand to __attribute__((device)).
#pragma once

#include "cuda_atomic.h"
#include "cuda_entry.h"
#include "cuda_simd.h"
#include "shared_math.h"
#include "shared_types.h"
