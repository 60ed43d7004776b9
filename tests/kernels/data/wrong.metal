// One fault a kernel. The comment "at: name" marks the line that the error must name.
#include <metal_stdlib>

namespace metalsvd {
using namespace metal;

kernel void removed_barrier(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  tile[i] = float(i);        // at: removed_barrier write
  output[i] = tile[63 - i];  // at: removed_barrier read
}

kernel void barrier_without_memory(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  tile[i] = float(i);  // at: barrier_without_memory write
  threadgroup_barrier(mem_flags::mem_none);
  output[i] = tile[63 - i];  // at: barrier_without_memory read
}

kernel void barrier_of_other_memory(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  tile[i] = float(i);
  threadgroup_barrier(mem_flags::mem_device);
  output[i] = tile[63 - i];  // at: barrier_of_other_memory
}

kernel void device_race_in_group(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  output[i] = float(i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  output[i] = output[(i + 1) % 64];  // at: device_race_in_group
}

kernel void write_after_read(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  tile[i] = float(i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float next = tile[(i + 33) % 64];  // at: write_after_read read
  tile[i] = next;                          // at: write_after_read write
  output[i] = next;
}

// Both lanes of a pair write the same value: still a race.
kernel void same_value_twice(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  output[i / 2] = 1.0f;  // at: same_value_twice
}

kernel void simdgroup_barrier_for_threadgroup(device float* output [[buffer(0)]],
                                              uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  tile[i] = float(i);  // at: simdgroup_barrier_for_threadgroup write
  simdgroup_barrier(mem_flags::mem_threadgroup);
  output[i] = tile[(i + 32) % 64];  // at: simdgroup_barrier_for_threadgroup read
}

kernel void shuffle_for_barrier(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[32];
  tile[i] = simd_sum(float(i));
  output[i] = simd_sum(tile[i ^ 1u]);  // at: shuffle_for_barrier
}

kernel void race_across_threadgroups(device float* output [[buffer(0)]], uint group [[threadgroup_position_in_grid]],
                                     uint i [[thread_index_in_threadgroup]]) {
  if (group == 0) output[i] = float(i);        // at: race_across_threadgroups write
  if (group == 1) output[64 + i] = output[i];  // at: race_across_threadgroups read
}

kernel void plain_beside_atomic(device atomic_uint* counts [[buffer(0)]], device uint* plain [[buffer(1)]],
                                uint i [[thread_index_in_threadgroup]]) {
  atomic_fetch_add_explicit(&counts[0], 1u, memory_order_relaxed);  // at: plain_beside_atomic atomic
  if (i == 7) plain[0] = 0u;                                        // at: plain_beside_atomic plain
}

kernel void returned_before_barrier(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i >= 48) return;
  threadgroup_barrier(mem_flags::mem_threadgroup);  // at: returned_before_barrier
  output[i] = 1.0f;
}

kernel void barrier_in_branch(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i < 32) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // at: barrier_in_branch first
    output[i] = 1.0f;
  } else {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // at: barrier_in_branch second
    output[i] = 2.0f;
  }
}

kernel void barrier_too_often(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  for (uint round = 0; round < 1 + i / 63; ++round) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // at: barrier_too_often
  }
  output[i] = 1.0f;
}

kernel void partial_simd_operation(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                                   uint lane [[thread_index_in_simdgroup]]) {
  float value = 1.0f;
  if (lane < 20) value = simd_sum(value);  // at: partial_simd_operation
  output[i] = value;
}

kernel void diverging_simd_operations(device float* output [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
  float value = 1.0f;
  if (lane < 16) {
    value = simd_sum(value);  // at: diverging_simd_operations sum
  } else {
    value = simd_max(value);  // at: diverging_simd_operations max
  }
  output[lane] = value;
}

kernel void shuffle_from_no_lane(device float* output [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
  output[lane] = simd_shuffle(1.0f, ushort(lane + 1));  // at: shuffle_from_no_lane
}

kernel void broadcast_from_two_lanes(device float* output [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
  output[lane] = simd_broadcast(1.0f, ushort(lane % 2));  // at: broadcast_from_two_lanes
}

kernel void past_end_of_tile(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  threadgroup float behind[64];
  behind[i] = 0.0f;
  tile[i + 1] = 1.0f;  // at: past_end_of_tile
  output[i] = behind[i];
}

kernel void past_end_of_buffer(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  output[i + 1] = 1.0f;  // at: past_end_of_buffer
}

kernel void before_start_of_buffer(device const float* input [[buffer(0)]], device float* output [[buffer(1)]],
                                   uint i [[thread_index_in_threadgroup]]) {
  output[int(i) - 2] = input[i];  // at: before_start_of_buffer
}

kernel void read_past_end(device const float* input [[buffer(0)]], device float* output [[buffer(1)]],
                          uint i [[thread_index_in_threadgroup]]) {
  output[i] = input[4 * i];  // at: read_past_end
}

kernel void write_to_constant(constant float* input [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  device float* writable = (device float*)input;
  writable[i] = 1.0f;  // at: write_to_constant
}

kernel void too_much_memory(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float small[64];
  threadgroup float large[8192];  // at: too_much_memory
  small[i] = large[i] = 1.0f;
  output[i] = small[i] + large[i];
}

kernel void no_memory_there(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  device float* nowhere = (device float*)(ulong(output) & 7ul);
  nowhere[i] = 1.0f;  // at: no_memory_there
}

kernel void division_by_zero(device int* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  output[i] = 7 / output[i];  // at: division_by_zero
}

inline float deep(device const float* input, int depth) {
  float local_values[512];
  for (int k = 0; k < 512; ++k) local_values[k] = input[k % 8] + float(depth);
  if (depth > 1000000) return local_values[depth % 512];
  return deep(input, depth + 1) + local_values[depth % 511];  // at: endless_recursion
}

kernel void endless_recursion(device float* output [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  output[i] = deep(output, 0);
}

// The last thread to run wins: the result tells the order.
kernel void order_shows(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) { output[0] = i; }

}  // namespace metalsvd
