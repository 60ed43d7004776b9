// What one SIMD-group does with one column, lane l owning its entries l, l + 32, ... No barrier: each lane touches its
// own entries only. Pointers may be of any address space.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// This lane's part of |x|^2: simd_sum makes it whole.
template <typename T, typename Pointer>
inline float square_of_column(Pointer x, int rows, int lane) {
  float sum = 0.0f;
  for (int i = lane; i < rows; i += limits::simd_width) sum = square_add(T(x[i]), sum);
  return sum;
}

// The entry of largest magnitude, the first of them where several are; zero where x is. Told to every lane.
template <typename T, typename Pointer>
inline T largest_of_column(Pointer x, int rows, int lane) {
  float largest = 0.0f;
  int index = rows;
  T entry = from_real<T>(0.0f);
  for (int i = lane; i < rows; i += limits::simd_width) {
    const float square = square_add(T(x[i]), 0.0f);
    if (square > largest) {
      largest = square;
      index = i;
      entry = x[i];
    }
  }
  const int first = simd_min(largest == simd_max(largest) ? index : rows);
  return simd_sum(index == first ? entry : from_real<T>(0.0f));
}

// x_i / |x_i| of that entry; x is not zero.
template <typename T, typename Pointer>
inline T phase_of_column(Pointer x, int rows, int lane) {
  return phase(largest_of_column<T>(x, rows, lane));
}

// x = turn x / norm, then once more to unit length: what the rounded norm, quotients and products have left of it.
template <typename T, typename Pointer>
inline void normalize_column(Pointer x, int rows, float norm, T turn, int lane) {
  float sum = 0.0f;
  for (int i = lane; i < rows; i += limits::simd_width) {
    const T entry = multiply(turn, divide(T(x[i]), norm));
    sum = square_add(entry, sum);
    x[i] = entry;
  }
  const float missing = 0.5f * (1.0f - simd_sum(sum));
  for (int i = lane; i < rows; i += limits::simd_width) x[i] = multiply_add(T(x[i]), from_real<T>(missing), T(x[i]));
}

}  // namespace metalsvd
