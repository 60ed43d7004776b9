#include "plan.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "../kernels/device_limits.h"

namespace metalsvd {
namespace {

constexpr std::array all_methods{Method::thread, Method::simdgroup, Method::threadgroup, Method::block};

struct ScalarTraits {
  std::string_view name;
  std::string_view suffix;         // of kernel names
  std::string_view number_suffix;  // of the type that the kernels compute with
  std::string_view real_suffix;    // of the type of the singular values
  std::int64_t words;              // float32 words of a number that the kernels compute with

  bool is_narrow() const { return suffix != number_suffix; }  // tensors hold less than that
};

ScalarTraits traits_of(Scalar scalar) {
  switch (scalar) {
    case Scalar::float32: return {"float32", "f32", "f32", "f32", 1};
    case Scalar::float16: return {"float16", "f16", "f32", "f16", 1};
    case Scalar::bfloat16: return {"bfloat16", "bf16", "f32", "bf16", 1};
    case Scalar::complex64: return {"complex64", "c64", "c64", "f32", 2};
    case Scalar::complex32: return {"complex32", "c32", "c64", "f16", 2};
  }
  throw std::logic_error("traits_of: not a Scalar");
}

// Words of threadgroup memory: the matrix, a squared norm and a place in the order for each column, and the right
// vectors where `stage_right`.
std::int64_t threadgroup_words(const Problem& problem, bool stage_right) {
  const std::int64_t rows = std::max(problem.m, problem.n);
  const std::int64_t columns = std::min(problem.m, problem.n);
  const std::int64_t staged_rows = rows + (stage_right ? columns : 0);
  return traits_of(problem.scalar).words * staged_rows * columns + 2 * columns;
}

bool fits_threadgroup(const Problem& problem) {
  return threadgroup_words(problem, /*stage_right=*/false) <= limits::threadgroup_tile_words;
}

std::string sizes_of(const Problem& problem) {
  return std::to_string(problem.m) + "x" + std::to_string(problem.n) + " " +
         std::string(traits_of(problem.scalar).name);
}

Method parse_method(const std::string& driver) {
  for (Method method : all_methods) {
    if (driver == name_of(method)) return method;
  }
  throw std::runtime_error("torch.linalg.svd: unknown svd driver " + driver +
                           ": `driver` only accepts one of None, thread, simdgroup, threadgroup and block");
}

Method choose_method(const Problem& problem, const std::optional<std::string>& driver) {
  if (!driver) return fits_threadgroup(problem) ? Method::threadgroup : Method::block;
  const Method method = parse_method(*driver);
  if (method != Method::threadgroup && method != Method::block) {
    throw std::runtime_error("linalg.svd: driver '" + *driver +
                             "' has no kernel in this version; there are 'threadgroup' and 'block'");
  }
  if (method == Method::threadgroup && !fits_threadgroup(problem)) {
    throw std::runtime_error("linalg.svd: a matrix of " + sizes_of(problem) +
                             " does not fit the threadgroup memory of the GPU: it needs " +
                             std::to_string(threadgroup_words(problem, false) * limits::word_bytes) + " bytes of the " +
                             std::to_string(limits::threadgroup_tile_words * limits::word_bytes) +
                             " that method 'threadgroup' has; method 'block' takes any size");
  }
  return method;
}

// One SIMD-group for each pair of columns that can be rotated at the same time; tall matrices get some more to load
// and store with.
std::int64_t threadgroup_threads(std::int64_t rows, std::int64_t columns) {
  const std::int64_t pairs = (columns + 1) / 2;
  const std::int64_t loaders = rows / (4 * limits::simd_width);
  const std::int64_t simdgroups =
      std::clamp<std::int64_t>(std::max(pairs, loaders), 1, limits::simdgroups_per_threadgroup);
  return simdgroups * limits::simd_width;
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Right vectors that do not fit beside the matrix are rotated in device memory.
void plan_threadgroup(const Problem& problem, Plan& plan) {
  const bool right_in_device =
      problem.job != Job::values && threadgroup_words(problem, true) > limits::threadgroup_tile_words;
  plan.kernel = "svd_" + plan.library + (right_in_device ? "_device_right_" : "_") + plan.suffix;
  plan.scratch_numbers = problem.batch * ((right_in_device ? plan.columns * plan.columns : 0) +
                                          (traits_of(problem.scalar).is_narrow() ? plan.rows * plan.left_columns : 0));
  plan.threadgroups = problem.batch;
  plan.threads_per_threadgroup = threadgroup_threads(plan.rows, plan.columns);
}

// As few blocks as the limit on their width allows, then as little padding as that number of blocks allows.
void plan_block(const Problem& problem, Plan& plan) {
  plan.block_count = 2 * divide_up(plan.columns, limits::block_pair_columns);
  plan.block_width = divide_up(plan.columns, plan.block_count);
  plan.threadgroups = problem.batch * plan.block_count / 2 * divide_up(plan.rows, limits::block_chunk_rows);
  plan.threads_per_threadgroup = limits::block_threads;
}

}  // namespace

std::string_view name_of(Method method) {
  switch (method) {
    case Method::thread: return "thread";
    case Method::simdgroup: return "simdgroup";
    case Method::threadgroup: return "threadgroup";
    case Method::block: return "block";
  }
  throw std::logic_error("name_of: not a Method");
}

Plan make_plan(const Problem& problem, const std::optional<std::string>& driver) {
  Plan plan{};
  plan.method = choose_method(problem, driver);
  plan.transposed = problem.m < problem.n;
  plan.rows = std::max(problem.m, problem.n);
  plan.columns = std::min(problem.m, problem.n);
  plan.left_columns = problem.job == Job::values ? 0 : problem.job == Job::thin ? plan.columns : plan.rows;

  const ScalarTraits scalar = traits_of(problem.scalar);
  plan.library = name_of(plan.method);
  plan.suffix = scalar.suffix;
  plan.number_suffix = scalar.number_suffix;
  plan.real_suffix = scalar.real_suffix;
  if (plan.method == Method::block) {
    plan_block(problem, plan);
  } else {
    plan_threadgroup(problem, plan);
  }
  return plan;
}

std::string describe(const Plan& plan) {
  const std::string kernels =
      plan.method == Method::block
          ? std::to_string(plan.block_count) + " blocks of " + std::to_string(plan.block_width) + " columns, " +
                std::to_string(plan.block_count - 1) + " rounds a sweep, kernels block_*_" + plan.suffix
          : "kernel " + plan.kernel;
  return std::string(name_of(plan.method)) + ": " + kernels + ", " + std::to_string(plan.threadgroups) +
         " threadgroups of " + std::to_string(plan.threads_per_threadgroup) + " threads" +
         (plan.transposed ? ", on the conjugate transpose" : "");
}

}  // namespace metalsvd
