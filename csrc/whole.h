// Sweeps of method `block` that rotate all columns at once: the launches of kernels/whole*.h, and their workspace.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <vector>

#include "launch.h"
#include "matrices.h"
#include "plan.h"

namespace metalsvd {

class WholeSweeps {
 public:
  // W has `padded` columns of `height` for each matrix of A; `states` are those of method `block`.
  WholeSweeps(const Plan& plan, const Matrices& A, const torch::stable::Tensor& W, const torch::stable::Tensor& states,
              std::int64_t height, std::int64_t padded);

  // Five launches, the next sweep of all matrices that have yet to make it.
  void sweep(std::int64_t sweep, std::vector<Launch>& launches);
  // One, after the last sweep: they have left what they turned in two places.
  void collect(std::vector<Launch>& launches) const;

 private:
  // Of so many tiles for a matrix, whose subtiles are so many times more.
  Launch launch(const std::string& kernel, std::int64_t tiles, std::int64_t large_tiles,
                std::vector<Argument> arguments) const;

  const Plan& plan_;
  std::int64_t batch_;
  std::int64_t height_, padded_;
  std::int64_t width_, large_width_;  // of a square matrix, in tiles
  torch::stable::Tensor W_, turned_;  // of the next sweep, and what it makes of W
  torch::stable::Tensor states_;
  torch::stable::Tensor X_, S_, T_, E_, O_;
  torch::stable::Tensor squares_;
};

}  // namespace metalsvd
