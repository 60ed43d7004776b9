// The tall QR: C - V T' V^H C, what the reflectors of a node do to columns, in its parts.
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

// Of a tile that is `packs` wide: the rows of a quarter that are staged together while W is summed up, few where the
// sums leave few registers for what comes next; the packs of C that a lane moves of them; the packs of W that it owns
// in a row; and over how many rows the lanes are spread that change C.
template <int packs>
struct Width {
  enum : int {
    is_wide = packs == limits::tall_tile_packs,
    staged_rows = is_wide ? int(rows_summed) : int(changed_rows),
    moved_packs = int(staged_rows) * packs / limits::simd_width,
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
  ProductOfLane own;  // W
  int pack;           // C
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
  tiling.own = make_product_of_lane(team.lane);
  tiling.pack = int(lane / 4 % (packs / 2) * 2 + lane % 2);
  tiling.slot = int(lane / (2 * packs) * 2 + lane / 2 % 2);
  return tiling;
}

// The node's row at a quarter's place, the first of rows_summed or on from there, and how much further others are.
inline int quarter_row(int first, int place, Tiling tiling) {
  return first * quarters + tiling.quarter * rows_summed + place;
}
constexpr int row_step(int places) { return places / rows_summed * rows_summed_together + places % rows_summed; }

// Rows of numbers in whole packs, from the pack on that a tile begins with. Addresses are formed by one product of two
// words.
struct PackedRows {
  device char* first;
  uint row_bytes;
};

template <typename T>
inline PackedRows make_packed_rows(device T* first, long row_stride) {
  PackedRows rows;
  rows.first = (device char*)first;
  rows.row_bytes = uint(row_stride * long(sizeof(T)));
  return rows;
}

inline device float4* row_at(PackedRows rows, int row) {
  return (device float4*)(rows.first + ulong(uint(row)) * rows.row_bytes);
}

// The quarter's rows of V from place `first` on, and zeros: four at a time, a pack each lane.
template <int rows>
inline void fetch_v(PackedRows V, int first, thread float4* v, Tiling tiling) {
  const int pack = int(uint(tiling.lane) % panel_packs);
  const int row = quarter_row(first, int(uint(tiling.lane) / panel_packs), tiling);
  const int end = pack < tiling.v_packs ? tiling.rows : 0;
#pragma unroll
  for (int s = 0; s < rows / 4; ++s) {
    const int next = row + row_step(4 * s);
    v[s] = zero_pack();
    if (next < end) v[s] = row_at(V, next)[pack];
  }
}

template <int rows>
inline void stage_v(thread const float4* v, threadgroup float4* staged, Tiling tiling) {
  staged += uint(tiling.lane) / panel_packs * staged_v_stride + uint(tiling.lane) % panel_packs;
#pragma unroll
  for (int s = 0; s < rows / 4; ++s) staged[4 * s * staged_v_stride] = v[s];
}

// A pack of C each lane in rows of its quarter, `step` places apart, and zeros.
template <int step, int count>
inline void fetch_c(PackedRows C, threadgroup const int* places, int row, int pack, thread float4* c, Tiling tiling) {
  const int end = pack < tiling.packs ? tiling.rows : 0;
#pragma unroll
  for (int s = 0; s < count; ++s) {
    const int next = row + row_step(step * s);
    c[s] = zero_pack();
    if (next < end) c[s] = row_at(C, places[next])[pack];
  }
}

// Those that are staged together.
template <int packs>
inline void fetch_summed(PackedRows C, threadgroup const int* places, int first, thread float4* c, Tiling tiling) {
  fetch_c<Width<packs>::slots, Width<packs>::moved_packs>(
      C, places, quarter_row(first, int(uint(tiling.lane) / packs), tiling), int(uint(tiling.lane) % packs), c, tiling);
}

// Those that a lane owns of the rows that are changed together.
template <int packs>
inline void fetch_changed(PackedRows C, threadgroup const int* places, int first, thread float4* c, Tiling tiling) {
  fetch_c<Width<packs>::slots, packs>(C, places, quarter_row(first, tiling.slot, tiling), tiling.pack, c, tiling);
}

// Where a pack of T' stands: rows of it at eight different banks.
inline int joint_place(int row, int pack) { return row * panel_packs + (pack ^ (row & (panel_packs - 1))); }

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
      if (adjoint) continue;
      ((threadgroup T*)(staged + joint_place(pack * count + q, int(uint(line) / count))))[uint(line) % count] = number;
    }
    if (adjoint) staged[joint_place(line, pack)] = pack_of(numbers);
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
      of_quarter[(tiling.own.row_pack * count + q) * packs + tiling.own.pack + 4 * j] = sums.of[j][q];
    }
  }
  // What comes behind may write rows of C that other lanes have read.
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  for (int index = team.index; index < all_packs; index += limits::tall_apply_threads) {
    threadgroup const float4* parts = staged_V + index;
    W[index] = (parts[0] + parts[quarter_v_packs]) + (parts[2 * quarter_v_packs] + parts[3 * quarter_v_packs]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  constexpr int rows_apart = limits::tall_apply_threads / packs;
  constexpr int row_count = (panel_packs * count + rows_apart - 1) / rows_apart;
  const int first_row = int(uint(team.index) / packs);
  threadgroup const float4* column = W + uint(team.index) % packs;
  float4 turned[row_count];
#pragma unroll
  for (int r = 0; r < row_count; ++r) turned[r] = zero_pack();
  if (first_row < panel_packs * count) {
#pragma unroll
    for (int pack = 0; pack < panel_packs; ++pack) {
      float4 w[count];
#pragma unroll
      for (int q = 0; q < count; ++q) w[q] = column[(pack * count + q) * packs];
#pragma unroll
      for (int r = 0; r < row_count; ++r) {
        const float4 of_joint = joint[joint_place(first_row + r * rows_apart, pack)];
#pragma unroll
        for (int q = 0; q < count; ++q) turned[r] = multiply_add(number_at<T>(of_joint, q), w[q], turned[r]);
      }
    }
#pragma unroll
    for (int r = 0; r < row_count; ++r) W[staged_c_packs / 2 + team.index + r * limits::tall_apply_threads] = turned[r];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
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

}  // namespace metalsvd
