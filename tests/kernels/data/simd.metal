// Every SIMD operation, for several types.
#include <metal_stdlib>

namespace metalsvd {
using namespace metal;

// output[row * 32 + lane]: one row an operation.
template <typename T>
[[kernel]] void arithmetic(device const T* values [[buffer(0)]], device T* output [[buffer(1)]],
                           uint lane [[thread_index_in_simdgroup]]) {
  const T value = values[lane];
  output[lane] = simd_sum(value);
  output[32 + lane] = simd_max(value);
  output[64 + lane] = simd_min(value);
  output[96 + lane] = simd_product(value);
  output[128 + lane] = simd_prefix_inclusive_sum(value);
  output[160 + lane] = simd_prefix_exclusive_sum(value);
}

template [[host_name("arithmetic_f32")]] [[kernel]] decltype(arithmetic<float>) arithmetic<float>;
template [[host_name("arithmetic_f16")]] [[kernel]] decltype(arithmetic<half>) arithmetic<half>;
template [[host_name("arithmetic_i32")]] [[kernel]] decltype(arithmetic<int>) arithmetic<int>;

template <typename T>
[[kernel]] void shuffles(device const T* values [[buffer(0)]], device T* output [[buffer(1)]],
                         uint lane [[thread_index_in_simdgroup]]) {
  const T value = values[lane];
  output[lane] = simd_shuffle(value, ushort(lane * 5 % 32));
  output[32 + lane] = simd_shuffle_xor(value, 3);
  output[64 + lane] = simd_shuffle_up(value, 2);
  output[96 + lane] = simd_shuffle_down(value, 7);
  output[128 + lane] = simd_broadcast(value, 9);
  output[160 + lane] = simd_broadcast_first(value);
}

template [[host_name("shuffles_f32")]] [[kernel]] decltype(shuffles<float>) shuffles<float>;
template [[host_name("shuffles_f16")]] [[kernel]] decltype(shuffles<half>) shuffles<half>;
template [[host_name("shuffles_f32x2")]] [[kernel]] decltype(shuffles<float2>) shuffles<float2>;
template [[host_name("shuffles_f32x4")]] [[kernel]] decltype(shuffles<float4>) shuffles<float4>;
template [[host_name("shuffles_i64")]] [[kernel]] decltype(shuffles<long>) shuffles<long>;

kernel void bits(device const uint* values [[buffer(0)]], device uint* output [[buffer(1)]],
                 uint lane [[thread_index_in_simdgroup]]) {
  const uint value = values[lane];
  output[lane] = simd_and(value);
  output[32 + lane] = simd_or(value);
  output[64 + lane] = simd_xor(value);
  output[96 + lane] = uint(ulong(simd_ballot(value % 3 == 0)));
  output[128 + lane] = uint(simd_all(value > 0)) + 2 * uint(simd_any(value == 77)) + 4 * uint(simd_all(lane < 31)) +
                       8 * uint(simd_any(lane > 31));
  output[160 + lane] = clz(value) + 100 * ctz(value) + 10000 * popcount(value);
}

kernel void complex_sum(device const float2* values [[buffer(0)]], device float2* output [[buffer(1)]],
                        uint lane [[thread_index_in_simdgroup]]) {
  output[lane] = simd_sum(values[lane]);
}

// Divergence between SIMD-groups is allowed: each performs its own operations.
kernel void unequal_simdgroups(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                               uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  float value = 1.0f;
  for (uint round = 0; round <= simdgroup; ++round) value = simd_sum(value) / 16.0f;
  if (simdgroup == 1) value = simd_max(value) + 1.0f;
  threadgroup_barrier(mem_flags::mem_none);
  output[i] = value;
}

}  // namespace metalsvd
