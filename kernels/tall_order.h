// The tall QR in front of method `block`: the order of the columns of B by their norms, in which they are factored.
//
// One-sided Jacobi on R^H of such a QR keeps the relative accuracy of column-graded matrices, and needs fewer sweeps
// than on B (Drmac and Veselic 2008, who pivot; an order fixed beforehand does nearly as much).
#pragma once
#include <metal_stdlib>

#include "tall_copy.h"

namespace metalsvd {

using namespace metal;

// The squares of the norms of the columns of B, scaled, in each tile; zero in a matrix that is not finite.
//
// Grid: one threadgroup a tile of B. Ownership: a SIMD-group the columns s, s + simdgroups, ... Barriers: two where the
// threadgroup agrees on the magnitude, one between loading and summing. The host promises: `squares` holds
// tall_copy_columns numbers a tile.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_squares(
    device const Storage* A [[buffer(0)]], device const uint* magnitudes [[buffer(1)]],
    device float* squares [[buffer(2)]], constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]],
    constant long& strips [[buffer(5)]], constant long& batch_stride [[buffer(6)]],
    constant long& row_stride [[buffer(7)]], constant long& column_stride [[buffer(8)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup float2 tile_numbers[staged_numbers];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  threadgroup T* staged = (threadgroup T*)tile_numbers;
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Tile tile = make_tile(threadgroup_index, rows, columns);
  const uint magnitude = stage_tile(A + tile.matrix * batch_stride, (device const int*)nullptr, false, magnitudes,
                                    strips, tile, columns, row_stride, column_stride, staged, slots, team);
  const bool is_finite = magnitude < not_finite_bits;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int j = team.simdgroup; j < tile.columns; j += team.simdgroups) {
    float sum = 0.0f;
    for (int i = team.lane; i < tile.rows; i += limits::simd_width) {
      sum = square_add(staged[place_in_tile(i, j, tile)], sum);
    }
    sum = simd_sum(sum);
    if (team.lane == 0) squares[long(threadgroup_index) * limits::tall_copy_columns + j] = is_finite ? sum : 0.0f;
  }
}

// The squares of the norms of the columns of B, from those in the tiles.
//
// Grid: one threadgroup of threads_per_threadgroup for each column of tiles. Ownership: a lane owns a column, its
// SIMD-group every so many of the tiles. Barriers: one, before the SIMD-groups' sums are added up. The host promises:
// `squares` are those of tall_squares.
template <typename Real>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_norms(
    device const Real* squares [[buffer(0)]], device Real* norms [[buffer(1)]], constant long& rows [[buffer(2)]],
    constant long& columns [[buffer(3)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup Real sums[limits::threads_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const TileGrid grid = make_tile_grid(rows, columns);
  const uint first_tile = threadgroup_index / uint(grid.across) * uint(grid.across * grid.down);
  const uint tile_index = first_tile + threadgroup_index % uint(grid.across);
  const Tile tile = make_tile(tile_index, rows, columns);
  squares += long(tile_index) * limits::tall_copy_columns;
  Real sum = 0.0f;
  if (team.lane < tile.columns) {
    for (long down = team.simdgroup; down < grid.down; down += team.simdgroups) {
      sum += squares[down * grid.across * limits::tall_copy_columns + team.lane];
    }
  }
  sums[team.index] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.index >= tile.columns) return;
  sum = 0.0f;
  for (int s = 0; s < team.simdgroups; ++s) sum += sums[s * limits::simd_width + team.index];
  norms[tile.matrix * columns + tile.first_column + team.index] = sum;
}

// order[k] = the column of B with the k-th largest norm, equal ones in the order that they have.
//
// Grid: one threadgroup of tall_threads for tall_copy_columns columns. Ownership: a SIMD-group some of them, whose
// place is the number of those before it. No barrier.
template <typename Real>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_order(
    device const Real* norms [[buffer(0)]], device int* order [[buffer(1)]], constant long& columns [[buffer(2)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  enum : int { placed = int(limits::tall_copy_columns) * int(limits::simd_width) / int(limits::tall_threads) };
  const uint groups = columns_of_tiles(columns);
  const long matrix = threadgroup_index / groups;
  const long first = threadgroup_index % groups * limits::tall_copy_columns + simdgroup * placed;
  norms += matrix * columns;
  order += matrix * columns;
  Real norm[placed];
  int place[placed];
#pragma unroll
  for (int c = 0; c < placed; ++c) {
    norm[c] = norms[min(first + c, columns - 1)];
    place[c] = 0;
  }
  for (long other = lane; other < columns; other += limits::simd_width) {
    const Real beside = norms[other];
#pragma unroll
    for (int c = 0; c < placed; ++c) {
      place[c] += beside > norm[c] || (beside == norm[c] && other < first + c) ? 1 : 0;
    }
  }
#pragma unroll
  for (int c = 0; c < placed; ++c) {
    const int before = simd_sum(place[c]);
    if (lane == 0 && first + c < columns) order[before] = int(first + c);
  }
}

}  // namespace metalsvd
