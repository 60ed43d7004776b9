// Method `block` on real numbers, second step of a round: the rotations of every pair of blocks, and its columns times
// them. Where many threadgroups share a pair, these are two steps (block_wide_strip.h).
#pragma once
#include <metal_stdlib>

#include "block_convergence.h"
#include "block_wide.h"
#include "block_wide_gram.h"
#include "block_wide_solve.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

enum : int {
  // A tile is staged in slices, a block each, of which a thread moves four rows in so many columns.
  wide_slice_entries = wide_columns * limits::block_wide_turned_rows(wide_columns),
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

// The columns of a block, from column `first` of the matrix on, in the rows of a tile from `start` on; zeros beyond and
// beside them. What thread t moves stands at t in the slice, and as much further as there are threads for.
template <int fours>
inline void read_wide_slice(WideStack stack, int first, int width, int start, int end_row, int thread_index,
                            thread HeldWideSlice& held) {
  const int together = limits::block_threads / fours;  // fours of rows
  const int row = start + thread_index % together * 4;
  const WideRowsOfStack rows = rows_of_stack(stack, row);
#pragma unroll
  for (int k = 0; k < wide_moved_in_slice; ++k) {
    const int j = thread_index / together + k * fours;
    const bool exists = thread_index < together * fours && j < width && row < end_row;
    held.x[k] =
        exists ? *(device const float4*)(rows.first + long(first + j) * rows.stride) : float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
}

// X = X + X (J - I), sorted, for rows [first_row, end_row) of the columns of a pair of blocks, which are `fours` times
// four. Two barriers for each slice, before and after it is read; the last of a tile orders device memory too, since
// sorting writes columns that others have read.
template <int fours>
inline void rotate_wide_tiles(WideStack stack, PairTask task, Blocks blocks, int first_row, int end_row,
                              threadgroup const float4* J_minus_I, threadgroup const int* places,
                              threadgroup float4* slice, int thread_index) {
  const int columns = 4;
  const int together = limits::block_threads / fours;
  const int tile_rows = 4 * together;
  // Neighbouring threads take the same rows, and every other the same columns (block_wide_gram.h says why).
  const int four_of_rows = thread_index / 2 % together;
  const int four_of_columns = thread_index / 2 / together * 2 + thread_index % 2;
  const bool is_second = four_of_columns >= fours / 2;
  const int column_in_slice = (is_second ? four_of_columns - fours / 2 : four_of_columns) * columns;
  const int first_column = (is_second ? int(wide_columns) : 0) + column_in_slice;
  // A block without columns has nothing to add to the other.
  const bool is_alone = task.q >= blocks.width * blocks.count;
  const bool exists = four_of_columns < (is_alone ? fours / 2 : fours);
  threadgroup const float4* const rows = slice + four_of_rows;
  threadgroup const float4* const columns_of_J = J_minus_I + first_column / 4;
  HeldWideSlice held;
  read_wide_slice<fours>(stack, task.p, blocks.width, first_row, end_row, thread_index, held);
#pragma unroll 1
  for (int start = first_row; start < end_row; start += tile_rows) {
    float old[columns][4];
    float change[columns][4];
#pragma unroll
    for (int c = 0; c < columns; ++c) {
#pragma unroll
      for (int r = 0; r < 4; ++r) change[c][r] = 0.0f;
    }
#pragma unroll 1
    for (int first = 0; first < (is_alone ? int(wide_columns) : int(wide_pair)); first += wide_columns) {
#pragma unroll
      for (int k = 0; k < wide_moved_in_slice; ++k) {
        if (thread_index < together * fours) slice[thread_index + k * together * fours] = held.x[k];
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      // The next slice is on its way while this one is multiplied.
      const bool is_last = is_alone || first > 0;
      read_wide_slice<fours>(stack, is_last ? task.p : task.q, blocks.width, is_last ? start + tile_rows : start,
                             end_row, thread_index, held);
      if (exists && is_second == (first > 0)) {
#pragma unroll
        for (int c = 0; c < columns; ++c) read_four(rows + (column_in_slice + c) * together, old[c]);
      }
      // Columns that do not exist add nothing, and need nothing.
#pragma unroll 1
      for (int i = 0; i < (exists ? blocks.width : 0); i += 4) {
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
      if (!exists || row >= end_row || !exists_in_pair(first_column + c, blocks)) continue;
#pragma unroll
      for (int r = 0; r < 4; ++r) change[c][r] += old[c][r];
      *(device float4*)(out.first + column_of_wide_pair(task, places[first_column + c], blocks) * out.stride) =
          float4(change[c][0], change[c][1], change[c][2], change[c][3]);
    }
  }
}

// The same for blocks of any width. Three blocks or more, as the planner makes them of more than 64 columns, have 22
// each.
inline void rotate_wide_rows(WideStack stack, PairTask task, Blocks blocks, int first_row, int end_row,
                             threadgroup const float4* J_minus_I, threadgroup const int* places,
                             threadgroup float4* slice, int thread_index) {
  const int fours = limits::block_wide_fours(blocks.width);
  if (fours == 16) {
    rotate_wide_tiles<16>(stack, task, blocks, first_row, end_row, J_minus_I, places, slice, thread_index);
  } else if (fours == 14) {
    rotate_wide_tiles<14>(stack, task, blocks, first_row, end_row, J_minus_I, places, slice, thread_index);
  } else {
    rotate_wide_tiles<12>(stack, task, blocks, first_row, end_row, J_minus_I, places, slice, thread_index);
  }
}

// The entries of a thread of the Gram matrix of a pair, added up chunk after chunk, of which so many are on their way
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

// G, known to all after a barrier: of all columns of a pair, or where what is within the blocks has been `carried` on,
// of one block with the other.
inline void load_wide_gram(device const float* partials, WideOwn own, bool is_carried, long chunks,
                           threadgroup float* G, int thread_index) {
  if (is_carried) {
    const float4 of_p = own.p[thread_index];
    const float4 of_q = own.q[thread_index];
    float sums[wide_cross_entries_per_thread];
    add_wide_partials<wide_cross_entries_per_thread, 2 * limits::block_wide_chunks>(partials, chunks, thread_index,
                                                                                    sums);
    store_wide_cross(sums, thread_index, G);
    put_own(of_p, of_q, G, thread_index);
  } else {
    float sums[wide_entries_per_thread];
    add_wide_partials<wide_entries_per_thread, limits::block_wide_chunks>(partials, chunks, thread_index, sums);
    store_wide_entries(sums, thread_index, G);
  }
}

// In J as solve_wide leaves it, the place of four numbers of a row that are stored without gaps.
inline int place_of_four(int index) {
  return index / (wide_pair / 4) * (wide_product_stride / 4) + index % (wide_pair / 4);
}

// The rotations of every pair, where they are a step of their own: J - I in the place of the partial Gram matrices that
// it comes from, and places[pair], the first of them negative where there is nothing to rotate. What it finds asks for
// the next sweep (block_convergence.h).
//
// Grid: a threadgroup of block_threads a matrix and pair. Barriers: one once the Gram matrix is added up, those of
// solve_wide, or one. The host promises: as for block_wide_gram, of what one block has in common with the other but in
// the first round. Threadgroups of one matrix meet in its `states` only.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_solve(
    device T* partials [[buffer(0)]], device int* places [[buffer(1)]], device atomic_int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& width [[buffer(4)]], constant long& block_count [[buffer(5)]],
    constant long& chunks [[buffer(6)]], constant long& round [[buffer(7)]], constant long& sweep [[buffer(8)]],
    constant long& passes [[buffer(9)]], device T* own_entries [[buffer(10)]],
    constant long& pair_numbers [[buffer(11)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 tile[wide_product_entries / 4];  // G, then J - I
  threadgroup float4 told[2 * wide_told / 4];
  threadgroup int places_of_pair[wide_pair];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  threadgroup float* const G = (threadgroup float*)tile;
  const WideMemory memory = make_wide_memory(G, told, places_of_pair, slots);

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, 1, int(round), blocks);
  states += task.matrix * state_words;
  if (sweep_due(states) < int(sweep)) return;
  partials += task.pair * pair_numbers;
  const WideOwn own = make_wide_own(own_entries, true, int(round), task, blocks);
  load_wide_gram(partials, own, round > 0, chunks, G, team.index);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);  // J goes where these stand
  const BlockTolerances tolerances = make_wide_tolerances(rows, blocks);
  const uint found = solve_wide(memory, blocks, int(passes), tolerances, own, team);
  if (team.index == 0) ask_for_next_sweep(states, found, int(sweep));
  if (team.index < wide_pair) {
    places[task.pair * wide_pair + team.index] = found == found_nothing ? -1 : places_of_pair[team.index];
  }
  if (found == found_nothing) {
    store_own_as_it_is(G, places_of_pair, own, team.index);
    return;
  }
  device float4* const J_minus_I = (device float4*)partials;
#pragma unroll
  for (int k = 0; k < wide_product_fours; ++k) {
    const int index = team.index + k * limits::block_threads;
    J_minus_I[index] = tile[place_of_four(index)];
  }
}

// Rotates `share` rows of the columns of a pair, those of W and those of V behind them, by rotations that each
// threadgroup finds from the Gram matrices itself, as block_wide_solve does.
//
// Grid: a threadgroup of block_threads a matrix, pair and share, shares innermost. Ownership: the pair
// owns its columns for the round, the share its rows of them. Barriers: one once the Gram matrix is added up, then
// those of solve_wide and of rotate_wide_rows. The host promises: as for block_wide_gram; `shares` shares cover the
// `rows` of W and the `columns` rows of V.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_turn(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device const T* partials [[buffer(2)]],
    device atomic_int* states [[buffer(3)]], constant long& rows [[buffer(4)]], constant long& columns [[buffer(5)]],
    constant long& width [[buffer(6)]], constant long& block_count [[buffer(7)]], constant long& chunks [[buffer(8)]],
    constant long& share [[buffer(9)]], constant long& shares [[buffer(10)]], constant long& round [[buffer(11)]],
    constant long& sweep [[buffer(12)]], constant long& passes [[buffer(13)]], device T* own_entries [[buffer(14)]],
    constant long& pair_numbers [[buffer(15)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 tile[wide_product_entries / 4];  // G, then J - I
  threadgroup float4 slice[wide_slice_entries / 4];
  threadgroup float4 told[2 * wide_told / 4];
  threadgroup int places[wide_pair];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  threadgroup float* const G = (threadgroup float*)tile;
  const WideMemory memory = make_wide_memory(G, told, places, slots);

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, int(shares), int(round), blocks);
  states += task.matrix * state_words;
  if (sweep_due(states) < int(sweep)) return;
  partials += task.pair * pair_numbers;
  const WideOwn own = make_wide_own(own_entries, task.chunk == 0, int(round), task, blocks);
  load_wide_gram(partials, own, round > 0, chunks, G, team.index);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const BlockTolerances tolerances = make_wide_tolerances(rows, blocks);
  const uint found = solve_wide(memory, blocks, int(passes), tolerances, own, team);
  if (found == found_nothing) {
    if (own.stores) store_own_as_it_is(G, places, own, team.index);
    return;
  }
  if (task.chunk == 0 && team.index == 0) ask_for_next_sweep(states, found, int(sweep));
  const long matrix_columns = task.matrix * padded_columns(blocks);
  const WideStack stack = make_wide_stack(W + matrix_columns * rows, V + matrix_columns * columns, rows, columns);
  const int first_row = task.chunk * int(share);
  rotate_wide_rows(stack, task, blocks, first_row, min(first_row + int(share), stack.height), tile, places, slice,
                   team.index);
}

}  // namespace metalsvd
