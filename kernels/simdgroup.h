// Method `simdgroup`: one-sided Jacobi in registers, several matrices a SIMD-group.
//
// The algorithm of `thread` (kernels/thread.h) shared out to lanes. The columns of B, with those of Q below them, stand
// in a line of pairs; each pair is held by one lane, or by `parts` of them where a column has more rows than a lane has
// registers for. The pairs of a sweep are met by odd-even transposition (Stewart 1985; Luk and Park 1989): neighbours
// meet and change places, in even rounds those of a pair, in odd rounds the second of a pair and the first of the next,
// until the line is reversed and each column has met each. Between two rounds only one column of a pair moves to
// another lane, half of what a tournament moves.
//
// A SIMD-group has as many matrices as it has lanes for. All its lanes take part in all its SIMD operations until the
// last of its matrices is done; a matrix that is done, is not finite or is missing at the end of the batch rotates no
// more, and no lane reads another matrix but those that are left over, which store nothing.
//
// B = P diag(sigma) Q^H; lanes hold zeros beyond its rows and columns. A zero column is never rotated, and sorts last.
// Every loop over registers has compile-time bounds, so that none is indexed at run time.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/nan_factors.h"
#include "common/power_of_two.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// One lane's entries of a column of B, which becomes P diag(sigma) and then P, and of the column of Q below it: rows
// part, part + parts, part + 2 parts, ... Those that are not used are skipped by the 16 bytes.
template <typename T, int entries>
struct Column {
  enum : int { step = 16 / sizeof(T) };
  T left[entries];
  T right[entries];
};

// Where a lane stands, and how much of its registers its matrix uses: the same number in every lane.
struct Stand {
  int matrix;  // of the SIMD-group; one beyond the last for lanes that are left over
  int pair;
  int part;
  int parts;
  int pairs_in_line;
  int left_used;
  int right_used;  // none without vectors
  uint lanes;      // a bit for each lane of the matrix; none for lanes that are left over
  // Of the same part of the first pair, and of the neighbours, as if the line were a ring. Lanes that are left over see
  // those of the first matrix.
  int first_lane;
  ushort lane_before;
  ushort lane_after;
};

template <int entries>
inline Stand make_stand(Shape shape, int lane) {
  Stand stand;
  stand.parts = limits::simdgroup_parts(shape.rows, entries);
  stand.pairs_in_line = (shape.columns + 1) / 2;
  stand.left_used = (shape.rows + stand.parts - 1) / stand.parts;
  stand.right_used = shape.left_columns > 0 ? (shape.columns + stand.parts - 1) / stand.parts : 0;
  const int lanes = stand.pairs_in_line * stand.parts;
  stand.matrix = lane / lanes;
  const int place = lane % lanes;
  stand.pair = place / stand.parts;
  stand.part = place % stand.parts;
  const bool has_matrix = stand.matrix < limits::simd_width / lanes;
  const int matrix_lane = has_matrix ? lane - place : 0;
  stand.lanes = has_matrix ? (0xffffffffu >> (limits::simd_width - lanes)) << matrix_lane : 0u;
  stand.first_lane = matrix_lane + stand.part;
  stand.lane_before = ushort(matrix_lane + (place + lanes - stand.parts) % lanes);
  stand.lane_after = ushort(matrix_lane + (place + stand.parts) % lanes);
  return stand;
}

inline bool stands_last(Stand stand) { return stand.pair == stand.pairs_in_line - 1; }
inline int row_of(Stand stand, int t) { return stand.part + t * stand.parts; }

// The lanes of the SIMD-group where this holds, a bit each.
inline uint lanes_where(bool condition) { return uint(simd_vote::vote_t(simd_ballot(condition))); }

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
inline float4 sum_over_parts(float4 value, Stand stand) {
  for (int distance = 1; distance < stand.parts; distance *= 2) value += simd_shuffle_xor(value, ushort(distance));
  return value;
}

// The largest over the lanes of a matrix, told to each of them.
inline uint max_over_matrix(uint value, Stand stand) {
  for (int distance = 1; distance < stand.parts; distance *= 2) {
    value = max(value, simd_shuffle_xor(value, ushort(distance)));
  }
  for (int pair = 1; pair < stand.pairs_in_line; ++pair) value = max(value, simd_shuffle(value, stand.lane_after));
  return value;
}

// 16 bytes of a column, at once to another lane.
inline float4 packed(thread const float* x) { return float4(x[0], x[1], x[2], x[3]); }
inline float4 packed(thread const float2* x) { return float4(x[0].x, x[0].y, x[1].x, x[1].y); }
inline void unpack(float4 words, thread float* x) {
  x[0] = words.x;
  x[1] = words.y;
  x[2] = words.z;
  x[3] = words.w;
}
inline void unpack(float4 words, thread float2* x) {
  x[0] = float2(words.x, words.y);
  x[1] = float2(words.z, words.w);
}

// The used entries of x come from lane `source`, for all lanes at once.
template <int entries, typename T>
inline void shuffle_entries(thread T* x, int used, ushort source) {
#pragma unroll
  for (int t = 0; t < entries; t += 16 / sizeof(T)) {
    if (t < used) unpack(simd_shuffle(packed(x + t), source), x + t);
  }
}

// As that, but where the line ends x and y are exchanged first.
template <int entries, typename T>
inline void shuffle_and_turn(thread T* x, thread T* y, int used, Stand stand) {
#pragma unroll
  for (int t = 0; t < entries; t += 16 / sizeof(T)) {
    if (t >= used) continue;
    const float4 x_words = packed(x + t);
    const float4 y_words = packed(y + t);
    unpack(simd_shuffle(stands_last(stand) ? y_words : x_words, stand.lane_before), x + t);
    unpack(stands_last(stand) ? x_words : y_words, y + t);
  }
}

// Column j of B as A has it, not yet conjugated, and of the identity. Zeros where `exists` is false.
template <typename Storage, typename T, int entries>
inline uint load_column(device const Storage* A, long row_stride, long column_stride, int j, bool exists, Shape shape,
                        Stand stand, thread Column<T, entries>& column) {
  uint largest = 0u;
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const int i = row_of(stand, t);
    T entry = from_real<T>(0.0f);
    if (exists && i < shape.rows && j < shape.columns) entry = to_number(A[i * row_stride + j * column_stride]);
    largest = max(largest, magnitude_bits(entry));
    column.left[t] = entry;
    column.right[t] = from_real<T>(i == j ? 1.0f : 0.0f);
  }
  return largest;
}

// A GPU may flush denormal numbers when it negates them: conjugates are taken of scaled entries. A matrix that is not
// finite becomes zero.
template <typename T, int entries>
inline void scale_column(thread Column<T, entries>& column, int exponent, bool is_finite, bool conjugated) {
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const T entry = is_finite ? scale(column.left[t], exponent) : from_real<T>(0.0f);
    column.left[t] = conjugated ? conjugate(entry) : entry;
  }
}

// |x|^2, |y|^2 and x^H y of the columns of B, told to every lane of the pair.
template <typename T, int entries>
inline float4 gram_of_pair(thread const Column<T, entries>& x, thread const Column<T, entries>& y, Stand stand) {
  const int step = Column<T, entries>::step;
  float x_sum = 0.0f;
  float y_sum = 0.0f;
  T dot = from_real<T>(0.0f);
#pragma unroll
  for (int first = 0; first < entries; first += step) {
    if (first >= stand.left_used) continue;
#pragma unroll
    for (int t = first; t < first + step; ++t) {
      x_sum = square_add(x.left[t], x_sum);
      y_sum = square_add(y.left[t], y_sum);
      dot = multiply_add(conjugate(x.left[t]), y.left[t], dot);
    }
  }
  return sum_over_parts(float4(x_sum, y_sum, to_floats(dot)), stand);
}

template <int entries, typename T>
inline void rotate_used(thread T* x, thread T* y, int used, Rotation<T> rotation) {
  const int step = 16 / sizeof(T);
#pragma unroll
  for (int first = 0; first < entries; first += step) {
    if (first >= used) continue;
#pragma unroll
    for (int t = first; t < first + step; ++t) rotate_entries(x[t], y[t], rotation);
  }
}

// One sweep: every pair of columns once, where the matrix is `active`. Returns what this lane has found. The line is
// reversed afterwards, be it active or not.
template <typename T, int entries>
inline uint sweep_line(thread Column<T, entries>& x, thread Column<T, entries>& y, Tolerances tolerances, bool active,
                       Stand stand) {
  uint found = found_nothing;
  for (int round = 0; round < 2 * stand.pairs_in_line; ++round) {
    const bool is_odd = round % 2 != 0;
    const float4 gram = gram_of_pair(x, y, stand);
    const T gamma = from_floats<T>(gram.z, gram.w);
    const uint found_here = found_in_pair(gram.x, gram.y, magnitude(gamma), tolerances);
    // In odd rounds the last pair is the two ends of the line, which do not meet and stay where they are.
    if (found_here != found_nothing && active && !(is_odd && stands_last(stand))) {
      found = max(found, found_here);
      const Rotation<T> rotation = orthogonalizing_rotation(gram.x, gram.y, gamma);
      rotate_used<entries>(x.left, y.left, stand.left_used, rotation);
      rotate_used<entries>(x.right, y.right, stand.right_used, rotation);
    }
    if (is_odd) {
      shuffle_and_turn<entries>(x.left, y.left, stand.left_used, stand);
      shuffle_and_turn<entries>(x.right, y.right, stand.right_used, stand);
    } else {
      shuffle_entries<entries>(y.left, stand.left_used, stand.lane_after);
      shuffle_entries<entries>(y.right, stand.right_used, stand.lane_after);
    }
  }
  return found;
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

// The places of both columns, the largest sigma first, then in the order of B. Returns how many are not zero.
inline int rank_columns(thread Rank& x, thread Rank& y, bool is_reversed, Stand stand) {
  const int x_column = column_at(2 * stand.pair, is_reversed, stand);
  const int y_column = column_at(2 * stand.pair + 1, is_reversed, stand);
  int count = 0;
  x.place = 0;
  y.place = 0;
  for (int pair = 0; pair < stand.pairs_in_line; ++pair) {
    const float2 sigmas = simd_shuffle(float2(x.sigma, y.sigma), ushort(stand.first_lane + pair * stand.parts));
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const float sigma = side == 0 ? sigmas.x : sigmas.y;
      const int column = column_at(2 * pair + side, is_reversed, stand);
      x.place += sigma > x.sigma || (sigma == x.sigma && column < x_column) ? 1 : 0;
      y.place += sigma > y.sigma || (sigma == y.sigma && column < y_column) ? 1 : 0;
      count += sigma > 0.0f ? 1 : 0;
    }
  }
  return count;
}

// x_i / |x_i| of the entry of largest magnitude, the first of them where several are; 1 where x is zero. Told to every
// lane of the pair.
template <int entries, typename T>
inline T phase_of_entries(thread const T* x, Stand stand) {
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

template <typename T, int entries>
inline T turn_of_column(thread const Column<T, entries>& column, bool transposed, Stand stand) {
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
template <typename T, int entries>
inline float4 squares_of_pair(thread const Column<T, entries>& x, thread const Column<T, entries>& y, Stand stand) {
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
template <typename T, int entries>
inline void normalize_pair(thread Column<T, entries>& x, thread Column<T, entries>& y, Rank x_rank, Rank y_rank,
                           float4 squares, bool transposed, Stand stand) {
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
template <int entries, typename Storage, typename T>
inline void store_entries(thread const T* x, int k, int rows, Place place, device Storage* factor, Stand stand) {
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const int i = row_of(stand, t);
    if (i >= rows) continue;
    factor[i * place.row_stride + k * place.column_stride] =
        to_storage<Storage>(place.conjugated ? conjugate(x[t]) : x[t]);
  }
}

template <typename Storage, typename T, int entries>
inline void store_column(thread const Column<T, entries>& column, Rank rank, Shape shape, Stand stand,
                         device Storage* left, device Storage* right) {
  if (rank.place >= shape.columns) return;
  if (rank.sigma > 0.0f) store_entries<entries>(column.left, rank.place, shape.rows, left_place(shape), left, stand);
  store_entries<entries>(column.right, rank.place, shape.columns, right_place(shape), right, stand);
}

// The entries of P's column of this place, for every pair of the matrix.
template <typename T, int entries>
inline void broadcast_column(thread const Column<T, entries>& x, thread const Column<T, entries>& y, Rank x_rank,
                             Rank y_rank, int place, Stand stand, thread T* v) {
  const bool holds_x = x_rank.place == place;
  const uint holders = lanes_where(holds_x || y_rank.place == place) & stand.lanes;
  const int holder = holders != 0u ? int(ctz(holders)) + stand.part : 0;
#pragma unroll
  for (int t = 0; t < entries; ++t) v[t] = holds_x ? x.left[t] : y.left[t];
  shuffle_entries<entries>(v, stand.left_used, ushort(holder));
}

// v^H a and v^H b, told to every lane of the pair.
template <int entries, typename T>
inline float4 dots_of_entries(thread const T* v, thread const T* a, thread const T* b, Stand stand) {
  T a_dot = from_real<T>(0.0f);
  T b_dot = from_real<T>(0.0f);
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    a_dot = multiply_add(conjugate(v[t]), a[t], a_dot);
    b_dot = multiply_add(conjugate(v[t]), b[t], b_dot);
  }
  return sum_over_parts(float4(to_floats(a_dot), to_floats(b_dot)), stand);
}

// a -= v (v^H a), given v^H a: a reflector where |v|^2 is two.
template <int entries, typename T>
inline void reflect_entries(thread const T* v, T dot, thread T* a) {
#pragma unroll
  for (int t = 0; t < entries; ++t) a[t] = multiply_add(-dot, v[t], a[t]);
}

// Replaces the first `count` columns of P where they are held by the reflectors H_k = I - v_k v_k^H of their QR
// factorisation. `most` is the largest count of the SIMD-group. `v` is work space.
template <typename T, int entries>
inline void factor_held(thread Column<T, entries>& x, thread Column<T, entries>& y, Rank x_rank, Rank y_rank, int count,
                        int most, Stand stand, thread T* v) {
  for (int k = 0; k < most; ++k) {
    broadcast_column(x, y, x_rank, y_rank, k, stand, v);
    T head = from_real<T>(0.0f);
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = row_of(stand, t);
      if (i < k) v[t] = from_real<T>(0.0f);
      if (i == k) head = v[t];
    }
    const float4 sums = sum_over_parts(float4(square_of_entries<entries>(v), to_floats(head), 0.0f), stand);
    head = from_floats<T>(sums.y, sums.z);
    // v = x + phase(x_k) |x| e_k, which loses no digit; its square is 2 |x| (|x| + |x_k|)
    const float norm = precise::sqrt(sums.x);
    const float size = magnitude(head);
    const float length = norm > 0.0f ? precise::sqrt(norm * (norm + size)) : 1.0f;
    head = head + norm * (size > 0.0f ? phase(head) : from_real<T>(1.0f));
#pragma unroll
    for (int t = 0; t < entries; ++t) v[t] = divide(row_of(stand, t) == k ? head : v[t], length);
    // Once more to the square 2, without which H_k is not quite unitary.
    const float square = sum_over_parts(float4(square_of_entries<entries>(v), 0.0f, 0.0f, 0.0f), stand).x;
    correct_entries<entries>(v, 0.5f * square);
    const float4 dots = dots_of_entries<entries>(v, x.left, y.left, stand);
    const bool is_asked = k < count;
    if (is_asked && x_rank.place > k) reflect_entries<entries>(v, from_floats<T>(dots.x, dots.y), x.left);
    if (is_asked && y_rank.place > k) reflect_entries<entries>(v, from_floats<T>(dots.z, dots.w), y.left);
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      if (is_asked && x_rank.place == k) x.left[t] = v[t];
      if (is_asked && y_rank.place == k) y.left[t] = v[t];
    }
  }
}

// Fills columns [count, left_columns) of P with an orthonormal basis of what its first `count` columns leave: column k
// is H_0 .. H_{count-1} e_k. Every pair of lanes makes two columns at a time. P is lost. Called by all lanes of a
// SIMD-group, those too whose matrix is not `incomplete`.
template <typename Storage, typename T, int entries>
inline void complete_held(thread Column<T, entries>& x, thread Column<T, entries>& y, Rank x_rank, Rank y_rank,
                          int nonzero, bool incomplete, device Storage* left, Shape shape, Stand stand) {
  const int count = incomplete ? nonzero : 0;
  const int most = simd_max(count);
  const int missing = simd_max(incomplete ? shape.left_columns - count : 0);
  T v[entries];
  T a[entries];
  T b[entries];
  factor_held(x, y, x_rank, y_rank, count, most, stand, v);
  for (int first = 0; first < missing; first += 2 * stand.pairs_in_line) {
    const int a_place = count + first + 2 * stand.pair;
    const int b_place = a_place + 1;
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = row_of(stand, t);
      a[t] = from_real<T>(i == a_place ? 1.0f : 0.0f);
      b[t] = from_real<T>(i == b_place ? 1.0f : 0.0f);
    }
    for (int k = most - 1; k >= 0; --k) {
      broadcast_column(x, y, x_rank, y_rank, k, stand, v);
      const float4 dots = dots_of_entries<entries>(v, a, b, stand);
      if (k < count) {
        reflect_entries<entries>(v, from_floats<T>(dots.x, dots.y), a);
        reflect_entries<entries>(v, from_floats<T>(dots.z, dots.w), b);
      }
    }
    const Place place = left_place(shape);
    const bool stores_a = incomplete && a_place < shape.left_columns;
    const bool stores_b = incomplete && b_place < shape.left_columns;
    if (stores_a) store_entries<entries>(a, a_place, shape.rows, place, left, stand);
    if (stores_b) store_entries<entries>(b, b_place, shape.rows, place, left, stand);
  }
}

// Grid: SIMD-groups of as many matrices as limits::simdgroup_lanes leaves room for, as many of them a threadgroup as
// the host likes; those beyond `batch` return as a whole. Ownership: the lanes of a pair own its two columns, lane
// `part` the rows part, part + parts, ...; whole columns change owners by exchange. Barriers: none, as the SIMD-groups
// of a threadgroup share nothing. The host promises: a matrix takes at most the lanes of a SIMD-group; without vectors
// `left` and `right` are not touched; `scratch` never is.
template <typename Storage, int entries>
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
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Stand stand = make_stand<entries>(shape, int(lane));
  const long simdgroups = long(threadgroup_index) * long(threads / limits::simd_width) + long(simdgroup);
  const int lanes = limits::simdgroup_lanes(shape.rows, shape.columns, entries);
  const long first_index = simdgroups * (limits::simd_width / lanes);
  if (first_index >= batch) return;
  const bool exists = stand.lanes != 0u && first_index + stand.matrix < batch;
  const long index = exists ? first_index + stand.matrix : first_index;
  const bool is_first = exists && stand.pair == 0 && stand.part == 0;
  A += index * batch_stride;
  left += index * rows * left_columns;
  S += index * columns;
  right += shape.left_columns > 0 ? index * columns * columns : 0;

  Column<T, entries> x;
  Column<T, entries> y;
  const uint x_largest = load_column(A, row_stride, column_stride, 2 * stand.pair, exists, shape, stand, x);
  const uint y_largest = load_column(A, row_stride, column_stride, 2 * stand.pair + 1, exists, shape, stand, y);
  const uint largest = max_over_matrix(max(x_largest, y_largest), stand);
  const bool is_finite = largest < not_finite_bits;
  const bool has_factors = exists && is_finite;
  const int exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  scale_column(x, exponent, is_finite, shape.transposed);
  scale_column(y, exponent, is_finite, shape.transposed);
  if (exists && !is_finite) store_nan(left, S, right, shape, stand.pair * stand.parts + stand.part, lanes);

  const Tolerances tolerances = make_tolerances(shape.rows, shape.columns);
  bool active = has_factors;
  int sweeps = 0;
  for (uint unfinished = 1u; sweeps < limits::jacobi_max_sweeps && unfinished != 0u; ++sweeps) {
    unfinished = lanes_where(sweep_line(x, y, tolerances, active, stand) == found_large);
    active = (unfinished & stand.lanes) != 0u;
  }
  if (is_first) info[index] = !is_finite ? info_not_finite : active ? info_not_converged : info_ok;

  const float4 squares = squares_of_pair(x, y, stand);
  Rank x_rank;
  Rank y_rank;
  x_rank.sigma = squares.x >= least_square() ? precise::sqrt(squares.x) : 0.0f;
  y_rank.sigma = squares.y >= least_square() ? precise::sqrt(squares.y) : 0.0f;
  const int nonzero = rank_columns(x_rank, y_rank, sweeps % 2 != 0, stand);
  if (has_factors && stand.part == 0) {
    if (x_rank.place < shape.columns) S[x_rank.place] = to_storage<Real>(scale(x_rank.sigma, -exponent));
    if (y_rank.place < shape.columns) S[y_rank.place] = to_storage<Real>(scale(y_rank.sigma, -exponent));
  }
  if (shape.left_columns == 0) return;
  normalize_pair(x, y, x_rank, y_rank, squares, shape.transposed, stand);
  if (has_factors) {
    store_column(x, x_rank, shape, stand, left, right);
    store_column(y, y_rank, shape, stand, left, right);
  }
  const bool incomplete = has_factors && nonzero < shape.left_columns;
  if (simd_any(incomplete)) complete_held(x, y, x_rank, y_rank, nonzero, incomplete, left, shape, stand);
}

}  // namespace metalsvd
