// Runs launches on an Apple GPU, or on the emulated one, through the C shim of libtorch. The only file that knows the
// shim.
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_torch/c/shim_mps.h>
#include <torch/headeronly/util/Exception.h>

#include <cstring>
#include <map>
#include <mutex>

#include "../launch.h"
#include "../profiler_range.h"
#include "../shader_libraries.h"

// Builds of torch for other systems declare these functions and do not define them: the library must load there all the
// same. The emulator defines them, and may be loaded later than this library, when weak references have long been
// settled.
#pragma weak aoti_torch_mps_create_shader_library
#pragma weak aoti_torch_mps_get_kernel_function
#pragma weak aoti_torch_mps_start_encoding
#pragma weak aoti_torch_mps_set_arg_tensor
#pragma weak aoti_torch_mps_set_arg_int
#pragma weak aoti_torch_mps_dispatch_array_with_group_size
#pragma weak aoti_torch_mps_run_command_block

namespace metalsvd {
namespace {

template <typename Function>
Function find(Function linked, const char* name) {
  if (linked == nullptr) linked = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  STD_TORCH_CHECK(linked != nullptr, "metalsvd: this build of torch has no Metal support (", name,
                  " is missing), and the emulated Apple GPU is not enabled: call metalsvd.emulator.enable() or set "
                  "METALSVD_EMULATE=1");
  return linked;
}
#define METALSVD_SHIM(function) find(&function, #function)

// The emulator says here why a shim function failed; a real device has nothing to add.
std::string last_error() {
  using LastError = const char* (*)();
  const auto emulator_error = reinterpret_cast<LastError>(dlsym(RTLD_DEFAULT, "metalsvd_emulator_last_error"));
  return emulator_error != nullptr ? std::string(": ") + emulator_error() : std::string();
}

// The emulator may stand for a GPU that is not Apple's. There is none on macOS, where each call would look for it in
// all libraries that are loaded.
bool has_wide_lanes() {
#ifdef __APPLE__
  return false;
#else
  using HasWideLanes = bool (*)();
  const auto of_emulator = reinterpret_cast<HasWideLanes>(dlsym(RTLD_DEFAULT, "metalsvd_emulator_has_wide_lanes"));
  return of_emulator != nullptr && of_emulator();
#endif
}

void check(AOTITorchError error, const char* what, const std::string& name) {
  STD_TORCH_CHECK(error == TORCH_SUCCESS, "metalsvd: ", what, " '", name, "' failed", last_error());
}

const char* source_of(const std::string& library) {
  for (std::size_t i = 0; i < shader_library_count; ++i) {
    if (library == shader_libraries[i].name) return shader_libraries[i].source;
  }
  STD_TORCH_CHECK(false, "metalsvd: there is no Metal library '", library, "'");
}

// Metal text is compiled when its library is first used; libraries and functions live as long as the process.
class KernelCache {
 public:
  static KernelCache& instance() {
    static auto& cache = *new KernelCache;  // never destroyed: at exit the device may be gone before us
    return cache;
  }

  // A kernel function keeps its encoder inside, and the shim's caches have no lock of their own before torch 2.15: held
  // from the first look-up until a command block returns.
  std::mutex mutex;

  AOTIMetalKernelFunctionHandle function(const Launch& launch) {
    AOTIMetalKernelFunctionHandle& function = functions_[launch.library + '/' + launch.kernel];
    if (function == nullptr) {
      check(
          METALSVD_SHIM(aoti_torch_mps_get_kernel_function)(library(launch.library), launch.kernel.c_str(), &function),
          "finding the kernel", launch.kernel);
    }
    return function;
  }

  AOTIMetalShaderLibraryHandle library(const std::string& name) {
    AOTIMetalShaderLibraryHandle& library = libraries_[name];
    if (library == nullptr) {
      check(METALSVD_SHIM(aoti_torch_mps_create_shader_library)(source_of(name), &library),
            "compiling the Metal library", name);
    }
    return library;
  }

 private:
  std::map<std::string, AOTIMetalShaderLibraryHandle> libraries_;
  std::map<std::string, AOTIMetalKernelFunctionHandle> functions_;
};

struct Encoding {
  const Step& step;
  std::vector<AOTIMetalKernelFunctionHandle> functions;  // of its launches, in order
  std::string error;                                     // an exception must not cross the shim
};

void encode(AOTIMetalKernelFunctionHandle function, const Launch& launch) {
  check(METALSVD_SHIM(aoti_torch_mps_start_encoding)(function), "encoding the kernel", launch.kernel);
  for (unsigned i = 0; i < launch.arguments.size(); ++i) {
    const Argument& argument = launch.arguments[i];
    const auto* integer = std::get_if<std::int64_t>(&argument);
    check(integer != nullptr ? METALSVD_SHIM(aoti_torch_mps_set_arg_int)(function, i, *integer)
                             : METALSVD_SHIM(aoti_torch_mps_set_arg_tensor)(
                                   function, i, std::get<torch::stable::Tensor>(argument).get()),
          "setting an argument of the kernel", launch.kernel);
  }
  const auto group = static_cast<std::uint64_t>(launch.threads_per_threadgroup);
  const std::uint64_t grid = static_cast<std::uint64_t>(launch.threadgroups) * group;
  check(METALSVD_SHIM(aoti_torch_mps_dispatch_array_with_group_size)(function, &grid, 1, &group, 1),
        "running the kernel", launch.kernel);
}

void encode_step(AOTIMetalKernelFunctionHandle, void* data) {
  auto& encoding = *static_cast<Encoding*>(data);
  try {
    auto function = encoding.functions.begin();
    const ProfilerRange range(encoding.step.name.c_str());
    for (const Launch& launch : encoding.step.launches) encode(*function++, launch);
  } catch (const std::exception& error) {
    encoding.error = error.what();
  }
}

}  // namespace

void compile_on_mps(std::string library) {
  KernelCache& cache = KernelCache::instance();
  const std::lock_guard lock(cache.mutex);
  cache.library(library);
}

DeviceLimits mps_limits() { return has_wide_lanes() ? gpu_with_wide_lanes : apple_gpu; }

void launch_on_mps(const Step& step) {
  KernelCache& cache = KernelCache::instance();
  const std::lock_guard lock(cache.mutex);
  Encoding encoding{step, {}, {}};
  for (const Launch& launch : step.launches) encoding.functions.push_back(cache.function(launch));
  check(METALSVD_SHIM(aoti_torch_mps_run_command_block)(encoding.functions.front(), encode_step, &encoding),
        "running the command block of", step.name);
  STD_TORCH_CHECK(encoding.error.empty(), encoding.error);
}

}  // namespace metalsvd
