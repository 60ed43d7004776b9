// Where a thread stands: blocks are threadgroups, warps SIMD-groups.
#pragma once

#include "cuda_namespace.h"
#include "shared_types.h"

namespace METALSVD_TRANSLATED {
namespace metal {
namespace cuda {

constexpr int simd_width = 32;

METAL_FUNC uint thread_index() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
METAL_FUNC uint lane_index() { return thread_index() % simd_width; }

}  // namespace cuda
}  // namespace metal
}  // namespace METALSVD_TRANSLATED
