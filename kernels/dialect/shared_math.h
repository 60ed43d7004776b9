// The mathematical functions of Metal, correctly rounded or as the C library has them: float stays float.
#pragma once

#include "shared_types.h"

namespace METALSVD_TRANSLATED {
namespace metal {

// One definition for float; half, bfloat and vectors go through it component by component.
#define METALSVD_FUNCTION_1(name, expression)            \
  METAL_FUNC float name(float x) { return expression; }  \
  template <int e, int m>                                \
  METAL_FUNC SmallFloat<e, m> name(SmallFloat<e, m> x) { \
    return name(static_cast<float>(x));                  \
  }                                                      \
  template <class T, int n>                              \
  METAL_FUNC vec<T, n> name(vec<T, n> x) {               \
    for (int i = 0; i < n; ++i) x[i] = name(x[i]);       \
    return x;                                            \
  }
#define METALSVD_FUNCTION_2(name, expression)                                \
  METAL_FUNC float name(float x, float y) { return expression; }             \
  template <int e, int m>                                                    \
  METAL_FUNC SmallFloat<e, m> name(SmallFloat<e, m> x, SmallFloat<e, m> y) { \
    return name(static_cast<float>(x), static_cast<float>(y));               \
  }                                                                          \
  template <class T, int n>                                                  \
  METAL_FUNC vec<T, n> name(vec<T, n> x, vec<T, n> y) {                      \
    for (int i = 0; i < n; ++i) x[i] = name(x[i], y[i]);                     \
    return x;                                                                \
  }

// Through double, so that one rounding remains. A quotient or root of two floats is never a tie there.
#ifdef __CUDA_ARCH__
// To two ulps, as kernels may expect of any GPU: in double it would take 20x as long. Denormal numbers count as zero:
// ::rsqrtf spends three instructions more on them.
METAL_FUNC float approximate_rsqrt(float x) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
METALSVD_FUNCTION_1(rsqrt, approximate_rsqrt(x))
#else
METALSVD_FUNCTION_1(rsqrt, static_cast<float>(1.0 / std::sqrt(static_cast<double>(x))))
#endif
METALSVD_FUNCTION_1(sqrt, std::sqrt(x))
METALSVD_FUNCTION_1(fabs, std::fabs(x))
METALSVD_FUNCTION_1(sign, x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? x : 0.0f)
METALSVD_FUNCTION_1(floor, std::floor(x))
METALSVD_FUNCTION_1(ceil, std::ceil(x))
METALSVD_FUNCTION_1(rint, std::rint(x))
METALSVD_FUNCTION_1(round, std::round(x))
METALSVD_FUNCTION_1(trunc, std::trunc(x))
METALSVD_FUNCTION_1(exp, std::exp(x))
METALSVD_FUNCTION_1(exp2, std::exp2(x))
METALSVD_FUNCTION_1(log, std::log(x))
METALSVD_FUNCTION_1(log2, std::log2(x))
METALSVD_FUNCTION_1(sin, std::sin(x))
METALSVD_FUNCTION_1(cos, std::cos(x))
METALSVD_FUNCTION_2(copysign, std::copysign(x, y))
METALSVD_FUNCTION_2(divide, x / y)
METALSVD_FUNCTION_2(fmin, std::fmin(x, y))
METALSVD_FUNCTION_2(fmax, std::fmax(x, y))

namespace precise {
using metal::cos;
using metal::divide;
using metal::exp;
using metal::exp2;
using metal::log;
using metal::log2;
using metal::rsqrt;
using metal::sin;
using metal::sqrt;
}  // namespace precise

#undef METALSVD_FUNCTION_1
#undef METALSVD_FUNCTION_2

METAL_FUNC float fma(float x, float y, float z) {
#ifdef METALSVD_CHECK_MEMORY
  ::metalsvd::emulator::count_multiply_add();
#endif
  return std::fma(x, y, z);
}
METAL_FUNC half fma(half x, half y, half z) {  // a product of two halves is exact in float, and the sum in double
  return static_cast<float>(static_cast<double>(static_cast<float>(x) * static_cast<float>(y)) +
                            static_cast<double>(static_cast<float>(z)));
}
template <class T, int n>
METAL_FUNC vec<T, n> fma(vec<T, n> x, vec<T, n> y, vec<T, n> z) {
  for (int i = 0; i < n; ++i) x[i] = fma(x[i], y[i], z[i]);
  return x;
}

METAL_FUNC bool isnan(float x) { return std::isnan(x); }
METAL_FUNC bool isinf(float x) { return std::isinf(x); }
METAL_FUNC bool isfinite(float x) { return std::isfinite(x); }
METAL_FUNC bool signbit(float x) { return std::signbit(x); }
#define METALSVD_PREDICATE(name)                   \
  template <class T, int n>                        \
  METAL_FUNC vec<bool, n> name(vec<T, n> x) {      \
    vec<bool, n> r;                                \
    for (int i = 0; i < n; ++i) r[i] = name(x[i]); \
    return r;                                      \
  }
METALSVD_PREDICATE(isnan)
METALSVD_PREDICATE(isinf)
METALSVD_PREDICATE(isfinite)
METALSVD_PREDICATE(signbit)
#undef METALSVD_PREDICATE

template <int n>
METAL_FUNC bool any(vec<bool, n> x) {
  bool result = false;
  for (int i = 0; i < n; ++i) result = result || x[i];
  return result;
}
template <int n>
METAL_FUNC bool all(vec<bool, n> x) {
  bool result = true;
  for (int i = 0; i < n; ++i) result = result && x[i];
  return result;
}

METAL_FUNC float ldexp(float x, int exponent) { return std::ldexp(x, exponent); }
METAL_FUNC float frexp(float x, int& exponent) { return std::frexp(x, &exponent); }

// Floating-point min and max return the number where the other argument is NaN, as Metal's do.
template <class T>
METAL_FUNC T min(T x, T y) {
  if constexpr (std::is_integral_v<T>) {
    return y < x ? y : x;
  } else {
    return fmin(x, y);
  }
}
template <class T>
METAL_FUNC T max(T x, T y) {
  if constexpr (std::is_integral_v<T>) {
    return x < y ? y : x;
  } else {
    return fmax(x, y);
  }
}
template <class T, int n>
METAL_FUNC vec<T, n> min(vec<T, n> x, vec<T, n> y) {
  for (int i = 0; i < n; ++i) x[i] = min(x[i], y[i]);
  return x;
}
template <class T, int n>
METAL_FUNC vec<T, n> max(vec<T, n> x, vec<T, n> y) {
  for (int i = 0; i < n; ++i) x[i] = max(x[i], y[i]);
  return x;
}
template <class T>
METAL_FUNC T clamp(T x, T low, T high) {
  return min(max(x, low), high);
}
template <class T>
METAL_FUNC T abs(T x) {
  if constexpr (std::is_integral_v<T>) {
    return x < 0 ? static_cast<T>(-x) : x;
  } else {
    return fabs(x);
  }
}

template <class T>
METAL_FUNC T select(T if_false, T if_true, bool condition) {
  return condition ? if_true : if_false;
}
template <class T, int n>
METAL_FUNC vec<T, n> select(vec<T, n> if_false, vec<T, n> if_true, vec<bool, n> condition) {
  for (int i = 0; i < n; ++i) if_false[i] = condition[i] ? if_true[i] : if_false[i];
  return if_false;
}

template <class T, int n>
METAL_FUNC T dot(vec<T, n> x, vec<T, n> y) {
  T sum = x[0] * y[0];
  for (int i = 1; i < n; ++i) sum += x[i] * y[i];
  return sum;
}
template <class T, int n>
METAL_FUNC T length_squared(vec<T, n> x) {
  return dot(x, x);
}
template <class T, int n>
METAL_FUNC T length(vec<T, n> x) {
  return sqrt(dot(x, x));
}

#ifdef __CUDA_ARCH__
// Not through <bit>, whose builtins nvcc compiles, but not always to what they are.
template <class T>
METAL_FUNC T clz(T x) {
  static_assert(sizeof(T) == 4);
  return static_cast<T>(__clz(static_cast<int>(x)));
}
template <class T>
METAL_FUNC T ctz(T x) {
  static_assert(sizeof(T) == 4);
  return static_cast<T>(x == 0 ? 32 : __ffs(static_cast<int>(x)) - 1);
}
template <class T>
METAL_FUNC T popcount(T x) {
  static_assert(sizeof(T) == 4);
  return static_cast<T>(__popc(static_cast<unsigned>(x)));
}
#else
template <class T>
METAL_FUNC T clz(T x) {
  return static_cast<T>(std::countl_zero(static_cast<std::make_unsigned_t<T> >(x)));
}
template <class T>
METAL_FUNC T ctz(T x) {
  return static_cast<T>(std::countr_zero(static_cast<std::make_unsigned_t<T> >(x)));
}
template <class T>
METAL_FUNC T popcount(T x) {
  return static_cast<T>(std::popcount(static_cast<std::make_unsigned_t<T> >(x)));
}
#endif

}  // namespace metal
}  // namespace METALSVD_TRANSLATED
