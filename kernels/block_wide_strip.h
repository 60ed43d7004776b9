// Method `block` on real numbers, last step of a round of three: the columns of every table times its rotations.
//
// SIMD-groups of a threadgroup share J and nothing else: each stages, multiplies and writes strips of rows of its own,
// so that none waits for another, and one reads device memory while others multiply.
#pragma once
#include <metal_stdlib>

#include "block_convergence.h"
#include "block_wide.h"

namespace metalsvd {

using namespace metal;

enum : int {
  wide_strip_fours = limits::block_wide_strip_rows / 4,  // of rows
  wide_strip_entries = int(limits::block_wide_strip_rows) * wide_pair,
  // Lanes side by side that move a column of a strip, four rows each, and how many columns each of them moves.
  wide_strip_step = int(limits::simd_width) / wide_strip_fours,
  wide_strip_moved = wide_pair / wide_strip_step,
  // A lane multiplies four rows with the columns of four seats of either half of a table.
  wide_strip_groups = wide_columns / 4,
  // Columns that are multiplied in one turn of the loop: as many as take all orders that place_in_strip knows of.
  wide_strip_turn = 4 * wide_strip_fours,
  wide_strip_turns = wide_pair / wide_strip_turn
};

// Where four rows of a column stand in a strip: lanes that read the same rows of every fourth column would meet in a
// bank otherwise.
inline int place_in_strip(int column, int four_of_rows) {
  return column * wide_strip_fours + (four_of_rows ^ (column / 4 & (wide_strip_fours - 1)));
}

// What a lane multiplies. Neighbouring lanes take the same rows, and every other the same columns (block_wide_gram.h
// says why), and eight neighbours write all rows of a column together.
struct StripOfLane {
  int four_of_rows;
  int group_of_columns;
};

inline StripOfLane make_strip_of_lane(uint lane) {
  StripOfLane own;
  own.four_of_rows = int(lane >> 1 & 3);
  own.group_of_columns = int((lane & 1) | (lane >> 2 & 6));
  return own;
}

// What it moves: four rows of the columns at every wide_strip_step-th seat from the first one on.
struct MovedOfLane {
  int four_of_rows;
  int first_seat;
};

inline MovedOfLane make_moved_of_lane(uint lane) {
  MovedOfLane moved;
  moved.four_of_rows = int(lane % wide_strip_fours);
  moved.first_seat = int(lane / wide_strip_fours);
  return moved;
}

struct HeldWideStrip {
  float4 x[wide_strip_moved];
};

// How many fours of rows a column is behind the first one, or no_place where there is none: in 32 bits, as no grid has
// more threads, of which each loads four rows of a column.
enum : uint { no_place = 0xffffffffu };
inline uint place_of_column(int column, int rows) {
  return column < 0 ? uint(no_place) : uint(column) * (uint(rows) / 4u);
}

// Four rows of the columns that the lane moves, where these exist; else what was held stays.
inline void read_wide_strip(device const float4* four_of_rows, thread const uint* places, bool exist,
                            thread HeldWideStrip& held) {
  if (!exist) return;
#pragma unroll
  for (int k = 0; k < wide_strip_moved; ++k) {
    if (places[k] != no_place) held.x[k] = four_of_rows[places[k]];
  }
}

inline void stage_wide_strip(thread const HeldWideStrip& held, MovedOfLane moved, threadgroup float4* strip) {
  // Every second column that a lane moves has its rows in another order.
  const int place = place_in_strip(moved.first_seat, moved.four_of_rows);
  threadgroup float4* const places[2] = {strip + place, strip + (place ^ wide_strip_step / 4)};
#pragma unroll
  for (int k = 0; k < wide_strip_moved; ++k) places[k % 2][k * wide_strip_step * wide_strip_fours] = held.x[k];
}

struct WideFactors {
  float row[4];
  float J[2][4];
};

inline void read_wide_factors(threadgroup const float4* J, threadgroup const float4* strip,
                              thread WideFactors& factors) {
  read_four(strip, factors.row);
  read_four(J, factors.J[0]);
  read_four(J + wide_strip_groups, factors.J[1]);
}

// What a lane adds to four rows of its eight columns.
struct WideChange {
  float at[2][4][4];
};

// Four rows of a strip times the columns of J - I from `J` on. What is multiplied next is read before.
inline WideChange multiply_wide_strip(threadgroup const float4* J, threadgroup const float4* strip, int four_of_rows) {
  WideChange change;
#pragma unroll
  for (int c = 0; c < 8; ++c) {
#pragma unroll
    for (int r = 0; r < 4; ++r) change.at[c / 4][c % 4][r] = 0.0f;
  }
  WideFactors next;
  read_wide_factors(J, strip + four_of_rows, next);
#pragma unroll 1
  for (int turn = 0; turn < wide_strip_turns; ++turn) {
    const int next_turn = min(turn + 1, wide_strip_turns - 1);
#pragma unroll
    for (int k = 0; k < wide_strip_turn; ++k) {
      const WideFactors factors = next;
      const int turn_read = k + 1 < wide_strip_turn ? turn : next_turn;
      const int k_read = (k + 1) % wide_strip_turn;
      read_wide_factors(J + (turn_read * wide_strip_turn + k_read) * (wide_pair / 4),
                        strip + turn_read * (wide_strip_turn * wide_strip_fours) + place_in_strip(k_read, four_of_rows),
                        next);
#pragma unroll
      for (int c = 0; c < 8; ++c) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          change.at[c / 4][c % 4][r] = fma(factors.row[r], factors.J[c / 4][c % 4], change.at[c / 4][c % 4][r]);
        }
      }
    }
  }
  return change;
}

// Rows [first_row, end_row) of columns of so many, where there are such rows: every fourth strip is the SIMD-group's.
inline void rotate_wide_strips(device float* columns, int rows, int first_row, int end_row,
                               threadgroup const float4* J_minus_I, device const int* seats, threadgroup float4* strip,
                               int simdgroup, uint lane) {
  const MovedOfLane moved = make_moved_of_lane(lane);
  const StripOfLane own = make_strip_of_lane(lane);
  uint moved_places[wide_strip_moved];
  HeldWideStrip held;
#pragma unroll
  for (int k = 0; k < wide_strip_moved; ++k) {
    moved_places[k] = place_of_column(seats[moved.first_seat + k * wide_strip_step], rows);
    held.x[k] = float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  uint own_places[2][4];  // where what it multiplies goes
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const int seat = c / 4 * wide_columns + own.group_of_columns * 4 + c % 4;
    own_places[c / 4][c % 4] = place_of_column(seats[wide_pair + seat], rows);
  }
  const int rows_together = limits::block_wide_strip_rows * limits::block_wide_strip_simdgroups;
  const int end = min(end_row, rows);
  int start = max(first_row, 0) + simdgroup * limits::block_wide_strip_rows;
  device const float4* next = (device const float4*)(columns + start) + moved.four_of_rows;
  device float4* out = (device float4*)(columns + start) + own.four_of_rows;
  threadgroup const float4* const own_columns = strip + place_in_strip(own.group_of_columns * 4, own.four_of_rows);
  read_wide_strip(next, moved_places, start + moved.four_of_rows * 4 < end, held);
#pragma unroll 1
  for (; start < end; start += rows_together) {
    stage_wide_strip(held, moved, strip);
    // Of device memory too, since sorting writes columns that other lanes have read.
    simdgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    // The next strip is on its way while this one is multiplied.
    next += rows_together / 4;
    read_wide_strip(next, moved_places, start + rows_together + moved.four_of_rows * 4 < end, held);
    const WideChange change = multiply_wide_strip(J_minus_I + own.group_of_columns, strip, own.four_of_rows);
    const bool exist = start + own.four_of_rows * 4 < end;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const float4 old = own_columns[(c / 4 * wide_columns + c % 4) * wide_strip_fours];
      thread const float* const added = change.at[c / 4][c % 4];
      const float4 sum = float4(old.x + added[0], old.y + added[1], old.z + added[2], old.w + added[3]);
      if (exist && own_places[c / 4][c % 4] != no_place) out[own_places[c / 4][c % 4]] = sum;
    }
    out += rows_together / 4;
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// X = X + X (J - I), sorted, for `share` rows of the columns of a table, those of W and those of V behind them.
//
// Grid: a threadgroup of block_wide_strip_threads a matrix, table and share, shares innermost. Ownership: the table
// owns its columns for the round, the share its rows of them, a SIMD-group every fourth strip of these. Barriers: one
// once J is there, and for each strip one of the SIMD-group before it is read and one after. The host promises: J and
// `seats` are those of block_wide_solve for so many `tables` of a matrix; `shares` shares cover the `rows` of W and the
// `v_rows` rows of V.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_wide_strip_threads)]] void block_wide_rotate(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device const T* partials [[buffer(2)]],
    device const int* seats [[buffer(3)]], device const int* states [[buffer(4)]], constant long& rows [[buffer(5)]],
    constant long& padded [[buffer(6)]], constant long& v_rows [[buffer(7)]], constant long& sweep [[buffer(8)]],
    constant long& tables [[buffer(9)]], constant long& table_numbers [[buffer(10)]],
    constant long& share [[buffer(11)]], constant long& shares [[buffer(12)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane_index [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 J_minus_I[wide_gram_entries / 4];
  threadgroup float4 strips[limits::block_wide_strip_simdgroups * wide_strip_entries / 4];

  const uint table = group / uint(shares);
  const int index_of_share = int(group % uint(shares));
  const long matrix = table / uint(tables);
  if (sweep_due(states + matrix * state_words) < int(sweep)) return;
  seats += long(table) * 2 * wide_pair;
  if (seats[0] == wide_at_rest) return;
  device const float4* const product = (device const float4*)(partials + long(table) * table_numbers);
#pragma unroll
  for (int k = 0; k < wide_gram_entries / 4; k += limits::block_wide_strip_threads) {
    J_minus_I[k + int(thread_index)] = product[k + int(thread_index)];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const long first_column = matrix * padded;
  const int first_row = index_of_share * int(share);
  const int end_row = first_row + int(share);
  threadgroup float4* const strip = strips + simdgroup * (wide_strip_entries / 4);
  rotate_wide_strips(W + first_column * rows, int(rows), first_row, end_row, J_minus_I, seats, strip, int(simdgroup),
                     lane_index);
  rotate_wide_strips(V + first_column * v_rows, int(v_rows), first_row - int(rows), end_row - int(rows), J_minus_I,
                     seats, strip, int(simdgroup), lane_index);
}

}  // namespace metalsvd
