// What a method is given: a batch of matrices and the outputs that its kernels fill.
#pragma once

#include <torch/csrc/stable/tensor.h>

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

// P and Q are stored as `left` and `right`: U and Vh, or Vh and U where B is A^H. Metal wants a buffer for every
// argument: where the kernels touch none, S stands in.
struct Outputs {
  torch::stable::Tensor left;
  torch::stable::Tensor S;
  torch::stable::Tensor right;
  torch::stable::Tensor info;
};

}  // namespace metalsvd
