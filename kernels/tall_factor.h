// The tall QR: what a node of the tree does with its rows of a panel.
#pragma once
#include <metal_stdlib>

#include "common/pivoted_qr.h"
#include "tall.h"

namespace metalsvd {

using namespace metal;

// A team of lanes holds a column of the node in registers. Pack p of lane l holds rows (8 p + l) packed_count and on:
// the rows of R, as many as a panel has columns, are all in the first packs.
enum : int { panel_packs = limits::tall_chunk_bytes / (int(sizeof(float4)) * int(limits::team_lanes)) };

// They are taken in blocks, each with one look at where the rows end, so that its loads go out together.
enum : int { block_packs = 4 };

template <typename T>
inline int row_in_pack(int pack, int place, Team team) {
  return (pack * limits::team_lanes + lane_in_team(team)) * packed_count<T>() + place;
}

// What step k asks of its column x: makes x the v of the reflector H for which H x = r e_k, tells tau, and writes the
// column of R. The other teams of the SIMD-group run along, and write nothing.
template <typename T>
inline float make_panel_reflector(thread float4* x, int packs, int k, bool is_mine, device T* R_column, int stride,
                                  Team team) {
  float below = 0.0f;
  T head = from_real<T>(0.0f);
#pragma unroll
  for (int i = 0; i < packed_count<T>(); ++i) {
    const int row = row_in_pack<T>(0, i, team);
    const T entry = number_at<T>(x[0], i);
    if (row > k) below = square_add(entry, below);
    if (row == k) head = entry;
  }
  float4 squares = float4(below, 0.0f, 0.0f, 0.0f);
#pragma unroll
  for (int b = 0; b < panel_packs; b += block_packs) {
    if (b >= packs) break;
#pragma unroll
    for (int p = b; p < b + block_packs; ++p) {
      if (p > 0) squares = fma(x[p], x[p], squares);
    }
  }
  below = sum_over_team((squares.x + squares.y) + (squares.z + squares.w));
  head = sum_over_team(head);

  float tau = 0.0f;
  T r = head;
  T v_k = head;
  // What counts as zero is left alone: H = I.
  if (!(below < least_square())) {
    const float size = magnitude(head);
    const T unit = size > 0.0f ? phase(head) : from_real<T>(1.0f);
    const float norm = precise::sqrt(square_add(head, below));
    // v = x + phase(x_k) |x| e_k, which loses no digit. Taking |v|^2 from v as it was rounded makes H unitary.
    v_k = (norm + size) * unit;
    tau = precise::divide(2.0f, square_add(v_k, below));
    r = -norm * unit;
  }
  if (!is_mine) return tau;
  T entries[packed_count<T>()];
#pragma unroll
  for (int i = 0; i < packed_count<T>(); ++i) {
    const int row = row_in_pack<T>(0, i, team);
    const T entry = number_at<T>(x[0], i);
    const T zero = from_real<T>(0.0f);
    if (row < stride) R_column[row * stride] = row < k ? entry : row == k ? r : zero;
    entries[i] = row < k ? zero : row == k ? v_k : entry;
  }
  x[0] = pack_of(entries);
  return tau;
}

inline void store_column(thread const float4* x, int packs, threadgroup float4* v, Team team) {
#pragma unroll
  for (int b = 0; b < panel_packs; b += block_packs) {
    if (b >= packs) break;
#pragma unroll
    for (int p = b; p < b + block_packs; ++p) v[p * limits::team_lanes + lane_in_team(team)] = x[p];
  }
}

// v^H x, told to every lane of the team.
template <typename T>
inline T product_with_column(threadgroup const float4* v, thread const float4* x, int packs, Team team) {
  float4 even = zero_pack();
  float4 odd = zero_pack();
#pragma unroll
  for (int b = 0; b < panel_packs; b += block_packs) {
    if (b >= packs) break;
#pragma unroll
    for (int p = b; p < b + block_packs; p += 2) {
      even = conjugate_multiply_add<T>(v[p * limits::team_lanes + lane_in_team(team)], x[p], even);
      odd = conjugate_multiply_add<T>(v[(p + 1) * limits::team_lanes + lane_in_team(team)], x[p + 1], odd);
    }
  }
  return sum_over_team(sum_of_pack<T>(even + odd));
}

// x += factor v
template <typename T>
inline void add_column(T factor, threadgroup const float4* v, thread float4* x, int packs, Team team) {
#pragma unroll
  for (int b = 0; b < panel_packs; b += block_packs) {
    if (b >= packs) break;
#pragma unroll
    for (int p = b; p < b + block_packs; ++p) {
      x[p] = multiply_add(factor, v[p * limits::team_lanes + lane_in_team(team)], x[p]);
    }
  }
}

// Factors the columns that the teams hold: leaves v of each in x, R row-major, and the taus and the products
// v_i^H v_k, i < k, in column k of `gram`. `steps` has room for two columns. A barrier a column: its owner makes it a
// reflector as soon as it has applied the one before, while others still apply that one to theirs.
template <typename T, int most_columns>
inline void factor_panel(thread float4* x, int packs, int columns, int stride, threadgroup float4* steps,
                         threadgroup T* gram, threadgroup float* taus, device T* R, bool keeps, Team team) {
  const int mine = first_team(team) + team_in_simdgroup(team);
  for (int k = 0; k < columns; ++k) {
    threadgroup float4* v = steps + k % 2 * panel_packs * limits::team_lanes;
    if (k / limits::teams_per_simdgroup == team.simdgroup) {
      const float tau = make_panel_reflector<T>(x, packs, k, mine == k, R + k, stride, team);
      if (mine == k) store_column(x, packs, v, team);
      if (mine == k && lane_in_team(team) == 0) taus[k] = tau;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // Those of earlier columns only find the products.
    if (!keeps && k >= first_team(team) + limits::teams_per_simdgroup - 1) continue;
    const T product = product_with_column<T>(v, x, packs, team);
    if (mine < k && lane_in_team(team) == 0) gram[k * most_columns + mine] = conjugate(product);
    if (k >= first_team(team) + limits::teams_per_simdgroup - 1) continue;
    const T factor = mine > k ? -taus[k] * product : from_real<T>(0.0f);
    add_column(factor, v, x, packs, team);
  }
}

// The triangle T for which H_0 H_1 .. = I - V T V^H, column-major: tau_j on its diagonal, -tau_j T V^H v_j above. One
// SIMD-group; a lane owns a row, in registers.
template <typename T, int most_columns>
inline void join_reflectors(threadgroup const T* gram, threadgroup const float* taus, int columns, int stride,
                            device T* joint, int lane) {
  T row[most_columns];
#pragma unroll
  for (int j = 0; j < most_columns; ++j) {
    if (j >= stride) break;
    T even = from_real<T>(0.0f);
    T odd = from_real<T>(0.0f);
    const float tau = j < columns ? taus[j] : 0.0f;
    if (j < columns) {
#pragma unroll
      for (int k = 0; k < j; k += 2) {
        even = multiply_add(row[k], gram[j * most_columns + k], even);
        if (k + 1 < j) odd = multiply_add(row[k + 1], gram[j * most_columns + k + 1], odd);
      }
    }
    row[j] = lane < j ? -tau * (even + odd) : from_real<T>(lane == j ? tau : 0.0f);
    if (lane < stride) joint[j * stride + lane] = row[j];
  }
}

// A node: its rows of the panel, scaled where there are `strips` that tell how, to V, T and R.
//
// Grid: one threadgroup a node, of team_lanes threads at least for each column of the panel with its last pack filled.
// Ownership: a team owns a column, in registers. Barriers: two where the threadgroup agrees on the magnitude, one a
// column, and one before T is made. The host promises: a node has at most tall_chunk_bytes of each column; rows of V, T
// and R are as wide as the panel is with its last pack filled, and there are as many of T and R; V may be the source.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_factor(
    device const Storage* source [[buffer(0)]], device const uint* magnitudes [[buffer(1)]],
    device typename StorageTraits<Storage>::Number* V [[buffer(2)]],
    device typename StorageTraits<Storage>::Number* R [[buffer(3)]],
    device typename StorageTraits<Storage>::Number* joint [[buffer(4)]], constant long& rows [[buffer(5)]],
    constant long& columns [[buffer(6)]], constant long& nodes [[buffer(7)]], constant long& share [[buffer(8)]],
    constant long& rest [[buffer(9)]], constant long& strips [[buffer(10)]], constant long& keeps [[buffer(11)]],
    constant long& source_offset [[buffer(12)]], constant long& batch_stride [[buffer(13)]],
    constant long& row_stride [[buffer(14)]], constant long& column_stride [[buffer(15)]],
    constant long& V_offset [[buffer(16)]], constant long& V_batch_stride [[buffer(17)]],
    constant long& V_row_stride [[buffer(18)]], constant long& R_offset [[buffer(19)]],
    constant long& R_batch_stride [[buffer(20)]], constant long& joint_offset [[buffer(21)]],
    constant long& joint_batch_stride [[buffer(22)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  enum : int {
    words = sizeof(T) / limits::word_bytes,
    most_columns = limits::tall_panel_bytes / sizeof(T),
    step_packs = int(panel_packs) * int(limits::team_lanes)
  };
  threadgroup float4 steps[2 * step_packs];
  threadgroup float2 products[most_columns * most_columns * words / 2];
  threadgroup float taus[most_columns];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Node node = make_node(threadgroup_index, rows, nodes, share, rest);
  const int stride = (int(columns) + packed_count<T>() - 1) / packed_count<T>() * packed_count<T>();
  const int mine = first_team(team) + team_in_simdgroup(team);
  source += source_offset + node.matrix * batch_stride + node.first_row * row_stride + mine * column_stride;
  R += R_offset + node.matrix * R_batch_stride + node.index * stride * stride;

  uint magnitude = 0u;
  if (strips > 0) magnitude = magnitude_of_matrix(magnitudes, node.matrix, strips, slots, team);
  const int exponent = magnitude < not_finite_bits && magnitude > 0u ? tall_exponent(magnitude) : 0;
  const int rows_a_pack = limits::team_lanes * packed_count<T>();
  const int packs = (node.rows + rows_a_pack - 1) / rows_a_pack;
  float4 x[panel_packs];
#pragma unroll
  for (int p = 0; p < panel_packs; ++p) {
    T entries[packed_count<T>()];
#pragma unroll
    for (int i = 0; i < packed_count<T>(); ++i) {
      const int row = row_in_pack<T>(p, i, team);
      entries[i] = from_real<T>(0.0f);
      if (row >= node.rows || mine >= columns) continue;
      const Storage entry = source[row * row_stride];
      entries[i] = strips > 0 ? scaled_entry(entry, magnitude, exponent) : to_number(entry);
    }
    x[p] = pack_of(entries);
  }

  threadgroup T* gram = (threadgroup T*)products;
  factor_panel<T, most_columns>(x, packs, int(columns), stride, steps, gram, taus, R, keeps != 0, team);
  const bool is_padding = mine >= columns && mine < stride;
  for (int row = lane_in_team(team); is_padding && row < stride; row += limits::team_lanes) {
    R[row * stride + mine] = from_real<T>(0.0f);
  }
  if (keeps == 0) return;
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride + mine;
#pragma unroll
  for (int p = 0; p < panel_packs; ++p) {
#pragma unroll
    for (int i = 0; i < packed_count<T>(); ++i) {
      const int row = row_in_pack<T>(p, i, team);
      if (row < node.rows && mine < stride) V[row * V_row_stride] = number_at<T>(x[p], i);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.simdgroup != 0) return;
  joint += joint_offset + node.matrix * joint_batch_stride + node.index * stride * stride;
  join_reflectors<T, most_columns>(gram, taus, int(columns), stride, joint, team.lane);
}

}  // namespace metalsvd
