// The entry of a kernel: how each parameter is filled, deduced from the kernel's function type.
#pragma once

#include "csrc/backends/cuda_kernels.h"
#include "cuda_position.h"

namespace METALSVD_TRANSLATED {
namespace metal {
namespace cuda {

using ::metalsvd::cuda::Arguments;

template <int index>
struct buffer {
  template <class T>
  METAL_FUNC static T fetch(const Arguments& arguments) {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<T>(arguments.words[index]);
    } else {
      static_assert(std::is_same_v<T, const long&>, "what is not a pointer is an integer: constant long&");
      return reinterpret_cast<T>(arguments.words[index]);
    }
  }
};

template <class T>
METAL_FUNC T position_value(::uint3 position) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(position.x);
  } else if constexpr (T::length == 2) {
    return T(position.x, position.y);
  } else {
    return T(position.x, position.y, position.z);
  }
}
template <class T>
METAL_FUNC T position_value(uint number) {
  static_assert(std::is_integral_v<T>, "this position parameter is a single uint or ushort");
  return static_cast<T>(number);
}

METAL_FUNC ::uint3 product(::uint3 a, ::uint3 b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
METAL_FUNC ::uint3 sum(::uint3 a, ::uint3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
METAL_FUNC ::uint3 group_size() { return {blockDim.x, blockDim.y, blockDim.z}; }
METAL_FUNC ::uint3 grid_size() { return {gridDim.x, gridDim.y, gridDim.z}; }

#define METALSVD_POSITION(name, value)                      \
  struct name {                                             \
    template <class T>                                      \
    METAL_FUNC static T fetch(const Arguments&) {           \
      return position_value<std::remove_const_t<T>>(value); \
    }                                                       \
  };
METALSVD_POSITION(thread_position_in_grid, sum(product(blockIdx, group_size()), threadIdx))
METALSVD_POSITION(thread_position_in_threadgroup, threadIdx)
METALSVD_POSITION(threadgroup_position_in_grid, blockIdx)
METALSVD_POSITION(threads_per_threadgroup, group_size())
METALSVD_POSITION(threadgroups_per_grid, grid_size())
METALSVD_POSITION(threads_per_grid, product(grid_size(), group_size()))
METALSVD_POSITION(thread_index_in_threadgroup, thread_index())
METALSVD_POSITION(thread_index_in_simdgroup, lane_index())
METALSVD_POSITION(simdgroup_index_in_threadgroup, simdgroup_index())
METALSVD_POSITION(simdgroups_per_threadgroup, blockDim.x* blockDim.y* blockDim.z / simd_width)
METALSVD_POSITION(threads_per_simdgroup, uint(simd_width))
#undef METALSVD_POSITION

template <class Signature, auto function, class... Bindings>
struct Call;

template <class... Types, auto function, class... Bindings>
struct Call<void (*)(Types...), function, Bindings...> {
  static_assert(sizeof...(Types) == sizeof...(Bindings));
  METAL_FUNC static void run(const Arguments& arguments) { function(Bindings::template fetch<Types>(arguments)...); }
};

// A kernel is launched as soon as the threadgroups of the one before it in the stream have ended, where the device can
// do that, and here waits until what they wrote can be seen. Launched any sooner, its threadgroups would crowd together
// on the cores that are free first.
METAL_FUNC void follow_the_kernel_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

template <auto function, class... Bindings>
METAL_FUNC void call(const Arguments& arguments) {
  follow_the_kernel_before();
  Call<decltype(function), function, Bindings...>::run(arguments);
}

}  // namespace cuda
}  // namespace metal
}  // namespace METALSVD_TRANSLATED
