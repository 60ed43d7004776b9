// The tall QR: what the reflectors of a node do to columns, C - V T' V^H C, where T' is T, or T^H on the way up.
//
// A threadgroup of four SIMD-groups takes a tile of columns of C. Each SIMD-group has a quarter of the rows, eight out
// of 32 in turn, of which it stages V and C for itself: it sums up W = V^H C of its rows, and when T' W has been made
// of all four it changes the same rows. So threads wait for each other only around T'.
#pragma once
#include <metal_stdlib>

#include "tall.h"

namespace metalsvd {

using namespace metal;

enum : int {
  // Rows whose products are summed up before they are added to others. Where many rows are alike each addition errs
  // alike, and so would V^H C for all reflectors together: a sum of few terms, each a sum of few, errs that much less.
  rows_summed = 8,
  quarters = limits::tall_quarters,
  rows_summed_together = int(rows_summed) * int(quarters),
  panel_packs = limits::tall_panel_bytes / limits::tall_pack_bytes,
  most_node_rows = limits::tall_chunk_bytes / limits::word_bytes,
  most_joint_packs = int(panel_packs) * limits::tall_panel_bytes / limits::word_bytes,
  changed_rows = limits::simd_width,  // of a quarter that are changed together
  // Rows of V are staged so far apart that lanes read the same pack of eight of them from different banks.
  staged_v_stride = int(panel_packs) + 1,
  quarter_v_packs = int(changed_rows) * int(staged_v_stride),
  quarter_c_packs = 128,
  staged_v_packs = int(quarters) * int(quarter_v_packs),
  staged_c_packs = int(quarters) * int(quarter_c_packs)  // or W and T' W
};

// Of a tile that is `packs` wide: how many rows a quarter stages together while W is summed up, how many packs of W a
// lane owns in a row, and over how many rows the lanes are spread that change a row's packs.
template <int packs>
struct Width {
  enum : int {
    staged_rows = int(quarter_c_packs) / packs,
    owned_packs = packs / 4,
    slots = limits::simd_width / packs
  };
};

// What a lane owns: while W is summed up a pack of its rows and every fourth of its packs, then a pack of C in some
// rows. Every lane shares what it reads of one with its neighbour, of the other with the next but one
// (block_wide_gram.h says why).
struct Tiling {
  int first_pack;
  int packs;    // of the tile that there are
  int v_packs;  // of a row of V
  int rows;     // of the node
  int places;   // of rows in a quarter, there or not
  int quarter;
  int lane;
  int v_pack;  // W
  int c_pack;
  int pack;  // C
  int slot;
};

template <int packs>
inline Tiling make_tiling(uint tile, long C_packs, int v_packs, int rows, Team team) {
  Tiling tiling;
  tiling.first_pack = int(tile) * packs;
  tiling.packs = int(min(long(packs), C_packs - tiling.first_pack));
  tiling.v_packs = v_packs;
  tiling.rows = rows;
  tiling.places = (rows + rows_summed_together - 1) / rows_summed_together * rows_summed;
  tiling.quarter = team.simdgroup;
  tiling.lane = team.lane;
  const uint lane = uint(team.lane);
  tiling.v_pack = int(lane / 8 * 2 + lane / 2 % 2);
  tiling.c_pack = int(lane / 4 % 2 * 2 + lane % 2);
  tiling.pack = int(lane / 4 % (packs / 2) * 2 + lane % 2);
  tiling.slot = int(lane / (2 * packs) * 2 + lane / 2 % 2);
  return tiling;
}

// The node's row at a quarter's place, the first of rows_summed or on from there, and how much further others are.
inline int row_at(int first, int place, Tiling tiling) {
  return first * quarters + tiling.quarter * rows_summed + place;
}
constexpr int row_step(int places) { return places / rows_summed * rows_summed_together + places % rows_summed; }

// The quarter's rows of V from place `first` on, and zeros: four at a time, a pack each lane.
template <typename T, int rows>
inline void fetch_v(device const T* V, int row_stride, int first, thread float4* v, Tiling tiling) {
  const int pack = int(uint(tiling.lane) % panel_packs);
  const int row = row_at(first, int(uint(tiling.lane) / panel_packs), tiling);
  const int end = pack < tiling.v_packs ? tiling.rows : 0;
#pragma unroll
  for (int s = 0; s < rows / 4; ++s) {
    const int next = row + row_step(4 * s);
    v[s] = zero_pack();
    if (next < end) v[s] = ((device const float4*)(V + long(next) * row_stride))[pack];
  }
}

template <int rows>
inline void stage_v(thread const float4* v, threadgroup float4* staged, Tiling tiling) {
  staged += uint(tiling.lane) / panel_packs * staged_v_stride + uint(tiling.lane) % panel_packs;
#pragma unroll
  for (int s = 0; s < rows / 4; ++s) staged[4 * s * staged_v_stride] = v[s];
}

// The quarter's rows of C from place `first` on, `step` places apart, of a pack each lane, and zeros.
template <typename T, int step, int count>
inline void fetch_c(device const T* C, int row_stride, threadgroup const int* places, int row, int pack,
                    thread float4* c, Tiling tiling) {
  const int end = pack < tiling.packs ? tiling.rows : 0;
#pragma unroll
  for (int s = 0; s < count; ++s) {
    const int next = row + row_step(step * s);
    c[s] = zero_pack();
    if (next < end) c[s] = ((device const float4*)(C + long(places[next]) * row_stride))[pack];
  }
}

// Those that are staged together.
template <typename T, int packs>
inline void fetch_summed(device const T* C, int row_stride, threadgroup const int* places, int first, thread float4* c,
                         Tiling tiling) {
  fetch_c<T, Width<packs>::slots, 4>(C, row_stride, places, row_at(first, int(uint(tiling.lane) / packs), tiling),
                                     int(uint(tiling.lane) % packs), c, tiling);
}

// Those that a lane owns of the rows that are changed together.
template <typename T, int packs>
inline void fetch_changed(device const T* C, int row_stride, threadgroup const int* places, int first, thread float4* c,
                          Tiling tiling) {
  fetch_c<T, Width<packs>::slots, packs>(C, row_stride, places, row_at(first, tiling.slot, tiling), tiling.pack, c,
                                         tiling);
}

// T', row-major and a whole panel wide, with zeros: T, which is column-major, or T^H.
template <typename T>
inline void stage_joint(device const T* joint, int columns, bool adjoint, threadgroup float4* staged, Team team) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_packs * count;
  for (int index = team.index; index < width * panel_packs; index += limits::tall_apply_threads) {
    // Of T its column, which neighbours write to neighbouring places.
    const int line = int(adjoint ? uint(index) / panel_packs : uint(index) % width);
    const int pack = int(adjoint ? uint(index) % panel_packs : uint(index) / width);
    T numbers[count];
    const bool exists = line < columns && pack * count < columns;
    const float4 whole = exists ? ((device const float4*)(joint + line * columns))[pack] : zero_pack();
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const T number = number_at<T>(whole, q);
      numbers[q] = conjugate(number);
      if (!adjoint) ((threadgroup T*)staged)[(pack * count + q) * width + line] = number;
    }
    if (adjoint) staged[index] = pack_of(numbers);
  }
}

// W of a lane: rows of its pack of V, and every fourth pack of the tile.
template <typename T, int packs>
struct OwnSums {
  float4 of[Width<packs>::owned_packs][packed_count<T>()];
};

template <typename T, int packs>
inline void start_sums(thread OwnSums<T, packs>& sums) {
#pragma unroll
  for (int j = 0; j < Width<packs>::owned_packs; ++j) {
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) sums.of[j][q] = zero_pack();
  }
}

// Adds the products of rows_summed rows.
template <typename T, int packs>
inline void add_products(threadgroup const float4* V, threadgroup const float4* C, thread OwnSums<T, packs>& sums) {
  OwnSums<T, packs> of_few;
  start_sums(of_few);
#pragma unroll
  for (int i = 0; i < rows_summed; ++i) {
    const float4 v = V[i * staged_v_stride];
#pragma unroll
    for (int j = 0; j < Width<packs>::owned_packs; ++j) {
      const float4 c = C[i * packs + 4 * j];
#pragma unroll
      for (int q = 0; q < packed_count<T>(); ++q) {
        of_few.of[j][q] = multiply_add(conjugate(number_at<T>(v, q)), c, of_few.of[j][q]);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < Width<packs>::owned_packs; ++j) {
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) sums.of[j][q] += of_few.of[j][q];
  }
}

// W, summed up over the quarters, to the first half of `W`, and T' W to the second. Each quarter finds its part of
// staged_V free, which is free for all at the end. Three barriers, one of them last.
template <typename T, int packs>
inline void multiply_joint(threadgroup const float4* joint, thread const OwnSums<T, packs>& sums,
                           threadgroup float4* staged_V, threadgroup float4* W, Tiling tiling, Team team) {
  constexpr int count = packed_count<T>();
  constexpr int all_packs = panel_packs * count * packs;
  threadgroup float4* of_quarter = staged_V + tiling.quarter * quarter_v_packs;
#pragma unroll
  for (int j = 0; j < Width<packs>::owned_packs; ++j) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      of_quarter[(tiling.v_pack * count + q) * packs + tiling.c_pack + 4 * j] = sums.of[j][q];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int index = team.index; index < all_packs; index += limits::tall_apply_threads) {
    threadgroup const float4* parts = staged_V + index;
    W[index] = (parts[0] + parts[quarter_v_packs]) + (parts[2 * quarter_v_packs] + parts[3 * quarter_v_packs]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int index = team.index; index < all_packs; index += limits::tall_apply_threads) {
    threadgroup const float4* row = joint + uint(index) / packs * panel_packs;
    threadgroup const float4* column = W + uint(index) % packs;
    float4 sum = zero_pack();
#pragma unroll
    for (int pack = 0; pack < panel_packs; ++pack) {
      const float4 of_joint = row[pack];
#pragma unroll
      for (int q = 0; q < count; ++q) {
        sum = multiply_add(number_at<T>(of_joint, q), column[(pack * count + q) * packs], sum);
      }
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

// V W taken off the rows of C that a lane owns.
template <typename T, int packs>
inline void subtract_products(threadgroup const float4* V, threadgroup const float4* W, thread float4* c,
                              Tiling tiling) {
  V += tiling.slot * staged_v_stride;
  W += tiling.pack;
#pragma unroll 2
  for (int pack = 0; pack < tiling.v_packs; ++pack) {
    float4 w[packed_count<T>()];
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) w[q] = W[(pack * packed_count<T>() + q) * packs];
#pragma unroll
    for (int r = 0; r < packs; ++r) {
      const float4 v = V[r * Width<packs>::slots * staged_v_stride + pack];
#pragma unroll
      for (int q = 0; q < packed_count<T>(); ++q) c[r] = multiply_add(-number_at<T>(v, q), w[q], c[r]);
    }
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
  const int v_packs = int(columns) / packed_count<T>();
  const Tiling tiling = make_tiling<packs>(threadgroup_index % tiles, C_packs, v_packs, node.rows, team);
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride;
  joint += joint_offset + node.matrix * joint_batch_stride + node.index * columns * columns;
  C += C_offset + node.matrix * C_batch_stride + tiling.first_pack * packed_count<T>();
  const int V_stride = int(V_row_stride);
  const int C_stride = int(C_row_stride);

  for (int i = team.index; i < node.rows; i += limits::tall_apply_threads) {
    const int row = int(node.first_row) + i;
    const long chunk = unit_rows > 0 ? row / int(unit_rows) * unit_step : 0;
    places[i] = unit_rows > 0 ? int(first_row_of_node(chunk, chunk_share, chunk_rest)) + row % int(unit_rows) : row;
  }
  stage_joint(joint, int(columns), adjoint != 0, staged_joint, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // What comes next is fetched while rows are worked on.
  threadgroup float4* own_V = staged_V + tiling.quarter * quarter_v_packs;
  threadgroup float4* own_C = staged + tiling.quarter * quarter_c_packs;
  OwnSums<T, packs> sums;
  start_sums(sums);
  float4 next_v[staged_rows / 4];
  float4 next_c[4];
  fetch_v<T, staged_rows>(V, V_stride, 0, next_v, tiling);
  fetch_summed<T, packs>(C, C_stride, places, 0, next_c, tiling);
  for (int first = 0; first < tiling.places; first += staged_rows) {
    stage_v<staged_rows>(next_v, own_V, tiling);
#pragma unroll
    for (int s = 0; s < 4; ++s) own_C[s * limits::simd_width + tiling.lane] = next_c[s];
    simdgroup_barrier(mem_flags::mem_threadgroup);
    fetch_v<T, staged_rows>(V, V_stride, first + staged_rows, next_v, tiling);
    fetch_summed<T, packs>(C, C_stride, places, first + staged_rows, next_c, tiling);
    const int staged_end = min(int(staged_rows), tiling.places - first);
    for (int few = 0; few < staged_end; few += rows_summed) {
      add_products<T, packs>(own_V + few * staged_v_stride + tiling.v_pack, own_C + few * packs + tiling.c_pack, sums);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }

  float4 v[changed_rows / 4];
  float4 c[packs];
  fetch_v<T, changed_rows>(V, V_stride, 0, v, tiling);
  fetch_changed<T, packs>(C, C_stride, places, 0, c, tiling);
  multiply_joint<T, packs>(staged_joint, sums, staged_V, staged, tiling, team);

  Met<T> met;
  start_met(met);
  for (int first = 0; first < tiling.places; first += changed_rows) {
    stage_v<changed_rows>(v, own_V, tiling);
    float4 own[packs];
#pragma unroll
    for (int r = 0; r < packs; ++r) own[r] = c[r];
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (packs < limits::tall_tile_packs) {
      fetch_v<T, changed_rows>(V, V_stride, first + changed_rows, v, tiling);
      fetch_changed<T, packs>(C, C_stride, places, first + changed_rows, c, tiling);
    }
    subtract_products<T, packs>(own_V, staged + staged_c_packs / 2, own, tiling);
    const int row = row_at(first, tiling.slot, tiling);
#pragma unroll
    for (int r = 0; r < packs; ++r) {
      const int next = row + row_step(r * Width<packs>::slots);
      if (next >= tiling.rows || tiling.pack >= tiling.packs) continue;
      const int place = places[next];
      ((device float4*)(C + long(place) * C_stride))[tiling.pack] = own[r];
      if (reports > 0) meet(met, own[r], place);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (packs == limits::tall_tile_packs) {
      fetch_v<T, changed_rows>(V, V_stride, first + changed_rows, v, tiling);
      fetch_changed<T, packs>(C, C_stride, places, first + changed_rows, c, tiling);
    }
  }
  if (reports > 0) report_met<T, packs>(met, staged_V, largest, squares, node, nodes, reports, tiling, team);
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
// Grid and ownership are those of tall_apply. Barriers: two around W, three around T' and two a part behind. The host
// promises: as there; Z has `Z_rows` x `Z_columns` entries that are not zero; C, as wide as Z, is V itself only where
// one tile takes all of its columns.
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
    constant long& reports [[buffer(26)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 staged_V[staged_v_packs];
  threadgroup float4 staged[staged_c_packs];
  threadgroup float4 staged_joint[most_joint_packs];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const long C_packs = C_row_stride / packed_count<T>();
  const uint tiles = uint((C_packs + packs - 1) / packs);
  const Node node = make_node(threadgroup_index / tiles, rows, nodes, share, rest);
  const int v_packs = int(columns) / packed_count<T>();
  const Tiling tiling = make_tiling<packs>(threadgroup_index % tiles, C_packs, v_packs, node.rows, team);
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride;
  joint += joint_offset + node.matrix * joint_batch_stride + node.index * columns * columns;
  const int head_rows = int(min(min(columns, Z_rows), long(node.rows)));
  Z += Z_offset + node.matrix * Z_batch_stride + node.index * Z_node_stride;
  C += C_offset + node.matrix * C_batch_stride + node.first_row * C_row_stride + tiling.first_pack * packed_count<T>();
  const int V_stride = int(V_row_stride);
  const int C_stride = int(C_row_stride);

  threadgroup float4* own_V = staged_V + tiling.quarter * quarter_v_packs;
  threadgroup float4* own_Z = staged + tiling.quarter * quarter_c_packs;
  OwnSums<T, packs> sums;
  start_sums(sums);
  float4 head[rows_summed / 4];
  fetch_v<T, rows_summed>(V, V_stride, 0, head, tiling);
  stage_v<rows_summed>(head, own_V, tiling);
#pragma unroll
  for (int place = 0; place < rows_summed; place += Width<packs>::slots) {
    own_Z[(place + tiling.slot) * packs + tiling.pack] = pack_of_head<T>(
        Z, row_at(0, place + tiling.slot, tiling), head_rows, Z_row_stride, Z_column_stride, Z_columns, tiling);
  }
  stage_joint(joint, int(columns), false, staged_joint, team);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  add_products<T, packs>(own_V + tiling.v_pack, own_Z + tiling.c_pack, sums);
  float4 v[changed_rows / 4];
  fetch_v<T, changed_rows>(V, V_stride, 0, v, tiling);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  multiply_joint<T, packs>(staged_joint, sums, staged_V, staged, tiling, team);

  Met<T> met;
  start_met(met);
  for (int first = 0; first < tiling.places; first += changed_rows) {
    stage_v<changed_rows>(v, own_V, tiling);
    // Where C is V, these lanes have read its rows here.
    simdgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    fetch_v<T, changed_rows>(V, V_stride, first + changed_rows, v, tiling);
    const int row = row_at(first, tiling.slot, tiling);
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
      ((device float4*)(C + long(next) * C_stride))[tiling.pack] = own[r];
      if (reports > 0) meet(met, own[r], int(node.first_row) + next);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (reports > 0) report_met<T, packs>(met, staged_V, largest, squares, node, nodes, reports, tiling, team);
}

}  // namespace metalsvd
