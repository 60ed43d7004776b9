// Method `block`, first step of a round: the Gram matrices of all pairs of blocks.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "common/scalar.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// The 2x2 entries of a Gram matrix that a thread of block_threads sums: columns 2a, 2a + 1 with 2c, 2c + 1, above the
// diagonal and on it.
struct GramOwner {
  int a;
  int c;
  bool owns;
};

inline GramOwner make_gram_owner(int thread_index, Blocks blocks) {
  GramOwner owner;
  owner.a = thread_index % blocks.width;
  owner.c = thread_index / blocks.width;
  owner.owns = owner.c < blocks.width && owner.a <= owner.c;
  return owner;
}

// sums = the owner's entries of X^H X, where X is rows [first_row, end_row) of the columns of a pair of blocks; always
// row by row, so that the bits do not depend on who runs when. `W` is that of the matrix. Two barriers for each 32
// rows, before and after they are read from the tile.
template <typename T>
inline void sum_gram(device const T* W, PairTask task, Blocks blocks, long rows, int first_row, int end_row,
                     threadgroup T* tile, GramOwner owner, int thread_index, thread T (&sums)[4]) {
  const int columns = 2 * blocks.width;
  for (int index = 0; index < 4; ++index) sums[index] = from_real<T>(0.0f);
  for (int start = first_row; start < end_row; start += limits::block_tile_rows) {
    for (int index = thread_index; index < columns * limits::block_tile_rows; index += limits::block_threads) {
      const int i = start + index % limits::block_tile_rows;
      const int j = index / limits::block_tile_rows;
      const long column = column_of_pair(task, j, blocks);
      tile[j * limits::block_tile_stride + index % limits::block_tile_rows] =
          i < end_row ? W[column * rows + i] : from_real<T>(0.0f);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int i = 0; owner.owns && i < limits::block_tile_rows; ++i) {
      const T left_0 = conjugate(tile[(2 * owner.a) * limits::block_tile_stride + i]);
      const T left_1 = conjugate(tile[(2 * owner.a + 1) * limits::block_tile_stride + i]);
      const T right_0 = tile[(2 * owner.c) * limits::block_tile_stride + i];
      const T right_1 = tile[(2 * owner.c + 1) * limits::block_tile_stride + i];
      sums[0] = multiply_add(left_0, right_0, sums[0]);
      sums[1] = multiply_add(left_1, right_0, sums[1]);
      sums[2] = multiply_add(left_0, right_1, sums[2]);
      sums[3] = multiply_add(left_1, right_1, sums[3]);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// partials[pair][chunk] = X^H X, where X is the chunk's rows of the 2 width columns of the pair; entries above the
// diagonal and on it.
//
// Grid: a threadgroup of block_threads a matrix, pair and chunk, chunks innermost. Ownership: that of GramOwner.
// Barriers: those of sum_gram. The host promises: `chunks` covers the rows, `width` is at most block_columns.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_gram(
    device const T* W [[buffer(0)]], device T* partials [[buffer(1)]], device const int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& width [[buffer(4)]], constant long& block_count [[buffer(5)]],
    constant long& chunks [[buffer(6)]], constant long& round [[buffer(7)]], constant long& sweep [[buffer(8)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup T tile[limits::block_pair_columns * limits::block_tile_stride];

  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, int(chunks), int(round), blocks);
  if (states[task.matrix * state_words + state_sweep] < int(sweep)) return;
  W += task.matrix * padded_columns(blocks) * rows;
  const int columns = 2 * blocks.width;
  const int first_row = task.chunk * limits::block_chunk_rows;
  const int end_row = min(first_row + int(limits::block_chunk_rows), int(rows));

  const GramOwner owner = make_gram_owner(int(thread_index), blocks);
  T sums[4];
  sum_gram<T>(W, task, blocks, rows, first_row, end_row, tile, owner, int(thread_index), sums);
  if (!owner.owns) return;
  partials += (task.pair * chunks + task.chunk) * columns * columns;
  for (int index = 0; index < 4; ++index) {
    partials[(2 * owner.c + index / 2) * columns + 2 * owner.a + index % 2] = sums[index];
  }
}

}  // namespace metalsvd
