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

// Columns that are in boxes together, and entries of them that a thread moves at a time.
enum : int { staged_columns = 8, moved_entries = 8 };

template <bool is_spread>
inline int thread_of(Stand<is_spread> stand) {
  return stand.simdgroup * limits::simd_width + stand.lane;
}

template <bool is_spread>
inline int threads_of(Stand<is_spread> stand) {
  return stand.simdgroups * limits::simd_width;
}

// Entry number e of those of staged_columns boxes, a thread every threads_of()-th: where rows lie next to each other
// column by column, else row by row.
struct PlaceInBoxes {
  int row;
  int column;
};

template <int entries, bool is_spread>
inline PlaceInBoxes place_in_boxes(int e, bool columns_are_dense, Stand<is_spread> stand) {
  PlaceInBoxes place;
  place.column = columns_are_dense ? (e >> ctz(uint(stand.parts))) / entries : e % staged_columns;
  place.row = columns_are_dense ? e - place.column * stand.parts * entries : e / staged_columns;
  return place;
}

template <int entries, bool is_spread>
inline int entries_in_boxes(Stand<is_spread> stand) {
  return staged_columns * stand.parts * entries;
}

// Those that this thread has of the next moved_entries of them, from columns `first` and following of B as A has them;
// zeros where it has none. They are read together, as each takes its time.
template <int entries, typename T, typename Storage, bool is_spread>
inline void fetch_entries(Tensors<Storage> tensors, int first, int e, Shape shape, Stand<is_spread> stand,
                          thread T* held) {
  const bool columns_are_dense = tensors.row_stride < tensors.column_stride;
#pragma unroll
  for (int b = 0; b < moved_entries; ++b) {
    const PlaceInBoxes place = place_in_boxes<entries>(e + b * threads_of(stand), columns_are_dense, stand);
    held[b] = from_real<T>(0.0f);
    if (place.row < shape.rows && first + place.column < shape.columns && place.column < staged_columns) {
      held[b] = to_number(tensors.A[place.row * tensors.row_stride + (first + place.column) * tensors.column_stride]);
    }
  }
}

// The largest magnitude of an entry of B, in bits, told to every thread.
template <int entries, typename T, typename Storage, bool is_spread>
inline uint largest_entry(Tensors<Storage> tensors, Shape shape, Stand<is_spread> stand) {
  uint largest = 0u;
  for (int first = 0; first < shape.columns; first += staged_columns) {
    for (int e = thread_of(stand); e < entries_in_boxes<entries>(stand); e += moved_entries * threads_of(stand)) {
      T held[moved_entries];
      fetch_entries<entries>(tensors, first, e, shape, stand, held);
#pragma unroll
      for (int b = 0; b < moved_entries; ++b) largest = max(largest, magnitude_bits(held[b]));
    }
  }
  return uint(max_over_group(int(largest), stand));
}

// Columns `first` and following of B, scaled, into the boxes; zeros where it has none.
template <int entries, typename T, typename Storage, bool is_spread>
inline void stage_columns(Tensors<Storage> tensors, int first, int exponent, Shape shape, Stand<is_spread> stand) {
  const bool columns_are_dense = tensors.row_stride < tensors.column_stride;
  for (int e = thread_of(stand); e < entries_in_boxes<entries>(stand); e += moved_entries * threads_of(stand)) {
    T held[moved_entries];
    fetch_entries<entries>(tensors, first, e, shape, stand, held);
    scale_all<moved_entries>(held, exponent);
#pragma unroll
    for (int b = 0; b < moved_entries; ++b) {
      const PlaceInBoxes place = place_in_boxes<entries>(e + b * threads_of(stand), columns_are_dense, stand);
      if (place.column >= staged_columns || place.row >= stand.parts * entries) continue;
      column_box<entries, T>(place.column, stand)[place_of_row<entries, T>(place.row, stand)] =
          shape.transposed ? conjugate(held[b]) : held[b];
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
  const bool columns_are_dense = factor.place.row_stride < factor.place.column_stride;
  for (int e = thread_of(stand); e < entries_in_boxes<entries>(stand); e += threads_of(stand)) {
    const PlaceInBoxes place = place_in_boxes<entries>(e, columns_are_dense, stand);
    if (place.row >= factor.rows || first + place.column >= behind) continue;
    const T entry = column_box<entries, T>(place.column, stand)[place_of_row<entries, T>(place.row, stand)];
    factor.entries[place.row * factor.place.row_stride + (first + place.column) * factor.place.column_stride] =
        to_storage<Storage>(factor.place.conjugated ? conjugate(entry) : entry);
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
