#include "plan.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "../kernels/device_limits.h"

namespace metalsvd {
namespace {

constexpr std::string_view reduction_driver = "qr";

constexpr std::array all_methods{Method::thread, Method::simdgroup, Method::threadgroup, Method::block};

struct ScalarTraits {
  std::string_view name;
  std::string_view suffix;  // of kernel names
  std::int64_t words;       // float32 words of a number that the kernels compute with
  bool is_narrow;           // tensors hold less than that
};

ScalarTraits traits_of(Scalar scalar) {
  switch (scalar) {
    case Scalar::float32: return {"float32", "f32", 1, false};
    case Scalar::float16: return {"float16", "f16", 1, true};
    case Scalar::bfloat16: return {"bfloat16", "bf16", 1, true};
    case Scalar::complex64: return {"complex64", "c64", 2, false};
    case Scalar::complex32: return {"complex32", "c32", 2, true};
  }
  throw std::logic_error("traits_of: not a Scalar");
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

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
                           ": `driver` only accepts one of None, thread, simdgroup, threadgroup, block and qr");
}

Method choose_method(const Problem& problem, const std::optional<std::string>& driver) {
  const Method method = driver ? parse_method(*driver) : Method::threadgroup;
  if (method != Method::threadgroup) {
    throw std::runtime_error("linalg.svd: driver '" + *driver +
                             "' has no kernel in this version; the one there is is 'threadgroup'");
  }
  if (!fits_threadgroup(problem)) {
    throw std::runtime_error("linalg.svd: a matrix of " + sizes_of(problem) +
                             " does not fit the threadgroup memory of the GPU: it needs " +
                             std::to_string(threadgroup_words(problem, false) * limits::word_bytes) + " bytes of the " +
                             std::to_string(limits::threadgroup_tile_words * limits::word_bytes) +
                             " that method 'threadgroup' has, and larger matrices have no method in this version");
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

// Rows of a chunk of the tall QR: what fits the tile beside a word for each column, within what is good for speed.
std::int64_t chunk_rows(const Problem& problem) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  return std::min<std::int64_t>(
      (limits::threadgroup_tile_words - columns) / (traits_of(problem.scalar).words * columns),
      std::max<std::int64_t>(limits::tall_chunk_rows, limits::tall_min_rows_per_column * columns));
}

// The chunks of the tall QR must be able to shrink the rows.
bool can_reduce(const Problem& problem) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  return chunk_rows(problem) >= limits::tall_min_rows_per_column * columns;
}

// Where the tall QR stands in front: when it is asked for, and where one threadgroup cannot take B or would be slow.
bool reduces_first(const Problem& problem, const std::optional<std::string>& driver) {
  const std::int64_t rows = std::max(problem.m, problem.n);
  const std::int64_t columns = std::min(problem.m, problem.n);
  if (driver) {
    if (*driver != reduction_driver) return false;
    if (!can_reduce(problem)) {
      throw std::runtime_error("linalg.svd: driver 'qr' cannot take a matrix of " + sizes_of(problem) +
                               ": it has too many columns for the threadgroup memory of the GPU");
    }
    return true;
  }
  const bool is_tall = rows > limits::tall_rows && rows >= limits::tall_rows_per_column * columns;
  return can_reduce(problem) && rows > columns && (is_tall || !fits_threadgroup(problem));
}

// The nodes of each level: as few as chunks of `most_rows` allow, until one R is left.
Reduction plan_reduction(const Problem& problem) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  const std::int64_t most_rows = chunk_rows(problem);
  const ScalarTraits scalar = traits_of(problem.scalar);
  Reduction reduction;
  reduction.storage = scalar.suffix;
  reduction.number = traits_of(scalar.words == 1 ? Scalar::float32 : Scalar::complex64).suffix;
  reduction.rows = std::max(problem.m, problem.n);
  reduction.left_columns = problem.job == Job::values ? 0 : problem.job == Job::thin ? columns : reduction.rows;
  std::int64_t nodes = divide_up(reduction.rows, most_rows);
  reduction.nodes.push_back(nodes);
  while (nodes > 1) {
    nodes = divide_up(nodes, most_rows / columns);
    reduction.nodes.push_back(nodes);
  }
  reduction.strips = std::min<std::int64_t>(limits::tall_strips, reduction.nodes.front());
  // One SIMD-group a column.
  reduction.threads_per_threadgroup =
      limits::simd_width * std::min<std::int64_t>(columns, limits::simdgroups_per_threadgroup);
  return reduction;
}

// The plan for R, which takes the place of B, transposed or not.
Plan plan_for_r(const Problem& problem) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  const Scalar number = traits_of(problem.scalar).words == 1 ? Scalar::float32 : Scalar::complex64;
  Plan plan =
      make_plan({problem.batch, columns, columns, number, problem.job == Job::values ? Job::values : Job::thin});
  plan.transposed = problem.m < problem.n;
  plan.reduction = plan_reduction(problem);
  return plan;
}

std::string describe_reduction(const Plan& plan) {
  if (!plan.reduction) return "";
  std::string nodes;
  for (std::int64_t level : plan.reduction->nodes) nodes += (nodes.empty() ? "" : " + ") + std::to_string(level);
  return "tall QR of " + nodes + " threadgroups of " + std::to_string(plan.reduction->threads_per_threadgroup) +
         " threads a matrix, then ";
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
  if (reduces_first(problem, driver)) return plan_for_r(problem);
  Plan plan{};
  plan.method = choose_method(problem, driver);
  plan.transposed = problem.m < problem.n;
  plan.rows = std::max(problem.m, problem.n);
  plan.columns = std::min(problem.m, problem.n);
  plan.left_columns = problem.job == Job::values ? 0 : problem.job == Job::thin ? plan.columns : plan.rows;

  // Right vectors that do not fit beside the matrix are rotated in device memory.
  const ScalarTraits scalar = traits_of(problem.scalar);
  const bool right_in_device =
      problem.job != Job::values && threadgroup_words(problem, true) > limits::threadgroup_tile_words;
  plan.library = name_of(plan.method);
  plan.kernel = "svd_" + plan.library + (right_in_device ? "_device_right_" : "_") + std::string(scalar.suffix);
  plan.scratch_numbers = problem.batch * ((right_in_device ? plan.columns * plan.columns : 0) +
                                          (scalar.is_narrow ? plan.rows * plan.left_columns : 0));
  plan.threadgroups = problem.batch;
  plan.threads_per_threadgroup = threadgroup_threads(plan.rows, plan.columns);
  return plan;
}

std::string describe(const Plan& plan) {
  return describe_reduction(plan) + std::string(name_of(plan.method)) + ": kernel " + plan.kernel + ", " +
         std::to_string(plan.threadgroups) + " threadgroups of " + std::to_string(plan.threads_per_threadgroup) +
         " threads" + (plan.transposed ? ", on the conjugate transpose" : "");
}

}  // namespace metalsvd
