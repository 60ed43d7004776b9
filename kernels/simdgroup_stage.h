// How the recovering kernels of method `simdgroup` (kernels/simdgroup_recover.h) read B and write P: some columns at a
// time go through boxes in threadgroup memory, which all threads of the matrix fill or empty together, neighbours what
// lies next to each other.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "device_limits.h"
#include "simdgroup_factors.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"
#include "simdgroup_load.h"
#include "simdgroup_reflect.h"

namespace metalsvd {

using namespace metal;

// Columns that are in boxes together.
enum : int { staged_columns = 8 };

// Entries of them that a thread reads at a time, where a lane has so many of a column.
constexpr int read_together(int entries) { return entries < 8 ? entries : 8; }

template <bool is_spread>
inline int thread_of(Stand<is_spread> stand) {
  return stand.simdgroup * limits::simd_width + stand.lane;
}

template <bool is_spread>
inline int threads_of(Stand<is_spread> stand) {
  return stand.simdgroups * limits::simd_width;
}

// What a thread moves of staged_columns columns: of one of them every `step`-th row, from `row` on. Where columns are
// dense, which is that their rows lie next to each other, neighbours have one column, else they have one row.
struct Walk {
  int column;
  int row;
  int step;
};

template <bool is_spread>
inline Walk make_walk(bool columns_are_dense, Stand<is_spread> stand) {
  const int number = thread_of(stand);
  Walk walk;
  walk.step = threads_of(stand) / staged_columns;
  walk.column = columns_are_dense ? number / walk.step : number % staged_columns;
  walk.row = columns_are_dense ? number % walk.step : number / staged_columns;
  return walk;
}

template <typename Storage, bool is_spread>
inline Walk walk_over(Tensors<Storage> tensors, Stand<is_spread> stand) {
  return make_walk(tensors.row_stride < tensors.column_stride, stand);
}

// So many entries of a column of B as A has it, every `step`-th from `row` on; zeros from row `behind` on. They are
// read together, as each takes its time.
template <int count, typename T, typename Storage>
inline void read_entries(Tensors<Storage> tensors, int column, int row, int step, int behind, thread T* held) {
  device const Storage* entry = tensors.A + (row * tensors.row_stride + column * tensors.column_stride);
#pragma unroll
  for (int b = 0; b < count; ++b) {
    held[b] = from_real<T>(0.0f);
    if (row + b * step < behind) held[b] = to_number(*entry);
    entry += step * tensors.row_stride;
  }
}

// The largest magnitude of an entry of B, in bits, told to every thread.
template <int entries, typename T, typename Storage, bool is_spread>
inline uint largest_entry(Tensors<Storage> tensors, Shape shape, Stand<is_spread> stand) {
  constexpr int together = read_together(entries);
  const Walk walk = walk_over(tensors, stand);
  uint largest = 0u;
  for (int first = 0; first < shape.columns; first += staged_columns) {
    const int column = first + walk.column;
    const int behind = column < shape.columns ? shape.rows : 0;
    for (int row = walk.row; row < behind; row += together * walk.step) {
      T held[together];
      read_entries<together>(tensors, column, row, walk.step, behind, held);
#pragma unroll
      for (int b = 0; b < together; ++b) largest = max(largest, magnitude_bits(held[b]));
    }
  }
  return uint(max_over_group(int(largest), stand));
}

// Columns `first` and following of B, scaled, into the boxes; zeros where it has none.
template <int entries, typename T, typename Storage, bool is_spread>
inline void stage_columns(Tensors<Storage> tensors, int first, int exponent, Shape shape, Stand<is_spread> stand) {
  constexpr int together = read_together(entries);
  const Walk walk = walk_over(tensors, stand);
  const int height = stand.parts * entries;
  const int column = first + walk.column;
  const int behind = column < shape.columns ? shape.rows : 0;
  threadgroup T* const box = column_box<entries, T>(walk.column, stand);
  for (int row = walk.row; row < height; row += together * walk.step) {
    T held[together];
    read_entries<together>(tensors, column, row, walk.step, behind, held);
    scale_all<together>(held, exponent);
#pragma unroll
    for (int b = 0; b < together; ++b) {
      const int i = row + b * walk.step;
      if (i < height) box[place_of_row<entries, T>(i, stand)] = shape.transposed ? conjugate(held[b]) : held[b];
    }
  }
}

// The columns of B of the pair. Two barriers for each staged_columns.
template <typename Storage, typename T, int entries, int count, bool is_spread>
inline void load_held(Tensors<Storage> tensors, int exponent, Shape shape, thread Held<T, entries, count>& held,
                      Stand<is_spread> stand) {
  clear_held(held);
  for (int first = 0; first < shape.columns; first += staged_columns) {
    stage_columns<entries, T>(tensors, first, exponent, shape, stand);
    group_barrier(stand);
#pragma unroll
    for (int c = 0; c < count; ++c) {
      const int number = column_of<count>(c, stand) - first;
      if (!has_matrix(stand) || number < 0 || number >= staged_columns) continue;
      take_entries<entries>(held.W[c], part_of_column<entries, T>(column_box<entries, T>(number, stand), stand));
    }
    group_barrier(stand);
  }
}

// Stores what the boxes hold, columns `first` and following of a factor.
template <int entries, typename T, typename Storage, bool is_spread>
inline void store_boxes(int first, int behind, Factor<Storage> factor, Stand<is_spread> stand) {
  const Walk walk = make_walk(factor.place.row_stride < factor.place.column_stride, stand);
  const int rows = first + walk.column < behind ? factor.rows : 0;  // of this thread
  device Storage* const column = factor.entries + (first + walk.column) * factor.place.column_stride;
  threadgroup const T* const box = column_box<entries, T>(walk.column, stand);
  for (int row = walk.row; row < rows; row += walk.step) {
    const T entry = box[place_of_row<entries, T>(row, stand)];
    column[row * factor.place.row_stride] = to_storage<Storage>(factor.place.conjugated ? conjugate(entry) : entry);
  }
}

// Stores columns [begin, behind) of a factor, of which the pairs hold some, given their places. Two barriers for each
// staged_columns.
template <typename Storage, typename T, int entries, int count, bool is_spread>
inline void store_columns(thread const Held<T, entries, count>& held, HeldPlaces<count> places, int begin, int behind,
                          Factor<Storage> factor, Stand<is_spread> stand) {
  for (int first = begin; first < behind; first += staged_columns) {
#pragma unroll
    for (int c = 0; c < count; ++c) {
      const int number = places.of[c] - first;
      if (!has_matrix(stand) || number < 0 || number >= staged_columns) continue;
      put_entries<entries>(held.W[c], part_of_column<entries, T>(column_box<entries, T>(number, stand), stand));
    }
    group_barrier(stand);
    store_boxes<entries, T>(first, behind, factor, stand);
    group_barrier(stand);
  }
}

}  // namespace metalsvd
