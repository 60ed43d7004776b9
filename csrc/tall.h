// The tall QR in front of a method: the launches of kernels/tall_*.h around those that factor R, and their workspace.
#pragma once

#include <vector>

#include "../kernels/device_limits.h"
#include "launch.h"
#include "matrices.h"
#include "plan.h"
#include "svd.h"

namespace metalsvd {

// For one call: B = Q R by `reduce`, then the caller factors R into `factors_of_R`, then `expand` makes the factors of
// A of these.
class TallQr {
 public:
  // `plan` has a reduction.
  TallQr(const Plan& plan, const Matrices& A, const Factors& factors);

  // One launch for the scale of each matrix, two to sort its columns where the method wants that, one a panel and
  // level, and one more for those that have columns behind them; where there are several panels two to copy.
  Step reduce() const;
  // R, or R^T when A is wide, scaled by a power of two. `plan` tells which of R and R^H the method is to factor.
  Matrices R() const;
  Factors factors_of_R() const { return factors_of_R_; }
  // One launch a panel and level and two to finish, where there are several panels or full matrices one to copy; only
  // one without vectors.
  Step expand() const;

 private:
  using Offset = std::int64_t;  // in numbers of one matrix
  // Numbers of each matrix of the batch, one matrix after the other.
  struct Numbers {
    Tensor tensor;
    std::int64_t stride;  // from matrix to matrix
  };
  // A level of a panel's tree: its rows, how its nodes share them, and where it leaves V and T.
  struct Level {
    std::int64_t nodes;
    std::int64_t rows;
    std::int64_t share, rest;
    std::int64_t unit_rows, unit_step;  // 0 where rows follow each other
    Offset V, joint;
  };

  Numbers allocate(std::int64_t count) const;
  Numbers V_of(std::size_t level) const { return level == 0 ? numbers_ : upper_; }
  std::int64_t V_row_stride(std::size_t panel, std::size_t level) const;
  std::int64_t row_stride() const;  // of B in A
  std::int64_t column_stride() const;
  bool keeps(std::size_t panel) const;  // V and T
  bool is_one_panel() const { return levels_.size() == 1; }
  bool starts_at_root() const;  // rather than from a copy of the vectors of R
  void plan_levels();
  void sort(std::vector<Launch>& launches) const;
  bool is_packed() const;
  Launch launch(const std::string& kernel, std::int64_t threadgroups, std::vector<Argument> arguments,
                std::int64_t threads = limits::tall_threads) const;
  std::vector<Argument> reflector_arguments(std::size_t panel, std::size_t level) const;
  Launch factor(std::size_t panel, std::size_t level) const;
  Launch apply(std::size_t panel, std::size_t level, bool adjoint) const;
  Launch expand_last(std::size_t level) const;

  Plan plan_;
  Matrices A_;
  Factors factors_;                         // of A
  Factors factors_of_R_;                    // with the info of A: nothing else can go wrong
  std::vector<std::vector<Level>> levels_;  // of each panel
  std::int64_t stride_;                     // from row to row of the numbers
  std::int64_t left_stride_;                // and of P

  Tensor magnitudes_;            // a word for each strip of each matrix
  Tensor order_;                 // of the columns of B; where they are not sorted, what no kernel reads
  Numbers numbers_;              // B, then V of each panel's level 0
  Numbers upper_;                // V of the levels above
  Numbers joints_;               // T of all nodes
  std::vector<Numbers> stacks_;  // of each level above 0: its rows on the way up, and of P on the way down
  Numbers roots_;                // R of each panel
  Numbers R_;
  Numbers left_;    // P: one panel's takes the place of its V
  Tensor largest_;  // of each column of P in each chunk
  Tensor squares_;  // and the sum of its squares
  Tensor turns_;    // of each column of P
};

}  // namespace metalsvd
