// The QR factorisation that method `simdgroup` (kernels/simdgroup.h) begins with, in the registers of its lines:
// Householder reflectors H = I - v v^H, |v|^2 = 2, of the columns of B in the order of their norms.
#pragma once
#include <metal_stdlib>

#include "common/entries.h"
#include "common/scalar.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"

namespace metalsvd {

using namespace metal;

// Once more to unit length, given |x|^2: what the rounded norm, quotients and products have left of it.
template <int count, typename T>
inline void correct_entries(thread T* x, float square) {
  const float missing = 0.5f * (1.0f - square);
#pragma unroll
  for (int t = 0; t < count; ++t) x[t] = multiply_add(x[t], from_real<T>(missing), x[t]);
}

// a -= v (v^H a). Nothing where it is not `asked`.
template <int entries, typename T, bool is_spread>
inline void reflect_entries(thread const T* v, thread T* a, bool asked, Stand<is_spread> stand) {
  const T dot = product_of_columns<entries>(v, a, stand);
  if (!asked) return;
#pragma unroll
  for (int t = 0; t < entries; ++t) a[t] = multiply_add(-dot, v[t], a[t]);
}

// Makes of x the v of the reflector that leaves r e_k of rows k and below, and returns r. Where these count as zero, so
// do v and r. Rows above k become zero.
template <int entries, typename T, bool is_spread>
inline T make_reflector(thread T* x, int k, Stand<is_spread> stand) {
  T head = from_real<T>(0.0f);
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const int i = row_of(stand, t);
    if (i < k) x[t] = from_real<T>(0.0f);
    if (i == k) head = x[t];
  }
  head = sum_over_parts(head, stand);
  const float square = square_of_column<entries>(x, stand);
  const bool is_zero = square < least_square();
  // v = x + phase(x_k) |x| e_k, which loses no digit; its square is 2 |x| (|x| + |x_k|)
  const float norm = precise::sqrt(square);
  const float size = magnitude(head);
  const T unit = size > 0.0f ? phase(head) : from_real<T>(1.0f);
  const float inverse = is_zero ? 0.0f : precise::divide(1.0f, precise::sqrt(norm * (norm + size)));
  head = head + norm * unit;
#pragma unroll
  for (int t = 0; t < entries; ++t) x[t] = inverse * (row_of(stand, t) == k ? head : x[t]);
  // Once more to the square 2, without which H is not quite unitary.
  correct_entries<entries>(x, 0.5f * square_of_column<entries>(x, stand));
  return is_zero ? from_real<T>(0.0f) : -norm * unit;
}

// The column with place k goes to x, if the pair holds it: else its last.
template <int entries, typename T>
inline bool take_column_at(thread const T (*columns)[entries], HeldPlaces<pair_columns> places, int k, thread T* x) {
  bool holds = false;
#pragma unroll
  for (int c = pair_columns - 1; c >= 0; --c) {
    const bool is_here = places.of[c] == k;
    holds = holds || is_here;
#pragma unroll
    for (int t = 0; t < entries; ++t) x[t] = c == pair_columns - 1 || is_here ? columns[c][t] : x[t];
  }
  return holds;
}

// The reflector k of the matrix, which the pair with that place holds, told to all its pairs. Where lines are spread it
// goes through a box, one for even and one for odd k: a barrier, and one more where k does not go up or down by one.
template <int entries, typename T, bool is_spread>
inline void broadcast_reflector(thread const T (*columns)[entries], HeldPlaces<pair_columns> places, int k,
                                Stand<is_spread> stand, thread T* v) {
  const bool holds = has_matrix(stand) && take_column_at<entries>(columns, places, k, v);
#pragma unroll
  for (int t = 0; t < entries; ++t) v[t] = row_of(stand, t) < k ? from_real<T>(0.0f) : v[t];
  if (is_spread) {
    const int box = 2 * min(stand.matrix, stand.matrices - 1) + k % 2;
    threadgroup float4* place = place_in_box<entries, T>(box, stand);
    if (holds) put_entries<entries>(v, place);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    take_entries<entries>(v, place);
  } else {
    const uint holders = lanes_where(holds) & lanes_of_matrix(stand, stand.simdgroup);
    const int holder = holders != 0u ? int(ctz(holders)) + stand.part : 0;
    shuffle_entries<entries>(v, ushort(holder));
  }
}

// Factors the first `reflectors` columns of the matrix, by places, of which no matrix of the group has more than
// `most`: reflector k replaces rows k and below of the column with place k, above stays R, whose diagonal entries it
// returns in `diagonals`. A barrier for each, and one.
template <int entries, typename T, bool is_spread>
inline void factor_columns(thread T (*columns)[entries], HeldPlaces<pair_columns> places, int reflectors, int most,
                           Stand<is_spread> stand, thread T* diagonals) {
  T v[entries];
  for (int k = 0; k < most; ++k) {
    const bool holds = take_column_at<entries>(columns, places, k, v) && k < reflectors;
    if (simd_any(holds)) {
      const T r = make_reflector<entries>(v, k, stand);
#pragma unroll
      for (int c = 0; c < pair_columns; ++c) {
        const bool is_here = holds && places.of[c] == k;
        if (is_here) diagonals[c] = r;
#pragma unroll
        for (int t = 0; t < entries; ++t) columns[c][t] = is_here && row_of(stand, t) >= k ? v[t] : columns[c][t];
      }
    }
    broadcast_reflector<entries>(columns, places, k, stand, v);
#pragma unroll
    for (int c = 0; c < pair_columns; ++c) {
      reflect_entries<entries>(v, columns[c], k < reflectors && places.of[c] > k, stand);
    }
  }
  group_barrier(stand);
}

// Column `place` of H_0 .. H_{reflectors - 1}, given the reflectors that the pairs hold. A barrier for each of the
// `most`, and one.
template <int entries, typename T, bool is_spread>
inline void form_column(thread const T (*columns)[entries], HeldPlaces<pair_columns> places, int reflectors, int most,
                        int place, Stand<is_spread> stand, thread T* column) {
  T v[entries];
#pragma unroll
  for (int t = 0; t < entries; ++t) column[t] = from_real<T>(row_of(stand, t) == place ? 1.0f : 0.0f);
  for (int k = most - 1; k >= 0; --k) {
    broadcast_reflector<entries>(columns, places, k, stand, v);
    const bool is_reflected = k < reflectors && place >= k;
    if (simd_any(is_reflected)) reflect_entries<entries>(v, column, is_reflected, stand);
  }
  group_barrier(stand);
}

// The columns of Q of the pair: those that its columns of W belong to.
template <typename T, int entries, bool is_spread>
inline void form_columns(thread Columns<T, entries>& columns, HeldPlaces<pair_columns> places, Stand<is_spread> stand) {
  T v[entries];
  const int first = column_of<pair_columns>(0, stand);
  put_unit_vectors(columns, stand);
  for (int k = stand.columns - 1; k >= 0; --k) {
    broadcast_reflector<entries>(columns.W, places, k, stand, v);
    if (!simd_any(first + pair_columns - 1 >= k)) continue;
#pragma unroll
    for (int c = 0; c < pair_columns; ++c) reflect_entries<entries>(v, columns.Q[c], first + c >= k, stand);
  }
  group_barrier(stand);
}

// Column `first + c` of W = R^H for each c < count goes into the tile, from the columns of R with this place, which has
// it in its rows.
template <int entries, typename T, bool is_spread>
inline void put_row_of_factor(thread const T* x, T diagonal, int place, int first, int count, int stride,
                              threadgroup T* tile, Stand<is_spread> stand) {
  if (!has_matrix(stand) || place >= stand.columns) return;
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const int c = row_of(stand, t);
    if (c < first || c >= first + count || c > place) continue;
    tile[(c - first) * stride + place] = conjugate(c == place ? diagonal : x[t]);
  }
}

template <int entries, typename T, bool is_spread>
inline void take_column_of_factor(thread T* x, int column, int first, int count, int stride, threadgroup const T* tile,
                                  Stand<is_spread> stand) {
  if (!has_matrix(stand) || column < first || column >= first + count || column >= stand.columns) return;
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const int i = row_of(stand, t);
    if (i >= column && i < stand.columns) x[t] = tile[(column - first) * stride + i];
  }
}

// Replaces R by W = R^H, column c of which stands at position c of the line, through threadgroup memory, as many
// columns at a time as have room. Two barriers each.
template <typename T, int entries, bool is_spread>
inline void transpose_factor(thread Columns<T, entries>& columns, HeldPlaces<pair_columns> places,
                             thread const T* diagonals, Stand<is_spread> stand) {
  const int stride = stand.columns | 1;
  const int together = stand.memory.float4s * (16 / int(sizeof(T))) / (stand.matrices * stride);
  threadgroup T* tile = (threadgroup T*)stand.memory.boxes + min(stand.matrix, stand.matrices - 1) * together * stride;
  T taken[pair_columns][entries];
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) taken[c][t] = from_real<T>(0.0f);
  }
  for (int first = 0; first < stand.columns; first += together) {
#pragma unroll
    for (int c = 0; c < pair_columns; ++c) {
      put_row_of_factor<entries>(columns.W[c], diagonals[c], places.of[c], first, together, stride, tile, stand);
    }
    group_barrier(stand);
#pragma unroll
    for (int c = 0; c < pair_columns; ++c) {
      take_column_of_factor<entries>(taken[c], column_of<pair_columns>(c, stand), first, together, stride, tile, stand);
    }
    group_barrier(stand);
  }
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) columns.W[c][t] = taken[c][t];
  }
}

}  // namespace metalsvd
