// Householder reflectors I - v v^H, |v|^2 = 2, the QR factorisation by them, and the orthonormal completion they give
// (Golub and Van Loan, Matrix Computations, 5.1 and 5.2).
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// The first entry from `first` on that `lane` owns, every 32nd counted from entry 0: a lane must meet the same entries
// whatever the reflector, since no barrier stands between two of them.
inline int first_owned(int first, int lane) { return first + ((lane - first) & (limits::simd_width - 1)); }

// v^H x over entries [first, rows), told to every lane of the SIMD-group.
template <typename T, typename VPointer, typename XPointer>
inline T column_dot(VPointer v, XPointer x, int x_stride, int first, int rows, int lane) {
  T sum = from_real<T>(0.0f);
  for (int i = first_owned(first, lane); i < rows; i += limits::simd_width) {
    sum = multiply_add(conjugate(v[i]), x[i * x_stride], sum);
  }
  return simd_sum(sum);
}

// x -= v (v^H x) over entries [first, rows): the reflector I - v v^H, |v|^2 = 2. One SIMD-group.
template <typename T, typename VPointer, typename XPointer>
inline void reflect(VPointer v, XPointer x, int x_stride, int first, int rows, int lane) {
  const T factor = -column_dot<T>(v, x, x_stride, first, rows, lane);
  for (int i = first_owned(first, lane); i < rows; i += limits::simd_width) {
    x[i * x_stride] = multiply_add(factor, v[i], x[i * x_stride]);
  }
}

// Makes of x, entries [k, rows) of a column, the v of the reflector H = I - v v^H, |v|^2 = 2, for which H x = r e_k,
// and returns r to every lane. Nothing can be told of the direction of an x whose square underflows: it counts as zero,
// and then v = 0 and H = I. One SIMD-group.
template <typename T, typename Pointer>
inline T make_reflector(Pointer x, int k, int rows, int lane) {
  const int first = first_owned(k, lane);
  float sum = 0.0f;
  for (int i = first; i < rows; i += limits::simd_width) sum = square_add(T(x[i]), sum);
  sum = simd_sum(sum);
  const bool is_zero = sum < FLT_MIN;
  const T head = simd_sum(first == k ? T(x[k]) : from_real<T>(0.0f));
  const float head_size = magnitude(head);
  const T head_phase = head_size > 0.0f ? phase(head) : from_real<T>(1.0f);
  const float norm = is_zero ? 0.0f : precise::sqrt(sum);
  // v = (x + phase(x_k) |x| e_k) / length, which loses no digit. The product under the root could underflow.
  const float length = precise::sqrt(norm) * precise::sqrt(norm + head_size);
  for (int i = first; i < rows; i += limits::simd_width) {
    const T entry = i == k ? (norm + head_size) * head_phase : T(x[i]);
    x[i] = is_zero ? from_real<T>(0.0f) : divide(entry, length);
  }
  return -norm * head_phase;
}

// Replaces `count` orthonormal columns, found at B + rows * order[k], by the reflectors H_k of their QR factorisation:
// v_k in rows k.. of column k. Two barriers a column.
template <typename T>
inline void factor_orthonormal(threadgroup T* B, int rows, int count, threadgroup const uint* order, Team team) {
  for (int k = 0; k < count; ++k) {
    threadgroup T* v = B + rows * int(order[k]);
    if (team.simdgroup == 0) make_reflector<T>(v, k, rows, team.lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int j = k + 1 + team.simdgroup; j < count; j += team.simdgroups) {
      reflect<T>(v, B + rows * int(order[j]), 1, k, rows, team.lane);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// The first column from `first` on that a SIMD-group owns, every one of them having the same columns throughout.
inline int first_owned_column(int first, Team team) {
  const int owner = first % team.simdgroups;
  return first + (team.simdgroup - owner + (team.simdgroup < owner ? team.simdgroups : 0));
}

// B = Q R, rows >= columns: leaves the reflectors of Q = H_0 .. H_{columns-1} in B, v_k in rows k.. of column k, the
// entries of R above its diagonal where they stand in B, and its diagonal in `diagonal`, `stride` apart. Any columns:
// each is turned relative to its own norm. A barrier a column: its owner makes it a reflector as soon as it has applied
// the one before, while others still apply that one to theirs.
template <typename T>
inline void factor_columns(threadgroup T* B, int rows, int columns, device T* diagonal, int stride, Team team) {
  for (int k = 0; k < columns; ++k) {
    threadgroup T* v = B + rows * k;
    if (first_owned_column(k, team) == k) {
      const T r = make_reflector<T>(v, k, rows, team.lane);
      if (team.lane == 0) diagonal[k * stride] = r;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int j = first_owned_column(k + 1, team); j < columns; j += team.simdgroups) {
      reflect<T>(v, B + rows * j, 1, k, rows, team.lane);
    }
  }
}

// Replaces the reflectors that factor_columns left by the first `columns` columns of Q. A barrier a column.
template <typename T>
inline void form_columns(threadgroup T* B, int rows, int columns, Team team) {
  for (int k = columns - 1; k >= 0; --k) {
    threadgroup T* v = B + rows * k;
    for (int j = first_owned_column(k + 1, team); j < columns; j += team.simdgroups) {
      reflect<T>(v, B + rows * j, 1, k, rows, team.lane);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (first_owned_column(k, team) != k) continue;
    // H_k e_k = e_k - v conj(v_k)
    const T minus_head = -simd_sum(first_owned(k, team.lane) == k ? v[k] : from_real<T>(0.0f));
    for (int i = team.lane; i < rows; i += limits::simd_width) {
      const T unit = from_real<T>(i == k ? 1.0f : 0.0f);
      v[i] = i < k ? unit : multiply_add(conjugate(minus_head), v[i], unit);
    }
  }
}

}  // namespace metalsvd
