// Method `block` on real numbers, first step of a round: the Gram matrices of all tables.
#pragma once
#include <metal_stdlib>

#include "block_convergence.h"
#include "block_seating.h"
#include "block_wide.h"

namespace metalsvd {

using namespace metal;

// Columns are counted modulo 32, in classes of four neighbours and the four 32 on. A lane sums what the class `left`
// has in common with the class `right`, up to 3 classes on, and 4 x 2 entries of what it has with that 4 classes on:
// since the Gram matrix is symmetric, that is all there is, and each SIMD-group sums all of it, of some of the rows.
//
// Four neighbouring lanes take two classes with two others. So each column is read by a lane and the next but one, or
// by a lane and the next: an H100 reads 16 bytes a lane in part the time where all lanes share them in one of these
// ways. Half of the lanes have even classes first, the others odd ones, so that those which read the other four of a
// class first meet them in no bank.
struct WideEntriesOfLane {
  int left, right;
  int leading;  // 0 or 32: of the columns of `left`, those which come first
  int far;      // the first of two columns that meet these
};

inline WideEntriesOfLane wide_entries_of(uint lane) {
  const int first = int(lane) & 1;
  const int second = int(lane) >> 1 & 1;
  const int class_of_four = (int(lane) >> 1 & 6) + (int(lane) >> 4);
  WideEntriesOfLane entries;
  entries.left = (class_of_four + second) & (wide_classes - 1);
  entries.right = (class_of_four + 1 + 2 * first) & (wide_classes - 1);
  entries.leading = second * wide_columns;
  // Of two classes that meet, the halves of the lower meet the same halves of the other, and the halves of that the
  // other halves.
  const int far_half = entries.left < wide_classes / 2 ? second : 1 - second;
  entries.far = far_half * wide_columns + (entries.left ^ wide_classes / 2) * 4 + 2 * first;
  return entries;
}

// The k-th column of a class of which those from `leading` on come first.
inline int wide_column_of_class(int index, int leading, int k) {
  return index * 4 + (k < 4 ? leading : leading ^ wide_columns) + k % 4;
}

// Which columns a thread moves to the tiles: those of a seat and of that 32 on, or -1.
struct ColumnsMoved {
  int p, q;
};

// What a thread moves of a tile: of two columns, 32 seats from each other, four rows in each half. A tile stands row
// after row; the fours of a row are renumbered, differently in rows that four threads move at once, so that these meet
// in no bank.
struct HeldWideTile {
  float4 p[2];
  float4 q[2];
};

// The rows from the one that p points to, of which so many are there, and those of q; zeros beyond them, and where no
// such column exists.
inline void read_wide_tile(device const float* p, long to_q, ColumnsMoved columns, int rows_left,
                           thread HeldWideTile& held) {
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    held.p[part] = float4(0.0f, 0.0f, 0.0f, 0.0f);
    held.q[part] = held.p[part];
    if (rows_left <= part * wide_half_rows) continue;
    if (columns.p >= 0) held.p[part] = *(device const float4*)(p + part * wide_half_rows);
    if (columns.q >= 0) held.q[part] = *(device const float4*)(p + to_q + part * wide_half_rows);
  }
}

inline void store_four_rows(float4 four, threadgroup float* place) {
  place[0] = four.x;
  place[wide_pair] = four.y;
  place[2 * wide_pair] = four.z;
  place[3 * wide_pair] = four.w;
}

// Adds up `count` sums of a thread and of the one `distance` before or behind: the former is left with the first of
// them, the latter with the others. Two barriers for each wide_exchanged of these.
template <int count, int distance>
inline void share_wide_sums(threadgroup float* words, int thread_index, thread float* sums) {
  const int kept = count / 2;
  const int exchanged = kept < wide_exchanged ? kept : int(wide_exchanged);
  const bool is_behind = thread_index & distance;
  threadgroup float* const own = words + thread_index;
  threadgroup const float* const other = words + (thread_index ^ distance);
#pragma unroll
  for (int first = 0; first < kept; first += exchanged) {
    if (is_behind) {
#pragma unroll
      for (int k = 0; k < exchanged; ++k) own[k * limits::block_threads] = sums[first + k];
    } else {
#pragma unroll
      for (int k = 0; k < exchanged; ++k) own[k * limits::block_threads] = sums[kept + first + k];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (is_behind) {
#pragma unroll
      for (int k = 0; k < exchanged; ++k) sums[first + k] = sums[kept + first + k] + other[k * limits::block_threads];
    } else {
#pragma unroll
      for (int k = 0; k < exchanged; ++k) sums[first + k] += other[k * limits::block_threads];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// Of a row of a tile, from where its SIMD-group's part of it begins: the entries of a lane.
inline void add_wide_row(threadgroup const float4* row, WideEntriesOfLane entries, int simdgroup, thread float* sums) {
  float left[wide_side];
  float right[wide_side];
  read_four(row + (entries.left ^ simdgroup) + entries.leading / 4, left);
  read_four(row + (entries.left ^ simdgroup) + (entries.leading ^ wide_columns) / 4, left + 4);
  read_four(row + (entries.right ^ simdgroup), right);
  read_four(row + (entries.right ^ simdgroup) + wide_columns / 4, right + 4);
  const float2 far = ((threadgroup const float2*)row)[(entries.far ^ simdgroup * 4) / 2];
#pragma unroll
  for (int a = 0; a < wide_side; ++a) {
#pragma unroll
    for (int b = 0; b < wide_side; ++b) {
      const int k = a * wide_entries_per_thread + b;
      sums[k] = fma(left[a], right[b], sums[k]);
    }
  }
#pragma unroll
  for (int a = 0; a < 4; ++a) {
    const int k = 2 * a * wide_entries_per_thread + wide_side;
    sums[k] = fma(left[a], far.x, sums[k]);
    sums[k + wide_entries_per_thread] = fma(left[a], far.y, sums[k + wide_entries_per_thread]);
  }
}

inline int wide_seat_moved(int thread_index) { return thread_index / limits::block_simdgroups; }

// X^H X, where X is rows [first_row, end_row) of the columns of a table: an eighth of the entries of each lane is left
// to each thread in `kept`; always in the same order, so that the bits do not depend on who runs when. `W` is that of
// the matrix. Two barriers for each tile, before and after it is read, and those of share_wide_sums.
inline void sum_wide_gram(device const float* W, ColumnsMoved columns, long rows, int first_row, int end_row,
                          threadgroup float4* tile, int thread_index, thread float* kept) {
  const int fours_of_row = wide_pair / 4;
  const int count = wide_entries_of_lane;
  threadgroup float* const words = (threadgroup float*)tile;
  const int simdgroup = thread_index / limits::simd_width;
  const WideEntriesOfLane entries = wide_entries_of(uint(thread_index % limits::simd_width));
  threadgroup const float4* const rows_of_simdgroup = tile + simdgroup * 4 * fours_of_row;
  float sums[count];
#pragma unroll
  for (int k = 0; k < count; ++k) sums[k] = 0.0f;

  const int four_moved = thread_index % limits::block_simdgroups;
  threadgroup float* const place =
      words + four_moved * 4 * wide_pair + (wide_seat_moved(thread_index) ^ four_moved * 4);
  device const float* p = W + columns.p * rows + first_row + four_moved * 4;
  const long to_q = (columns.q - columns.p) * rows;
  const int last_row = end_row - four_moved * 4;
  HeldWideTile held;
  read_wide_tile(p, to_q, columns, last_row - first_row, held);
#pragma unroll 1
  for (int start = first_row; start < end_row; start += wide_tile_rows) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      store_four_rows(held.p[part], place + part * wide_half_rows * wide_pair);
      store_four_rows(held.q[part], place + part * wide_half_rows * wide_pair + wide_columns);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The next tile is on its way while this one is summed up.
    p += wide_tile_rows;
    read_wide_tile(p, to_q, columns, last_row - start - wide_tile_rows, held);
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        add_wide_row(rows_of_simdgroup + (part * wide_half_rows + r) * fours_of_row, entries, simdgroup, sums);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  share_wide_sums<count, limits::block_threads / 2>(words, thread_index, sums);
  share_wide_sums<count / 2, limits::block_threads / 4>(words, thread_index, sums);
  share_wide_sums<count / 4, limits::block_threads / 8>(words, thread_index, sums);
#pragma unroll
  for (int k = 0; k < wide_entries_per_thread; ++k) kept[k] = sums[k];
}

// The entries that sum_wide_gram leaves to a thread, and their mirror images: a SIMD-group has a column of each class
// `left` with the class `right`, and one of the entries of classes that are 4 apart.
inline void store_wide_entries(thread const float* kept, int thread_index, threadgroup float* G) {
  const WideEntriesOfLane entries = wide_entries_of(uint(thread_index % limits::simd_width));
  const int simdgroup = thread_index / limits::simd_width;
  const int left = wide_column_of_class(entries.left, entries.leading, simdgroup);
#pragma unroll
  for (int k = 0; k < wide_side; ++k) {
    const int right = wide_column_of_class(entries.right, 0, k);
    G[right * wide_pair + left] = kept[k];
    // What a class has with itself holds these too.
    if (entries.left != entries.right) G[left * wide_pair + right] = kept[k];
  }
  const int far_left = wide_column_of_class(entries.left, entries.leading, simdgroup / 2);
  const int far_right = entries.far + simdgroup % 2;
  G[far_right * wide_pair + far_left] = kept[wide_side];
  G[far_left * wide_pair + far_right] = kept[wide_side];
}

// partials[table][chunk][k][thread], table_numbers a table, = the thread's k-th entry of X^H X, where X is the chunk's
// rows of the columns at the table.
//
// Grid: a threadgroup of block_threads a matrix, table and chunk, chunks innermost. Ownership and barriers: those of
// sum_wide_gram. The host promises: `chunks` chunks of `chunk_rows` cover the rows, and what is seated is a round of
// the `columns` of a matrix (csrc/seating.h), behind which W has others that nothing touches, up to `padded`.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_gram(
    device const T* W [[buffer(0)]], device T* partials [[buffer(1)]], device const int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& padded [[buffer(5)]],
    constant long& sweep [[buffer(6)]], constant long& classes [[buffer(7)]], constant long& order [[buffer(8)]],
    constant long& point_bits [[buffer(9)]], constant long& slope [[buffer(10)]],
    constant long& polynomial [[buffer(11)]], constant long& table_numbers [[buffer(12)]],
    constant long& chunk_rows [[buffer(13)]], constant long& chunks [[buffer(14)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float4 tile[wide_tile_entries / 4];
  const Seating seating = make_seating(classes, order, point_bits, slope, polynomial);
  const TableTask task = make_table_task(group, int(chunks), seating);
  if (sweep_due(states + task.matrix * state_words) < int(sweep)) return;
  // Found here, since the sums leave few registers.
  partials += task.table * table_numbers + task.chunk * wide_partial_entries + thread_index;
  W += task.matrix * padded * rows;
  const int seat = wide_seat_moved(int(thread_index));
  ColumnsMoved moved;
  moved.p = column_at_seat(seating, task.table_of_matrix, seat, int(columns));
  moved.q = column_at_seat(seating, task.table_of_matrix, seat + wide_columns, int(columns));
  const int first_row = task.chunk * int(chunk_rows);
  const int end_row = int(min(long(first_row) + chunk_rows, long(rows)));
  float sums[wide_entries_per_thread];
  sum_wide_gram(W, moved, rows, first_row, end_row, tile, int(thread_index), sums);
#pragma unroll
  for (int k = 0; k < wide_entries_per_thread; ++k) partials[k * limits::block_threads] = sums[k];
}

}  // namespace metalsvd
