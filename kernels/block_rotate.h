// Method `block`, second step of a round: the rotations of every pair of blocks, and its columns times them.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "block_gram.h"
#include "block_solve.h"
#include "common/scalar.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// X = X + X (J - I), sorted, for rows [first_row, end_row) of the columns of a pair of blocks; `X` is that of the
// matrix. A thread computes the entries of a tile that it has moved there. Two barriers for each tile, before and after
// it is read; the first orders device memory too, since sorting writes columns that others have read.
template <typename T>
inline void rotate_rows(device T* X, PairTask task, Blocks blocks, long height, int first_row, int end_row,
                        PairMemory<T> memory, int thread_index) {
  const int columns = 2 * blocks.width;
  const int lane = thread_index % limits::simd_width;
  const int first_column = thread_index / limits::simd_width;
  for (int start = first_row; start < end_row; start += Tile<T>::rows) {
    HeldTile<T> held;
    read_tile(X, task, blocks, height, start, end_row, thread_index, held);
    stage_tile(held, thread_index, memory.tile);
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    HeldTile<T> change;
#pragma unroll
    for (int s = 0; s < Tile<T>::held_columns; ++s) {
#pragma unroll
      for (int r = 0; r < Tile<T>::held_rows; ++r) change.x[s][r] = from_real<T>(0.0f);
    }
#pragma unroll 2
    for (int k = 0; k < columns; ++k) {
      T row[Tile<T>::held_rows];
#pragma unroll
      for (int r = 0; r < Tile<T>::held_rows; ++r) {
        row[r] = memory.tile[(lane + r * limits::simd_width) * limits::block_tile_stride + k];
      }
#pragma unroll
      for (int s = 0; s < Tile<T>::held_columns; ++s) {
        const T factor = memory.J_minus_I[(first_column + s * limits::block_simdgroups) * gram_stride + k];
#pragma unroll
        for (int r = 0; r < Tile<T>::held_rows; ++r) change.x[s][r] = multiply_add(row[r], factor, change.x[s][r]);
      }
    }
#pragma unroll
    for (int s = 0; s < Tile<T>::held_columns; ++s) {
      const int j = first_column + s * limits::block_simdgroups;
      if (j >= columns) continue;
      device T* column = X + column_of_pair(task, memory.places[j], blocks) * height;
#pragma unroll
      for (int r = 0; r < Tile<T>::held_rows; ++r) {
        const int i = start + lane + r * limits::simd_width;
        if (i < end_row) column[i] = held.x[s][r] + change.x[s][r];
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// Rotates `share` rows of the 2 width columns of a pair: of W, and of V in the shares that follow. What it finds asks
// for the next sweep (block_convergence.h).
//
// Grid: a threadgroup of block_threads a matrix, pair and share, shares innermost, those of W before those of V. Each
// solves for the same rotations. Ownership: the pair owns its columns for the round, the share its rows of them.
// Barriers: one once the Gram matrix is added up, then those of solve and of rotate_rows. The host promises: as for
// block_gram, whose partial sums are added chunk after chunk; `w_shares` covers `rows` of W, `shares` - `w_shares` the
// `columns` rows of V. Threadgroups of one matrix meet in its `states` only.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_rotate(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device const T* partials [[buffer(2)]],
    device atomic_int* states [[buffer(3)]], constant long& rows [[buffer(4)]], constant long& columns [[buffer(5)]],
    constant long& width [[buffer(6)]], constant long& block_count [[buffer(7)]], constant long& chunks [[buffer(8)]],
    constant long& share [[buffer(9)]], constant long& w_shares [[buffer(10)]], constant long& shares [[buffer(11)]],
    constant long& round [[buffer(12)]], constant long& sweep [[buffer(13)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup T tile[Tile<T>::entries];
  threadgroup T G[gram_entries];
  threadgroup T J_minus_I[gram_entries];
  threadgroup PairRotation<T> rotations[2 * limits::block_columns];
  threadgroup int places[limits::block_pair_columns];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const PairMemory<T> memory = make_pair_memory<T>(tile, G, J_minus_I, rotations, places, slots);

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, int(shares), int(round), blocks);
  states += task.matrix * state_words;
  if (sweep_due(states) < int(sweep)) return;

  partials += task.pair * chunks * gram_entries;
  T sums[gram_entries_per_thread];
#pragma unroll
  for (int k = 0; k < gram_entries_per_thread; ++k) sums[k] = from_real<T>(0.0f);
  for (long chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
    for (int k = 0; k < gram_entries_per_thread; ++k) {
      sums[k] += partials[chunk * gram_entries + team.index + k * limits::block_threads];
    }
  }
#pragma unroll
  for (int k = 0; k < gram_entries_per_thread; ++k) G[team.index + k * limits::block_threads] = sums[k];
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const Meetings meetings = make_meetings(blocks.width, int(round), int(sweep));
  const uint found = solve<T>(memory, meetings, make_block_tolerances(int(rows), padded_columns(blocks), true), team);
  if (!asks_for_rotation(found)) return;
  if (task.chunk == 0 && team.index == 0) ask_for_next_sweep(states, found, int(sweep));
  const bool is_right = task.chunk >= int(w_shares);
  const long height = is_right ? columns : rows;
  device T* X = (is_right ? V : W) + task.matrix * padded_columns(blocks) * height;
  const long first_row = (is_right ? task.chunk - w_shares : task.chunk) * share;
  rotate_rows<T>(X, task, blocks, height, int(first_row), int(min(first_row + share, height)), memory, team.index);
}

}  // namespace metalsvd
