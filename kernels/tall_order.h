// The tall QR in front of method `block`: the order of the columns of B by their norms, in which they are factored.
//
// One-sided Jacobi on R^H of such a QR keeps the relative accuracy of column-graded matrices, and needs fewer sweeps
// than on B (Drmac and Veselic 2008, who pivot; an order fixed beforehand does nearly as much).
#pragma once
#include <metal_stdlib>

#include "tall_copy.h"

namespace metalsvd {

using namespace metal;

// The squares of the norms of the columns of B, scaled, in each row of tiles; zero in a matrix that is not finite.
//
// Grid: one threadgroup a tile of B. Ownership: a SIMD-group the columns s, s + simdgroups, ... Barriers: two where the
// threadgroup agrees on the magnitude, one between loading and summing. The host promises: `squares` holds a number for
// each column in each row of tiles.
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
  const uint row_of_tiles = threadgroup_index / columns_of_tiles(columns);
  squares += row_of_tiles * columns + tile.first_column;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int j = team.simdgroup; j < tile.columns; j += team.simdgroups) {
    float sum = 0.0f;
    for (int i = team.lane; i < tile.rows; i += limits::simd_width) {
      sum = square_add(staged[place_in_tile(i, j, tile)], sum);
    }
    sum = simd_sum(sum);
    if (team.lane == 0) squares[j] = is_finite ? sum : 0.0f;
  }
}

// The same of an A whose rows lie side by side, in each `height` of its rows: nothing has to be staged.
//
// Grid: one threadgroup for so many rows of all columns, or of one for each thread. Ownership: a thread some of the
// rows of a column. Barriers: two where the threadgroup agrees on the magnitude, one before the threads' sums are added
// up.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_squares_rows(
    device const Storage* A [[buffer(0)]], device const uint* magnitudes [[buffer(1)]],
    device float* squares [[buffer(2)]], constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]],
    constant long& strips [[buffer(5)]], constant long& batch_stride [[buffer(6)]],
    constant long& row_stride [[buffer(7)]], constant long& height [[buffer(8)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  threadgroup float sums[limits::tall_threads];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const int line = int(min(columns, long(team.threads)));
  const Walk walk = make_walk(line, team);
  const uint across = uint(columns + line - 1) / uint(line);
  const long group = threadgroup_index / across;
  const long groups = (rows + height - 1) / height;
  const long matrix = group / groups;
  const long first_row = group % groups * height;
  const int there = int(min(height, rows - first_row));
  const long column = long(threadgroup_index % across) * line + walk.place;
  const uint magnitude = magnitude_of_matrix(magnitudes, matrix, strips, slots, team);
  const bool is_finite = magnitude < not_finite_bits;
  const int exponent = is_finite ? tall_exponent(magnitude) : 0;
  A += matrix * batch_stride + first_row * row_stride + column;
  float sum = 0.0f;
  if (column < columns) {
    for (int first = walk.first; first < there; first += batch_entries * walk.step) {
      typename StorageTraits<Storage>::Number fetched[batch_entries];
      fetch_lines(A, first, walk.step, there, row_stride, fetched);
#pragma unroll
      for (int s = 0; s < batch_entries; ++s) {
        if (s * walk.step >= there - first) break;
        sum = square_add(scaled_number(fetched[s], magnitude, exponent), sum);
      }
    }
  }
  sums[team.index] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (walk.first != 0 || column >= columns) return;
  for (int s = 1; s < walk.step; ++s) sum += sums[s * line + walk.place];
  squares[group * columns + column] = is_finite ? sum : 0.0f;
}

// The squares of the norms of the columns of B, from those in so many parts of the rows.
//
// Grid: one threadgroup of threads_per_threadgroup for tall_copy_columns columns. Ownership: a lane owns a column, its
// SIMD-group every so many of the parts. Barriers: one, before the SIMD-groups' sums are added up.
template <typename Real>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_norms(
    device const Real* squares [[buffer(0)]], device Real* norms [[buffer(1)]], constant long& columns [[buffer(2)]],
    constant long& parts [[buffer(3)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup Real sums[limits::threads_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const uint groups = columns_of_tiles(columns);
  const long matrix = threadgroup_index / groups;
  const long column = long(threadgroup_index % groups) * limits::tall_copy_columns + team.lane;
  squares += matrix * parts * columns + column;
  Real sum = 0.0f;
  if (column < columns) {
    for (long part = team.simdgroup; part < parts; part += team.simdgroups) sum += squares[part * columns];
  }
  sums[team.index] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.simdgroup != 0 || column >= columns) return;
  sum = 0.0f;
  for (int s = 0; s < team.simdgroups; ++s) sum += sums[s * limits::simd_width + team.lane];
  norms[matrix * columns + column] = sum;
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
