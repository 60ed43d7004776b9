// Where a thread stands: blocks are threadgroups, warps SIMD-groups.
#pragma once

#include "cuda_namespace.h"
#include "shared_types.h"

namespace METALSVD_TRANSLATED {
namespace metal {
namespace cuda {

constexpr int simd_width = 32;
constexpr unsigned all_lanes = 0xFFFFFFFFu;

METAL_FUNC uint thread_index() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
METAL_FUNC uint lane_index() { return thread_index() % simd_width; }
// The first lane's, so that nvcc knows that all have the same. Where they may branch apart, shuffles are branches too.
METAL_FUNC uint simdgroup_index() { return __shfl_sync(all_lanes, thread_index() / simd_width, 0); }

}  // namespace cuda
}  // namespace metal
}  // namespace METALSVD_TRANSLATED
