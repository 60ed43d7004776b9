// What method `simdgroup` (kernels/simdgroup.h) makes of the columns that its sweeps have left: singular values in
// order, unit vectors, and an orthonormal completion of U.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "simdgroup_line.h"

namespace metalsvd {

using namespace metal;

// What a lane knows of a column of its pair when the sweeps are over.
struct Rank {
  float sigma;
  int place;  // in the order of the singular values; a column that only pads has one beyond the last
};

// The column of B that stands at a position of the line.
template <bool is_spread>
inline int column_at(int position, bool is_reversed, Stand<is_spread> stand) {
  return is_reversed ? 2 * stand.pairs_in_line - 1 - position : position;
}

// The sigmas of both columns of a pair of the matrix. Lanes that are left over see some pair.
template <bool is_spread>
inline float2 sigmas_of_pair(float2 own, int pair, Stand<is_spread> stand) {
  const int slot = (has_matrix(stand) ? stand.first_slot : 0) + pair;
  if (is_spread) return ((threadgroup float2*)stand.boxes)[slot];
  return simd_shuffle(own, ushort(slot * stand.parts));
}

// The places of both columns, the largest sigma first, then in the order of B. Returns how many are not zero. Two
// barriers where lines are spread.
template <bool is_spread>
inline int rank_columns(thread Rank& x, thread Rank& y, bool is_reversed, Stand<is_spread> stand) {
  const int x_column = column_at(2 * stand.pair, is_reversed, stand);
  const int y_column = column_at(2 * stand.pair + 1, is_reversed, stand);
  const float2 own = float2(x.sigma, y.sigma);
  int count = 0;
  x.place = 0;
  y.place = 0;
  if (is_spread) {
    if (stand.part == 0) ((threadgroup float2*)stand.boxes)[slot_of(stand)] = own;
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  for (int pair = 0; pair < stand.pairs_in_line; ++pair) {
    const float2 sigmas = sigmas_of_pair(own, pair, stand);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const float sigma = side == 0 ? sigmas.x : sigmas.y;
      const int column = column_at(2 * pair + side, is_reversed, stand);
      x.place += sigma > x.sigma || (sigma == x.sigma && column < x_column) ? 1 : 0;
      y.place += sigma > y.sigma || (sigma == y.sigma && column < y_column) ? 1 : 0;
      count += sigma > 0.0f ? 1 : 0;
    }
  }
  if (is_spread) threadgroup_barrier(mem_flags::mem_threadgroup);
  return count;
}

// x_i / |x_i| of the entry of largest magnitude, the first of them where several are; 1 where x is zero. Told to every
// lane of the pair.
template <int entries, typename T, bool is_spread>
inline T phase_of_entries(thread const T* x, Stand<is_spread> stand) {
  float4 best = float4(0.0f, 0.0f, 1.0f, 0.0f);  // square, row, entry
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const float square = square_add(x[t], 0.0f);
    if (square > best.x) best = float4(square, float(row_of(stand, t)), to_floats(x[t]));
  }
  for (int distance = 1; distance < stand.parts; distance *= 2) {
    const float4 other = simd_shuffle_xor(best, ushort(distance));
    if (other.x > best.x || (other.x == best.x && other.y < best.y)) best = other;
  }
  return phase(from_floats<T>(best.z, best.w));
}

template <typename T, int entries, bool is_spread>
inline T turn_of_column(thread const Column<T, entries>& column, bool transposed, Stand<is_spread> stand) {
  const T of_right = phase_of_entries<entries>(column.right, stand);
  const T of_left = phase_of_entries<entries>(column.left, stand);
  return conjugate(transposed ? of_right : of_left);
}

template <int count, typename T>
inline float square_of_entries(thread const T* x) {
  float sum = 0.0f;
#pragma unroll
  for (int t = 0; t < count; ++t) sum = square_add(x[t], sum);
  return sum;
}

// |left|^2 and |right|^2 of both columns, told to every lane of the pair.
template <typename T, int entries, bool is_spread>
inline float4 squares_of_pair(thread const Column<T, entries>& x, thread const Column<T, entries>& y,
                              Stand<is_spread> stand) {
  return sum_over_parts(float4(square_of_entries<entries>(x.left), square_of_entries<entries>(y.left),
                               square_of_entries<entries>(x.right), square_of_entries<entries>(y.right)),
                        stand);
}

template <int count, typename T>
inline void divide_entries(thread T* x, float norm, T turn) {
#pragma unroll
  for (int t = 0; t < count; ++t) x[t] = multiply(turn, divide(x[t], norm));
}

// Once more to unit length, given |x|^2: what the rounded norm, quotients and products have left of it.
template <int count, typename T>
inline void correct_entries(thread T* x, float square) {
  const float missing = 0.5f * (1.0f - square);
#pragma unroll
  for (int t = 0; t < count; ++t) x[t] = multiply_add(x[t], from_real<T>(missing), x[t]);
}

// Makes the columns of Q and those of P that are not zero unit vectors, turned so that the entry of largest magnitude
// in each column of U is real and positive. `squares` are those of the pair.
template <typename T, int entries, bool is_spread>
inline void normalize_pair(thread Column<T, entries>& x, thread Column<T, entries>& y, Rank x_rank, Rank y_rank,
                           float4 squares, bool transposed, Stand<is_spread> stand) {
  const T x_turn = turn_of_column(x, transposed, stand);
  const T y_turn = turn_of_column(y, transposed, stand);
  divide_entries<entries>(x.left, x_rank.sigma > 0.0f ? x_rank.sigma : 1.0f, x_turn);
  divide_entries<entries>(y.left, y_rank.sigma > 0.0f ? y_rank.sigma : 1.0f, y_turn);
  divide_entries<entries>(x.right, precise::sqrt(squares.z), x_turn);
  divide_entries<entries>(y.right, precise::sqrt(squares.w), y_turn);
  const float4 rounded = squares_of_pair(x, y, stand);
  correct_entries<entries>(x.left, rounded.x);
  correct_entries<entries>(y.left, rounded.y);
  correct_entries<entries>(x.right, rounded.z);
  correct_entries<entries>(y.right, rounded.w);
}

// Stores this lane's entries of column k of P or Q.
template <int entries, typename Storage, typename T, bool is_spread>
inline void store_entries(thread const T* x, int k, int rows, Place place, device Storage* factor,
                          Stand<is_spread> stand) {
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const int i = row_of(stand, t);
    if (i >= rows) continue;
    factor[i * place.row_stride + k * place.column_stride] =
        to_storage<Storage>(place.conjugated ? conjugate(x[t]) : x[t]);
  }
}

template <typename Storage, typename T, int entries, bool is_spread>
inline void store_column(thread const Column<T, entries>& column, Rank rank, Shape shape, Stand<is_spread> stand,
                         device Storage* left, device Storage* right) {
  if (rank.place >= shape.columns) return;
  if (rank.sigma > 0.0f) store_entries<entries>(column.left, rank.place, shape.rows, left_place(shape), left, stand);
  store_entries<entries>(column.right, rank.place, shape.columns, right_place(shape), right, stand);
}

// The entries of P's column of this place, for every pair of the matrix. Where lines are spread it goes through a box,
// one for each matrix: two barriers.
template <typename T, int entries, bool is_spread>
inline void broadcast_column(thread const Column<T, entries>& x, thread const Column<T, entries>& y, Rank x_rank,
                             Rank y_rank, int place, Stand<is_spread> stand, thread T* v) {
  const bool holds_x = x_rank.place == place;
  const bool holds = has_matrix(stand) && (holds_x || y_rank.place == place);
#pragma unroll
  for (int t = 0; t < entries; ++t) v[t] = holds_x ? x.left[t] : y.left[t];
  if (is_spread) {
    const int box = min(stand.matrix, stand.matrices - 1);
    threadgroup float4* place_of_part = place_in_box<entries, T>(box, stand);
    if (holds) put_entries<entries>(v, place_of_part);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    take_entries<entries>(v, place_of_part);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  } else {
    const uint holders = lanes_where(holds) & lanes_of_matrix(stand, stand.simdgroup);
    const int holder = holders != 0u ? int(ctz(holders)) + stand.part : 0;
    shuffle_entries<entries>(v, ushort(holder));
  }
}

// x^H y, told to every lane of the pair.
template <int entries, typename T, bool is_spread>
inline T dot_of_entries(thread const T* x, thread const T* y, Stand<is_spread> stand) {
  T dot = from_real<T>(0.0f);
#pragma unroll
  for (int t = 0; t < entries; ++t) dot = multiply_add(conjugate(x[t]), y[t], dot);
  return sum_over_parts(dot, stand);
}

// a -= v (v^H a): a reflector where |v|^2 is two. Nothing where it is not `asked`.
template <int entries, typename T, bool is_spread>
inline void reflect_entries(thread const T* v, thread T* a, bool asked, Stand<is_spread> stand) {
  const T dot = dot_of_entries<entries>(v, a, stand);
  if (!asked) return;
#pragma unroll
  for (int t = 0; t < entries; ++t) a[t] = multiply_add(-dot, v[t], a[t]);
}

// Replaces the first `count` columns of P where they are held by the reflectors H_k = I - v_k v_k^H of their QR
// factorisation. `most` is the largest count of the group. `v` is work space.
template <typename T, int entries, bool is_spread>
inline void factor_held(thread Column<T, entries>& x, thread Column<T, entries>& y, Rank x_rank, Rank y_rank, int count,
                        int most, Stand<is_spread> stand, thread T* v) {
  for (int k = 0; k < most; ++k) {
    broadcast_column(x, y, x_rank, y_rank, k, stand, v);
    T head = from_real<T>(0.0f);
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = row_of(stand, t);
      if (i < k) v[t] = from_real<T>(0.0f);
      if (i == k) head = v[t];
    }
    head = sum_over_parts(head, stand);
    // v = x + phase(x_k) |x| e_k, which loses no digit; its square is 2 |x| (|x| + |x_k|)
    const float norm = precise::sqrt(sum_over_parts(square_of_entries<entries>(v), stand));
    const float size = magnitude(head);
    const float length = norm > 0.0f ? precise::sqrt(norm * (norm + size)) : 1.0f;
    head = head + norm * (size > 0.0f ? phase(head) : from_real<T>(1.0f));
#pragma unroll
    for (int t = 0; t < entries; ++t) v[t] = divide(row_of(stand, t) == k ? head : v[t], length);
    // Once more to the square 2, without which H_k is not quite unitary.
    correct_entries<entries>(v, 0.5f * sum_over_parts(square_of_entries<entries>(v), stand));
    const bool is_asked = k < count;
    reflect_entries<entries>(v, x.left, is_asked && x_rank.place > k, stand);
    reflect_entries<entries>(v, y.left, is_asked && y_rank.place > k, stand);
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      if (is_asked && x_rank.place == k) x.left[t] = v[t];
      if (is_asked && y_rank.place == k) y.left[t] = v[t];
    }
  }
}

// Fills columns [count, left_columns) of P with an orthonormal basis of what its first `count` columns leave: column k
// is H_0 .. H_{count-1} e_k. Every pair of lanes makes one at a time. P is lost. Called by all lanes of a group, those
// too whose matrix is not `incomplete`.
template <typename Storage, typename T, int entries, bool is_spread>
inline void complete_held(thread Column<T, entries>& x, thread Column<T, entries>& y, Rank x_rank, Rank y_rank,
                          int nonzero, bool incomplete, device Storage* left, Shape shape, Stand<is_spread> stand) {
  const int count = incomplete ? nonzero : 0;
  const int most = max_over_group(count, stand);
  const int missing = max_over_group(incomplete ? shape.left_columns - count : 0, stand);
  T v[entries];
  T column[entries];
  factor_held(x, y, x_rank, y_rank, count, most, stand, v);
  for (int first = 0; first < missing; first += stand.pairs_in_line) {
    const int place = count + first + stand.pair;
#pragma unroll
    for (int t = 0; t < entries; ++t) column[t] = from_real<T>(row_of(stand, t) == place ? 1.0f : 0.0f);
    for (int k = most - 1; k >= 0; --k) {
      broadcast_column(x, y, x_rank, y_rank, k, stand, v);
      reflect_entries<entries>(v, column, k < count, stand);
    }
    if (!incomplete || place >= shape.left_columns) continue;
    store_entries<entries>(column, place, shape.rows, left_place(shape), left, stand);
  }
}

}  // namespace metalsvd
