// Tricky but legal Metal, on which the strict check must be silent: "quotes", 'apostrophes', 1.0, double, std:: and ² in
// comments included. /* Not a comment that ends the line.
#include <metal_math>
#include <metal_simdgroup>
#include <metal_stdlib>

using namespace metal;

#define SQUARE(x) ((x) * (x))

namespace tests {
namespace inner {

/* Program-scope constants, of which the last is known by a template only. new, delete, goto, throw */
constant float table[4] = {1.0f, 0.5f, 0.25f, 0.125f};
constant constexpr int tile_size = 8;
constant constexpr float2 corners[2] = {float2(0.0f, 1.0f), float2(-1.0f, 2.0f)};
static constant constexpr uint flags = 1u << 3 | 0x80000000u;
template <typename T>
constant constexpr int bytes_of = sizeof(T);

enum : int { simd_width = 32, max_threads = 4 * simd_width };
enum class Side : uint { left, right };

struct Shape {
  int rows, columns;
  ushort flags : 4;
  int entries() const { return rows * columns; }
  static constant constexpr int dimensions = 2;
};

union Bits {
  float value;
  uint bits;
};

template <typename T, int N>
struct Matrix {
  T entries[N][N];
  thread T& at(int i, int j) thread { return entries[i][j]; }
  T trace() const thread { return entries[0][0] + entries[N - 1][N - 1]; }
};

struct Complex {
  float re, im;
};
inline Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, fma(a.re, b.im, a.im * b.re)};
}
inline Complex operator+(Complex a, thread const Complex& b) { return Complex{a.re + b.re, a.im + b.im}; }
struct Interval : Complex {
  bool closed;
};

constant Complex one = {1.0f, 0.0f};

// Overloads on the address space, and a template for all of them.
inline float sum(thread const float* p, int n) { return n > 0 ? p[0] : 0.0f; }
inline float sum(device const float* p, int n) { return n > 0 ? p[0] : 1.0f; }
inline float sum(threadgroup const float* p, int n) { return n > 0 ? p[0] : 2.0f; }
inline float sum(constant const float* p, int n) { return n > 0 ? p[0] : 3.0f; }
template <typename Pointer>
inline float sum_all(Pointer p, int n) {
  return sum(p, n) + sum(&p[1], n - 1);
}

// Nested helpers with threadgroup pointers, references to rows, and references to pointers.
template <int N>
inline void clear(threadgroup float (&row)[N], int lane) {
  if (lane < N) row[lane] = 0.0f;
}
template <int N>
inline void clear_all(threadgroup float (&tile)[N][N + 1], int lane) {
  for (int i = 0; i < N; ++i) clear(tile[i], lane);
}
inline void advance(threadgroup float* thread& p, int by) { p += by; }
inline threadgroup float* behind(threadgroup float* p) { return p + 1; }

// Compile-time recursion: each instantiation is a function of its own.
template <int N>
inline float power(float x) {
  if constexpr (N == 0) {
    return 1.0f;
  } else {
    return x * power<N - 1>(x);
  }
}

template <typename T, typename = enable_if_t<is_floating_point_v<T>>>
inline T half_of(T x) {
  return x * T(0.5f);
}
template <typename T>
struct Accumulator {
  typedef conditional_t<is_same_v<T, half> || is_same_v<T, bfloat>, float, T> type;
};
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

// Whole structs copied between address spaces.
inline Complex last(device const Complex* p, int n) { return p[n - 1]; }
template <typename T>
inline void copy(device T* to, threadgroup const T* from) {
  *to = from[0];
}
inline void structs(device Complex* d, constant Complex& c, threadgroup Complex* t, device Shape* shapes) {
  Complex x = d[0];
  const Complex y = c;
  Complex z{d[1]};
  Complex pair[2] = {d[2], c};
  auto w = t[0];
  d[0] = x;
  d[1] = d[2];
  t[0] = c;
  t[1] = x * d[3] + z;
  x = d[4] * d[5];
  pair[0] = t[2];
  Shape shape = shapes[0];
  shapes[1] = shape;
  const int entries = shape.entries() + Shape(shapes[0]).entries() * Shape::dimensions;
  d[6] = last(d, entries);
  d[7] = {w.re, y.im};
  copy(d, t);
}

// Vectors: swizzles, splats, parts, conversions.
inline float4 vectors(float2 a, int2 b) {
  float4 v = float4(a, float2(b));
  v.xy = v.zw * 2.0f;
  v[2] = a.x;
  const float3 w = float3(a, 1.0f);
  const half2 h = half2(a);
  vec<float, 2> u = a + float2(1.0f);
  thread float2 (&alias)[1] = *(thread float2(*)[1])&u;
  return float4(w, float(h.y)) + v.wzyx + float4(length(alias[0]), dot(w, w), abs(b.x), SQUARE(a.y));
}

// Mathematics, by name where precision matters.
inline float numbers(float x, int n) {
  int exponent;
  const float mantissa = frexp(x, exponent);
  float y = ldexp(mantissa, exponent) + precise::sqrt(fabs(x)) + precise::divide(x, 3.0f) + metal::precise::rsqrt(x);
  y = select(y, copysign(sign(x), y), isnan(x) || isinf(y) || !isfinite(x));
  y += clamp(x, -1.0f, 1.0f) + floor(x) + ceil(x) + rint(x) + trunc(x) + exp2(x) + log2(max(x, FLT_MIN));
  const uint bits = as_type<uint>(y) & 0x7fffffffu;
  n += int(clz(bits)) + int(ctz(bits)) + int(popcount(bits)) + min(n, 3) + 1'000;
  Bits both;
  both.value = numeric_limits<float>::infinity();
  return n > 0 ? y : both.value - INFINITY;
}

inline bfloat storage(half h, device const bfloat* p) {
  bfloat b = bfloat(float(h) + float(p[0]));
  return b;
}

inline long address(long row_stride, uint i) { return row_stride * long(i) + 1l; }

}  // namespace inner

// The tile is exactly all there is: 8128 words and 64 of the smaller arrays.
template <typename T, int words>
[[kernel, max_total_threads_per_threadgroup(inner::max_threads)]] void reduce(
    device const T* x [[buffer(0)]], device float* result [[buffer(1)]], constant inner::Shape& shape [[buffer(2)]],
    constant long& n [[buffer(30)]], uint3 group [[threadgroup_position_in_grid]],
    uint3 threads [[threads_per_threadgroup]], uint thread_index [[thread_index_in_threadgroup]],
    ushort lane [[thread_index_in_simdgroup]], ushort simdgroup [[simdgroup_index_in_threadgroup]]) {
  using A = typename inner::Accumulator<T>::type;
  threadgroup A tile[words / 2], other[words - words / 2];
  threadgroup float scratch[4][8];
  threadgroup atomic_uint count;
  threadgroup inner::Complex z[2];
  threadgroup float* row = scratch[simdgroup];
  threadgroup A* thread_tile = simdgroup == 0 ? tile : other;
  if (thread_index == 0) atomic_store_explicit(&count, 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  A partial = A(0);
  for (long i = thread_index; i < n; i += threads.x) partial += A(x[i]);
  thread_tile[lane] = simd_sum(partial);
  row[lane % 8] = float(simd_shuffle_xor(partial, 1)) + simd_prefix_inclusive_sum(float(lane));
  atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);

  const inner::Shape local = shape;
  inner::structs((device inner::Complex*)result, inner::one, z, (device inner::Shape*)result);
  inner::advance(row, local.entries());
  const bool all = simd_all(partial > A(0)) && simd_vote::vote_t(simd_ballot(lane < 3)) != 0ul;
  if (all) result[group.x] = inner::sum_all(row, 2) + inner::sum_all(inner::table, 4) + inner::half_of(*inner::behind(row));
}

// 2-D tiles, the keyword, and a second kernel in the same file.
[[max_total_threads_per_threadgroup(1024)]] kernel void tiles(device float* x [[buffer(0)]],
                                                              device atomic<float>* total [[buffer(1)]],
                                                              uint2 i [[thread_position_in_grid]],
                                                              uint2 local [[thread_position_in_threadgroup]]) {
  threadgroup float tile[inner::tile_size][inner::tile_size + 1];
  inner::clear_all<inner::tile_size>(tile, int(local.x));
  simdgroup_barrier(mem_flags::mem_none);
  inner::Matrix<float, 2> m;
  m.at(0, 1) = x[i.x] - m.trace();
  array<float, 3> a = {{1.0f, 2.0f, 3.0f}};
  float b[2][2] = {{a[0], a[1]}, {a[2], m.at(0, 1)}};
#pragma unroll
  for (int k = 0; k < 2; ++k) b[k][k] = inner::power<3>(b[k][k]);
  atomic_fetch_add_explicit(total, tile[local.y][local.x] + b[1][1], memory_order_relaxed);
}

}  // namespace tests

template [[host_name("reduce_f32")]] [[kernel]] decltype(tests::reduce<float, 8128>) tests::reduce<float, 8128>;
template [[host_name("reduce_f16"), kernel]] decltype(tests::reduce<half, 128>)
    tests::reduce<half, 128>;
#define INSTANTIATE(name, T, words) \
  template [[host_name(name)]] [[kernel]] decltype(tests::reduce<T, words>) tests::reduce<T, words>;
INSTANTIATE("reduce_bf16", bfloat, 64)
INSTANTIATE("reduce_bf16_wide", bfloat, 256)
