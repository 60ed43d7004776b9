// Method `threadgroup`: one-sided Jacobi, one threadgroup a matrix, staged in threadgroup memory.
//
// Factors B = P diag(sigma) Q^H, where B is A, or A^H when A is wide, so that B has rows >= columns. Columns of B are
// rotated in pairs until all are orthogonal: they are then P diag(sigma), and the product of the rotations is Q
// (Hestenes 1958; de Rijk 1989). Each pair is tested relative to its own norms, which keeps the relative accuracy of
// the small singular values of column-graded matrices (Demmel and Veselic 1992).
#pragma once
#include <metal_stdlib>

#include "common/columns.h"
#include "common/householder.h"
#include "common/nan_factors.h"
#include "common/pairs.h"
#include "common/power_of_two.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "common/team.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// Reads A into B as it is and returns the largest magnitude bits that this thread saw.
template <typename Storage, typename T>
inline uint load_matrix(device const Storage* A, long row_stride, long column_stride, Shape shape, threadgroup T* B,
                        Team team) {
  uint largest = 0u;
  const bool along_rows = row_stride < column_stride;
  for (int index = team.index; index < shape.rows * shape.columns; index += team.threads) {
    const int i = along_rows ? index % shape.rows : index / shape.columns;
    const int j = along_rows ? index / shape.rows : index % shape.columns;
    const T entry = to_number(A[i * row_stride + j * column_stride]);
    B[j * shape.rows + i] = shape.transposed ? conjugate(entry) : entry;
    largest = max(largest, magnitude_bits(entry));
  }
  return largest;
}

// Scales B and sets Q to the identity. One barrier.
template <typename T, typename RightPointer>
inline void prepare(threadgroup T* B, RightPointer right, int exponent, Shape shape, Team team) {
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
inline bool sweep(threadgroup T* B, RightPointer right, float tolerance, Shape shape, Team team) {
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
      if (!needs_rotation(alpha, beta, gamma, tolerance)) continue;
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

// sigma[j] = |column j|, zero where its square is below least_square(), and order[k] = the column of the k-th
// largest. Two barriers.
template <typename T>
inline void sort_columns(threadgroup const T* B, threadgroup float* sigma, threadgroup uint* order, Shape shape,
                         Team team) {
  for (int j = team.simdgroup; j < shape.columns; j += team.simdgroups) {
    float sum = 0.0f;
    for (int i = team.lane; i < shape.rows; i += limits::simd_width) sum = square_add(B[j * shape.rows + i], sum);
    sum = simd_sum(sum);
    if (team.lane == 0) sigma[j] = sum >= least_square() ? precise::sqrt(sum) : 0.0f;
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

// Makes the columns of P (those of B that are not zero) and Q unit vectors, and turns each pair of them so that the
// entry of largest magnitude in the column of U is real and positive, the first of them where several are. Hundreds of
// rounded rotations have stretched the columns of Q by some ulps. One SIMD-group a column, each lane its own entries.
template <typename T, typename RightPointer>
inline void normalize_columns(threadgroup T* B, RightPointer Q, threadgroup const float* sigma, Shape shape,
                              Team team) {
  for (int j = team.simdgroup; j < shape.columns; j += team.simdgroups) {
    const bool is_zero = sigma[j] == 0.0f;
    threadgroup T* p = B + j * shape.rows;
    RightPointer q = Q + j * shape.columns;
    const float norm = precise::sqrt(simd_sum(square_of_column<T>(q, shape.columns, team.lane)));
    T turn = from_real<T>(1.0f);
    if (shape.transposed) {
      turn = conjugate(phase_of_column<T>(q, shape.columns, team.lane));
    } else if (!is_zero) {
      turn = conjugate(phase_of_column<T>(p, shape.rows, team.lane));
    }
    if (!is_zero) normalize_column(p, shape.rows, sigma[j], turn, team.lane);
    normalize_column(q, shape.columns, norm, turn, team.lane);
  }
}

// Stores the first `count` columns of P.
template <typename Storage, typename T>
inline void store_left(threadgroup const T* B, threadgroup const uint* order, int count, device Storage* left,
                       Shape shape, Team team) {
  const Place place = left_place(shape);
  for (int index = team.index; index < shape.rows * count; index += team.threads) {
    const int i = shape.transposed ? index / count : index % shape.rows;
    const int k = shape.transposed ? index % count : index / shape.rows;
    const T entry = B[int(order[k]) * shape.rows + i];
    left[i * place.row_stride + k * place.column_stride] =
        to_storage<Storage>(place.conjugated ? conjugate(entry) : entry);
  }
}

// Fills columns [count, left_columns) of P with an orthonormal basis of what its first `count` columns, still in B,
// leave: column k is H_0 .. H_{count-1} e_k. Made in `work` and stored from there: in place where tensors hold the
// numbers that are computed with, otherwise in scratch. One SIMD-group a column, each lane its own rows.
template <typename Storage, typename T>
inline void complete_left(threadgroup T* B, threadgroup float* sigma, threadgroup const uint* order, int count,
                          device T* work, Place work_place, device Storage* left, Shape shape, Team team) {
  const Place place = left_place(shape);
  factor_orthonormal<T>(B, shape.rows, 0, count, order, sigma, team);
  for (int k = count + team.simdgroup; k < shape.left_columns; k += team.simdgroups) {
    device T* column = work + k * work_place.column_stride;
    for (int i = team.lane; i < shape.rows; i += limits::simd_width) {
      column[i * work_place.row_stride] = from_real<T>(i == k ? 1.0f : 0.0f);
    }
    for (int reflector = count - 1; reflector >= 0; --reflector) {
      const int j = int(order[reflector]);
      reflect<T>(B + j * shape.rows, sigma[j], column, work_place.row_stride, reflector, shape.rows, team.lane);
    }
    for (int i = team.lane; i < shape.rows; i += limits::simd_width) {
      const T entry = column[i * work_place.row_stride];
      left[i * place.row_stride + k * place.column_stride] =
          to_storage<Storage>(place.conjugated ? conjugate(entry) : entry);
    }
  }
}

template <typename Storage, typename RightPointer>
inline void store_right(RightPointer Q, threadgroup const uint* order, device Storage* right, Shape shape, Team team) {
  typedef typename StorageTraits<Storage>::Number T;
  const Place place = right_place(shape);
  for (int index = team.index; index < shape.columns * shape.columns; index += team.threads) {
    const int i = shape.transposed ? index % shape.columns : index / shape.columns;
    const int k = shape.transposed ? index / shape.columns : index % shape.columns;
    const T entry = Q[int(order[k]) * shape.columns + i];
    right[i * place.row_stride + k * place.column_stride] =
        to_storage<Storage>(place.conjugated ? conjugate(entry) : entry);
  }
}

// Jacobi on B, scaled and with Q the identity, until no pair needs a rotation; then sigma and order. Returns what goes
// to info.
template <typename T, bool right_in_device, typename RightPointer>
inline int factor_staged(threadgroup T* B, RightPointer Q, threadgroup float* sigma, threadgroup uint* order,
                         threadgroup uint* slots, Shape shape, Team team) {
  const float tolerance = jacobi_tolerance(shape.rows);
  bool converged = false;
  for (int i = 0; i < limits::jacobi_max_sweeps && !converged; ++i) {
    const bool rotated = sweep<T, right_in_device>(B, Q, tolerance, shape, team);
    converged = threadgroup_max(rotated ? 1u : 0u, slots, team) == 0u;
  }
  sort_columns(B, sigma, order, shape, team);
  return converged ? info_ok : info_not_converged;
}

// The whole of svd_threadgroup for one matrix, its arrays laid out: B (rows x columns) and Q (columns x columns)
// column-major, then sigma and order with a word for each column. Returns what goes to info.
template <typename Storage, bool right_in_device, typename T, typename RightPointer>
inline int factor_matrix(device const Storage* A, long row_stride, long column_stride, device Storage* left,
                         device typename StorageTraits<Storage>::Real* S, device Storage* right, device T* work,
                         Place work_place, threadgroup T* B, RightPointer Q, threadgroup float* sigma,
                         threadgroup uint* order, threadgroup uint* slots, Shape shape, Team team) {
  const uint largest = threadgroup_max(load_matrix(A, row_stride, column_stride, shape, B, team), slots, team);
  if (largest >= not_finite_bits) {
    store_nan(left, S, right, shape, team.index, team.threads);
    return info_not_finite;
  }
  const int exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  prepare(B, Q, exponent, shape, team);
  const int info = factor_staged<T, right_in_device>(B, Q, sigma, order, slots, shape, team);

  typedef typename StorageTraits<Storage>::Real Real;
  for (int k = team.index; k < shape.columns; k += team.threads) {
    S[k] = to_storage<Real>(scale(sigma[order[k]], -exponent));
  }
  if (shape.left_columns == 0) return info;
  const int count = count_nonzero(sigma, order, shape.columns);
  normalize_columns(B, Q, sigma, shape, team);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  store_left(B, order, count, left, shape, team);
  store_right(Q, order, right, shape, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (count < shape.left_columns) {
    complete_left(B, sigma, order, count, work, work_place, left, shape, team);
  }
  return info;
}

// Grid: one threadgroup a matrix, of any multiple of 32 threads; every number of them gives the same bits.
// Ownership: entries are dealt to all threads when loading and storing; a SIMD-group owns a pair of columns for a round
// of a sweep, lane l the rows l, l + 32, ...; a column while it is normalised or completed. Barriers: after loading,
// scaling, each round and normalising; two where the threadgroup agrees on a number; two in sorting; then one before
// the staged columns are overwritten by reflectors, and two for each of these. The host promises: the arrays fit the
// tile (csrc/plan.cpp counts its words); `scratch` holds, for each matrix, columns^2 numbers with `right_in_device` and
// rows * left_columns numbers where tensors are narrower than the numbers computed with; without vectors `left` and
// `right` are not touched.
template <typename Storage, bool right_in_device>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void svd_threadgroup(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], uint matrix [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup float2 tile[limits::threadgroup_tile_words / 2];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];

  if (long(matrix) >= batch) return;
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const bool is_narrow = sizeof(Storage) < sizeof(T);

  const long index = long(matrix);
  A += index * batch_stride;
  left += index * rows * left_columns;
  S += index * columns;
  right += left_columns > 0 ? index * columns * columns : 0;
  const long right_scratch = right_in_device ? columns * columns : 0;
  scratch += index * (right_scratch + (is_narrow ? rows * left_columns : 0));

  threadgroup T* B = (threadgroup T*)tile;
  threadgroup T* staged_right = B + rows * columns;
  const bool stages_right = left_columns > 0 && !right_in_device;
  threadgroup float* sigma = (threadgroup float*)(staged_right + (stages_right ? columns * columns : 0));
  threadgroup uint* order = (threadgroup uint*)(sigma + columns);
  device T* work = is_narrow ? scratch + right_scratch : (device T*)left;
  const Place work_place = is_narrow ? column_major_place(shape.rows) : left_place(shape);

  int result;
  if (right_in_device) {
    result = factor_matrix<Storage, true>(A, row_stride, column_stride, left, S, right, work, work_place, B, scratch,
                                          sigma, order, slots, shape, team);
  } else {
    result = factor_matrix<Storage, false>(A, row_stride, column_stride, left, S, right, work, work_place, B,
                                           staged_right, sigma, order, slots, shape, team);
  }
  if (thread_index == 0) info[matrix] = result;
}

}  // namespace metalsvd
