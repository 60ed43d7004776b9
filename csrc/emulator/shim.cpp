// The functions of torch/csrc/inductor/aoti_torch/c/shim_mps.h, which torch defines on macOS only, over the emulated
// Metal runtime. What goes wrong is told by metalsvd_emulator_last_error(), and to torch as well where it has a place
// for it (2.13+).
#include <torch/csrc/inductor/aoti_torch/c/shim_mps.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

#include "controls.h"
#include "memory.h"
#include "runtime.h"

#pragma GCC visibility push(default)
// Of torch 2.13 and later; null where torch has none.
namespace torch::csrc::shim::details {
[[gnu::weak]] void set_torch_exception_what(const std::string& what);
[[gnu::weak]] void set_torch_exception_what_without_backtrace(const std::string& what);
}  // namespace torch::csrc::shim::details
#pragma GCC visibility pop

namespace {

using namespace metalsvd::emulator;

thread_local std::string last_error;

void keep_error(const char* what) {
  namespace torch_shim = torch::csrc::shim::details;
  last_error = what;
  if (&torch_shim::set_torch_exception_what) torch_shim::set_torch_exception_what(what);
  if (&torch_shim::set_torch_exception_what_without_backtrace)
    torch_shim::set_torch_exception_what_without_backtrace(what);
}

template <class Action>
AOTITorchError guarded(Action action) {
  try {
    action();
    return AOTI_TORCH_SUCCESS;
  } catch (const std::exception& error) {
    keep_error(error.what());
  } catch (...) {
    keep_error("emulated GPU: an unknown exception");
  }
  return AOTI_TORCH_FAILURE;
}

void require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(std::string("emulated GPU: ") + what);
}

KernelFunction& function_of(AOTIMetalKernelFunctionHandle handle) {
  require(handle != nullptr, "no kernel function");
  return *reinterpret_cast<KernelFunction*>(handle);
}

template <class Getter, class Value>
void get(Getter getter, AtenTensorHandle tensor, Value* value) {
  require(getter(tensor, value) == AOTI_TORCH_SUCCESS, "this tensor cannot be read");
}

Buffer buffer_of(AtenTensorHandle tensor) {
  require(tensor != nullptr, "no tensor");
  std::int32_t device = 0, dtype = 0;
  std::int64_t offset = 0, storage_bytes = 0;
  void* data = nullptr;
  get(aoti_torch_get_device_type, tensor, &device);
  require(device == aoti_torch_device_type_mps(),
          "a tensor that is not on the mps device cannot be an argument of a kernel");
  get(aoti_torch_get_dtype, tensor, &dtype);
  get(aoti_torch_get_storage_offset, tensor, &offset);
  get(aoti_torch_get_storage_size, tensor, &storage_bytes);
  get(aoti_torch_get_data_ptr, tensor, &data);
  auto* const start = static_cast<std::byte*>(data);
  if (!start) return {nullptr, nullptr, 0};  // an empty tensor
  const auto offset_bytes = static_cast<std::size_t>(offset) * aoti_torch_dtype_element_size(dtype);
  return {start, start - offset_bytes, static_cast<std::size_t>(storage_bytes)};
}

Size3 size_of(const std::uint64_t* lengths, std::size_t count) {
  require(count >= 1 && count <= 3, "a grid has one to three dimensions");
  std::uint32_t size[3] = {1, 1, 1};
  for (std::size_t i = 0; i < count; ++i) {
    require(lengths[i] <= std::numeric_limits<std::uint32_t>::max(),
            "a grid has less than 2^32 threads along each dimension");
    size[i] = static_cast<std::uint32_t>(lengths[i]);
  }
  return {size[0], size[1], size[2]};
}

// Torch's choice where the caller makes none: as many threads as the kernel takes, in a row.
Size3 default_group(const KernelFunction& function, Size3 grid) {
  return {std::min(function.max_threads(), grid.x), 1, 1};
}

// A range of bytes inside the block of device memory that starts at data.
std::byte* range(void* data, std::size_t offset, std::size_t bytes) {
  const auto block = find_allocation(data);
  require(block.has_value(), "this is not device memory");
  require(offset <= block->bytes && bytes <= block->bytes - offset, "a copy beyond the end of device memory");
  return block->data + offset;
}

}  // namespace

extern "C" {

// The text of the last error of this OS thread, or "".
__attribute__((visibility("default"))) const char* metalsvd_emulator_last_error() { return last_error.c_str(); }

// What the planner asks besides.
__attribute__((visibility("default"))) bool metalsvd_emulator_has_wide_lanes() {
  return metalsvd::emulator::options().wide_lanes;
}

AOTITorchError aoti_torch_mps_create_shader_library(const char* metal_shader_source,
                                                    AOTIMetalShaderLibraryHandle* library_handle) {
  return guarded([&] {
    require(metal_shader_source && library_handle, "no source text");
    *library_handle = reinterpret_cast<AOTIMetalShaderLibraryHandle>(new Library(metal_shader_source));
  });
}

AOTITorchError aoti_torch_mps_delete_shader_library(AOTIMetalShaderLibraryHandle library_handle) {
  return guarded([&] { delete reinterpret_cast<Library*>(library_handle); });
}

AOTITorchError aoti_torch_mps_get_kernel_function(AOTIMetalShaderLibraryHandle library_handle, const char* kernel_name,
                                                  AOTIMetalKernelFunctionHandle* function_handle) {
  return guarded([&] {
    require(library_handle && kernel_name && function_handle, "no library or no kernel name");
    KernelFunction& function = reinterpret_cast<Library*>(library_handle)->function(kernel_name);
    *function_handle = reinterpret_cast<AOTIMetalKernelFunctionHandle>(&function);
  });
}

AOTITorchError aoti_torch_mps_start_encoding(AOTIMetalKernelFunctionHandle func) {
  return guarded([&] { function_of(func).start_encoding(); });
}

AOTITorchError aoti_torch_mps_set_arg_tensor(AOTIMetalKernelFunctionHandle func, unsigned idx,
                                             AtenTensorHandle tensor) {
  return guarded([&] { function_of(func).set_buffer(idx, buffer_of(tensor)); });
}

AOTITorchError aoti_torch_mps_set_arg_int(AOTIMetalKernelFunctionHandle func, unsigned idx, int64_t val) {
  return guarded([&] { function_of(func).set_integer(idx, val); });
}

AOTITorchError aoti_torch_mps_dispatch_single(AOTIMetalKernelFunctionHandle func, uint64_t length) {
  return aoti_torch_mps_dispatch_array(func, &length, 1);
}

AOTITorchError aoti_torch_mps_dispatch_single_with_group_size(AOTIMetalKernelFunctionHandle func, uint64_t length,
                                                              uint64_t group_size) {
  return aoti_torch_mps_dispatch_array_with_group_size(func, &length, 1, &group_size, 1);
}

AOTITorchError aoti_torch_mps_dispatch_array(AOTIMetalKernelFunctionHandle func, const uint64_t* length,
                                             size_t length_size) {
  return guarded([&] {
    const Size3 grid = size_of(length, length_size);
    function_of(func).dispatch(grid, default_group(function_of(func), grid));
  });
}

AOTITorchError aoti_torch_mps_dispatch_array_with_group_size(AOTIMetalKernelFunctionHandle func, const uint64_t* length,
                                                             size_t length_size, const uint64_t* group_size,
                                                             size_t group_size_size) {
  return guarded(
      [&] { function_of(func).dispatch(size_of(length, length_size), size_of(group_size, group_size_size)); });
}

AOTITorchError aoti_torch_mps_malloc(void** buffer, size_t num_bytes) {
  return guarded([&] { *buffer = num_bytes > 0 ? allocate_block(num_bytes) : nullptr; });
}

AOTITorchError aoti_torch_mps_free(void* ptr) {
  return guarded([&] {
    if (ptr) release_block(static_cast<std::byte*>(ptr));
  });
}

AOTITorchError aoti_torch_mps_memcpy(void* buffer, size_t constant_offset, size_t bytes_read, size_t data_size,
                                     uint8_t* constants_start) {
  return guarded(
      [&] { std::memcpy(range(buffer, constant_offset, data_size), constants_start + bytes_read, data_size); });
}

AOTITorchError aoti_torch_mps_copy_buffer(void* src_buffer, void* dst_buffer, size_t data_size, size_t src_offset,
                                          size_t dst_offset) {
  return guarded([&] {
    std::memmove(range(dst_buffer, dst_offset, data_size), range(src_buffer, src_offset, data_size), data_size);
  });
}

void aoti_torch_mps_shared_callback(AOTIMetalKernelFunctionHandle func, void* user_data) {
  const auto* const callback = static_cast<std::function<void(AOTIMetalKernelFunctionHandle)>*>(user_data);
  if (callback) (*callback)(func);
}

AOTITorchError aoti_torch_mps_run_command_block(AOTIMetalKernelFunctionHandle func,
                                                aoti_torch_mps_command_block_callback_t callback, void* user_data) {
  return guarded([&] {
    require(callback != nullptr, "no callback for the command block");
    run_command_block([&] { callback(func, user_data); });
  });
}

}  // extern "C"
