// The seam between the steps of the algorithm and the devices: "run kernel K over grid G with these tensors and
// integers".
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "plan.h"

namespace metalsvd {

// Tensors are bound as buffers at their storage offset, integers as `constant long&`, both at their place in the list.
using Argument = std::variant<torch::stable::Tensor, std::int64_t>;

struct Launch {
  std::string library;  // the .metal file that holds the kernel
  std::string kernel;   // its host_name
  std::int64_t threadgroups;
  std::int64_t threads_per_threadgroup;
  std::vector<Argument> arguments;
  std::int64_t tile_bytes = 0;  // of threadgroup memory that a CUDA kernel has more than it may declare
};

// Which matrices of a batch a step is for: those of whose words, `step` apart, all `count` from `first` on lie between
// two bounds.
struct Need {
  torch::stable::Tensor words;  // int32
  std::int64_t batch, step;
  std::int64_t first, count;
  std::int64_t least, most;
};

// A part of a method, which torch.profiler shows by name: "metalsvd::block sweep". Where there is a need, and it is no
// matrix's, launches find nothing to do: a device that can leaves them out.
struct Step {
  std::string name;
  std::vector<Launch> launches;
  std::optional<Need> need = std::nullopt;
};

// Launches a step on the device of its tensors and returns without waiting for it. Each launch sees what those before
// it wrote, of this step and of earlier ones. A method hands over one step after the other, so that the device works on
// the first while the host makes the next.
using LaunchStep = void (*)(const Step&);

// On the current stream of the MPS device.
void launch_on_mps(const Step& step);
DeviceLimits mps_limits();

// On the current CUDA stream of the tensors' device. Waits for nothing and allocates nothing, so that a CUDA graph can
// capture it.
void launch_on_cuda(const Step& step);

// Compiles a .metal file for the MPS device, unless a launch has already.
void compile_on_mps(std::string library);

// What the CUDA device of this index offers.
DeviceLimits cuda_limits(std::int32_t device);

}  // namespace metalsvd
