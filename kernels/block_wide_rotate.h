// Method `block` on real numbers, second step of a round: the rotations of every table, and its columns times them.
// Where many threadgroups share a table, these are two steps (block_wide_strip.h).
#pragma once
#include <metal_stdlib>

#include "block_convergence.h"
#include "block_seating.h"
#include "block_wide.h"
#include "block_wide_gram.h"
#include "block_wide_solve.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

enum : int {
  // Columns are rotated by threads that take four of them each, of four rows. A tile is staged in slices of 32 seats,
  // of which a thread moves four rows of two columns.
  wide_fours = wide_pair / 4,
  wide_fours_together = int(limits::block_wide_turned_rows) / 4,  // of rows
  wide_slice_entries = wide_columns * int(limits::block_wide_turned_rows),
  wide_moved_in_slice = 2,
  // Fours of J that a thread moves, where that comes from another step.
  wide_product_fours = wide_gram_entries / 4 / int(limits::block_threads)
};

// The columns of W of a matrix, and those of V below them: `height` rows together.
struct WideStack {
  device float* W;
  device float* V;
  int w_height;
  int height;
};

inline WideStack make_wide_stack(device float* W, device float* V, long rows, long columns) {
  WideStack stack;
  stack.W = W;
  stack.V = V;
  stack.w_height = int(rows);
  stack.height = int(rows + columns);
  return stack;
}

// Four rows of the first column, and how far they are from those of the next.
struct WideRowsOfStack {
  device float* first;
  int stride;
};

inline WideRowsOfStack rows_of_stack(WideStack stack, int row) {
  const bool is_in_W = row < stack.w_height;
  WideRowsOfStack rows;
  rows.first = is_in_W ? stack.W + row : stack.V + (row - stack.w_height);
  rows.stride = is_in_W ? stack.w_height : stack.height - stack.w_height;
  return rows;
}

struct HeldWideSlice {
  float4 x[wide_moved_in_slice];
};

// The columns of 32 seats in the rows of a tile from `start` on; zeros beyond and beside them. What thread t moves
// stands at t in the slice, and as much further as there are threads.
inline void read_wide_slice(WideStack stack, threadgroup const int* seats, int start, int end_row, int thread_index,
                            thread HeldWideSlice& held) {
  const int row = start + thread_index % wide_fours_together * 4;
  const WideRowsOfStack rows = rows_of_stack(stack, row);
#pragma unroll
  for (int k = 0; k < wide_moved_in_slice; ++k) {
    const int column = seats[thread_index / wide_fours_together + k * wide_fours];
    held.x[k] = float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (column >= 0 && row < end_row) held.x[k] = *(device const float4*)(rows.first + long(column) * rows.stride);
  }
}

// X = X + X (J - I), sorted, for rows [first_row, end_row) of the columns of a table. Two barriers for each slice,
// before and after it is read; the last of a tile orders device memory too, since sorting writes columns that others
// have read.
inline void rotate_wide_rows(WideStack stack, int first_row, int end_row, threadgroup const float4* J_minus_I,
                             threadgroup const int* seats, threadgroup float4* slice, int thread_index) {
  const int columns = 4;
  const int together = wide_fours_together;
  // Neighbouring threads take the same rows, and every other the same columns (block_wide_gram.h says why).
  const int four_of_rows = thread_index / 2 % together;
  const int four_of_columns = thread_index / 2 / together * 2 + thread_index % 2;
  const bool is_second = four_of_columns >= wide_fours / 2;
  const int column_in_slice = four_of_columns % (wide_fours / 2) * columns;
  threadgroup const float4* const rows = slice + four_of_rows;
  threadgroup const float4* const columns_of_J = J_minus_I + four_of_columns;
  HeldWideSlice held;
  read_wide_slice(stack, seats, first_row, end_row, thread_index, held);
#pragma unroll 1
  for (int start = first_row; start < end_row; start += int(limits::block_wide_turned_rows)) {
    float old[columns][4];
    float change[columns][4];
#pragma unroll
    for (int c = 0; c < columns; ++c) {
#pragma unroll
      for (int r = 0; r < 4; ++r) change[c][r] = 0.0f;
    }
#pragma unroll 1
    for (int first = 0; first < wide_pair; first += wide_columns) {
#pragma unroll
      for (int k = 0; k < wide_moved_in_slice; ++k) slice[thread_index + k * limits::block_threads] = held.x[k];
      threadgroup_barrier(mem_flags::mem_threadgroup);
      // The next slice is on its way while this one is multiplied.
      const int next = first == 0 ? start : start + int(limits::block_wide_turned_rows);
      read_wide_slice(stack, seats + (first == 0 ? int(wide_columns) : 0), next, end_row, thread_index, held);
      if (is_second == (first > 0)) {
#pragma unroll
        for (int c = 0; c < columns; ++c) read_four(rows + (column_in_slice + c) * together, old[c]);
      }
#pragma unroll 1
      for (int i = 0; i < wide_columns; i += 4) {
#pragma unroll
        for (int k = i; k < i + 4; ++k) {
          float factors[columns];
          float row[4];
          read_four(columns_of_J + (first + k) * (wide_product_stride / 4), factors);
          read_four(rows + k * together, row);
#pragma unroll
          for (int c = 0; c < columns; ++c) {
#pragma unroll
            for (int r = 0; r < 4; ++r) change[c][r] = fma(row[r], factors[c], change[c][r]);
          }
        }
      }
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    }
    const int row = start + four_of_rows * 4;
    const WideRowsOfStack out = rows_of_stack(stack, row);
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      const int column = seats[wide_pair + four_of_columns * columns + c];
      if (row >= end_row || column < 0) continue;
#pragma unroll
      for (int r = 0; r < 4; ++r) change[c][r] += old[c][r];
      *(device float4*)(out.first + long(column) * out.stride) =
          float4(change[c][0], change[c][1], change[c][2], change[c][3]);
    }
  }
}

// The entries of a thread of the Gram matrix of a table, added up chunk after chunk, of which so many are on their way
// at a time.
template <int per_thread, int together>
inline void add_wide_partials(device const float* partials, long chunks, int thread_index, thread float* sums) {
  const int per_chunk = per_thread * limits::block_threads;
  partials += thread_index;
#pragma unroll
  for (int k = 0; k < per_thread; ++k) sums[k] = 0.0f;
#pragma unroll 1
  for (int chunk = 0; chunk < int(chunks); chunk += together) {
    float part[together][per_thread];
#pragma unroll
    for (int i = 0; i < together; ++i) {
      if (chunk + i >= int(chunks)) continue;
#pragma unroll
      for (int k = 0; k < per_thread; ++k) part[i][k] = partials[i * per_chunk + k * limits::block_threads];
    }
#pragma unroll
    for (int i = 0; i < together; ++i) {
      if (chunk + i >= int(chunks)) continue;
#pragma unroll
      for (int k = 0; k < per_thread; ++k) sums[k] += part[i][k];
    }
    partials += together * per_chunk;
  }
}

// G and the seats, known to all after a barrier.
inline void load_wide_table(device const float* partials, long chunks, Seating seating, int table, long columns,
                            WideMemory memory, int thread_index) {
  if (thread_index < wide_pair) {
    take_seat(memory, thread_index, column_at_seat(seating, table, thread_index, int(columns)));
  }
  float sums[wide_entries_per_thread];
  add_wide_partials<wide_entries_per_thread, limits::block_wide_chunks>(partials, chunks, thread_index, sums);
  store_wide_entries(sums, thread_index, memory.G);
}

// In J as solve_wide leaves it, the place of four numbers of a row that are stored without gaps.
inline int place_of_four(int index) {
  return index / (wide_pair / 4) * (wide_product_stride / 4) + index % (wide_pair / 4);
}

// The rotations of every table, where they are a step of their own: J - I in the place of the partial Gram matrices
// that it comes from, and seats[table], the column of each and then where it goes, or wide_at_rest where there is
// nothing to rotate. What it finds asks for the next sweep (block_convergence.h).
//
// Grid: a threadgroup of block_threads a matrix and table. Barriers: one once the Gram matrix is added up, those of
// solve_wide, or one. The host promises: as for block_wide_gram. Threadgroups of one matrix meet in its `states` only.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_solve(
    device T* partials [[buffer(0)]], device int* seats [[buffer(1)]], device atomic_int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& padded [[buffer(5)]],
    constant long& sweep [[buffer(6)]], constant long& classes [[buffer(7)]], constant long& order [[buffer(8)]],
    constant long& point_bits [[buffer(9)]], constant long& slope [[buffer(10)]],
    constant long& polynomial [[buffer(11)]], constant long& table_numbers [[buffer(12)]],
    constant long& chunks [[buffer(13)]], constant long& passes [[buffer(14)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 tile[wide_product_entries / 4];  // G, then J - I
  threadgroup float4 told[2 * wide_told / 4];
  threadgroup int seats_of_table[2 * wide_pair];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const WideMemory memory = make_wide_memory((threadgroup float*)tile, told, seats_of_table, slots);

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Seating seating = make_seating(classes, order, point_bits, slope, polynomial);
  const TableTask task = make_table_task(group, 1, seating);
  states += task.matrix * state_words;
  if (sweep_due(states) < int(sweep)) return;
  partials += task.table * table_numbers;
  load_wide_table(partials, chunks, seating, task.table_of_matrix, columns, memory, team.index);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);  // J goes where these stand
  const uint found = solve_wide(memory, int(sweep), int(passes), make_wide_tolerances(rows, padded), team);
  if (team.index == 0) ask_for_next_sweep(states, found, int(sweep));
  if (team.index < 2 * wide_pair) {
    seats[task.table * 2 * wide_pair + team.index] =
        found == found_nothing ? int(wide_at_rest) : seats_of_table[team.index];
  }
  if (found == found_nothing) return;
  device float4* const J_minus_I = (device float4*)partials;
#pragma unroll
  for (int k = 0; k < wide_product_fours; ++k) {
    const int index = team.index + k * limits::block_threads;
    J_minus_I[index] = tile[place_of_four(index)];
  }
}

// Rotates `share` rows of the columns of a table, those of W and those of V behind them, by rotations that each
// threadgroup finds from the Gram matrices itself, as block_wide_solve does.
//
// Grid: a threadgroup of block_threads a matrix, table and share, shares innermost. Ownership: the table owns its
// columns for the round, the share its rows of them. Barriers: one once the Gram matrix is added up, then those of
// solve_wide and of rotate_wide_rows. The host promises: as for block_wide_gram; `shares` shares cover the `rows` of W
// and the `v_rows` rows of V.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_turn(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device atomic_int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& padded [[buffer(5)]],
    constant long& sweep [[buffer(6)]], constant long& classes [[buffer(7)]], constant long& order [[buffer(8)]],
    constant long& point_bits [[buffer(9)]], constant long& slope [[buffer(10)]],
    constant long& polynomial [[buffer(11)]], constant long& table_numbers [[buffer(12)]],
    constant long& chunks [[buffer(13)]], constant long& passes [[buffer(14)]], device const T* partials [[buffer(15)]],
    constant long& v_rows [[buffer(16)]], constant long& share [[buffer(17)]], constant long& shares [[buffer(18)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 tile[wide_product_entries / 4];  // G, then J - I
  threadgroup float4 slice[wide_slice_entries / 4];
  threadgroup float4 told[2 * wide_told / 4];
  threadgroup int seats[2 * wide_pair];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const WideMemory memory = make_wide_memory((threadgroup float*)tile, told, seats, slots);

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Seating seating = make_seating(classes, order, point_bits, slope, polynomial);
  const TableTask task = make_table_task(group, int(shares), seating);
  states += task.matrix * state_words;
  if (sweep_due(states) < int(sweep)) return;
  partials += task.table * table_numbers;
  load_wide_table(partials, chunks, seating, task.table_of_matrix, columns, memory, team.index);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint found = solve_wide(memory, int(sweep), int(passes), make_wide_tolerances(rows, padded), team);
  if (found == found_nothing) return;
  if (task.chunk == 0 && team.index == 0) ask_for_next_sweep(states, found, int(sweep));
  const long first_column = task.matrix * padded;
  const WideStack stack = make_wide_stack(W + first_column * rows, V + first_column * v_rows, rows, v_rows);
  const int first_row = task.chunk * int(share);
  rotate_wide_rows(stack, first_row, min(first_row + int(share), stack.height), tile, seats, slice, team.index);
}

}  // namespace metalsvd
