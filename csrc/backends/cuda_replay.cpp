#include "cuda_replay.h"

#include <utility>

namespace metalsvd::cuda {
namespace {

// Steps of all shapes in use together: a call has up to some thirty of them that are worth a graph.
constexpr std::size_t most_known = 256;

// FNV-1a, of words rather than bytes.
std::uint64_t hash_of(const std::vector<std::uint64_t>& words) {
  std::uint64_t hash = 14695981039346656037u;
  for (const std::uint64_t word : words) {
    hash = (hash ^ word) * 1099511628211u;
    hash ^= hash >> 32;
  }
  return hash;
}

// Whether somebody captures this stream, or another one in such a way that even the question is not allowed.
bool is_captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream, &status) == cudaSuccess) return status != cudaStreamCaptureStatusNone;
  cudaGetLastError();
  return true;
}

// Within it this thread may do what captures of other threads would forbid.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Whether all that is launched became part of the graph.
bool capture_into(cudaGraph_t graph, cudaStream_t stream, const std::function<void(cudaStream_t)>& launch_all) {
  if (stream == nullptr) return false;
  if (cudaStreamBeginCaptureToGraph(stream, graph, nullptr, nullptr, 0, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
    return false;
  }
  bool is_whole = true;
  try {
    launch_all(stream);
  } catch (...) {  // the launches themselves will say why
    is_whole = false;
  }
  cudaGraph_t captured = nullptr;
  return cudaStreamEndCapture(stream, &captured) == cudaSuccess && is_whole;
}

}  // namespace

Replay& Replay::of_device(std::int32_t device) {
  // Never destroyed: at exit the device may be gone before us.
  static std::mutex mutex;
  static auto& replays = *new std::unordered_map<std::int32_t, Replay*>;
  const std::lock_guard lock(mutex);
  Replay*& replay = replays[device];
  if (replay == nullptr) replay = new Replay;
  return *replay;
}

void Replay::launch(std::vector<std::uint64_t> words, cudaStream_t stream,
                    const std::function<void(cudaStream_t)>& launch_all, const std::optional<NeedOfBatch>& need) {
  if (is_captured(stream) || !replay(std::move(words), stream, launch_all, need)) launch_all(stream);
}

bool Replay::replay(std::vector<std::uint64_t> words, cudaStream_t stream,
                    const std::function<void(cudaStream_t)>& launch_all, const std::optional<NeedOfBatch>& need) {
  const std::lock_guard lock(mutex_);
  bool is_new = false;
  const Order::iterator known = find_or_add(std::move(words), is_new);
  if (!is_new && known->graph == nullptr && !known->is_refused) {
    known->graph = capture(launch_all, need);
    if (known->graph == nullptr && need) known->graph = capture(launch_all, std::nullopt);
    known->is_refused = known->graph == nullptr;
  }
  if (known->graph == nullptr) return false;
  if (cudaGraphLaunch(known->graph, stream) == cudaSuccess) return true;
  cudaGetLastError();
  return false;
}

// The words themselves are compared too: of two steps of the same hash the later one takes the place of the other.
Replay::Order::iterator Replay::find_or_add(std::vector<std::uint64_t> words, bool& is_new) {
  const std::uint64_t hash = hash_of(words);
  const auto forget = [this](Order::iterator known) {
    if (known->graph != nullptr) cudaGraphExecDestroy(known->graph);  // once it has run
    known_.erase(known->hash);
    order_.erase(known);
  };
  const auto found = known_.find(hash);
  if (found != known_.end() && found->second->words == words) {
    order_.splice(order_.begin(), order_, found->second);
    return order_.begin();
  }
  if (found != known_.end()) forget(found->second);
  if (order_.size() == most_known) forget(std::prev(order_.end()));
  order_.push_front({hash, std::move(words)});
  known_[hash] = order_.begin();
  is_new = true;
  return order_.begin();
}

// Null where there is no graph, as where device memory is short.
cudaGraphExec_t Replay::capture(const std::function<void(cudaStream_t)>& launch_all,
                                const std::optional<NeedOfBatch>& need) {
  const RelaxedCapture relaxed;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  if (stream_ == nullptr) cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  if (cudaGraphCreate(&graph, 0) == cudaSuccess) {
    const cudaGraph_t part = need ? add_conditional_graph(graph, *need) : graph;
    if (part != nullptr && capture_into(part, stream_, launch_all)) cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
  }
  cudaGetLastError();
  return executable;
}

}  // namespace metalsvd::cuda
