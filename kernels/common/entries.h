// Sums over entries of columns that a thread holds in registers, as many of them as are known at compile time.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"

namespace metalsvd {

using namespace metal;

// |x|^2
template <int count, typename T>
inline float square_of_entries(thread const T* x) {
  float sum = 0.0f;
#pragma unroll
  for (int t = 0; t < count; ++t) sum = square_add(x[t], sum);
  return sum;
}

// x^H y + sum
template <int count, typename T>
inline T add_products(thread const T* x, thread const T* y, T sum) {
#pragma unroll
  for (int t = 0; t < count; ++t) sum = multiply_add(conjugate(x[t]), y[t], sum);
  return sum;
}

}  // namespace metalsvd
