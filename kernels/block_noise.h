// Method `block` behind the tall QR: columns that are nothing but rounding errors become zero.
//
// Rows of W = R^H are the columns of B, and rotations leave their lengths as they are. A column of W whose entries are
// all within eps of the lengths of their rows says no more than the rounding of these rows: without it each column of B
// is changed by as much, relative to its own length, as the QR has changed it. So small singular values of
// column-graded matrices, whose columns of W are as long as some row, keep their digits. Where the rank is not full
// rotations leave such columns, and some matrices take sweep after sweep to make these orthogonal to each other.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "block_finish.h"
#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// squares[row] = the square of the length of that row of W, by the sweep that is to come.
//
// Grid: a threadgroup of block_threads a matrix and 32 rows. Ownership: a lane has a row, its SIMD-group every so many
// of the columns. Barriers: one, before the SIMD-groups' sums are added up.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_lengths(
    device const T* W [[buffer(0)]], device float* squares [[buffer(1)]], device const int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& padded [[buffer(4)]], constant long& sweep [[buffer(5)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float sums[limits::block_threads];
  const uint groups = uint((rows + limits::simd_width - 1) / limits::simd_width);
  const long matrix = group / groups;
  const long row = long(group % groups) * limits::simd_width + lane;
  if (sweep_due(states + matrix * state_words) < int(sweep)) return;
  W += matrix * padded * rows;
  float sum = 0.0f;
  for (long j = simdgroup; j < padded && row < rows; j += limits::block_simdgroups) {
    sum = square_add(W[j * rows + row], sum);
  }
  sums[thread_index] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup != 0 || row >= rows) return;
  for (int other = 1; other < limits::block_simdgroups; ++other) sum += sums[other * limits::simd_width + int(lane)];
  squares[matrix * rows + row] = sum;
}

// Columns of W that are noise become zero.
//
// Grid: one SIMD-group a column, block_simdgroups of them a threadgroup. Ownership: a column each, lane l the rows l, l
// + 32, ... Barriers: none. The host promises: `squares` are those of block_lengths, of an earlier sweep or this one.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_drop(
    device T* W [[buffer(0)]], device const float* squares [[buffer(1)]], device const int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& padded [[buffer(4)]], constant long& sweep [[buffer(5)]],
    uint group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const ColumnTask task = make_column_task(group, simdgroup, padded);
  if (task.column >= int(padded) || sweep_due(states + task.matrix * state_words) < int(sweep)) return;
  W += (task.matrix * padded + task.column) * rows;
  squares += task.matrix * rows;
  const float eps_squared = power_of_two(-48);
  // Of most columns the first rows tell.
  for (long first = 0; first < rows; first += limits::simd_width) {
    const long row = first + lane;
    const bool is_noise = row >= rows || square_add(W[row], 0.0f) <= eps_squared * squares[row];
    if (!simd_all(is_noise)) return;
  }
  for (long row = lane; row < rows; row += limits::simd_width) W[row] = from_real<T>(0.0f);
}

}  // namespace metalsvd
