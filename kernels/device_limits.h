// The limits of the device and of our kernels, by name. Read by the kernels (Metal) and by the planner (C++), so that a
// number stands in one place only. Unscoped enums, because a global of Metal would have to live in `constant` memory.
#pragma once

namespace metalsvd {
namespace limits {

enum : int {
  // Apple GPUs since Apple7 (M1): what every kernel may count on.
  simd_width = 32,
  threads_per_threadgroup = 1024,
  threadgroup_bytes = 32768,

  // One float32 word of threadgroup memory a SIMD-group, where each leaves what the whole threadgroup wants to know.
  simdgroups_per_threadgroup = threads_per_threadgroup / simd_width,
  word_bytes = 4,
  // Method `threadgroup` keeps a matrix, its norms and their order in one tile: all the memory but the words above.
  threadgroup_tile_words = threadgroup_bytes / word_bytes - simdgroups_per_threadgroup,

  // One-sided Jacobi converges quadratically: random matrices need 6 to 11 sweeps; the worst seen is 25, on rows graded
  // over 12 decades. A matrix that has not converged after this many is reported (info = 2).
  jacobi_max_sweeps = 40,

  // Each matrix is scaled by a power of two so that its largest entry lies in [2^48, 2^49): a column of 2^13 such
  // entries still has a square below 2^127, and a column 2^-111 times smaller still has one above 2^-126.
  scaled_exponent = 48,

  // The tall QR cuts rows into chunks of at most tall_chunk_rows, 16 a lane: enough work between two barriers, and many
  // threadgroups. Below 2 rows a column a level of its tree would not halve the rows.
  tall_chunk_rows = 512,
  tall_min_rows_per_column = 2,
  // What these two limits leave: 2 * 64 * 64 words are more than the tile.
  tall_most_columns = 63,
  // Its kernels that only move numbers: enough threads to hide the reads.
  tall_copy_threads = 256,
  // As many threadgroups look for the largest entry of a matrix; each of the others reads as many words to know it.
  tall_strips = 64,
  // It scales the largest entry to [2^40, 2^41): a column of 2^42 rows, more than any memory holds, still has a square
  // below 2^126.
  tall_scaled_exponent = 40,
  // It stands in front of a matrix that would fit one threadgroup when that has more than so many rows, and so many for
  // each column: one threadgroup would sweep over all of them, many times, where many can reduce them once.
  tall_rows = 512,
  tall_rows_per_column = 4
};

}  // namespace limits

// What a method reports for one matrix.
enum Info : int { info_ok = 0, info_not_finite = 1, info_not_converged = 2 };

}  // namespace metalsvd
