// Method `block` on real numbers, last step of a round of three: the columns of every table times its rotations.
//
// SIMD-groups of a threadgroup share J and nothing else: each stages, multiplies and writes strips of rows of its own,
// so that none waits for another, and one reads device memory while others multiply.
#pragma once
#include <metal_stdlib>

#include "block_convergence.h"
#include "block_wide.h"
#include "block_wide_rotate.h"

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

struct HeldWideStrip {
  float4 x[wide_strip_moved];
};

// Rows from `start` on of the columns that the lane moves, which are at every wide_strip_step-th seat; zeros beyond and
// beside them.
inline void read_wide_strip(WideStack stack, thread const int* moved, int start, int end_row, int lane,
                            thread HeldWideStrip& held) {
  const int row = start + lane % wide_strip_fours * 4;
  const WideRowsOfStack rows = rows_of_stack(stack, row);
#pragma unroll
  for (int k = 0; k < wide_strip_moved; ++k) {
    held.x[k] = float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (row >= end_row || moved[k] < 0) continue;
    held.x[k] = *(device const float4*)(rows.first + long(moved[k]) * rows.stride);
  }
}

// Where four rows of a column stand in a strip: lanes that read the same rows of every fourth column would meet in a
// bank otherwise.
inline int place_in_strip(int column, int four_of_rows) {
  return column * wide_strip_fours + (four_of_rows ^ (column / 4 & (wide_strip_fours - 1)));
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

  // Neighbouring lanes take the same rows, and every other the same columns (block_wide_gram.h says why).
  const int lane = int(lane_index);
  const int four_of_rows = (lane >> 1 & 1) | (lane >> 3 & 2);
  const int group_of_columns = (lane & 1) | (lane >> 1 & 6);
  int moved[wide_strip_moved];
#pragma unroll
  for (int k = 0; k < wide_strip_moved; ++k) moved[k] = seats[lane / wide_strip_fours + k * wide_strip_step];
  int columns_of_lane[2][4];  // where what it multiplies goes
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    columns_of_lane[c / 4][c % 4] = seats[wide_pair + c / 4 * wide_columns + group_of_columns * 4 + c % 4];
  }

  const long first_column = matrix * padded;
  const WideStack stack = make_wide_stack(W + first_column * rows, V + first_column * v_rows, rows, v_rows);
  const int end_row = min((index_of_share + 1) * int(share), stack.height);
  const int rows_together = limits::block_wide_strip_rows * limits::block_wide_strip_simdgroups;
  int start = index_of_share * int(share) + int(simdgroup) * limits::block_wide_strip_rows;
  threadgroup float4* const strip = strips + simdgroup * (wide_strip_entries / 4);
  threadgroup const float4* const own_columns = strip + place_in_strip(group_of_columns * 4, four_of_rows);
  HeldWideStrip held;
  read_wide_strip(stack, moved, start, end_row, lane, held);
#pragma unroll 1
  for (; start < end_row; start += rows_together) {
#pragma unroll
    for (int k = 0; k < wide_strip_moved; ++k) {
      strip[place_in_strip(lane / wide_strip_fours + k * wide_strip_step, lane % wide_strip_fours)] = held.x[k];
    }
    // Of device memory too, since sorting writes columns that other lanes have read.
    simdgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    // The next strip is on its way while this one is multiplied.
    read_wide_strip(stack, moved, start + rows_together, end_row, lane, held);
    const WideChange change = multiply_wide_strip(J_minus_I + group_of_columns, strip, four_of_rows);
    const int row = start + four_of_rows * 4;
    const WideRowsOfStack out = rows_of_stack(stack, row);
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const int column = columns_of_lane[c / 4][c % 4];
      if (row >= end_row || column < 0) continue;
      const float4 old = own_columns[(c / 4 * wide_columns + c % 4) * wide_strip_fours];
      thread const float* const added = change.at[c / 4][c % 4];
      *(device float4*)(out.first + long(column) * out.stride) =
          float4(old.x + added[0], old.y + added[1], old.z + added[2], old.w + added[3]);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
}

}  // namespace metalsvd
