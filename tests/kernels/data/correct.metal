// Kernels without a fault: what they compute is compared with plain Python, and no check may complain.
#include <metal_stdlib>

namespace metalsvd {
using namespace metal;

constant float weights[4] = {1.0f, 2.0f, 3.0f, 4.0f};

template <typename T, int length>
[[kernel]] void tree_sum(device const T* values [[buffer(0)]], device T* sums [[buffer(1)]],
                         uint group [[threadgroup_position_in_grid]], uint i [[thread_position_in_threadgroup]]) {
  threadgroup T tile[length];
  tile[i] = values[group * length + i];
  for (int half_length = length / 2; half_length > 0; half_length /= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (i < uint(half_length)) tile[i] += tile[i + half_length];
  }
  if (i == 0) sums[group] = tile[0];
}

template [[host_name("tree_sum_f32")]] [[kernel]] decltype(tree_sum<float, 256>) tree_sum<float, 256>;
template [[host_name("tree_sum_i32")]] [[kernel]] decltype(tree_sum<int, 64>) tree_sum<int, 64>;
template [[host_name("tree_sum_f16")]] [[kernel]] decltype(tree_sum<half, 64>) tree_sum<half, 64>;
template [[host_name("tree_sum_bf16")]] [[kernel]] decltype(tree_sum<bfloat, 64>) tree_sum<bfloat, 64>;

kernel void transpose(device const float* input [[buffer(0)]], device float* output [[buffer(1)]],
                      constant long& rows [[buffer(2)]], constant long& columns [[buffer(3)]],
                      uint2 group [[threadgroup_position_in_grid]], uint2 place [[thread_position_in_threadgroup]],
                      uint2 group_size [[threads_per_threadgroup]]) {
  threadgroup float tile[32][33];
  for (uint y = place.y; y < 32; y += group_size.y) {
    tile[y][place.x] = input[(group.y * 32 + y) * columns + group.x * 32 + place.x];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint y = place.y; y < 32; y += group_size.y) {
    output[(group.x * 32 + y) * rows + group.y * 32 + place.x] = tile[place.x][y];
  }
}

[[kernel]] void positions(device uint* output [[buffer(0)]], uint3 in_grid [[thread_position_in_grid]],
                          ushort3 in_group [[thread_position_in_threadgroup]],
                          uint3 group [[threadgroup_position_in_grid]], uint3 group_size [[threads_per_threadgroup]],
                          uint3 groups [[threadgroups_per_grid]], uint3 grid [[threads_per_grid]],
                          ushort index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                          uint simdgroup [[simdgroup_index_in_threadgroup]],
                          uint simdgroups [[simdgroups_per_threadgroup]], uint width [[threads_per_simdgroup]]) {
  device uint* out = output + 23 * (in_grid.x + grid.x * (in_grid.y + grid.y * in_grid.z));
  const uint values[23] = {in_grid.x, in_grid.y, in_grid.z, in_group.x,   in_group.y,   in_group.z,
                           group.x,   group.y,   group.z,   group_size.x, group_size.y, group_size.z,
                           groups.x,  groups.y,  groups.z,  grid.x,       grid.y,       grid.z,
                           index,     lane,      simdgroup, simdgroups,   width};
  for (int i = 0; i < 23; ++i) out[i] = values[i];
}

kernel void atomics(device atomic_uint* counts [[buffer(0)]], device atomic_int* extremes [[buffer(1)]],
                    device atomic_float* sum [[buffer(2)]], device atomic_uint* bits [[buffer(3)]],
                    uint i [[thread_position_in_grid]], uint in_group [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint in_this_group;
  if (in_group == 0) atomic_store_explicit(&in_this_group, 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&in_this_group, 1u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (in_group == 5)
    atomic_fetch_add_explicit(&counts[8], atomic_load_explicit(&in_this_group, memory_order_relaxed),
                              memory_order_relaxed);
  atomic_fetch_add_explicit(&counts[i % 8], 1u, memory_order_relaxed);
  const int value = int(i * 7919u % 1000u) - 500;
  atomic_fetch_min_explicit(&extremes[0], value, memory_order_relaxed);
  atomic_fetch_max_explicit(&extremes[1], value, memory_order_relaxed);
  atomic_fetch_add_explicit(sum, 0.5f, memory_order_relaxed);
  atomic_fetch_or_explicit(&bits[0], 1u << (i % 32), memory_order_relaxed);
  atomic_fetch_and_explicit(&bits[1], ~(1u << (i % 16)), memory_order_relaxed);
  uint expected = 0u;
  while (!atomic_compare_exchange_weak_explicit(&bits[2], &expected, expected + 2u, memory_order_relaxed,
                                                memory_order_relaxed)) {
  }
}

// Lanes hand values to each other through a tile; a SIMD-group's own barrier is enough.
kernel void simdgroup_exchange(device const float* values [[buffer(0)]], device float* output [[buffer(1)]],
                               uint i [[thread_position_in_grid]], uint in_group [[thread_index_in_threadgroup]]) {
  threadgroup float tile[128];
  for (int round = 0; round < 3; ++round) {
    tile[in_group] = round == 0 ? values[i] : output[i];
    simdgroup_barrier(mem_flags::mem_threadgroup);
    output[i] = tile[in_group ^ 1u] + 1.0f;
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
}

kernel void through_device_memory(device float* values [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  values[i] = float(i);
  threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);
  const float neighbour = values[(i + 1) % 64];
  threadgroup_barrier(mem_flags::mem_device);
  values[i] = neighbour;
}

kernel void unwritten_tile(device uint* output [[buffer(0)]], uint i [[thread_position_in_threadgroup]]) {
  threadgroup float tile[32];
  output[i] = as_type<uint>(tile[i]);
}

kernel void denormals(device const float* values [[buffer(0)]], device float* products [[buffer(1)]],
                      uint i [[thread_position_in_grid]]) {
  products[i] = values[2 * i] * values[2 * i + 1];
}

kernel void constants(device float* output [[buffer(0)]], constant long& offset [[buffer(1)]],
                      constant float* scale [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  output[i] = weights[i % 4] * scale[0] + float(offset);
}

[[kernel, max_total_threads_per_threadgroup(64)]] void small_groups(device float* output [[buffer(0)]],
                                                                    uint i [[thread_position_in_grid]]) {
  output[i] = 1.0f;
}

// 2-byte neighbours belong to different threads: no race.
kernel void half_neighbours(device const float* values [[buffer(0)]], device half* output [[buffer(1)]],
                            device bfloat* other [[buffer(2)]], uint i [[thread_position_in_grid]],
                            uint in_group [[thread_index_in_threadgroup]]) {
  threadgroup half tile[64];
  tile[in_group] = half(values[i]);
  output[i] = tile[in_group];
  other[i] = bfloat(values[i]);
}

kernel void half_arithmetic(device const half* values [[buffer(0)]], device half* output [[buffer(1)]],
                            uint i [[thread_position_in_grid]]) {
  const half a = values[2 * i], b = values[2 * i + 1];
  device half* out = output + 6 * i;
  out[0] = a + b;
  out[1] = a * b;
  out[2] = a / b;
  out[3] = fma(a, b, half(1.0f));
  out[4] = sqrt(abs(a));
  out[5] = half(float(a) * float(b) * 3.0f) - 2;
}

struct Pair {
  float2 value;
  int index;
};

// The largest magnitude, through a tile of structures.
kernel void argmax(device const float2* values [[buffer(0)]], device int* where [[buffer(1)]],
                   uint i [[thread_index_in_threadgroup]]) {
  threadgroup Pair pairs[64];
  pairs[i].value = values[i];
  pairs[i].index = int(i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i == 0) {
    Pair best = pairs[0];
    for (int k = 1; k < 64; ++k) {
      const Pair next = pairs[k];
      if (length(next.value) > length(best.value)) best = next;
    }
    where[0] = best.index;
  }
}

}  // namespace metalsvd
