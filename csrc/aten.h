// Thin wrappers of the stable ABI's dispatcher call, for the operators of ATen that torch/csrc/stable/ops.h lacks.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <tuple>

namespace metalsvd {

using torch::stable::Tensor;

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
