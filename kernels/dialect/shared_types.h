// The types of Metal that C++ lacks: half, bfloat, vectors, array, and the type traits. Of the dialects that a C++
// compiler reads; which of them, METALSVD_TRANSLATED (its namespace) and METAL_FUNC (what marks a function) tell,
// defined before.
#pragma once

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#define M_PI_F 3.14159265358979323846f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
#define HALF_MAX half::from_bits(0x7BFF)
#define HALF_EPSILON half::from_bits(0x1400)

namespace METALSVD_TRANSLATED {

using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned int;
using ulong = unsigned long;

// A 16-bit float: stored in its own format, computed in float, rounded to nearest even after every operation.
template <int exponent_bits, int mantissa_bits>
class SmallFloat {
 public:
  SmallFloat() = default;
  METAL_FUNC SmallFloat(float value) : bits_(round(value)) {}
  template <class Integer, std::enable_if_t<std::is_integral_v<Integer>, int> = 0>
  METAL_FUNC SmallFloat(Integer value) : bits_(round(static_cast<float>(value))) {}
  template <int other_exponent, int other_mantissa>
  METAL_FUNC explicit SmallFloat(SmallFloat<other_exponent, other_mantissa> value)
      : bits_(round(static_cast<float>(value))) {}

  METAL_FUNC static SmallFloat from_bits(std::uint16_t bits) {
    SmallFloat result;
    result.bits_ = bits;
    return result;
  }

  METAL_FUNC operator float() const {
    const std::uint32_t sign = std::uint32_t(bits_ >> 15) << 31;
    const std::uint32_t magnitude = bits_ & 0x7FFFu;
    const std::uint32_t exponent = magnitude >> mantissa_bits;
    if (exponent == max_exponent) return std::bit_cast<float>(sign | 0x7F800000u | (magnitude << shift & 0x7FFFFFu));
    if (exponent == 0 && exponent_bits < 8) {  // subnormal here, normal in float
      const float value =
          static_cast<float>(magnitude) * std::bit_cast<float>(std::uint32_t(128 - bias - mantissa_bits) << 23);
      return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
    }
    return std::bit_cast<float>(sign | ((magnitude << shift) + (std::uint32_t(127 - bias) << 23)));
  }

 private:
  static constexpr int bias = (1 << (exponent_bits - 1)) - 1;
  static constexpr int shift = 23 - mantissa_bits;
  static constexpr std::uint32_t max_exponent = (1u << exponent_bits) - 1;
  static constexpr std::uint32_t infinity = max_exponent << mantissa_bits;

  METAL_FUNC static std::uint32_t shift_right_to_nearest_even(std::uint32_t value, int by) {
    if (by > 31) return 0;
    const std::uint32_t kept = value >> by, half_way = 1u << (by - 1), rest = value & ((1u << by) - 1);
    return kept + (rest > half_way || (rest == half_way && (kept & 1)));
  }

  METAL_FUNC static std::uint16_t round(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value), magnitude = bits & 0x7FFFFFFFu;
    const std::uint32_t sign = bits >> 31 << 15;
    if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | infinity | 1u << (mantissa_bits - 1));
    const int exponent = int(magnitude >> 23) - 127 + bias;
    std::uint32_t rounded;
    if (exponent >= 1 || exponent_bits == 8) {  // bfloat's subnormals are float's
      rounded = shift_right_to_nearest_even(magnitude - (std::uint32_t(127 - bias) << 23), shift);
    } else {
      rounded = shift_right_to_nearest_even((magnitude & 0x7FFFFFu) | 0x800000u, shift + 1 - exponent);
    }
    return static_cast<std::uint16_t>(sign | (rounded < infinity ? rounded : infinity));
  }

  std::uint16_t bits_;
};

using half = SmallFloat<5, 10>;
using bfloat = SmallFloat<8, 7>;

template <class T>
struct is_small_float : std::false_type {};
template <int e, int m>
struct is_small_float<SmallFloat<e, m>> : std::true_type {};

// half with half or an integer is half; with float it is float, through the conversion to float.
#define METALSVD_SMALL_FLOAT_OPERATOR(op)                                                        \
  template <int e, int m>                                                                        \
  METAL_FUNC SmallFloat<e, m> operator op(SmallFloat<e, m> a, SmallFloat<e, m> b) {              \
    return static_cast<float>(a) op static_cast<float>(b);                                       \
  }                                                                                              \
  template <int e, int m, class Integer, std::enable_if_t<std::is_integral_v<Integer>, int> = 0> \
  METAL_FUNC SmallFloat<e, m> operator op(SmallFloat<e, m> a, Integer b) {                       \
    return a op SmallFloat<e, m>(b);                                                             \
  }                                                                                              \
  template <int e, int m, class Integer, std::enable_if_t<std::is_integral_v<Integer>, int> = 0> \
  METAL_FUNC SmallFloat<e, m> operator op(Integer a, SmallFloat<e, m> b) {                       \
    return SmallFloat<e, m>(a) op b;                                                             \
  }                                                                                              \
  template <int e, int m>                                                                        \
  METAL_FUNC float operator op(SmallFloat<e, m> a, float b) {                                    \
    return static_cast<float>(a) op b;                                                           \
  }                                                                                              \
  template <int e, int m>                                                                        \
  METAL_FUNC float operator op(float a, SmallFloat<e, m> b) {                                    \
    return a op static_cast<float>(b);                                                           \
  }                                                                                              \
  template <int e, int m, class T>                                                               \
  METAL_FUNC SmallFloat<e, m>& operator op##=(SmallFloat<e, m>& a, T b) {                        \
    return a = SmallFloat<e, m>(a op b);                                                         \
  }
METALSVD_SMALL_FLOAT_OPERATOR(+)
METALSVD_SMALL_FLOAT_OPERATOR(-)
METALSVD_SMALL_FLOAT_OPERATOR(*)
METALSVD_SMALL_FLOAT_OPERATOR(/)
#undef METALSVD_SMALL_FLOAT_OPERATOR

template <int e, int m>
METAL_FUNC SmallFloat<e, m> operator-(SmallFloat<e, m> a) {
  return -static_cast<float>(a);
}

// Vectors have the size and alignment of Metal's: three components take the room of four.
template <class T, int n>
struct VectorStorage;
template <class T>
struct alignas(2 * sizeof(T)) VectorStorage<T, 2> {
  T x, y;
};
template <class T>
struct alignas(4 * sizeof(T)) VectorStorage<T, 3> {
  T x, y, z;
};
template <class T>
struct alignas(4 * sizeof(T)) VectorStorage<T, 4> {
  T x, y, z, w;
};

template <class T, int n>
struct vec : VectorStorage<T, n> {
  vec() = default;
  METAL_FUNC vec(T scalar) {
    for (int i = 0; i < n; ++i) (*this)[i] = scalar;
  }
  // From scalars and shorter vectors, n components together: float4(xyz, w).
  template <class A, class B, class... Rest>
  METAL_FUNC vec(A a, B b, Rest... rest) {
    int filled = 0;
    fill(filled, a), fill(filled, b), (fill(filled, rest), ...);
    static_assert(length_of<A>() + length_of<B>() + (0 + ... + length_of<Rest>()) == n,
                  "as many components as the vector has");
  }
  template <class U>
  METAL_FUNC explicit vec(vec<U, n> other) {
    for (int i = 0; i < n; ++i) (*this)[i] = static_cast<T>(other[i]);
  }

  METAL_FUNC T& operator[](int i) { return reinterpret_cast<T*>(this)[i]; }
  METAL_FUNC const T& operator[](int i) const { return reinterpret_cast<const T*>(this)[i]; }

 private:
  template <class A>
  METAL_FUNC static constexpr int length_of() {
    if constexpr (std::is_arithmetic_v<A> || is_small_float<A>::value) {
      return 1;
    } else {
      return A::length;
    }
  }
  template <class A>
  METAL_FUNC void fill(int& filled, const A& a) {
    if constexpr (length_of<A>() == 1) {
      (*this)[filled++] = static_cast<T>(a);
    } else {
      for (int i = 0; i < length_of<A>(); ++i) (*this)[filled++] = static_cast<T>(a[i]);
    }
  }

 public:
  static constexpr int length = n;
};

template <class T>
struct identity {
  using type = T;
};
template <class T>
using same = typename identity<T>::type;  // a parameter that takes no part in deduction: vector * 2

#define METALSVD_VECTOR_OPERATOR(op, Result)                        \
  template <class T, int n>                                         \
  METAL_FUNC vec<Result, n> operator op(vec<T, n> a, vec<T, n> b) { \
    vec<Result, n> r;                                               \
    for (int i = 0; i < n; ++i) r[i] = a[i] op b[i];                \
    return r;                                                       \
  }                                                                 \
  template <class T, int n>                                         \
  METAL_FUNC vec<Result, n> operator op(vec<T, n> a, same<T> b) {   \
    return a op vec<T, n>(b);                                       \
  }                                                                 \
  template <class T, int n>                                         \
  METAL_FUNC vec<Result, n> operator op(same<T> a, vec<T, n> b) {   \
    return vec<T, n>(a) op b;                                       \
  }
#define METALSVD_VECTOR_ASSIGNMENT(op)                                    \
  METALSVD_VECTOR_OPERATOR(op, T)                                         \
  template <class T, int n>                                               \
  METAL_FUNC vec<T, n>& operator op##=(vec<T, n>& a, same<vec<T, n>> b) { \
    return a = a op b;                                                    \
  }
METALSVD_VECTOR_ASSIGNMENT(+)
METALSVD_VECTOR_ASSIGNMENT(-)
METALSVD_VECTOR_ASSIGNMENT(*)
METALSVD_VECTOR_ASSIGNMENT(/)
METALSVD_VECTOR_ASSIGNMENT(%)
METALSVD_VECTOR_ASSIGNMENT(&)
METALSVD_VECTOR_ASSIGNMENT(|)
METALSVD_VECTOR_ASSIGNMENT(^)
METALSVD_VECTOR_ASSIGNMENT(<<)
METALSVD_VECTOR_ASSIGNMENT(>>)
METALSVD_VECTOR_OPERATOR(==, bool)
METALSVD_VECTOR_OPERATOR(!=, bool)
METALSVD_VECTOR_OPERATOR(<, bool)
METALSVD_VECTOR_OPERATOR(<=, bool)
METALSVD_VECTOR_OPERATOR(>, bool)
METALSVD_VECTOR_OPERATOR(>=, bool)
#undef METALSVD_VECTOR_ASSIGNMENT
#undef METALSVD_VECTOR_OPERATOR

template <class T, int n>
METAL_FUNC vec<T, n> operator-(vec<T, n> a) {
  for (int i = 0; i < n; ++i) a[i] = -a[i];
  return a;
}

#define METALSVD_VECTOR_NAMES(type) \
  using type##2 = vec<type, 2>;     \
  using type##3 = vec<type, 3>;     \
  using type##4 = vec<type, 4>;
METALSVD_VECTOR_NAMES(bool)
METALSVD_VECTOR_NAMES(char)
METALSVD_VECTOR_NAMES(uchar)
METALSVD_VECTOR_NAMES(short)
METALSVD_VECTOR_NAMES(ushort)
METALSVD_VECTOR_NAMES(int)
METALSVD_VECTOR_NAMES(uint)
METALSVD_VECTOR_NAMES(long)
METALSVD_VECTOR_NAMES(ulong)
METALSVD_VECTOR_NAMES(half)
METALSVD_VECTOR_NAMES(bfloat)
METALSVD_VECTOR_NAMES(float)
#undef METALSVD_VECTOR_NAMES

template <class To, class From>
METAL_FUNC To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From), "as_type keeps the size");
  To to;
  std::memcpy(static_cast<void*>(&to), &from, sizeof(To));
  return to;
}

namespace metal {

template <class T, std::size_t n>
struct array {
  T elements[n];
  METAL_FUNC T& operator[](std::size_t i) { return elements[i]; }
  METAL_FUNC const T& operator[](std::size_t i) const { return elements[i]; }
  METAL_FUNC static constexpr std::size_t size() { return n; }
};

using std::conditional;
using std::conditional_t;
using std::enable_if;
using std::enable_if_t;
using std::false_type;
using std::integral_constant;
using std::is_floating_point;
using std::is_floating_point_v;
using std::is_integral;
using std::is_integral_v;
using std::is_same;
using std::is_same_v;
using std::remove_const;
using std::remove_const_t;
using std::true_type;

template <class T>
struct numeric_limits : std::numeric_limits<T> {};

template <>
struct numeric_limits<half> {
  METAL_FUNC static half max() { return half::from_bits(0x7BFF); }
  METAL_FUNC static half lowest() { return half::from_bits(0xFBFF); }
  METAL_FUNC static half min() { return half::from_bits(0x0400); }
  METAL_FUNC static half epsilon() { return half::from_bits(0x1400); }
  METAL_FUNC static half infinity() { return half::from_bits(0x7C00); }
  METAL_FUNC static half quiet_NaN() { return half::from_bits(0x7E00); }
};

template <>
struct numeric_limits<bfloat> {
  METAL_FUNC static bfloat max() { return bfloat::from_bits(0x7F7F); }
  METAL_FUNC static bfloat lowest() { return bfloat::from_bits(0xFF7F); }
  METAL_FUNC static bfloat min() { return bfloat::from_bits(0x0080); }
  METAL_FUNC static bfloat epsilon() { return bfloat::from_bits(0x3C00); }
  METAL_FUNC static bfloat infinity() { return bfloat::from_bits(0x7F80); }
  METAL_FUNC static bfloat quiet_NaN() { return bfloat::from_bits(0x7FC0); }
};

enum class mem_flags : uint { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };

METAL_FUNC constexpr mem_flags operator|(mem_flags a, mem_flags b) {
  return static_cast<mem_flags>(static_cast<uint>(a) | static_cast<uint>(b));
}

}  // namespace metal

}  // namespace METALSVD_TRANSLATED
