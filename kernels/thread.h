// Method `thread`: one-sided Jacobi, one thread a matrix, in registers.
//
// The algorithm of `threadgroup` (kernels/threadgroup.h), for matrices of at most 6 rows and 6 columns, 4 of complex
// ones: the work is too little to be shared. B = P diag(sigma) Q^H is held as N x N, with zeros beyond its rows and
// columns: zero columns are never rotated, and sort last. Every loop over registers has compile-time bounds, so that
// none is indexed at run time.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/entries.h"
#include "common/nan_factors.h"
#include "common/power_of_two.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// B, which becomes P diag(sigma) and then P, and Q. P[j][i] is row i of column j.
template <typename T, int N>
struct HeldFactors {
  T P[N][N];
  T Q[N][N];
  float sigma[N];
};

// Reads A into P, sets Q to the identity and returns the largest magnitude bits.
template <typename Storage, typename T, int N>
inline uint load_registers(device const Storage* A, long row_stride, long column_stride, Shape shape,
                           thread HeldFactors<T, N>& held) {
  uint largest = 0u;
#pragma unroll
  for (int j = 0; j < N; ++j) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      T entry = from_real<T>(0.0f);
      if (i < shape.rows && j < shape.columns) entry = to_number(A[i * row_stride + j * column_stride]);
      largest = max(largest, magnitude_bits(entry));
      held.P[j][i] = entry;
      held.Q[j][i] = from_real<T>(i == j ? 1.0f : 0.0f);
    }
  }
  return largest;
}

// One sweep: every pair of columns once, row by row of the triangle of pairs. Returns what was found.
template <typename T, int N>
inline uint sweep_registers(thread HeldFactors<T, N>& held, Tolerances tolerances, bool wants_vectors) {
  uint found = found_nothing;
#pragma unroll
  for (int p = 0; p < N - 1; ++p) {
#pragma unroll
    for (int q = p + 1; q < N; ++q) {
      const float alpha = square_of_entries<N>(held.P[p]);
      const float beta = square_of_entries<N>(held.P[q]);
      const T gamma = product_of_entries<N>(held.P[p], held.P[q]);
      const uint found_here = found_in_pair(alpha, beta, rough_magnitude(gamma), tolerances);
      if (found_here == found_nothing) continue;
      found = max(found, found_here);
      const Rotation<T> rotation = orthogonalizing_rotation(alpha, beta, gamma);
#pragma unroll
      for (int i = 0; i < N; ++i) rotate_entries(held.P[p][i], held.P[q][i], rotation);
      if (!wants_vectors) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) rotate_entries(held.Q[p][i], held.Q[q][i], rotation);
    }
  }
  return found;
}

// sigma[j] = |column j|, zero where its square is below least_square(), and the columns so moved that sigma
// falls. Neighbours are exchanged, which keeps equal ones in their order.
template <typename T, int N>
inline void sort_registers(thread HeldFactors<T, N>& held) {
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float sum = square_of_entries<N>(held.P[j]);
    held.sigma[j] = sum >= least_square() ? precise::sqrt(sum) : 0.0f;
  }
#pragma unroll
  for (int last = N - 1; last > 0; --last) {
#pragma unroll
    for (int j = 0; j < last; ++j) {
      if (held.sigma[j] >= held.sigma[j + 1]) continue;
      exchange(held.sigma[j], held.sigma[j + 1]);
#pragma unroll
      for (int i = 0; i < N; ++i) exchange(held.P[j][i], held.P[j + 1][i]);
#pragma unroll
      for (int i = 0; i < N; ++i) exchange(held.Q[j][i], held.Q[j + 1][i]);
    }
  }
}

// x_i / |x_i| of the entry of largest magnitude, the first of them where several are; x is not zero.
template <int N, typename T>
inline T phase_of_registers(thread const T* x) {
  float largest = 0.0f;
  T entry = from_real<T>(1.0f);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float square = square_add(x[i], 0.0f);
    entry = square > largest ? x[i] : entry;
    largest = max(square, largest);
  }
  return phase(entry);
}

// x = turn x / norm, then once more to unit length, as common/columns.h does.
template <int N, typename T>
inline void normalize_registers(thread T* x, float norm, T turn) {
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = multiply(turn, divide(x[i], norm));
  const float missing = 0.5f * (1.0f - square_of_entries<N>(x));
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = multiply_add(x[i], from_real<T>(missing), x[i]);
}

// Makes the columns of P that are not zero and those of Q unit vectors, turned so that the entry of largest magnitude
// in each column of U is real and positive.
template <typename T, int N>
inline void normalize_held(thread HeldFactors<T, N>& held, bool transposed) {
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const bool is_zero = held.sigma[j] == 0.0f;
    T turn = from_real<T>(1.0f);
    if (transposed) {
      turn = conjugate(phase_of_registers<N>(held.Q[j]));
    } else if (!is_zero) {
      turn = conjugate(phase_of_registers<N>(held.P[j]));
    }
    if (!is_zero) normalize_registers<N>(held.P[j], held.sigma[j], turn);
    normalize_registers<N>(held.Q[j], precise::sqrt(square_of_entries<N>(held.Q[j])), turn);
  }
}

// Column k of P, from its first k: of the canonical vectors the one farthest from them, made orthogonal to them. Twice:
// the first time leaves what rounding lost where that vector is close (Parlett, The Symmetric Eigenvalue Problem, 6.9).
template <typename T, int N>
inline void complete_column(thread HeldFactors<T, N>& held, int k, int rows) {
  float farthest = -1.0f;
  int row = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    float residual = 1.0f;
#pragma unroll
    for (int j = 0; j < N; ++j) residual -= j < k ? square_add(held.P[j][i], 0.0f) : 0.0f;
    if (i < rows && residual > farthest) {
      farthest = residual;
      row = i;
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) held.P[k][i] = from_real<T>(i == row ? 1.0f : 0.0f);
#pragma unroll
  for (int pass = 0; pass < 2; ++pass) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (j >= k) continue;
      const T dot = product_of_entries<N>(held.P[j], held.P[k]);
#pragma unroll
      for (int i = 0; i < N; ++i) held.P[k][i] = multiply_add(-dot, held.P[j][i], held.P[k][i]);
    }
  }
  normalize_registers<N>(held.P[k], precise::sqrt(square_of_entries<N>(held.P[k])), from_real<T>(1.0f));
}

template <typename Storage, typename T, int N>
inline void store_columns(thread const T (&columns)[N][N], int rows, int count, Place place, device Storage* factor) {
#pragma unroll
  for (int k = 0; k < N; ++k) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i >= rows || k >= count) continue;
      const T entry = columns[k][i];
      factor[i * place.row_stride + k * place.column_stride] =
          to_storage<Storage>(place.conjugated ? conjugate(entry) : entry);
    }
  }
}

// Grid: one thread a matrix; threads beyond `batch` return at once. Ownership: a thread owns its matrix and its factors
// from end to end. Barriers: none, and no SIMD operation. The host promises: rows and columns are at most N; without
// vectors `left` and `right` are not touched; `scratch` never is.
template <typename Storage, int N>
[[kernel, max_total_threads_per_threadgroup(limits::thread_method_threads)]] void svd_thread(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  typedef typename StorageTraits<Storage>::Real Real;
  const long index = long(threadgroup_index) * long(threads) + long(thread_index);
  if (index >= batch) return;
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const bool wants_vectors = shape.left_columns > 0;
  A += index * batch_stride;
  left += index * rows * left_columns;
  S += index * columns;
  right += wants_vectors ? index * columns * columns : 0;

  HeldFactors<T, N> held;
  const uint largest = load_registers(A, row_stride, column_stride, shape, held);
  if (largest >= not_finite_bits) {
    store_nan(left, S, right, shape, 0, 1);
    info[index] = info_not_finite;
    return;
  }
  const int exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  scale_all<N * N>(held.P[0], exponent);
#pragma unroll
  for (int j = 0; j < N; ++j) {
#pragma unroll
    for (int i = 0; i < N; ++i) held.P[j][i] = shape.transposed ? conjugate(held.P[j][i]) : held.P[j][i];
  }

  const Tolerances tolerances = make_tolerances(shape.rows, shape.columns);
  uint found = found_large;
  for (int i = 0; i < limits::jacobi_max_sweeps && found == found_large; ++i) {
    found = sweep_registers(held, tolerances, wants_vectors);
  }
  sort_registers(held);
  info[index] = found == found_large ? info_not_converged : info_ok;

#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (k < shape.columns) S[k] = to_storage<Real>(scale(held.sigma[k], -exponent));
  }
  if (!wants_vectors) return;
  normalize_held(held, shape.transposed);
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (k < shape.left_columns && held.sigma[k] == 0.0f) complete_column(held, k, shape.rows);
  }
  store_columns(held.P, shape.rows, shape.left_columns, left_place(shape), left);
  store_columns(held.Q, shape.columns, shape.columns, right_place(shape), right);
}

}  // namespace metalsvd
