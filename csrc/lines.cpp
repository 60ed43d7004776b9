#include "lines.h"

#include <algorithm>
#include <array>
#include <span>
#include <stdexcept>
#include <string>

namespace metalsvd {
namespace {

// Whether SIMD-groups that share so many matrices have the threads, and the memory for the boxes of their lines.
bool has_room(const Problem& problem, const Line& line, std::int64_t simdgroups, std::int64_t matrices) {
  if (simdgroups * limits::simd_width > limits::simdgroup_spread_threads) return false;
  const int number_bytes = (is_complex(problem) ? 2 : 1) * limits::word_bytes;
  if (line.vectors != Vectors::held) {
    return limits::simdgroup_recovering_bytes(line.entries, number_bytes, line.parts, simdgroups) <=
           limits::simdgroup_recovering_tile(line.entries, number_bytes);
  }
  const std::int64_t boxes = matrices > 1 ? 2 * simdgroups : std::max<std::int64_t>(simdgroups, 2);
  return boxes * line.parts * limits::simdgroup_box_bytes(line.entries, number_bytes, true) <=
         limits::simdgroup_boxes_bytes;
}

// What a matrix costs where there are many: the part of a SIMD-group that it takes, times what a lane has to do, and
// times what exchange through memory and waiting for each other make of that.
double cost_of(const Line& line, double spread_cost) {
  const auto lanes =
      static_cast<double>(line.is_spread ? line.pairs * line.parts : limits::simd_width / line.matrices(1));
  return (line.is_spread ? spread_cost : 1.0) * lanes * (line.entries + limits::simdgroup_work_of_pair);
}

std::optional<Line> sharing_line(const Problem& problem, std::int64_t rows, std::int64_t columns) {
  if (rows > limits::simdgroup_most_rows || columns > rows) return std::nullopt;
  constexpr std::array complex_entries{8, 10};
  constexpr std::array real_entries{8, 10, 12, 14, 16, 18, 20};
  const auto all_entries =
      is_complex(problem) ? std::span<const int>(complex_entries) : std::span<const int>(real_entries);
  // Measured on an H100. Complex numbers are computed with for longer between two exchanges.
  const double spread_cost = is_complex(problem) ? 1.4 : 1.7;
  std::optional<Line> best;
  for (const int entries : all_entries) {
    for (const bool is_spread : {false, true}) {
      // Of the kernels for real numbers those of 12, 16 and 20 entries spread lines.
      const bool has_kernel = !is_spread || is_complex(problem) || (entries > 8 && entries % 4 == 0);
      if (!has_kernel) continue;
      const Line line{entries, limits::simdgroup_parts(static_cast<int>(rows), entries), divide_up(columns, 2),
                      is_spread, Vectors::held};
      if (line.parts > limits::simd_width) continue;
      if (is_spread ? !has_room(problem, line, line.simdgroups(), 1) : line.simdgroups() > 1) continue;
      if (!best || cost_of(line, spread_cost) < cost_of(*best, spread_cost)) best = line;
    }
  }
  return best;
}

// In eight blocks columns of up to so many rows, of the kernels that there are.
int rows_of_eighths(std::int64_t rows) {
  constexpr std::array<int, 4> rows_of_kernels{40, 48, 56, limits::simdgroup_eighths_most};
  return *std::ranges::lower_bound(rows_of_kernels, rows);
}
Line line_of_eighths(std::int64_t rows, int lanes) {
  constexpr int pairs = limits::simdgroup_eighth_pairs;
  return Line{limits::simdgroup_entries(rows_of_eighths(rows), lanes), lanes, pairs, pairs * lanes > limits::simd_width,
              Vectors::recovered_by_eighths};
}

// Of the kernels for lines of blocks that for columns of up to so many rows, where there are many matrices or few: of
// the same lanes where more would only wait for each other.
struct BlockKernel {
  int rows, lanes;
};
BlockKernel block_kernel(std::int64_t rows, bool of_few) {
  constexpr std::array<BlockKernel, 6> kernels_of_few{{{80, 16}, {96, 16}, {112, 16}, {128, 16}, {144, 32}, {160, 16}}};
  if (of_few) return *std::ranges::lower_bound(kernels_of_few, rows, {}, &BlockKernel::rows);
  constexpr std::array<int, 7> rows_of_kernels{72, 80, 96, 112, 128, 144, limits::simdgroup_recovering_most};
  const int rows_of_kernel = *std::ranges::lower_bound(rows_of_kernels, rows);
  return {rows_of_kernel, limits::simdgroup_block_lanes(rows_of_kernel)};
}
Line line_of_blocks(std::int64_t rows, std::int64_t columns, bool of_few) {
  const BlockKernel kernel = block_kernel(rows, of_few);
  return Line{limits::simdgroup_entries(kernel.rows, kernel.lanes), kernel.lanes,
              divide_up(columns, 2 * limits::simdgroup_block_width(kernel.rows)), true, Vectors::recovered_by_blocks};
}

// Of real columns blocks, but none of so few that take less time held where they have many rows; of complex ones, in
// pairs, the fewest entries in the fewest SIMD-groups, of the lines for which there is a kernel: lanes of a SIMD-group
// hold half a column each.
std::optional<Line> recovering_line(const Problem& problem, std::int64_t rows, std::int64_t columns) {
  const bool is_of_complex = is_complex(problem);
  const std::int64_t fewest =
      is_of_complex ? limits::simdgroup_recovering_complex_fewest : limits::simdgroup_recovering_fewest;
  const std::int64_t most =
      is_of_complex ? limits::simdgroup_recovering_complex_most : limits::simdgroup_recovering_most;
  if (!problem.device.has_wide_lanes || rows > most || columns > rows || columns < fewest) return std::nullopt;
  if (!is_of_complex) {
    const bool are_few = columns <= limits::simdgroup_plain_columns;
    if (are_few && rows > limits::simdgroup_recovering_long_rows) return std::nullopt;
    return rows <= limits::simdgroup_eighths_most ? line_of_eighths(rows, limits::simdgroup_eighth_lanes)
                                                  : line_of_blocks(rows, columns, false);
  }
  struct Kernel {
    int entries;
    bool is_spread;
  };
  constexpr std::array kernels{Kernel{32, true}, Kernel{24, true}, Kernel{16, false}, Kernel{12, false}};
  std::optional<Line> best;
  for (const auto [entries, is_spread] : kernels) {
    const Line line{entries, limits::simdgroup_parts(static_cast<int>(rows), entries), divide_up(columns, 2), is_spread,
                    Vectors::recovered};
    if (is_spread ? !has_room(problem, line, line.simdgroups(), 1) : line.simdgroups() > 1) continue;
    if (!best || line.simdgroups() <= best->simdgroups()) best = line;
  }
  return best;
}

std::optional<Line> line_for(const Problem& problem, std::int64_t rows, std::int64_t columns) {
  const std::optional<Line> recovering = recovering_line(problem, rows, columns);
  return recovering ? recovering : sharing_line(problem, rows, columns);
}

}  // namespace

std::optional<Line> line_of_many(const Problem& problem) {
  return line_for(problem, std::max(problem.m, problem.n), std::min(problem.m, problem.n));
}

namespace {

// The lanes of so many entries that hold a column and add up its entries in the same order.
std::int64_t parts_of_few(const Line& line, int entries) {
  return line.parts * limits::simdgroup_few_lanes(line.entries) / limits::simdgroup_few_lanes(entries);
}

// The same columns in the fewest lanes of the fewest entries for which there is a kernel that turns Q apart.
std::optional<Line> apart_line(const Problem& problem, const Line& line) {
  struct Kernel {
    int entries, parts;
    bool is_spread;
  };
  constexpr std::array<Kernel, 7> kernels{
      {{8, 2, false}, {12, 2, false}, {16, 2, false}, {20, 2, false}, {20, 2, true}, {12, 4, true}, {16, 4, true}}};
  const std::int64_t rows = std::max(problem.m, problem.n);
  const std::int64_t columns = std::min(problem.m, problem.n);
  if (is_complex(problem) || line.vectors != Vectors::held || columns < limits::simdgroup_apart_fewest) {
    return std::nullopt;
  }
  for (const auto [entries, parts, is_spread] : kernels) {
    const int simdgroups = is_spread ? limits::simdgroup_apart_leaders : 1;
    const bool has_room =
        parts * entries >= rows && columns <= limits::simdgroup_apart_columns(entries, parts, simdgroups);
    if (has_room && parts_of_few(line, entries) == parts) {
      return Line{entries, parts, line.pairs, is_spread, Vectors::apart};
    }
  }
  return std::nullopt;
}

// SIMD-groups for one matrix with Q turned apart.
std::int64_t apart_simdgroups(const Problem& problem, const Line& line, bool has_vectors) {
  return line.simdgroups() + (has_vectors ? divide_up(std::min(problem.m, problem.n), limits::simd_width) : 0);
}

// The same columns in lanes of the fewest entries for which there is a kernel, if there is room.
std::optional<Line> thin_line(const Problem& problem, const Line& line) {
  const std::int64_t rows = std::max(problem.m, problem.n);
  if (line.vectors == Vectors::recovered_by_eighths) return line_of_eighths(rows, limits::simdgroup_eighth_few_lanes);
  if (line.vectors == Vectors::recovered_by_blocks) return line_of_blocks(rows, std::min(problem.m, problem.n), true);
  const int entries = limits::simdgroup_few_entries;
  const std::int64_t parts = parts_of_few(line, entries);
  const Line thin{entries, parts, line.pairs, line.is_spread || line.pairs * parts > limits::simd_width, line.vectors};
  if (parts > limits::simd_width) return std::nullopt;
  return !thin.is_spread || has_room(problem, thin, thin.simdgroups(), 1) ? std::optional(thin) : std::nullopt;
}

// The line for few matrices, if these are few. The sums over a column are the same.
std::optional<Line> line_of_few(const Problem& problem, const Line& line) {
  const std::optional<Line> apart = apart_line(problem, line);
  if (apart && apart_simdgroups(problem, *apart, true) * problem.batch <= problem.device.few_simdgroups) return apart;
  const std::optional<Line> thin = thin_line(problem, line);
  if (!thin) return std::nullopt;
  const std::int64_t simdgroups =
      thin->is_spread ? problem.batch * thin->simdgroups() : divide_up(problem.batch, thin->matrices(1));
  return simdgroups <= problem.device.few_simdgroups ? thin : std::nullopt;
}

// How many SIMD-groups of a threadgroup share lines that are spread: where there are matrices enough, so many that the
// fewest lanes are left over.
std::int64_t sharing_simdgroups(const Problem& problem, const Line& line) {
  std::int64_t best = line.simdgroups();
  std::int64_t best_matrices = line.matrices(best);
  for (std::int64_t simdgroups = best + 1; simdgroups <= limits::simdgroup_sharing_simdgroups; ++simdgroups) {
    const std::int64_t matrices = line.matrices(simdgroups);
    const bool is_enough = problem.batch >= matrices * limits::simdgroup_enough_threadgroups;
    if (!is_enough || !has_room(problem, line, simdgroups, matrices)) break;
    if (simdgroups * best_matrices < best * matrices) {
      best = simdgroups;
      best_matrices = matrices;
    }
  }
  return best;
}

// SIMD-groups of a threadgroup.
std::int64_t simdgroups_of(const Problem& problem, const Line& line, bool has_vectors) {
  if (line.vectors == Vectors::apart) return apart_simdgroups(problem, line, has_vectors);
  if (line.vectors == Vectors::recovered_by_eighths && !line.is_spread) {
    const int rows = rows_of_eighths(std::max(problem.m, problem.n));
    return std::min<std::int64_t>(divide_up(2 * problem.batch, problem.device.few_simdgroups),
                                  limits::simdgroup_eighth_matrices(rows, static_cast<int>(line.parts)));
  }
  if (line.vectors != Vectors::held) return line.simdgroups();
  if (line.is_spread) return sharing_simdgroups(problem, line);
  return std::clamp<std::int64_t>(divide_up(problem.batch, line.matrices(1)) / limits::simdgroup_enough_threadgroups, 1,
                                  limits::simdgroup_method_simdgroups);
}

struct KernelName {
  std::string library, prefix;
};

KernelName kernel_of(const Line& line, std::int64_t rows) {
  const std::string s = line.is_spread ? "s_" : "_";
  switch (line.vectors) {
    case Vectors::held: return {"simdgroup", "svd_simdgroup" + s + std::to_string(line.entries)};
    case Vectors::apart: return {"simdgroup_apart", "svd_simdgroup" + s + "apart_" + std::to_string(line.entries)};
    case Vectors::recovered: return {"simdgroup_recover", "svd_recovering" + s + std::to_string(line.entries)};
    case Vectors::recovered_by_blocks: {
      const bool is_of_few = line.parts != block_kernel(rows, false).lanes;
      const int rows_of_kernel = block_kernel(rows, is_of_few).rows;
      return {"simdgroup_recover",
              "svd_recovering_blocks_" + std::to_string(rows_of_kernel) + "_" + std::to_string(line.parts)};
    }
    case Vectors::recovered_by_eighths:
      return {"simdgroup_recover",
              "svd_recovering_eighths_" + std::to_string(rows_of_eighths(rows)) + "_" + std::to_string(line.parts)};
  }
  throw std::logic_error("kernel_of: not a line");
}

}  // namespace

void plan_simdgroup(const Problem& problem, Plan& plan) {
  const Line of_many = *line_of_many(problem);
  const Line line = line_of_few(problem, of_many).value_or(of_many);
  const bool recovers = line.vectors != Vectors::held && line.vectors != Vectors::apart;
  const std::int64_t simdgroups = simdgroups_of(problem, line, plan.left_columns > 0);
  const KernelName name = kernel_of(line, std::max(problem.m, problem.n));
  plan.parts = line.parts;
  plan.library = name.library;
  plan.kernel = name.prefix + "_" + plan.suffix;
  if (recovers) {
    plan.scratch_numbers =
        problem.batch * limits::simdgroup_recovering_numbers(plan.columns, line.parts * line.entries);
  }
  const bool shares = line.vectors == Vectors::held || line.vectors == Vectors::recovered_by_eighths;
  plan.deal(problem.batch, shares ? line.matrices(simdgroups) : 1, simdgroups * limits::simd_width);
}

std::int64_t most_simdgroup_rows(const Problem& problem, std::int64_t columns) {
  std::int64_t rows = limits::simdgroup_most_rows;
  while (rows > 0 && !line_for(problem, rows, columns)) --rows;
  return rows;
}

}  // namespace metalsvd
