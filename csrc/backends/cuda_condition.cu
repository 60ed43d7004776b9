#include "cuda_condition.h"

namespace metalsvd::cuda {

#if CUDART_VERSION < 12040

cudaGraph_t add_conditional_graph(cudaGraph_t, const NeedOfBatch&) { return nullptr; }

#else

namespace {

constexpr unsigned threads = 256;

// One threadgroup, whose threads look at every so many matrices.
__global__ void __launch_bounds__(threads) find_need(cudaGraphConditionalHandle handle, NeedOfBatch need) {
  bool is_needed = false;
  for (std::int64_t matrix = threadIdx.x; matrix < need.batch; matrix += threads) {
    bool is_within = true;
    for (std::int64_t k = 0; k < need.count; ++k) {
      const std::int64_t word = need.words[matrix * need.step + need.first + k];
      is_within = is_within && need.least <= word && word <= need.most;
    }
    is_needed = is_needed || is_within;
  }
  const int any = __syncthreads_or(is_needed);
  if (threadIdx.x == 0) cudaGraphSetConditional(handle, any != 0);
}

cudaError_t add_node(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t& before,
                     cudaGraphNodeParams* parameters) {
#if CUDART_VERSION < 13000
  return cudaGraphAddNode(node, graph, &before, 1, parameters);
#else
  return cudaGraphAddNode(node, graph, &before, nullptr, 1, parameters);
#endif
}

}  // namespace

cudaGraph_t add_conditional_graph(cudaGraph_t graph, const NeedOfBatch& need) {
  cudaGraphConditionalHandle handle{};
  if (cudaGraphConditionalHandleCreate(&handle, graph) != cudaSuccess) return nullptr;

  NeedOfBatch argument = need;
  void* arguments[] = {&handle, &argument};
  cudaKernelNodeParams finding{};
  finding.func = reinterpret_cast<void*>(&find_need);
  finding.gridDim = dim3(1);
  finding.blockDim = dim3(threads);
  finding.kernelParams = arguments;
  cudaGraphNode_t found = nullptr;
  if (cudaGraphAddKernelNode(&found, graph, nullptr, 0, &finding) != cudaSuccess) return nullptr;

  cudaGraphNodeParams conditional{};
  conditional.type = cudaGraphNodeTypeConditional;
  conditional.conditional.handle = handle;
  conditional.conditional.type = cudaGraphCondTypeIf;
  conditional.conditional.size = 1;
  cudaGraphNode_t node = nullptr;
  if (add_node(&node, graph, found, &conditional) != cudaSuccess) return nullptr;
  return conditional.conditional.phGraph_out[0];
}

#endif

}  // namespace metalsvd::cuda
