// Method `block` on real numbers, last step of a round of three: the columns of every pair of blocks times its
// rotations.
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
  // A lane multiplies four rows with four columns of either block.
  wide_strip_groups = wide_columns / 4,
  // Columns that are multiplied in one turn of the loop: as many as take all orders that place_in_strip knows of.
  wide_strip_turn = 4 * wide_strip_fours,
  wide_turns_of_block = wide_columns / wide_strip_turn
};

struct HeldWideStrip {
  float4 x[wide_strip_moved];
};

// Rows from `start` on of the columns of a pair; zeros beyond and beside them.
inline void read_wide_strip(WideStack stack, PairTask task, Blocks blocks, int start, int end_row, int lane,
                            thread HeldWideStrip& held) {
  const int row = start + lane % wide_strip_fours * 4;
  const int j = lane / wide_strip_fours;
  const WideRowsOfStack rows = rows_of_stack(stack, row);
  device const float* column = rows.first + long(task.p + j) * rows.stride;
  device const float* const column_of_q = rows.first + long(task.q + j) * rows.stride;
#pragma unroll
  for (int k = 0; k < wide_strip_moved; ++k) {
    if (k == wide_strip_moved / 2) column = column_of_q;
    held.x[k] = float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (row < end_row && exists_in_pair(j + k * wide_strip_step, blocks)) held.x[k] = *(device const float4*)column;
    column += wide_strip_step * rows.stride;
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

// What a lane adds to four rows of four columns of either block.
struct WideChange {
  float at[2][4][4];
};

// Four rows of a strip times the columns of J - I from `J` on. What is multiplied next is read before.
inline WideChange multiply_wide_strip(threadgroup const float4* J, threadgroup const float4* strip, int four_of_rows,
                                      bool is_alone) {
  WideChange change;
#pragma unroll
  for (int c = 0; c < 8; ++c) {
#pragma unroll
    for (int r = 0; r < 4; ++r) change.at[c / 4][c % 4][r] = 0.0f;
  }
  const int turns = is_alone ? wide_turns_of_block : 2 * wide_turns_of_block;
  WideFactors next;
  read_wide_factors(J, strip + four_of_rows, next);
#pragma unroll 1
  for (int turn = 0; turn < turns; ++turn) {
    const int next_turn = min(turn + 1, turns - 1);
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

// X = X + X (J - I), sorted, for `share` rows of the columns of a pair, those of W and those of V behind them.
//
// Grid: a threadgroup of block_wide_strip_threads a matrix, pair and share, shares innermost. Ownership: the pair owns
// its columns for the round, the share its rows of them, a SIMD-group every fourth strip of these. Barriers: one once J
// is there, and for each strip one of the SIMD-group before it is read and one after. The host promises: as for
// block_wide_solve; `shares` shares cover the `rows` of W and the `columns` rows of V.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_wide_strip_threads)]] void block_wide_rotate(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device const T* partials [[buffer(2)]],
    device const int* places [[buffer(3)]], device const int* states [[buffer(4)]], constant long& rows [[buffer(5)]],
    constant long& columns [[buffer(6)]], constant long& width [[buffer(7)]], constant long& block_count [[buffer(8)]],
    constant long& pair_numbers [[buffer(9)]], constant long& share [[buffer(10)]],
    constant long& shares [[buffer(11)]], constant long& round [[buffer(12)]], constant long& sweep [[buffer(13)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane_index [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 J_minus_I[wide_gram_entries / 4];
  threadgroup float4 strips[limits::block_wide_strip_simdgroups * wide_strip_entries / 4];

  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, int(shares), int(round), blocks);
  if (sweep_due(states + task.matrix * state_words) < int(sweep)) return;
  places += task.pair * wide_pair;
  if (places[0] < 0) return;
  device const float4* const product = (device const float4*)(partials + task.pair * pair_numbers);
#pragma unroll
  for (int k = 0; k < wide_gram_entries / 4; k += limits::block_wide_strip_threads) {
    J_minus_I[k + int(thread_index)] = product[k + int(thread_index)];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // Neighbouring lanes take the same rows, and every other the same columns (block_wide_gram.h says why).
  const int lane = int(lane_index);
  const int four_of_rows = (lane >> 1 & 1) | (lane >> 3 & 2);
  const int group_of_columns = (lane & 1) | (lane >> 1 & 6);
  const bool is_alone = task.q >= blocks.width * blocks.count;  // a block without columns has nothing to add
  int columns_of_lane[2][4];                                    // where they go; none where these do not exist
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const int index = c / 4 * wide_columns + group_of_columns * 4 + c % 4;
    const bool exists = exists_in_pair(index, blocks) && (c < 4 || !is_alone);
    columns_of_lane[c / 4][c % 4] = exists ? int(column_of_wide_pair(task, places[index], blocks)) : -1;
  }

  const long matrix_columns = task.matrix * padded_columns(blocks);
  const WideStack stack = make_wide_stack(W + matrix_columns * rows, V + matrix_columns * columns, rows, columns);
  const int end_row = min((task.chunk + 1) * int(share), stack.height);
  const int rows_together = limits::block_wide_strip_rows * limits::block_wide_strip_simdgroups;
  int start = task.chunk * int(share) + int(simdgroup) * limits::block_wide_strip_rows;
  threadgroup float4* const strip = strips + simdgroup * (wide_strip_entries / 4);
  threadgroup const float4* const own_columns = strip + place_in_strip(group_of_columns * 4, four_of_rows);
  HeldWideStrip held;
  read_wide_strip(stack, task, blocks, start, end_row, lane, held);
#pragma unroll 1
  for (; start < end_row; start += rows_together) {
#pragma unroll
    for (int k = 0; k < wide_strip_moved; ++k) {
      strip[place_in_strip(lane / wide_strip_fours + k * wide_strip_step, lane % wide_strip_fours)] = held.x[k];
    }
    // Of device memory too, since sorting writes columns that other lanes have read.
    simdgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    // The next strip is on its way while this one is multiplied.
    read_wide_strip(stack, task, blocks, start + rows_together, end_row, lane, held);
    const WideChange change = multiply_wide_strip(J_minus_I + group_of_columns, strip, four_of_rows, is_alone);
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
