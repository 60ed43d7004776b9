// Method `block`, the ends: A into the workspace, and factors out of it. The only steps that know how tensors store
// numbers and in which order.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// Matrices pass through threadgroup memory in square tiles, so that neighbouring threads touch neighbouring entries on
// both sides, whichever of the two is transposed.
enum : int {
  copy_tile = limits::simd_width,
  copy_stride = copy_tile + 1,
  // Lines that a SIMD-group moves, as far apart as there are SIMD-groups: it reads all before it uses one.
  copied_lines = int(copy_tile) / int(limits::block_simdgroups)
};

inline int tiles_over(long entries) { return int((entries + copy_tile - 1) / copy_tile); }

// maxima[matrix][part] = the largest magnitude bits among the part's entries of A.
//
// Grid: `parts` threadgroups a matrix. Ownership: lines along which entries are neighbours are dealt to threadgroups in
// turn, their entries to threads. Barriers: two, where the threadgroup agrees. The host promises: `parts` is at most
// block_measure_parts.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_measure(
    device const Storage* A [[buffer(0)]], device uint* maxima [[buffer(1)]], constant long& rows [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& parts [[buffer(4)]], constant long& batch_stride [[buffer(5)]],
    constant long& row_stride [[buffer(6)]], constant long& column_stride [[buffer(7)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  A += (group / parts) * batch_stride;
  const bool along_rows = row_stride < column_stride;
  const long inner = along_rows ? rows : columns;
  const long inner_stride = along_rows ? row_stride : column_stride;
  const long outer_stride = along_rows ? column_stride : row_stride;
  const long outer = along_rows ? columns : rows;
  uint largest = 0u;
  for (long line = group % parts; line < outer; line += parts) {
    device const Storage* const entries = A + line * outer_stride;
    for (long i = team.index; i < inner; i += team.threads) {
      largest = max(largest, magnitude_bits(to_number(entries[i * inner_stride])));
    }
  }
  largest = threadgroup_max(largest, slots, team);
  if (team.index == 0) maxima[group] = largest;
}

// W = B, scaled so that its largest entry lies in [2^40, 2^41), and padded with zero rows and columns; V = the
// identity, padded alike; the first two words of `states`.
//
// Grid: a threadgroup of block_threads a matrix and tile, those of W before those of V, down the columns. Ownership: a
// tile each. Barriers: two where the threadgroup agrees on the scale, one before the tile is read across. The host
// promises: the tiles cover `padded` columns of `rows` and, where V is accumulated, of `columns` rows.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_load(
    device const Storage* A [[buffer(0)]], device typename StorageTraits<Storage>::Number* W [[buffer(1)]],
    device typename StorageTraits<Storage>::Number* V [[buffer(2)]], device const uint* maxima [[buffer(3)]],
    device int* states [[buffer(4)]], constant long& rows [[buffer(5)]], constant long& columns [[buffer(6)]],
    constant long& padded [[buffer(7)]], constant long& transposed [[buffer(8)]], constant long& parts [[buffer(9)]],
    constant long& tiles [[buffer(10)]], constant long& batch_stride [[buffer(11)]],
    constant long& row_stride [[buffer(12)]], constant long& column_stride [[buffer(13)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup T tile[copy_tile * copy_stride];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const long matrix = group / uint(tiles);
  const int index_of_tile = int(group % uint(tiles));
  maxima += matrix * parts;
  const int w_tiles = tiles_over(rows) * tiles_over(padded);
  const bool is_right = index_of_tile >= w_tiles;
  const int place = is_right ? index_of_tile - w_tiles : index_of_tile;
  const long height = is_right ? columns : rows;
  const long first_row = long(place % tiles_over(height)) * copy_tile;
  const long first_column = long(place / tiles_over(height)) * copy_tile;
  A += matrix * batch_stride + first_row * row_stride + first_column * column_stride;
  const bool along_rows = row_stride < column_stride;
  const long padded_height = limits::block_height(height);
  const int rows_here = int(min(long(copy_tile), height - first_row));
  const int padded_rows_here = int(min(long(copy_tile), padded_height - first_row));
  const int columns_here = int(min(long(copy_tile), columns - first_column));
  T entries[copied_lines];
#pragma unroll
  for (int e = 0; e < copied_lines; ++e) {
    const int i = along_rows ? team.lane : team.simdgroup + e * limits::block_simdgroups;
    const int j = along_rows ? team.simdgroup + e * limits::block_simdgroups : team.lane;
    entries[e] = from_real<T>(is_right && i < rows_here && first_row + i == first_column + j ? 1.0f : 0.0f);
    if (!is_right && i < rows_here && j < columns_here) entries[e] = to_number(A[i * row_stride + j * column_stride]);
  }

  const uint largest = threadgroup_max(team.index < int(parts) ? maxima[team.index] : 0u, slots, team);
  const int exponent = largest > 0u ? limits::large_scaled_exponent - exponent_of(largest) : 0;
  if (index_of_tile == 0 && team.index == 0) {
    states[matrix * state_words + state_far] = largest < not_finite_bits ? 1 : 0;
    states[matrix * state_words + state_wide] = largest < not_finite_bits ? 1 : 0;
    states[matrix * state_words + state_exponent] = exponent;
  }
  if (largest >= not_finite_bits) return;

#pragma unroll
  for (int e = 0; e < copied_lines; ++e) {
    const int line = team.simdgroup + e * limits::block_simdgroups;
    const T entry = is_right ? entries[e] : scale(entries[e], exponent);
    const int place_in_tile = along_rows ? line * copy_stride + team.lane : team.lane * copy_stride + line;
    tile[place_in_tile] = transposed != 0 ? conjugate(entry) : entry;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  device T* X = (is_right ? V : W) + (matrix * padded + first_column) * padded_height + first_row;
#pragma unroll
  for (int e = 0; e < copied_lines; ++e) {
    const int line = team.simdgroup + e * limits::block_simdgroups;
    if (team.lane < padded_rows_here && first_column + line < padded) {
      X[line * padded_height + team.lane] = tile[line * copy_stride + team.lane];
    }
  }
}

// U and Vh: the columns of W and V that `order` names, or NaN where A is not finite. Columns of P from state_rank on
// are left to block_complete.
//
// Grid: a threadgroup of block_threads a matrix and tile, those of P before those of Q, down the columns. Ownership: a
// tile each. Barriers: one, before the tile is read across. The host promises: the tiles cover P (rows x left_columns)
// and, where it has been accumulated, Q (columns x columns).
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_store(
    device const typename StorageTraits<Storage>::Number* W [[buffer(0)]],
    device const typename StorageTraits<Storage>::Number* V [[buffer(1)]], device const int* order [[buffer(2)]],
    device const int* states [[buffer(3)]], device Storage* left [[buffer(4)]], device Storage* right [[buffer(5)]],
    constant long& rows [[buffer(6)]], constant long& columns [[buffer(7)]], constant long& padded [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& tiles [[buffer(11)]], uint group [[threadgroup_position_in_grid]],
    uint lane_index [[thread_index_in_simdgroup]], uint simdgroup_index [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup T tile[copy_tile * copy_stride];

  const int lane = int(lane_index);
  const int simdgroup = int(simdgroup_index);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const long matrix = group / uint(tiles);
  const int index_of_tile = int(group % uint(tiles));
  states += matrix * state_words;
  order += matrix * columns;
  const bool is_finite = sweep_due(states) > 0;

  const int left_tiles = tiles_over(rows) * tiles_over(left_columns);
  const bool is_right = index_of_tile >= left_tiles;
  const int tile_index = is_right ? index_of_tile - left_tiles : index_of_tile;
  const long height = is_right ? columns : rows;
  const long width = is_right ? columns : is_finite ? long(states[state_rank]) : left_columns;
  const Place place = is_right ? right_place(shape) : left_place(shape);
  const long padded_height = limits::block_height(height);
  device const T* X = (is_right ? V : W) + matrix * padded * padded_height;
  const long first_row = long(tile_index % tiles_over(height)) * copy_tile;
  const long first_column = long(tile_index / tiles_over(height)) * copy_tile;
  const int rows_here = int(min(long(copy_tile), height - first_row));
  const int columns_here = int(clamp(width - first_column, 0L, long(copy_tile)));

  T entries[copied_lines];
#pragma unroll
  for (int e = 0; e < copied_lines; ++e) {
    const int line = simdgroup + e * limits::block_simdgroups;
    entries[e] = T(as_type<float>(0x7fc00000u));
    if (is_finite && lane < rows_here && line < columns_here) {
      entries[e] = X[order[first_column + line] * padded_height + first_row + lane];
    }
  }
#pragma unroll
  for (int e = 0; e < copied_lines; ++e) {
    tile[(simdgroup + e * limits::block_simdgroups) * copy_stride + lane] =
        place.conjugated ? conjugate(entries[e]) : entries[e];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  device Storage* out = is_right ? right + matrix * columns * columns : left + matrix * rows * left_columns;
  out += first_row * place.row_stride + first_column * place.column_stride;
  const bool along_rows = place.row_stride == 1;
#pragma unroll
  for (int e = 0; e < copied_lines; ++e) {
    const int line = simdgroup + e * limits::block_simdgroups;
    const int i = along_rows ? lane : line;
    const int k = along_rows ? line : lane;
    if (i < rows_here && k < columns_here) {
      out[i * place.row_stride + k * place.column_stride] = to_storage<Storage>(tile[k * copy_stride + i]);
    }
  }
}

}  // namespace metalsvd
