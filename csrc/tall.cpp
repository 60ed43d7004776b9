#include "tall.h"

#include <torch/csrc/stable/ops.h>

#include "../kernels/device_limits.h"

namespace metalsvd {
namespace {

using torch::headeronly::ScalarType;

Tensor new_numbers(const Matrices& A, std::int64_t count) {
  return torch::stable::new_empty(A.tensor, {count}, number_type(A.tensor.scalar_type()));
}

}  // namespace

TallQr::TallQr(const Plan& plan, const Matrices& A, const Factors& factors) : plan_(plan), A_(A), factors_(factors) {
  const Reduction& reduction = *plan.reduction;
  const std::int64_t n = plan.columns;
  const bool vectors = plan.left_columns > 0;
  magnitudes_ = torch::stable::new_empty(A.tensor, {A.batch * reduction.strips}, ScalarType::Int);
  // Without vectors level 0 leaves nothing but its R's.
  levels_.push_back(new_numbers(A, vectors ? A.batch * reduction.rows * n : 1));
  for (std::int64_t nodes : reduction.nodes) levels_.push_back(new_numbers(A, A.batch * nodes * n * n));

  const std::int64_t square = vectors ? A.batch * n * n : 1;
  factors_of_R_ = {new_numbers(A, square), torch::stable::new_empty(A.tensor, {A.batch * n}, ScalarType::Float),
                   new_numbers(A, square), std::get<3>(factors)};
  largest_ = new_numbers(A, vectors ? A.batch * n * reduction.nodes.front() : 1);
  turns_ = new_numbers(A, vectors ? A.batch * n : 1);
  if (reduction.left_columns > n) {
    V_ = new_numbers(A, A.batch * reduction.rows * n);
    W_ = new_numbers(A, A.batch * n * n);
  }
}

Launch TallQr::launch(const std::string& kernel, std::int64_t threadgroups, std::int64_t threads,
                      std::vector<Argument> arguments) const {
  return {"tall", kernel, threadgroups, threads, std::move(arguments)};
}

// What the nodes of a level share among them: rows of B, or R's of the level below.
std::int64_t TallQr::units(std::size_t level) const {
  return level == 0 ? plan_.reduction->rows : plan_.reduction->nodes[level - 1];
}

std::vector<Launch> TallQr::reduce() const {
  const Reduction& reduction = *plan_.reduction;
  const std::int64_t row_stride = plan_.transposed ? A_.column_stride : A_.row_stride;
  const std::int64_t column_stride = plan_.transposed ? A_.row_stride : A_.column_stride;
  const std::int64_t wants_q = plan_.left_columns > 0;
  const std::string columns_kernel = std::to_string(reduction.most_columns) + "_";
  std::vector<Launch> launches;
  launches.push_back(launch("tall_magnitude_" + reduction.storage, A_.batch * reduction.strips,
                            limits::tall_copy_threads,
                            {A_.tensor, magnitudes_, reduction.rows, plan_.columns, reduction.nodes.front(),
                             reduction.strips, A_.batch_stride, row_stride, column_stride}));
  launches.push_back(
      launch("tall_factor_rows_" + columns_kernel + reduction.storage, A_.batch * reduction.nodes.front(),
             reduction.threads_per_threadgroup,
             {A_.tensor, magnitudes_, levels_[0], levels_[1], reduction.rows, plan_.columns, reduction.nodes.front(),
              reduction.strips, wants_q, A_.batch_stride, row_stride, column_stride}));
  for (std::size_t level = 1; level < reduction.nodes.size(); ++level) {
    launches.push_back(
        launch("tall_factor_stack_" + columns_kernel + reduction.number, A_.batch * reduction.nodes[level],
               reduction.threads_per_threadgroup,
               {levels_[level], levels_[level + 1], units(level), plan_.columns, reduction.nodes[level], wants_q}));
  }
  return launches;
}

Matrices TallQr::R() const {
  const std::int64_t n = plan_.columns;
  return {levels_.back(), A_.batch, n * n, n, n, plan_.transposed ? n : 1, plan_.transposed ? 1 : n};
}

std::vector<Launch> TallQr::expand() const {
  const Reduction& reduction = *plan_.reduction;
  const auto& [U, S, Vh, info] = factors_;
  const auto& [U_of_R, S_of_R, Vh_of_R, info_of_R] = factors_of_R_;
  const std::int64_t n = plan_.columns;
  const std::int64_t vectors = plan_.left_columns > 0;
  const std::int64_t transposed = plan_.transposed;
  const std::string columns_kernel = std::to_string(reduction.most_columns) + "_";
  std::vector<Launch> launches;
  for (std::size_t level = reduction.nodes.size(); vectors && level-- > 0;) {
    const bool is_root = level + 1 == reduction.nodes.size();
    // The block of the root is P of R, which is the transpose of Vh when A is wide.
    const bool is_transposed_block = is_root && plan_.transposed;
    const Tensor& blocks = !is_root ? levels_[level + 1] : plan_.transposed ? Vh_of_R : U_of_R;
    const std::int64_t reports = level == 0 && !plan_.transposed;
    launches.push_back(launch(
        "tall_product_" + columns_kernel + reduction.number, A_.batch * reduction.nodes[level],
        reduction.threads_per_threadgroup,
        {levels_[level], blocks, largest_, units(level), n, reduction.nodes[level], level == 0 ? std::int64_t{1} : n,
         is_transposed_block ? n : std::int64_t{1}, is_transposed_block ? std::int64_t{1} : n, reports}));
  }
  // Metal wants a buffer for every argument: where the kernel touches none, S stands in.
  const Tensor& right = !vectors ? S : plan_.transposed ? U : Vh;
  launches.push_back(launch("tall_finish_" + reduction.storage, A_.batch, reduction.threads_per_threadgroup,
                            {magnitudes_, S_of_R, plan_.transposed ? U_of_R : Vh_of_R, largest_, turns_, S, right, n,
                             reduction.nodes.front(), reduction.strips, vectors, transposed}));
  if (!vectors) return launches;
  launches.push_back(launch("tall_store_" + reduction.storage, A_.batch * reduction.nodes.front(),
                            limits::tall_copy_threads,
                            {levels_[0], turns_, plan_.transposed ? Vh : U, reduction.rows, n, reduction.left_columns,
                             reduction.nodes.front(), transposed}));
  if (reduction.left_columns == n) return launches;
  launches.push_back(launch("tall_reflectors_" + reduction.number, A_.batch, reduction.threads_per_threadgroup,
                            {levels_[0], V_, W_, levels_.back(), reduction.rows, n}));
  launches.push_back(launch("tall_complete_" + reduction.storage, A_.batch * (reduction.rows - n),
                            limits::tall_copy_threads,
                            {V_, W_, plan_.transposed ? Vh : U, reduction.rows, n, transposed}));
  return launches;
}

}  // namespace metalsvd
