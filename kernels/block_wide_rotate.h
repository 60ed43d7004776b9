// Method `block` on real numbers, second step of a round: the rotations of every pair of blocks, and its columns times
// them. Where many threadgroups share a pair, the rotations are a step of their own.
#pragma once
#include <metal_stdlib>

#include "block_wide.h"
#include "block_wide_gram.h"
#include "block_wide_solve.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

enum : int {
  // A tile has so many rows, of which a thread makes four in each of four columns: four neighbours, which are moved at
  // once, where columns are aligned, and otherwise every 16th, so that neighbouring threads move neighbouring rows. It
  // is staged in slices, a block each.
  wide_rotated_rows = 64,
  wide_row_threads = wide_rotated_rows / 4,
  wide_slice_entries = wide_columns * wide_rotated_rows,
  wide_moved_fours = wide_slice_entries / 4 / int(limits::block_threads)
};

struct HeldWideSlice {
  float x[wide_moved_fours][4];
};

// The columns of a block, from column `first` of the matrix on, in the rows of a tile from `start` on; zeros beyond and
// beside them.
template <bool is_aligned>
inline void read_wide_slice(device const float* X, long height, int first, int width, int start, int end_row,
                            int thread_index, thread HeldWideSlice& held) {
  const int numbers = is_aligned ? 4 : 1;  // that are moved at once
#pragma unroll
  for (int k = 0; k < 4 * wide_moved_fours; k += numbers) {
    const int index = thread_index * numbers + k * limits::block_threads;
    const int j = index / wide_rotated_rows;
    const int row = start + index % wide_rotated_rows;
    const bool exists = j < width && row < end_row;
    device const float* const from = X + (first + j) * height + row;
    if (is_aligned) {
      const float4 four = exists ? *(device const float4*)from : float4(0.0f, 0.0f, 0.0f, 0.0f);
      held.x[k / 4][0] = four.x;
      held.x[k / 4][1] = four.y;
      held.x[k / 4][2] = four.z;
      held.x[k / 4][3] = four.w;
    } else {
      held.x[k / 4][k % 4] = exists ? *from : 0.0f;
    }
  }
}

// The four rows of a thread stand side by side.
template <bool is_aligned>
inline void stage_wide_slice(thread const HeldWideSlice& held, int thread_index, threadgroup float4* slice) {
#pragma unroll
  for (int k = 0; k < wide_moved_fours; ++k) {
    if (is_aligned) {
      slice[thread_index + k * limits::block_threads] = float4(held.x[k][0], held.x[k][1], held.x[k][2], held.x[k][3]);
    } else {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int index = thread_index + (4 * k + r) * limits::block_threads;
        const int row = index % wide_rotated_rows;
        const int place = row % wide_row_threads * 4 + row / wide_row_threads;
        ((threadgroup float*)slice)[index - row + place] = held.x[k][r];
      }
    }
  }
}

// X = X + X (J - I), sorted, for rows [first_row, end_row) of the columns of a pair of blocks; `X` is that of the
// matrix. Two barriers for each slice, before and after it is read; the last of a tile orders device memory too, since
// sorting writes columns that others have read.
template <bool is_aligned>
inline void rotate_wide_tiles(device float* X, PairTask task, Blocks blocks, long height, int first_row, int end_row,
                              threadgroup const float4* J_minus_I, threadgroup const int* places,
                              threadgroup float4* slice, int thread_index) {
  const int columns = 4;
  // Neighbouring threads read the same rows, and every other the same of J (block_wide_gram.h says why).
  const int first_four = thread_index / 2 % wide_row_threads;
  const int first_column = (thread_index / limits::simd_width * 2 + thread_index % 2) * columns;
  const bool exists = exists_in_pair(first_column, blocks);
  threadgroup const float4* const rows = slice + first_four;
  threadgroup const float4* const columns_of_J = J_minus_I + first_column / 4;
  HeldWideSlice held;
  read_wide_slice<is_aligned>(X, height, task.p, blocks.width, first_row, end_row, thread_index, held);
#pragma unroll 1
  for (int start = first_row; start < end_row; start += wide_rotated_rows) {
    float old[columns][4];
    float change[columns][4];
#pragma unroll
    for (int c = 0; c < columns; ++c) {
#pragma unroll
      for (int r = 0; r < 4; ++r) change[c][r] = 0.0f;
    }
#pragma unroll 1
    for (int first = 0; first < wide_pair; first += wide_columns) {
      stage_wide_slice<is_aligned>(held, thread_index, slice);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      // The next slice is on its way while this one is multiplied.
      const bool is_last = first > 0;
      read_wide_slice<is_aligned>(X, height, is_last ? task.p : task.q, blocks.width,
                                  is_last ? start + wide_rotated_rows : start, end_row, thread_index, held);
      if (first_column / wide_columns * wide_columns == first) {
#pragma unroll
        for (int c = 0; c < columns; ++c) {
          read_four(rows + (first_column % wide_columns + c) * wide_row_threads, old[c]);
        }
      }
      // Columns that do not exist add nothing, and need nothing.
#pragma unroll 1
      for (int i = 0; i < (exists ? blocks.width : 0); i += 4) {
#pragma unroll
        for (int k = i; k < i + 4; ++k) {
          float factors[columns];
          float row[4];
          read_four(columns_of_J + (first + k) * (wide_product_stride / 4), factors);
          read_four(rows + k * wide_row_threads, row);
#pragma unroll
          for (int c = 0; c < columns; ++c) {
#pragma unroll
            for (int r = 0; r < 4; ++r) change[c][r] = fma(row[r], factors[c], change[c][r]);
          }
        }
      }
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    }
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      if (!exists_in_pair(first_column + c, blocks)) continue;
      device float* const column = X + column_of_wide_pair(task, places[first_column + c], blocks) * height + start;
#pragma unroll
      for (int r = 0; r < 4; ++r) change[c][r] += old[c][r];
      if (is_aligned) {
        if (start + first_four * 4 < end_row) {
          *(device float4*)(column + first_four * 4) = float4(change[c][0], change[c][1], change[c][2], change[c][3]);
        }
      } else {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int row = first_four + r * wide_row_threads;
          if (start + row < end_row) column[row] = change[c][r];
        }
      }
    }
  }
}

inline void rotate_wide_rows(device float* X, PairTask task, Blocks blocks, long height, int first_row, int end_row,
                             threadgroup const float4* J_minus_I, threadgroup const int* places,
                             threadgroup float4* slice, int thread_index) {
  if (height % 4 == 0) {
    rotate_wide_tiles<true>(X, task, blocks, height, first_row, end_row, J_minus_I, places, slice, thread_index);
  } else {
    rotate_wide_tiles<false>(X, task, blocks, height, first_row, end_row, J_minus_I, places, slice, thread_index);
  }
}

// The Gram matrix of a pair, added up chunk after chunk; known to all after a barrier.
inline void add_wide_partials(device const float* partials, long pair, long chunks, threadgroup float* G,
                              int thread_index) {
  const int entries = (int(wide_partial_entries) + limits::block_threads - 1) / limits::block_threads;
  partials += pair * chunks * wide_partial_entries;
  float sums[entries];
#pragma unroll
  for (int k = 0; k < entries; ++k) sums[k] = 0.0f;
#pragma unroll 4
  for (long chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
    for (int k = 0; k < entries; ++k) {
      sums[k] += partials[min(thread_index + k * limits::block_threads, wide_partial_entries - 1)];
    }
    partials += wide_partial_entries;
  }
#pragma unroll
  for (int k = 0; k < entries; ++k) {
    const int entry = thread_index / wide_gram_threads + k * (int(limits::block_threads) / wide_gram_threads);
    if (entry >= wide_entries_per_thread) continue;
    store_wide_entry(sums[k], place_in_wide_gram(thread_index, entry), G);
  }
}

// The rotations of every pair, where they are a step of their own: J - I in the place of the partial Gram matrices that
// it comes from, and places[pair], the first of them negative where there is nothing to rotate. state_sweep asks for
// one more sweep where this one has not made all columns orthogonal.
//
// Grid: a threadgroup of block_threads a matrix and pair. Barriers: one once the Gram matrix is added up, those of
// solve_wide. The host promises: as for block_wide_gram, and at least two chunks, which have room for J. Threadgroups
// of one matrix meet in state_sweep only, which is atomic, and which all of them raise to the same number.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_solve(
    device T* partials [[buffer(0)]], device int* places [[buffer(1)]], device atomic_int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& width [[buffer(4)]], constant long& block_count [[buffer(5)]],
    constant long& chunks [[buffer(6)]], constant long& round [[buffer(7)]], constant long& sweep [[buffer(8)]],
    constant long& passes [[buffer(9)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float G[wide_product_entries];
  threadgroup float4 rotations_of_steps[wide_rotations];
  threadgroup float edges[wide_edges];
  threadgroup int places_of_pair[wide_pair];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const WideMemory memory = make_wide_memory(G, rotations_of_steps, edges, places_of_pair, slots);

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, 1, int(round), blocks);
  states += task.matrix * state_words + state_sweep;
  if (atomic_load_explicit(states, memory_order_relaxed) < int(sweep)) return;
  add_wide_partials(partials, task.pair, chunks, G, team.index);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);  // J goes where these stand
  const uint found = solve_wide(memory, blocks, int(passes), make_tolerances(int(rows), padded_columns(blocks)), team);
  if (found == found_large && team.index == 0) atomic_fetch_max_explicit(states, int(sweep) + 1, memory_order_relaxed);
  if (team.index < wide_pair) {
    places[task.pair * wide_pair + team.index] = found == found_nothing ? -1 : places_of_pair[team.index];
  }
  if (found == found_nothing) return;
  partials += task.pair * chunks * wide_partial_entries;
  for (int index = team.index; index < wide_gram_entries; index += team.threads) {
    partials[index] = G[index / wide_pair * wide_product_stride + index % wide_pair];
  }
}

// Rotates `share` rows of the columns of a pair: of W, and of V in the shares that follow. Where `solves` (kernel
// block_wide_turn), each threadgroup finds the rotations from the Gram matrices itself, as block_wide_solve does.
//
// Grid: a threadgroup of block_threads a matrix, pair and share, shares innermost, those of W before those of V.
// Ownership: the pair owns its columns for the round, the share its rows of them. Barriers: one once the Gram matrix or
// J is there, then those of solve_wide and of rotate_wide_rows. The host promises: as for block_wide_solve; `w_shares`
// covers `rows` of W, `shares` - `w_shares` the `columns` rows of V.
template <typename T, bool solves>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_rotate(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device const T* partials [[buffer(2)]],
    device const int* places [[buffer(3)]], device atomic_int* states [[buffer(4)]], constant long& rows [[buffer(5)]],
    constant long& columns [[buffer(6)]], constant long& width [[buffer(7)]], constant long& block_count [[buffer(8)]],
    constant long& chunks [[buffer(9)]], constant long& share [[buffer(10)]], constant long& w_shares [[buffer(11)]],
    constant long& shares [[buffer(12)]], constant long& round [[buffer(13)]], constant long& sweep [[buffer(14)]],
    constant long& passes [[buffer(15)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 J_minus_I[wide_product_entries / 4];
  threadgroup float4 slice[wide_slice_entries / 4];
  threadgroup float4 rotations_of_steps[solves ? wide_rotations : 1];
  threadgroup float edges[solves ? wide_edges : 1];
  threadgroup int places_of_pair[wide_pair];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, int(shares), int(round), blocks);
  states += task.matrix * state_words + state_sweep;
  if (atomic_load_explicit(states, memory_order_relaxed) < int(sweep)) return;
  threadgroup float* const words = (threadgroup float*)J_minus_I;
  if (solves) {
    const WideMemory memory = make_wide_memory(words, rotations_of_steps, edges, places_of_pair, slots);
    add_wide_partials(partials, task.pair, chunks, words, team.index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const uint found =
        solve_wide(memory, blocks, int(passes), make_tolerances(int(rows), padded_columns(blocks)), team);
    if (found == found_nothing) return;
    if (found == found_large && task.chunk == 0 && team.index == 0) {
      atomic_fetch_max_explicit(states, int(sweep) + 1, memory_order_relaxed);
    }
  } else {
    places += task.pair * wide_pair;
    if (places[0] < 0) return;
    partials += task.pair * chunks * wide_partial_entries;
    if (team.index < wide_pair) places_of_pair[team.index] = places[team.index];
    for (int index = team.index; index < wide_gram_entries; index += team.threads) {
      words[index / wide_pair * wide_product_stride + index % wide_pair] = partials[index];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  const bool is_right = task.chunk >= int(w_shares);
  const long height = is_right ? columns : rows;
  device T* X = (is_right ? V : W) + task.matrix * padded_columns(blocks) * height;
  const long first_row = (is_right ? task.chunk - w_shares : task.chunk) * share;
  rotate_wide_rows(X, task, blocks, height, int(first_row), int(min(first_row + share, height)), J_minus_I,
                   places_of_pair, slice, team.index);
}

}  // namespace metalsvd
