// Method `block`: one-sided block Jacobi over device memory, many threadgroups a matrix, any size.
//
// Factors B = P diag(sigma) Q^H as method `threadgroup` does, with pairs of blocks of columns for pairs of columns. A
// round of a sweep meets every block once: the Gram matrix of each pair of blocks is formed from their columns as they
// are now (block_gram.h), cyclic sweeps of two-sided Jacobi make it more diagonal (block_solve.h), and the columns
// are multiplied with the rotations of these (block_rotate.h). Gram matrices are local and short-lived, and tested
// relative to their own diagonal: an entry of them is right relative to the norms of its two columns, however far
// these are apart, so that small singular values keep their digits as they do in one-sided Jacobi column by column
// (Demmel and Veselic 1992). Loads and stores stand in block_copy.h, what follows the last sweep in block_finish.h.
//
// Complex matrices, and real ones of few columns, are met in pairs of 32 columns: these files. Of larger real ones 64
// columns meet at a time, at tables (block_seating.h), by the kernels of block_wide.h and the files that it names, or
// in registers, by those of block_held.h.
//
// Columns of W and V have limits::block_height rows. The kernels of a sweep need to know of no others: `rows` and
// `columns` are what W and V have there, none of V where vectors are not wanted.
//
// Kernels know without the host when a matrix is done: in `states` stands the sweep that it has yet to make
// (block_convergence.h). Behind the tall QR columns that are rounding errors become zero (block_noise.h).
#pragma once
#include <metal_stdlib>

#include "common/pairs.h"
#include "common/scalar.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// `count` blocks of `width` columns, the last of which may have less, and where their number is odd one more without
// any. Columns that are missing are zero: no rotation touches them.
struct Blocks {
  int width;
  int count;
};

inline Blocks make_blocks(long width, long count) {
  Blocks blocks;
  blocks.width = int(width);
  blocks.count = int(count);
  return blocks;
}

inline int even_count(Blocks blocks) { return blocks.count + blocks.count % 2; }

inline int padded_columns(Blocks blocks) { return blocks.width * even_count(blocks); }

// How many blocks meet in a round. In the first round of a sweep columns of one block meet too, so that a block which
// would rest meets the one without columns.
inline int meeting_blocks(Blocks blocks, bool is_first_round) {
  return is_first_round ? even_count(blocks) : blocks.count;
}

// The matrix, pair of blocks and chunk of rows that a threadgroup works on.
struct PairTask {
  long matrix;
  long pair;  // counted through the batch
  int p, q;   // the first columns of its two blocks
  int chunk;
};

inline PairTask make_pair_task(uint threadgroup_index, int chunks, int round, Blocks blocks) {
  PairTask task;
  const int pairs = meeting_blocks(blocks, round == 0) / 2;
  const uint pair_of_batch = threadgroup_index / uint(chunks);
  task.pair = pair_of_batch;
  task.chunk = int(threadgroup_index % uint(chunks));
  task.matrix = pair_of_batch / uint(pairs);
  // The block without columns, the last, is always in the first pair.
  const int resting = even_count(blocks) / 2 - pairs;
  const Pair pair = round_robin_pair(round, int(pair_of_batch % uint(pairs)) + resting, even_count(blocks));
  task.p = pair.p * blocks.width;
  task.q = pair.q * blocks.width;
  return task;
}

// Column `index` (0 <= index < 2 width) of a pair of blocks.
inline long column_of_pair(PairTask task, int index, Blocks blocks) {
  return index < blocks.width ? task.p + index : task.q + index - blocks.width;
}

// Rows of a pair of blocks that are staged together, block_tile_stride numbers from one to the next. Thread t moves
// rows t % 32, t % 32 + 32, ... of columns t / 32, t / 32 + 8, ...
template <typename T>
struct Tile {
  enum : int {
    rows = sizeof(T) == sizeof(float) ? limits::block_tile_rows : limits::block_complex_tile_rows,
    entries = rows * limits::block_tile_stride,
    held_rows = rows / limits::simd_width,
    held_columns = limits::block_pair_columns / limits::block_simdgroups
  };
};

template <typename T>
struct HeldTile {
  T x[Tile<T>::held_columns][Tile<T>::held_rows];
};

// Rows [start, end_row) of X, zeros beyond and beside them.
template <typename T>
inline void read_tile(device const T* X, PairTask task, Blocks blocks, long height, int start, int end_row,
                      int thread_index, thread HeldTile<T>& held) {
  const int first_row = start + thread_index % limits::simd_width;
#pragma unroll
  for (int s = 0; s < Tile<T>::held_columns; ++s) {
    const int j = thread_index / limits::simd_width + s * limits::block_simdgroups;
    device const T* column = X + column_of_pair(task, j, blocks) * height;
#pragma unroll
    for (int r = 0; r < Tile<T>::held_rows; ++r) {
      const int i = first_row + r * limits::simd_width;
      held.x[s][r] = j < 2 * blocks.width && i < end_row ? column[i] : from_real<T>(0.0f);
    }
  }
}

template <typename T>
inline void stage_tile(thread const HeldTile<T>& held, int thread_index, threadgroup T* tile) {
#pragma unroll
  for (int s = 0; s < Tile<T>::held_columns; ++s) {
    const int j = thread_index / limits::simd_width + s * limits::block_simdgroups;
#pragma unroll
    for (int r = 0; r < Tile<T>::held_rows; ++r) {
      const int i = thread_index % limits::simd_width + r * limits::simd_width;
      tile[i * limits::block_tile_stride + j] = held.x[s][r];
    }
  }
}

}  // namespace metalsvd
