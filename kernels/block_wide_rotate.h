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
  // Threads side by side along the rows of a tile, four rows each at a time.
  wide_row_threads = 16,
  // Columns are multiplied in slices: as many as are staged in this much memory for the rows of a tile, a thread moves
  // this many times four rows of one.
  wide_slice_entries = 2048,
  wide_moved_fours = wide_slice_entries / 4 / int(limits::block_threads)
};

struct HeldWideSlice {
  float x[wide_moved_fours][4];
};

// Columns [first, ...) of a slice of a tile that starts at row `start`, zeros beyond and beside them.
template <int tile_rows>
inline void read_wide_slice(device const float* X, PairTask task, Blocks blocks, long height, int first, int start,
                            int end_row, int thread_index, thread HeldWideSlice& held) {
  const bool is_aligned = height % 4 == 0;
#pragma unroll
  for (int k = 0; k < wide_moved_fours; ++k) {
    const int index = thread_index + k * limits::block_threads;
    const int j = first + index / (tile_rows / 4);
    const int row = start + index % (tile_rows / 4) * 4;
#pragma unroll
    for (int r = 0; r < 4; ++r) held.x[k][r] = 0.0f;
    if (exists_in_pair(j, blocks) && row < end_row) {
      read_four_rows(X + column_of_wide_pair(task, j, blocks) * height, row, end_row, is_aligned, held.x[k]);
    }
  }
}

// X = X + X (J - I), sorted, for rows [first_row, end_row) of the columns of a pair of blocks; `X` is that of the
// matrix. A thread makes `fours` times four rows, 64 rows apart, of four columns. Two barriers for each slice, before
// and after it is read, and one that orders device memory too, since sorting writes columns that others have read.
template <int fours>
inline void rotate_wide_rows(device float* X, PairTask task, Blocks blocks, long height, int first_row, int end_row,
                             threadgroup const float4* J_minus_I, threadgroup const int* places,
                             threadgroup float4* slice, int thread_index) {
  const int columns = 4;
  const int tile_rows = wide_row_threads * 4 * fours;
  const int slice_columns = wide_slice_entries / tile_rows;
  const bool is_aligned = height % 4 == 0;
  const int first_four = thread_index % wide_row_threads;
  const int first_column = thread_index / wide_row_threads * columns;
#pragma unroll 1
  for (int start = first_row; start < end_row; start += tile_rows) {
    float change[4 * fours][columns];
#pragma unroll
    for (int r = 0; r < 4 * fours; ++r) {
#pragma unroll
      for (int c = 0; c < columns; ++c) change[r][c] = 0.0f;
    }
    HeldWideSlice held;
    read_wide_slice<tile_rows>(X, task, blocks, height, 0, start, end_row, thread_index, held);
#pragma unroll 1
    for (int first = 0; first < wide_pair; first += slice_columns) {
#pragma unroll
      for (int k = 0; k < wide_moved_fours; ++k) {
        slice[thread_index + k * limits::block_threads] =
            float4(held.x[k][0], held.x[k][1], held.x[k][2], held.x[k][3]);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      // The next slice is on its way while this one is multiplied.
      if (first + slice_columns < wide_pair) {
        read_wide_slice<tile_rows>(X, task, blocks, height, first + slice_columns, start, end_row, thread_index, held);
      }
#pragma unroll 1
      for (int i = 0; i < slice_columns; i += 4) {
#pragma unroll
        for (int k = i; k < i + 4; ++k) {
          float factors[columns];
          read_four(J_minus_I, (first + k) * wide_product_stride + first_column, factors);
#pragma unroll
          for (int f = 0; f < fours; ++f) {
            float row[4];
            read_four(slice, (k * (tile_rows / 4) + first_four + f * wide_row_threads) * 4, row);
#pragma unroll
            for (int r = 0; r < 4; ++r) {
#pragma unroll
              for (int c = 0; c < columns; ++c) change[f * 4 + r][c] = fma(row[r], factors[c], change[f * 4 + r][c]);
            }
          }
        }
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    device const float* first = X + column_of_wide_pair(task, first_column, blocks) * height;
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      if (!exists_in_pair(first_column + c, blocks)) continue;
      device const float* column = first + c * height;
#pragma unroll
      for (int f = 0; f < fours; ++f) {
        const int row = start + (first_four + f * wide_row_threads) * 4;
        float old[4];
        read_four_rows(column, min(row, end_row), end_row, is_aligned, old);
#pragma unroll
        for (int r = 0; r < 4; ++r) change[f * 4 + r][c] += old[r];
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      if (!exists_in_pair(first_column + c, blocks)) continue;
      device float* column = X + column_of_wide_pair(task, places[first_column + c], blocks) * height;
#pragma unroll
      for (int f = 0; f < fours; ++f) {
        const int row = start + (first_four + f * wide_row_threads) * 4;
        float values[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) values[r] = change[f * 4 + r][c];
        if (row < end_row) write_four_rows(column, row, end_row, is_aligned, values);
      }
    }
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
#pragma unroll 2
  for (long chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
    for (int k = 0; k < entries; ++k) {
      sums[k] += partials[min(thread_index + k * limits::block_threads, wide_partial_entries - 1)];
    }
    partials += wide_partial_entries;
  }
#pragma unroll
  for (int k = 0; k < entries; ++k) {
    const int index = thread_index + k * limits::block_threads;
    if (index >= wide_partial_entries) continue;
    store_wide_entry(sums[k], place_in_wide_gram(index % wide_gram_threads, index / wide_gram_threads), G);
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
template <typename T, int fours, bool solves>
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
  rotate_wide_rows<fours>(X, task, blocks, height, int(first_row), int(min(first_row + share, height)), J_minus_I,
                          places_of_pair, slice, team.index);
}

}  // namespace metalsvd
