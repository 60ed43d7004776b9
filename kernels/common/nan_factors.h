// The factors of a matrix that is not finite: there are none, and every entry says so.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/shape.h"
#include "common/storage.h"

namespace metalsvd {

using namespace metal;

// Stores NaN to all factors of one matrix, shared out to `threads` threads, of which this is number `index`.
template <typename Storage>
inline void store_nan(device Storage* left, device typename StorageTraits<Storage>::Real* S, device Storage* right,
                      Shape shape, int index, int threads) {
  typedef typename StorageTraits<Storage>::Real Real;
  typedef typename StorageTraits<Storage>::Number T;
  const float nan = not_a_number();
  for (int j = index; j < shape.columns; j += threads) S[j] = to_storage<Real>(nan);
  if (shape.left_columns == 0) return;
  const Storage entry = to_storage<Storage>(T(nan));
  for (int i = index; i < shape.rows * shape.left_columns; i += threads) left[i] = entry;
  for (int i = index; i < shape.columns * shape.columns; i += threads) right[i] = entry;
}

}  // namespace metalsvd
