#include "tall.h"

#include "aten.h"

namespace metalsvd {
namespace {

using torch::headeronly::ScalarType;

// That of a QR of which only R is wanted.
Reduction without_vectors(Reduction reduction) {
  reduction.left_columns = 0;
  return reduction;
}

}  // namespace

TallQr::TallQr(const Plan& plan, const Matrices& A, const Factors& factors)
    : plan_(plan),
      B_(plan.reduction->transposed ? transpose(A) : A),
      factors_(factors),
      magnitudes_(empty_vector(A.tensor, A.batch * plan.reduction->strips, ScalarType::Int)),
      settled_(plan.reduction->by_cholesky ? std::optional(empty_vector(A.tensor, A.batch, ScalarType::Int))
                                           : std::nullopt),
      panels_(plan.recovers_from_B() ? without_vectors(*plan.reduction) : *plan.reduction, B_,
              plan.reduction->preconditions ? std::nullopt : std::optional(PanelQr::Source{B_, magnitudes_}),
              settled_) {
  const std::int64_t n = plan.columns;
  const bool vectors = plan.left_columns > 0;
  // P is made when R has been factored.
  R_ = panels_.is_one_panel()               ? panels_.roots()
       : vectors && !plan.recovers_from_B() ? Numbers{panels_.left().tensor, n * panels_.stride()}
                                            : allocate_numbers(B_, n * panels_.stride());
  const auto square = [&](bool wanted) { return allocate_numbers(B_, wanted ? n * n : 1).tensor; };
  const bool accumulates = plan.block_accumulates();
  factors_of_R_ = {square(vectors && (accumulates || plan.reduction->transposed)),
                   empty_vector(A.tensor, A.batch * n, ScalarType::Float),
                   square(vectors && (accumulates || !plan.reduction->transposed)), std::get<3>(factors)};
  turns_ = allocate_numbers(B_, std::max<std::int64_t>(vectors ? plan.reduction->left_columns : 0, 1)).tensor;
  const bool sorts = plan.reduction->preconditions;
  order_ = sorts ? empty_vector(A.tensor, A.batch * n, ScalarType::Int) : magnitudes_;
  squares_ = sorts ? empty_vector(A.tensor, A.batch * n, ScalarType::Float) : magnitudes_;
  if (plan.reduction->reflects) {
    reflectors_.emplace(*plan.reduction, B_, panels_.numbers(), panels_.stride(), order_, squares_);
  }
  if (settled_) cholesky_.emplace(*plan.reduction, numbers(), *settled_);
}

// The order of the columns of B.
void TallQr::sort(std::vector<Launch>& launches) const {
  const Reduction& reduction = *plan_.reduction;
  const std::int64_t n = plan_.columns;
  const bool has_rows = B_.column_stride == 1;
  const std::int64_t tiles = copied_tiles(reduction.rows, n);
  const std::int64_t groups = divide_up(n, limits::tall_copy_columns);
  const std::int64_t parts = has_rows ? divide_up(reduction.rows, limits::tall_squares_rows) : tiles / groups;
  const Tensor squares = empty_vector(B_.tensor, B_.batch * parts * n, ScalarType::Float);
  std::vector<Argument> arguments{B_.tensor, magnitudes_,      squares,         reduction.rows,
                                  n,         reduction.strips, B_.batch_stride, B_.row_stride};
  arguments.push_back(has_rows ? std::int64_t{limits::tall_squares_rows} : B_.column_stride);
  launches.push_back(launch((has_rows ? "squares_rows_" : "squares_") + reduction.storage,
                            has_rows ? parts * divide_up(n, limits::tall_threads) : tiles, std::move(arguments)));
  launches.push_back(launch("norms_f32", groups, {squares, squares_, n, parts}, limits::threads_per_threadgroup));
  launches.push_back(launch("order_f32", groups, {squares_, order_, n}));
}

// B, scaled and sorted, to the numbers.
Launch TallQr::load() const {
  const Reduction& reduction = *plan_.reduction;
  const std::int64_t n = plan_.columns;
  // Numbers of a row that have room in a threadgroup.
  const std::int64_t room = limits::tall_row_bytes / limits::tall_pack_bytes * reduction.packed;
  if (reduction.preconditions && B_.column_stride == 1 && n > limits::tall_copy_columns && n <= room) {
    const std::int64_t height = room / n;
    return launch("load_rows_" + reduction.storage, divide_up(reduction.rows, height),
                  {B_.tensor, magnitudes_, panels_.numbers().tensor, reduction.rows, n, panels_.stride(),
                   reduction.strips, B_.batch_stride, B_.row_stride, order_, height});
  }
  return launch(
      "load_" + reduction.storage, copied_tiles(reduction.rows, panels_.stride()),
      {B_.tensor, magnitudes_, panels_.numbers().tensor, reduction.rows, n, panels_.stride(), reduction.strips,
       B_.batch_stride, B_.row_stride, B_.column_stride, order_, std::int64_t{reduction.preconditions}});
}

std::vector<Step> TallQr::reduce() const {
  const Reduction& reduction = *plan_.reduction;
  const std::int64_t n = plan_.columns;
  std::vector<Step> steps{{"metalsvd::qr reduce", {}}};
  const auto launches = [&steps]() -> std::vector<Launch>& { return steps.back().launches; };
  launches().push_back(launch(
      "magnitude_" + reduction.storage, reduction.strips,
      {B_.tensor, magnitudes_, reduction.rows, n, reduction.strips, B_.batch_stride, B_.row_stride, B_.column_stride}));
  if (reduction.preconditions) sort(launches());
  if (!panels_.reads_source()) {
    launches().push_back(load());
    steps.push_back({steps.back().name, {}});
  }
  if (cholesky_) {
    cholesky_->factor(R_.tensor, launches());
    steps.push_back({steps.back().name, {}, panels_.need()});
  }
  if (reflectors_) {
    reflectors_->factor(launches());
  } else {
    panels_.factor(launches());
  }
  if (!panels_.is_one_panel()) {
    const std::int64_t groups = groups_for_rows(n);
    std::vector<Argument> arguments{panels_.numbers().tensor,
                                    panels_.roots().tensor,
                                    R_.tensor,
                                    reduction.rows,
                                    n,
                                    panels_.stride(),
                                    reduction.panel_columns,
                                    panels_.roots().stride,
                                    groups,
                                    std::int64_t{!reflectors_}};
    for (const Argument& argument : panels_.settled_arguments()) arguments.push_back(argument);
    launches().push_back(launch("collect_" + reduction.number, groups, std::move(arguments)));
  }
  // The QR has written over it.
  if (plan_.recovers_from_B()) steps.push_back({steps.back().name, {load()}});
  return steps;
}

Matrices TallQr::R() const {
  const std::int64_t n = plan_.columns;
  const Matrices R{R_.tensor, B_.batch, R_.stride, n, n, panels_.stride(), 1};
  return plan_.reduction->transposed ? transpose(R) : R;
}

Matrices TallQr::recovered() const {
  if (!plan_.recovers_from_B()) return plan_.reduction->transposed ? transpose(R()) : R();
  return numbers();
}

Matrices TallQr::numbers() const {
  const Numbers& B = panels_.numbers();
  return {B.tensor, B_.batch, B.stride, plan_.reduction->rows, plan_.columns, panels_.stride(), 1};
}

Matrices TallQr::vectors_of_R() const {
  const std::int64_t n = plan_.columns;
  // U is column-major, and P of R^T is the transpose of its Vh, which is column-major too.
  const bool transposed = plan_.reduction->transposed;
  const Tensor& vectors = transposed ? std::get<2>(factors_of_R_) : std::get<0>(factors_of_R_);
  return {vectors, B_.batch, n * n, n, n, transposed ? n : 1, transposed ? 1 : n};
}

std::vector<Step> TallQr::expand(const Matrices& vectors_of_R) const {
  const Reduction& reduction = *plan_.reduction;
  const auto& [U, S, Vh, info] = factors_;
  const auto& [U_of_R, S_of_R, Vh_of_R, info_of_R] = factors_of_R_;
  const std::int64_t n = plan_.columns;
  const std::int64_t vectors = plan_.left_columns > 0;
  const std::int64_t transposed = reduction.transposed;
  std::vector<Step> steps{{"metalsvd::qr expand", {}}};
  const auto launches = [&steps]() -> std::vector<Launch>& { return steps.back().launches; };
  Matrices P{panels_.left().tensor, B_.batch, panels_.left().stride, reduction.rows, reduction.left_columns,
             panels_.left_stride(), 1};
  if (vectors && !plan_.recovers_from_B()) {
    if (cholesky_) {
      cholesky_->expand(vectors_of_R, P.tensor, launches());
      steps.push_back({steps.back().name, {}, panels_.need()});
    }
    panels_.expand(vectors_of_R, launches());
    if (cholesky_) steps.push_back({steps.back().name, {}});
  }
  Tensor largest = panels_.largest();
  Tensor squares = panels_.squares();
  if (plan_.recovers_from_B()) P = vectors_of_R;
  if (vectors && (plan_.recovers_from_B() || cholesky_)) report(P, largest, squares, launches());
  // Metal wants a buffer for every argument: where the kernel touches none, S stands in.
  const Tensor& right = !vectors ? S : reduction.transposed ? U : Vh;
  const std::int64_t left_columns = vectors ? reduction.left_columns : n;
  const std::int64_t parts = divide_up(n, limits::tall_finish_lines);
  launches().push_back(launch("finish_" + reduction.storage, divide_up(left_columns, limits::tall_copy_columns) * parts,
                              {magnitudes_, S_of_R, reduction.transposed ? U_of_R : Vh_of_R, largest, squares, turns_,
                               S, right, n, reduction.panels.front().nodes.front(), reduction.strips, vectors,
                               transposed, order_, std::int64_t{reduction.preconditions}, left_columns, parts},
                              limits::tall_finish_threads));
  if (!vectors) return steps;
  launches().push_back(launch("store_" + reduction.storage, copied_tiles(reduction.rows, reduction.left_columns),
                              {P.tensor, turns_, reduction.transposed ? Vh : U, reduction.rows, reduction.left_columns,
                               P.row_stride, transposed}));
  return steps;
}

void TallQr::report(const Matrices& P, Tensor& largest, Tensor& squares, std::vector<Launch>& launches) const {
  const Reduction& reduction = *plan_.reduction;
  const std::int64_t nodes = reduction.panels.front().nodes.front();
  largest = allocate_numbers(B_, P.n * nodes).tensor;
  squares = empty_vector(B_.tensor, B_.batch * P.n * nodes, ScalarType::Float);
  const std::int64_t packs = P.row_stride / reduction.packed;
  launches.push_back(launch("report_" + reduction.number, nodes * divide_up(packs, limits::tall_tile_packs),
                            {P.tensor, largest, squares, P.m, P.n, nodes, P.m / nodes, P.m % nodes, packs},
                            limits::tall_apply_threads));
}

Launch TallQr::launch(const std::string& kernel, std::int64_t threadgroups, std::vector<Argument> arguments,
                      std::int64_t threads) const {
  return tall_launch(B_.batch, kernel, threadgroups, std::move(arguments), threads);
}

}  // namespace metalsvd
