// Method `simdgroup`: one-sided Jacobi, one SIMD-group a matrix, in registers.
//
// The algorithm of `threadgroup` (kernels/threadgroup.h) without its memory and its barriers. The columns of B, with
// those of Q below them, stand in a line of pairs; each pair is held by `parts` lanes. The pairs of a sweep are met by
// odd-even transposition (Stewart 1985; Luk and Park 1989): neighbours meet and change places, in even rounds those of
// a pair, in odd rounds the second of a pair and the first of the next, until the line is reversed and each column has
// met each. Between two rounds only one column of a pair moves to another lane, half of what a tournament moves.
//
// B = P diag(sigma) Q^H has at most N columns and R rows; lanes hold zeros beyond them. A zero column is never rotated,
// and sorts last. Every loop over registers has compile-time bounds, so that none is indexed at run time.
#pragma once
#include <metal_stdlib>

#include "common/nan_factors.h"
#include "common/power_of_two.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

template <int N>
struct Layout {
  enum : int { pairs = N / 2, parts = limits::simd_width / pairs };
};

// One lane's entries of a column of B, which becomes P diag(sigma) and then P, and of the column of Q below it: rows
// part, part + parts, part + 2 parts, ...
template <typename T, int N, int R>
struct Column {
  enum : int { left_entries = R / Layout<N>::parts, right_entries = N / Layout<N>::parts };
  T left[left_entries];
  T right[right_entries];
};

// Where a lane stands, and how much of its registers this matrix uses: the same number in every lane.
struct Stand {
  int pair;
  int part;
  int pairs_in_line;
  int left_used;
  int right_used;  // none without vectors
  // Of the same part of the neighbours, as if the line were a ring; its own for a pair that is not in the line.
  ushort lane_before;
  ushort lane_after;
};

template <int N>
inline Stand make_stand(Shape shape, int lane) {
  const int parts = Layout<N>::parts;
  Stand stand;
  stand.pair = lane / parts;
  stand.part = lane % parts;
  stand.pairs_in_line = (shape.columns + 1) / 2;
  stand.left_used = (shape.rows + parts - 1) / parts;
  stand.right_used = shape.left_columns > 0 ? (shape.columns + parts - 1) / parts : 0;
  const int last = stand.pairs_in_line - 1;
  const int before = stand.pair > 0 ? lane - parts : last * parts + stand.part;
  const int after = stand.pair < last ? lane + parts : stand.part;
  stand.lane_before = ushort(stand.pair <= last ? before : lane);
  stand.lane_after = ushort(stand.pair <= last ? after : lane);
  return stand;
}

// Two real numbers for an entry, to carry it beside others.
inline float2 to_floats(float a) { return float2(a, 0.0f); }
inline float2 to_floats(float2 a) { return a; }
template <typename T>
inline T from_floats(float x, float y);
template <>
inline float from_floats<float>(float x, float) {
  return x;
}
template <>
inline float2 from_floats<float2>(float x, float y) {
  return float2(x, y);
}

// The sum over the lanes of a pair, told to each of them.
template <int N>
inline float4 sum_over_parts(float4 value) {
#pragma unroll
  for (int distance = 1; distance < Layout<N>::parts; distance *= 2) {
    value += simd_shuffle_xor(value, ushort(distance));
  }
  return value;
}

// The used entries of `source`, for all lanes at once; 16 bytes an exchange.
template <int count>
inline void shuffle_entries(thread float* x, int used, ushort source) {
#pragma unroll
  for (int t = 0; t + 4 <= count; t += 4) {
    if (t >= used) continue;
    const float4 moved = simd_shuffle(float4(x[t], x[t + 1], x[t + 2], x[t + 3]), source);
    x[t] = moved.x;
    x[t + 1] = moved.y;
    x[t + 2] = moved.z;
    x[t + 3] = moved.w;
  }
#pragma unroll
  for (int t = count - count % 4; t < count; ++t) {
    if (t < used) x[t] = simd_shuffle(x[t], source);
  }
}
template <int count>
inline void shuffle_entries(thread float2* x, int used, ushort source) {
#pragma unroll
  for (int t = 0; t + 2 <= count; t += 2) {
    if (t >= used) continue;
    const float4 moved = simd_shuffle(float4(x[t].x, x[t].y, x[t + 1].x, x[t + 1].y), source);
    x[t] = float2(moved.x, moved.y);
    x[t + 1] = float2(moved.z, moved.w);
  }
#pragma unroll
  for (int t = count - count % 2; t < count; ++t) {
    if (t < used) x[t] = simd_shuffle(x[t], source);
  }
}

template <typename T, int N, int R>
inline void move_column(thread Column<T, N, R>& column, Stand stand, ushort source) {
  shuffle_entries<Column<T, N, R>::left_entries>(column.left, stand.left_used, source);
  shuffle_entries<Column<T, N, R>::right_entries>(column.right, stand.right_used, source);
}

// Column j of B as A has it, not yet conjugated, and of the identity.
template <typename Storage, typename T, int N, int R>
inline uint load_column(device const Storage* A, long row_stride, long column_stride, int j, Shape shape, Stand stand,
                        thread Column<T, N, R>& column) {
  uint largest = 0u;
#pragma unroll
  for (int t = 0; t < Column<T, N, R>::left_entries; ++t) {
    const int i = stand.part + t * Layout<N>::parts;
    T entry = from_real<T>(0.0f);
    if (i < shape.rows && j < shape.columns) entry = to_number(A[i * row_stride + j * column_stride]);
    largest = max(largest, magnitude_bits(entry));
    column.left[t] = entry;
  }
#pragma unroll
  for (int t = 0; t < Column<T, N, R>::right_entries; ++t) {
    column.right[t] = from_real<T>(stand.part + t * Layout<N>::parts == j ? 1.0f : 0.0f);
  }
  return largest;
}

// A GPU may flush denormal numbers when it negates them: conjugates are taken of scaled entries.
template <typename T, int N, int R>
inline void scale_column(thread Column<T, N, R>& column, int exponent, bool conjugated) {
#pragma unroll
  for (int t = 0; t < Column<T, N, R>::left_entries; ++t) {
    const T entry = scale(column.left[t], exponent);
    column.left[t] = conjugated ? conjugate(entry) : entry;
  }
}

// |x|^2, |y|^2 and x^H y of the columns of B, told to every lane of the pair.
template <typename T, int N, int R>
inline float4 gram_of_pair(thread const Column<T, N, R>& x, thread const Column<T, N, R>& y, Stand stand) {
  float x_sum = 0.0f;
  float y_sum = 0.0f;
  T dot = from_real<T>(0.0f);
#pragma unroll
  for (int t = 0; t < Column<T, N, R>::left_entries; ++t) {
    if (t >= stand.left_used) continue;
    x_sum = square_add(x.left[t], x_sum);
    y_sum = square_add(y.left[t], y_sum);
    dot = multiply_add(conjugate(x.left[t]), y.left[t], dot);
  }
  return sum_over_parts<N>(float4(x_sum, y_sum, to_floats(dot)));
}

template <typename T, int N, int R>
inline void rotate_pair(thread Column<T, N, R>& x, thread Column<T, N, R>& y, Rotation<T> rotation, Stand stand) {
#pragma unroll
  for (int t = 0; t < Column<T, N, R>::left_entries; ++t) {
    if (t < stand.left_used) rotate_entries(x.left[t], y.left[t], rotation);
  }
#pragma unroll
  for (int t = 0; t < Column<T, N, R>::right_entries; ++t) {
    if (t < stand.right_used) rotate_entries(x.right[t], y.right[t], rotation);
  }
}

template <typename T, int N, int R>
inline void exchange_columns(thread Column<T, N, R>& x, thread Column<T, N, R>& y) {
#pragma unroll
  for (int t = 0; t < Column<T, N, R>::left_entries; ++t) exchange(x.left[t], y.left[t]);
#pragma unroll
  for (int t = 0; t < Column<T, N, R>::right_entries; ++t) exchange(x.right[t], y.right[t]);
}

// One sweep: every pair of columns once. Returns whether this lane rotated any. The line is reversed afterwards.
template <typename T, int N, int R>
inline bool sweep_line(thread Column<T, N, R>& x, thread Column<T, N, R>& y, float tolerance, Stand stand) {
  bool rotated = false;
  for (int round = 0; round < 2 * stand.pairs_in_line; ++round) {
    const bool is_odd = round % 2 != 0;
    const float4 gram = gram_of_pair(x, y, stand);
    const T gamma = from_floats<T>(gram.z, gram.w);
    if (is_odd && stand.pair == stand.pairs_in_line - 1) {
      // The two ends of the line, which do not meet and stay where they are.
      exchange_columns(x, y);
    } else if (needs_rotation(gram.x, gram.y, gamma, tolerance)) {
      rotated = true;
      rotate_pair(x, y, orthogonalizing_rotation(gram.x, gram.y, gamma), stand);
    }
    if (is_odd) {
      move_column(x, stand, stand.lane_before);
    } else {
      move_column(y, stand, stand.lane_after);
    }
  }
  return rotated;
}

// What a lane knows of a column of its pair when the sweeps are over.
struct Rank {
  float sigma;
  int place;  // in the order of the singular values; a column that only pads has one beyond the last
};

// The column of B that stands at a position of the line.
inline int column_at(int position, bool is_reversed, Stand stand) {
  return is_reversed ? 2 * stand.pairs_in_line - 1 - position : position;
}

// The places of both columns, the largest sigma first, then in the order of B.
template <int N>
inline void rank_columns(thread Rank& x, thread Rank& y, bool is_reversed, Stand stand) {
  const int x_column = column_at(2 * stand.pair, is_reversed, stand);
  const int y_column = column_at(2 * stand.pair + 1, is_reversed, stand);
  x.place = 0;
  y.place = 0;
  for (int pair = 0; pair < stand.pairs_in_line; ++pair) {
    const float2 sigmas = simd_shuffle(float2(x.sigma, y.sigma), ushort(pair * Layout<N>::parts));
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const float sigma = side == 0 ? sigmas.x : sigmas.y;
      const int column = column_at(2 * pair + side, is_reversed, stand);
      x.place += sigma > x.sigma || (sigma == x.sigma && column < x_column) ? 1 : 0;
      y.place += sigma > y.sigma || (sigma == y.sigma && column < y_column) ? 1 : 0;
    }
  }
  if (stand.pair >= stand.pairs_in_line) x.place = y.place = N;
}

// x_i / |x_i| of the entry of largest magnitude, the first of them where several are; 1 where x is zero. Told to every
// lane of the pair.
template <int N, int count, typename T>
inline T phase_of_entries(thread const T* x, int part) {
  float4 best = float4(0.0f, 0.0f, 1.0f, 0.0f);  // square, row, entry
#pragma unroll
  for (int t = 0; t < count; ++t) {
    const float square = square_add(x[t], 0.0f);
    if (square > best.x) best = float4(square, float(part + t * Layout<N>::parts), to_floats(x[t]));
  }
#pragma unroll
  for (int distance = 1; distance < Layout<N>::parts; distance *= 2) {
    const float4 other = simd_shuffle_xor(best, ushort(distance));
    if (other.x > best.x || (other.x == best.x && other.y < best.y)) best = other;
  }
  return phase(from_floats<T>(best.z, best.w));
}

template <typename T, int N, int R>
inline T turn_of_column(thread const Column<T, N, R>& column, bool transposed, Stand stand) {
  typedef Column<T, N, R> Held;
  return conjugate(transposed ? phase_of_entries<N, Held::right_entries>(column.right, stand.part)
                              : phase_of_entries<N, Held::left_entries>(column.left, stand.part));
}

template <int count, typename T>
inline float square_of_entries(thread const T* x) {
  float sum = 0.0f;
#pragma unroll
  for (int t = 0; t < count; ++t) sum = square_add(x[t], sum);
  return sum;
}

// |left|^2 and |right|^2 of both columns, told to every lane of the pair.
template <typename T, int N, int R>
inline float4 squares_of_pair(thread const Column<T, N, R>& x, thread const Column<T, N, R>& y) {
  typedef Column<T, N, R> Held;
  return sum_over_parts<N>(
      float4(square_of_entries<Held::left_entries>(x.left), square_of_entries<Held::left_entries>(y.left),
             square_of_entries<Held::right_entries>(x.right), square_of_entries<Held::right_entries>(y.right)));
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
template <typename T, int N, int R>
inline void normalize_pair(thread Column<T, N, R>& x, thread Column<T, N, R>& y, Rank x_rank, Rank y_rank,
                           float4 squares, bool transposed, Stand stand) {
  typedef Column<T, N, R> Held;
  const T x_turn = turn_of_column(x, transposed, stand);
  const T y_turn = turn_of_column(y, transposed, stand);
  divide_entries<Held::left_entries>(x.left, x_rank.sigma > 0.0f ? x_rank.sigma : 1.0f, x_turn);
  divide_entries<Held::left_entries>(y.left, y_rank.sigma > 0.0f ? y_rank.sigma : 1.0f, y_turn);
  divide_entries<Held::right_entries>(x.right, precise::sqrt(squares.z), x_turn);
  divide_entries<Held::right_entries>(y.right, precise::sqrt(squares.w), y_turn);
  const float4 rounded = squares_of_pair(x, y);
  correct_entries<Held::left_entries>(x.left, rounded.x);
  correct_entries<Held::left_entries>(y.left, rounded.y);
  correct_entries<Held::right_entries>(x.right, rounded.z);
  correct_entries<Held::right_entries>(y.right, rounded.w);
}

// Stores this lane's entries of column k of P or Q.
template <int N, int count, typename Storage, typename T>
inline void store_entries(thread const T* x, int k, int rows, Place place, device Storage* factor, int part) {
#pragma unroll
  for (int t = 0; t < count; ++t) {
    const int i = part + t * Layout<N>::parts;
    if (i >= rows) continue;
    factor[i * place.row_stride + k * place.column_stride] =
        to_storage<Storage>(place.conjugated ? conjugate(x[t]) : x[t]);
  }
}

template <typename Storage, typename T, int N, int R>
inline void store_column(thread const Column<T, N, R>& column, Rank rank, Shape shape, Stand stand,
                         device Storage* left, device Storage* right) {
  typedef Column<T, N, R> Held;
  if (rank.place >= shape.columns) return;
  if (rank.sigma > 0.0f) {
    store_entries<N, Held::left_entries>(column.left, rank.place, shape.rows, left_place(shape), left, stand.part);
  }
  store_entries<N, Held::right_entries>(column.right, rank.place, shape.columns, right_place(shape), right, stand.part);
}

// The entries of P's column of this place, for every pair.
template <typename T, int N, int R>
inline void broadcast_column(thread const Column<T, N, R>& x, thread const Column<T, N, R>& y, Rank x_rank, Rank y_rank,
                             int place, Stand stand, thread T* v) {
  typedef Column<T, N, R> Held;
  const int position = x_rank.place == place ? 2 * stand.pair : y_rank.place == place ? 2 * stand.pair + 1 : -1;
  const int holder = simd_max(position);
#pragma unroll
  for (int t = 0; t < Held::left_entries; ++t) v[t] = holder % 2 == 0 ? x.left[t] : y.left[t];
  shuffle_entries<Held::left_entries>(v, stand.left_used, ushort(holder / 2 * Layout<N>::parts + stand.part));
}

// v^H a and v^H b, told to every lane of the pair.
template <int N, int count, typename T>
inline float4 dots_of_entries(thread const T* v, thread const T* a, thread const T* b) {
  T a_dot = from_real<T>(0.0f);
  T b_dot = from_real<T>(0.0f);
#pragma unroll
  for (int t = 0; t < count; ++t) {
    a_dot = multiply_add(conjugate(v[t]), a[t], a_dot);
    b_dot = multiply_add(conjugate(v[t]), b[t], b_dot);
  }
  return sum_over_parts<N>(float4(to_floats(a_dot), to_floats(b_dot)));
}

// a -= v (v^H a), given v^H a: a reflector where |v|^2 is two.
template <int count, typename T>
inline void reflect_entries(thread const T* v, T dot, thread T* a) {
#pragma unroll
  for (int t = 0; t < count; ++t) a[t] = multiply_add(-dot, v[t], a[t]);
}

// Replaces the first `count` columns of P where they are held by the reflectors H_k = I - v_k v_k^H of their QR
// factorisation. `v` is work space.
template <typename T, int N, int R>
inline void factor_held(thread Column<T, N, R>& x, thread Column<T, N, R>& y, Rank x_rank, Rank y_rank, int count,
                        Stand stand, thread T* v) {
  const int entries = Column<T, N, R>::left_entries;
  for (int k = 0; k < count; ++k) {
    broadcast_column(x, y, x_rank, y_rank, k, stand, v);
    T head = from_real<T>(0.0f);
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = stand.part + t * Layout<N>::parts;
      if (i < k) v[t] = from_real<T>(0.0f);
      if (i == k) head = v[t];
    }
    const float4 sums = sum_over_parts<N>(float4(square_of_entries<entries>(v), to_floats(head), 0.0f));
    head = from_floats<T>(sums.y, sums.z);
    // v = x + phase(x_k) |x| e_k, which loses no digit; its square is 2 |x| (|x| + |x_k|)
    const float norm = precise::sqrt(sums.x);
    const float size = magnitude(head);
    const float length = precise::sqrt(norm * (norm + size));
    head = head + norm * (size > 0.0f ? phase(head) : from_real<T>(1.0f));
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      v[t] = divide(stand.part + t * Layout<N>::parts == k ? head : v[t], length);
    }
    // Once more to the square 2, without which H_k is not quite unitary.
    const float square = sum_over_parts<N>(float4(square_of_entries<entries>(v), 0.0f, 0.0f, 0.0f)).x;
    correct_entries<entries>(v, 0.5f * square);
    const float4 dots = dots_of_entries<N, entries>(v, x.left, y.left);
    if (x_rank.place > k) reflect_entries<entries>(v, from_floats<T>(dots.x, dots.y), x.left);
    if (y_rank.place > k) reflect_entries<entries>(v, from_floats<T>(dots.z, dots.w), y.left);
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      if (x_rank.place == k) x.left[t] = v[t];
      if (y_rank.place == k) y.left[t] = v[t];
    }
  }
}

// Fills columns [count, left_columns) of P with an orthonormal basis of what its first `count` columns leave: column k
// is H_0 .. H_{count-1} e_k. Every pair of lanes makes two columns at a time. P is lost.
template <typename Storage, typename T, int N, int R>
inline void complete_held(thread Column<T, N, R>& x, thread Column<T, N, R>& y, Rank x_rank, Rank y_rank, int count,
                          device Storage* left, Shape shape, Stand stand) {
  const int entries = Column<T, N, R>::left_entries;
  T v[entries];
  T a[entries];
  T b[entries];
  factor_held(x, y, x_rank, y_rank, count, stand, v);
  for (int first = count; first < shape.left_columns; first += N) {
    const int a_place = first + 2 * stand.pair;
    const int b_place = a_place + 1;
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = stand.part + t * Layout<N>::parts;
      a[t] = from_real<T>(i == a_place ? 1.0f : 0.0f);
      b[t] = from_real<T>(i == b_place ? 1.0f : 0.0f);
    }
    for (int k = count - 1; k >= 0; --k) {
      broadcast_column(x, y, x_rank, y_rank, k, stand, v);
      const float4 dots = dots_of_entries<N, entries>(v, a, b);
      reflect_entries<entries>(v, from_floats<T>(dots.x, dots.y), a);
      reflect_entries<entries>(v, from_floats<T>(dots.z, dots.w), b);
    }
    const Place place = left_place(shape);
    if (a_place < shape.left_columns) store_entries<N, entries>(a, a_place, shape.rows, place, left, stand.part);
    if (b_place < shape.left_columns) store_entries<N, entries>(b, b_place, shape.rows, place, left, stand.part);
  }
}

// Grid: one SIMD-group a matrix, as many a threadgroup as the host likes; those beyond `batch` return as a whole.
// Ownership: the lanes of a pair own its two columns, lane `part` the rows part, part + parts, ...; whole columns
// change owners by exchange. Barriers: none, as the SIMD-groups of a threadgroup share nothing. The host promises:
// columns are at most N and rows at most the R of limits::simdgroup_rows; without vectors `left` and `right` are not
// touched; `scratch` never is.
template <typename Storage, int N>
[[kernel, max_total_threads_per_threadgroup(limits::simdgroup_method_threads)]] void svd_simdgroup(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  typedef typename StorageTraits<Storage>::Real Real;
  typedef Column<T, N, limits::simdgroup_rows(N, sizeof(T) / limits::word_bytes)> Held;
  const long index = long(threadgroup_index) * long(threads / limits::simd_width) + long(simdgroup);
  if (index >= batch) return;
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Stand stand = make_stand<N>(shape, int(lane));
  A += index * batch_stride;
  left += index * rows * left_columns;
  S += index * columns;
  right += shape.left_columns > 0 ? index * columns * columns : 0;

  Held x;
  Held y;
  const uint x_largest = load_column(A, row_stride, column_stride, 2 * stand.pair, shape, stand, x);
  const uint y_largest = load_column(A, row_stride, column_stride, 2 * stand.pair + 1, shape, stand, y);
  const uint largest = simd_max(max(x_largest, y_largest));
  if (largest >= not_finite_bits) {
    store_nan(left, S, right, shape, int(lane), limits::simd_width);
    if (lane == 0) info[index] = info_not_finite;
    return;
  }
  const int exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  scale_column(x, exponent, shape.transposed);
  scale_column(y, exponent, shape.transposed);

  const float tolerance = jacobi_tolerance(shape.rows);
  bool converged = false;
  int sweeps = 0;
  for (; sweeps < limits::jacobi_max_sweeps && !converged; ++sweeps) {
    const bool rotated = sweep_line(x, y, tolerance, stand);
    converged = simd_max(rotated ? 1u : 0u) == 0u;
  }
  if (lane == 0) info[index] = converged ? info_ok : info_not_converged;

  const float4 squares = squares_of_pair(x, y);
  Rank x_rank;
  Rank y_rank;
  x_rank.sigma = squares.x >= least_square() ? precise::sqrt(squares.x) : 0.0f;
  y_rank.sigma = squares.y >= least_square() ? precise::sqrt(squares.y) : 0.0f;
  rank_columns<N>(x_rank, y_rank, sweeps % 2 != 0, stand);
  if (stand.part == 0) {
    if (x_rank.place < shape.columns) S[x_rank.place] = to_storage<Real>(scale(x_rank.sigma, -exponent));
    if (y_rank.place < shape.columns) S[y_rank.place] = to_storage<Real>(scale(y_rank.sigma, -exponent));
  }
  if (shape.left_columns == 0) return;
  normalize_pair(x, y, x_rank, y_rank, squares, shape.transposed, stand);
  store_column(x, x_rank, shape, stand, left, right);
  store_column(y, y_rank, shape, stand, left, right);
  const int nonzero = (x_rank.sigma > 0.0f ? 1 : 0) + (y_rank.sigma > 0.0f ? 1 : 0);
  const int count = simd_sum(stand.part == 0 ? nonzero : 0);
  if (count < shape.left_columns) complete_held(x, y, x_rank, y_rank, count, left, shape, stand);
}

}  // namespace metalsvd
