// What a method is given: a batch of matrices, the dtypes that go with it, and the outputs that its kernels fill.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>

namespace metalsvd {

// A batch of matrices in one buffer. Strides count entries.
struct Matrices {
  torch::stable::Tensor tensor;
  std::int64_t batch;
  std::int64_t batch_stride;
  std::int64_t m, n;
  std::int64_t row_stride, column_stride;
};

// The same entries, rows for columns.
inline Matrices transpose(const Matrices& A) {
  return {A.tensor, A.batch, A.batch_stride, A.n, A.m, A.column_stride, A.row_stride};
}

// P and Q are stored as `left` and `right`: U and Vh, or Vh and U where B is A^H. Metal wants a buffer for every
// argument: where the kernels touch none, S stands in.
struct Outputs {
  torch::stable::Tensor left;
  torch::stable::Tensor S;
  torch::stable::Tensor right;
  torch::stable::Tensor info;
};

// The dtype of singular values.
inline torch::headeronly::ScalarType real_type(torch::headeronly::ScalarType dtype) {
  using torch::headeronly::ScalarType;
  switch (dtype) {
    case ScalarType::ComplexHalf: return ScalarType::Half;
    case ScalarType::ComplexFloat: return ScalarType::Float;
    case ScalarType::ComplexDouble: return ScalarType::Double;
    default: return dtype;
  }
}

// What the kernels compute with.
inline torch::headeronly::ScalarType number_type(torch::headeronly::ScalarType dtype) {
  using torch::headeronly::ScalarType;
  return real_type(dtype) == dtype ? ScalarType::Float : ScalarType::ComplexFloat;
}

}  // namespace metalsvd
