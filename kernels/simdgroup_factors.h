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

// The singular values of a pair, of the matrix as it was scaled, to their places in S.
template <int count, typename Storage>
inline void store_values(thread const float* sigmas, HeldPlaces<count> places, int exponent, Tensors<Storage> tensors,
                         Shape shape) {
  typedef typename StorageTraits<Storage>::Real Real;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    if (places.of[c] < shape.columns) tensors.S[places.of[c]] = to_storage<Real>(scale(sigmas[c], -exponent));
  }
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

// Makes of columns of W, whose norms are these, unit vectors, zero where a norm is, and of those of Q too, both turned
// so that the entry of largest magnitude in each column of U is real and positive. U is what W or Q becomes. Of a
// quotient only the length needs to be right to the last bit; that of columns of Q has drifted by rounding errors
// alone.
template <typename Storage, typename T, int entries, bool is_spread>
inline void normalize_columns(thread Columns<T, entries>& columns, thread const float* sigmas, Factor<Storage> of_W,
                              Factor<Storage> of_Q, bool U_is_of_W, Stand<is_spread> stand) {
  T turns[pair_columns];
  if (U_is_of_W) {
#pragma unroll
    for (int c = 0; c < pair_columns; ++c) turns[c] = conjugate(phase_of_entries<entries>(columns.W[c], of_W, stand));
  } else {
#pragma unroll
    for (int c = 0; c < pair_columns; ++c) turns[c] = conjugate(phase_of_entries<entries>(columns.Q[c], of_Q, stand));
  }
  float squares[pair_columns];
  squares_of_columns<entries>(columns.Q, squares, stand);
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
    const T of_W_turn = sigmas[c] > 0.0f ? precise::divide(1.0f, sigmas[c]) * turns[c] : turns[c];
    correct_entries<entries>(columns.Q[c], squares[c]);
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      columns.W[c][t] = multiply(of_W_turn, columns.W[c][t]);
      columns.Q[c][t] = multiply(turns[c], columns.Q[c][t]);
    }
  }
  squares_of_columns<entries>(columns.W, squares, stand);
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) correct_entries<entries>(columns.W[c], sigmas[c] > 0.0f ? squares[c] : 1.0f);
}

// Stores this lane's entries of column k of a factor, where that is wanted. Zeros have no sign: that would tell whether
// rotations by nothing were left out.
template <int entries, typename Storage, typename T, bool is_spread>
inline void store_entries(thread const T* x, int k, Factor<Storage> factor, Stand<is_spread> stand) {
  if (k >= factor.columns) return;
  device Storage* const column = factor.entries + k * factor.place.column_stride;
  device Storage* place = column + stand.part * factor.place.row_stride;
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const T entry = factor.place.conjugated ? conjugate(x[t]) : x[t];
    if (factor.origins != nullptr) place = column + row_of_factor(t, factor, stand) * factor.place.row_stride;
    if (row_of(stand, t) < factor.rows) *place = to_storage<Storage>(entry + from_real<T>(0.0f));
    place += stand.parts * factor.place.row_stride;
  }
}

// Stores columns `first_missing` and following of a factor: an orthonormal basis of what those before it, which the
// pairs hold by their places, leave. Column k is H_0 .. H_{first_missing - 1} e_k. `turned`: so that its entry of
// largest magnitude is real and positive. What is held is lost. Called by all lanes of a group; nothing is missing
// where first_missing is factor.columns.
template <int entries, typename Storage, typename T, bool is_spread>
inline void complete_held(thread T (*columns)[entries], HeldPlaces<pair_columns> places, int first_missing, bool turned,
                          Factor<Storage> factor, Stand<is_spread> stand) {
  const int missing = factor.columns - first_missing;
  const int reflectors = missing > 0 ? first_missing : 0;
  const int most = max_over_group(reflectors, stand);
  const int most_missing = max_over_group(missing, stand);
  T no_diagonals[pair_columns];
  T column[entries];
  factor_columns<entries>(columns, places, reflectors, most, stand, no_diagonals);
  for (int first = 0; first < most_missing; first += stand.pairs_in_line) {
    const int k = first_missing + first + stand.pair;
    form_column<entries>(columns, places, reflectors, most, k, stand, column);
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
