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
  tile_rows = limits::reflectors_tile_rows,
  tile_packs = limits::reflectors_tile_packs,
  // Of a thread: a pack of every so many rows.
  rows_apart = limits::reflectors_apply_threads / int(tile_packs),
  held_tile_rows = int(tile_rows) / int(rows_apart)
};

// Y^H C for a tile of columns, and K times that in `product`: X^H C of all parts, from which conj(D R)^T C_1 is taken.
// Three barriers, one of them last. `room` has room for three square matrices and a product.
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
      for (int part = 0; part < parts; ++part) sums[s] += products[(part * width + row) * row_packs + pack];
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
  for (int p = 0; p < reflector_packs; ++p) {
    float4 w[count];
#pragma unroll
    for (int q = 0; q < count; ++q) w[q] = W[(p * count + q) * tile_packs + pack];
#pragma unroll
    for (int s = 0; s < owned; ++s) {
      const float4 of_K = K[(first_row + s * rows_apart) * reflector_packs + p];
#pragma unroll
      for (int q = 0; q < count; ++q) sums[s] = multiply_add(number_at<T>(of_K, q), w[q], sums[s]);
    }
  }
#pragma unroll
  for (int s = 0; s < owned; ++s) product[(first_row + s * rows_apart) * tile_packs + pack] = sums[s];
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// Takes Y K Y^H C off C, from the panel's columns on; and leaves the Gram matrix of the panel behind, scaled, for the
// first pass over that (reflectors_basis.h).
//
// Grid: one threadgroup of reflectors_apply_threads a matrix, tile of columns and of rows, rows innermost. Ownership: a
// thread owns a pack of every rows_apart-th row of its tile. Barriers: those of multiply_by_K, one behind staging Y,
// and for the first tile of columns those of store_gram. The host promises: what reflectors_project has left; the panel
// and that behind it, of `next_columns`, are in the first tile of columns.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::reflectors_apply_threads)]] void reflectors_apply(
    device float4* numbers [[buffer(0)]], device const int* order [[buffer(1)]],
    device const float* squares [[buffer(2)]], device const float4* basis [[buffer(3)]],
    device float4* grams [[buffer(4)]], device const float4* products [[buffer(5)]],
    device const float4* heads [[buffer(6)]], device const float4* small [[buffer(7)]],
    constant long& rows [[buffer(8)]], constant long& all_columns [[buffer(9)]], constant long& stride [[buffer(10)]],
    constant long& first [[buffer(11)]], constant long& columns [[buffer(12)]],
    constant long& most_chunks [[buffer(13)]], constant long& next_columns [[buffer(14)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  threadgroup float4 product[width * tile_packs];
  threadgroup float4 staged[int(tile_rows) * int(staged_row_packs)];
  const Team team = make_team(thread_index, limits::reflectors_apply_threads, lane, simdgroup);
  const PanelPlace panel = make_panel_place(first, columns, rows);
  const uint down = uint(panel.rows + tile_rows - 1) / tile_rows;
  const long row_packs = stride / count;
  const int all_packs = int((stride - first) / count);
  const uint across = uint(all_packs + tile_packs - 1) / tile_packs;
  const long matrix = threadgroup_index / (down * across);
  const int first_row = int(threadgroup_index % down) * tile_rows;
  const int first_pack = int(threadgroup_index / down % across) * tile_packs;
  const int packs = all_packs - first_pack;
  const long place = first / count + first_pack;
  numbers += (matrix * rows + first + first_row) * row_packs + place;
  basis += (matrix * rows + first + first_row) * reflector_packs;
  small += matrix * 3 * square_packs<T>();

  const int pack = team.index % tile_packs;
  const int own_row = team.index / tile_packs;
  const int rows_there = min(int(tile_rows), panel.rows - first_row);
  float4 c[held_tile_rows];
#pragma unroll
  for (int i = 0; i < held_tile_rows; ++i) {
    const int row = own_row + i * rows_apart;
    c[i] = row < rows_there && pack < packs ? numbers[row * row_packs + pack] : zero_pack();
  }
  multiply_by_K<T>(products + matrix * limits::reflectors_parts * width * row_packs + place,
                   heads + matrix * width * row_packs + place, small, parts_of_rows(panel.rows), panel.columns, packs,
                   row_packs, product, staged, team);
  for (int index = team.index; index < int(tile_rows) * int(reflector_packs);
       index += limits::reflectors_apply_threads) {
    const int row = index / reflector_packs;
    const bool is_top = first_row + row < panel.columns;
    float4 y = zero_pack();
    if (row < rows_there) y = is_top ? small[2 * square_packs<T>() + index] : basis[index];
    staged[row * staged_row_packs + index % reflector_packs] = y;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll 2
  for (int p = 0; p < reflector_packs; ++p) {
    float4 w[count];
#pragma unroll
    for (int q = 0; q < count; ++q) w[q] = product[(p * count + q) * tile_packs + pack];
#pragma unroll
    for (int i = 0; i < held_tile_rows; ++i) {
      const float4 y = staged[(own_row + i * rows_apart) * staged_row_packs + p];
#pragma unroll
      for (int q = 0; q < count; ++q) c[i] = multiply_add(-number_at<T>(y, q), w[q], c[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < held_tile_rows; ++i) {
    const int row = own_row + i * rows_apart;
    if (row < rows_there && pack < packs) numbers[row * row_packs + pack] = c[i];
  }
  if (first_pack > 0 || next_columns == 0) return;

  const int pack_of_next = pack - panel.columns / count;
  const bool is_of_next = pack_of_next >= 0 && pack_of_next < reflector_packs;
  const bool exists = is_of_next && pack_of_next * count < int(next_columns);
  float scales[count];
#pragma unroll
  for (int q = 0; q < count; ++q) {
    const long column = pack_of_next * count + q;
    scales[q] = 0.0f;
    if (exists && column < next_columns) {
      scales[q] = basis_scale(
          square_at(order, squares + matrix * all_columns, matrix * all_columns + first + columns + column));
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (is_of_next) {
#pragma unroll
    for (int i = 0; i < held_tile_rows; ++i) {
      const int row = own_row + i * rows_apart;
      float4 scaled = zero_pack();
      if (first_row + row >= panel.columns) {
#pragma unroll
        for (int q = 0; q < count; ++q) scaled = with_number(scaled, q, scales[q] * number_at<T>(c[i], q));
      }
      staged[row * staged_row_packs + pack_of_next] = scaled;
    }
  }
  store_gram<T, tile_rows, limits::reflectors_apply_threads / limits::simd_width>(
      staged, grams + (matrix * 2 * most_chunks + first_row / tile_rows) * square_packs<T>(), team.index, team.lane,
      team.simdgroup);
}

}  // namespace metalsvd
