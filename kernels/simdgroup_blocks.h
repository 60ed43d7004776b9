// The sweeps of the recovering kernels of method `simdgroup` (kernels/simdgroup_recover.h) where a pair is two blocks
// of four to seven columns, and what they have beside the sweeps over pairs of columns (kernels/simdgroup_sweep.h).
//
// The blocks of a line meet as columns do there, by odd-even transposition. Where two meet, each column of the one
// meets each of the other, in as many steps as a block has columns; those of the same block meet at the beginning of a
// sweep. So columns go from lane to lane when all these steps are done only, and the rotations of a step are found at
// the same time, each by a share of the lanes of the pair: a step is as long as one rotation. The squares of the
// columns, which follow from the rotations, are known to that share alone.
//
// The wider blocks are, the fewer lanes find rotations and the fewer columns are told, but the more registers a lane
// has to have, and a core runs fewer of them. A step in which no lane of a SIMD-group rotates, which most are in the
// last sweep, leaves that out: so blocks have their columns in place, and each step has its own instructions.
//
// Of an odd number of blocks one has no pair in each round. A block of zeros in its place would go along the line, and
// its SIMD-group would take part in all rounds; where the others fill SIMD-groups the last pair keeps the one at rest,
// and its SIMD-group only waits (limits::simdgroup_block_rests): the same columns meet in the same order.
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

// The columns that meet as pair number i of a step: of both blocks, those `step` apart in a ring, ...
template <int step, int width>
struct PairsAcross {
  enum : int { count = width };
  static constexpr int first(int i) { return i; }
  static constexpr int second(int i) { return width + (i + step) % width; }
};

// ... or neighbours in each block by itself, those on an even place and the next or those on an odd one.
template <bool is_odd, int width>
struct PairsWithin {
  enum : int { of_block = (is_odd ? width - 1 : width) / 2, count = 2 * of_block };
  static constexpr int first(int i) { return i / of_block * width + i % of_block * 2 + (is_odd ? 1 : 0); }
  static constexpr int second(int i) { return first(i) + 1; }
};

// Each lane finds the rotation of its share, and turns its entries of all columns by those of all; then it hears of the
// square of the next column of the second block.
template <int step, typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint meet_across(thread Held<T, entries, count>& held, thread SharedSquares& squares, PairTolerances tolerances,
                        Stand<is_spread> stand) {
  typedef PairsAcross<step, count / 2> Pairs;
  StepRotations<T, Pairs::count> rotations;
  const uint found = find_rotations<Pairs>(held, squares, tolerances, rotations, stand);
  if (simd_any(is_turned(found, tolerances))) {
#pragma unroll
    for (int i = 0; i < Pairs::count; ++i) {
      rotate_all<entries>(held.W[Pairs::first(i)], held.W[Pairs::second(i)], rotation_of(rotations, i));
    }
  }
  squares.second = of_other_share<count / 2>(squares.second, 1, stand);
  return found;
}

// Each column of the one block meets each of the other.
template <typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint meet_blocks(thread Held<T, entries, count>& held, thread SharedSquares& squares, PairTolerances tolerances,
                        Stand<is_spread> stand) {
  const int width = count / 2;
  uint found = meet_across<0>(held, squares, tolerances, stand);
  found |= meet_across<1>(held, squares, tolerances, stand);
  found |= meet_across<2>(held, squares, tolerances, stand);
  found |= meet_across<3>(held, squares, tolerances, stand);
  if (width > 4) found |= meet_across<4 % width>(held, squares, tolerances, stand);
  if (width > 5) found |= meet_across<5 % width>(held, squares, tolerances, stand);
  if (width > 6) found |= meet_across<6 % width>(held, squares, tolerances, stand);
  return found;
}

// Neighbours in each block meet and change places.
template <bool is_odd, typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint meet_neighbours(thread Held<T, entries, count>& held, PairTolerances tolerances, Stand<is_spread> stand) {
  typedef PairsWithin<is_odd, count / 2> Pairs;
  SharedSquares squares = measure_shares<Pairs>(held, stand);
  StepRotations<T, Pairs::count> rotations;
  const uint found = find_rotations<Pairs>(held, squares, tolerances, rotations, stand);
  rotate_and_exchange_all<Pairs>(held, rotations);
  return found;
}

// Each column of a block meets each other one of it, by odd-even transposition: the block is reversed then.
template <typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint meet_within(thread Held<T, entries, count>& held, PairTolerances tolerances, Stand<is_spread> stand) {
  const int width = count / 2;
  uint found = 0u;
#pragma unroll 1
  for (int step = 0; step + 1 < width; step += 2) {
    found |= meet_neighbours<false>(held, tolerances, stand);
    found |= meet_neighbours<true>(held, tolerances, stand);
  }
  if (width % 2 != 0) found |= meet_neighbours<false>(held, tolerances, stand);
  return found;
}

// What a lane puts into a box: its entries of so many columns of a block, one after the other, and a square. A box has
// room for `most` columns: others must not lie where it does, which lanes take at other times.
template <int most, int entries, typename T, bool is_spread>
inline threadgroup float4* columns_in_box(int box, Stand<is_spread> stand) {
  const int bytes = limits::simdgroup_block_box_bytes(most, entries, sizeof(T));
  return stand.memory.boxes + (box * stand.parts + stand.part) * (bytes / 16);
}

template <int columns, int most, int entries, typename T, bool is_spread>
inline void put_columns(thread const T* x, float square, int box, Stand<is_spread> stand) {
  threadgroup float4* place = columns_in_box<most, entries, T>(box, stand);
  put_entries<columns * entries>(x, place);
  *(threadgroup float*)((threadgroup T*)place + columns * entries) = square;
}

template <int columns, int most, int entries, typename T, bool is_spread>
inline void take_columns(thread T* x, thread float& square, int box, Stand<is_spread> stand) {
  threadgroup const float4* place = columns_in_box<most, entries, T>(box, stand);
  take_entries<columns * entries>(x, place);
  square = *(threadgroup const float*)((threadgroup const T*)place + columns * entries);
}

// `columns` columns from `first` of the pair on become those of a neighbour, which lies in this SIMD-group or has put
// them into a box; this lane's go into the other box. A barrier.
template <int first, int columns, int most, typename T, int entries, int count, bool is_spread>
inline void move_columns(thread Held<T, entries, count>& held, thread float& square, int box_to, int box_from,
                         ushort lane, Stand<is_spread> stand) {
  thread T* const moved = held.W[first];
  if (box_to != no_box) put_columns<columns, most, entries>(moved, square, box_to, stand);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (stand.parts < limits::simd_width) {
    shuffle_entries<columns * entries>(moved, lane);
    square = simd_shuffle(square, lane);
  }
  if (box_from != no_box) take_columns<columns, most, entries>(moved, square, box_from, stand);
}

// The same of the block that begins with column `first`. A barrier, or three.
template <int first, typename T, int entries, int count, bool is_spread>
inline void move_block(thread Held<T, entries, count>& held, thread float& square, int box_to, int box_from,
                       ushort lane, Stand<is_spread> stand) {
  const int width = count / 2;
  if (stand.parts < limits::simd_width) {
    move_columns<first, width, width>(held, square, box_to, box_from, lane, stand);
    return;
  }
  const int moved = limits::simdgroup_block_columns_moved(width, limits::simd_width);
  float square_moved = square;
  move_columns<first, moved, moved>(held, square_moved, box_to, box_from, lane, stand);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  move_columns<first + moved, width - moved, moved>(held, square, box_to, box_from, lane, stand);
}

// The two blocks of a pair change places.
template <typename T, int entries, int count>
inline void exchange_blocks(thread Held<T, entries, count>& held, thread SharedSquares& squares, bool exchanged) {
  exchange_entries<count / 2 * entries>(held.W[0], held.W[count / 2], exchanged);
  exchange_entries<1>(&squares.first, &squares.second, exchanged);
}

// The same of the last pair, if this SIMD-group holds it.
template <typename T, int entries, int count, bool is_spread>
inline void exchange_ends(thread Held<T, entries, count>& held, thread SharedSquares& squares, Stand<is_spread> stand) {
  if (stand.has_end) exchange_blocks(held, squares, stands_last(stand));
}

// One sweep: every pair of columns once. Returns what this lane has found. The line is reversed afterwards.
//
// Where a block rests the last pair keeps it, as its second, and meets never: in even rounds it is the last of the
// line, in odd ones the first. Their number is odd, so that even and odd rounds go on to alternate from sweep to sweep:
// blocks that meet in the last round of one would else meet again in the first of the next, and sweeps converge later.
template <typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint sweep_held(thread Held<T, entries, count>& held, int sweep, PairTolerances tolerances,
                       Stand<is_spread> stand, InLine) {
  uint found = meet_within(held, tolerances, stand);
  SharedSquares squares = measure_shares<PairsAcross<0, count / 2>>(held, stand);
  const int rounds = 2 * stand.pairs_in_line - (stand.rests ? 1 : 0);
  const int first = stand.rests ? sweep % 2 : 0;
  const bool has_meetings = !stand.rests || !stand.has_end;
  if (stand.rests) exchange_ends(held, squares, stand);
  for (int round = first; round < first + rounds; ++round) {
    const bool is_odd = round % 2 != 0;
    // In odd rounds the last pair is the two ends of the line, which do not meet and stay where they are.
    PairTolerances in_round = tolerances;
    if (is_odd && stands_last(stand)) in_round.cosine = INFINITY;
    if (has_meetings) found |= meet_blocks(held, squares, in_round, stand);
    if (!is_odd) {
      move_block<count / 2>(held, squares.second, stand.box_before, stand.box_after, stand.lane_after, stand);
      continue;
    }
    exchange_ends(held, squares, stand);
    move_block<0>(held, squares.first, stand.box_after, stand.box_before, stand.lane_before, stand);
    if (stand.rests) exchange_ends(held, squares, stand);
  }
  if (stand.rests) exchange_ends(held, squares, stand);
  return found;
}

// The same of pairs of columns.
template <typename T, int entries, bool is_spread>
inline uint sweep_held(thread Held<T, entries, pair_columns>& held, int, Tolerances tolerances, Stand<is_spread> stand,
                       InLine) {
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

// The column of W that a pair holds as number c when the sweeps begin, or the first behind the last for lanes that hold
// none.
template <int count, bool is_spread>
inline int column_swept(int c, Stand<is_spread> stand, InLine) {
  return column_or_none<count>(c, stand);
}

}  // namespace metalsvd
