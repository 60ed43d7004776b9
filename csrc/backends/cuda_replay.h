// Steps of many launches that are made again and again. To launch a kernel takes the host 3 to 5 us, longer than many
// kernels here take the device; as one CUDA graph hundreds of them take it some 10 us. So what is launched once more
// with the same tensors at the same places, as torch's allocator gives them where matrices of one shape are factored
// one after the other, is captured then, and replayed from there on.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cuda_condition.h"

namespace metalsvd::cuda {

// Launches of one device, told apart by words that hold all there is to know of them. Any thread may call it.
class Replay {
 public:
  static Replay& of_device(std::int32_t device);

  // What launch_all does with a stream, on this one. Launches it, or has it launch into a graph and launches that, in
  // which it may depend on a need.
  void launch(std::vector<std::uint64_t> words, cudaStream_t stream,
              const std::function<void(cudaStream_t)>& launch_all, const std::optional<NeedOfBatch>& need);

 private:
  struct Known {
    std::uint64_t hash;
    std::vector<std::uint64_t> words;
    cudaGraphExec_t graph = nullptr;
    bool is_refused = false;  // there was no graph to be had: it is launched as it is
  };
  using Order = std::list<Known>;  // the one used last first

  Replay() = default;
  // Whether it could: what is new is not.
  bool replay(std::vector<std::uint64_t> words, cudaStream_t stream,
              const std::function<void(cudaStream_t)>& launch_all, const std::optional<NeedOfBatch>& need);
  Order::iterator find_or_add(std::vector<std::uint64_t> words, bool& is_new);
  cudaGraphExec_t capture(const std::function<void(cudaStream_t)>& launch_all, const std::optional<NeedOfBatch>& need);

  std::mutex mutex_;
  cudaStream_t stream_ = nullptr;  // that graphs are captured from
  Order order_;
  std::unordered_map<std::uint64_t, Order::iterator> known_;  // by hash
};

}  // namespace metalsvd::cuda
