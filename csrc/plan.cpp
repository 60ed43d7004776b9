#include "plan.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "../kernels/device_limits.h"
#include "lines.h"

namespace metalsvd {
namespace {

constexpr std::string_view reduction_driver = "qr";
constexpr std::string_view recovery_driver = "recover";
constexpr std::string_view whole_driver = "whole";
constexpr std::string_view cholesky_driver = "cholesky";

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

// Words of threadgroup memory that method `threadgroup` needs while it factors B, and for W beside what is left of it.
std::int64_t threadgroup_words(const Problem& problem) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  return traits_of(problem.scalar).words * problem.m * problem.n + limits::threadgroup_column_words(columns);
}
std::int64_t staged_words(const Problem& problem) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  return threadgroup_words(problem) + traits_of(problem.scalar).words * columns * columns;
}

std::int64_t bytes_of_number(const Problem& problem) { return traits_of(problem.scalar).words * limits::word_bytes; }

// The largest tile that every device has. The kernels with a larger one are for complex matrices.
constexpr int split_tile = limits::threadgroup_bytes / 1024;

// The smallest tile of the kernels of method `threadgroup` that takes B and W side by side, in KiB, if there is one.
// The kernels with the largest for all devices also take them one after the other.
std::optional<int> staging_tile(const Problem& problem) {
  for (const int kib : {4, 9, 18, split_tile, 132}) {
    if (kib > split_tile && !is_complex(problem)) break;
    if (kib * 1024 <= problem.device.threadgroup_bytes && staged_words(problem) <= limits::tile_words(kib)) return kib;
  }
  return std::nullopt;
}

bool fits_threadgroup(const Problem& problem) {
  return staging_tile(problem) || threadgroup_words(problem) <= limits::tile_words(split_tile);
}

std::int64_t most_thread_rows(const Problem& problem) {
  return is_complex(problem) ? limits::thread_method_complex_size : limits::thread_method_size;
}

bool fits_thread(const Problem& problem) { return std::max(problem.m, problem.n) <= most_thread_rows(problem); }

bool fits_simdgroup(const Problem& problem) { return line_of_many(problem).has_value(); }

std::string sizes_of(const Problem& problem) {
  return std::to_string(problem.m) + "x" + std::to_string(problem.n) + " " +
         std::string(traits_of(problem.scalar).name);
}

Method parse_method(const std::string& driver) {
  for (Method method : all_methods) {
    if (driver == name_of(method)) return method;
  }
  throw std::runtime_error(
      "torch.linalg.svd: unknown svd driver " + driver +
      ": `driver` only accepts one of None, thread, simdgroup, threadgroup, block, qr, cholesky, recover and "
      "whole");
}

[[noreturn]] void refuse(const Problem& problem, const std::string& why) {
  throw std::runtime_error("linalg.svd: a matrix of " + sizes_of(problem) + " does not fit " + why);
}

// Throws, naming the limit, where no kernel can count the rows or columns.
void check_counts(const Problem& problem) {
  if (std::max(problem.m, problem.n) <= limits::most_rows) return;
  refuse(problem, "the kernels, which count rows and columns in 32 bits: they take at most " +
                      std::to_string(limits::most_rows) + " of each");
}

// Throws, naming the limit, where the method cannot run the problem.
void check_fits(const Problem& problem, Method method) {
  switch (method) {
    case Method::thread: {
      if (fits_thread(problem)) return;
      const std::string size = std::to_string(most_thread_rows(problem));
      refuse(problem,
             "the registers of one thread: method 'thread' takes at most " + size + " rows and " + size + " columns");
    }
    case Method::simdgroup: {
      if (fits_simdgroup(problem)) return;
      const std::int64_t columns = std::min(problem.m, problem.n);
      const std::int64_t rows = most_simdgroup_rows(problem, columns);
      std::int64_t most_columns = limits::simdgroup_most_rows;
      while (most_simdgroup_rows(problem, most_columns) < most_columns) --most_columns;
      const std::string limit =
          rows < columns ? std::to_string(most_columns) + " rows or columns, whichever are fewer"
                         : "a matrix of " + std::to_string(rows) + "x" + std::to_string(columns) + " or its transpose";
      refuse(problem, "the registers of a SIMD-group: method 'simdgroup' takes at most " + limit);
    }
    case Method::threadgroup:
      if (fits_threadgroup(problem)) return;
      refuse(problem, "the threadgroup memory of the GPU: it needs " +
                          std::to_string(threadgroup_words(problem) * limits::word_bytes) + " bytes of the " +
                          std::to_string(limits::tile_words(split_tile) * limits::word_bytes) +
                          " that method 'threadgroup' has; method 'block' takes any size");
    case Method::block: return;
  }
}

// Whether it fits, and does not take longer there than elsewhere: of more real columns, unless there are recovering
// kernels for them, `block` takes less time.
bool suits_simdgroup(const Problem& problem) {
  const std::int64_t most_columns =
      problem.device.has_wide_lanes ? limits::simdgroup_recovering_most : limits::simdgroup_most_columns;
  const bool is_wide = !is_complex(problem) && std::min(problem.m, problem.n) > most_columns;
  return !is_wide && fits_simdgroup(problem);
}

// Without a driver the first that suits: each serves larger matrices than the one before, with more threads a matrix.
Method choose_method(const Problem& problem, const std::optional<std::string>& driver) {
  const Method method = driver                      ? parse_method(*driver)
                        : fits_thread(problem)      ? Method::thread
                        : suits_simdgroup(problem)  ? Method::simdgroup
                        : fits_threadgroup(problem) ? Method::threadgroup
                                                    : Method::block;
  check_fits(problem, method);
  return method;
}

void plan_thread(const Problem& problem, Plan& plan) {
  const std::int64_t size = std::max<std::int64_t>(plan.rows, 2);
  plan.kernel = "svd_thread_" + std::to_string(size) + "_" + plan.suffix;
  const std::int64_t threads =
      std::clamp<std::int64_t>(divide_up(problem.batch, limits::simd_width) * limits::simd_width, limits::simd_width,
                               limits::thread_method_threads);
  plan.deal(problem.batch, threads, threads);
}

// A team of lanes for each four columns. Few matrices, and tall ones, get some more to load, factor and store with:
// where there are enough matrices to fill the cores these would only wait.
std::int64_t threadgroup_threads(const Problem& problem, std::int64_t rows, std::int64_t columns) {
  const std::int64_t fours = divide_up(divide_up(columns, 2), 2);
  const std::int64_t sweepers = divide_up(fours, limits::teams_per_simdgroup);
  const std::int64_t entries_a_thread = problem.batch <= limits::threadgroup_few_matrices ? 16 : 64;
  const std::int64_t loaders = rows * columns / (entries_a_thread * limits::simd_width);
  const std::int64_t simdgroups =
      std::clamp<std::int64_t>(std::max(sweepers, loaders), 1, limits::threadgroup_method_threads / limits::simd_width);
  return simdgroups * limits::simd_width;
}

// Where B and W do not fit side by side, both go through device memory, and Q partly stays there; the full factors of
// tensors narrower than the numbers computed with are completed there.
void plan_threadgroup(const Problem& problem, Plan& plan) {
  const std::optional<int> staging = staging_tile(problem);
  const bool is_split = !staging;
  const bool vectors = plan.left_columns > 0;
  const bool completes = traits_of(problem.scalar).is_narrow() && plan.left_columns > plan.columns;
  const std::string tile = is_split ? "split" : std::to_string(*staging) + "k";
  // A large tile is claimed as far as it is used, so that more threadgroups find room.
  const std::int64_t padding = limits::threadgroup_padded_stride(static_cast<int>(plan.columns)) - plan.columns;
  const std::int64_t padded_words = staged_words(problem) + traits_of(problem.scalar).words * padding * plan.columns;
  const bool is_large = staging.value_or(0) > split_tile;
  plan.tile_bytes =
      is_large ? std::min<std::int64_t>(padded_words, limits::tile_words(*staging)) * limits::word_bytes : 0;
  plan.kernel = "svd_" + plan.library + "_" + tile + "_" + plan.suffix;
  plan.scratch_numbers = problem.batch * ((is_split ? (plan.columns + (vectors ? plan.rows : 0)) * plan.columns : 0) +
                                          (completes ? plan.rows * plan.left_columns : 0));
  plan.deal(problem.batch, 1, threadgroup_threads(problem, plan.rows, plan.columns));
}

// Sweeps in full dispatches: what random matrices of so many columns need, and some more.
std::int64_t full_sweeps(std::int64_t columns, bool of_tables) {
  if (of_tables && columns <= limits::block_fewest_columns) return limits::block_full_sweeps_of_fewest;
  if (columns <= limits::block_few_columns) return limits::block_full_sweeps_of_few;
  std::int64_t sweeps = limits::block_full_sweeps;
  for (std::int64_t more = limits::block_full_sweeps_columns; more < columns; more *= 2) {
    sweeps += limits::block_sweeps_for_twice_the_columns;
  }
  return std::min<std::int64_t>(sweeps, limits::block_max_sweeps);
}

// Two groups of half of the blocks, or as many as it takes with so many blocks each.
BlockGroups block_groups(std::int64_t blocks, std::int64_t most_blocks) {
  const std::int64_t size = std::min(divide_up(blocks, 2), most_blocks);
  return {size, 2 * divide_up(blocks, 2 * size)};
}

// Rows that a threadgroup rotates of wide pairs, a strip or several of each SIMD-group: so many that the cores are done
// first. A threadgroup takes as long as its strips and, to read J, about one more.
std::int64_t wide_share(std::int64_t rotated_rows, std::int64_t pairs, std::int64_t cores) {
  const std::int64_t rows_together = limits::block_wide_strip_simdgroups * limits::block_wide_strip_rows;
  const std::int64_t all_strips = divide_up(rotated_rows, rows_together);
  const auto time = [&](std::int64_t strips) {
    return divide_up(divide_up(all_strips, strips) * pairs, cores * limits::block_wide_rotating) * (strips + 1);
  };
  std::int64_t best = 1;
  for (std::int64_t strips = 2; strips <= std::min<std::int64_t>(all_strips, limits::block_wide_most_strips);
       ++strips) {
    if (time(strips) < time(best)) best = strips;
  }
  return best * rows_together;
}

// Steps of rounds over pairs of up to 64 columns, and how the rows are shared out.
void plan_wide_rounds(const Problem& problem, std::int64_t rotated_rows, Plan& plan) {
  const std::int64_t pairs = problem.batch * (plan.block_count / 2);
  const std::int64_t height = limits::block_height(plan.rows);
  const std::int64_t cores = problem.device.cores;
  const SeatingPlan seating = plan_seating(plan.columns);
  // Shares of whole tiles, where each core turns so many.
  const auto share_of = [&](std::int64_t a_core) {
    const std::int64_t tables = problem.batch * seating.most_tables();
    const std::int64_t shares = std::max<std::int64_t>(cores * a_core / tables, 1);
    return divide_up(divide_up(rotated_rows, shares), limits::block_wide_turned_rows) * limits::block_wide_turned_rows;
  };
  plan.block_steps = height < limits::block_wide_chunk_rows * 2      ? 1
                     : share_of(1) <= limits::block_wide_most_turned ? 2
                                                                     : 3;
  plan.block_share = plan.block_steps == 2 ? share_of(1) : wide_share(rotated_rows, pairs, cores);
  const std::int64_t product = limits::block_wide_pair_columns * limits::block_wide_pair_columns;
  plan.block_partials = std::max(divide_up(height, plan.block_chunk_rows) * limits::block_wide_partial,
                                 plan.block_steps == 3 ? product : 0);
  if (plan.block_steps == 1) return;
  plan.block_seating = seating;
  plan.block_late_share = share_of(limits::block_wide_late_per_core);
}

// The same of pairs of up to 32 columns.
void plan_narrow_rounds(const Problem& problem, std::int64_t rotated_rows, Plan& plan) {
  const std::int64_t pairs = problem.batch * (plan.block_count / 2);
  const std::int64_t chunks = divide_up(limits::block_height(plan.rows), plan.block_chunk_rows);
  const std::int64_t cores = problem.device.cores;
  plan.block_steps = chunks == 1 || pairs >= cores * limits::block_pairs_per_core ? 1 : 2;
  plan.block_partials = chunks * limits::block_pair_columns * limits::block_pair_columns;
  const std::int64_t shares = divide_up(cores * limits::block_rotating_per_core, pairs);
  plan.block_share = divide_up(divide_up(rotated_rows, shares), limits::block_tile_rows) * limits::block_tile_rows;
}

// Whether pairs of columns of R are met in registers: whatever the job and the batch, which must not change the bits.
bool holds_pairs(const Problem& problem, const Plan& plan) {
  return plan.block_is_wide && problem.device.has_wide_lanes &&
         limits::block_height(plan.rows) <= limits::block_held_most_rows;
}

// As few blocks as the limit on their width allows, two at least, then as little padding as their number allows; where
// pairs are met in registers an even number of blocks of whole small blocks.
void plan_block(const Problem& problem, bool is_of_R, Plan& plan) {
  plan.block_is_wide = !is_complex(problem) && plan.columns > limits::block_wide_pair_columns;
  plan.block_count = std::max<std::int64_t>(
      divide_up(plan.columns, plan.block_is_wide ? limits::block_wide_columns : limits::block_columns), 2);
  plan.threads_per_threadgroup = limits::block_threads;
  const std::int64_t height = limits::block_height(plan.rows);
  if (is_of_R && holds_pairs(problem, plan)) {
    constexpr std::array<int, 4> rows_of_kernels{limits::block_held_few_rows, 224, 256, limits::block_held_most_rows};
    const int held_rows = *std::ranges::lower_bound(rows_of_kernels, height);
    plan.block_held_rows = held_rows;
    plan.block_count += plan.block_count % 2;
    const std::int64_t small_blocks = divide_up(plan.columns, plan.block_count * limits::block_held_width(held_rows));
    plan.block_width = small_blocks * limits::block_held_width(held_rows);
    const std::int64_t lanes = small_blocks * limits::block_held_parts(held_rows);
    plan.threads_per_threadgroup = divide_up(lanes, limits::simd_width) * limits::simd_width;
    plan.block_steps = 1;
  } else {
    plan.block_width = divide_up(plan.columns, plan.block_count);
  }
  const std::int64_t pairs_of_matrix = plan.block_count / 2;
  plan.block_chunk_rows =
      plan.block_is_wide ? limits::block_wide_chunk(height, pairs_of_matrix) : limits::block_chunk_rows(height);
  if (plan.block_held_rows == 0) {
    const std::int64_t rotated_rows = height + (plan.block_accumulates() ? limits::block_height(plan.columns) : 0);
    plan.block_is_wide ? plan_wide_rounds(problem, rotated_rows, plan)
                       : plan_narrow_rounds(problem, rotated_rows, plan);
  }
  plan.block_full_sweeps = full_sweeps(plan.columns, plan.block_has_tables());
  plan.block_groups = block_groups(plan.block_count, limits::block_group_blocks);
  plan.block_last_groups = block_groups(plan.block_count, limits::block_last_group_blocks);
  const std::int64_t meetings =
      problem.batch * (plan.block_has_tables() ? plan.block_seating.most_tables() : pairs_of_matrix);
  plan.threadgroups = plan.block_steps == 1 ? meetings : meetings * divide_up(height, plan.block_chunk_rows);
}

// R of the tall QR, which is computed with in float32 or complex64.
Problem problem_of_r(const Problem& problem) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  const Scalar number = is_complex(problem) ? Scalar::complex64 : Scalar::float32;
  const Job job = problem.job == Job::values ? Job::values : Job::thin;
  return {problem.batch, columns, columns, number, job, problem.device};
}

// Whether it takes longer in registers than its R does there behind a QR. One matrix takes up to a quarter longer so
// where rows are not many more than the limit, hundreds take down to half as long.
bool is_long_for_registers(const Problem& problem) {
  const std::int64_t rows = is_complex(problem) ? limits::simdgroup_long_complex_rows : limits::simdgroup_long_rows;
  const std::int64_t columns = std::min(problem.m, problem.n);
  return std::max(problem.m, problem.n) > rows && columns >= limits::simdgroup_long_columns && columns <= rows;
}

// Where the QR stands in front: when it is asked for, where one threadgroup can take R but not B, where either could
// take both but registers take R in less time, and of `block` always.
bool reduces_first(const Problem& problem, const std::optional<std::string>& driver) {
  if (driver) {
    return *driver == reduction_driver || *driver == cholesky_driver || *driver == recovery_driver ||
           *driver == whole_driver;
  }
  if (fits_thread(problem)) return false;
  if (suits_simdgroup(problem)) return is_long_for_registers(problem);
  if (!fits_threadgroup(problem)) return true;
  const Problem of_R = problem_of_r(problem);
  // Sweeps of one threadgroup take two to four times as long as the QR and sweeps in registers; over the columns that
  // one thread could take less, unless they are long.
  const bool is_long = std::max(problem.m, problem.n) > limits::tall_rows;
  return suits_simdgroup(of_R) && (is_long || !fits_thread(of_R));
}

// The nodes of each level of a panel: as few as chunks allow, until one R is left.
Panel plan_panel(const Reduction& reduction, std::int64_t first, std::int64_t columns, std::int64_t chunk_rows) {
  const std::int64_t padded = reduction.padded(columns);
  const std::int64_t threads = divide_up(padded, limits::tall_held_columns) * limits::simd_width;
  Panel panel{first, columns, padded, {}, chunk_rows / padded, threads};
  std::int64_t nodes = divide_up(reduction.rows - first, chunk_rows);
  panel.nodes.push_back(nodes);
  while (nodes > 1) {
    nodes = divide_up(nodes, panel.units);
    panel.nodes.push_back(nodes);
  }
  return panel;
}

// As few panels as the limit on their columns allows, of as many columns each.
Reduction plan_reduction(const Problem& problem) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  const ScalarTraits scalar = traits_of(problem.scalar);
  Reduction reduction;
  reduction.storage = scalar.suffix;
  reduction.number = scalar.number_suffix;
  reduction.rows = std::max(problem.m, problem.n);
  reduction.left_columns = problem.job == Job::values ? 0 : problem.job == Job::thin ? columns : reduction.rows;
  reduction.transposed = problem.m < problem.n;
  reduction.packed = limits::tall_pack_bytes / bytes_of_number(problem);
  const std::int64_t count = divide_up(columns, limits::tall_panel_bytes / bytes_of_number(problem));
  reduction.panel_columns = count == 1 ? columns : reduction.padded(divide_up(columns, count));
  for (std::int64_t first = 0; first < columns; first += reduction.panel_columns) {
    reduction.panels.push_back(plan_panel(reduction, first, std::min(reduction.panel_columns, columns - first),
                                          limits::tall_chunk_bytes / bytes_of_number(problem)));
  }
  reduction.strips = std::clamp<std::int64_t>(reduction.rows * columns / limits::tall_strip_entries, 1,
                                              std::min<std::int64_t>(limits::tall_strips, reduction.rows));
  reduction.cores = problem.device.cores;
  return reduction;
}

// Threadgroups a matrix of the largest grid of `block`: that of the tiles that are copied, or of what is done column by
// column.
std::int64_t block_threadgroups(const Plan& plan) {
  const auto tiles = [](std::int64_t count) { return divide_up(count, limits::simd_width); };
  const std::int64_t padded = plan.block_padded_columns();
  const std::int64_t copied = tiles(plan.rows) * tiles(std::max(padded, plan.left_columns)) +
                              (plan.block_accumulates() ? tiles(plan.columns) * tiles(padded) : 0);
  return std::max(copied, divide_up(std::max(padded, plan.left_columns), limits::block_simdgroups));
}

// Threads a matrix of the largest grid of the tall QR: that of the tiles that are copied, of those that reflectors are
// applied to, of the nodes, of norms and defects of columns, or of what finishes some columns.
std::int64_t reduction_threads(const Reduction& reduction, std::int64_t columns) {
  const std::int64_t width = std::max(reduction.padded(columns), reduction.left_columns);
  const std::int64_t copied = copied_tiles(reduction.rows, width);
  const std::int64_t applied =
      reduction.panels.front().nodes.front() * divide_up(width, limits::tall_narrow_tile_packs * reduction.packed);
  const std::int64_t sorted = reduction.preconditions ? divide_up(columns, limits::tall_copy_columns) : 0;
  return std::max({copied * limits::tall_threads, applied * limits::tall_apply_threads,
                   reduction.panels.front().nodes.front() * reduction.panels.front().threads,
                   sorted * limits::threads_per_threadgroup,
                   divide_up(width, limits::tall_copy_columns) * divide_up(columns, limits::tall_finish_lines) *
                       limits::tall_finish_threads});
}

// Threads a matrix of the largest grid.
std::int64_t grid_threads(const Plan& plan) {
  std::int64_t threads = plan.method == Method::block
                             ? block_threadgroups(plan) * limits::block_threads
                             : divide_up(plan.threads_per_threadgroup, plan.matrices_per_threadgroup);
  if (plan.reduction) threads = std::max(threads, reduction_threads(*plan.reduction, plan.columns));
  return threads;
}

// Throws, naming the limit, where a grid would have more threads than a GPU counts.
void check_grid(const Problem& problem, const Plan& plan) {
  // The last threadgroup may be less than full.
  const std::int64_t counted = std::int64_t{limits::most_grid_threads} - limits::threads_per_threadgroup;
  const std::int64_t most = counted / grid_threads(plan);
  if (problem.batch <= most) return;
  const std::string matrices =
      most == 0 ? "one matrix of " : "a batch of " + std::to_string(problem.batch) + " matrices of ";
  const std::string advice = most == 0 ? "" : ", at most " + std::to_string(most) + " such matrices at once";
  throw std::runtime_error("linalg.svd: " + matrices + sizes_of(problem) + " needs a grid of more threads than the " +
                           std::to_string(limits::most_grid_threads) + " that a GPU counts: method '" +
                           std::string(name_of(plan.method)) + "' takes fewer" + advice);
}

// The plan for B itself, which may be the R of a QR. With a recovery `block` accumulates no left vectors.
Plan plan_for_b(const Problem& problem, const std::optional<std::string>& driver, bool is_of_R = false,
                std::optional<Reduction> recovery = std::nullopt) {
  Plan plan{};
  plan.method = choose_method(problem, driver);
  if (plan.method == Method::block) plan.recovery = std::move(recovery);
  plan.transposed = problem.m < problem.n;
  plan.rows = std::max(problem.m, problem.n);
  plan.columns = std::min(problem.m, problem.n);
  plan.left_columns = problem.job == Job::values ? 0 : problem.job == Job::thin ? plan.columns : plan.rows;

  const ScalarTraits scalar = traits_of(problem.scalar);
  plan.library = name_of(plan.method);
  plan.suffix = scalar.suffix;
  plan.number_suffix = scalar.number_suffix;
  plan.real_suffix = scalar.real_suffix;
  switch (plan.method) {
    case Method::thread: plan_thread(problem, plan); break;
    case Method::simdgroup: plan_simdgroup(problem, plan); break;
    case Method::threadgroup: plan_threadgroup(problem, plan); break;
    case Method::block: plan_block(problem, is_of_R, plan); break;
  }
  return plan;
}

// Columns from which on left vectors are not accumulated: where pairs are met in registers never.
std::int64_t recovered_columns(const Problem& problem) {
  if (is_complex(problem)) return limits::block_recovered_complex_columns;
  return problem.device.has_wide_lanes ? 0 : limits::block_recovered_columns;
}

// Whether there are so many more rows than columns that R takes little of the time.
bool is_long(const Problem& problem) {
  return !is_complex(problem) &&
         std::max(problem.m, problem.n) >= limits::whole_rows_a_column * std::min(problem.m, problem.n);
}

// Whether sweeps over R rotate all columns at once: where that is asked for, or where the QR of so many rows takes that
// much longer than R that it does not matter that many of these take less time otherwise (kernels/whole.h).
bool sweeps_whole(const Problem& problem, const std::optional<std::string>& driver) {
  if (driver == whole_driver && is_complex(problem)) refuse(problem, "the driver 'whole', which is for real matrices");
  const std::int64_t columns = std::min(problem.m, problem.n);
  const bool suits = columns > limits::block_wide_pair_columns && columns <= limits::whole_most_columns;
  return driver == whole_driver || (suits && (driver == cholesky_driver || (!driver && is_long(problem))));
}

// Whether the QR is one by Gram matrices. Full matrices take reflectors, which have all of Q.
bool takes_cholesky(const Problem& problem, const std::optional<std::string>& driver) {
  const std::int64_t columns = std::min(problem.m, problem.n);
  const bool fits = !is_complex(problem) && columns >= limits::cholesky_fewest_columns &&
                    columns <= limits::cholesky_most_columns && problem.job != Job::full;
  if (driver == cholesky_driver && !fits) {
    refuse(problem, "the driver 'cholesky', which is for reduced factors of real matrices of " +
                        std::to_string(limits::cholesky_fewest_columns) + " to " +
                        std::to_string(limits::cholesky_most_columns) + " rows or columns, whichever are fewer");
  }
  return fits && (driver ? driver == cholesky_driver : is_long(problem));
}

// The plan for R, which takes the place of B, transposed or not.
Plan plan_for_r(const Problem& problem, const std::optional<std::string>& driver) {
  const Problem of_R = problem_of_r(problem);
  const bool is_whole = sweeps_whole(problem, driver);
  const bool is_forced = is_whole || driver == recovery_driver;
  const bool has_many_columns = is_forced || of_R.n >= recovered_columns(problem);
  const bool by_cholesky = takes_cholesky(problem, driver);
  const bool is_from_B = !by_cholesky && std::max(problem.m, problem.n) <= limits::recovered_rows_a_column * of_R.n;
  const bool recovers = of_R.job == Job::thin && has_many_columns;
  Plan plan = plan_for_b(of_R, is_forced ? std::optional<std::string>(name_of(Method::block)) : std::nullopt, true,
                         recovers ? std::optional(plan_reduction(is_from_B ? problem : of_R)) : std::nullopt);
  if (is_whole) {
    plan.block_whole_sweeps = limits::whole_sweeps;
    plan.block_full_sweeps += plan.block_whole_sweeps;
  }
  plan.reduction = plan_reduction(problem);
  plan.reduction->by_cholesky = by_cholesky;
  // Jacobi on R^H of a QR by order of norms needs fewer sweeps, the fewer the faster the singular values decay (Drmac
  // and Veselic 2008).
  plan.reduction->preconditions = plan.method == Method::block;
  plan.transposed = plan.reduction->transposed != plan.reduction->preconditions;
  // Where a panel of the tall QR is one chunk, that takes less time. With and without vectors: S is the same to the
  // last bit.
  const std::vector<Panel>& panels = plan.reduction->panels;
  plan.reduction->reflects = plan.reduction->preconditions && is_from_B && has_many_columns && panels.size() > 1 &&
                             (is_forced || panels.front().nodes.size() > 1);
  return plan;
}

std::string describe_reduction(const Plan& plan) {
  if (!plan.reduction) return "";
  const Reduction& reduction = *plan.reduction;
  const Panel& panel = reduction.panels.front();
  std::string nodes;
  for (std::int64_t level : panel.nodes) nodes += (nodes.empty() ? "" : " + ") + std::to_string(level);
  const std::string panels = reduction.panels.size() == 1 ? ""
                                                          : std::to_string(reduction.panels.size()) + " panels of " +
                                                                std::to_string(panel.columns) + " columns, ";
  const std::string qr = reduction.by_cholesky ? "QR by Cholesky factors, "
                         : reduction.reflects  ? "QR by block reflectors, "
                                               : "tall QR of " + nodes + " threadgroups of " +
                                                    std::to_string(panel.threads) + " threads a matrix, ";
  return qr + panels + (reduction.preconditions ? "sorted by norm, " : "") + "then ";
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

std::int64_t copied_tiles(std::int64_t rows, std::int64_t columns) {
  const std::int64_t across = divide_up(columns, limits::tall_copy_columns);
  const std::int64_t height =
      std::min<std::int64_t>(limits::tall_copy_numbers / divide_up(columns, across), limits::tall_threads);
  return across * divide_up(rows, height);
}

Plan make_plan(const Problem& problem, const std::optional<std::string>& driver) {
  check_counts(problem);
  Plan plan = reduces_first(problem, driver) ? plan_for_r(problem, driver) : plan_for_b(problem, driver);
  check_grid(problem, plan);
  return plan;
}

std::shared_ptr<const Plan> find_plan(const Problem& problem, const std::optional<std::string>& driver) {
  struct Known {
    Problem problem;
    std::optional<std::string> driver;
    std::shared_ptr<const Plan> plan;
  };
  thread_local Known known;
  if (!known.plan || known.problem != problem || known.driver != driver) {
    known = {problem, driver, std::make_shared<const Plan>(make_plan(problem, driver))};
  }
  return known.plan;
}

std::string describe(const Plan& plan) {
  const std::string kernels =
      plan.method == Method::block
          ? (plan.block_has_tables()
                 ? std::to_string(plan.block_seating.most_tables()) + " tables of " +
                       std::to_string(limits::block_wide_pair_columns)
                 : std::to_string(plan.block_count) + " blocks of " + std::to_string(plan.block_width)) +
                " columns, " + std::to_string(plan.block_rounds()) + " rounds a sweep of " +
                (plan.block_held_rows > 0 ? "one step in registers"
                 : plan.block_steps == 1  ? "one step"
                 : plan.block_steps == 2  ? "two steps"
                                          : "three steps") +
                (plan.block_whole_sweeps > 0 ? ", all columns at once first" : "") + ", kernels block_*_" + plan.suffix
          : "kernel " + plan.kernel;
  return describe_reduction(plan) + std::string(name_of(plan.method)) + ": " + kernels + ", " +
         std::to_string(plan.threadgroups) + " threadgroups of " + std::to_string(plan.threads_per_threadgroup) +
         " threads" + (plan.transposed ? ", on the conjugate transpose" : "") +
         (plan.recovery ? ", left vectors from the right ones" : "");
}

}  // namespace metalsvd
