// Householder reflectors I - tau v v^H, tau = 2 / |v|^2, and the orthonormal completion they give (Golub and Van Loan,
// Matrix Computations, 5.1 and 5.2).
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

}  // namespace metalsvd
