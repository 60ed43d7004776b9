// svd through ATen: LAPACK on CPU tensors, and what torch has for the dtypes of CUDA tensors that our kernels lack.
// Matrices that are not finite are factored as zero and their factors set to NaN afterwards, since LAPACK refuses the
// whole batch for one of them.
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <limits>

#include "../aten.h"
#include "../svd.h"

namespace metalsvd {
namespace {

using torch::headeronly::ScalarType;

// The mask (*batch) with `count` dimensions of size one behind it, to fill a factor (*batch, ...).
Tensor unsqueeze_last(Tensor mask, int count) {
  for (int i = 0; i < count; ++i) mask = torch::stable::unsqueeze(mask, -1);
  return mask;
}

void fill_where(Tensor& factor, const Tensor& mask, int matrix_dims, const Tensor& value) {
  call_aten("aten::masked_fill_", "Tensor", factor, unsqueeze_last(mask, matrix_dims), value);
}

// A 0-dimensional tensor, the form in which the stable ABI takes a Scalar.
Tensor scalar_tensor(const Tensor& like, double value) {
  Tensor scalar = torch::stable::new_empty(like, {});
  torch::stable::fill_(scalar, value);
  return scalar;
}

}  // namespace

Factors svd_cpu(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver) {
  return svd_of_torch(A, full_matrices, compute_uv, driver, "on cpu expected None (LAPACK)");
}

Factors svd_of_torch(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver,
                     const char* expected) {
  check_matrix(A);
  STD_TORCH_CHECK(!driver, "linalg.svd: driver '", *driver, "' is a method of our kernels: ", expected);

  const Tensor finite =
      call_aten("aten::all", "dim",
                call_aten("aten::all", "dim", call_aten("aten::isfinite", "", A)[0], std::int64_t{-1}, false)[0],
                std::int64_t{-1}, false)[0];
  const Tensor not_finite = call_aten("aten::logical_not", "", finite)[0];
  Tensor finite_A = torch::stable::clone(A);
  fill_where(finite_A, not_finite, 2, scalar_tensor(A, 0.0));

  auto [U, S, Vh] =
      call_aten<3>("aten::_linalg_svd", "", finite_A, full_matrices, compute_uv, std::optional<std::string>());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  fill_where(S, not_finite, 1, scalar_tensor(S, nan));
  if (compute_uv) {
    fill_where(U, not_finite, 2, scalar_tensor(U, nan));
    fill_where(Vh, not_finite, 2, scalar_tensor(Vh, nan));
  }
  return {U, S, Vh, torch::stable::to(not_finite, ScalarType::Int)};
}

}  // namespace metalsvd
