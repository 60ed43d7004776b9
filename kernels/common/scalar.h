// The few operations that a real (float) and a complex (float2) matrix entry share, so that kernels are written once.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"

namespace metalsvd {

using namespace metal;

inline float conjugate(float a) { return a; }
inline float2 conjugate(float2 a) { return float2(a.x, -a.y); }

// a b + c, each product rounded once with its sum
inline float multiply_add(float a, float b, float c) { return fma(a, b, c); }
inline float2 multiply_add(float2 a, float2 b, float2 c) {
  return float2(fma(-a.y, b.y, fma(a.x, b.x, c.x)), fma(a.y, b.x, fma(a.x, b.y, c.y)));
}

inline float multiply(float a, float b) { return a * b; }
inline float2 multiply(float2 a, float2 b) { return multiply_add(a, b, float2(0.0f, 0.0f)); }

// |a|^2 + c
inline float square_add(float a, float c) { return fma(a, a, c); }
inline float square_add(float2 a, float c) { return fma(a.y, a.y, fma(a.x, a.x, c)); }

// 2^-80: a column whose square is less counts as zero. The squares of entries below 2^-63 are flushed to zero, and so
// are their products with others of their size: in a column that counts, of up to 2^22 rows, all that is lost so is
// below the rounding error, while without this bound two such columns could be rotated forever.
inline float least_square() { return power_of_two(-80); }

// The real number r as an entry.
template <typename T>
inline T from_real(float r);
template <>
inline float from_real<float>(float r) {
  return r;
}
template <>
inline float2 from_real<float2>(float r) {
  return float2(r, 0.0f);
}

inline float real_part(float a) { return a; }
inline float real_part(float2 a) { return a.x; }

// |a|, safe from overflow: entries of a Gram matrix can be as large as 2^112.
inline float magnitude(float a) { return fabs(a); }
inline float magnitude(float2 a) {
  const float large = max(fabs(a.x), fabs(a.y));
  const float small = min(fabs(a.x), fabs(a.y));
  const float ratio = large > 0.0f ? precise::divide(small, large) : 0.0f;
  return large * precise::sqrt(fma(ratio, ratio, 1.0f));
}

// The same to a few ulps, zero where |a| < 2^-126: what is only compared need not take longer.
inline float rough_magnitude(float a) { return fabs(a); }
inline float rough_magnitude(float2 a) {
  const float large = max(fabs(a.x), fabs(a.y));
  const float inverse_root = rsqrt(large);
  const float ratio = min(fabs(a.x), fabs(a.y)) * inverse_root * inverse_root;
  const float square = fma(ratio, ratio, 1.0f);
  const float size = large * square * rsqrt(square);
  return large >= FLT_MIN ? size : 0.0f;
}

// 1 / a to a few ulps, for 2^-126 <= a <= 2^126.
inline float reciprocal(float a) {
  const float root = rsqrt(a);
  return root * root;
}

// The same, all but rounded once: a step of Newton's method takes less time than what precise::divide does about other
// numbers.
inline float accurate_reciprocal(float a) {
  const float inverse = reciprocal(a);
  return fma(inverse, fma(-a, inverse, 1.0f), inverse);
}

// a / r, rounded once
inline float divide(float a, float r) { return precise::divide(a, r); }
inline float2 divide(float2 a, float r) { return float2(precise::divide(a.x, r), precise::divide(a.y, r)); }

// a / |a|, of modulus one to the last bit that its parts can hold. Where a GPU keeps denormal numbers, the magnitude of
// one has few bits: tiny ones are multiplied by 2^100 first.
inline float phase(float a) { return a < 0.0f ? -1.0f : 1.0f; }
inline float2 phase(float2 a) {
  const bool is_tiny = max(fabs(a.x), fabs(a.y)) < power_of_two(-100);
  const float2 normal = a * (is_tiny ? power_of_two(100) : 1.0f);
  const float2 unit = divide(normal, magnitude(normal));
  const float missing = 0.5f * fma(-unit.y, unit.y, fma(-unit.x, unit.x, 1.0f));
  return float2(fma(unit.x, missing, unit.x), fma(unit.y, missing, unit.y));
}

template <typename Value>
inline void exchange(thread Value& a, thread Value& b) {
  const Value old = a;
  a = b;
  b = old;
}

}  // namespace metalsvd
