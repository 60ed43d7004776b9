// Method `block` on real numbers: pairs of blocks of up to 32 columns each, half as many rounds a sweep as with pairs
// of 32 columns (block.h), each of which reads and writes the columns once.
//
// A step is the same: Gram matrix (block_wide_gram.h), rotations (block_wide_solve.h), columns times these
// (block_wide_rotate.h), or all of it at once (block_wide_round.h). Columns of a pair are counted as if both blocks had
// 32, so that the two blocks start at 0 and at 32; those beyond the width of a block do not exist and count as zero.
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
  // Rows of a Gram matrix are summed over in tiles: column after column, each so many numbers behind the one before
  // that threads which read four rows of neighbouring columns meet in no bank.
  wide_tile_rows = 64,
  wide_tile_stride = wide_tile_rows + 4,
  wide_tile_entries = wide_pair * wide_tile_stride,
  // J stands row after row, as far behind one another for the same reason.
  wide_product_stride = wide_pair + 4,
  wide_product_entries = wide_pair * wide_product_stride,
  // Threads side by side that move a column of a tile, four rows each, and how many columns each of them moves.
  wide_moved_together = wide_tile_rows / 4,
  wide_moved_columns = wide_pair * wide_moved_together / int(limits::block_threads),
  // Half of the threads sum 4 x 4 entries each, and one more.
  wide_side = 4,
  wide_classes = wide_pair / wide_side,
  wide_near_entries = wide_side * wide_side,
  wide_entries_per_thread = wide_near_entries + 1,
  wide_gram_threads = int(limits::block_threads) / 2,
  wide_partial_entries = limits::block_wide_partial
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
