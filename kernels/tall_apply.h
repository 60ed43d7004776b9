// The tall QR: what the reflectors of a node do to columns, C - V T' V^H C, where T' is T, or T^H on the way up.
#pragma once
#include <metal_stdlib>

#include "tall.h"
#include "tall_tile.h"

namespace metalsvd {

using namespace metal;

// A sum of squares of a column of unit length that does not depend on their order, which is another for thin and for
// full matrices: of what is a multiple of 2^-23, and of what that leaves of each, as multiples of 2^-39. In a node's
// rows both sums are exact.
struct UnitSum {
  float coarse;
  float fine;
};

inline void add_square(thread UnitSum& sum, float square) {
  const float coarse = (square + 1.0f) - 1.0f;
  const float fine_offset = 0x1.8p-16f;
  sum.coarse += coarse;
  sum.fine += ((square - coarse) + fine_offset) - fine_offset;
}

// What a thread met in its columns: the entries of largest magnitude, the first of them where several are, and the sums
// of squares.
template <typename T>
struct Met {
  T largest[packed_count<T>()];
  int rows[packed_count<T>()];
  UnitSum squares[packed_count<T>()];
};

template <typename T>
inline void start_met(thread Met<T>& met) {
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) {
    met.largest[q] = from_real<T>(0.0f);
    met.rows[q] = 0;
    met.squares[q].coarse = 0.0f;
    met.squares[q].fine = 0.0f;
  }
}

template <typename T>
inline void meet(thread Met<T>& met, float4 pack, int row) {
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) {
    const T entry = number_at<T>(pack, q);
    const float square = square_add(entry, 0.0f);
    add_square(met.squares[q], square);
    if (square <= square_add(met.largest[q], 0.0f)) continue;
    met.largest[q] = entry;
    met.rows[q] = row;
  }
}

// What the node's threads met, to `largest` and `squares`, a number each for every one of its matrix's nodes and
// columns. Two barriers; `staged` is free behind the first.
template <typename T, int packs>
inline void report_met(thread const Met<T>& met, threadgroup float4* staged, device T* largest, device float* squares,
                       Node node, long nodes, long columns, Tiling tiling, Team team) {
  constexpr int width = packs * packed_count<T>();
  constexpr int places = quarters * Width<packs>::slots * width;
  threadgroup T* entries = (threadgroup T*)staged;
  threadgroup int* rows = (threadgroup int*)(entries + places);
  threadgroup float* coarse = (threadgroup float*)(rows + places);
  threadgroup float* fine = coarse + places;
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) {
    const int place =
        (tiling.quarter * Width<packs>::slots + tiling.slot) * width + tiling.pack * packed_count<T>() + q;
    entries[place] = met.largest[q];
    rows[place] = met.rows[q];
    coarse[place] = met.squares[q].coarse;
    fine[place] = met.squares[q].fine;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int j = team.simdgroup; j < width; j += team.simdgroups) {
    const long column = tiling.first_pack * packed_count<T>() + j;
    if (column >= columns) continue;
    float most = 0.0f;
    float coarse_sum = 0.0f;
    float fine_sum = 0.0f;
    int row = limits::most_rows;
    T best = from_real<T>(0.0f);
    for (int place = j + team.lane * width; place < places; place += limits::simd_width * width) {
      const T entry = entries[place];
      const float square = square_add(entry, 0.0f);
      coarse_sum += coarse[place];
      fine_sum += fine[place];
      if (square < most || (square == most && rows[place] >= row)) continue;
      most = square;
      row = rows[place];
      best = entry;
    }
    const int first_row = simd_min(most == simd_max(most) ? row : int(limits::most_rows));
    best = simd_sum(row == first_row ? best : from_real<T>(0.0f));
    const float sum = simd_sum(coarse_sum) + simd_sum(fine_sum);
    if (team.lane != 0) continue;
    const long place = (node.matrix * columns + column) * nodes + node.index;
    largest[place] = best;
    squares[place] = sum;
  }
}

// Applies a node to columns of C in place: its adjoint to the columns behind the panel, or the node to P.
//
// Grid: one threadgroup of tall_apply_threads a node and tile of columns, in that order. Ownership: as Tiling says;
// what a SIMD-group reads and writes of C no other does. How wide tiles are changes no bit of C. Barriers: one after
// the rows' places, three around T', and of each SIMD-group for itself two each time that it stages rows. The host
// promises: rows of all numbers are whole packs, and C begins with one; the rows of a level above 0 come in units of
// `unit_rows`, the first rows of a chunk that is `unit_step` chunks behind the one before, where level 0 shares rows
// out as `chunk_share` and `chunk_rest` say; `largest` and `squares`, where wanted, have a number for each node and
// each of `reports` columns.
template <typename T, int packs>
[[kernel, max_total_threads_per_threadgroup(limits::tall_apply_threads)]] void tall_apply(
    device const T* V [[buffer(0)]], device const T* joint [[buffer(1)]], device T* C [[buffer(2)]],
    device T* largest [[buffer(3)]], device float* squares [[buffer(4)]], constant long& rows [[buffer(5)]],
    constant long& columns [[buffer(6)]], constant long& nodes [[buffer(7)]], constant long& share [[buffer(8)]],
    constant long& rest [[buffer(9)]], constant long& V_offset [[buffer(10)]],
    constant long& V_batch_stride [[buffer(11)]], constant long& V_row_stride [[buffer(12)]],
    constant long& joint_offset [[buffer(13)]], constant long& joint_batch_stride [[buffer(14)]],
    constant long& C_offset [[buffer(15)]], constant long& C_batch_stride [[buffer(16)]],
    constant long& C_row_stride [[buffer(17)]], constant long& C_packs [[buffer(18)]],
    constant long& unit_rows [[buffer(19)]], constant long& unit_step [[buffer(20)]],
    constant long& chunk_share [[buffer(21)]], constant long& chunk_rest [[buffer(22)]],
    constant long& adjoint [[buffer(23)]], constant long& reports [[buffer(24)]],
    device const uint* settled [[buffer(25)]], constant long& may_settle [[buffer(26)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 staged_V[staged_v_packs];
  threadgroup float4 staged[staged_c_packs];
  threadgroup float4 staged_joint[most_joint_packs];
  threadgroup int places[most_node_rows];
  constexpr int staged_rows = Width<packs>::staged_rows;
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const uint tiles = uint((C_packs + packs - 1) / packs);
  const Node node = make_node(threadgroup_index / tiles, rows, nodes, share, rest);
  if (is_settled(settled, may_settle, node.matrix)) return;
  const int v_packs = int(columns) / packed_count<T>();
  const Tiling tiling = make_tiling<packs>(threadgroup_index % tiles, C_packs, v_packs, node.rows, team);
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride;
  joint += joint_offset + node.matrix * joint_batch_stride + node.index * columns * columns;
  C += C_offset + node.matrix * C_batch_stride + tiling.first_pack * packed_count<T>();
  const PackedRows V_rows = make_packed_rows((device T*)V, V_row_stride);
  const PackedRows C_rows = make_packed_rows(C, C_row_stride);

  for (int i = team.index; i < node.rows; i += limits::tall_apply_threads) {
    const int row = int(node.first_row) + i;
    const long chunk = unit_rows > 0 ? row / int(unit_rows) * unit_step : 0;
    places[i] = unit_rows > 0 ? int(first_row_of_node(chunk, chunk_share, chunk_rest)) + row % int(unit_rows) : row;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // What comes next is fetched while rows are worked on.
  threadgroup float4* own_V = staged_V + tiling.quarter * quarter_v_packs;
  threadgroup float4* own_C = staged + tiling.quarter * quarter_c_packs;
  OwnSums<T, packs> sums;
  start_sums(sums);
  float4 next_v[staged_rows / 4];
  float4 next_c[Width<packs>::moved_packs];
  fetch_v<staged_rows>(V_rows, 0, next_v, tiling);
  fetch_summed<packs>(C_rows, places, 0, next_c, tiling);
  stage_joint(joint, int(columns), adjoint != 0, staged_joint, team);
  for (int first = 0; first < tiling.places; first += staged_rows) {
    stage_v<staged_rows>(next_v, own_V, tiling);
#pragma unroll
    for (int s = 0; s < Width<packs>::moved_packs; ++s) own_C[s * limits::simd_width + tiling.lane] = next_c[s];
    simdgroup_barrier(mem_flags::mem_threadgroup);
    fetch_v<staged_rows>(V_rows, first + staged_rows, next_v, tiling);
    fetch_summed<packs>(C_rows, places, first + staged_rows, next_c, tiling);
    const int staged_end = min(int(staged_rows), tiling.places - first);
    for (int few = 0; few < staged_end; few += rows_summed) {
      add_products<T, packs>(own_V + few * staged_v_stride + tiling.own.row_pack, own_C + few * packs + tiling.own.pack,
                             sums);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }

  float4 v[changed_rows / 4];
  float4 c[packs];
  fetch_v<changed_rows>(V_rows, 0, v, tiling);
  fetch_changed<packs>(C_rows, places, 0, c, tiling);
  multiply_joint<T, packs>(staged_joint, sums, staged_V, staged, tiling, team);

  Met<T> met;
  start_met(met);
  for (int first = 0; first < tiling.places; first += changed_rows) {
    stage_v<changed_rows>(v, own_V, tiling);
    float4 own[packs];
#pragma unroll
    for (int r = 0; r < packs; ++r) own[r] = c[r];
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (!Width<packs>::is_wide) {
      fetch_v<changed_rows>(V_rows, first + changed_rows, v, tiling);
      fetch_changed<packs>(C_rows, places, first + changed_rows, c, tiling);
    }
    subtract_products<T, packs>(own_V, staged + staged_c_packs / 2, own, tiling);
    const int row = quarter_row(first, tiling.slot, tiling);
#pragma unroll
    for (int r = 0; r < packs; ++r) {
      const int next = row + row_step(r * Width<packs>::slots);
      if (next >= tiling.rows || tiling.pack >= tiling.packs) continue;
      row_at(C_rows, places[next])[tiling.pack] = own[r];
    }
    if (reports > 0) {
#pragma unroll
      for (int r = 0; r < packs; ++r) {
        const int next = row + row_step(r * Width<packs>::slots);
        if (next < tiling.rows && tiling.pack < tiling.packs) meet(met, own[r], places[next]);
      }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (Width<packs>::is_wide) {
      fetch_v<changed_rows>(V_rows, first + changed_rows, v, tiling);
      fetch_changed<packs>(C_rows, places, first + changed_rows, c, tiling);
    }
  }
  if (reports > 0) report_met<T, packs>(met, staged_V, largest, squares, node, nodes, reports, tiling, team);
}

// What tall_apply reports of P, of a P that no Q is applied to.
//
// Grid: one threadgroup of tall_apply_threads a node and tile of columns, in that order. Ownership: as Tiling says.
// Barriers: two around what threads met. The host promises: rows of P are `packs` packs.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_apply_threads)]] void tall_report(
    device const T* P [[buffer(0)]], device T* largest [[buffer(1)]], device float* squares [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& nodes [[buffer(5)]],
    constant long& share [[buffer(6)]], constant long& rest [[buffer(7)]], constant long& packs [[buffer(8)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int tile_packs = limits::tall_tile_packs;
  threadgroup float4 staged[staged_v_packs];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const uint tiles = uint((packs + tile_packs - 1) / tile_packs);
  const Node node = make_node(threadgroup_index / tiles, rows, nodes, share, rest);
  const Tiling tiling = make_tiling<tile_packs>(threadgroup_index % tiles, packs, 0, node.rows, team);
  P += (node.matrix * rows + node.first_row) * packs * packed_count<T>() + tiling.first_pack * packed_count<T>();
  const PackedRows P_rows = make_packed_rows((device T*)P, packs * packed_count<T>());
  Met<T> met;
  start_met(met);
  for (int first = 0; first < tiling.places; first += changed_rows) {
    const int row = quarter_row(first, tiling.slot, tiling);
    float4 own[tile_packs];
#pragma unroll
    for (int r = 0; r < tile_packs; ++r) {
      const int next = row + row_step(r * Width<tile_packs>::slots);
      own[r] = zero_pack();
      if (next < tiling.rows && tiling.pack < tiling.packs) own[r] = row_at(P_rows, next)[tiling.pack];
    }
#pragma unroll
    for (int r = 0; r < tile_packs; ++r) {
      const int next = row + row_step(r * Width<tile_packs>::slots);
      if (next < tiling.rows) meet(met, own[r], int(node.first_row) + next);
    }
  }
  report_met<T, tile_packs>(met, staged, largest, squares, node, nodes, columns, tiling, team);
}

// A lane's pack of Z in a row of the node, and zeros.
template <typename T>
inline float4 pack_of_head(device const T* Z, int row, int rows, long row_stride, long column_stride, long columns,
                           Tiling tiling) {
  T entries[packed_count<T>()];
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) {
    const long column = (tiling.first_pack + tiling.pack) * packed_count<T>() + q;
    entries[q] = from_real<T>(0.0f);
    if (row < rows && column < columns) entries[q] = Z[row * row_stride + column * column_stride];
  }
  return pack_of(entries);
}

// Applies a node of the last panel to columns that are zero but in its first rows: those are Z, rows of the vectors of
// R or what the node above made for this one. W is then V^H Z of as many rows as columns.
//
// Grid, ownership and barriers are those of tall_apply, but for that after the rows' places. The host promises: as
// there; Z has `Z_rows` x `Z_columns` entries that are not zero; C, as wide as Z, is V itself only where one tile takes
// all of its columns.
template <typename T, int packs>
[[kernel, max_total_threads_per_threadgroup(limits::tall_apply_threads)]] void tall_expand(
    device const T* V [[buffer(0)]], device const T* joint [[buffer(1)]], device const T* Z [[buffer(2)]],
    device T* C [[buffer(3)]], device T* largest [[buffer(4)]], device float* squares [[buffer(5)]],
    constant long& rows [[buffer(6)]], constant long& columns [[buffer(7)]], constant long& nodes [[buffer(8)]],
    constant long& share [[buffer(9)]], constant long& rest [[buffer(10)]], constant long& V_offset [[buffer(11)]],
    constant long& V_batch_stride [[buffer(12)]], constant long& V_row_stride [[buffer(13)]],
    constant long& joint_offset [[buffer(14)]], constant long& joint_batch_stride [[buffer(15)]],
    constant long& Z_offset [[buffer(16)]], constant long& Z_batch_stride [[buffer(17)]],
    constant long& Z_node_stride [[buffer(18)]], constant long& Z_row_stride [[buffer(19)]],
    constant long& Z_column_stride [[buffer(20)]], constant long& Z_rows [[buffer(21)]],
    constant long& Z_columns [[buffer(22)]], constant long& C_offset [[buffer(23)]],
    constant long& C_batch_stride [[buffer(24)]], constant long& C_row_stride [[buffer(25)]],
    constant long& reports [[buffer(26)]], device const uint* settled [[buffer(27)]],
    constant long& may_settle [[buffer(28)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 staged_V[staged_v_packs];
  threadgroup float4 staged[staged_c_packs];
  threadgroup float4 staged_joint[most_joint_packs];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const long C_packs = C_row_stride / packed_count<T>();
  const uint tiles = uint((C_packs + packs - 1) / packs);
  const Node node = make_node(threadgroup_index / tiles, rows, nodes, share, rest);
  if (is_settled(settled, may_settle, node.matrix)) return;
  const int v_packs = int(columns) / packed_count<T>();
  const Tiling tiling = make_tiling<packs>(threadgroup_index % tiles, C_packs, v_packs, node.rows, team);
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride;
  joint += joint_offset + node.matrix * joint_batch_stride + node.index * columns * columns;
  const int head_rows = int(min(min(columns, Z_rows), long(node.rows)));
  Z += Z_offset + node.matrix * Z_batch_stride + node.index * Z_node_stride;
  C += C_offset + node.matrix * C_batch_stride + node.first_row * C_row_stride + tiling.first_pack * packed_count<T>();
  const PackedRows V_rows = make_packed_rows((device T*)V, V_row_stride);
  const PackedRows C_rows = make_packed_rows(C, C_row_stride);

  threadgroup float4* own_V = staged_V + tiling.quarter * quarter_v_packs;
  threadgroup float4* own_Z = staged + tiling.quarter * quarter_c_packs;
  OwnSums<T, packs> sums;
  start_sums(sums);
  Tiling head_tiling = tiling;
  head_tiling.rows = head_rows;
  float4 head[rows_summed / 4];
  fetch_v<rows_summed>(V_rows, 0, head, head_tiling);
  stage_v<rows_summed>(head, own_V, tiling);
#pragma unroll
  for (int place = 0; place < rows_summed; place += Width<packs>::slots) {
    own_Z[(place + tiling.slot) * packs + tiling.pack] = pack_of_head<T>(
        Z, quarter_row(0, place + tiling.slot, tiling), head_rows, Z_row_stride, Z_column_stride, Z_columns, tiling);
  }
  stage_joint(joint, int(columns), false, staged_joint, team);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  add_products<T, packs>(own_V + tiling.own.row_pack, own_Z + tiling.own.pack, sums);
  float4 v[changed_rows / 4];
  fetch_v<changed_rows>(V_rows, 0, v, tiling);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  multiply_joint<T, packs>(staged_joint, sums, staged_V, staged, tiling, team);

  Met<T> met;
  start_met(met);
  for (int first = 0; first < tiling.places; first += changed_rows) {
    stage_v<changed_rows>(v, own_V, tiling);
    // Where C is V, these lanes have read its rows here.
    simdgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    if (!Width<packs>::is_wide) fetch_v<changed_rows>(V_rows, first + changed_rows, v, tiling);
    const int row = quarter_row(first, tiling.slot, tiling);
    float4 own[packs];
#pragma unroll
    for (int r = 0; r < packs; ++r) {
      own[r] = zero_pack();
      if (r * Width<packs>::slots < rows_summed && first == 0) {
        own[r] = pack_of_head<T>(Z, row + r * Width<packs>::slots, head_rows, Z_row_stride, Z_column_stride, Z_columns,
                                 tiling);
      }
    }
    subtract_products<T, packs>(own_V, staged + staged_c_packs / 2, own, tiling);
#pragma unroll
    for (int r = 0; r < packs; ++r) {
      const int next = row + row_step(r * Width<packs>::slots);
      if (next >= tiling.rows || tiling.pack >= tiling.packs) continue;
      row_at(C_rows, next)[tiling.pack] = own[r];
    }
    if (reports > 0) {
#pragma unroll
      for (int r = 0; r < packs; ++r) {
        const int next = row + row_step(r * Width<packs>::slots);
        if (next < tiling.rows && tiling.pack < tiling.packs) meet(met, own[r], int(node.first_row) + next);
      }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (Width<packs>::is_wide) fetch_v<changed_rows>(V_rows, first + changed_rows, v, tiling);
  }
  if (reports > 0) report_met<T, packs>(met, staged_V, largest, squares, node, nodes, reports, tiling, team);
}

}  // namespace metalsvd
