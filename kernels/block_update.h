// Method `block`, third step of a round: the columns of every pair of blocks, times its rotations.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "common/scalar.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// X = X + X (J - I), sorted, for rows [first_row, end_row) of the columns of a pair of blocks; `X` is that of the
// matrix, `places` in any address space. Thread t computes row t % 32 of the tile, in columns t / 32, t / 32 + 8, ...
// Two barriers for each 32 rows, before and after they are read from the tile; the first orders device memory too,
// since sorting writes columns that others have read. J - I may have been written just before.
template <typename T, typename PlacesPointer>
inline void rotate_rows(device T* X, PairTask task, Blocks blocks, long height, int first_row, int end_row,
                        threadgroup T* tile, threadgroup const T* J_minus_I, PlacesPointer places, int thread_index) {
  const int columns = 2 * blocks.width;
  const int row = thread_index % limits::block_tile_rows;
  const int first_column = thread_index / limits::block_tile_rows;
  for (int start = first_row; start < end_row; start += limits::block_tile_rows) {
    const bool inside = start + row < end_row;
    for (int j = first_column; j < columns; j += limits::block_simdgroups) {
      const long column = column_of_pair(task, j, blocks);
      tile[j * limits::block_tile_rows + row] = inside ? X[column * height + start + row] : from_real<T>(0.0f);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    for (int j = first_column; inside && j < columns; j += limits::block_simdgroups) {
      T sum = from_real<T>(0.0f);
      for (int k = 0; k < columns; ++k) {
        sum = multiply_add(tile[k * limits::block_tile_rows + row], J_minus_I[j * columns + k], sum);
      }
      const long column = column_of_pair(task, places[j], blocks);
      X[column * height + start + row] = tile[j * limits::block_tile_rows + row] + sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// Rotates the chunk's rows of the 2 width columns of a pair: of W, and of V in the chunks that follow.
//
// Grid: a threadgroup of block_threads a matrix, pair and chunk, chunks innermost, those of W before those of V.
// Ownership: the pair owns its columns for the round, the chunk its rows of them, shared out as in rotate_rows.
// Barriers: those of rotate_rows. The host promises: `w_chunks` covers `rows` of W, `chunks` - `w_chunks` the `columns`
// rows of V.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_update(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device const T* rotations [[buffer(2)]],
    device const int* rotates [[buffer(3)]], device const int* places [[buffer(4)]],
    device const int* states [[buffer(5)]], constant long& rows [[buffer(6)]], constant long& columns [[buffer(7)]],
    constant long& width [[buffer(8)]], constant long& block_count [[buffer(9)]],
    constant long& w_chunks [[buffer(10)]], constant long& chunks [[buffer(11)]], constant long& round [[buffer(12)]],
    constant long& sweep [[buffer(13)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup T tile[limits::block_pair_columns * limits::block_tile_rows];
  threadgroup T J_minus_I[limits::block_pair_columns * limits::block_pair_columns];

  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, int(chunks), int(round), blocks);
  if (states[task.matrix * state_words + state_sweep] < int(sweep) || rotates[task.pair] == 0) return;
  const int pair_columns = 2 * blocks.width;
  const bool is_right = task.chunk >= int(w_chunks);
  const long height = is_right ? columns : rows;
  device T* X = (is_right ? V : W) + task.matrix * padded_columns(blocks) * height;
  const int first_row = (is_right ? task.chunk - int(w_chunks) : task.chunk) * limits::block_chunk_rows;
  const int end_row = min(first_row + int(limits::block_chunk_rows), int(height));

  rotations += task.pair * pair_columns * pair_columns;
  places += task.pair * pair_columns;
  for (int index = int(thread_index); index < pair_columns * pair_columns; index += limits::block_threads) {
    J_minus_I[index] = rotations[index];
  }
  rotate_rows<T>(X, task, blocks, height, first_row, end_row, tile, J_minus_I, places, int(thread_index));
}

}  // namespace metalsvd
