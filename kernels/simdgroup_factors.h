// What method `simdgroup` (kernels/simdgroup.h) makes of the columns that its sweeps have left: unit vectors, turned,
// and orthonormal completions.
#pragma once
#include <metal_stdlib>

#include "common/entries.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "simdgroup_line.h"
#include "simdgroup_load.h"
#include "simdgroup_qr.h"

namespace metalsvd {

using namespace metal;

// The factor that the columns of W or Q become, P or V, and where it goes.
template <typename Storage>
struct Factor {
  device Storage* entries;
  Place place;
  int rows;
  int columns;                     // that are wanted
  threadgroup const int* origins;  // its rows, where those that lanes hold are in another order
};

template <typename Storage>
inline Factor<Storage> make_factor(device Storage* entries, Place place, int rows, int columns) {
  Factor<Storage> factor;
  factor.entries = entries;
  factor.place = place;
  factor.rows = rows;
  factor.columns = columns;
  factor.origins = nullptr;
  return factor;
}

// Both singular values of a pair, of the matrix as it was scaled, to their places in S.
template <typename Storage>
inline void store_values(float2 sigmas, Places places, int exponent, Tensors<Storage> tensors, Shape shape) {
  typedef typename StorageTraits<Storage>::Real Real;
  if (places.x < shape.columns) tensors.S[places.x] = to_storage<Real>(scale(sigmas.x, -exponent));
  if (places.y < shape.columns) tensors.S[places.y] = to_storage<Real>(scale(sigmas.y, -exponent));
}

// The row of the factor that a lane's entry t is.
template <typename Storage, bool is_spread>
inline int row_of_factor(int t, Factor<Storage> factor, Stand<is_spread> stand) {
  const int i = row_of(stand, t);
  return factor.origins == nullptr || i >= factor.rows ? i : factor.origins[i];
}

// x_i / |x_i| of the entry of largest magnitude, the first of them where several are; 1 where x is zero. Told to every
// lane of the pair.
template <int entries, typename Storage, typename T, bool is_spread>
inline T phase_of_entries(thread const T* x, Factor<Storage> factor, Stand<is_spread> stand) {
  float4 best = float4(0.0f, 0.0f, 1.0f, 0.0f);  // square, row, entry
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const float square = square_add(x[t], 0.0f);
    const float row = float(row_of_factor(t, factor, stand));
    if (square > best.x || (square == best.x && row < best.y)) best = float4(square, row, to_floats(x[t]));
  }
  for (int distance = 1; distance < stand.parts; distance *= 2) {
    const float4 other = simd_shuffle_xor(best, ushort(distance));
    if (other.x > best.x || (other.x == best.x && other.y < best.y)) best = other;
  }
  return phase(from_floats<T>(best.z, best.w));
}

template <int count, typename T>
inline void divide_entries(thread T* x, float norm, T turn) {
#pragma unroll
  for (int t = 0; t < count; ++t) x[t] = multiply(turn, divide(x[t], norm));
}

// Makes of a column of W, whose norm is sigma, a unit vector, zero where sigma is, and of that of Q one too, both
// turned so that the entry of largest magnitude in each column of U is real and positive. U is what W or Q becomes.
template <typename Storage, typename T, int entries, bool is_spread>
inline void normalize_column(thread Column<T, entries>& column, float sigma, Factor<Storage> of_W, Factor<Storage> of_Q,
                             bool U_is_of_W, Stand<is_spread> stand) {
  const T in_Q = phase_of_entries<entries>(column.Q, of_Q, stand);
  const T in_W = phase_of_entries<entries>(column.W, of_W, stand);
  const T turn = conjugate(U_is_of_W ? in_W : in_Q);
  const float norm = precise::sqrt(square_of_column<entries>(column.Q, stand));
  divide_entries<entries>(column.W, sigma > 0.0f ? sigma : 1.0f, turn);
  divide_entries<entries>(column.Q, norm, turn);
  const float square = square_of_column<entries>(column.W, stand);
  correct_entries<entries>(column.W, sigma > 0.0f ? square : 1.0f);
  correct_entries<entries>(column.Q, square_of_column<entries>(column.Q, stand));
}

// Stores this lane's entries of column k of a factor, where that is wanted.
template <int entries, typename Storage, typename T, bool is_spread>
inline void store_entries(thread const T* x, int k, Factor<Storage> factor, Stand<is_spread> stand) {
  if (k >= factor.columns) return;
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    if (row_of(stand, t) >= factor.rows) continue;
    factor.entries[row_of_factor(t, factor, stand) * factor.place.row_stride + k * factor.place.column_stride] =
        to_storage<Storage>(factor.place.conjugated ? conjugate(x[t]) : x[t]);
  }
}

// Stores columns `count` and following of a factor: an orthonormal basis of what the first `count`, which x and y hold
// by their places, leave. Column k is H_0 .. H_{count-1} e_k. `turned`: so that its entry of largest magnitude is real
// and positive. x and y are lost. Called by all lanes of a group; nothing is missing where count is factor.columns.
template <int entries, typename Storage, typename T, bool is_spread>
inline void complete_held(thread T* x, thread T* y, Places places, int count, bool turned, Factor<Storage> factor,
                          Stand<is_spread> stand) {
  const int missing = factor.columns - count;
  const int reflectors = missing > 0 ? count : 0;
  const int most = max_over_group(reflectors, stand);
  const int most_missing = max_over_group(missing, stand);
  T no_diagonals[2];
  T column[entries];
  factor_columns<entries>(x, y, places, reflectors, most, stand, no_diagonals);
  for (int first = 0; first < most_missing; first += stand.pairs_in_line) {
    const int k = count + first + stand.pair;
    form_column<entries>(x, y, places, reflectors, most, k, stand, column);
    // Once more to unit length, of which each reflector may have taken a rounding error.
    correct_entries<entries>(column, square_of_column<entries>(column, stand));
    if (turned) {
      const T turn = conjugate(phase_of_entries<entries>(column, factor, stand));
#pragma unroll
      for (int t = 0; t < entries; ++t) column[t] = multiply(turn, column[t]);
    }
    if (missing > 0) store_entries<entries>(column, k, factor, stand);
  }
}

}  // namespace metalsvd
