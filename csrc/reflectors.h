// R of B = Q R by block reflectors: the launches of kernels/reflectors_*.h, and the workspace that they share.
#pragma once

#include <vector>

#include "launch.h"
#include "matrices.h"
#include "panels.h"
#include "plan.h"

namespace metalsvd {

// R takes the place of B in `numbers`, on and above the diagonal. Q is not kept.
class BlockReflectors {
 public:
  // `numbers` are B in the order that `order` tells, with rows `stride` apart; `squares` are those of the lengths of
  // the columns before they were sorted. `like` has the batch and the dtype.
  BlockReflectors(const Reduction& reduction, const Matrices& like, const Numbers& numbers, std::int64_t stride,
                  const torch::stable::Tensor& order, const torch::stable::Tensor& squares);

  // A launch for the Gram matrix of the first panel, and four for each panel.
  void factor(std::vector<Launch>& launches) const;

 private:
  Launch launch(const std::string& kernel, std::int64_t threadgroups, std::int64_t threads,
                std::vector<Argument> arguments) const;
  // `summed` chunks have left a part of the panel's Gram matrix.
  Launch pass(const Panel& panel, std::int64_t summed, std::int64_t pass) const;
  Launch repeat(const Panel& panel) const;
  Launch project(const Panel& panel) const;
  Launch apply(const Panel& panel, std::int64_t next_columns) const;
  std::int64_t chunks(const Panel& panel) const;
  std::int64_t tiles(const Panel& panel) const;  // of the columns from the panel on

  Reduction reduction_;
  Matrices like_;
  Numbers numbers_;
  std::int64_t stride_;
  std::int64_t columns_;
  torch::stable::Tensor order_;
  torch::stable::Tensor squares_;
  Numbers basis_;     // X of a panel
  Numbers grams_;     // of the chunks of a panel, twice,
  Numbers gram_;      // and that of X
  Numbers products_;  // X^H times the panel and what is behind it, of parts of the rows
  Numbers heads_;     // the first rows of these
  Numbers small_;     // D R, K and Y_1
};

}  // namespace metalsvd
