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
#include "simdgroup_held.h"
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
  return limits::simdgroup_part_bytes(entries, sizeof(T)) / int(sizeof(T));
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

// The rows of a column that a lane of one SIMD-group has when a reflector is made are those of one partial sum
// (common/entries.h), every rows_apart-th, so that they are summed up alike however many lanes hold a column; or of two
// where there are as many sums as two SIMD-groups have lanes.
template <int entries, bool is_spread>
inline int rows_apart(Stand<is_spread> stand) {
  return min(stand.parts * limits::simdgroup_few_lanes(entries), int(limits::simd_width));
}
template <int entries, bool is_spread>
inline bool has_two_sums(Stand<is_spread> stand) {
  return stand.parts * limits::simdgroup_few_lanes(entries) > limits::simd_width;
}
constexpr int rows_of_lane(int entries) {
  return 2 * ((entries + limits::simdgroup_few_lanes(entries) - 1) / limits::simdgroup_few_lanes(entries));
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
  float of_second_sum = 0.0f;
#pragma unroll
  for (int j = 0; j < count; ++j) {
    const int i = first + j * apart;
    v[j] = i > k && i < height ? column[place_of_row<entries, T>(i, stand)] : from_real<T>(0.0f);
    const bool is_of_second = j % 2 != 0 && has_two_sums<entries>(stand);
    const float sum = square_add(v[j], is_of_second ? of_second_sum : below);
    below = is_of_second ? below : sum;
    of_second_sum = is_of_second ? sum : of_second_sum;
  }
  below += of_second_sum;
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

// v^H x of this lane's part of a column, v being that of what a box holds.
template <int entries, typename T>
inline T product_with_box(threadgroup const float4* v, thread const T* x) {
  T numbers[entries];
  take_entries<entries>(numbers, v);
  return product_of_entries<entries, limits::simdgroup_few_lanes(entries)>(numbers, x);
}

// |v|^2, told to each lane of the pair.
template <int entries, typename T, bool is_spread>
inline float square_of_box(threadgroup const float4* v, Stand<is_spread> stand) {
  T numbers[entries];
  take_entries<entries>(numbers, v);
  return sum_over_parts(square_of_entries<entries, limits::simdgroup_few_lanes(entries)>(numbers), stand);
}

// x += factor v
template <int entries, typename T>
inline void add_box(threadgroup const float4* v, T factor, thread T* x) {
  T numbers[entries];
  take_entries<entries>(numbers, v);
#pragma unroll
  for (int t = 0; t < entries; ++t) x[t] = multiply_add(factor, numbers[t], x[t]);
}

// x -= tau v (v^H x) of each column
template <typename T, int entries, int count, bool is_spread>
inline void reflect_held(threadgroup const float4* v, float tau, thread Held<T, entries, count>& held,
                         Stand<is_spread> stand) {
  T products[count];
#pragma unroll
  for (int c = 0; c < count; ++c) products[c] = product_with_box<entries>(v, held.W[c]);
  tell_sums<count>(products, stand);
#pragma unroll
  for (int c = 0; c < count; ++c) add_box<entries>(v, -tau * products[c], held.W[c]);
}

// The number that column k has in this pair, or would have. Compared with the numbers of the columns, which are
// constants, where `column_of` would be as many registers.
template <int count, bool is_spread>
inline int number_in_pair(int k, Stand<is_spread> stand) {
  return k - column_of<count>(0, stand);
}

// Column k, if this pair holds it, into its box.
template <typename T, int entries, int count, bool is_spread>
inline void put_column(thread const Held<T, entries, count>& held, int k, threadgroup float4* part,
                       Stand<is_spread> stand) {
  const int number = has_matrix(stand) ? number_in_pair<count>(k, stand) : -1;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    if (c == number) put_entries<entries>(held.W[c], part);
  }
}

// Row k of R, which lies in rows of `width` as R^H: the entry of this column, which has the product with column k,
// whose norm and the inverse of its square are these.
template <typename T>
inline void store_entry_of_R(device T* R, int width, int k, int column, int columns, float norm, float inverse,
                             T product) {
  if (column < k || column >= columns) return;
  R[k * width + column] = column == k ? from_real<T>(norm) : (norm * inverse) * conjugate(product);
}

// Makes each column of a matrix orthogonal to those before it, by modified Gram-Schmidt (Bjorck 1967): its R is as good
// as that of reflectors, and the columns are as orthogonal as they were independent. R^H, but for its zeros, goes
// there, in rows of `width`, where R is not nullptr. SIMD-groups that hold no further columns wait only. A barrier for
// each column, and one.
template <typename T, int entries, int count, bool is_spread>
inline void orthogonalize_by_boxes(thread Held<T, entries, count>& held, device T* R, int width,
                                   Stand<is_spread> stand) {
  for (int k = 0; k < stand.columns; ++k) {
    threadgroup float4* part = part_of_column<entries, T>(column_box<entries, T>(k % 2, stand), stand);
    put_column(held, k, part, stand);
    group_barrier(stand);
    if (columns_behind<count>(stand) <= k) continue;
    T products[count];
#pragma unroll
    for (int c = 0; c < count; ++c) products[c] = product_with_box<entries>(part, held.W[c]);
    Shares<T, count> shares;
    tell_sums<count>(products, shares, stand);
    const float square = square_of_box<entries, T>(part, stand);
    const float rough = square >= least_square() ? reciprocal(square) : 0.0f;
    const float inverse = fma(rough, fma(-square, rough, 1.0f), rough);
    const int number = number_in_pair<count>(k, stand);
#pragma unroll
    for (int c = 0; c < count; ++c) {
      const T factor = c > number ? -inverse * products[c] : from_real<T>(0.0f);
      add_box<entries>(part, factor, held.W[c]);
    }
    if (R == nullptr || !has_matrix(stand)) continue;
    const float norm = square >= least_square() ? precise::sqrt(square) : 0.0f;
    if (count > 2) {
#pragma unroll
      for (int n = 0; n < lots_of(count); ++n) {
        const int c = number_in_lot(n, stand);
        if (c >= count || !is_first_of_share<lot>(stand)) continue;
        store_entry_of_R(R, width, k, column_of<count>(c, stand), stand.columns, norm, inverse, shares.of[n]);
      }
    } else if (stand.part == 0) {
      const int column = column_of<count>(0, stand);
      store_entry_of_R(R, width, k, column, stand.columns, norm, inverse, products[0]);
      store_entry_of_R(R, width, k, column + 1, stand.columns, norm, inverse, products[1]);
    }
  }
  group_barrier(stand);
}

// Factors the columns of a matrix: rows above its number are of R in each column then. Two barriers for each, and one.
template <typename T, int entries, int count, bool is_spread>
inline void factor_by_boxes(thread Held<T, entries, count>& held, Reflectors<T> reflectors, Stand<is_spread> stand) {
  for (int k = 0; k < stand.columns; ++k) {
    threadgroup T* column = column_box<entries, T>(k % 2, stand);
    threadgroup float4* part = part_of_column<entries, T>(column, stand);
    put_column(held, k, part, stand);
    group_barrier(stand);
    if (stand.simdgroup == 0) make_reflector<entries, T>(column, k, reflectors, stand);
    group_barrier(stand);
    if (columns_behind<count>(stand) > k) reflect_held(part, reflectors.taus[k], held, stand);
  }
  group_barrier(stand);
}

// Columns `first` and following of the unitary factor, from the reflectors that are kept. A barrier for each reflector,
// and one.
template <typename T, int entries, int count, bool is_spread>
inline void form_by_boxes(thread Held<T, entries, count>& held, int first, Reflectors<T> reflectors,
                          Stand<is_spread> stand) {
  const int rows = rows_of_lane(entries);
  const int apart = rows_apart<entries>(stand);
  const int first_row = stand.lane & (apart - 1);
  const int height = stand.parts * entries;
  const bool moves = stand.simdgroup == 0 && stand.lane < apart;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    const int column = first + column_of<count>(c, stand);
#pragma unroll
    for (int t = 0; t < entries; ++t) held.W[c][t] = from_real<T>(row_of(stand, t) == column ? 1.0f : 0.0f);
  }
  for (int k = stand.columns - 1; k >= 0; --k) {
    threadgroup T* column = column_box<entries, T>(k % 2, stand);
    threadgroup float4* part = part_of_column<entries, T>(column, stand);
    if (moves) {
#pragma unroll
      for (int j = 0; j < rows; ++j) {
        const int i = first_row + j * apart;
        if (i < height) column[place_of_row<entries, T>(i, stand)] = reflectors.kept[k * height + i];
      }
    }
    group_barrier(stand);
    if (first + columns_behind<count>(stand) > k) reflect_held(part, reflectors.taus[k], held, stand);
  }
  float squares[count];
  measure_held(held, squares, stand);
#pragma unroll
  for (int c = 0; c < count; ++c) correct_entries<entries>(held.W[c], squares[c]);
  group_barrier(stand);
}

}  // namespace metalsvd
