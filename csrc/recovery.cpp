#include "recovery.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "../kernels/device_limits.h"
#include "aten.h"

namespace metalsvd {
namespace {

using torch::headeronly::ScalarType;

// conj(X). Of R = Z diag(sigma) X^H the right vectors are in Vh = X^H, which is column-major. When A is wide the method
// has factored R^T = conj(X) diag(sigma) Z^T, and they are in U.
Matrices right_vectors(const Plan& plan, const Matrices& R, const Factors& factors_of_R) {
  const std::int64_t n = plan.columns;
  const auto& [U, S, Vh, info] = factors_of_R;
  const bool transposed = plan.reduction->transposed;
  return {transposed ? U : Vh, R.batch, n * n, n, n, transposed ? 1 : n, transposed ? n : 1};
}

}  // namespace

Recovery::Recovery(const Plan& plan, const Matrices& R, const Factors& factors_of_R)
    : reduction_(*plan.recovery),
      is_triangular_(!plan.recovers_from_B()),
      R_(R),
      X_(right_vectors(plan, R, factors_of_R)),
      sigma_(std::get<1>(factors_of_R)),
      settled_(empty_vector(R.tensor, R.batch, ScalarType::Int)),
      panels_(reduction_, R, std::nullopt, settles() && !completes() ? std::optional(settled_) : std::nullopt),
      products_(reduction_, R.batch, panels_.columns()),
      square_(allocate_numbers(R, panels_.columns() * panels_.stride())),
      settled_Z_(settles() && completes() ? allocate_numbers(R, reduction_.rows * panels_.stride()) : panels_.left()),
      defects_(empty_vector(R.tensor, R.batch * products_.tiles(limits::tall_product_of_gram, X_.n), ScalarType::Int)),
      squares_(empty_vector(R.tensor, R.batch * X_.n, ScalarType::Float)),
      multiplied_(empty_vector(R.tensor, R.batch * X_.n, ScalarType::Float)),
      largest_(empty_vector(R.tensor, R.batch * left_parts(), ScalarType::Int)) {}

bool Recovery::settles() const { return reduction_.panels.size() > 1; }

std::int64_t Recovery::left_parts() const { return divide_up(X_.n, limits::tall_left_rows); }

bool Recovery::completes() const { return reduction_.left_columns > X_.n; }

Matrices Recovery::row_major(const Numbers& numbers, std::int64_t rows) const {
  return {numbers.tensor, R_.batch, numbers.stride, rows, panels_.columns(), panels_.stride(), 1};
}

Launch Recovery::product(std::int64_t kind, const Matrices& left, const Matrices& right, const Numbers& product) const {
  return products_.launch(kind, left, right, product.tensor, {sigma_, defects_, settled_});
}

// Of a settled matrix, in the units of kernels/tall_settle.h: what is left is then within eps sqrt(n), a fourth of what
// is promised.
std::int64_t Recovery::most_left() const {
  constexpr double eps = 1 << 16;
  return static_cast<std::int64_t>(std::min(std::sqrt(static_cast<double>(panels_.columns())), 256.0) * eps);
}

void Recovery::orthogonalize(bool is_last, const Numbers& source, const Numbers& target, Step& step) const {
  const Matrices Z = row_major(source, reduction_.rows);
  const std::int64_t of_gram = is_last ? limits::tall_product_of_last_gram : limits::tall_product_of_gram;
  const std::int64_t by_upper = is_last ? limits::tall_product_by_last_upper : limits::tall_product_by_upper;
  const std::string& number = reduction_.number;
  const std::int64_t stride = products_.stride();
  const std::int64_t trimmed = static_cast<std::int64_t>(std::sqrt(static_cast<double>(Z.n)) / 4.0);
  const std::int64_t groups = groups_for_rows(Z.n);
  const Argument may_be = std::int64_t{is_last};
  step.launches.push_back(product(of_gram, transpose(Z), Z, square_));
  step.launches.push_back(tall_launch(R_.batch, "defects_" + number, divide_up(Z.n, limits::tall_copy_columns),
                                      {square_.tensor, squares_, multiplied_, Z.n, stride, trimmed, settled_, may_be},
                                      limits::threads_per_threadgroup));
  step.launches.push_back(
      tall_launch(R_.batch, "left_" + number, left_parts(), {square_.tensor, largest_, Z.n, stride, settled_, may_be}));
  step.launches.push_back(tall_launch(R_.batch, "trim_" + number, groups,
                                      {square_.tensor, multiplied_, Z.n, stride, groups, settled_, may_be}));
  step.launches.push_back(
      products_.launch(by_upper, Z, row_major(square_, Z.n), target.tensor, {multiplied_, defects_, settled_}));
  step.launches.push_back(tall_launch(
      R_.batch, "settle", 1,
      {defects_, squares_, largest_, settled_, products_.tiles(of_gram, Z.n), Z.n, left_parts(), most_left(), may_be},
      limits::simd_width));
}

Step Recovery::multiply() const {
  const std::int64_t n = panels_.columns();
  // X (I - E) diag(sigma)^-1, conjugated. What there are reflectors of later has room for it.
  const Numbers multiplier =
      settles() ? Numbers{panels_.numbers().tensor, square_.stride} : allocate_numbers(R_, square_.stride);
  const Numbers& nearly = settles() ? settled_Z_ : panels_.numbers();
  Step step{"metalsvd::qr recover", {}};
  step.launches = {
      product(limits::tall_product_reflected, transpose(X_), X_, square_),
      product(limits::tall_product_over_values, X_, row_major(square_, n), multiplier),
      product(is_triangular_ ? limits::tall_product_of_upper : limits::tall_product_of_all, R_,
              row_major(multiplier, n), nearly),
  };
  if (settles()) {
    orthogonalize(false, nearly, panels_.numbers(), step);
    orthogonalize(true, panels_.numbers(), settled_Z_, step);
  }
  return step;
}

Step Recovery::complete() const {
  const std::int64_t n = panels_.columns();
  const std::int64_t rows = reduction_.rows;
  Step step{"metalsvd::qr complete", {}, panels_.need()};
  panels_.factor(step.launches);
  const std::int64_t groups = groups_for_rows(n);
  std::vector<Argument> arguments{
      panels_.roots().tensor, square_.tensor, n, settles() ? reduction_.panel_columns : panels_.stride(),
      panels_.roots().stride, groups};
  for (const Argument& argument : panels_.settled_arguments()) arguments.push_back(argument);
  step.launches.push_back(tall_launch(R_.batch, "phases_" + reduction_.number, groups, std::move(arguments)));
  panels_.expand({square_.tensor, R_.batch, n * n, n, n, n, 1}, step.launches);
  if (settles() && completes()) {
    const std::int64_t all_groups = groups_for_rows(rows);
    step.launches.push_back(tall_launch(R_.batch, "restore_" + reduction_.number, all_groups,
                                        {settled_Z_.tensor, panels_.left().tensor, rows, n, panels_.stride(),
                                         panels_.left_stride(), all_groups, settled_}));
  }
  return step;
}

Matrices Recovery::vectors() const {
  const Numbers& left = panels_.left();
  return {left.tensor, R_.batch, left.stride, reduction_.rows, reduction_.left_columns, panels_.left_stride(), 1};
}

}  // namespace metalsvd
