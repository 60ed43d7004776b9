// How the kernels of method `simdgroup` come to their columns of B.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "simdgroup_line.h"

namespace metalsvd {

using namespace metal;

// What the kernel was called with, from some matrix of the batch on.
template <typename Storage>
struct Tensors {
  device const Storage* A;
  device Storage* left;
  device typename StorageTraits<Storage>::Real* S;
  device Storage* right;
  device int* info;
  long row_stride;
  long column_stride;
};

template <typename Storage>
inline Tensors<Storage> make_tensors(device const Storage* A, device Storage* left,
                                     device typename StorageTraits<Storage>::Real* S, device Storage* right,
                                     device int* info, long row_stride, long column_stride) {
  Tensors<Storage> tensors;
  tensors.A = A;
  tensors.left = left;
  tensors.S = S;
  tensors.right = right;
  tensors.info = info;
  tensors.row_stride = row_stride;
  tensors.column_stride = column_stride;
  return tensors;
}

// From matrix `index` on.
template <typename Storage>
inline Tensors<Storage> tensors_from(Tensors<Storage> tensors, long index, long batch_stride, Shape shape) {
  tensors.A += index * batch_stride;
  tensors.left += index * shape.rows * shape.left_columns;
  tensors.S += index * shape.columns;
  tensors.right += shape.left_columns > 0 ? index * shape.columns * shape.columns : 0;
  tensors.info += index;
  return tensors;
}

// Column j of B as A has it, not yet conjugated. Zeros where `exists` is false. Returns the largest magnitude, in bits.
template <int entries, typename Storage, typename T, bool is_spread>
inline uint load_column(Tensors<Storage> tensors, int j, bool exists, Shape shape, Stand<is_spread> stand,
                        thread T* column) {
  uint largest = 0u;
  // From entry to entry: the place of each by itself would be a product of 64 bits.
  device const Storage* place = tensors.A + (stand.part * tensors.row_stride + j * tensors.column_stride);
  const int behind = exists && j < shape.columns ? shape.rows : 0;
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    T entry = from_real<T>(0.0f);
    if (row_of(stand, t) < behind) entry = to_number(*place);
    largest = max(largest, magnitude_bits(entry));
    column[t] = entry;
    place += stand.parts * tensors.row_stride;
  }
  return largest;
}

// A GPU may flush denormal numbers when it negates them: conjugates are taken of scaled entries. A matrix that is not
// finite becomes zero.
template <int entries, typename T>
inline void scale_columns(thread T (*columns)[entries], int exponent, bool is_finite, bool conjugated) {
  scale_all<pair_columns * entries>(columns[0], exponent);
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const T entry = is_finite ? columns[c][t] : from_real<T>(0.0f);
      columns[c][t] = conjugated ? conjugate(entry) : entry;
    }
  }
}

}  // namespace metalsvd
