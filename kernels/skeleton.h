// The kernel to copy from: Euclidean norms of the columns of a matrix.
#pragma once

#include <metal_stdlib>

namespace metalsvd {
using namespace metal;

constant constexpr uint column_norms_threads = 128;  // four SIMD-groups: enough to hide the reads of one column
constant constexpr uint column_norms_simdgroups = column_norms_threads / 32;

inline float squared_magnitude(float x) { return x * x; }
inline float squared_magnitude(float2 x) { return x.x * x.x + x.y * x.y; }  // a complex number

// norms[j] = || A(:, j) || of the row-major rows x columns matrix A, one matrix after the other in a batch.
//
// Ownership: threadgroup (j, b) owns column j of matrix b; its thread t the rows t, t + 128, ...
// Barriers:  one, between the partial sums that each SIMD-group leaves in its entry of the tile and SIMD-group 0 that
// adds them. Host:      group (128, 1, 1), grid (128 * columns, batch, 1), every size positive, entries so scaled that
// squares stay finite.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(column_norms_threads)]]
void column_norms(device const T* A [[buffer(0)]], device float* norms [[buffer(1)]], constant long& rows [[buffer(2)]],
                  uint3 threadgroup_position [[threadgroup_position_in_grid]],
                  uint3 grid_size [[threadgroups_per_grid]], uint thread_index [[thread_index_in_threadgroup]],
                  uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float partial_sums[column_norms_simdgroups];
  const long columns = grid_size.x;
  device const T* column = A + threadgroup_position.y * rows * columns + threadgroup_position.x;

  float sum = 0.0f;
  for (long i = thread_index; i < rows; i += column_norms_threads) sum += squared_magnitude(column[i * columns]);
  sum = simd_sum(sum);
  if (lane == 0) partial_sums[simdgroup] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);

  if (simdgroup == 0) {
    const float total = simd_sum(lane < column_norms_simdgroups ? partial_sums[lane] : 0.0f);
    if (lane == 0) norms[threadgroup_position.y * columns + threadgroup_position.x] = precise::sqrt(total);
  }
}

}  // namespace metalsvd
