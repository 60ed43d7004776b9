// Behind the tall QR and method `block`: what a step of orthogonalization (tall_recover.h) leaves.
//
// Z has the Gram matrix I + F + F^H, where F is above the diagonal, but for lengths that are nearly one, of which
// 1 + delta are the squares. The step multiplies it by the triangle T of -F and (1 + delta)^-1/2. The Gram matrix of Z
// T is I, but for what is of second order: above the diagonal -F^H F - F^2 - F_jk (3 delta_j + delta_k) / 2.
//
// F has large columns where singular values are small: these are the last, a few. So what is left of the last columns
// is computed, and of all pairs of others bounded: no entry of F^H F or F^2 is more than the sum of all squares in F.
// And columns of F of which no entry is more than a sixteenth of what is promised are left out of T: Z has most of
// these columns already, and tiles of Z T that have no others need few products. Their lengths are corrected at last
// (tall_finish).
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"
#include "tall.h"
#include "tall_copy.h"
#include "tall_recover.h"

namespace metalsvd {

using namespace metal;

// delta of a column, by (1 + delta)^-1/2.
template <typename T>
inline float excess_of_length(T corrects) {
  const float inverse = real_part(corrects);
  return precise::divide(1.0f, inverse * inverse) - 1.0f;
}

// The squares of the columns of F, and whether each column of Z is to be multiplied, 1 or 0: not where no entry of F is
// larger than `bound`, in units of 2^-24, and the length so nearly one that tall_finish corrects it.
//
// Grid: one threadgroup of threads_per_threadgroup a matrix and tall_copy_columns columns. Ownership: a lane owns a
// column, its SIMD-group every so many of the rows. Barriers: one, before what the SIMD-groups have is put together.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_defects(
    device const T* triangle [[buffer(0)]], device float* squares [[buffer(1)]], device float* multiplied [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& stride [[buffer(4)]], constant long& bound [[buffer(5)]],
    device const uint* settled [[buffer(6)]], constant long& may_be [[buffer(7)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float sums[limits::threads_per_threadgroup];
  threadgroup float maxima[limits::threads_per_threadgroup];
  const Team team = make_team(thread_index, limits::threads_per_threadgroup, lane, simdgroup);
  const uint groups = columns_of_tiles(columns);
  const long matrix = threadgroup_index / groups;
  if (is_settled(settled, may_be, matrix)) return;
  const long first_column = long(threadgroup_index % groups) * limits::tall_copy_columns;
  const long column = first_column + team.lane;
  const long last_row = min(first_column + limits::tall_copy_columns, columns) - 1;
  triangle += matrix * columns * stride + column;
  float sum = 0.0f;
  float maximum = 0.0f;
#pragma unroll 8
  for (long row = team.simdgroup; row < last_row; row += team.simdgroups) {
    if (row >= column || column >= columns) continue;
    const float square = square_add(triangle[row * stride], 0.0f);
    sum += square;
    maximum = max(maximum, square);
  }
  sums[team.index] = sum;
  maxima[team.index] = maximum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.simdgroup != 0 || column >= columns) return;
  sum = 0.0f;
  for (int s = 0; s < team.simdgroups; ++s) {
    sum += sums[s * limits::simd_width + team.lane];
    maximum = max(maximum, maxima[s * limits::simd_width + team.lane]);
  }
  const float most = float(bound) * power_of_two(-24);
  const float excess = fabs(excess_of_length(triangle[column * stride]));
  squares[matrix * columns + column] = sum;
  // Not of a NaN.
  const bool is_near = sum == sum && maximum <= most * most && excess <= power_of_two(-13);
  multiplied[matrix * columns + column] = is_near ? 0.0f : 1.0f;
}

// Columns of the triangle by which none of Z is multiplied become those of I.
//
// Grid: `groups` threadgroups of tall_threads a matrix. Ownership: a SIMD-group rows s, s + all of them, ... No
// barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_trim(
    device T* triangle [[buffer(0)]], device const float* multiplied [[buffer(1)]],
    constant long& columns [[buffer(2)]], constant long& stride [[buffer(3)]], constant long& groups [[buffer(4)]],
    device const uint* settled [[buffer(5)]], constant long& may_be [[buffer(6)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const RowsOfSimdgroup own = make_rows_of_simdgroup(threadgroup_index, groups, simdgroup);
  if (is_settled(settled, may_be, own.matrix)) return;
  triangle += own.matrix * columns * stride;
  multiplied += own.matrix * columns;
  for (long i = own.first; i < columns; i += own.step) {
    for (long j = i / limits::simd_width * limits::simd_width + lane; j < columns; j += limits::simd_width) {
      if (j >= i && multiplied[j] == 0.0f) triangle[i * stride + j] = from_real<T>(i == j ? 1.0f : 0.0f);
    }
  }
}

enum : int {
  left_columns_computed = limits::tall_copy_columns,  // a lane each
  left_rows = limits::tall_left_rows,
  left_simdgroups = int(limits::tall_threads) / int(limits::simd_width)
};

// The magnitude of the largest entry of what is left in the last columns, of some rows.
//
// Grid: one threadgroup of tall_threads a matrix and left_rows rows. Ownership: a lane owns a column, its SIMD-group
// every so many of the numbers that entries are summed over; then a SIMD-group owns a row. Barriers: one, before the
// SIMD-groups' sums are added up, and two where the threadgroup agrees on the largest. The host promises: a number for
// each threadgroup in `largest`.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_left(
    device const T* triangle [[buffer(0)]], device uint* largest [[buffer(1)]], constant long& columns [[buffer(2)]],
    constant long& stride [[buffer(3)]], device const uint* settled [[buffer(4)]], constant long& may_be [[buffer(5)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup T sums_of_simdgroups[int(left_simdgroups) * int(left_rows) * int(left_columns_computed)];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, limits::tall_threads, lane, simdgroup);
  const int count = int(columns);
  const uint groups = uint(count + left_rows - 1) / uint(left_rows);
  const long matrix = threadgroup_index / groups;
  if (is_settled(settled, may_be, matrix)) return;
  triangle += matrix * columns * stride;
  const int first_row = int(threadgroup_index % groups) * left_rows;
  const int column = max(count - int(left_columns_computed), 0) + team.lane;
  T sums[left_rows];
#pragma unroll
  for (int r = 0; r < left_rows; ++r) sums[r] = from_real<T>(0.0f);
  for (int start = team.simdgroup * int(limits::simd_width); start < count; start += team.threads) {
    // What each lane's row of the last columns is multiplied with, for each of the rows.
    const int own = start + team.lane;
    T factors[left_rows];
#pragma unroll
    for (int r = 0; r < left_rows; ++r) {
      const int row = first_row + r;
      factors[r] = from_real<T>(0.0f);
      if (own >= count || row >= count) continue;
      if (own < row) factors[r] = -conjugate(triangle[own * stride + row]);
      if (own > row) factors[r] = -triangle[row * stride + own];
    }
    const int end = min(count - start, int(limits::simd_width));
#pragma unroll 8
    for (int k = 0; k < end; ++k) {
      T entry = from_real<T>(0.0f);
      if (start + k < column && column < count) entry = triangle[(start + k) * stride + column];
#pragma unroll
      for (int r = 0; r < left_rows; ++r) {
        sums[r] = multiply_add(simd_shuffle(factors[r], ushort(k)), entry, sums[r]);
      }
    }
  }
  threadgroup T* const of_lane = sums_of_simdgroups + team.lane;
#pragma unroll
  for (int r = 0; r < left_rows; ++r) {
    of_lane[(team.simdgroup * int(left_rows) + r) * int(left_columns_computed)] = sums[r];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float size = 0.0f;
#pragma unroll
  for (int r = team.simdgroup; r < left_rows; r += left_simdgroups) {
    const int row = first_row + r;
    if (row >= column || column >= count) continue;
    const float lengths = 1.5f * excess_of_length(triangle[row * stride + row]) +
                          0.5f * excess_of_length(triangle[column * stride + column]);
    T left = multiply(from_real<T>(lengths), triangle[row * stride + column]);
    for (int s = 0; s < left_simdgroups; ++s) {
      left += of_lane[(s * int(left_rows) + r) * int(left_columns_computed)];
    }
    size = max(size, square_add(left, 0.0f));
  }
  const uint bits = threadgroup_max(as_type<uint>(precise::sqrt(size)), slots, team);
  if (team.index == 0) largest[threadgroup_index] = bits;
}

// Which matrices are settled: those of which so little is left as the bound says, in units of 2^-40, or that `may_be`
// so already. Squares of columns are left too, which lengths are corrected by where they are small.
//
// Grid: one SIMD-group a matrix. No barrier. The host promises: defects of `tiles`, squares of `columns`, and `parts`
// numbers of tall_left a matrix.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::simd_width)]] void tall_settle(
    device const T* defects [[buffer(0)]], device const float* squares [[buffer(1)]],
    device const T* largest [[buffer(2)]], device T* settled [[buffer(3)]], constant long& tiles [[buffer(4)]],
    constant long& columns [[buffer(5)]], constant long& parts [[buffer(6)]], constant long& bound [[buffer(7)]],
    constant long& may_be [[buffer(8)]], uint matrix [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]]) {
  uint of_lengths = 0u;
  for (long tile = lane; tile < tiles; tile += limits::simd_width) {
    of_lengths = min(of_lengths + defects[matrix * tiles + tile], uint(most_defect));
  }
  of_lengths = sum_of_defects(of_lengths);
  float largest_square = 0.0f;
  float of_others = 0.0f;
  for (long column = lane; column < columns; column += limits::simd_width) {
    const float square = squares[matrix * columns + column];
    largest_square = max(largest_square, square);
    if (column < columns - left_columns_computed) of_others += square;
  }
  uint computed = 0u;
  for (long part = lane; part < parts; part += limits::simd_width) {
    computed = max(computed, largest[matrix * parts + part]);
  }
  const float others = simd_sum(of_others) + float(of_lengths) * power_of_two(-40);
  const float left = as_type<float>(simd_max(computed)) + 2.0f * others;
  // Not of a NaN either.
  const bool is_small = left < float(bound) * power_of_two(-40) && simd_max(largest_square) < power_of_two(-10);
  if (lane == 0 && !is_settled(settled, may_be, matrix)) {
    settled[matrix] = is_small && of_lengths < uint(most_defect) ? 1u : 0u;
  }
}

}  // namespace metalsvd
