// Method `block` on real numbers, first step of a round: the Gram matrices of all pairs of blocks.
#pragma once
#include <metal_stdlib>

#include "block_wide.h"

namespace metalsvd {

using namespace metal;

// Columns are counted modulo 16, in classes of 4. A thread of the first half sums what the class `left` has in common
// with the class `right`, up to 7 classes on, and one entry of what a class has with that 8 classes on: since the Gram
// matrix is symmetric, that is all there is. A thread of the second half does the same for every other four rows.
//
// Four neighbouring lanes take two classes with two others, 0 to 3 on from the second of them or 4 to 7. So each column
// is read by a lane and the next but one, or by a lane and the next: an H100 reads 16 bytes a lane in half the time
// where all lanes share them in one of these ways.
struct WideEntriesOfThread {
  int left, right;
  int far_left, far_right;  // columns
};

// Masks and shifts: of signed numbers, division by a power of two takes more.
inline WideEntriesOfThread wide_entries_of(uint thread_index) {
  const int index = int(thread_index) & (wide_gram_threads - 1);
  const int first = index & 1;
  const int second = index >> 1 & 1;
  const int class_of_four = index >> 2 & (wide_classes - 1);
  const int is_further = index >> 6;
  WideEntriesOfThread entries;
  entries.left = (class_of_four + second) & (wide_classes - 1);
  entries.right = (class_of_four + 1 + 4 * is_further + 2 * first) & (wide_classes - 1);
  const int near = index >> 2 & (wide_classes / 2 - 1);
  entries.far_left = near + (second + 2 * (index >> 5 & 1)) * wide_classes;
  entries.far_right = near + wide_classes / 2 + (first + 2 * is_further) * wide_classes;
  return entries;
}

struct WidePlace {
  int row, column;
};

// Of a thread's k-th entry.
inline WidePlace place_in_wide_gram(int thread_index, int k) {
  const WideEntriesOfThread entries = wide_entries_of(uint(thread_index));
  const bool is_far = k == wide_near_entries;
  WidePlace place;
  place.row = is_far ? entries.far_left : entries.left + k / wide_side * wide_classes;
  place.column = is_far ? entries.far_right : entries.right + k % wide_side * wide_classes;
  return place;
}

// A tile of rows of the columns of a pair: thread t four rows of every 16th column.
struct HeldWideTile {
  float4 x[wide_moved_columns];
};

inline void read_wide_tile(device const float* W, PairTask task, Blocks blocks, long rows, int start, int end_row,
                           int thread_index, thread HeldWideTile& held) {
  const int row = start + thread_index % wide_moved_together * 4;
#pragma unroll
  for (int k = 0; k < wide_moved_columns; ++k) {
    const int j = thread_index / wide_moved_together + k * wide_moved_together;
    held.x[k] = float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (row >= end_row || !exists_in_pair(j, blocks)) continue;
    held.x[k] = *(device const float4*)(W + column_of_wide_pair(task, j, blocks) * rows + row);
  }
}

// X^H X, where X is rows [first_row, end_row) of the columns of a pair of blocks: the entries of the threads of the
// first half are left to them in `sums`; always in the same order, so that the bits do not depend on who runs when. `W`
// is that of the matrix. Two barriers for each tile, before and after it is read, and two more.
inline void sum_wide_gram(device const float* W, PairTask task, Blocks blocks, long rows, int first_row, int end_row,
                          threadgroup float4* tile, int thread_index, thread float* sums) {
  threadgroup float* const words = (threadgroup float*)tile;
  const WideEntriesOfThread entries = wide_entries_of(uint(thread_index));
  const int part = thread_index / wide_gram_threads;
  threadgroup const float4* const left_column = tile + entries.left * (wide_tile_stride / 4);
  threadgroup const float4* const right_column = tile + entries.right * (wide_tile_stride / 4);
  threadgroup const float4* const far_left_column = tile + entries.far_left * (wide_tile_stride / 4);
  threadgroup const float4* const far_right_column = tile + entries.far_right * (wide_tile_stride / 4);
#pragma unroll
  for (int k = 0; k < wide_entries_per_thread; ++k) sums[k] = 0.0f;

  HeldWideTile held;
  read_wide_tile(W, task, blocks, rows, first_row, end_row, thread_index, held);
  for (int start = first_row; start < end_row; start += wide_tile_rows) {
#pragma unroll
    for (int k = 0; k < wide_moved_columns; ++k) {
      const int j = thread_index / wide_moved_together + k * wide_moved_together;
      tile[j * (wide_tile_stride / 4) + thread_index % wide_moved_together] = held.x[k];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The next tile is on its way while this one is summed up.
    if (start + wide_tile_rows < end_row) {
      read_wide_tile(W, task, blocks, rows, start + wide_tile_rows, end_row, thread_index, held);
    }
    const int staged = min(end_row - start, int(wide_tile_rows)) / 4;
#pragma unroll 1
    for (int four = part; four < staged; four += 2) {
      float left[wide_side][4];
#pragma unroll
      for (int a = 0; a < wide_side; ++a) {
        read_four(left_column + a * wide_classes * (wide_tile_stride / 4) + four, left[a]);
      }
#pragma unroll
      for (int b = 0; b < wide_side; ++b) {
        float right[4];
        read_four(right_column + b * wide_classes * (wide_tile_stride / 4) + four, right);
#pragma unroll
        for (int r = 0; r < 4; ++r) {
#pragma unroll
          for (int a = 0; a < wide_side; ++a) {
            sums[a * wide_side + b] = fma(left[a][r], right[r], sums[a * wide_side + b]);
          }
        }
      }
      float far_left[4];
      float far_right[4];
      read_four(far_left_column + four, far_left);
      read_four(far_right_column + four, far_right);
#pragma unroll
      for (int r = 0; r < 4; ++r) sums[wide_near_entries] = fma(far_left[r], far_right[r], sums[wide_near_entries]);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }

  if (part == 1) {
#pragma unroll
    for (int k = 0; k < wide_entries_per_thread; ++k) words[k * limits::block_threads + thread_index] = sums[k];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (part == 0) {
#pragma unroll
    for (int k = 0; k < wide_entries_per_thread; ++k) {
      sums[k] += words[k * limits::block_threads + thread_index + wide_gram_threads];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// An entry and its mirror image, which what a class has with itself holds too.
inline void store_wide_entry(float value, WidePlace place, threadgroup float* G) {
  G[place.column * wide_pair + place.row] = value;
  if ((place.row ^ place.column) & (wide_classes - 1)) G[place.row * wide_pair + place.column] = value;
}

// partials[pair][chunk][k][thread] = the thread's k-th entry of X^H X, where X is the chunk's rows of the pair.
//
// Grid: a threadgroup of block_threads a matrix, pair and chunk, chunks innermost. Ownership and barriers: those of
// sum_wide_gram. The host promises: `chunks` chunks of `chunk_rows` cover the rows, `width` is at most
// block_wide_columns.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_gram(
    device const T* W [[buffer(0)]], device T* partials [[buffer(1)]], device const int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& width [[buffer(4)]], constant long& block_count [[buffer(5)]],
    constant long& chunk_rows [[buffer(6)]], constant long& chunks [[buffer(7)]], constant long& round [[buffer(8)]],
    constant long& sweep [[buffer(9)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float4 tile[wide_tile_entries / 4];
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, int(chunks), int(round), blocks);
  if (states[task.matrix * state_words + state_sweep] < int(sweep)) return;
  W += task.matrix * padded_columns(blocks) * rows;
  const int first_row = task.chunk * int(chunk_rows);
  const int end_row = int(min(long(first_row) + chunk_rows, long(rows)));
  float sums[wide_entries_per_thread];
  sum_wide_gram(W, task, blocks, rows, first_row, end_row, tile, int(thread_index), sums);
  if (int(thread_index) >= wide_gram_threads) return;
  partials += (task.pair * chunks + task.chunk) * wide_partial_entries + thread_index;
#pragma unroll
  for (int k = 0; k < wide_entries_per_thread; ++k) partials[k * wide_gram_threads] = sums[k];
}

}  // namespace metalsvd
