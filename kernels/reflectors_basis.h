// Block reflectors, the passes over a panel: its basis, and what that has for a Gram matrix.
#pragma once
#include <metal_stdlib>

#include "common/team.h"
#include "reflectors.h"

namespace metalsvd {

using namespace metal;

// A row of a panel, as a thread holds it.
struct HeldRow {
  float4 packs[panel_packs];
};

// 1 or -1 at random.
inline float random_sign(uint row, uint column, uint pass) {
  uint bits = row * 0x9e3779b1u + column * 0x85ebca6bu + pass * 0xc2b2ae35u;
  bits = (bits ^ bits >> 15) * 0x2c1b3c6du;
  return ((bits ^ bits >> 12) & 1u) != 0u ? 1.0f : -1.0f;
}

// x R^-1 for R as factor_gram leaves it, to `result` pack by pack; x is lost. Columns that wait are moved in the first
// rows of the panel.
template <typename T>
inline void solve_row(thread HeldRow& x, CholeskyMemory<T> memory, int row, int pass, threadgroup float4* result) {
  constexpr int count = packed_count<T>();
  const bool is_first = row < panel_width<T>();
#pragma unroll 1
  for (int p = 0; p < panel_packs; ++p) {
    float4 solved = x.packs[0];
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const int j = p * count + q;
      T entry = memory.inverses[j] * number_at<T>(solved, q);
      const float nudge = is_first ? memory.nudges[j] : 0.0f;
      if (nudge != 0.0f) entry += from_real<T>(nudge * random_sign(uint(row), uint(j), uint(pass)));
      // What R has in the columns up to there is zero.
      threadgroup const float4* const of_R = memory.R + j * panel_packs + p;
      solved = multiply_add(-entry, of_R[0], with_number(solved, q, entry));
#pragma unroll
      for (int r = 1; r < panel_packs; ++r) {
        if (p + r < panel_packs) x.packs[r] = multiply_add(-entry, of_R[r], x.packs[r]);
      }
    }
    result[p] = solved;
#pragma unroll
    for (int r = 1; r < panel_packs; ++r) x.packs[r - 1] = x.packs[r];
  }
}

// The square of the column of B that stands at a place of the order, for basis_scale.
inline float square_at(device const int* order, device const float* squares, long place) {
  return squares[order[place]];
}

// Threadgroup memory of a pass.
template <typename T>
struct BasisMemory {
  CholeskyMemory<T> cholesky;
  threadgroup float4* staged;
};

// A chunk of rows of a basis, a row each thread, of which those that do not exist are zeros.
inline HeldRow fetch_row(device const float4* own, int packs, bool exists) {
  HeldRow x;
#pragma unroll
  for (int p = 0; p < panel_packs; ++p) {
    x.packs[p] = zero_pack();
    if (exists && p < packs) x.packs[p] = own[p];
  }
  return x;
}

// X R^-1 for such a chunk, which begins with `own_basis`, and its Gram matrix. Barriers: those of store_gram.
template <typename T>
inline void solve_chunk(thread HeldRow& x, bool exists, int row, int pass, device float4* own_basis,
                        device float4* gram, BasisMemory<T> memory, Team team) {
  threadgroup float4* const staged_row = memory.staged + team.index * staged_row_packs;
  if (pass > 0) {
    solve_row<T>(x, memory.cholesky, row, pass, staged_row);
#pragma unroll
    for (int p = 0; p < panel_packs; ++p) {
      if (!exists) staged_row[p] = zero_pack();
      if (exists) own_basis[p] = staged_row[p];
    }
  } else {
#pragma unroll
    for (int p = 0; p < panel_packs; ++p) staged_row[p] = x.packs[p];
  }
  store_gram<T, chunk_rows, chunk_rows / limits::simd_width>(memory.staged, gram, team.index, team.lane,
                                                             team.simdgroup);
}

// Pass 0 finds the Gram matrix of the first panel, scaled; pass 1 makes a basis of the columns of a panel, scaled, and
// finds the Gram matrix of that. A Gram matrix is left in a part a chunk, in a half of `grams` of which the passes
// take turns.
//
// Grid: one threadgroup of reflectors_small_threads a matrix and chunk of as many rows, chunks innermost. Ownership: a
// thread owns a row. Barriers: one, those of factor_gram, one behind it, and those of store_gram. The host promises:
// rows of `numbers` are whole packs; `grams` has room for 2 x most_chunks square matrices a matrix, of which the last
// launch has left `summed`.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::reflectors_small_threads)]] void reflectors_basis(
    device const T* numbers [[buffer(0)]], device const int* order [[buffer(1)]],
    device const float* squares [[buffer(2)]], device float4* basis [[buffer(3)]], device float4* grams [[buffer(4)]],
    constant long& rows [[buffer(5)]], constant long& all_columns [[buffer(6)]], constant long& stride [[buffer(7)]],
    constant long& first [[buffer(8)]], constant long& columns [[buffer(9)]], constant long& most_chunks [[buffer(10)]],
    constant long& summed [[buffer(11)]], constant long& pass [[buffer(12)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  threadgroup float4 R[square_packs<T>()];
  threadgroup float4 published[published_room];
  threadgroup float4 staged[int(chunk_rows) * int(staged_row_packs)];
  threadgroup float floats[int(cholesky_floats) * width];
  threadgroup float scales[width];
  const Team team = make_team(thread_index, limits::reflectors_small_threads, lane, simdgroup);
  const BasisMemory<T> memory = {make_cholesky_memory<T>(R, floats, published), staged};
  const PanelPlace panel = make_panel_place(first, columns, rows);
  const int chunks = (panel.rows + chunk_rows - 1) / chunk_rows;
  const long matrix = threadgroup_index / uint(chunks);
  const int chunk = int(threadgroup_index % uint(chunks));
  const int row = chunk * chunk_rows + team.index;
  const bool exists = row < panel.rows;
  const long place_of_row = matrix * rows + first + row;
  grams += matrix * 2 * most_chunks * square_packs<T>();

  HeldRow x = fetch_row((device const float4*)(numbers + place_of_row * stride + first),
                        (panel.columns + count - 1) / count, exists);
  if (team.index < width) {
    const long place = matrix * all_columns + first + team.index;
    const bool is_column = team.index < panel.columns;
    scales[team.index] = is_column ? basis_scale(square_at(order, squares + matrix * all_columns, place)) : 0.0f;
  }
  const SquareOfThread<T> place = make_square_of_thread<T>(team.index);
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (int p = 0; p < panel_packs; ++p) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      x.packs[p] = with_number(x.packs[p], q, scales[p * count + q] * number_at<T>(x.packs[p], q));
    }
  }
  if (pass > 0) {
    OwnSquare<T> sum;
    sum_grams(grams, int(summed), place, sum);
    factor_gram<T>(sum, panel.columns, place, memory.cholesky);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  device float4* const gram = grams + (pass * most_chunks + chunk) * square_packs<T>();
  solve_chunk<T>(x, exists, row, int(pass), basis + place_of_row * panel_packs, gram, memory, team);
}

// Whether two columns have more in common than columns of a basis may. Three barriers.
template <typename T>
inline bool is_far_from_orthogonal(OwnSquare<T> gram, SquareOfThread<T> place, threadgroup float* squares,
                                   threadgroup uint* slots, Team team) {
  constexpr int count = packed_count<T>();
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      if ((place.pack + s) * count + q == place.row) squares[place.row] = real_part(number_at<T>(gram.packs[s], q));
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint found = 0u;
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const int column = (place.pack + s) * count + q;
      const float bound = nearly_orthogonal() * squares[place.row] * squares[column];
      if (column != place.row && square_add(number_at<T>(gram.packs[s], q), 0.0f) > bound) found = 1u;
    }
  }
  return threadgroup_or(found, slots, team) != 0u;
}

// The passes over a panel that are left: as long as its basis is far from orthogonal, that of the last one becomes
// another. Its Gram matrix is left in `gram`.
//
// Grid: one threadgroup of reflectors_small_threads a matrix. Ownership: a thread owns a row of each chunk. Barriers:
// three, and in a pass those of factor_gram, one behind it, and those of store_gram for each chunk. The host promises:
// pass 1 has left X in `basis` and Gram matrices in the second half of `grams`, as reflectors_basis has it.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::reflectors_small_threads)]] void reflectors_repeat(
    device float4* basis [[buffer(0)]], device float4* grams [[buffer(1)]], device float4* gram [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& first [[buffer(4)]], constant long& columns [[buffer(5)]],
    constant long& most_chunks [[buffer(6)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int width = panel_width<T>();
  threadgroup float4 R[square_packs<T>()];
  threadgroup float4 published[published_room];
  threadgroup float4 staged[int(chunk_rows) * int(staged_row_packs)];
  threadgroup float floats[int(cholesky_floats) * width];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, limits::reflectors_small_threads, lane, simdgroup);
  const BasisMemory<T> memory = {make_cholesky_memory<T>(R, floats, published), staged};
  const PanelPlace panel = make_panel_place(first, columns, rows);
  const int chunks = (panel.rows + chunk_rows - 1) / chunk_rows;
  const long matrix = threadgroup_index;
  const SquareOfThread<T> place = make_square_of_thread<T>(team.index);
  grams += (matrix * 2 + 1) * most_chunks * square_packs<T>();
  basis += (matrix * rows + first) * panel_packs;

  OwnSquare<T> sum;
  sum_grams(grams, chunks, place, sum);
  for (int pass = 2; pass <= limits::reflectors_passes; ++pass) {
    if (!is_far_from_orthogonal(sum, place, memory.cholesky.squares, slots, team)) break;
    factor_gram<T>(sum, panel.columns, place, memory.cholesky);
    // The Gram matrices that have been summed up are written over.
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int row = chunk * chunk_rows + team.index;
      device float4* const own = basis + long(row) * panel_packs;
      HeldRow x = fetch_row(own, panel_packs, row < panel.rows);
      solve_chunk<T>(x, row < panel.rows, row, pass, own, grams + chunk * square_packs<T>(), memory, team);
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    }
    sum_grams(grams, chunks, place, sum);
  }
  gram += matrix * square_packs<T>() + place.row * panel_packs + place.pack;
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) gram[s] = sum.packs[s];
}

}  // namespace metalsvd
