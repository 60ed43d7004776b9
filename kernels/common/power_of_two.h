// Exact scaling by powers of two over the whole float32 range, done on the bits where a GPU that flushes denormal
// numbers to zero would lose them. Nothing here relies on comparisons with NaN, which a user's fast-math setting could
// break.
#pragma once
#include <metal_stdlib>

namespace metalsvd {

using namespace metal;

// The bits of |a|: ordered as the magnitudes are, and not below `not_finite_bits` for Inf and NaN. For a complex entry
// the larger of the two.
enum : uint { not_finite_bits = 0x7f800000u, smallest_normal_bits = 0x00800000u };

inline uint magnitude_bits(float a) { return as_type<uint>(a) & 0x7fffffffu; }
inline uint magnitude_bits(float2 a) { return max(magnitude_bits(a.x), magnitude_bits(a.y)); }

inline float not_a_number() { return as_type<float>(0x7fc00000u); }

// floor(log2 |a|) of a finite, non-zero a, given its magnitude bits.
inline int exponent_of(uint bits) {
  return bits < smallest_normal_bits ? -118 - int(clz(bits)) : int(bits >> 23) - 127;
}

// 2^exponent for -126 <= exponent <= 127
inline float power_of_two(int exponent) { return as_type<float>(uint(exponent + 127) << 23); }

// The power of two that takes a, which is positive and not denormal, into [1, 2), or of the largest a into [2, 4).
inline float inverse_power(float a) {
  return as_type<float>(0x7f000000u - min(as_type<uint>(a) & not_finite_bits, 0x7e800000u));
}

// a 2^exponent for -250 <= exponent <= 250, rounded once, denormal a and result included.
inline float scale(float a, int exponent) {
  const uint bits = magnitude_bits(a);
  const uint sign = as_type<uint>(a) & 0x80000000u;
  if (bits == 0u) return a;
  const bool denormal = bits < smallest_normal_bits;
  const float size = denormal ? float(bits) : as_type<float>(bits);
  const int shift = denormal ? exponent - 149 : exponent;
  const bool tiny = exponent_of(bits) + exponent < -126;
  // A tiny result is an integer number of the smallest denormal, 2^-149.
  const int total = tiny ? shift + 149 : shift;
  const float scaled = size * power_of_two(total / 2) * power_of_two(total - total / 2);
  return as_type<float>(sign | (tiny ? uint(rint(scaled)) : as_type<uint>(scaled)));
}
inline float2 scale(float2 a, int exponent) { return float2(scale(a.x, exponent), scale(a.y, exponent)); }

// The magnitude bits of an entry, less one so that zero has the largest; of a complex entry the smaller of the two.
inline uint least_bits(float a) { return magnitude_bits(a) - 1u; }
inline uint least_bits(float2 a) { return min(least_bits(a.x), least_bits(a.y)); }

// What scale() makes of so many numbers, in a few instructions each where none of them is denormal or becomes so, as in
// nearly all matrices.
template <int count, typename T>
inline void scale_all(thread T* a, int exponent) {
  uint least = 0xffffffffu;
#pragma unroll
  for (int t = 0; t < count; ++t) least = min(least, least_bits(a[t]));
  if (least >= smallest_normal_bits && exponent_of(least) + exponent >= -126) {
    const float factor = power_of_two(exponent / 2);
    const float other_factor = power_of_two(exponent - exponent / 2);
#pragma unroll
    for (int t = 0; t < count; ++t) a[t] = a[t] * factor * other_factor;
  } else {
#pragma unroll
    for (int t = 0; t < count; ++t) a[t] = scale(a[t], exponent);
  }
}

}  // namespace metalsvd
