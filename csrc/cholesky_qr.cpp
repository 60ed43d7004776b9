#include "cholesky_qr.h"

#include <algorithm>
#include <utility>

#include "../kernels/device_limits.h"
#include "aten.h"

namespace metalsvd {

CholeskyQr::CholeskyQr(const Reduction& reduction, const Matrices& B, const Tensor& settled)
    : B_(B), settled_(settled), products_(reduction, B.batch, B.n), width_(divide_up(B.n, limits::whole_side)) {
  const std::int64_t stride = products_.stride();
  // From the shape alone: a matrix must give the same in any batch.
  part_rows_ = std::max<std::int64_t>(divide_up(B.m, limits::cholesky_parts), limits::cholesky_least_part);
  parts_ = divide_up(B.m, part_rows_);
  C_ = allocate_numbers(B, B.m * stride);
  const std::int64_t numbers = width_ * limits::whole_side * width_ * limits::whole_side;
  grams_ = allocate_numbers(B, parts_ * numbers);
  gram_ = allocate_numbers(B, numbers);
  for (Numbers* const square : {triangles_, triangles_ + 1, inverses_, inverses_ + 1, &multiplier_}) {
    *square = allocate_numbers(B, B.n * stride);
  }
}

Launch CholeskyQr::launch(const std::string& kernel, std::int64_t threadgroups, std::vector<Argument> arguments,
                          std::int64_t threads) const {
  return {"cholesky", "cholesky_" + kernel + "_f32", B_.batch * threadgroups, threads, std::move(arguments)};
}

Matrices CholeskyQr::row_major(const Numbers& numbers, std::int64_t rows) const {
  return {numbers.tensor, B_.batch, numbers.stride, rows, B_.n, products_.stride(), 1};
}

Launch CholeskyQr::product(std::int64_t kind, const Matrices& left, const Matrices& right,
                           const Tensor& product) const {
  return products_.launch(kind, left, right, product, {settled_, settled_, settled_});
}

void CholeskyQr::factor_gram(const Tensor& of, bool is_second, std::vector<Launch>& launches) const {
  const std::int64_t stride = products_.stride();
  launches.push_back(launch("gram", parts_ * limits::whole_triangle(divide_up(width_, 2)),
                            {of, grams_.tensor, B_.m, stride, width_, parts_, part_rows_}));
  launches.push_back(launch("sum", limits::whole_triangle(width_), {grams_.tensor, gram_.tensor, width_, parts_}));
  launches.push_back(launch("factor", 1,
                            {gram_.tensor, triangles_[is_second].tensor, inverses_[is_second].tensor, settled_, B_.n,
                             stride, width_, std::int64_t{is_second}},
                            limits::cholesky_threads));
}

void CholeskyQr::factor(const Tensor& R, std::vector<Launch>& launches) const {
  factor_gram(B_.tensor, false, launches);
  launches.push_back(product(limits::tall_product_of_all, B_, row_major(inverses_[0], B_.n), C_.tensor));
  factor_gram(C_.tensor, true, launches);
  launches.push_back(
      product(limits::tall_product_of_upper, row_major(triangles_[1], B_.n), row_major(triangles_[0], B_.n), R));
}

void CholeskyQr::expand(const Matrices& vectors, const Tensor& P, std::vector<Launch>& launches) const {
  launches.push_back(
      product(limits::tall_product_of_upper, row_major(inverses_[1], B_.n), vectors, multiplier_.tensor));
  launches.push_back(product(limits::tall_product_of_all, row_major(C_, B_.m), row_major(multiplier_, B_.n), P));
}

}  // namespace metalsvd
