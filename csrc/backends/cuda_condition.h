// A part of a CUDA graph that runs where it is needed only, as the device finds when it gets there.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace metalsvd::cuda {

// A Need (launch.h), as a kernel takes it.
struct NeedOfBatch {
  const std::int32_t* words;
  std::int64_t batch, step;
  std::int64_t first, count;
  std::int64_t least, most;
};

// The graph, within an empty one, that runs if a matrix has this need; null where CUDA is older than such graphs
// (12.4).
cudaGraph_t add_conditional_graph(cudaGraph_t graph, const NeedOfBatch& need);

}  // namespace metalsvd::cuda
