// Method `block` on real numbers: tables of 64 columns each, a quarter of the rounds a sweep of pairs of 32 columns
// (block.h), each of which reads and writes the columns once.
//
// A step is the same: Gram matrix (block_wide_gram.h), rotations (block_wide_solve.h, block_wide_exponential.h),
// columns times these (block_wide_strip.h), the last two at once (block_wide_rotate.h), or all three
// (block_wide_round.h). Which columns sit at a table says block_seating.h, in the steps of whole rounds, or are pairs
// of blocks. A seat may be empty, and counts as a column of zeros.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

enum : int {
  wide_columns = limits::block_wide_columns,
  wide_pair = 2 * wide_columns,
  wide_gram_entries = wide_pair * wide_pair,
  // So far apart stand its rows where lanes write down its columns too.
  wide_solved_stride = wide_pair + 1,
  // A Gram matrix is summed over tiles of rows, each in two halves, of which a SIMD-group has four rows.
  wide_half_rows = 4 * int(limits::block_simdgroups),
  wide_tile_rows = 2 * wide_half_rows,
  // J stands row after row, each so many numbers behind the one before that threads which read four neighbours in
  // neighbouring rows meet in no bank.
  wide_product_stride = wide_pair + 4,
  wide_product_entries = wide_pair * wide_product_stride,
  // A lane sums 8 x 8 entries and 8 more; in the end each SIMD-group adds up a part of them.
  wide_side = 8,
  wide_classes = wide_pair / wide_side,
  wide_entries_of_lane = wide_side * wide_side + wide_side,
  wide_entries_per_thread = wide_entries_of_lane / int(limits::block_simdgroups),
  wide_exchanged = wide_entries_of_lane / 4,  // of a thread at a time, which takes a little more memory than a tile
  wide_tile_entries = wide_exchanged * int(limits::block_threads),
  wide_partial_entries = limits::block_wide_partial,
  // Stands in place of the columns of a table that has nothing to rotate.
  wide_at_rest = -2
};

// The column at a seat where two blocks sit, or -1 where there is none.
inline int column_at_seat(PairTask task, Blocks blocks, int seat) {
  const int first = seat < wide_columns ? task.p : task.q;
  const bool exists = seat % wide_columns < blocks.width && first < blocks.width * blocks.count;
  return exists ? first + seat % wide_columns : -1;
}

// Four neighbours.
inline void read_four(threadgroup const float4* place, thread float* out) {
  const float4 four = *place;
  out[0] = four.x;
  out[1] = four.y;
  out[2] = four.z;
  out[3] = four.w;
}

}  // namespace metalsvd
