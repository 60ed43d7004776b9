// Householder reflectors I - tau v v^H, tau = 2 / |v|^2, the QR factorisation by them, and the orthonormal completion
// they give (Golub and Van Loan, Matrix Computations, 5.1 and 5.2).
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// v^H x over entries [first, rows), told to every lane of the SIMD-group.
template <typename T, typename VPointer, typename XPointer, typename Stride>
inline T column_dot(VPointer v, XPointer x, Stride x_stride, int first, int rows, int lane) {
  T sum = from_real<T>(0.0f);
  for (int i = first_owned(first, lane, limits::simd_width); i < rows; i += limits::simd_width) {
    sum = multiply_add(conjugate(v[i]), x[i * x_stride], sum);
  }
  return simd_sum(sum);
}

// x -= tau v (v^H x) over entries [first, rows). One SIMD-group.
template <typename T, typename VPointer, typename XPointer, typename Stride>
inline void reflect(VPointer v, float tau, XPointer x, Stride x_stride, int first, int rows, int lane) {
  const T factor = -tau * column_dot<T>(v, x, x_stride, first, rows, lane);
  for (int i = first_owned(first, lane, limits::simd_width); i < rows; i += limits::simd_width) {
    x[i * x_stride] = multiply_add(factor, v[i], x[i * x_stride]);
  }
}

// Makes of x, entries [k, rows) of a column, the v of the reflector H for which H x = r e_k, and tells tau and r to
// every lane. Where what lies below x_k counts as zero, and H = I: tau = 0. One SIMD-group.
template <typename T, typename Pointer>
inline T make_reflector(Pointer x, int k, int rows, int lane, thread float& tau) {
  const int first = first_owned(k, lane, limits::simd_width);
  float sum = 0.0f;
  for (int i = first_owned(k + 1, lane, limits::simd_width); i < rows; i += limits::simd_width)
    sum = square_add(T(x[i]), sum);
  const float below = simd_sum(sum);
  const T head = simd_sum(first == k ? T(x[k]) : from_real<T>(0.0f));
  tau = 0.0f;
  if (below < least_square()) return head;
  const float size = magnitude(head);
  const T unit = size > 0.0f ? phase(head) : from_real<T>(1.0f);
  const float norm = precise::sqrt(square_add(head, below));
  // v = x + phase(x_k) |x| e_k, which loses no digit. Taking |v|^2 from v as it was rounded makes H unitary.
  const T v_k = (norm + size) * unit;
  if (first == k) x[k] = v_k;
  tau = precise::divide(2.0f, square_add(v_k, below));
  return -norm * unit;
}

// Replaces columns [first, last) of orthonormal ones, found at B + rows * order[k], by the reflectors H_k of their QR
// factorisation: v_k in rows k.. of column k, tau in taus[order[k]]. Those before `first` have been applied to them.
// Two barriers a column.
template <typename T, typename Pointer, typename OrderPointer, typename TauPointer>
inline void factor_orthonormal(Pointer B, int rows, int first, int last, OrderPointer order, TauPointer taus,
                               Team team) {
  for (int k = first; k < last; ++k) {
    Pointer v = B + long(rows) * int(order[k]);
    if (team.simdgroup == 0) {
      float tau;
      make_reflector<T>(v, k, rows, team.lane, tau);
      if (team.lane == 0) taus[order[k]] = tau;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    for (int j = k + 1 + team.simdgroup; j < last; j += team.simdgroups) {
      reflect<T>(v, taus[order[k]], B + long(rows) * int(order[j]), 1, k, rows, team.lane);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
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
template <typename T, typename Pointer, typename TauPointer>
inline void factor_columns(Pointer B, TauPointer taus, int rows, int columns, device T* diagonal, int stride,
                           Team team) {
  for (int k = 0; k < columns; ++k) {
    Pointer v = B + long(rows) * k;
    if (first_owned_column(k, team) == k) {
      float tau;
      const T r = make_reflector<T>(v, k, rows, team.lane, tau);
      if (team.lane == 0) {
        taus[k] = tau;
        diagonal[k * stride] = r;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    for (int j = first_owned_column(k + 1, team); j < columns; j += team.simdgroups) {
      reflect<T>(v, taus[k], B + long(rows) * j, 1, k, rows, team.lane);
    }
  }
}

// Replaces the reflectors that factor_columns left by the first `columns` columns of Q. A barrier a column.
template <typename T>
inline void form_columns(threadgroup T* B, threadgroup const float* taus, int rows, int columns, Team team) {
  for (int k = columns - 1; k >= 0; --k) {
    threadgroup T* v = B + rows * k;
    for (int j = first_owned_column(k + 1, team); j < columns; j += team.simdgroups) {
      reflect<T>(v, taus[k], B + rows * j, 1, k, rows, team.lane);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (first_owned_column(k, team) != k) continue;
    // H_k e_k = e_k - tau v conj(v_k)
    const T factor =
        -taus[k] * conjugate(simd_sum(first_owned(k, team.lane, limits::simd_width) == k ? v[k] : from_real<T>(0.0f)));
    for (int i = team.lane; i < rows; i += limits::simd_width) {
      const T unit = from_real<T>(i == k ? 1.0f : 0.0f);
      v[i] = i < k ? unit : multiply_add(factor, v[i], unit);
    }
  }
}

}  // namespace metalsvd
