// What nvcc reads as <metal_stdlib>: the same closed list as host.h, on an NVIDIA GPU. A SIMD-group is a warp.
//
// Float is IEEE float: square roots and quotients are rounded correctly, nothing is fused but by fma() and denormal
// numbers stay (cmake/Cuda.cmake has the options), so that results are those of the emulator, where no number is
// denormal.
//
// The words of Metal (device, constant, threadgroup, thread, inline) are rewritten by the translator: as macros they
// would break nvcc's own, which expand to __attribute__((device)).
#pragma once

#include "cuda_atomic.h"
#include "cuda_entry.h"
#include "cuda_simd.h"
#include "cuda_tile.h"
#include "shared_math.h"
#include "shared_types.h"
