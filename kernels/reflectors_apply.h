// Block reflectors, the last step of a panel: H C = C - Y K Y^H C.
#pragma once
#include <metal_stdlib>

#include "common/team.h"
#include "reflectors.h"
#include "reflectors_basis.h"
#include "reflectors_project.h"

namespace metalsvd {

using namespace metal;

enum : int {
  tile_packs = limits::reflectors_tile_packs,
  // Of a thread: a pack of every so many rows.
  rows_apart = limits::reflectors_apply_threads / int(tile_packs),
  held_tile_rows = int(chunk_rows) / int(rows_apart)
};

// Y^H C for a tile of columns, and K times that in `product`: X^H C of all parts, from which conj(D R)^T C_1 is taken.
// Three barriers, one of them last. `room` has room for a product and two square matrices.
template <typename T>
inline void multiply_by_K(device const float4* products, device const float4* heads, device const float4* small,
                          int parts, int columns, int packs, long row_packs, threadgroup float4* product,
                          threadgroup float4* room, Team team) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  constexpr int owned = width * tile_packs / limits::reflectors_apply_threads;
  threadgroup float4* const W = room;
  threadgroup float4* const squares = room + width * tile_packs;  // D R and K
  const int pack = team.index % tile_packs;
  const int first_row = team.index / tile_packs;
  for (int index = team.index; index < 2 * square_packs<T>(); index += limits::reflectors_apply_threads) {
    squares[index] = small[index];
  }
  float4 sums[owned];
#pragma unroll
  for (int s = 0; s < owned; ++s) {
    const int row = first_row + s * rows_apart;
    sums[s] = zero_pack();
    float4 head = zero_pack();
    if (pack < packs) {
#pragma unroll
      for (int part = 0; part < limits::reflectors_parts; ++part) {
        if (part < parts) sums[s] += products[(part * width + row) * row_packs + pack];
      }
      if (row < columns) head = heads[row * row_packs + pack];
    }
    product[row * tile_packs + pack] = head;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup const T* const of_R = (threadgroup const T*)squares;
  for (int i = 0; i < columns; ++i) {
    const float4 head = product[i * tile_packs + pack];
#pragma unroll
    for (int s = 0; s < owned; ++s) {
      sums[s] = multiply_add(-conjugate(of_R[i * width + first_row + s * rows_apart]), head, sums[s]);
    }
  }
#pragma unroll
  for (int s = 0; s < owned; ++s) {
    W[(first_row + s * rows_apart) * tile_packs + pack] = sums[s];
    sums[s] = zero_pack();
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup const float4* const K = squares + square_packs<T>();
#pragma unroll
  for (int p = 0; p < panel_packs; ++p) {
    float4 w[count];
#pragma unroll
    for (int q = 0; q < count; ++q) w[q] = W[(p * count + q) * tile_packs + pack];
#pragma unroll
    for (int s = 0; s < owned; ++s) {
      const float4 of_K = K[(first_row + s * rows_apart) * panel_packs + p];
#pragma unroll
      for (int q = 0; q < count; ++q) sums[s] = multiply_add(number_at<T>(of_K, q), w[q], sums[s]);
    }
  }
#pragma unroll
  for (int s = 0; s < owned; ++s) product[(first_row + s * rows_apart) * tile_packs + pack] = sums[s];
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// What a thread holds of a tile of rows: the packs of C that it owns, and some of Y that it stages.
enum : int { moved_of_Y = int(chunk_rows) * int(panel_packs) / int(limits::reflectors_apply_threads) };
struct HeldTile {
  float4 c[held_tile_rows];
  float4 y[moved_of_Y];
};

inline void fetch_tile_of_C(device const float4* C, long row_packs, int rows, bool exists, int thread_index,
                            thread HeldTile& tile) {
  const int own_row = thread_index / tile_packs;
  C += own_row * row_packs + thread_index % tile_packs;
#pragma unroll
  for (int i = 0; i < held_tile_rows; ++i) {
    tile.c[i] = zero_pack();
    if (exists && own_row + i * rows_apart < rows) tile.c[i] = C[i * rows_apart * row_packs];
  }
}

// Rows of Y, of which `top` holds the first ones.
inline void fetch_tile_of_Y(device const float4* basis, device const float4* top, int top_rows, int rows,
                            int thread_index, thread HeldTile& tile) {
#pragma unroll
  for (int s = 0; s < moved_of_Y; ++s) {
    const int index = thread_index + s * limits::reflectors_apply_threads;
    const int row = index / panel_packs;
    tile.y[s] = zero_pack();
    if (row < rows) tile.y[s] = row < top_rows ? top[index] : basis[index];
  }
}

// C - Y W for a tile of rows.
template <typename T>
inline void subtract_product(threadgroup const float4* Y, threadgroup const float4* W, int thread_index,
                             thread HeldTile& tile) {
  constexpr int count = packed_count<T>();
  Y += thread_index / tile_packs * staged_row_packs;
  W += thread_index % tile_packs;
#pragma unroll 2
  for (int p = 0; p < panel_packs; ++p) {
    float4 w[count];
#pragma unroll
    for (int q = 0; q < count; ++q) w[q] = W[(p * count + q) * tile_packs];
#pragma unroll
    for (int i = 0; i < held_tile_rows; ++i) {
      const float4 y = Y[i * rows_apart * staged_row_packs + p];
#pragma unroll
      for (int q = 0; q < count; ++q) tile.c[i] = multiply_add(-number_at<T>(y, q), w[q], tile.c[i]);
    }
  }
}

// Takes Y K Y^H C off C, from the panel's columns on; and leaves the Gram matrix of the panel behind, scaled, for the
// first pass over that (reflectors_basis.h).
//
// Grid: one threadgroup of reflectors_apply_threads a matrix, tile of columns and `share` tiles of rows, these
// innermost. Ownership: a thread owns a pack of every rows_apart-th row of its tiles. Barriers: those of multiply_by_K,
// two for each tile of rows, and for the first tile of columns one more and those of store_gram. The host promises:
// what reflectors_project has left; the panel and that behind it, of `next_columns`, are in the first tile of columns.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::reflectors_apply_threads)]] void reflectors_apply(
    device float4* numbers [[buffer(0)]], device const int* order [[buffer(1)]],
    device const float* squares [[buffer(2)]], device const float4* basis [[buffer(3)]],
    device float4* grams [[buffer(4)]], device const float4* products [[buffer(5)]],
    device const float4* heads [[buffer(6)]], device const float4* small [[buffer(7)]],
    constant long& rows [[buffer(8)]], constant long& all_columns [[buffer(9)]], constant long& stride [[buffer(10)]],
    constant long& first [[buffer(11)]], constant long& columns [[buffer(12)]],
    constant long& most_chunks [[buffer(13)]], constant long& next_columns [[buffer(14)]],
    constant long& share [[buffer(15)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  threadgroup float4 product[width * tile_packs];
  threadgroup float4 staged[int(chunk_rows) * int(staged_row_packs)];
  const Team team = make_team(thread_index, limits::reflectors_apply_threads, lane, simdgroup);
  const PanelPlace panel = make_panel_place(first, columns, rows);
  const int down = (panel.rows + chunk_rows - 1) / chunk_rows;
  const uint shares = uint(down + int(share) - 1) / uint(share);
  const long row_packs = stride / count;
  const int all_packs = int((stride - first) / count);
  const uint across = uint(all_packs + tile_packs - 1) / tile_packs;
  const long matrix = threadgroup_index / (shares * across);
  const int first_tile = int(threadgroup_index % shares) * int(share);
  const int end_tile = min(first_tile + int(share), down);
  const int first_pack = int(threadgroup_index / shares % across) * tile_packs;
  const int pack = team.index % tile_packs;
  const int own_row = team.index / tile_packs;
  const bool exists = pack < all_packs - first_pack;
  const long place = first / count + first_pack;
  numbers += (matrix * rows + first) * row_packs + place;
  basis += (matrix * rows + first) * panel_packs;
  small += matrix * 3 * square_packs<T>();
  device const float4* const top = small + 2 * square_packs<T>();
  grams += matrix * 2 * most_chunks * square_packs<T>();

  // Of the panel behind, a thread of the first tile of columns.
  const int pack_of_next = first_pack > 0 ? int(tile_packs) : pack - panel.columns / count;
  const bool is_of_next = pack_of_next >= 0 && pack_of_next < panel_packs;
  float scales[count];
#pragma unroll
  for (int q = 0; q < count; ++q) {
    const long column = pack_of_next * count + q;
    scales[q] = 0.0f;
    if (is_of_next && column < next_columns) {
      scales[q] = basis_scale(
          square_at(order, squares + matrix * all_columns, matrix * all_columns + first + columns + column));
    }
  }

  HeldTile tile;
  const int start = first_tile * chunk_rows;
  fetch_tile_of_C(numbers + start * row_packs, row_packs, panel.rows - start, exists, team.index, tile);
  fetch_tile_of_Y(basis + start * panel_packs, top + start * panel_packs, panel.columns - start, panel.rows - start,
                  team.index, tile);
  multiply_by_K<T>(products + matrix * limits::reflectors_parts * width * row_packs + place,
                   heads + matrix * width * row_packs + place, small, parts_of_rows(panel.rows), panel.columns,
                   all_packs - first_pack, row_packs, product, staged, team);
#pragma unroll 1
  for (int index = first_tile; index < end_tile; ++index) {
    const int row = index * chunk_rows;
    const int next = row + chunk_rows;
#pragma unroll
    for (int s = 0; s < moved_of_Y; ++s) {
      const int moved = team.index + s * limits::reflectors_apply_threads;
      staged[moved / panel_packs * staged_row_packs + moved % panel_packs] = tile.y[s];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (index + 1 < end_tile) {
      fetch_tile_of_Y(basis + next * panel_packs, top, 0, panel.rows - next, team.index, tile);
    }
    subtract_product<T>(staged, product, team.index, tile);
#pragma unroll
    for (int i = 0; i < held_tile_rows; ++i) {
      const int own = row + own_row + i * rows_apart;
      if (exists && own < panel.rows) numbers[own * row_packs + pack] = tile.c[i];
    }
    if (first_pack == 0 && next_columns > 0) {
      threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
      for (int i = 0; i < held_tile_rows; ++i) {
        const int own = own_row + i * rows_apart;
        float4 scaled = zero_pack();
        if (row + own >= panel.columns) {
#pragma unroll
          for (int q = 0; q < count; ++q) scaled = with_number(scaled, q, scales[q] * number_at<T>(tile.c[i], q));
        }
        if (is_of_next) staged[own * staged_row_packs + pack_of_next] = scaled;
      }
      store_gram<T, chunk_rows, limits::reflectors_apply_threads / limits::simd_width>(
          staged, grams + index * square_packs<T>(), team.index, team.lane, team.simdgroup);
    }
    if (index + 1 == end_tile) return;
    fetch_tile_of_C(numbers + next * row_packs, row_packs, panel.rows - next, exists, team.index, tile);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

}  // namespace metalsvd
