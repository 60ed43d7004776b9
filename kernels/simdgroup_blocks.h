// The sweeps of the recovering kernels of method `simdgroup` (kernels/simdgroup_recover.h) where a pair is two blocks
// of four columns, and what they have beside the sweeps over pairs of columns (kernels/simdgroup_sweep.h).
//
// The blocks of a line meet as columns do there, by odd-even transposition. Where two meet, each column of the one
// meets each of the other, in four steps of four rotations; those of the same block meet at the beginning of a sweep.
// So columns go from lane to lane in every fourth step only, and the rotations of a step are found at the same time,
// each by a share of the lanes of the pair: a step is as long as one rotation. The squares of the columns, which follow
// from the rotations, are known to that share alone.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/entries.h"
#include "common/scalar.h"
#include "device_limits.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"
#include "simdgroup_meet.h"
#include "simdgroup_sweep.h"

namespace metalsvd {

using namespace metal;

// Columns of a block, and of a pair of blocks.
enum : int { block_width = limits::simdgroup_block_columns, pair_width = 2 * block_width };

template <typename T, int entries>
using HeldBlocks = Held<T, entries, pair_width>;

// The columns that meet as pair number i of a step: of both blocks, those `step` apart in a ring; or of each block by
// itself, the first two pairs of the one and the others of the other, those whose numbers differ by `step` in their
// bits.
enum Meeting : int { across = 0, within = 1 };
template <Meeting meeting, int step>
struct PairsOfFours {
  enum : int { count = block_width, is_across = meeting == across };
  static constexpr int one_within(int i) { return i / 2 * block_width + (step == 1 ? i % 2 * 2 : i % 2); }
  static constexpr int first(int i) { return is_across ? i : one_within(i); }
  static constexpr int second(int i) {
    return is_across ? block_width + (i + step) % block_width : one_within(i) ^ step;
  }
};

// Each lane finds the rotation of its share, and turns its entries of all columns by those of all.
template <Meeting meeting, int step, typename T, int entries, typename PairTolerances, bool is_spread>
inline uint meet_in_step(thread HeldBlocks<T, entries>& held, thread SharedSquares& squares, PairTolerances tolerances,
                         Stand<is_spread> stand) {
  typedef PairsOfFours<meeting, step> Pairs;
  StepRotations<T, Pairs::count> rotations;
  const uint found = find_rotations<Pairs>(held, squares, tolerances, rotations, stand);
  if (!simd_any(is_turned(found, tolerances))) return found;
#pragma unroll
  for (int i = 0; i < Pairs::count; ++i) {
    rotate_all<entries>(held.W[Pairs::first(i)], held.W[Pairs::second(i)], rotation_of(rotations, i));
  }
  return found;
}

// Each column of the one block meets one of the other; then each share of the lanes hears of the square of the next.
template <int step, typename T, int entries, typename PairTolerances, bool is_spread>
inline uint meet_across(thread HeldBlocks<T, entries>& held, thread SharedSquares& squares, PairTolerances tolerances,
                        Stand<is_spread> stand) {
  const uint found = meet_in_step<across, step>(held, squares, tolerances, stand);
  const int next = (stand.part + stand.parts / block_width) & (stand.parts - 1);
  squares.second = simd_shuffle(squares.second, ushort(stand.lane - stand.part + next));
  return found;
}

template <typename T, int entries, typename PairTolerances, bool is_spread>
inline uint meet_blocks(thread HeldBlocks<T, entries>& held, thread SharedSquares& squares, PairTolerances tolerances,
                        Stand<is_spread> stand) {
  uint found = meet_across<0>(held, squares, tolerances, stand);
  found |= meet_across<1>(held, squares, tolerances, stand);
  found |= meet_across<2>(held, squares, tolerances, stand);
  return found | meet_across<3>(held, squares, tolerances, stand);
}

// Two pairs of columns of each block meet.
template <int step, typename T, int entries, typename PairTolerances, bool is_spread>
inline uint meet_within(thread HeldBlocks<T, entries>& held, PairTolerances tolerances, Stand<is_spread> stand) {
  SharedSquares squares = measure_shares<PairsOfFours<within, step>>(held, stand);
  return meet_in_step<within, step>(held, squares, tolerances, stand);
}

// Vectors of 16 bytes that so many numbers take.
template <int numbers, typename T>
constexpr int vectors_of() {
  return (numbers * int(sizeof(T)) + 15) / 16;
}

// What a lane puts into a box: its entries of so many columns of a block, one after the other, and a square.
template <int columns, int entries, typename T, bool is_spread>
inline threadgroup float4* columns_in_box(int box, Stand<is_spread> stand) {
  const int bytes = limits::simdgroup_block_box_bytes(columns, entries, sizeof(T));
  return stand.memory.boxes + (box * stand.parts + stand.part) * (bytes / 16);
}

template <int columns, int entries, typename T, bool is_spread>
inline void put_columns(thread const T* x, float square, int box, Stand<is_spread> stand) {
  threadgroup float4* place = columns_in_box<columns, entries, T>(box, stand);
  put_entries<columns * entries>(x, place);
  place[vectors_of<columns * entries, T>()].x = square;
}

template <int columns, int entries, typename T, bool is_spread>
inline void take_columns(thread T* x, thread float& square, int box, Stand<is_spread> stand) {
  threadgroup const float4* place = columns_in_box<columns, entries, T>(box, stand);
  take_entries<columns * entries>(x, place);
  square = place[vectors_of<columns * entries, T>()].x;
}

// `columns` columns from `first` of the pair on become those of a neighbour, which lies in this SIMD-group or has put
// them into a box; this lane's go into the other box. A barrier.
template <int first, int columns, typename T, int entries, bool is_spread>
inline void move_columns(thread HeldBlocks<T, entries>& held, thread float& square, int box_to, int box_from,
                         ushort lane, Stand<is_spread> stand) {
  thread T* const moved = held.W[first];
  if (box_to != no_box) put_columns<columns, entries>(moved, square, box_to, stand);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (stand.parts < limits::simd_width) {
    shuffle_entries<columns * entries>(moved, lane);
    square = simd_shuffle(square, lane);
  }
  if (box_from != no_box) take_columns<columns, entries>(moved, square, box_from, stand);
}

// The same of the block that begins with column `first`. A barrier, or three.
template <int first, typename T, int entries, bool is_spread>
inline void move_block(thread HeldBlocks<T, entries>& held, thread float& square, int box_to, int box_from, ushort lane,
                       Stand<is_spread> stand) {
  if (stand.parts < limits::simd_width) {
    move_columns<first, block_width>(held, square, box_to, box_from, lane, stand);
    return;
  }
  const int moved = limits::simdgroup_block_columns_moved(limits::simd_width);
  float square_moved = square;
  move_columns<first, moved>(held, square_moved, box_to, box_from, lane, stand);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  move_columns<first + moved, moved>(held, square, box_to, box_from, lane, stand);
}

// The two ends of the line change places.
template <typename T, int entries, bool is_spread>
inline void exchange_ends(thread HeldBlocks<T, entries>& held, thread SharedSquares& squares, Stand<is_spread> stand) {
  const bool is_last = stands_last(stand);
#pragma unroll
  for (int c = 0; c < block_width; ++c) exchange_entries<entries>(held.W[c], held.W[block_width + c], is_last);
  exchange_entries<1>(&squares.first, &squares.second, is_last);
}

// One sweep: every pair of columns once. Returns what this lane has found. The line is reversed afterwards, block by
// block.
template <typename T, int entries, typename PairTolerances, bool is_spread>
inline uint sweep_held(thread HeldBlocks<T, entries>& held, PairTolerances tolerances, Stand<is_spread> stand) {
  uint found = meet_within<1>(held, tolerances, stand);
  found |= meet_within<2>(held, tolerances, stand);
  found |= meet_within<3>(held, tolerances, stand);
  SharedSquares squares = measure_shares<PairsOfFours<across, 0>>(held, stand);
  for (int round = 0; round < 2 * stand.pairs_in_line; ++round) {
    const bool is_odd = round % 2 != 0;
    // In odd rounds the last pair is the two ends of the line, which do not meet and stay where they are.
    PairTolerances in_round = tolerances;
    if (is_odd && stands_last(stand)) in_round.cosine = INFINITY;
    found |= meet_blocks(held, squares, in_round, stand);
    if (!is_odd) {
      move_block<block_width>(held, squares.second, stand.box_before, stand.box_after, stand.lane_after, stand);
      continue;
    }
    if (stand.has_end) exchange_ends(held, squares, stand);
    move_block<0>(held, squares.first, stand.box_after, stand.box_before, stand.lane_before, stand);
  }
  return found;
}

// The same of pairs of columns.
template <typename T, int entries, bool is_spread>
inline uint sweep_held(thread Held<T, entries, pair_columns>& held, Tolerances tolerances, Stand<is_spread> stand) {
  Columns<T, entries> columns;
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) columns.W[c][t] = held.W[c][t];
  }
  const uint found = sweep_line(columns, tolerances, true, with_used(stand, entries, 0));
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) held.W[c][t] = columns.W[c][t];
  }
  return found;
}

}  // namespace metalsvd
