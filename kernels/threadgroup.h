// Method `threadgroup`: one-sided Jacobi, one threadgroup a matrix, staged in threadgroup memory.
//
// Factors B = P diag(sigma) Q^H, where B is A, or A^H when A is wide, so that B has rows >= columns. Columns of B are
// rotated in pairs until all are orthogonal: they are then P diag(sigma), and the product of the rotations is Q
// (Hestenes 1958; de Rijk 1989). Each pair is tested relative to its own norms, which keeps the relative accuracy of
// the small singular values of column-graded matrices (Demmel and Veselic 1992).
#pragma once
#include <metal_stdlib>

#include "common/householder.h"
#include "common/pairs.h"
#include "common/power_of_two.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// Sizes and places of one matrix. Strides count entries.
struct ThreadgroupShape {
  int rows;          // of B
  int columns;       // of B
  int left_columns;  // of P that are stored; 0: singular values only
  bool transposed;   // B = A^H: P goes to Vh^H and Q to U, otherwise P to U and Q to Vh^H
};

// Where P and Q lie in the column-major U and Vh, and whether as conjugates.
struct Place {
  int row_stride;
  int column_stride;
  bool conjugated;
};
inline Place left_place(ThreadgroupShape shape) {
  Place place;
  place.row_stride = shape.transposed ? shape.left_columns : 1;
  place.column_stride = shape.transposed ? 1 : shape.rows;
  place.conjugated = shape.transposed;
  return place;
}
inline Place right_place(ThreadgroupShape shape) {
  Place place;
  place.row_stride = shape.transposed ? 1 : shape.columns;
  place.column_stride = shape.transposed ? shape.columns : 1;
  place.conjugated = !shape.transposed;
  return place;
}

// Reads A into B as it is and returns the largest magnitude bits that this thread saw.
template <typename T>
inline uint load_matrix(device const T* A, long row_stride, long column_stride, ThreadgroupShape shape,
                        threadgroup T* B, Team team) {
  uint largest = 0u;
  const bool along_rows = row_stride < column_stride;
  for (int index = team.index; index < shape.rows * shape.columns; index += team.threads) {
    const int i = along_rows ? index % shape.rows : index / shape.columns;
    const int j = along_rows ? index / shape.rows : index % shape.columns;
    const T entry = A[i * row_stride + j * column_stride];
    B[j * shape.rows + i] = shape.transposed ? conjugate(entry) : entry;
    largest = max(largest, magnitude_bits(entry));
  }
  return largest;
}

// Scales B and sets Q to the identity. One barrier.
template <typename T, typename RightPointer>
inline void prepare(threadgroup T* B, RightPointer right, int exponent, ThreadgroupShape shape, Team team) {
  for (int index = team.index; index < shape.rows * shape.columns; index += team.threads) {
    B[index] = scale(B[index], exponent);
  }
  const int right_entries = shape.left_columns > 0 ? shape.columns * shape.columns : 0;
  for (int index = team.index; index < right_entries; index += team.threads) {
    right[index] = from_real<T>(index % shape.columns == index / shape.columns ? 1.0f : 0.0f);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
}

// |p|^2, |q|^2 and p^H q of two columns, told to every lane of the SIMD-group.
template <typename T>
inline void gram(threadgroup const T* p, threadgroup const T* q, int rows, int lane, thread float& alpha,
                 thread float& beta, thread T& gamma) {
  float p_sum = 0.0f;
  float q_sum = 0.0f;
  T dot = from_real<T>(0.0f);
  for (int i = lane; i < rows; i += limits::simd_width) {
    const T x = p[i];
    const T y = q[i];
    p_sum = square_add(x, p_sum);
    q_sum = square_add(y, q_sum);
    dot = multiply_add(conjugate(x), y, dot);
  }
  alpha = simd_sum(p_sum);
  beta = simd_sum(q_sum);
  gamma = simd_sum(dot);
}

// One sweep: every pair of columns once. Returns whether this SIMD-group rotated any. A barrier a round.
template <typename T, bool right_in_device, typename RightPointer>
inline bool sweep(threadgroup T* B, RightPointer right, float tolerance, ThreadgroupShape shape, Team team) {
  bool rotated = false;
  for (int round = 0; round < round_count(shape.columns); ++round) {
    for (int index = team.simdgroup; 2 * index < shape.columns; index += team.simdgroups) {
      const Pair pair = round_robin_pair(round, index, shape.columns);
      if (pair.q == shape.columns) continue;
      threadgroup T* p = B + pair.p * shape.rows;
      threadgroup T* q = B + pair.q * shape.rows;
      float alpha, beta;
      T gamma;
      gram<T>(p, q, shape.rows, team.lane, alpha, beta, gamma);
      // A column whose square underflows is zero: nothing can be told of its direction.
      if (min(alpha, beta) < FLT_MIN) continue;
      if (!(magnitude(gamma) > tolerance * precise::sqrt(alpha) * precise::sqrt(beta))) continue;
      rotated = true;
      const Rotation<T> rotation = orthogonalizing_rotation(alpha, beta, gamma);
      rotate_columns(p, q, shape.rows, rotation, team.lane);
      if (shape.left_columns > 0) {
        rotate_columns(right + pair.p * shape.columns, right + pair.q * shape.columns, shape.columns, rotation,
                       team.lane);
      }
    }
    if (right_in_device) {
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    } else {
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
  }
  return rotated;
}

// Makes the columns of Q unit vectors again: hundreds of rounded rotations have stretched them by some ulps. One
// SIMD-group a column, each lane its own entries. Ends with a barrier.
template <typename T, typename RightPointer>
inline void normalize_right(RightPointer right, ThreadgroupShape shape, Team team) {
  for (int j = team.simdgroup; j < shape.columns; j += team.simdgroups) {
    RightPointer column = right + j * shape.columns;
    float sum = 0.0f;
    for (int i = team.lane; i < shape.columns; i += limits::simd_width) sum = square_add(column[i], sum);
    const float norm = precise::sqrt(simd_sum(sum));
    for (int i = team.lane; i < shape.columns; i += limits::simd_width) column[i] = divide(column[i], norm);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
}

// sigma[j] = |column j|, where a column whose square underflows counts as zero, and order[k] = the column of the k-th
// largest. Two barriers.
template <typename T>
inline void sort_columns(threadgroup const T* B, threadgroup float* sigma, threadgroup uint* order,
                         ThreadgroupShape shape, Team team) {
  for (int j = team.simdgroup; j < shape.columns; j += team.simdgroups) {
    float sum = 0.0f;
    for (int i = team.lane; i < shape.rows; i += limits::simd_width) sum = square_add(B[j * shape.rows + i], sum);
    sum = simd_sum(sum);
    if (team.lane == 0) sigma[j] = sum >= FLT_MIN ? precise::sqrt(sum) : 0.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int j = team.index; j < shape.columns; j += team.threads) {
    int place = 0;
    for (int other = 0; other < shape.columns; ++other) {
      const bool before = sigma[other] > sigma[j] || (sigma[other] == sigma[j] && other < j);
      place += before ? 1 : 0;
    }
    order[place] = uint(j);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// The number of columns that are not zero: the k-th largest is the last of them.
inline int count_nonzero(threadgroup const float* sigma, threadgroup const uint* order, int columns) {
  int count = columns;
  while (count > 0 && sigma[order[count - 1]] == 0.0f) --count;
  return count;
}

// Makes the columns of B unit vectors and stores the `count` non-zero ones as the first columns of P.
template <typename T>
inline void store_left(threadgroup T* B, threadgroup const float* sigma, threadgroup const uint* order, int count,
                       device T* left, ThreadgroupShape shape, Team team) {
  const Place place = left_place(shape);
  for (int index = team.index; index < shape.rows * count; index += team.threads) {
    const int i = shape.transposed ? index / count : index % shape.rows;
    const int k = shape.transposed ? index % count : index / shape.rows;
    const int j = int(order[k]);
    const T entry = divide(B[j * shape.rows + i], sigma[j]);
    B[j * shape.rows + i] = entry;
    left[i * place.row_stride + k * place.column_stride] = place.conjugated ? conjugate(entry) : entry;
  }
}

// Fills columns [count, left_columns) of P with an orthonormal basis of what its first `count` columns, still in B,
// leave: column k is H_0 .. H_{count-1} e_k. One SIMD-group a column, each lane its own rows.
template <typename T>
inline void complete_left(threadgroup T* B, threadgroup float* sigma, threadgroup const uint* order, int count,
                          device T* left, ThreadgroupShape shape, Team team) {
  const Place place = left_place(shape);
  factor_orthonormal(B, shape.rows, count, order, sigma, team);
  for (int k = count + team.simdgroup; k < shape.left_columns; k += team.simdgroups) {
    device T* column = left + k * place.column_stride;
    for (int i = team.lane; i < shape.rows; i += limits::simd_width) {
      column[i * place.row_stride] = from_real<T>(i == k ? 1.0f : 0.0f);
    }
    for (int reflector = count - 1; reflector >= 0; --reflector) {
      const int j = int(order[reflector]);
      reflect<T>(B + j * shape.rows, sigma[j], column, place.row_stride, reflector, shape.rows, team.lane);
    }
    if (!place.conjugated) continue;
    for (int i = team.lane; i < shape.rows; i += limits::simd_width) {
      column[i * place.row_stride] = conjugate(column[i * place.row_stride]);
    }
  }
}

template <typename T, typename RightPointer>
inline void store_right(RightPointer Q, threadgroup const uint* order, device T* right, ThreadgroupShape shape,
                        Team team) {
  const Place place = right_place(shape);
  for (int index = team.index; index < shape.columns * shape.columns; index += team.threads) {
    const int i = shape.transposed ? index % shape.columns : index / shape.columns;
    const int k = shape.transposed ? index / shape.columns : index % shape.columns;
    const T entry = Q[int(order[k]) * shape.columns + i];
    right[i * place.row_stride + k * place.column_stride] = place.conjugated ? conjugate(entry) : entry;
  }
}

// A matrix that is not finite has no factors: all NaN.
template <typename T>
inline void store_nan(device T* left, device float* S, device T* right, ThreadgroupShape shape, Team team) {
  const float nan = as_type<float>(0x7fc00000u);
  for (int j = team.index; j < shape.columns; j += team.threads) S[j] = nan;
  if (shape.left_columns == 0) return;
  for (int index = team.index; index < shape.rows * shape.left_columns; index += team.threads) left[index] = T(nan);
  for (int index = team.index; index < shape.columns * shape.columns; index += team.threads) right[index] = T(nan);
}

// The steps for one matrix once its arrays are laid out: B (rows x columns) and Q (columns x columns) column-major,
// then sigma and order with a word for each column. Returns what goes to info.
template <typename T, bool right_in_device, typename RightPointer>
inline int factor_matrix(device const T* A, long row_stride, long column_stride, device T* left, device float* S,
                         device T* right, threadgroup T* B, RightPointer Q, threadgroup float* sigma,
                         threadgroup uint* order, threadgroup uint* slots, ThreadgroupShape shape, Team team) {
  const uint largest = threadgroup_max(load_matrix(A, row_stride, column_stride, shape, B, team), slots, team);
  if (largest >= not_finite_bits) {
    store_nan(left, S, right, shape, team);
    return info_not_finite;
  }
  const int exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  prepare(B, Q, exponent, shape, team);

  // Columns count as orthogonal when their cosine is within the rounding error of computing it.
  const float tolerance = 0.5f * FLT_EPSILON * max(4.0f, precise::sqrt(float(shape.rows)));
  bool converged = false;
  for (int i = 0; i < limits::jacobi_max_sweeps && !converged; ++i) {
    const bool rotated = sweep<T, right_in_device>(B, Q, tolerance, shape, team);
    converged = threadgroup_max(rotated ? 1u : 0u, slots, team) == 0u;
  }

  sort_columns(B, sigma, order, shape, team);
  for (int k = team.index; k < shape.columns; k += team.threads) S[k] = scale(sigma[order[k]], -exponent);
  if (shape.left_columns > 0) {
    const int count = count_nonzero(sigma, order, shape.columns);
    normalize_right<T>(Q, shape, team);
    store_left(B, sigma, order, count, left, shape, team);
    store_right<T>(Q, order, right, shape, team);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (count < shape.left_columns) complete_left(B, sigma, order, count, left, shape, team);
  }
  return converged ? info_ok : info_not_converged;
}

// Grid: one threadgroup a matrix, of any multiple of 32 threads; every number of them gives the same bits.
// Ownership: entries are dealt to all threads when loading and storing; a SIMD-group owns a pair of columns for a round
// of a sweep, lane l the rows l, l + 32, ...; a column of P while it is completed. Barriers: after loading, scaling and
// each round; two where the threadgroup agrees on a number; two in sorting; then one before the staged columns are
// overwritten by reflectors, and two for each of these. The host promises: the arrays fit the tile (csrc/plan.cpp
// counts its words); with `right_in_device`, `scratch` holds columns^2 entries a matrix, otherwise it is not touched;
// without vectors neither are `left` and `right`.
template <typename T, bool right_in_device>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void svd_threadgroup(
    device const T* A [[buffer(0)]], device T* left [[buffer(1)]], device float* S [[buffer(2)]],
    device T* right [[buffer(3)]], device int* info [[buffer(4)]], device T* scratch [[buffer(5)]],
    constant long& rows [[buffer(6)]], constant long& columns [[buffer(7)]], constant long& left_columns [[buffer(8)]],
    constant long& transposed [[buffer(9)]], constant long& batch_stride [[buffer(10)]],
    constant long& row_stride [[buffer(11)]], constant long& column_stride [[buffer(12)]],
    uint matrix [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float2 tile[limits::threadgroup_tile_words / 2];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];

  Team team;
  team.index = int(thread_index);
  team.threads = int(threads);
  team.lane = int(lane);
  team.simdgroup = int(simdgroup);
  team.simdgroups = team.threads / limits::simd_width;
  ThreadgroupShape shape;
  shape.rows = int(rows);
  shape.columns = int(columns);
  shape.left_columns = int(left_columns);
  shape.transposed = transposed != 0;

  const long index = long(matrix);
  A += index * batch_stride;
  left += index * rows * left_columns;
  S += index * columns;
  right += left_columns > 0 ? index * columns * columns : 0;
  scratch += index * columns * columns;

  threadgroup T* B = (threadgroup T*)tile;
  threadgroup T* staged_right = B + rows * columns;
  const bool stages_right = left_columns > 0 && !right_in_device;
  threadgroup float* sigma = (threadgroup float*)(staged_right + (stages_right ? columns * columns : 0));
  threadgroup uint* order = (threadgroup uint*)(sigma + columns);

  int result;
  if (right_in_device) {
    result = factor_matrix<T, true>(A, row_stride, column_stride, left, S, right, B, scratch, sigma, order, slots,
                                    shape, team);
  } else {
    result = factor_matrix<T, false>(A, row_stride, column_stride, left, S, right, B, staged_right, sigma, order, slots,
                                     shape, team);
  }
  if (thread_index == 0) info[matrix] = result;
}

}  // namespace metalsvd
