// What a Metal library translated for CUDA and the CUDA backend know of each other: each translated file registers its
// kernels before main, the backend finds them by name.
#pragma once

#include <cstddef>
#include <cstdint>

namespace metalsvd::cuda {

inline constexpr std::size_t max_arguments = 31;  // [[buffer(0)]] to [[buffer(30)]]

// The one parameter of every entry function: the buffers' addresses and the integers, each at its place.
struct Arguments {
  std::uint64_t words[max_arguments];
};

struct Kernel {
  const char* name;   // its host_name
  const void* entry;  // what cudaLaunchKernel takes
};

// A static object of every translated file. Kernels have different names in all libraries together.
struct Registration {
  Registration(const Kernel* kernels, std::size_t count);
};

}  // namespace metalsvd::cuda
