// How entries lie in tensors, and the numbers that kernels compute with: float for float, half and bfloat16, float2 for
// a complex entry of floats or halves. What is stored is the computed number rounded once.
#pragma once
#include <metal_stdlib>

namespace metalsvd {

using namespace metal;

// bfloat16 by its bits: the type bfloat came after Metal 3.0.
struct BFloat16 {
  ushort bits;
};

template <typename Storage>
struct StorageTraits;
template <>
struct StorageTraits<float> {
  typedef float Number;  // what an entry is computed with
  typedef float Real;    // storage of singular values
};
template <>
struct StorageTraits<half> {
  typedef float Number;
  typedef half Real;
};
template <>
struct StorageTraits<BFloat16> {
  typedef float Number;
  typedef BFloat16 Real;
};
template <>
struct StorageTraits<float2> {
  typedef float2 Number;
  typedef float Real;
};
template <>
struct StorageTraits<half2> {
  typedef float2 Number;
  typedef half Real;
};

inline float to_number(float stored) { return stored; }
inline float to_number(half stored) { return float(stored); }
inline float2 to_number(float2 stored) { return stored; }
inline float2 to_number(half2 stored) { return float2(float(stored.x), float(stored.y)); }
inline float to_number(BFloat16 stored) { return as_type<float>(uint(stored.bits) << 16); }

template <typename Storage>
inline Storage to_storage(float number) {
  return Storage(number);
}
template <>
inline BFloat16 to_storage<BFloat16>(float number) {
  const uint bits = as_type<uint>(number);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  BFloat16 stored;
  // To nearest, ties to even; a NaN stays one.
  stored.bits = ushort(is_nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  return stored;
}
template <typename Storage>
inline Storage to_storage(float2 number);
template <>
inline float2 to_storage<float2>(float2 number) {
  return number;
}
template <>
inline half2 to_storage<half2>(float2 number) {
  return half2(half(number.x), half(number.y));
}

}  // namespace metalsvd
