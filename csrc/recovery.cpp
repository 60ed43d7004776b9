#include "recovery.h"

#include "../kernels/device_limits.h"

namespace metalsvd {
namespace {

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
      R_(plan.reduction->transposed ? transpose(R) : R),
      X_(right_vectors(plan, R, factors_of_R)),
      panels_(reduction_, R, std::nullopt) {}

Matrices Recovery::row_major(const Numbers& numbers) const {
  const std::int64_t n = panels_.columns();
  return {numbers.tensor, R_.batch, numbers.stride, n, n, panels_.stride(), 1};
}

Launch Recovery::product(const Matrices& left, const Matrices& right, const Numbers& product, Kind kind) const {
  const std::int64_t n = panels_.columns();
  const std::int64_t tiles_across = divide_up(panels_.stride() / reduction_.packed, limits::tall_product_packs);
  return tall_launch(
      R_.batch, "product_" + reduction_.number, divide_up(n, limits::tall_product_rows) * tiles_across,
      {left.tensor, right.tensor, product.tensor, n, panels_.stride(), left.batch_stride, left.row_stride,
       left.column_stride, right.batch_stride, right.row_stride, right.column_stride, std::int64_t{kind == Kind::upper},
       std::int64_t{kind != Kind::plain}, std::int64_t{kind == Kind::reflected}});
}

Step Recovery::recover() const {
  const std::int64_t n = panels_.columns();
  const Numbers square = allocate_numbers(R_, n * panels_.stride());  // I - E, then D
  // R X. Of one panel what Q is applied to takes the place of its reflectors.
  const Numbers nearly = panels_.is_one_panel() ? allocate_numbers(R_, square.stride) : panels_.left();
  Step step{"metalsvd::qr recover", {}};
  step.launches = {product(transpose(X_), X_, square, Kind::reflected), product(R_, X_, nearly, Kind::upper),
                   product(row_major(nearly), row_major(square), panels_.numbers(), Kind::plain)};
  panels_.factor(step.launches);
  const std::int64_t groups = groups_for_rows(n);
  step.launches.push_back(tall_launch(
      R_.batch, "phases_" + reduction_.number, groups,
      {panels_.roots().tensor, square.tensor, n, panels_.is_one_panel() ? panels_.stride() : reduction_.panel_columns,
       panels_.roots().stride, groups}));
  panels_.expand({square.tensor, R_.batch, n * n, n, n, n, 1}, step.launches);
  return step;
}

Matrices Recovery::vectors() const { return row_major(panels_.left()); }

}  // namespace metalsvd
