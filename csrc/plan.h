// The planner: sizes, dtype and job in, method and launch geometry out. Pure: no tensor, no device, no torch include,
// so that every decision can be tested alone (tests/test_plan.py) and explained (metalsvd.plan).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "seating.h"

namespace metalsvd {

// The dtypes that there are kernels for. Half types are computed with in float32.
enum class Scalar { float32, float16, bfloat16, complex64, complex32 };

// Singular values only, thin (k columns of U, k rows of Vh) or full (square U and Vh).
enum class Job { values, thin, full };

// thread:      one thread a matrix, in registers
// simdgroup:   some lanes of a SIMD-group a matrix, in registers
// threadgroup: one threadgroup a matrix, staged in threadgroup memory
// block:       many threadgroups a matrix, over device memory
enum class Method { thread, simdgroup, threadgroup, block };

// What a device offers to a threadgroup. Method `threadgroup` has a kernel with a larger tile for devices that have
// more than limits::threadgroup_bytes (kernels/cuda).
struct DeviceLimits {
  bool operator==(const DeviceLimits&) const = default;

  std::int64_t threadgroup_bytes;
  std::int64_t cores;  // where they are assumed: all that depends on them is speed
  // SIMD-groups up to which a dispatch waits for one round after the other rather than for cores: method `simdgroup`
  // takes more lanes for each matrix then.
  std::int64_t few_simdgroups;
  // Whether a lane has registers for more than 128 words, as the recovering kernels of method `simdgroup` need, and
  // those of `block` that meet pairs in registers.
  bool has_wide_lanes;
};
inline constexpr DeviceLimits apple_gpu{32 * 1024, 40, 8, false};  // an M4 Max, but few for an M1 too
// What stands in the emulator for GPUs that have, so small that one matrix of any size has more lanes than two have.
inline constexpr DeviceLimits gpu_with_wide_lanes{32 * 1024, 1, 16, true};

struct Problem {
  bool operator==(const Problem&) const = default;

  std::int64_t batch;
  std::int64_t m;  // rows of A
  std::int64_t n;  // columns of A
  Scalar scalar;
  Job job;
  DeviceLimits device = apple_gpu;
};

inline bool is_complex(const Problem& problem) {
  return problem.scalar == Scalar::complex64 || problem.scalar == Scalar::complex32;
}

// a / b, rounded up, of positive numbers.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// A panel of columns of the tall QR and the tree over its rows (kernels/tall.h).
struct Panel {
  std::int64_t first;               // column, and row
  std::int64_t columns;             // of the panel,
  std::int64_t padded;              // and with its last pack of numbers filled
  std::vector<std::int64_t> nodes;  // of each level from the rows up, for one matrix; the last is 1
  std::int64_t units;               // R's of a level that meet in a node of the one above
  std::int64_t threads;             // of a node
};

// The tall QR in front of a method: a reduction of the rows of B to R, columns x columns.
struct Reduction {
  std::string storage;         // the end of the names of its kernels that read and write tensors of the user
  std::string number;          // and of those that do not
  std::int64_t rows;           // of B
  std::int64_t left_columns;   // of P that are wanted: 0 (values), columns (thin) or rows (full)
  bool transposed;             // B is A^T, not A
  bool preconditions = false;  // columns of B are sorted by their norms, and the method factors R^H rather than R
  bool by_cholesky = false;    // R and Q follow from Gram matrices, where they can (kernels/cholesky.h)
  bool reflects = false;       // R follows from block reflectors (kernels/reflectors.h), since Q is not needed
  std::int64_t packed;         // numbers that rows are padded to multiples of
  std::int64_t panel_columns;  // of all panels but the last, which may have less
  std::vector<Panel> panels;
  std::int64_t strips;  // threadgroups that look for the largest entry of one matrix
  std::int64_t cores;   // of the device, as a Problem has them

  std::int64_t padded(std::int64_t columns) const { return (columns + packed - 1) / packed * packed; }
};

// Groups of blocks that meet as a whole, an even number of them: the last may have less blocks, or none.
struct BlockGroups {
  std::int64_t size, count;
};

// The kernels factor B = P diag(S) Q^H with rows >= columns: B is A, or A^H when A is wide (`transposed`). Where there
// is a reduction, everything else here is about R instead of B.
struct Plan {
  std::optional<Reduction> reduction;
  // The QR that the left vectors of R, or of B, follow from where `block` does not accumulate them
  // (kernels/tall_recover.h).
  std::optional<Reduction> recovery;
  Method method;
  std::string library;  // the .metal file
  std::string kernel;   // the host_name in it, of the one kernel that `threadgroup` runs
  bool transposed;
  std::int64_t rows;             // of B
  std::int64_t columns;          // of B
  std::int64_t left_columns;     // of P that are wanted: 0 (values), columns (thin) or rows (full)
  std::int64_t scratch_numbers;  // of device memory, float32 or complex64, for all matrices together
  std::int64_t tile_bytes;       // of threadgroup memory that the launch must ask for
  std::int64_t threadgroups;     // of `threadgroup`, or of the first step of a round of `block`
  std::int64_t threads_per_threadgroup;
  std::int64_t matrices_per_threadgroup;  // of all methods but `block`
  std::int64_t parts;                     // lanes that hold a column, of `simdgroup`

  // Of `block`: blocks of columns, each of which meets each other once a sweep.
  std::int64_t block_width;
  std::int64_t block_count;
  bool block_is_wide;               // 64 columns meet rather than 32
  SeatingPlan block_seating;        // where they do, in rounds of more than one step
  std::int64_t block_held_rows;     // up to so many in registers while a pair is met (kernels/block_held.h), or 0
  std::int64_t block_steps;         // of a round: all in one; gram, rotate; gram, solve, rotate
  std::int64_t block_partials;      // numbers of the Gram matrices of all chunks of a pair or table
  std::int64_t block_chunk_rows;    // rows that a threadgroup sums a Gram matrix over
  std::int64_t block_share;         // rows that a threadgroup rotates,
  std::int64_t block_late_share;    // and where late sweeps have two steps rather than three
  std::int64_t block_whole_sweeps;  // that rotate all columns at once, before all others (kernels/whole.h)
  std::int64_t block_full_sweeps;   // of such rounds, before those of groups
  BlockGroups block_groups;         // which meet as a whole in late sweeps,
  BlockGroups block_last_groups;    // and in the last ones
  std::string suffix;               // of kernels that read or write A, U and Vh
  std::string number_suffix;        // of kernels that see only what is computed with
  std::string real_suffix;          // of kernels that write S

  // The batch dealt to threadgroups that factor so many matrices each.
  void deal(std::int64_t batch, std::int64_t matrices, std::int64_t threads) {
    matrices_per_threadgroup = matrices;
    threadgroups = divide_up(batch, matrices);
    threads_per_threadgroup = threads;
  }
  // Whether `block` rotates the columns of Q with those of B.
  bool block_accumulates() const { return left_columns > 0 && !recovery; }
  // Whether the left vectors are recovered from B itself rather than from R, so that Q is not needed.
  bool recovers_from_B() const { return recovery && recovery->rows == reduction->rows; }
  // Whether `block` has wide rounds of more than one step.
  bool block_has_tables() const { return block_is_wide && block_steps > 1; }
  // Rounds of a sweep of `block` in which blocks meet in pairs.
  std::int64_t block_pair_rounds() const { return block_count - 1 + block_count % 2; }
  std::int64_t block_rounds() const { return block_has_tables() ? block_seating.rounds() : block_pair_rounds(); }
  // Columns of B as `block` keeps them: where the number of blocks is odd, with one that has none.
  std::int64_t block_padded_columns() const { return block_width * (block_pair_rounds() + 1); }
  // Pairs of blocks that meet in a round of `block`: in the first of a sweep each, so that all its columns meet.
  std::int64_t block_pairs(std::int64_t round) const { return (block_count + (round == 0 ? block_count % 2 : 0)) / 2; }
};

// Throws std::runtime_error, naming the limit, where no method can run the problem or the forced one cannot.
// `driver` is the name of a method, or "qr" for the tall QR and the method that the planner chooses for its R, or
// "recover" for the tall QR, `block` and the recovery, or nothing to let the planner choose altogether.
Plan make_plan(const Problem& problem, const std::optional<std::string>& driver = std::nullopt);

// The same, of the last problem that this thread has asked for without making it anew: the same one mostly comes again.
std::shared_ptr<const Plan> find_plan(const Problem& problem, const std::optional<std::string>& driver);

std::string_view name_of(Method method);

// Threadgroups that copy rows x columns in tiles (kernels/tall_copy.h).
std::int64_t copied_tiles(std::int64_t rows, std::int64_t columns);

// One line for people: "threadgroup: kernel svd_threadgroup_f32, 910 threadgroups of 64 threads", where there is a
// reduction "tall QR of 196 + 13 + 1 threadgroups of 256 threads a matrix, 4 panels of 32 columns, then block: ...".
std::string describe(const Plan& plan);

}  // namespace metalsvd
