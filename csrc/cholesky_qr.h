// R and Q of B from Gram matrices: the launches of kernels/cholesky.h, and the workspace that they share.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <vector>

#include "launch.h"
#include "matrices.h"
#include "panels.h"
#include "plan.h"
#include "products.h"

namespace metalsvd {

// For matrices that are well-conditioned, which are settled then; nothing of the others is of use.
class CholeskyQr {
 public:
  // B has rows of whole packs. `settled` gets a word for each matrix.
  CholeskyQr(const Reduction& reduction, const Matrices& B, const torch::stable::Tensor& settled);

  // R of B, n x n, with rows as far apart as those of B. Eight launches.
  void factor(const torch::stable::Tensor& R, std::vector<Launch>& launches) const;
  // P = Q times `vectors`, n x n, with rows as far apart as those of B. Two launches.
  void expand(const Matrices& vectors, const torch::stable::Tensor& P, std::vector<Launch>& launches) const;

 private:
  // R and its inverse from the Gram matrix of B or, the second time, of C. Three launches.
  void factor_gram(const torch::stable::Tensor& of, bool is_second, std::vector<Launch>& launches) const;
  Launch launch(const std::string& kernel, std::int64_t threadgroups, std::vector<Argument> arguments,
                std::int64_t threads = limits::block_threads) const;
  Launch product(std::int64_t kind, const Matrices& left, const Matrices& right,
                 const torch::stable::Tensor& product) const;
  Matrices row_major(const Numbers& numbers, std::int64_t rows) const;

  Matrices B_;
  torch::stable::Tensor settled_;
  Products products_;
  std::int64_t width_;              // of a Gram matrix, in subtiles
  std::int64_t part_rows_, parts_;  // that it is summed over
  Numbers C_;
  Numbers grams_, gram_;
  Numbers triangles_[2];  // R_1 and R_2
  Numbers inverses_[2];
  Numbers multiplier_;  // R_2^-1 times vectors
};

}  // namespace metalsvd
