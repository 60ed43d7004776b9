// Method `block` on real numbers, a round in one step, where the columns of a pair have room in registers. No Gram
// matrix is formed: a pair is a line of blocks of four columns, which meet as in kernels/simdgroup_blocks.h.
//
// Sweeps converge as those of single columns do, in fewer than those of Gram matrices, and a round reads and writes
// each column once. But a pair has one threadgroup only, and its lanes have up to 96 words of W and work with as many
// more: the planner takes these kernels where DeviceLimits says so, for W = R^H behind the tall QR, where no left
// vectors are accumulated.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "common/convergence.h"
#include "common/shape.h"
#include "common/team.h"
#include "device_limits.h"
#include "simdgroup_blocks.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"

namespace metalsvd {

using namespace metal;

// Which columns of the two blocks of a pair a lane holds.
struct PairColumns {
  int of[pair_width];
};

// As they stand in a line, one block of four after the other.
template <bool is_spread>
inline PairColumns columns_in_line(bool is_reversed, Stand<is_spread> stand) {
  PairColumns columns;
#pragma unroll
  for (int c = 0; c < pair_width; ++c) columns.of[c] = column_held<pair_width>(c, is_reversed, stand);
  return columns;
}

// As they stand in two rings, each of the fours of one block: those of the first so many places on, and of the second.
template <bool is_spread>
inline PairColumns columns_in_rings(int first_on, int second_on, Stand<is_spread> stand) {
  const int fours = stand.pairs_in_line;
  const int first = (stand.pair + first_on) % fours;
  const int second = (stand.pair + second_on) % fours;
  PairColumns columns;
#pragma unroll
  for (int c = 0; c < block_width; ++c) {
    columns.of[c] = first * block_width + c;
    columns.of[block_width + c] = (fours + second) * block_width + c;
  }
  return columns;
}

// Lanes hold four neighbouring rows, and the next four so many lanes on.
template <bool is_spread>
inline int first_of_four_rows(int t, Stand<is_spread> stand) {
  return t * stand.parts + 4 * stand.part;
}

template <typename T, int entries, bool is_spread>
inline void take_pair(device const T* W, PairColumns columns, PairTask task, Blocks blocks, long rows,
                      thread HeldBlocks<T, entries>& held, Stand<is_spread> stand) {
#pragma unroll
  for (int c = 0; c < pair_width; ++c) {
    device const T* column = W + column_of_pair(task, columns.of[c], blocks) * rows;
#pragma unroll
    for (int t = 0; t < entries; t += 4) {
      const int i = first_of_four_rows(t, stand);
      float4 four = float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (has_matrix(stand) && i < rows) four = *(device const float4*)(column + i);
      unpack(four, held.W[c] + t);
    }
  }
}

template <typename T, int entries, bool is_spread>
inline void put_pair(thread const HeldBlocks<T, entries>& held, PairColumns columns, PairTask task, Blocks blocks,
                     long rows, device T* W, Stand<is_spread> stand) {
  if (!has_matrix(stand)) return;
#pragma unroll
  for (int c = 0; c < pair_width; ++c) {
    device T* column = W + column_of_pair(task, columns.of[c], blocks) * rows;
#pragma unroll
    for (int t = 0; t < entries; t += 4) {
      const int i = first_of_four_rows(t, stand);
      if (i < rows) *(device float4*)(column + i) = packed(held.W[c] + t);
    }
  }
}

// Each column of the one block meets each of the other: one ring and the other take turns to move on. Returns what this
// lane has found. The barriers of move_block for all fours but one.
template <typename T, int entries, bool is_spread>
inline uint meet_rings(thread HeldBlocks<T, entries>& held, Tolerances tolerances, Stand<is_spread> stand) {
  SharedSquares squares = measure_shares<across, 0>(held, stand);
  uint found = found_nothing;
  for (int met = 0;; met += 2) {
    found = max(found, meet_blocks(held, squares, tolerances, stand));
    if (met + 1 == stand.pairs_in_line) break;
    move_block<block_width>(held, squares.second, stand.box_before, stand.box_after, stand.lane_after, stand);
    found = max(found, meet_blocks(held, squares, tolerances, stand));
    if (met + 2 == stand.pairs_in_line) break;
    move_block<0>(held, squares.first, stand.box_after, stand.box_before, stand.lane_before, stand);
  }
  return found;
}

// A round: in the first of a sweep all columns of a pair of blocks meet, later those of the one those of the other.
// state_sweep asks for one more sweep where this one has not made all columns orthogonal.
//
// Grid: a threadgroup a matrix and pair, of block_held_parts lanes for each pair of fours. Ownership: the threadgroup
// owns the columns of its pair for the round; the lanes of a pair of fours own these, as in a line
// (simdgroup_line.h). Barriers: three, and those of sweep_held or meet_rings. The host promises: `rows`, which is a
// multiple of four, is at most most_rows, and so is `width`, up to block_wide_columns. Threadgroups of one matrix meet
// in state_sweep only, which is atomic, and which all of them raise to the same number.
template <typename T, int most_rows>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_held(
    device T* W [[buffer(0)]], device atomic_int* states [[buffer(1)]], constant long& rows [[buffer(2)]],
    constant long& width [[buffer(3)]], constant long& block_count [[buffer(4)]], constant long& round [[buffer(5)]],
    constant long& sweep [[buffer(6)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int float4s = limits::block_held_tile(most_rows) / 16;
  threadgroup float4 boxes[float4s];
  threadgroup uint marks[limits::simdgroups_per_threadgroup];
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, 1, int(round), blocks);
  states += task.matrix * state_words + state_sweep;
  if (atomic_load_explicit(states, memory_order_relaxed) < int(sweep)) return;
  W += task.matrix * padded_columns(blocks) * rows;

  const LineMemory memory = make_line_memory(boxes, float4s, nullptr, marks);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Shape shape = make_shape(rows, 2 * width, 0, 0);
  const Stand<true> stand = make_stand<true>(shape, pair_width, limits::block_held_parts(most_rows), memory, team);
  const Tolerances tolerances = make_tolerances(int(rows), padded_columns(blocks));
  HeldBlocks<T, limits::block_held_entries(most_rows)> held;
  uint found;
  if (round == 0) {
    take_pair(W, columns_in_line(false, stand), task, blocks, rows, held, stand);
    found = sweep_held(held, tolerances, stand);
    device_barrier(stand);  // others have read what this lane writes
    put_pair(held, columns_in_line(true, stand), task, blocks, rows, W, stand);
  } else {
    const int moves = stand.pairs_in_line - 1;
    const PairColumns moved = columns_in_rings(stand.pairs_in_line - moves / 2, (moves + 1) / 2, stand);
    take_pair(W, columns_in_rings(0, 0, stand), task, blocks, rows, held, stand);
    found = meet_rings(held, tolerances, stand);
    device_barrier(stand);
    put_pair(held, moved, task, blocks, rows, W, stand);
  }
  const bool is_unfinished = where_it_holds(found == found_large, stand).in_group;
  if (is_unfinished && team.index == 0) atomic_fetch_max_explicit(states, int(sweep) + 1, memory_order_relaxed);
}

}  // namespace metalsvd
