// Thin wrappers of the stable ABI: its dispatcher call, for the operators of ATen that torch/csrc/stable/ops.h lacks,
// and its allocation.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <vector>

namespace metalsvd {

using torch::stable::Tensor;

// On the device of `like`. Straight from the shim: torch::stable::new_empty looks its operator up by name, which for
// small matrices takes longer than their factorisation.
inline Tensor empty_strided(const Tensor& like, const std::vector<std::int64_t>& sizes,
                            const std::vector<std::int64_t>& strides, torch::headeronly::ScalarType dtype) {
  std::int32_t device_type = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  const auto number = torch::stable::detail::to<std::int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle made = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<std::int64_t>(sizes.size()), sizes.data(), strides.data(),
                                                  number, device_type, like.get_device_index(), &made));
  return Tensor(made);
}

// So many numbers, one behind the other.
inline Tensor empty_vector(const Tensor& like, std::int64_t count, torch::headeronly::ScalarType dtype) {
  return empty_strided(like, {count}, {1}, dtype);
}

// Calls operator `name`.`overload` with every argument of its schema, in order, and returns its `Outputs` tensors.
template <std::size_t Outputs = 1, typename... Arguments>
std::array<Tensor, Outputs> call_aten(const char* name, const char* overload, const Arguments&... arguments) {
  constexpr std::size_t slots = std::max(sizeof...(Arguments), Outputs);
  std::array<StableIValue, slots> stack{torch::stable::detail::from(arguments)...};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, overload, stack.data(), TORCH_ABI_VERSION));
  std::array<Tensor, Outputs> outputs;
  for (std::size_t i = 0; i < Outputs; ++i) outputs[i] = torch::stable::detail::to<Tensor>(stack[i]);
  return outputs;
}

}  // namespace metalsvd
