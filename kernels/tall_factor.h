// The tall QR: what a node of the tree does with its rows of a panel.
#pragma once
#include <metal_stdlib>

#include "tall.h"

namespace metalsvd {

using namespace metal;

// A SIMD-group holds some columns of the node in registers. Pack p of lane l holds rows (32 p + l) packed_count and on:
// the rows of R, as many as a panel has columns, are all in the first packs.
enum : int {
  held_columns = limits::tall_held_columns,
  held_packs = limits::tall_chunk_bytes / (int(sizeof(float4)) * int(limits::simd_width)),
  pack_rows_bytes = limits::simd_width * int(sizeof(float4))  // of a column, in a pack of all lanes
};

// A column of the node, as a lane holds it.
struct HeldColumn {
  float4 packs[held_packs];
};

template <typename T>
inline int row_in_pack(int pack, int place, Team team) {
  return (pack * limits::simd_width + team.lane) * packed_count<T>() + place;
}

// What step k asks of its column x: makes x the v of the reflector H for which H x = r e_k, tells tau, and writes the
// column of R.
template <typename T>
inline float make_held_reflector(thread HeldColumn& x, int k, device T* R_column, int stride, Team team) {
  float4 squares = zero_pack();
#pragma unroll
  for (int p = 1; p < held_packs; ++p) squares = fma(x.packs[p], x.packs[p], squares);
  float below = (squares.x + squares.y) + (squares.z + squares.w);
  T head = from_real<T>(0.0f);
#pragma unroll
  for (int i = 0; i < packed_count<T>(); ++i) {
    const int row = row_in_pack<T>(0, i, team);
    const T entry = number_at<T>(x.packs[0], i);
    if (row > k) below = square_add(entry, below);
    if (row == k) head = entry;
  }
  below = simd_sum(below);
  head = simd_sum(head);

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
  T entries[packed_count<T>()];
#pragma unroll
  for (int i = 0; i < packed_count<T>(); ++i) {
    const int row = row_in_pack<T>(0, i, team);
    const T entry = number_at<T>(x.packs[0], i);
    const T zero = from_real<T>(0.0f);
    if (row < stride) R_column[row * stride] = row < k ? entry : row == k ? r : zero;
    entries[i] = row < k ? zero : row == k ? v_k : entry;
  }
  x.packs[0] = pack_of(entries);
  return tau;
}

// The products v^H x of the columns that are held, summed over the SIMD-group.
template <typename T>
inline void products_of_held(thread const HeldColumn& v, thread const HeldColumn* x, thread T* products) {
#pragma unroll
  for (int c = 0; c < held_columns; ++c) {
    float4 sum = zero_pack();
#pragma unroll
    for (int p = 0; p < held_packs; ++p) sum = conjugate_multiply_add<T>(v.packs[p], x[c].packs[p], sum);
    products[c] = sum_of_pack<T>(sum);
  }
#pragma unroll
  for (int c = 0; c < held_columns; ++c) products[c] = simd_sum(products[c]);
}

// Factors the columns that the SIMD-groups hold: leaves v of each in x, R row-major, and the taus and the products
// v_i^H v_k, i < k, in column k of `gram`. `steps` has room for two columns. A barrier a column: its owner makes it a
// reflector as soon as it has applied the one before, while others still apply that one to theirs.
template <typename T, int most_columns>
inline void factor_panel(thread HeldColumn* x, int columns, int stride, threadgroup float4* steps, threadgroup T* gram,
                         threadgroup float* taus, device T* R, bool keeps, Team team) {
  const int mine = team.simdgroup * held_columns;
  for (int first = 0; first < columns; first += held_columns) {
#pragma unroll
    for (int place = 0; place < held_columns; ++place) {
      const int k = first + place;
      if (k >= columns) break;
      threadgroup float4* step = steps + k % 2 * held_packs * limits::simd_width;
      if (first == mine) {
        const float tau = make_held_reflector<T>(x[place], k, R + k, stride, team);
#pragma unroll
        for (int p = 0; p < held_packs; ++p) step[p * limits::simd_width + team.lane] = x[place].packs[p];
        if (team.lane == 0) taus[k] = tau;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      // Those of earlier columns only find the products.
      const bool is_over = k >= mine + held_columns - 1;
      if (is_over && !keeps) continue;
      HeldColumn v;
#pragma unroll
      for (int p = 0; p < held_packs; ++p) v.packs[p] = step[p * limits::simd_width + team.lane];
      T products[held_columns];
      products_of_held(v, x, products);
      const float tau = taus[k];
#pragma unroll
      for (int c = 0; c < held_columns; ++c) {
        if (mine + c < k && team.lane == 0) gram[k * most_columns + mine + c] = conjugate(products[c]);
        const T factor = mine + c > k ? -tau * products[c] : from_real<T>(0.0f);
        if (is_over) continue;
#pragma unroll
        for (int p = 0; p < held_packs; ++p) x[c].packs[p] = multiply_add(factor, v.packs[p], x[c].packs[p]);
      }
    }
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

// Rows of a panel on their way between device memory and registers: those of pack p of all lanes, column-major.
template <typename T>
inline int staged_rows() {
  return int(pack_rows_bytes / sizeof(T));
}
// From one column to the next; a pack of padding, against bank conflicts.
template <typename T>
inline int staged_stride() {
  return staged_rows<T>() + packed_count<T>();
}

// Stages `rows` of them from `source`; the others, and columns beyond the last, are zero.
template <typename Storage, typename T>
inline void stage_panel(device const Storage* source, int rows, int columns, int stride, long row_stride,
                        long column_stride, bool is_scaled, uint magnitude, int exponent, threadgroup T* staged,
                        Team team) {
  const bool along_rows = row_stride < column_stride;
  const bool is_whole = rows == staged_rows<T>() && columns == stride;
  for (int index = team.index; !is_whole && index < stride * staged_rows<T>(); index += team.threads) {
    staged[index / staged_rows<T>() * staged_stride<T>() + index % staged_rows<T>()] = from_real<T>(0.0f);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // A line along rows may have more entries than there are threads.
  const int most_line = min(along_rows ? rows : columns, team.threads);
  const int lines = along_rows ? columns : rows;
  const Walk walk = make_walk(max(most_line, 1), team);
  for (int skipped = 0; skipped < (along_rows ? rows : columns); skipped += most_line) {
    const int place = skipped + walk.place;
    if (place >= (along_rows ? rows : columns)) break;
    for (int first = walk.first; first < lines; first += batch_entries * walk.step) {
      Storage fetched[batch_entries];
      fetch_lines(source + place * (along_rows ? row_stride : column_stride), first, walk.step, lines,
                  along_rows ? column_stride : row_stride, fetched);
#pragma unroll
      for (int s = 0; s < batch_entries; ++s) {
        const int line = first + s * walk.step;
        if (line >= lines) break;
        staged[(along_rows ? line : place) * staged_stride<T>() + (along_rows ? place : line)] =
            is_scaled ? scaled_entry(fetched[s], magnitude, exponent) : to_number(fetched[s]);
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// A node: its rows of the panel, scaled where there are `strips` that tell how, to V, T and R.
//
// Grid: one threadgroup a node, of a SIMD-group for each tall_held_columns of the panel with its last pack filled.
// Ownership: a SIMD-group owns columns, in registers; entries are dealt to all threads while they are staged. Barriers:
// two where the threadgroup agrees on the magnitude, three a pack of rows to load and two to store, one a column, and
// one before T is made. The host promises: a node has at most tall_chunk_bytes of each column; rows of V, T and R are
// as wide as the panel is with its last pack filled, and there are as many of T and R; V may be the source.
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
    step_packs = int(held_packs) * int(limits::simd_width),
    column_packs = int(limits::simd_width) + 1
  };
  threadgroup float4 steps[2 * step_packs];
  threadgroup float4 staged_packs[most_columns * column_packs];
  threadgroup float2 products[most_columns * most_columns * words / 2];
  threadgroup float taus[most_columns];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Node node = make_node(threadgroup_index, rows, nodes, share, rest);
  const int stride = (int(columns) + packed_count<T>() - 1) / packed_count<T>() * packed_count<T>();
  const int mine = team.simdgroup * held_columns;
  source += source_offset + node.matrix * batch_stride + node.first_row * row_stride;
  R += R_offset + node.matrix * R_batch_stride + node.index * stride * stride;
  threadgroup T* staged = (threadgroup T*)staged_packs;

  uint magnitude = 0u;
  if (strips > 0) magnitude = magnitude_of_matrix(magnitudes, node.matrix, strips, slots, team);
  const int exponent = magnitude < not_finite_bits ? tall_exponent(magnitude) : 0;
  HeldColumn x[held_columns];
#pragma unroll
  for (int p = 0; p < held_packs; ++p) {
    const int first = p * staged_rows<T>();
    stage_panel(source + first * row_stride, clamp(node.rows - first, 0, staged_rows<T>()), int(columns), stride,
                row_stride, column_stride, strips > 0, magnitude, exponent, staged, team);
#pragma unroll
    for (int c = 0; c < held_columns; ++c) {
      x[c].packs[p] = mine + c < stride ? staged_packs[(mine + c) * column_packs + team.lane] : zero_pack();
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }

  threadgroup T* gram = (threadgroup T*)products;
  factor_panel<T, most_columns>(x, int(columns), stride, steps, gram, taus, R, keeps != 0, team);
  // Columns that fill the last pack.
  const int padding = stride - int(columns);
  for (int index = team.index; index < padding * stride; index += team.threads) {
    R[index / padding * stride + columns + index % padding] = from_real<T>(0.0f);
  }
  if (keeps == 0) return;
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride;
#pragma unroll
  for (int p = 0; p < held_packs; ++p) {
    const int first = p * staged_rows<T>();
#pragma unroll
    for (int c = 0; c < held_columns; ++c) {
      if (mine + c < stride) staged_packs[(mine + c) * column_packs + team.lane] = x[c].packs[p];
    }
    // What is written may have been read by another.
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    const Walk walk = make_walk(stride, team);
    for (int i = walk.first; i < min(staged_rows<T>(), node.rows - first); i += walk.step) {
      V[(first + i) * V_row_stride + walk.place] = staged[walk.place * staged_stride<T>() + i];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (team.simdgroup != 0) return;
  joint += joint_offset + node.matrix * joint_batch_stride + node.index * stride * stride;
  join_reflectors<T, most_columns>(gram, taus, int(columns), stride, joint, team.lane);
}

}  // namespace metalsvd
