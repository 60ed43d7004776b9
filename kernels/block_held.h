// Method `block` on real numbers, a round in one step, where the columns of a pair have room in registers. No Gram
// matrix is formed: a pair is a line of small blocks of columns, which meet as in kernels/simdgroup_blocks.h.
//
// Sweeps converge as those of single columns do, in fewer than those of Gram matrices, and a round reads and writes
// each column once. But a pair has one threadgroup only, and its lanes have up to 96 words of W and work with as many
// more: the planner takes these kernels where DeviceLimits says so, for W = R^H behind the tall QR, where no left
// vectors are accumulated.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "common/shape.h"
#include "common/team.h"
#include "device_limits.h"
#include "simdgroup_blocks.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"

namespace metalsvd {

using namespace metal;

// Which columns of the two blocks of a pair a lane holds, before they meet and after.
template <int count>
struct PairColumns {
  int of[count];
};

// Where all columns of the pair meet they stand in a line of small blocks, which is reversed then. Else the small
// blocks of each block are a ring: the first has moved on by one place after every other meeting but the last, the
// second has moved back in between.
template <int count, bool is_spread>
inline PairColumns<count> columns_of_lane(bool in_line, bool have_met, Stand<is_spread> stand) {
  const int width = count / 2;
  const int places = stand.pairs_in_line;
  const int moves = have_met ? places - 1 : 0;
  const int first = (stand.pair + places - moves / 2) % places;
  const int second = places + (stand.pair + (moves + 1) / 2) % places;
  PairColumns<count> columns;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    const int in_ring = (c < width ? first : second) * width + c % width;
    columns.of[c] = in_line ? column_held<count>(stand.pair, c, have_met, stand) : in_ring;
  }
  return columns;
}

// A lane holds four neighbouring rows, and four more as many rows on as all lanes hold together, ...; then single rows,
// of so many entries what fours leave.
constexpr int entries_in_fours(int entries) { return entries / 4 * 4; }

template <bool is_spread>
inline int first_of_four_rows(int t, Stand<is_spread> stand) {
  return t * stand.parts + 4 * stand.part;
}

template <typename T, int entries, int count, bool is_spread>
inline void take_pair(device T* W, PairColumns<count> columns, PairTask task, Blocks blocks, long rows,
                      thread Held<T, entries, count>& held, Stand<is_spread> stand) {
#pragma unroll
  for (int c = 0; c < count; ++c) {
    device const T* const column = W + column_of_pair(task, columns.of[c], blocks) * rows;
#pragma unroll
    for (int t = 0; t < entries_in_fours(entries); t += 4) {
      const int i = first_of_four_rows(t, stand);
      const bool exists = has_matrix(stand) && i < rows;
      unpack(exists ? *(device const float4*)(column + i) : float4(0.0f, 0.0f, 0.0f, 0.0f), held.W[c] + t);
    }
#pragma unroll
    for (int t = entries_in_fours(entries); t < entries; ++t) {
      const int i = row_of(stand, t);
      held.W[c][t] = has_matrix(stand) && i < rows ? column[i] : 0.0f;
    }
  }
}

template <typename T, int entries, int count, bool is_spread>
inline void put_pair(thread const Held<T, entries, count>& held, PairColumns<count> columns, PairTask task,
                     Blocks blocks, long rows, device T* W, Stand<is_spread> stand) {
  if (!has_matrix(stand)) return;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    device T* const column = W + column_of_pair(task, columns.of[c], blocks) * rows;
#pragma unroll
    for (int t = 0; t < entries_in_fours(entries); t += 4) {
      const int i = first_of_four_rows(t, stand);
      if (i < rows) *(device float4*)(column + i) = packed(held.W[c] + t);
    }
#pragma unroll
    for (int t = entries_in_fours(entries); t < entries; ++t) {
      const int i = row_of(stand, t);
      if (i < rows) column[i] = held.W[c][t];
    }
  }
}

// Each column of the one block meets each of the other, the small blocks of both in rings. Returns what this lane has
// found. The barriers of move_block for all small blocks but one.
template <typename T, int entries, int count, bool is_spread>
inline uint meet_rings(thread Held<T, entries, count>& held, BlockTolerances tolerances, Stand<is_spread> stand) {
  SharedSquares squares = measure_shares<PairsAcross<0, count / 2>>(held, stand);
  uint found = found_nothing;
  for (int met = 1;; ++met) {
    found |= meet_blocks(held, squares, tolerances, stand);
    if (met == stand.pairs_in_line) break;
    if (met % 2 != 0) {
      move_block<count / 2>(held, squares.second, stand.box_before, stand.box_after, stand.lane_after, stand);
    } else {
      move_block<0>(held, squares.first, stand.box_after, stand.box_before, stand.lane_before, stand);
    }
  }
  return found;
}

// A round: in the first of a sweep all columns of a pair of blocks meet, later those of the one those of the other.
// What it finds asks for the next sweep, and no more is turned than asks for it (block_convergence.h).
//
// Grid: a threadgroup a matrix and pair, of block_held_parts lanes for each pair of small blocks. Ownership: the
// threadgroup owns the columns of its pair for the round; the lanes of a pair of small blocks own these, as in a line
// (simdgroup_line.h). Barriers: three, and those of sweep_held or meet_rings. The host promises: `rows` is a
// multiple of four, at most most_rows, and `width` one of block_held_width, at most block_wide_columns. Threadgroups of
// one matrix meet in its `states` only.
template <typename T, int most_rows>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_held(
    device T* W [[buffer(0)]], device atomic_int* states [[buffer(1)]], constant long& rows [[buffer(2)]],
    constant long& width [[buffer(3)]], constant long& block_count [[buffer(4)]], constant long& round [[buffer(5)]],
    constant long& sweep [[buffer(6)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = 2 * limits::block_held_width(most_rows);
  constexpr int float4s = limits::block_held_tile(most_rows) / 16;
  threadgroup float4 boxes[float4s];
  threadgroup uint marks[limits::simdgroups_per_threadgroup];
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, 1, int(round), blocks);
  states += task.matrix * state_words;
  if (sweep_due(states) < int(sweep)) return;
  W += task.matrix * padded_columns(blocks) * rows;

  const LineMemory memory = make_line_memory(boxes, float4s, nullptr, marks);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Shape shape = make_shape(rows, 2 * width, 0, 0);
  const Stand<true> stand =
      make_stand<true>(shape, pairs_of(shape.columns, count), limits::block_held_parts(most_rows), memory, team);
  const BlockTolerances tolerances = make_block_tolerances(int(rows), padded_columns(blocks), false);
  Held<T, limits::block_held_entries(most_rows), count> held;
  const bool in_line = round == 0;
  take_pair(W, columns_of_lane<count>(in_line, false, stand), task, blocks, rows, held, stand);
  const uint found_here =
      in_line ? sweep_held(held, 0, tolerances, stand, InLine()) : meet_rings(held, tolerances, stand);
  const uint found = simd_or(found_here);
  if (max_over_group(int(found & found_due), stand) == 0) return;
  // Others have read what this lane writes. No barrier follows, which would wait until all has been written.
  device_barrier(stand);
  put_pair(held, columns_of_lane<count>(in_line, true, stand), task, blocks, rows, W, stand);
  if (stand.lane == 0) ask_for_next_sweep(states, found, int(sweep));
}

}  // namespace metalsvd
