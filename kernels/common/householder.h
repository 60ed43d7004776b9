// Householder reflectors of orthonormal columns, and the orthonormal completion they give (Golub and Van Loan, Matrix
// Computations, 5.1 and 5.2).
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
template <typename T, typename VPointer, typename XPointer, typename Stride>
inline T column_dot(VPointer v, XPointer x, Stride x_stride, int first, int rows, int lane) {
  T sum = from_real<T>(0.0f);
  for (int i = first_owned(first, lane); i < rows; i += limits::simd_width) {
    sum = multiply_add(conjugate(v[i]), x[i * x_stride], sum);
  }
  return simd_sum(sum);
}

// x -= v (2 v^H x / |v|^2) over entries [first, rows): the reflector I - 2 v v^H / |v|^2. One SIMD-group.
template <typename T, typename VPointer, typename XPointer, typename Stride>
inline void reflect(VPointer v, float norm_squared, XPointer x, Stride x_stride, int first, int rows, int lane) {
  const T dot = column_dot<T>(v, x, x_stride, first, rows, lane);
  const T factor = precise::divide(-2.0f, norm_squared) * dot;
  for (int i = first_owned(first, lane); i < rows; i += limits::simd_width) {
    x[i * x_stride] = multiply_add(factor, v[i], x[i * x_stride]);
  }
}

// Replaces columns [first, last) of orthonormal ones, found at B + rows * order[k], by the reflectors H_k of their QR
// factorisation: v_k in rows k.. of column k, |v_k|^2 in norms[order[k]]. Those before `first` have been applied to
// them. Two barriers a column.
template <typename T, typename Pointer, typename OrderPointer, typename NormsPointer>
inline void factor_orthonormal(Pointer B, int rows, int first, int last, OrderPointer order, NormsPointer norms,
                               Team team) {
  for (int k = first; k < last; ++k) {
    Pointer v = B + long(rows) * int(order[k]);
    if (team.simdgroup == 0) {
      float sum = 0.0f;
      for (int i = first_owned(k, team.lane); i < rows; i += limits::simd_width) sum = square_add(T(v[i]), sum);
      const float norm = precise::sqrt(simd_sum(sum));
      // v = x + phase(x_k) |x| e_k, which loses no digit; |v|^2 = 2 |x| (|x| + |x_k|)
      if (first_owned(k, team.lane) == k) {
        const T entry = v[k];
        const float head = magnitude(entry);
        v[k] = entry + norm * (head > 0.0f ? phase(entry) : from_real<T>(1.0f));
        norms[order[k]] = 2.0f * norm * (norm + head);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    for (int j = k + 1 + team.simdgroup; j < last; j += team.simdgroups) {
      reflect<T>(v, norms[order[k]], B + long(rows) * int(order[j]), 1, k, rows, team.lane);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  }
}

}  // namespace metalsvd
