// Method `block` on real numbers: pairs of blocks of up to 32 columns each, half as many rounds a sweep as with pairs
// of 32 columns (block.h), each of which reads and writes the columns once.
//
// A step is the same: Gram matrix (block_wide_gram.h), rotations (block_wide_solve.h), columns times these
// (block_wide_strip.h), the last two at once (block_wide_rotate.h), or all three (block_wide_round.h). Columns of a
// pair are counted as if both blocks had 32, so that the two blocks start at 0 and at 32; those beyond the width of a
// block do not exist and count as zero.
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
  // Where only one block with the other is summed, a lane sums 8 x 4 entries.
  wide_cross_side = 4,
  wide_cross_entries_of_lane = wide_side * wide_cross_side,
  wide_cross_entries_per_thread = wide_cross_entries_of_lane / int(limits::block_simdgroups),
  wide_cross_partial_entries = limits::block_wide_cross_partial,
  wide_own_entries = limits::block_wide_own
};

inline bool exists_in_pair(int index, Blocks blocks) { return index % wide_columns < blocks.width; }

inline long column_of_wide_pair(PairTask task, int index, Blocks blocks) {
  return index < wide_columns ? task.p + index : task.q + index - wide_columns;
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
