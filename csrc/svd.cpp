// A = U diag(S) Vh for A (*, m, n), k = min(m, n):
//   1. check A and flatten its batch
//   2. make the outputs U (*, m, k or m), S (*, k), Vh (*, k or n, n), info (*)
//   3. ask the planner for a method
//   4. launch its kernels; where B is much taller than wide, the tall QR reduces it to R first (tall.h), whose left
//      vectors follow from its right ones where they are not accumulated (recovery.h)
// Where m or n is zero there is nothing to compute: full matrices are identities.
#include "svd.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "aten.h"
#include "block.h"
#include "launch.h"
#include "matrices.h"
#include "plan.h"
#include "recovery.h"
#include "tall.h"

namespace metalsvd {
namespace {

using torch::headeronly::ScalarType;

// The stride from one matrix to the next when all batch dimensions are counted through as one, if there is one.
std::optional<std::int64_t> common_batch_stride(const Tensor& A) {
  std::int64_t stride = 0;
  std::int64_t expected = 0;
  for (std::int64_t dim = A.dim() - 3; dim >= 0; --dim) {
    if (A.size(dim) == 1) continue;
    if (expected == 0) {
      stride = A.stride(dim);
    } else if (A.stride(dim) != expected) {
      return std::nullopt;
    }
    expected = A.stride(dim) * A.size(dim);
    if (expected == 0) return std::nullopt;  // an expanded dimension: let it be copied
  }
  return stride;
}

Matrices flatten_batch(const Tensor& A) {
  const std::optional<std::int64_t> batch_stride = common_batch_stride(A);
  if (!batch_stride) return flatten_batch(torch::stable::contiguous(A));
  const std::int64_t m = A.size(-2);
  const std::int64_t n = A.size(-1);
  return {A, A.numel() / (m * n), *batch_stride, m, n, A.stride(-2), A.stride(-1)};
}

std::vector<std::int64_t> batch_sizes(const Tensor& A) { return {A.sizes().begin(), A.sizes().end() - 2}; }

bool is_floating_or_complex(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Half:
    case ScalarType::BFloat16:
    case ScalarType::Float:
    case ScalarType::Double:
    case ScalarType::ComplexHalf:
    case ScalarType::ComplexFloat:
    case ScalarType::ComplexDouble: return true;
    default: return false;
  }
}

// As torch counts them, where a size may be zero.
std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& sizes) {
  std::vector<std::int64_t> strides(sizes.size(), 1);
  for (std::size_t dim = sizes.size(); dim-- > 1;) {
    strides[dim - 1] = strides[dim] * std::max<std::int64_t>(sizes[dim], 1);
  }
  return strides;
}

Tensor empty(const Tensor& A, std::vector<std::int64_t> batch, std::initializer_list<std::int64_t> sizes,
             ScalarType dtype) {
  batch.insert(batch.end(), sizes);
  return empty_strided(A, batch, contiguous_strides(batch), dtype);
}

// The factors of matrices without entries: S is empty, full matrices are identities.
Factors trivial_factors(Factors factors) {
  auto& [U, S, Vh, info] = factors;
  torch::stable::zero_(info);
  for (Tensor* matrix : {&U, &Vh}) {
    if (matrix->dim() < 2 || matrix->numel() == 0) continue;
    torch::stable::zero_(*matrix);
    Tensor diagonal = call_aten("aten::diagonal", "", *matrix, std::int64_t{0}, std::int64_t{-2}, std::int64_t{-1})[0];
    torch::stable::fill_(diagonal, 1.0);
  }
  return factors;
}

Factors make_outputs(const Tensor& A, Job job) {
  const std::int64_t m = A.size(-2);
  const std::int64_t n = A.size(-1);
  const std::int64_t k = std::min(m, n);
  Tensor S = empty(A, batch_sizes(A), {k}, real_type(A.scalar_type()));
  Tensor info = empty(A, batch_sizes(A), {}, ScalarType::Int);
  if (job == Job::values) {
    return {empty(A, {}, {0}, A.scalar_type()), S, empty(A, {}, {0}, A.scalar_type()), info};
  }
  const bool full = job == Job::full;
  return {empty_column_major(A, m, full ? m : k), S, empty_column_major(A, full ? n : k, n), info};
}

Job make_job(bool full_matrices, bool compute_uv) {
  return !compute_uv ? Job::values : full_matrices ? Job::full : Job::thin;
}

Outputs kernel_outputs(const Plan& plan, const Factors& factors) {
  const auto& [U, S, Vh, info] = factors;
  const bool vectors = plan.left_columns > 0;
  return {!vectors ? S : plan.transposed ? Vh : U, S, !vectors ? S : plan.transposed ? U : Vh, info};
}

// The one dispatch of every method but `block`.
Launch make_launch(const Plan& plan, const Matrices& A, const Outputs& outputs) {
  const Tensor scratch = plan.scratch_numbers == 0
                             ? outputs.S
                             : empty(A.tensor, {}, {plan.scratch_numbers}, number_type(A.tensor.scalar_type()));
  Launch launch{plan.library,
                plan.kernel,
                plan.threadgroups,
                plan.threads_per_threadgroup,
                {A.tensor, outputs.left, outputs.S, outputs.right, outputs.info, scratch, A.batch, plan.rows,
                 plan.columns, plan.left_columns, std::int64_t{plan.transposed}, A.batch_stride,
                 plan.transposed ? A.column_stride : A.row_stride, plan.transposed ? A.row_stride : A.column_stride},
                plan.tile_bytes};
  if (plan.method == Method::simdgroup) launch.arguments.push_back(plan.parts);
  return launch;
}

void launch_method(const Plan& plan, const Matrices& A, const Factors& factors, LaunchStep launch_step) {
  const Outputs outputs = kernel_outputs(plan, factors);
  if (plan.method == Method::block) {
    return launch_block(plan, A, outputs, number_type(A.tensor.scalar_type()), launch_step);
  }
  launch_step({"metalsvd::" + std::string(name_of(plan.method)), {make_launch(plan, A, outputs)}});
}

Scalar kernel_scalar(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return Scalar::float32;
    case ScalarType::Half: return Scalar::float16;
    case ScalarType::BFloat16: return Scalar::bfloat16;
    case ScalarType::ComplexFloat: return Scalar::complex64;
    case ScalarType::ComplexHalf: return Scalar::complex32;
    default:
      STD_TORCH_CHECK(false, "linalg.svd: on mps A must be of dtype float32, float16, bfloat16 or complex64, but got ",
                      torch::headeronly::toString(dtype));
  }
}

}  // namespace

void check_matrix(const Tensor& A) {
  STD_TORCH_CHECK(A.dim() >= 2, "linalg.svd: The input tensor A must have at least 2 dimensions.");
  const ScalarType dtype = A.scalar_type();
  STD_TORCH_CHECK(is_floating_or_complex(dtype),
                  "linalg.svd: Expected a floating point or complex tensor as input. Got ",
                  torch::headeronly::toString(dtype));
}

Tensor empty_column_major(const Tensor& A, std::int64_t rows, std::int64_t columns) {
  std::vector<std::int64_t> sizes = batch_sizes(A);
  sizes.insert(sizes.end(), {columns, rows});
  std::vector<std::int64_t> strides = contiguous_strides(sizes);
  std::iter_swap(sizes.end() - 1, sizes.end() - 2);
  std::iter_swap(strides.end() - 1, strides.end() - 2);
  return empty_strided(A, sizes, strides, A.scalar_type());
}

namespace {

struct Backend {
  LaunchStep launch;
  DeviceLimits (*limits)(const Tensor& A);
};
constexpr Backend mps_backend{launch_on_mps, [](const Tensor&) { return mps_limits(); }};
#ifdef METALSVD_CUDA
constexpr Backend cuda_backend{launch_on_cuda, [](const Tensor& A) { return cuda_limits(A.get_device_index()); }};
#endif

// The steps above.
Factors svd_by_kernels(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver,
                       const Backend& backend) {
  // 1. check
  check_matrix(A);
  const Scalar scalar = kernel_scalar(A.scalar_type());
  const Job job = make_job(full_matrices, compute_uv);

  // 2. outputs
  Factors factors = make_outputs(A, job);
  if (A.numel() == 0) return trivial_factors(std::move(factors));

  // 3. plan
  const Matrices matrices = flatten_batch(A);
  const Problem problem{matrices.batch, matrices.m, matrices.n, scalar, job, backend.limits(A)};
  const std::shared_ptr<const Plan> known = find_plan(problem, driver);
  const Plan& plan = *known;

  // 4. launch: the method, or where B is tall B = Q R, the method for R, and with Q the factors of B
  if (plan.reduction) {
    const TallQr qr(plan, matrices, factors);
    for (const Step& step : qr.reduce()) backend.launch(step);
    launch_method(plan, qr.R(), qr.factors_of_R(), backend.launch);
    Matrices vectors_of_R = qr.vectors_of_R();
    if (plan.recovery) {
      const Recovery recovery(plan, qr.recovered(), qr.factors_of_R());
      backend.launch(recovery.multiply());
      backend.launch(recovery.complete());
      vectors_of_R = recovery.vectors();
    }
    for (const Step& step : qr.expand(vectors_of_R)) backend.launch(step);
  } else {
    launch_method(plan, matrices, factors, backend.launch);
  }
  return factors;
}

}  // namespace

Factors svd_mps(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver) {
  return svd_by_kernels(A, full_matrices, compute_uv, driver, mps_backend);
}

#ifdef METALSVD_CUDA
Factors svd_cuda(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver) {
  const ScalarType dtype = A.scalar_type();
  if (dtype == ScalarType::Double || dtype == ScalarType::ComplexDouble) {
    return svd_of_torch(A, full_matrices, compute_uv, driver, "for float64 and complex128 on cuda expected None");
  }
  return svd_by_kernels(A, full_matrices, compute_uv, driver, cuda_backend);
}
#endif

std::string plan_in_words(std::int64_t batch, std::int64_t m, std::int64_t n, ScalarType dtype, bool full_matrices,
                          bool compute_uv, const std::optional<std::string>& driver,
                          const std::optional<std::int64_t>& cuda_device) {
  STD_TORCH_CHECK(batch > 0 && m > 0 && n > 0, "plan: expected positive sizes, but got batch ", batch, ", m ", m,
                  ", n ", n);
  DeviceLimits device = mps_limits();
  if (cuda_device) {
#ifdef METALSVD_CUDA
    device = cuda_limits(static_cast<std::int32_t>(*cuda_device));
#else
    STD_TORCH_CHECK(false, "plan: this metalsvd was built without kernels for cuda");
#endif
  }
  return describe(make_plan({batch, m, n, kernel_scalar(dtype), make_job(full_matrices, compute_uv), device}, driver));
}

}  // namespace metalsvd
