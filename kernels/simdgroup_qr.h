// The QR factorisation that method `simdgroup` (kernels/simdgroup.h) begins with, in the registers of its lines:
// Householder reflectors H = I - v v^H, |v|^2 = 2, of the columns of B in the order of their norms.
#pragma once
#include <metal_stdlib>

#include "common/entries.h"
#include "common/scalar.h"
#include "simdgroup_line.h"

namespace metalsvd {

using namespace metal;

// Of both columns of a pair: their places in an order of the columns of their matrix.
struct Places {
  int x;
  int y;
  int nonzero;  // columns of the matrix
};

// The column of B, or of W, that stands at a position of the line.
template <bool is_spread>
inline int column_at(int position, bool is_reversed, Stand<is_spread> stand) {
  return is_reversed ? 2 * stand.pairs_in_line - 1 - position : position;
}

// The places of both columns: the largest of `sizes` first, then in the order of columns; one that only pads, and whose
// size is zero, comes last. Two barriers.
template <bool is_spread>
inline Places rank_columns(float2 sizes, bool is_reversed, Stand<is_spread> stand) {
  threadgroup float2* all_sizes = (threadgroup float2*)stand.memory.boxes;
  const int x_column = column_at(2 * stand.pair, is_reversed, stand);
  const int y_column = column_at(2 * stand.pair + 1, is_reversed, stand);
  Places places;
  places.x = 0;
  places.y = 0;
  places.nonzero = 0;
  if (stand.part == 0) all_sizes[slot_of(stand)] = sizes;
  group_barrier(stand);
  const int pairs = has_matrix(stand) ? stand.pairs_in_line : 0;
  for (int pair = 0; pair < pairs; ++pair) {
    const float2 others = all_sizes[stand.first_slot + pair];
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const float size = side == 0 ? others.x : others.y;
      const int column = column_at(2 * pair + side, is_reversed, stand);
      places.x += size > sizes.x || (size == sizes.x && column < x_column) ? 1 : 0;
      places.y += size > sizes.y || (size == sizes.y && column < y_column) ? 1 : 0;
      places.nonzero += size > 0.0f ? 1 : 0;
    }
  }
  group_barrier(stand);
  return places;
}

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

// The reflector k of the matrix, which the pair with that place holds, told to all its pairs. Where lines are spread it
// goes through a box, one for even and one for odd k: a barrier, and one more where k does not go up or down by one.
template <int entries, typename T, bool is_spread>
inline void broadcast_reflector(thread const T* x, thread const T* y, Places places, int k, Stand<is_spread> stand,
                                thread T* v) {
  const bool holds_x = places.x == k;
  const bool holds = has_matrix(stand) && (holds_x || places.y == k);
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    v[t] = row_of(stand, t) < k ? from_real<T>(0.0f) : holds_x ? x[t] : y[t];
  }
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

// Factors the first `count` columns x and y of the matrix, by places, of which no matrix of the group has more than
// `most`: reflector k replaces rows k and below of the column with place k, above stays R, whose diagonal entries of
// both columns it returns in `diagonals`. A barrier for each, and one.
template <int entries, typename T, bool is_spread>
inline void factor_columns(thread T* x, thread T* y, Places places, int count, int most, Stand<is_spread> stand,
                           thread T* diagonals) {
  T v[entries];
  for (int k = 0; k < most; ++k) {
    const bool holds_x = places.x == k && k < count;
    const bool holds_y = places.y == k && k < count;
    if (simd_any(holds_x || holds_y)) {
#pragma unroll
      for (int t = 0; t < entries; ++t) v[t] = holds_x ? x[t] : y[t];
      const T r = make_reflector<entries>(v, k, stand);
      if (holds_x) diagonals[0] = r;
      if (holds_y) diagonals[1] = r;
#pragma unroll
      for (int t = 0; t < entries; ++t) {
        const bool is_kept = row_of(stand, t) < k;
        x[t] = holds_x && !is_kept ? v[t] : x[t];
        y[t] = holds_y && !is_kept ? v[t] : y[t];
      }
    }
    broadcast_reflector<entries>(x, y, places, k, stand, v);
    reflect_entries<entries>(v, x, k < count && places.x > k, stand);
    reflect_entries<entries>(v, y, k < count && places.y > k, stand);
  }
  group_barrier(stand);
}

// Column `place` of H_0 .. H_{count-1}, given the reflectors that x and y hold. A barrier for each of the `most`, and
// one.
template <int entries, typename T, bool is_spread>
inline void form_column(thread const T* x, thread const T* y, Places places, int count, int most, int place,
                        Stand<is_spread> stand, thread T* column) {
  T v[entries];
#pragma unroll
  for (int t = 0; t < entries; ++t) column[t] = from_real<T>(row_of(stand, t) == place ? 1.0f : 0.0f);
  for (int k = most - 1; k >= 0; --k) {
    broadcast_reflector<entries>(x, y, places, k, stand, v);
    if (simd_any(k < count && place >= k)) reflect_entries<entries>(v, column, k < count && place >= k, stand);
  }
  group_barrier(stand);
}

// Both columns of Q of the pair: those that columns 2 pair and 2 pair + 1 of W belong to.
template <typename T, int entries, bool is_spread>
inline void form_pair(thread Column<T, entries>& x, thread Column<T, entries>& y, Places places,
                      Stand<is_spread> stand) {
  T v[entries];
  const int place = 2 * stand.pair;
  put_unit_vectors(x, y, stand);
  for (int k = stand.columns - 1; k >= 0; --k) {
    broadcast_reflector<entries>(x.W, y.W, places, k, stand, v);
    if (!simd_any(place + 1 >= k)) continue;
    reflect_entries<entries>(v, x.Q, place >= k, stand);
    reflect_entries<entries>(v, y.Q, place + 1 >= k, stand);
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
inline void transpose_factor(thread Column<T, entries>& x, thread Column<T, entries>& y, Places places,
                             thread const T* diagonals, Stand<is_spread> stand) {
  const int stride = stand.columns | 1;
  const int count = stand.memory.float4s * (16 / int(sizeof(T))) / (stand.matrices * stride);
  threadgroup T* tile = (threadgroup T*)stand.memory.boxes + min(stand.matrix, stand.matrices - 1) * count * stride;
  T x_new[entries];
  T y_new[entries];
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    x_new[t] = from_real<T>(0.0f);
    y_new[t] = from_real<T>(0.0f);
  }
  for (int first = 0; first < stand.columns; first += count) {
    put_row_of_factor<entries>(x.W, diagonals[0], places.x, first, count, stride, tile, stand);
    put_row_of_factor<entries>(y.W, diagonals[1], places.y, first, count, stride, tile, stand);
    group_barrier(stand);
    take_column_of_factor<entries>(x_new, 2 * stand.pair, first, count, stride, tile, stand);
    take_column_of_factor<entries>(y_new, 2 * stand.pair + 1, first, count, stride, tile, stand);
    group_barrier(stand);
  }
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    x.W[t] = x_new[t];
    y.W[t] = y_new[t];
  }
}

}  // namespace metalsvd
