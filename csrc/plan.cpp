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

bool fits_thread(const Problem& problem) { return std::max(problem.m, problem.n) <= limits::thread_method_size; }

// The columns of the smallest kernel of method `simdgroup` that takes this many; beyond the limit where none does.
int simdgroup_kernel_columns(std::int64_t columns) {
  int kernel_columns = limits::simdgroup_least_columns;
  while (kernel_columns < columns && kernel_columns <= limits::simdgroup_most_columns) kernel_columns *= 2;
  return kernel_columns;
}

// The rows that this kernel takes; fewer than columns where there is none.
std::int64_t simdgroup_rows(const Problem& problem) {
  const int columns = simdgroup_kernel_columns(std::min(problem.m, problem.n));
  if (columns > limits::simdgroup_most_columns) return 0;
  return limits::simdgroup_rows(columns, static_cast<int>(traits_of(problem.scalar).words));
}

bool fits_simdgroup(const Problem& problem) { return std::max(problem.m, problem.n) <= simdgroup_rows(problem); }

// The columns of the largest kernel of method `simdgroup` that there are registers for.
int most_simdgroup_columns(const Problem& problem) {
  int columns = limits::simdgroup_most_columns;
  while (limits::simdgroup_rows(columns, static_cast<int>(traits_of(problem.scalar).words)) < columns) columns /= 2;
  return columns;
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

[[noreturn]] void refuse(const Problem& problem, const std::string& why) {
  throw std::runtime_error("linalg.svd: a matrix of " + sizes_of(problem) + " does not fit " + why);
}

// Throws, naming the limit, where the method cannot run the problem.
void check_fits(const Problem& problem, Method method) {
  switch (method) {
    case Method::thread: {
      if (fits_thread(problem)) return;
      const std::string size = std::to_string(limits::thread_method_size);
      refuse(problem,
             "the registers of one thread: method 'thread' takes at most " + size + " rows and " + size + " columns");
    }
    case Method::simdgroup: {
      if (fits_simdgroup(problem)) return;
      const std::int64_t columns = std::min(problem.m, problem.n);
      const std::int64_t rows = simdgroup_rows(problem);
      const std::string limit =
          rows < columns ? std::to_string(most_simdgroup_columns(problem)) + " rows or columns, whichever are fewer"
                         : "a matrix of " + std::to_string(rows) + "x" + std::to_string(columns) + " or its transpose";
      refuse(problem, "the registers of a SIMD-group: method 'simdgroup' takes at most " + limit);
    }
    case Method::threadgroup:
      if (fits_threadgroup(problem)) return;
      refuse(problem, "the threadgroup memory of the GPU: it needs " +
                          std::to_string(threadgroup_words(problem, false) * limits::word_bytes) + " bytes of the " +
                          std::to_string(limits::threadgroup_tile_words * limits::word_bytes) +
                          " that method 'threadgroup' has, and larger matrices have no method in this version");
    case Method::block:
      throw std::runtime_error(
          "linalg.svd: driver 'block' has no kernel in this version; those there are are 'thread', 'simdgroup' and "
          "'threadgroup'");
  }
}

// Without a driver the first that fits: each serves larger matrices than the one before, with more threads a matrix.
Method choose_method(const Problem& problem, const std::optional<std::string>& driver) {
  const Method method = driver                    ? parse_method(*driver)
                        : fits_thread(problem)    ? Method::thread
                        : fits_simdgroup(problem) ? Method::simdgroup
                                                  : Method::threadgroup;
  check_fits(problem, method);
  return method;
}

// How a method is launched.
struct Geometry {
  std::string kernel;  // without the suffix of its dtype
  std::int64_t matrices_per_threadgroup;
  std::int64_t threads_per_threadgroup;
};

Geometry thread_geometry(const Problem& problem) {
  const std::int64_t size = std::max<std::int64_t>({problem.m, problem.n, 2});
  const std::int64_t simdgroups = (problem.batch + limits::simd_width - 1) / limits::simd_width;
  const std::int64_t threads =
      std::clamp<std::int64_t>(simdgroups * limits::simd_width, limits::simd_width, limits::thread_method_threads);
  return {"svd_thread_" + std::to_string(size) + "_", threads, threads};
}

Geometry simdgroup_geometry(const Problem& problem) {
  const std::int64_t simdgroups = std::clamp<std::int64_t>(problem.batch, 1, limits::simdgroup_method_simdgroups);
  return {"svd_simdgroup_" + std::to_string(simdgroup_kernel_columns(std::min(problem.m, problem.n))) + "_", simdgroups,
          simdgroups * limits::simd_width};
}

// One SIMD-group for each pair of columns that can be rotated at the same time; tall matrices get some more to load
// and store with.
Geometry threadgroup_geometry(const Problem& problem, bool right_in_device) {
  const std::int64_t rows = std::max(problem.m, problem.n);
  const std::int64_t columns = std::min(problem.m, problem.n);
  const std::int64_t pairs = (columns + 1) / 2;
  const std::int64_t loaders = rows / (4 * limits::simd_width);
  const std::int64_t simdgroups =
      std::clamp<std::int64_t>(std::max(pairs, loaders), 1, limits::simdgroups_per_threadgroup);
  return {right_in_device ? "svd_threadgroup_device_right_" : "svd_threadgroup_", 1, simdgroups * limits::simd_width};
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

  // Method `threadgroup` rotates right vectors that do not fit beside the matrix in device memory, and completes the
  // factors of tensors narrower than its numbers there.
  const ScalarTraits scalar = traits_of(problem.scalar);
  const bool is_staged = plan.method == Method::threadgroup;
  const bool right_in_device =
      is_staged && problem.job != Job::values && threadgroup_words(problem, true) > limits::threadgroup_tile_words;
  const Geometry geometry = plan.method == Method::thread      ? thread_geometry(problem)
                            : plan.method == Method::simdgroup ? simdgroup_geometry(problem)
                                                               : threadgroup_geometry(problem, right_in_device);
  plan.library = name_of(plan.method);
  plan.kernel = geometry.kernel + std::string(scalar.suffix);
  plan.scratch_numbers = problem.batch * ((right_in_device ? plan.columns * plan.columns : 0) +
                                          (is_staged && scalar.is_narrow ? plan.rows * plan.left_columns : 0));
  plan.threadgroups = (problem.batch + geometry.matrices_per_threadgroup - 1) / geometry.matrices_per_threadgroup;
  plan.threads_per_threadgroup = geometry.threads_per_threadgroup;
  return plan;
}

std::string describe(const Plan& plan) {
  return std::string(name_of(plan.method)) + ": kernel " + plan.kernel + ", " + std::to_string(plan.threadgroups) +
         " threadgroups of " + std::to_string(plan.threads_per_threadgroup) + " threads" +
         (plan.transposed ? ", on the conjugate transpose" : "");
}

}  // namespace metalsvd
