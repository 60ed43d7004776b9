// Method `block`, first step of a round: the Gram matrices of all pairs of blocks.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "common/scalar.h"

namespace metalsvd {

using namespace metal;

// A Gram matrix is always 32 x 32, zero where the pair has fewer columns.
enum : int {
  gram_stride = limits::block_pair_columns,
  gram_entries = gram_stride * gram_stride,
  gram_entries_per_thread = gram_entries / limits::block_threads,
  // A thread sums 4x4 entries of it, 8 columns apart, over every fourth row of a tile.
  gram_side = 4,
  gram_step = gram_stride / gram_side,
  gram_parts = limits::block_threads / (gram_step * gram_step)
};

// G = X^H X, where X is rows [first_row, end_row) of the columns of a pair of blocks; always in the same order, so that
// the bits do not depend on who runs when. `W` is that of the matrix; G may be the tile. Two barriers for each tile,
// before and after it is read; then one for each part of the threads, of which the last makes G known to all.
template <typename T>
inline void form_gram(device const T* W, PairTask task, Blocks blocks, long rows, int first_row, int end_row,
                      threadgroup T* tile, threadgroup T* G, int thread_index) {
  const int part = thread_index / (gram_step * gram_step);
  const int p = thread_index / gram_step % gram_step;
  const int q = thread_index % gram_step;
  T sums[gram_side][gram_side];
#pragma unroll
  for (int a = 0; a < gram_side; ++a) {
#pragma unroll
    for (int b = 0; b < gram_side; ++b) sums[a][b] = from_real<T>(0.0f);
  }

  HeldTile<T> held;
  read_tile(W, task, blocks, rows, first_row, end_row, thread_index, held);
  for (int start = first_row; start < end_row; start += Tile<T>::rows) {
    stage_tile(held, thread_index, tile);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The next tile is on its way while this one is summed up.
    if (start + Tile<T>::rows < end_row) {
      read_tile(W, task, blocks, rows, start + Tile<T>::rows, end_row, thread_index, held);
    }
    const int staged = min(end_row - start, int(Tile<T>::rows));
#pragma unroll 2
    for (int i = part; i < staged; i += gram_parts) {
      T left[gram_side];
      T right[gram_side];
#pragma unroll
      for (int a = 0; a < gram_side; ++a) {
        left[a] = conjugate(tile[i * limits::block_tile_stride + p + a * gram_step]);
        right[a] = tile[i * limits::block_tile_stride + q + a * gram_step];
      }
#pragma unroll
      for (int a = 0; a < gram_side; ++a) {
#pragma unroll
        for (int b = 0; b < gram_side; ++b) sums[a][b] = multiply_add(left[a], right[b], sums[a][b]);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }

  for (int turn = 0; turn < gram_parts; ++turn) {
    if (part == turn) {
#pragma unroll
      for (int a = 0; a < gram_side; ++a) {
#pragma unroll
        for (int b = 0; b < gram_side; ++b) {
          const int index = (q + b * gram_step) * gram_stride + p + a * gram_step;
          G[index] = turn == 0 ? sums[a][b] : G[index] + sums[a][b];
        }
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// partials[pair][chunk] = X^H X, where X is the chunk's rows of the 2 width columns of the pair.
//
// Grid: a threadgroup of block_threads a matrix, pair and chunk, chunks innermost. Ownership and barriers: those of
// form_gram; what it leaves is dealt to all threads. The host promises: `chunks` chunks of block_chunk_rows cover the
// rows, `width` is at most block_columns.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_gram(
    device const T* W [[buffer(0)]], device T* partials [[buffer(1)]], device const int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& width [[buffer(4)]], constant long& block_count [[buffer(5)]],
    constant long& chunks [[buffer(6)]], constant long& round [[buffer(7)]], constant long& sweep [[buffer(8)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup T tile[Tile<T>::entries];

  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, int(chunks), int(round), blocks);
  if (sweep_due(states + task.matrix * state_words) < int(sweep)) return;
  W += task.matrix * padded_columns(blocks) * rows;
  const int chunk_rows = limits::block_chunk_rows(rows);
  const int first_row = task.chunk * chunk_rows;
  const int end_row = int(min(long(first_row) + chunk_rows, long(rows)));

  form_gram<T>(W, task, blocks, rows, first_row, end_row, tile, tile, int(thread_index));
  partials += (task.pair * chunks + task.chunk) * gram_entries;
  for (int index = int(thread_index); index < gram_entries; index += limits::block_threads) {
    partials[index] = tile[index];
  }
}

}  // namespace metalsvd
