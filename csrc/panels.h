// The part of the tall QR that factors: panels of columns, and in each a tree over the rows. The launches of
// kernels/tall_factor.h and tall_apply.h, and the workspace that they share.
#pragma once

#include <vector>

#include "../kernels/device_limits.h"
#include "launch.h"
#include "matrices.h"
#include "plan.h"

namespace metalsvd {

// Numbers of each matrix of the batch, one matrix after the other.
struct Numbers {
  torch::stable::Tensor tensor;
  std::int64_t stride;  // from matrix to matrix
};

// So many for each matrix of A, of the dtype that its kernels compute with.
Numbers allocate_numbers(const Matrices& A, std::int64_t count);

// A launch of kernels/tall.metal for a batch.
Launch tall_launch(std::int64_t batch, const std::string& kernel, std::int64_t threadgroups,
                   std::vector<Argument> arguments, std::int64_t threads = limits::tall_threads);

// Threadgroups a matrix for a SIMD-group a row, within reason.
std::int64_t groups_for_rows(std::int64_t rows);

// B = Q R, and what is Q times, for a batch. B stands row-major in `numbers`, where the reflectors of Q replace it;
// that of one panel is read where it is.
class PanelQr {
 public:
  // Where B of one panel is, A or its transpose, and the words that tell how it is to be scaled.
  struct Source {
    Matrices B;
    torch::stable::Tensor magnitudes;
  };

  // Reflectors are kept where the reduction wants left vectors. Without a source B is in `numbers` always. `like` has
  // the batch and the dtype. Where there is `settled`, nothing is done to matrices whose word in it is not zero.
  PanelQr(const Reduction& reduction, const Matrices& like, std::optional<Source> source,
          std::optional<torch::stable::Tensor> settled = std::nullopt);

  // One launch a panel and level, and one more for those that have columns behind them.
  void factor(std::vector<Launch>& launches) const;
  // `left` = Q times `vectors`, columns x columns, or where full matrices are wanted that with ones on the diagonal
  // behind. One launch a panel and level, and where there are several panels or full matrices one to copy.
  void expand(const Matrices& vectors, std::vector<Launch>& launches) const;

  bool is_one_panel() const { return levels_.size() == 1; }
  bool reads_source() const { return is_one_panel() && source_; }
  std::int64_t columns() const { return columns_; }
  std::int64_t stride() const { return stride_; }            // from row to row of the numbers
  std::int64_t left_stride() const { return left_stride_; }  // and of what Q is applied to
  const Numbers& numbers() const { return numbers_; }
  const Numbers& left() const { return left_; }    // one panel's takes the place of its reflectors
  const Numbers& roots() const { return roots_; }  // R of each panel
  // Of each column of `left` in each node of the first panel's level 0: the entry of largest magnitude, and the sum of
  // the squares.
  const torch::stable::Tensor& largest() const { return largest_; }
  const torch::stable::Tensor& squares() const { return squares_; }
  // The last two arguments of each of its launches.
  std::vector<Argument> settled_arguments() const;
  // That of steps of these: matrices that are not settled.
  std::optional<Need> need() const;

 private:
  using Offset = std::int64_t;  // in numbers of one matrix
  // A level of a panel's tree: its rows, how its nodes share them, and where it leaves V and T.
  struct Level {
    std::int64_t nodes;
    std::int64_t rows;
    std::int64_t share, rest;
    std::int64_t unit_rows, unit_step;  // 0 where rows follow each other
    Offset V, joint;
  };

  Numbers allocate(std::int64_t count) const { return allocate_numbers(like_, count); }
  Numbers V_of(std::size_t level) const { return level == 0 ? numbers_ : upper_; }
  std::int64_t V_row_stride(std::size_t panel, std::size_t level) const;
  bool wants_vectors() const { return reduction_.left_columns > 0; }
  bool keeps(std::size_t panel) const;  // V and T
  bool starts_at_root() const;          // rather than from a copy of the vectors
  void plan_levels();
  bool is_packed() const;
  Launch launch(const std::string& kernel, std::int64_t threadgroups, std::vector<Argument> arguments,
                std::int64_t threads = limits::tall_threads) const;
  Launch launch_tiles(const std::string& kernel, std::int64_t nodes, std::int64_t packs, bool is_one_tile,
                      std::vector<Argument> arguments) const;
  std::vector<Argument> reflector_arguments(std::size_t panel, std::size_t level) const;
  Launch factor(std::size_t panel, std::size_t level) const;
  Launch apply(std::size_t panel, std::size_t level, bool adjoint) const;
  Launch expand_last(const Matrices& vectors, std::size_t level) const;

  Reduction reduction_;
  Matrices like_;
  std::optional<Source> source_;
  std::optional<torch::stable::Tensor> settled_;
  std::int64_t columns_;                    // of B
  std::vector<std::vector<Level>> levels_;  // of each panel
  std::int64_t stride_;
  std::int64_t left_stride_;

  Numbers numbers_;              // B, then V of each panel's level 0
  Numbers upper_;                // V of the levels above
  Numbers joints_;               // T of all nodes
  std::vector<Numbers> stacks_;  // of each level above 0: its rows on the way up, and of P on the way down
  Numbers roots_;
  Numbers left_;
  torch::stable::Tensor largest_;
  torch::stable::Tensor squares_;
};

}  // namespace metalsvd
