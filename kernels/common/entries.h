// Sums over entries of columns that a thread holds in registers, as many of them as are known at compile time.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"

namespace metalsvd {

using namespace metal;

// Partial sums over entries: entry t is added to sum t modulo `count`.
template <typename T, int count>
struct PartialSums {
  T at[count];
};

template <typename T, int count>
inline void clear_sums(thread PartialSums<T, count>& sums) {
#pragma unroll
  for (int c = 0; c < count; ++c) sums.at[c] = from_real<T>(0.0f);
}

// sums += x^H y, of entries [begin, end)
template <int begin, int end, typename T, int count>
inline void add_products(thread const T* x, thread const T* y, thread PartialSums<T, count>& sums) {
#pragma unroll
  for (int t = begin; t < end; ++t) {
    sums.at[t % count] = multiply_add(conjugate(x[t]), y[t], sums.at[t % count]);
  }
}

template <int distance, typename T, int count>
inline void add_halves(thread PartialSums<T, count>& sums) {
#pragma unroll
  for (int c = 0; c < distance; ++c) sums.at[c % count] += sums.at[(c + distance) % count];
}

// Their sum, halves first, as lanes add theirs whose partners are farthest first. Up to 16 of them.
template <typename T, int count>
inline T total(PartialSums<T, count> sums) {
  if (count > 8) add_halves<8>(sums);
  if (count > 4) add_halves<4>(sums);
  if (count > 2) add_halves<2>(sums);
  if (count > 1) add_halves<1>(sums);
  return sums.at[0];
}

// |x|^2, added up in so many sums.
template <int entries, int sums = 1, typename T>
inline float square_of_entries(thread const T* x) {
  PartialSums<float, sums> squares;
  clear_sums(squares);
#pragma unroll
  for (int t = 0; t < entries; ++t) squares.at[t % sums] = square_add(x[t], squares.at[t % sums]);
  return total(squares);
}

// x^H y, likewise.
template <int entries, int sums = 1, typename T>
inline T product_of_entries(thread const T* x, thread const T* y) {
  PartialSums<T, sums> products;
  clear_sums(products);
  add_products<0, entries>(x, y, products);
  return total(products);
}

}  // namespace metalsvd
