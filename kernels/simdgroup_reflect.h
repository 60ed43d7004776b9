// The QR factorisations of the recovering kernels of method `simdgroup` (kernels/simdgroup_recover.h), of columns that
// lie in registers and are told to all lanes through boxes in threadgroup memory, two that are used in turn: by
// modified Gram-Schmidt, or by Householder reflectors H = I - tau v v^H (common/householder.h), which one SIMD-group
// makes.
#pragma once
#include <metal_stdlib>

#include "common/entries.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "device_limits.h"
#include "simdgroup_line.h"
#include "simdgroup_qr.h"

namespace metalsvd {

using namespace metal;

// What is kept of the reflectors of a matrix.
template <typename T>
struct Reflectors {
  threadgroup float* taus;
  threadgroup T* diagonals;  // of R
  device T* kept;            // the v, one after the other
};

// A column in a box: the entries of each part one after the other.
template <int entries, typename T>
inline int part_stride() {
  return entries + 16 / int(sizeof(T));
}

template <int entries, typename T, bool is_spread>
inline threadgroup T* column_box(int number, Stand<is_spread> stand) {
  return (threadgroup T*)stand.memory.boxes + number * stand.parts * part_stride<entries, T>();
}

template <int entries, typename T, bool is_spread>
inline int place_of_row(int i, Stand<is_spread> stand) {
  return (i & (stand.parts - 1)) * part_stride<entries, T>() + (i >> ctz(uint(stand.parts)));
}

// This lane's entries of a column in a box.
template <int entries, typename T, bool is_spread>
inline threadgroup float4* part_of_column(threadgroup T* column, Stand<is_spread> stand) {
  return (threadgroup float4*)(column + stand.part * part_stride<entries, T>());
}

// The rows of a column that a lane of one SIMD-group has when a reflector is made: every rows_apart-th, which are those
// of one partial sum (common/entries.h), so that they are summed up alike however many lanes hold a column.
template <int entries, bool is_spread>
inline int rows_apart(Stand<is_spread> stand) {
  return stand.parts * limits::simdgroup_few_lanes(entries);
}
constexpr int rows_of_lane(int entries) {
  return (entries + limits::simdgroup_few_lanes(entries) - 1) / limits::simdgroup_few_lanes(entries);
}

// Makes of a column in a box the v of reflector k, which leaves r e_k of rows k and below. One SIMD-group.
template <int entries, typename T, bool is_spread>
inline void make_reflector(threadgroup T* column, int k, Reflectors<T> reflectors, Stand<is_spread> stand) {
  const int count = rows_of_lane(entries);
  const int apart = rows_apart<entries>(stand);
  const int first = stand.lane & (apart - 1);
  const int height = stand.parts * entries;
  const T head = column[place_of_row<entries, T>(k, stand)];
  T v[count];
  float below = 0.0f;
#pragma unroll
  for (int j = 0; j < count; ++j) {
    const int i = first + j * apart;
    v[j] = i > k && i < height ? column[place_of_row<entries, T>(i, stand)] : from_real<T>(0.0f);
    below = square_add(v[j], below);
  }
  for (int distance = apart / 2; distance > 0; distance /= 2) below += simd_shuffle_xor(below, ushort(distance));
  const bool is_zero = below < least_square();
  const float size = magnitude(head);
  const T unit = size > 0.0f ? phase(head) : from_real<T>(1.0f);
  const float norm = precise::sqrt(square_add(head, below));
  const T v_k = (norm + size) * unit;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  if (stand.lane == 0) {
    reflectors.taus[k] = is_zero ? 0.0f : precise::divide(2.0f, square_add(v_k, below));
    reflectors.diagonals[k] = is_zero ? head : -norm * unit;
  }
  if (stand.lane >= apart) return;
#pragma unroll
  for (int j = 0; j < count; ++j) {
    const int i = first + j * apart;
    if (i == k) v[j] = v_k;
    if (i <= k) column[place_of_row<entries, T>(i, stand)] = v[j];
    if (i < height) reflectors.kept[k * height + i] = v[j];
  }
}

// v^H x of a column, v being this lane's part of what a box holds, told to each of its lanes.
template <int entries, typename T, bool is_spread>
inline T product_with_box(threadgroup const float4* v, thread const T* x, Stand<is_spread> stand) {
  const int step = 16 / sizeof(T);
  const int count = limits::simdgroup_few_lanes(entries);
  PartialSums<T, count> sums;
  clear_sums(sums);
#pragma unroll
  for (int t = 0; t < entries; t += step) {
    T numbers[step];
    unpack(v[t / step], numbers);
#pragma unroll
    for (int s = 0; s < step; ++s) {
      sums.at[(t + s) % count] = multiply_add(conjugate(numbers[s]), x[t + s], sums.at[(t + s) % count]);
    }
  }
  return sum_over_parts(total(sums), stand);
}

// |v|^2, likewise.
template <int entries, typename T, bool is_spread>
inline float square_of_box(threadgroup const float4* v, Stand<is_spread> stand) {
  const int step = 16 / sizeof(T);
  const int count = limits::simdgroup_few_lanes(entries);
  PartialSums<float, count> sums;
  clear_sums(sums);
#pragma unroll
  for (int t = 0; t < entries; t += step) {
    T numbers[step];
    unpack(v[t / step], numbers);
#pragma unroll
    for (int s = 0; s < step; ++s) sums.at[(t + s) % count] = square_add(numbers[s], sums.at[(t + s) % count]);
  }
  return sum_over_parts(total(sums), stand);
}

// x += factor v
template <int entries, typename T>
inline void add_box(threadgroup const float4* v, T factor, thread T* x) {
  const int step = 16 / sizeof(T);
#pragma unroll
  for (int t = 0; t < entries; t += step) {
    T numbers[step];
    unpack(v[t / step], numbers);
#pragma unroll
    for (int s = 0; s < step; ++s) x[t + s] = multiply_add(factor, numbers[s], x[t + s]);
  }
}

// x -= tau v (v^H x)
template <int entries, typename T, bool is_spread>
inline void reflect_column(threadgroup const float4* v, float tau, thread T* x, Stand<is_spread> stand) {
  add_box<entries>(v, -tau * product_with_box<entries>(v, x, stand), x);
}

// Makes the columns of a matrix orthogonal in the order of their places, each to those before it, by modified
// Gram-Schmidt (Bjorck 1967): its R is as good as that of reflectors, and the columns are as orthogonal as they were
// independent. R^H goes there, in rows of `width`, where R is not nullptr. A barrier for each column, and one.
template <int entries, typename T, bool is_spread>
inline void orthogonalize_by_boxes(thread T* x, thread T* y, Places places, device T* R, int width,
                                   Stand<is_spread> stand) {
  for (int k = 0; k < stand.columns; ++k) {
    threadgroup float4* part = part_of_column<entries, T>(column_box<entries, T>(k % 2, stand), stand);
    if (places.x == k) put_entries<entries>(x, part);
    if (places.y == k) put_entries<entries>(y, part);
    group_barrier(stand);
    const T of_x = product_with_box<entries>(part, x, stand);
    const T of_y = product_with_box<entries>(part, y, stand);
    const float square = square_of_box<entries, T>(part, stand);
    const float rough = square >= least_square() ? reciprocal(square) : 0.0f;
    const float inverse = fma(rough, fma(-square, rough, 1.0f), rough);
    add_box<entries>(part, places.x > k ? -inverse * of_x : from_real<T>(0.0f), x);
    add_box<entries>(part, places.y > k ? -inverse * of_y : from_real<T>(0.0f), y);
    if (R == nullptr || stand.part != 0) continue;
    const float norm = square >= least_square() ? precise::sqrt(square) : 0.0f;
    if (places.x < stand.columns) {
      const T entry = places.x == k ? from_real<T>(norm) : (norm * inverse) * conjugate(of_x);
      R[k * width + places.x] = places.x >= k ? entry : from_real<T>(0.0f);
    }
    if (places.y < stand.columns) {
      const T entry = places.y == k ? from_real<T>(norm) : (norm * inverse) * conjugate(of_y);
      R[k * width + places.y] = places.y >= k ? entry : from_real<T>(0.0f);
    }
  }
  group_barrier(stand);
}

// Factors the columns of a matrix in the order of their places: rows above its place are of R in each column then.
// Two barriers for each, and one.
template <int entries, typename T, bool is_spread>
inline void factor_by_boxes(thread T* x, thread T* y, Places places, Reflectors<T> reflectors, Stand<is_spread> stand) {
  for (int k = 0; k < stand.columns; ++k) {
    threadgroup T* column = column_box<entries, T>(k % 2, stand);
    threadgroup float4* part = part_of_column<entries, T>(column, stand);
    if (places.x == k) put_entries<entries>(x, part);
    if (places.y == k) put_entries<entries>(y, part);
    group_barrier(stand);
    if (stand.simdgroup == 0) make_reflector<entries, T>(column, k, reflectors, stand);
    group_barrier(stand);
    const float tau = reflectors.taus[k];
    reflect_column<entries>(part, tau, x, stand);
    reflect_column<entries>(part, tau, y, stand);
  }
  group_barrier(stand);
}

// Columns `x_place` and `y_place` of the unitary factor, from the reflectors that are kept. A barrier for
// each, and one.
template <int entries, typename T, bool is_spread>
inline void form_by_boxes(thread T* x, thread T* y, int x_place, int y_place, Reflectors<T> reflectors,
                          Stand<is_spread> stand) {
  const int rows = rows_of_lane(entries);
  const int apart = rows_apart<entries>(stand);
  const int first = stand.lane & (apart - 1);
  const int height = stand.parts * entries;
  const bool moves = stand.simdgroup == 0 && stand.lane < apart;
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    x[t] = from_real<T>(row_of(stand, t) == x_place ? 1.0f : 0.0f);
    y[t] = from_real<T>(row_of(stand, t) == y_place ? 1.0f : 0.0f);
  }
  for (int k = stand.columns - 1; k >= 0; --k) {
    threadgroup T* column = column_box<entries, T>(k % 2, stand);
    threadgroup float4* part = part_of_column<entries, T>(column, stand);
    if (moves) {
#pragma unroll
      for (int j = 0; j < rows; ++j) {
        const int i = first + j * apart;
        if (i < height) column[place_of_row<entries, T>(i, stand)] = reflectors.kept[k * height + i];
      }
    }
    group_barrier(stand);
    const float tau = reflectors.taus[k];
    reflect_column<entries>(part, tau, x, stand);
    reflect_column<entries>(part, tau, y, stand);
  }
  correct_entries<entries>(x, square_of_column<entries>(x, stand));
  correct_entries<entries>(y, square_of_column<entries>(y, stand));
  group_barrier(stand);
}

}  // namespace metalsvd
