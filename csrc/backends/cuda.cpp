// Runs launches on an NVIDIA GPU: the kernels of kernels/*.metal, translated and compiled ahead of time by nvcc, on the
// current stream of the tensors' device; steps that come again as CUDA graphs (cuda_replay.h). Only these files know
// the CUDA runtime, which is linked statically: it and torch's own share the device's primary context, and with it
// streams, memory and captured graphs.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "../launch.h"
#include "../profiler_range.h"
#include "cuda_kernels.h"
#include "cuda_replay.h"

namespace metalsvd {
namespace {

constexpr std::int64_t warp_size = 32;
constexpr std::int64_t most_threadgroups = (std::int64_t{1} << 31) - 1;
// Launches of a step from which on a graph of them takes less time.
constexpr std::size_t fewest_replayed = 8;

// A way round graphs, as a debugger may want it.
bool may_replay() {
  static const char* const wanted = std::getenv("METALSVD_CUDA_GRAPHS");
  return wanted == nullptr || std::string_view(wanted) != "0";
}

// Entry functions by the kernels' names, complete before main: a launch only looks its own up.
std::unordered_map<std::string_view, const void*>& entries() {
  static auto& table = *new std::unordered_map<std::string_view, const void*>;
  return table;
}

const void* entry_of(const Launch& launch) {
  const auto found = entries().find(launch.kernel);
  STD_TORCH_CHECK(found != entries().end(), "metalsvd: there is no CUDA kernel '", launch.kernel, "'");
  return found->second;
}

void check(cudaError_t error, const char* what, const std::string& name) {
  STD_TORCH_CHECK(error == cudaSuccess, "metalsvd: ", what, " '", name, "' failed: ", cudaGetErrorString(error));
}

// libtorch_cuda is loaded where there are CUDA tensors. It is looked up because a library that links it would load with
// no other build of torch.
cudaStream_t current_stream(std::int32_t device) {
  using CurrentStream = AOTITorchError (*)(std::int32_t, void**);
  static const auto function = [] {
    void* torch_cuda = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    void* found = torch_cuda != nullptr ? dlsym(torch_cuda, "aoti_torch_get_current_cuda_stream") : nullptr;
    return reinterpret_cast<CurrentStream>(found);
  }();
  STD_TORCH_CHECK(function != nullptr,
                  "metalsvd: this build of torch does not tell its CUDA stream (aoti_torch_get_current_cuda_stream)");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(function(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

std::uint64_t word_of(const Argument& argument) {
  if (const auto* integer = std::get_if<std::int64_t>(&argument)) return static_cast<std::uint64_t>(*integer);
  return reinterpret_cast<std::uint64_t>(std::get<torch::stable::Tensor>(argument).data_ptr());
}

std::int32_t device_of(const Launch& launch) {
  for (const Argument& argument : launch.arguments) {
    if (const auto* tensor = std::get_if<torch::stable::Tensor>(&argument)) return tensor->get_device_index();
  }
  STD_TORCH_CHECK(false, "metalsvd: the kernel '", launch.kernel, "' has no tensor");
}

// Whether kernels can be launched before what the one before them wrote can be seen, since they wait for it themselves:
// those do that are compiled for compute capability 9 (kernels/dialect/cuda_entry.h), which a build for older devices
// is not, though a newer one runs it. All kernels of a device are compiled alike.
bool launches_early(std::int32_t device, const Launch& launch) {
  constexpr int hopper = 90;
  static std::mutex mutex;
  static auto& known = *new std::unordered_map<std::int32_t, bool>;
  const std::lock_guard lock(mutex);
  const auto found = known.find(device);
  if (found != known.end()) return found->second;
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, entry_of(launch)), "looking at the kernel", launch.kernel);
  return known[device] = attributes.ptxVersion >= hopper;
}

// A launch as the runtime takes it.
struct Call {
  const Launch& launch;
  const void* entry;
  cuda::Arguments arguments{};
};

Call make_call(const Launch& launch) {
  STD_TORCH_CHECK(launch.arguments.size() <= cuda::max_arguments && launch.threads_per_threadgroup % warp_size == 0 &&
                      launch.threadgroups <= most_threadgroups,
                  "metalsvd: the kernel '", launch.kernel, "' cannot be launched on CUDA");
  Call call{launch, entry_of(launch)};
  for (std::size_t i = 0; i < launch.arguments.size(); ++i) call.arguments.words[i] = word_of(launch.arguments[i]);
  return call;
}

void run(const Call& call, cudaStream_t stream, bool early) {
  const Launch& launch = call.launch;
  if (launch.tile_bytes > 0) {
    check(cudaFuncSetAttribute(call.entry, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(launch.tile_bytes)),
          "asking for the shared memory of the kernel", launch.kernel);
  }
  cudaLaunchAttribute programmatic{};
  programmatic.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  programmatic.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(launch.threadgroups));
  config.blockDim = dim3(static_cast<unsigned>(launch.threads_per_threadgroup));
  config.dynamicSmemBytes = static_cast<std::size_t>(launch.tile_bytes);
  config.stream = stream;
  config.attrs = &programmatic;
  config.numAttrs = early ? 1 : 0;
  void* parameters[] = {const_cast<cuda::Arguments*>(&call.arguments)};
  check(cudaLaunchKernelExC(&config, call.entry, parameters), "launching the kernel", launch.kernel);
}

std::optional<cuda::NeedOfBatch> need_of(const Step& step) {
  if (!step.need) return std::nullopt;
  const Need& need = *step.need;
  return cuda::NeedOfBatch{static_cast<const std::int32_t*>(need.words.data_ptr()),
                           need.batch,
                           need.step,
                           need.first,
                           need.count,
                           need.least,
                           need.most};
}

// All that steps are told apart by.
std::vector<std::uint64_t> words_of(const std::vector<Call>& calls, const std::optional<cuda::NeedOfBatch>& need) {
  std::vector<std::uint64_t> words;
  words.reserve(calls.size() * (cuda::max_arguments + 4) + 7);
  if (need) {
    words.push_back(reinterpret_cast<std::uint64_t>(need->words));
    for (const std::int64_t number : {need->batch, need->step, need->first, need->count, need->least, need->most}) {
      words.push_back(static_cast<std::uint64_t>(number));
    }
  }
  for (const Call& call : calls) {
    const std::size_t count = call.launch.arguments.size();
    words.insert(words.end(),
                 {reinterpret_cast<std::uint64_t>(call.entry), static_cast<std::uint64_t>(call.launch.threadgroups),
                  static_cast<std::uint64_t>(call.launch.threads_per_threadgroup),
                  static_cast<std::uint64_t>(call.launch.tile_bytes)});
    words.insert(words.end(), call.arguments.words, call.arguments.words + count);
  }
  return words;
}

}  // namespace

namespace cuda {

Registration::Registration(const Kernel* kernels, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) entries().emplace(kernels[i].name, kernels[i].entry);
}

}  // namespace cuda

DeviceLimits cuda_limits(std::int32_t device) {
  const auto read = [device](cudaDeviceAttr attribute) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, attribute, device), "reading the limits of the device",
          std::to_string(device));
    return std::int64_t{value};
  };
  // Two for each scheduler of an H100: up to there each matrix takes less time with more lanes.
  constexpr std::int64_t few_simdgroups = 1024;
  return {read(cudaDevAttrMaxSharedMemoryPerBlockOptin), read(cudaDevAttrMultiProcessorCount), few_simdgroups, true};
}

void launch_on_cuda(const Step& step) {
  const std::int32_t device = device_of(step.launches.front());
  const torch::stable::accelerator::DeviceGuard guard(device);
  const cudaStream_t stream = current_stream(device);
  const bool early = launches_early(device, step.launches.front());
  const ProfilerRange range(step.name.c_str());
  std::vector<Call> calls;
  calls.reserve(step.launches.size());
  for (const Launch& launch : step.launches) calls.push_back(make_call(launch));
  const auto run_all = [&calls, early](cudaStream_t stream) {
    for (const Call& call : calls) run(call, stream, early);
  };
  if (calls.size() < fewest_replayed || !may_replay()) return run_all(stream);
  const std::optional<cuda::NeedOfBatch> need = need_of(step);
  cuda::Replay::of_device(device).launch(words_of(calls, need), stream, run_all, need);
}

}  // namespace metalsvd
