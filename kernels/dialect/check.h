// The dialect: the closed list of what our kernels may use of Metal 3.1 (macOS 14), as declarations that clang can
// read. The strict check (cmake/check_metal.py) includes it in place of <metal_stdlib>. host.h and cuda.h give the same
// names a body; a kernel that needs a new word adds it to all three. Absent on purpose: `fast::` (PyTorch users may
// turn fast math on, so precision is asked for by name), double, function pointers, lambdas, bool vectors and every
// memory order but one.
#pragma once
#pragma clang system_header

// ---- Address spaces. `thread` is clang's default one; that it is written at all is checked on the text.
#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2))) const
#define threadgroup __attribute__((address_space(3)))
#define thread
#define kernel

#define __METAL__ 1
#define __METAL_VERSION__ 310

// ---- Scalars. bfloat is a storage type here: convert it to float to compute.
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef _Float16 half;
typedef __bf16 bfloat;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef uchar uint8_t;
typedef ushort uint16_t;
typedef uint uint32_t;
typedef ulong uint64_t;
typedef ulong size_t;
typedef long ptrdiff_t;

// ---- Vectors of 2 to 4 components, with swizzles. A float3 takes 16 bytes, as in Metal.
#define METAL_CHECK_VECTORS(T)                        \
  typedef T T##2 __attribute__((ext_vector_type(2))); \
  typedef T T##3 __attribute__((ext_vector_type(3))); \
  typedef T T##4 __attribute__((ext_vector_type(4)));
METAL_CHECK_VECTORS(char)
METAL_CHECK_VECTORS(uchar)
METAL_CHECK_VECTORS(short)
METAL_CHECK_VECTORS(ushort)
METAL_CHECK_VECTORS(int)
METAL_CHECK_VECTORS(uint)
METAL_CHECK_VECTORS(long)
METAL_CHECK_VECTORS(ulong)
METAL_CHECK_VECTORS(half)
METAL_CHECK_VECTORS(float)
METAL_CHECK_VECTORS(bfloat)
#undef METAL_CHECK_VECTORS

// ---- Numbers
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define FLT_MAX __FLT_MAX__
#define FLT_MIN __FLT_MIN__
#define FLT_EPSILON __FLT_EPSILON__
#define FLT_DIG __FLT_DIG__
#define FLT_MANT_DIG __FLT_MANT_DIG__
#define FLT_MAX_EXP __FLT_MAX_EXP__
#define FLT_MIN_EXP __FLT_MIN_EXP__
#define FLT_RADIX 2
#define CHAR_BIT 8
#define INT_MAX 2147483647
#define INT_MIN (-INT_MAX - 1)
#define UINT_MAX 4294967295u
#define LONG_MAX 9223372036854775807l
#define LONG_MIN (-LONG_MAX - 1l)
#define ULONG_MAX 18446744073709551615ul

// The same bits as another type of the same size.
template <typename T, typename U, bool same_size = sizeof(T) == sizeof(U)>
struct metal_check_same_size {};
template <typename T, typename U>
struct metal_check_same_size<T, U, true> {
  typedef T type;
};
template <typename T, typename U>
constexpr typename metal_check_same_size<T, U>::type as_type(U value) {
  return __builtin_bit_cast(T, value);
}

namespace metal {

// ---- Type traits
template <typename T, T v>
struct integral_constant {
  static constant constexpr T value = v;
  typedef T value_type;
};
template <bool v>
using bool_constant = integral_constant<bool, v>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;

template <typename T, typename U>
struct is_same : false_type {};
template <typename T>
struct is_same<T, T> : true_type {};

template <bool condition, typename T = void>
struct enable_if {};
template <typename T>
struct enable_if<true, T> {
  typedef T type;
};
template <bool condition, typename T = void>
using enable_if_t = typename enable_if<condition, T>::type;

template <bool condition, typename T, typename F>
struct conditional {
  typedef T type;
};
template <typename T, typename F>
struct conditional<false, T, F> {
  typedef F type;
};
template <bool condition, typename T, typename F>
using conditional_t = typename conditional<condition, T, F>::type;

template <typename T>
struct is_integral : false_type {};
template <typename T>
struct is_floating_point : false_type {};
#define METAL_CHECK_TRAIT(trait, T) \
  template <>                       \
  struct trait<T> : true_type {};
METAL_CHECK_TRAIT(is_integral, bool)
METAL_CHECK_TRAIT(is_integral, char)
METAL_CHECK_TRAIT(is_integral, int8_t)
METAL_CHECK_TRAIT(is_integral, uchar)
METAL_CHECK_TRAIT(is_integral, short)
METAL_CHECK_TRAIT(is_integral, ushort)
METAL_CHECK_TRAIT(is_integral, int)
METAL_CHECK_TRAIT(is_integral, uint)
METAL_CHECK_TRAIT(is_integral, long)
METAL_CHECK_TRAIT(is_integral, ulong)
METAL_CHECK_TRAIT(is_floating_point, half)
METAL_CHECK_TRAIT(is_floating_point, float)
METAL_CHECK_TRAIT(is_floating_point, bfloat)
#undef METAL_CHECK_TRAIT

template <typename T, typename U>
constant constexpr bool is_same_v = is_same<T, U>::value;
template <typename T>
constant constexpr bool is_integral_v = is_integral<T>::value;
template <typename T>
constant constexpr bool is_floating_point_v = is_floating_point<T>::value;

// ---- vec and array. Methods of Metal's array exist in every address space, ours in `thread` alone: elsewhere write T
// a[N].
template <typename T, int N>
using vec = T __attribute__((ext_vector_type(N)));

template <typename T, size_t N>
struct array {
  T elements[N];
  constexpr T& operator[](size_t i) { return elements[i]; }
  constexpr const T& operator[](size_t i) const { return elements[i]; }
  constexpr size_t size() const { return N; }
};

// ---- numeric_limits
template <typename T>
struct numeric_limits;
#define METAL_CHECK_FLOAT_LIMITS(T, PREFIX)                           \
  template <>                                                         \
  struct numeric_limits<T> {                                          \
    static constant constexpr int digits = PREFIX##_MANT_DIG__;       \
    static constant constexpr int max_exponent = PREFIX##_MAX_EXP__;  \
    static constant constexpr int min_exponent = PREFIX##_MIN_EXP__;  \
    static constexpr T min() { return PREFIX##_MIN__; }               \
    static constexpr T max() { return PREFIX##_MAX__; }               \
    static constexpr T lowest() { return -PREFIX##_MAX__; }           \
    static constexpr T epsilon() { return PREFIX##_EPSILON__; }       \
    static constexpr T denorm_min() { return PREFIX##_DENORM_MIN__; } \
    static constexpr T infinity() { return T(INFINITY); }             \
    static constexpr T quiet_NaN() { return T(NAN); }                 \
  };
METAL_CHECK_FLOAT_LIMITS(float, __FLT)
METAL_CHECK_FLOAT_LIMITS(half, __FLT16)
#undef METAL_CHECK_FLOAT_LIMITS
#define METAL_CHECK_INTEGER_LIMITS(T, smallest, largest) \
  template <>                                            \
  struct numeric_limits<T> {                             \
    static constexpr T min() { return smallest; }        \
    static constexpr T max() { return largest; }         \
    static constexpr T lowest() { return smallest; }     \
  };
METAL_CHECK_INTEGER_LIMITS(uchar, 0, 255)
METAL_CHECK_INTEGER_LIMITS(short, -32768, 32767)
METAL_CHECK_INTEGER_LIMITS(ushort, 0, 65535)
METAL_CHECK_INTEGER_LIMITS(int, INT_MIN, INT_MAX)
METAL_CHECK_INTEGER_LIMITS(uint, 0, UINT_MAX)
METAL_CHECK_INTEGER_LIMITS(long, LONG_MIN, LONG_MAX)
METAL_CHECK_INTEGER_LIMITS(ulong, 0, ULONG_MAX)
#undef METAL_CHECK_INTEGER_LIMITS

// ---- Mathematics. Overloads, not templates: max(1, 2u) and sqrt(2) are as ambiguous here as they are in Metal.
#define METAL_CHECK_WIDTHS(M, T) M(T) M(T##2) M(T##3) M(T##4)
#define METAL_CHECK_FLOATS(M) METAL_CHECK_WIDTHS(M, float) METAL_CHECK_WIDTHS(M, half)
#define METAL_CHECK_INTEGERS(M) \
  METAL_CHECK_WIDTHS(M, char)   \
  METAL_CHECK_WIDTHS(M, uchar)  \
  METAL_CHECK_WIDTHS(M, short)  \
  METAL_CHECK_WIDTHS(M, ushort) \
  METAL_CHECK_WIDTHS(M, int) METAL_CHECK_WIDTHS(M, uint) METAL_CHECK_WIDTHS(M, long) METAL_CHECK_WIDTHS(M, ulong)

#define METAL_CHECK_ORDERED(T) \
  T abs(T x);                  \
  T min(T x, T y);             \
  T max(T x, T y);             \
  T clamp(T x, T low, T high);
METAL_CHECK_FLOATS(METAL_CHECK_ORDERED)
METAL_CHECK_INTEGERS(METAL_CHECK_ORDERED)
#undef METAL_CHECK_ORDERED

#define METAL_CHECK_FLOATING(T) \
  T fma(T a, T b, T c);         \
  T sqrt(T x);                  \
  T rsqrt(T x);                 \
  T divide(T x, T y);           \
  T fabs(T x);                  \
  T copysign(T x, T y);         \
  T sign(T x);                  \
  T floor(T x);                 \
  T ceil(T x);                  \
  T rint(T x);                  \
  T trunc(T x);                 \
  T exp2(T x);                  \
  T log2(T x);                  \
  namespace precise {           \
  T sqrt(T x);                  \
  T rsqrt(T x);                 \
  T divide(T x, T y);           \
  }
METAL_CHECK_FLOATS(METAL_CHECK_FLOATING)
#undef METAL_CHECK_FLOATING

#define METAL_CHECK_SCALAR_FLOATING(T) \
  T ldexp(T x, int exponent);          \
  T frexp(T x, thread int& exponent);  \
  bool isnan(T x);                     \
  bool isinf(T x);                     \
  bool isfinite(T x);                  \
  T dot(T##2 x, T##2 y);               \
  T dot(T##3 x, T##3 y);               \
  T dot(T##4 x, T##4 y);               \
  T length(T##2 x);                    \
  T length(T##3 x);                    \
  T length(T##4 x);
METAL_CHECK_SCALAR_FLOATING(float)
METAL_CHECK_SCALAR_FLOATING(half)
#undef METAL_CHECK_SCALAR_FLOATING

#define METAL_CHECK_BITS(T) \
  T clz(T x);               \
  T ctz(T x);               \
  T popcount(T x);
METAL_CHECK_INTEGERS(METAL_CHECK_BITS)
#undef METAL_CHECK_BITS

// condition ? y : x, of scalars
#define METAL_CHECK_SELECT(T) T select(T x, T y, bool condition);
METAL_CHECK_SELECT(float)
METAL_CHECK_SELECT(half)
METAL_CHECK_SELECT(short)
METAL_CHECK_SELECT(ushort)
METAL_CHECK_SELECT(int)
METAL_CHECK_SELECT(uint)
METAL_CHECK_SELECT(long)
METAL_CHECK_SELECT(ulong)
#undef METAL_CHECK_SELECT

// ---- Barriers. The flags must be known to the compiler: a run-time choice crashed PyTorch 2.14.0 on a real device.
enum class mem_flags : uint { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint(a) | uint(b)); }
#define METAL_CHECK_CONSTANT_FLAGS \
  __attribute__((enable_if(flags == flags, "the flags are not a compile-time constant")))
void threadgroup_barrier(mem_flags flags) METAL_CHECK_CONSTANT_FLAGS;
void simdgroup_barrier(mem_flags flags) METAL_CHECK_CONSTANT_FLAGS;
#undef METAL_CHECK_CONSTANT_FLAGS

// ---- SIMD-group functions: scalars and vectors of at most 32 bits a component; no struct, no bool, no 64-bit integer.
template <typename T>
struct metal_check_simd_integer : false_type {};
template <typename T>
struct metal_check_simd_float : false_type {};
#define METAL_CHECK_SIMD_INTEGER(T) \
  template <>                       \
  struct metal_check_simd_integer<T> : true_type {};
#define METAL_CHECK_SIMD_FLOAT(T) \
  template <>                     \
  struct metal_check_simd_float<T> : true_type {};
METAL_CHECK_WIDTHS(METAL_CHECK_SIMD_INTEGER, char)
METAL_CHECK_WIDTHS(METAL_CHECK_SIMD_INTEGER, uchar)
METAL_CHECK_WIDTHS(METAL_CHECK_SIMD_INTEGER, short)
METAL_CHECK_WIDTHS(METAL_CHECK_SIMD_INTEGER, ushort)
METAL_CHECK_WIDTHS(METAL_CHECK_SIMD_INTEGER, int)
METAL_CHECK_WIDTHS(METAL_CHECK_SIMD_INTEGER, uint)
METAL_CHECK_FLOATS(METAL_CHECK_SIMD_FLOAT)
#undef METAL_CHECK_SIMD_INTEGER
#undef METAL_CHECK_SIMD_FLOAT

template <typename T>
using metal_check_simd_bits = enable_if_t<metal_check_simd_integer<T>::value, T>;
template <typename T>
using metal_check_simd = enable_if_t<metal_check_simd_integer<T>::value || metal_check_simd_float<T>::value, T>;

#define METAL_CHECK_SIMD(name) \
  template <typename T>        \
  metal_check_simd<T> name(T data);
METAL_CHECK_SIMD(simd_sum)
METAL_CHECK_SIMD(simd_product)
METAL_CHECK_SIMD(simd_min)
METAL_CHECK_SIMD(simd_max)
METAL_CHECK_SIMD(simd_broadcast_first)
METAL_CHECK_SIMD(simd_prefix_inclusive_sum)
METAL_CHECK_SIMD(simd_prefix_exclusive_sum)
METAL_CHECK_SIMD(simd_prefix_inclusive_product)
METAL_CHECK_SIMD(simd_prefix_exclusive_product)
#undef METAL_CHECK_SIMD

#define METAL_CHECK_SIMD_BITS(name) \
  template <typename T>             \
  metal_check_simd_bits<T> name(T data);
METAL_CHECK_SIMD_BITS(simd_and)
METAL_CHECK_SIMD_BITS(simd_or)
METAL_CHECK_SIMD_BITS(simd_xor)
#undef METAL_CHECK_SIMD_BITS

// The second argument is a lane, a lane mask or a distance.
#define METAL_CHECK_SIMD_LANE(name) \
  template <typename T>             \
  metal_check_simd<T> name(T data, ushort lane);
METAL_CHECK_SIMD_LANE(simd_broadcast)
METAL_CHECK_SIMD_LANE(simd_shuffle)
METAL_CHECK_SIMD_LANE(simd_shuffle_xor)
METAL_CHECK_SIMD_LANE(simd_shuffle_up)
METAL_CHECK_SIMD_LANE(simd_shuffle_down)
#undef METAL_CHECK_SIMD_LANE

bool simd_all(bool condition);
bool simd_any(bool condition);
bool simd_is_first();

class simd_vote {
 public:
  typedef ulong vote_t;
  explicit constexpr simd_vote(vote_t bits) : bits_(bits) {}
  explicit constexpr operator vote_t() const { return bits_; }
  bool all() const;
  bool any() const;

 private:
  vote_t bits_;
};
simd_vote simd_ballot(bool condition);

// ---- Atomics, relaxed only, as Metal has them. atomic<float> adds in device memory alone.
enum memory_order { memory_order_relaxed };

template <typename T>
class atomic {
 public:
  atomic() = default;
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

 private:
  T value_;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<float> atomic_float;

#define METAL_CHECK_ATOMIC_FETCH(space, name, T) \
  T name(volatile space atomic<T>* object, T operand, memory_order order);
#define METAL_CHECK_ATOMIC(space, T)                                                                          \
  T atomic_load_explicit(const volatile space atomic<T>* object, memory_order order);                         \
  void atomic_store_explicit(volatile space atomic<T>* object, T desired, memory_order order);                \
  METAL_CHECK_ATOMIC_FETCH(space, atomic_exchange_explicit, T)                                                \
  bool atomic_compare_exchange_weak_explicit(volatile space atomic<T>* object, thread T* expected, T desired, \
                                             memory_order success, memory_order failure);
#define METAL_CHECK_ATOMIC_INTEGER(space, T)                    \
  METAL_CHECK_ATOMIC(space, T)                                  \
  METAL_CHECK_ATOMIC_FETCH(space, atomic_fetch_add_explicit, T) \
  METAL_CHECK_ATOMIC_FETCH(space, atomic_fetch_sub_explicit, T) \
  METAL_CHECK_ATOMIC_FETCH(space, atomic_fetch_min_explicit, T) \
  METAL_CHECK_ATOMIC_FETCH(space, atomic_fetch_max_explicit, T) \
  METAL_CHECK_ATOMIC_FETCH(space, atomic_fetch_and_explicit, T) \
  METAL_CHECK_ATOMIC_FETCH(space, atomic_fetch_or_explicit, T)  \
  METAL_CHECK_ATOMIC_FETCH(space, atomic_fetch_xor_explicit, T)
METAL_CHECK_ATOMIC_INTEGER(device, int)
METAL_CHECK_ATOMIC_INTEGER(device, uint)
METAL_CHECK_ATOMIC_INTEGER(threadgroup, int)
METAL_CHECK_ATOMIC_INTEGER(threadgroup, uint)
METAL_CHECK_ATOMIC(device, float)
METAL_CHECK_ATOMIC_FETCH(device, atomic_fetch_add_explicit, float)
METAL_CHECK_ATOMIC_FETCH(device, atomic_fetch_sub_explicit, float)
#undef METAL_CHECK_ATOMIC_INTEGER
#undef METAL_CHECK_ATOMIC
#undef METAL_CHECK_ATOMIC_FETCH
#undef METAL_CHECK_INTEGERS
#undef METAL_CHECK_FLOATS
#undef METAL_CHECK_WIDTHS

}  // namespace metal

// ---- What the check writes into the text where clang cannot read Metal's own form.

// float4(a, b): scalars and vectors, one after the other. Scalars alone stay a constant expression.
template <typename V>
struct metal_check_components {
  static constexpr int count = 1;
};
template <typename T, int N>
struct metal_check_components<T __attribute__((ext_vector_type(N)))> {
  static constexpr int count = N;
  typedef T element;
};
template <typename... Parts>
struct metal_check_sum {
  static constexpr int count = 0;
};
template <typename Part, typename... Rest>
struct metal_check_sum<Part, Rest...> {
  static constexpr int count = metal_check_components<Part>::count + metal_check_sum<Rest...>::count;
};

// One part: a scalar fills every component, a vector of the same width is converted. As many scalars as components: a
// list.
template <typename V, typename Part>
constexpr metal::enable_if_t<metal_check_components<Part>::count == 1, V> metal_check_vector(Part x) {
  return V(typename metal_check_components<V>::element(x));
}
template <typename V, typename Part>
constexpr metal::enable_if_t<(metal_check_components<Part>::count > 1) &&
                                 metal_check_components<Part>::count == metal_check_components<V>::count,
                             V>
metal_check_vector(Part x) {
  return __builtin_convertvector(x, V);
}
template <typename V, typename... Parts>
constexpr metal::enable_if_t<(sizeof...(Parts) > 1) && sizeof...(Parts) == metal_check_components<V>::count &&
                                 metal_check_sum<Parts...>::count == metal_check_components<V>::count,
                             V>
metal_check_vector(Parts... x) {
  return V{typename metal_check_components<V>::element(x)...};
}
template <typename V, typename... Parts>
metal::enable_if_t<(sizeof...(Parts) > 1) && sizeof...(Parts) < metal_check_components<V>::count &&
                       metal_check_sum<Parts...>::count == metal_check_components<V>::count,
                   V>
metal_check_vector(Parts... x);

// Whole structs copied from and to another address space: implicit in Metal, but clang's copies know one space only.
template <typename T>
T metal_check_load(const T& from);
template <typename T>
T metal_check_load(device const T& from);
template <typename T>
T metal_check_load(constant T& from);
template <typename T>
T metal_check_load(threadgroup const T& from);

template <typename T>
struct metal_check_place {
  T operator=(const T& from) const;
};
template <typename T>
struct metal_check_place<const T> {};
template <typename T>
metal_check_place<T> metal_check_store(T& to);
template <typename T>
metal_check_place<T> metal_check_store(device T& to);
template <typename T>
metal_check_place<T> metal_check_store(threadgroup T& to);

// A kernel instantiation: taking its address makes clang instantiate the body, and the variable leads to it.
#define METAL_CHECK_JOIN_(a, b) a##b
#define METAL_CHECK_JOIN(a, b) METAL_CHECK_JOIN_(a, b)
#define METAL_CHECK_KERNEL static constexpr auto METAL_CHECK_JOIN(metal_check_kernel_, __COUNTER__) = &

// ---- What Metal does not have, wherever it stands.
#pragma clang poison double new delete virtual throw try catch goto asm dynamic_cast typeid thread_local register std
