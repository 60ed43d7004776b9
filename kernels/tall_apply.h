// The tall QR: what the reflectors of a node do to columns, C - V T' V^H C, where T' is T, or T^H on the way up.
#pragma once
#include <metal_stdlib>

#include "tall.h"

namespace metalsvd {

using namespace metal;

// What a threadgroup stages: rows of V, or W = V^H C as each quarter of the rows has it; then rows of C, or W and T' W;
// and T'. A thread moves as many rows of V and of C at once: fewer while both are staged.
enum : int {
  staged_v_packs = 1024,
  staged_c_packs = 512,
  most_joint_packs = limits::tall_panel_bytes / limits::word_bytes * limits::tall_tile_packs,
  most_node_rows = limits::tall_chunk_bytes / limits::word_bytes,
  summed_rows = staged_c_packs / limits::tall_apply_threads,
  changed_rows = staged_v_packs / limits::tall_apply_threads,
  tile_packs = limits::tall_tile_packs
};

// How the threads share a tile of columns of C, `groups` packs wide. A thread owns a pack of columns: while W is
// summed up, a pack of its rows and a quarter of the rows of C; in products, rows of C that lie `slots` apart.
struct Tiling {
  int groups;
  int first_pack;
  int v_packs;  // of a row of V
  int group;
  int slot;
  int slots;
  int v_pack;  // of a row of V that a thread moves, and from which row on, how far apart
  int v_row;
  int v_step;
  int rows;  // that are staged together where each thread moves one, a multiple of half of rows_summed_together
};

// Rows whose products are summed up before they are added to others. Where many rows are alike each addition errs
// alike, and so would V^H C for all reflectors together: a sum of few terms, each a sum of few, errs that much less.
enum : int {
  rows_summed = 8,
  quarters = limits::tall_quarters,
  rows_summed_together = int(rows_summed) * int(quarters)
};

inline Tiling make_tiling(uint tile, long packs, int v_packs, Team team) {
  Tiling tiling;
  tiling.first_pack = int(tile) * tile_packs;
  tiling.groups = int(min(long(tile_packs), packs - tiling.first_pack));
  tiling.v_packs = v_packs;
  // Neighbouring threads read the same of C, and every other the same of V (block_wide_gram.h says why).
  tiling.group = team.index / 2 % tiling.groups;
  tiling.slot = team.index / 2 / tiling.groups * 2 + team.index % 2;
  tiling.slots = team.threads / 2 / tiling.groups * 2;
  tiling.v_step = team.threads / v_packs;
  tiling.v_pack = team.index % v_packs;
  tiling.v_row = team.index / v_packs;
  const int unit = rows_summed_together / int(summed_rows);
  tiling.rows = min(tiling.slots, tiling.v_step) / unit * unit;
  return tiling;
}

// What a thread moves of a part: so many packs of V, and of C those that it owns.
template <int count>
struct Part {
  float4 v[count];
  float4 c[count];
};

// The row of a part of V that a thread moves as its s-th, if there is one.
inline int moved_row(int s, Tiling tiling) { return tiling.v_row + s * tiling.v_step; }
inline bool moves_row(int s, int rows, Tiling tiling) {
  return tiling.v_row < tiling.v_step && moved_row(s, tiling) < rows;
}

// Rows [first, first + rows) of V, and zeros.
template <typename T, int count>
inline void fetch_v(device const T* V, long row_stride, int first, int rows, thread Part<count>& part, Tiling tiling) {
#pragma unroll
  for (int s = 0; s < count; ++s) {
    part.v[s] = zero_pack();
    if (!moves_row(s, rows, tiling)) continue;
    part.v[s] = ((device const float4*)(V + (first + moved_row(s, tiling)) * row_stride))[tiling.v_pack];
  }
}

template <int count>
inline void stage_v(thread const Part<count>& part, threadgroup float4* staged, Tiling tiling) {
#pragma unroll
  for (int s = 0; s < count; ++s) {
    if (moves_row(s, count * tiling.rows, tiling)) {
      staged[moved_row(s, tiling) * tiling.v_packs + tiling.v_pack] = part.v[s];
    }
  }
}

// The row of a part that a thread owns as its r-th, if there is one.
inline int owned_row(int r, Tiling tiling) { return tiling.slot + r * tiling.slots; }
inline bool owns_row(int r, int rows, Tiling tiling) {
  return tiling.slot < tiling.slots && owned_row(r, tiling) < rows;
}

// The rows of C at places[first] and on, and zeros.
template <typename T, int count>
inline void fetch_c(device const T* C, long row_stride, threadgroup const int* places, int rows,
                    thread Part<count>& part, Tiling tiling) {
#pragma unroll
  for (int r = 0; r < count; ++r) {
    part.c[r] = zero_pack();
    if (!owns_row(r, rows, tiling)) continue;
    part.c[r] = ((device const float4*)(C + places[owned_row(r, tiling)] * row_stride))[tiling.group];
  }
}

template <int count>
inline void stage_c(thread const Part<count>& part, threadgroup float4* staged, Tiling tiling) {
#pragma unroll
  for (int r = 0; r < count; ++r) {
    if (owns_row(r, count * tiling.rows, tiling))
      staged[owned_row(r, tiling) * tiling.groups + tiling.group] = part.c[r];
  }
}

// T', column-major: T, or T^H.
template <typename T>
inline void stage_joint(device const T* joint, int columns, bool adjoint, threadgroup T* staged, Team team) {
  for (int index = team.index; index < columns * columns; index += team.threads) {
    staged[index] = adjoint ? conjugate(joint[index % columns * columns + index / columns]) : joint[index];
  }
}

// Adds the products of a part's rows, of which there are zeros up to a multiple of rows_summed_together, to those W of
// this thread: sums[q] is row (pack of V) packed_count + q.
template <typename T>
inline void add_products(threadgroup const float4* V, threadgroup const float4* C, int rows, thread float4* sums,
                         Tiling tiling) {
  const int quarter = tiling.slot / tiling.v_packs;
  if (quarter >= quarters) return;
  V += quarter * tiling.v_packs + tiling.slot % tiling.v_packs;
  C += quarter * tiling.groups + tiling.group;
  for (int first = 0; first < rows; first += rows_summed_together) {
    float4 of_few[packed_count<T>()];
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) of_few[q] = zero_pack();
#pragma unroll
    for (int i = 0; i < rows_summed; ++i) {
      const float4 v = V[(first + i * quarters) * tiling.v_packs];
      const float4 c = C[(first + i * quarters) * tiling.groups];
#pragma unroll
      for (int q = 0; q < packed_count<T>(); ++q) of_few[q] = multiply_add(conjugate(number_at<T>(v, q)), c, of_few[q]);
    }
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) sums[q] += of_few[q];
  }
}

// W, summed up over the quarters, to `W`, and T' W to staged_c_packs / 2 packs further. `of_quarters` is free. Three
// barriers, one of them last.
template <typename T>
inline void multiply_joint(threadgroup const T* joint, thread const float4* sums, threadgroup float4* of_quarters,
                           threadgroup float4* W, Tiling tiling, bool adjoint, Team team) {
  const int columns = tiling.v_packs * packed_count<T>();
  const int packs = columns * tiling.groups;
  const int quarter = tiling.slot / tiling.v_packs;
  const int first = tiling.slot % tiling.v_packs * packed_count<T>();
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) {
    if (quarter < quarters) of_quarters[quarter * packs + (first + q) * tiling.groups + tiling.group] = sums[q];
  }
  // What comes behind may write rows of C that others have read.
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  for (int index = team.index; index < packs; index += team.threads) {
    threadgroup const float4* parts = of_quarters + index;
    W[index] = (parts[0] + parts[packs]) + (parts[2 * packs] + parts[3 * packs]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int index = team.index; index < packs; index += team.threads) {
    const int i = index / tiling.groups;
    float4 sum = zero_pack();
    const int begin = adjoint ? 0 : i;
    const int end = adjoint ? i + 1 : columns;
    for (int k = begin; k < end; ++k) {
      sum = multiply_add(joint[k * columns + i], W[k * tiling.groups + index % tiling.groups], sum);
    }
    W[staged_c_packs / 2 + index] = sum;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

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
// columns. One barrier; `staged` is free.
template <typename T>
inline void report_met(thread const Met<T>& met, threadgroup float4* staged, device T* largest, device float* squares,
                       Node node, long nodes, long columns, Tiling tiling, Team team) {
  threadgroup T* entries = (threadgroup T*)staged;
  threadgroup int* rows = (threadgroup int*)(staged + limits::tall_apply_threads);
  threadgroup float* coarse = (threadgroup float*)(staged + 2 * limits::tall_apply_threads);
  threadgroup float* fine = (threadgroup float*)(staged + 3 * limits::tall_apply_threads);
  const int width = tiling.groups * packed_count<T>();
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) {
    const int place = tiling.slot * width + tiling.group * packed_count<T>() + q;
    if (tiling.slot >= tiling.slots) continue;
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
    for (int place = j + team.lane * width; place < tiling.slots * width; place += limits::simd_width * width) {
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

// V W for the first `count` rows of a part that a thread owns, taken off what `c` holds of them.
template <typename T, int count>
inline void subtract_from_rows(threadgroup const float4* V, threadgroup const float4* W, int part_rows,
                               thread float4* c, Tiling tiling) {
  int rows[count];
#pragma unroll
  for (int r = 0; r < count; ++r) rows[r] = min(owned_row(r, tiling), part_rows - 1) * tiling.v_packs;
  for (int pack = 0; pack < tiling.v_packs; ++pack) {
    float4 w[packed_count<T>()];
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) {
      w[q] = W[(pack * packed_count<T>() + q) * tiling.groups + tiling.group];
    }
#pragma unroll
    for (int r = 0; r < count; ++r) {
      // Rows beyond the part are computed, and not stored.
      const float4 v = V[rows[r] + pack];
#pragma unroll
      for (int q = 0; q < packed_count<T>(); ++q) c[r] = multiply_add(-number_at<T>(v, q), w[q], c[r]);
    }
  }
}

template <typename T>
inline void subtract_products(threadgroup const float4* V, threadgroup const float4* W, int part_rows, thread float4* c,
                              Tiling tiling) {
  if (part_rows > 2 * tiling.slots) {
    subtract_from_rows<T, changed_rows>(V, W, part_rows, c, tiling);
  } else if (part_rows > tiling.slots) {
    subtract_from_rows<T, 2>(V, W, part_rows, c, tiling);
  } else {
    subtract_from_rows<T, 1>(V, W, part_rows, c, tiling);
  }
}

// Applies a node to columns of C in place: its adjoint to the columns behind the panel, or the node to P.
//
// Grid: one threadgroup a node and tile of columns, in that order, of tall_apply_few_threads or tall_apply_threads.
// Ownership: as Tiling says; what a threadgroup reads and writes of C no other does. Barriers: one after the rows'
// places, two a part on the way to W, three around T' and two a part behind. The host promises: rows of all numbers are
// whole packs, and C begins with one; the rows of a level above 0 come in units of `unit_rows`, the first rows of a
// chunk that is `unit_step` chunks behind the one before, where level 0 shares rows out as `chunk_share` and
// `chunk_rest` say; `largest` and `squares`, where wanted, have a number for each node and each of `reports` columns.
template <typename T>
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
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 staged_V[staged_v_packs];
  threadgroup float4 staged[staged_c_packs];
  threadgroup float4 staged_joint[most_joint_packs];
  threadgroup int places[most_node_rows];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const uint tiles = uint((C_packs + tile_packs - 1) / tile_packs);
  const Node node = make_node(threadgroup_index / tiles, rows, nodes, share, rest);
  const int v_packs = int(columns) / packed_count<T>();
  const Tiling tiling = make_tiling(threadgroup_index % tiles, C_packs, v_packs, team);
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride;
  joint += joint_offset + node.matrix * joint_batch_stride + node.index * columns * columns;
  C += C_offset + node.matrix * C_batch_stride + tiling.first_pack * packed_count<T>();

  for (int i = team.index; i < node.rows; i += team.threads) {
    const int row = int(node.first_row) + i;
    const long chunk = unit_rows > 0 ? row / int(unit_rows) * unit_step : 0;
    places[i] = unit_rows > 0 ? int(first_row_of_node(chunk, chunk_share, chunk_rest)) + row % int(unit_rows) : row;
  }
  threadgroup T* turned_joint = (threadgroup T*)staged_joint;
  stage_joint(joint, int(columns), adjoint != 0, turned_joint, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // What comes next is fetched while a part is worked on.
  const int summed = summed_rows * tiling.rows;
  Part<summed_rows> next;
  float4 sums[packed_count<T>()];
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) sums[q] = zero_pack();
  fetch_v(V, V_row_stride, 0, min(summed, node.rows), next, tiling);
  fetch_c(C, C_row_stride, places, min(summed, node.rows), next, tiling);
  for (int first = 0; first < node.rows; first += summed) {
    const int next_first = min(first + summed, node.rows);
    const int next_rows = min(summed, node.rows - next_first);
    stage_v(next, staged_V, tiling);
    stage_c(next, staged, tiling);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    fetch_v(V, V_row_stride, next_first, next_rows, next, tiling);
    fetch_c(C, C_row_stride, places + next_first, next_rows, next, tiling);
    add_products<T>(staged_V, staged, next_first - first, sums, tiling);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  const int changed = changed_rows * tiling.rows;
  Part<changed_rows> part;
  fetch_v(V, V_row_stride, 0, min(changed, node.rows), part, tiling);
  fetch_c(C, C_row_stride, places, min(changed, node.rows), part, tiling);
  multiply_joint(turned_joint, sums, staged_V, staged, tiling, adjoint != 0, team);

  Met<T> met;
  start_met(met);
  for (int first = 0; first < node.rows; first += changed) {
    const int next_first = min(first + changed, node.rows);
    const int next_rows = min(changed, node.rows - next_first);
    stage_v(part, staged_V, tiling);
    float4 own[changed_rows];
#pragma unroll
    for (int r = 0; r < changed_rows; ++r) own[r] = part.c[r];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    fetch_v(V, V_row_stride, next_first, next_rows, part, tiling);
    fetch_c(C, C_row_stride, places + next_first, next_rows, part, tiling);
    subtract_products<T>(staged_V, staged + staged_c_packs / 2, next_first - first, own, tiling);
#pragma unroll
    for (int r = 0; r < changed_rows; ++r) {
      if (!owns_row(r, next_first - first, tiling)) continue;
      const int place = places[first + owned_row(r, tiling)];
      ((device float4*)(C + place * C_row_stride))[tiling.group] = own[r];
      if (reports > 0) meet(met, own[r], place);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (reports > 0) report_met(met, staged_V, largest, squares, node, nodes, reports, tiling, team);
}

// Applies a node of the last panel to columns that are zero but in its first rows: those are Z, rows of the vectors of
// R or what the node above made for this one. W is then V^H Z of as many rows as columns.
//
// Grid and ownership are those of tall_apply. Barriers: two around W, three around T' and two a part behind. The host
// promises: as there; Z has `Z_rows` x `Z_columns` entries that are not zero; C, as wide as Z, is V itself only where
// one tile takes all of its columns.
template <typename T>
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
    constant long& reports [[buffer(26)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 staged_V[staged_v_packs];
  threadgroup float4 staged[staged_c_packs];
  threadgroup float4 staged_joint[most_joint_packs];
  threadgroup float4 staged_Z[staged_c_packs / 2];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const long packs = C_row_stride / packed_count<T>();
  const uint tiles = uint((packs + tile_packs - 1) / tile_packs);
  const Node node = make_node(threadgroup_index / tiles, rows, nodes, share, rest);
  const int v_packs = int(columns) / packed_count<T>();
  const Tiling tiling = make_tiling(threadgroup_index % tiles, packs, v_packs, team);
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride;
  joint += joint_offset + node.matrix * joint_batch_stride + node.index * columns * columns;
  Z += Z_offset + node.matrix * Z_batch_stride + node.index * Z_node_stride;
  C += C_offset + node.matrix * C_batch_stride + node.first_row * C_row_stride + tiling.first_pack * packed_count<T>();

  const int head_rows = min(int(columns), node.rows);
  Part<summed_rows> head;
  fetch_v(V, V_row_stride, 0, head_rows, head, tiling);
  stage_v(head, staged_V, tiling);
  for (int i = tiling.slot; tiling.slot < tiling.slots && i < rows_summed_together; i += tiling.slots) {
    T entries[packed_count<T>()];
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) {
      const long column = (tiling.first_pack + tiling.group) * packed_count<T>() + q;
      entries[q] = from_real<T>(0.0f);
      if (i < min(long(head_rows), Z_rows) && column < Z_columns) {
        entries[q] = Z[i * Z_row_stride + column * Z_column_stride];
      }
    }
    staged_Z[i * tiling.groups + tiling.group] = pack_of(entries);
  }
  threadgroup T* turned_joint = (threadgroup T*)staged_joint;
  stage_joint(joint, int(columns), false, turned_joint, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float4 sums[packed_count<T>()];
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) sums[q] = zero_pack();
  add_products<T>(staged_V, staged_Z, head_rows, sums, tiling);
  const int changed = changed_rows * tiling.rows;
  Part<changed_rows> next;
  fetch_v(V, V_row_stride, 0, min(changed, node.rows), next, tiling);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  multiply_joint(turned_joint, sums, staged_V, staged, tiling, false, team);

  Met<T> met;
  start_met(met);
  for (int first = 0; first < node.rows; first += changed) {
    const int next_first = min(first + changed, node.rows);
    stage_v(next, staged_V, tiling);
    // Where C is V, its rows here have been read by others.
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    fetch_v(V, V_row_stride, next_first, min(changed, node.rows - next_first), next, tiling);
    float4 own[changed_rows];
#pragma unroll
    for (int r = 0; r < changed_rows; ++r) {
      const int i = first + owned_row(r, tiling);
      own[r] = zero_pack();
      if (i < head_rows && tiling.slot < tiling.slots) own[r] = staged_Z[i * tiling.groups + tiling.group];
    }
    subtract_products<T>(staged_V, staged + staged_c_packs / 2, next_first - first, own, tiling);
#pragma unroll
    for (int r = 0; r < changed_rows; ++r) {
      if (!owns_row(r, next_first - first, tiling)) continue;
      const int i = first + owned_row(r, tiling);
      ((device float4*)(C + i * C_row_stride))[tiling.group] = own[r];
      if (reports > 0) meet(met, own[r], int(node.first_row) + i);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (reports > 0) report_met(met, staged_V, largest, squares, node, nodes, reports, tiling, team);
}

}  // namespace metalsvd
