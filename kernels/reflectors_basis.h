// Block reflectors, the passes over a panel: its basis, and what that has for a Gram matrix.
#pragma once
#include <metal_stdlib>

#include "common/team.h"
#include "reflectors.h"

namespace metalsvd {

using namespace metal;

// A row of a panel, as a thread holds it.
struct HeldRow {
  float4 packs[reflector_packs];
};

// x R^-1 for R as factor_gram leaves it, to `result` pack by pack; x is lost. Columns that wait are nudged in row `row`
// of the panel.
template <typename T>
inline void solve_row(thread HeldRow& x, threadgroup const float4* R, threadgroup const float* inverses, uint waiting,
                      int row, threadgroup float4* result) {
  constexpr int count = packed_count<T>();
#pragma unroll 1
  for (int p = 0; p < reflector_packs; ++p) {
    float4 solved = x.packs[0];
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const int j = p * count + q;
      T entry = inverses[j] * number_at<T>(solved, q);
      if (row == j && (waiting >> j & 1u) != 0u) entry += from_real<T>(basis_nudge());
      // What R has in the columns up to there is zero.
      solved = multiply_add(-entry, R[j * reflector_packs + p], with_number(solved, q, entry));
#pragma unroll
      for (int r = 1; r < reflector_packs; ++r) {
        if (p + r < reflector_packs) x.packs[r] = multiply_add(-entry, R[j * reflector_packs + p + r], x.packs[r]);
      }
    }
    result[p] = solved;
#pragma unroll
    for (int r = 1; r < reflector_packs; ++r) x.packs[r - 1] = x.packs[r];
  }
}

// The square of the column of B that stands at a place of the order, for basis_scale.
inline float square_at(device const int* order, device const float* squares, long place) {
  return squares[order[place]];
}

// Pass 0 finds the Gram matrix of the first panel, scaled; the next ones make a basis of a panel, pass 1 of its columns
// scaled and others of the last basis, if `again` says so, and its Gram matrix; and say whether another is due. A Gram
// matrix is left in a part a chunk, in a half of `grams` that alternates.
//
// Grid: one threadgroup of reflectors_basis_threads a matrix and chunk of as many rows, chunks innermost. Ownership: a
// thread owns a row. Barriers: two around the Cholesky factor, and those of store_gram. The host promises: rows of
// `numbers` are whole packs; `grams` has room for 2 x most_chunks square matrices a matrix, of which the last launch
// has left `summed`; `again` has reflectors_passes + 1 words a matrix.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::reflectors_basis_threads)]] void reflectors_basis(
    device const T* numbers [[buffer(0)]], device const int* order [[buffer(1)]],
    device const float* squares [[buffer(2)]], device float4* basis [[buffer(3)]], device float4* grams [[buffer(4)]],
    device uint* again [[buffer(5)]], constant long& rows [[buffer(6)]], constant long& all_columns [[buffer(7)]],
    constant long& stride [[buffer(8)]], constant long& first [[buffer(9)]], constant long& columns [[buffer(10)]],
    constant long& most_chunks [[buffer(11)]], constant long& summed [[buffer(12)]], constant long& pass [[buffer(13)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  threadgroup float4 R[square_packs<T>()];
  threadgroup float4 rows_of_gram[published_room];
  threadgroup float4 staged[int(basis_rows) * int(staged_row_packs)];
  threadgroup float diagonal[3 * width];
  threadgroup float scales[width];
  const PanelPlace panel = make_panel_place(first, columns, rows);
  const int chunks = (panel.rows + basis_rows - 1) / basis_rows;
  const long matrix = threadgroup_index / uint(chunks);
  const int chunk = int(threadgroup_index % uint(chunks));
  const int thread_of_chunk = int(thread_index);
  device uint* const words = again + matrix * (limits::reflectors_passes + 1);
  if (pass > 1 && words[pass - 1] == 0u) {
    if (chunk == 0 && thread_of_chunk == 0) words[pass] = 0u;
    return;
  }
  grams += matrix * 2 * most_chunks * square_packs<T>();
  const long half = most_chunks * square_packs<T>();
  const int row = chunk * basis_rows + thread_of_chunk;
  const bool exists = row < panel.rows;
  device float4* const own_basis = basis + (matrix * rows + first + row) * reflector_packs;

  HeldRow x;
  device const float4* const own =
      pass > 1 ? own_basis : (device const float4*)(numbers + (matrix * rows + first + row) * stride + first);
#pragma unroll
  for (int p = 0; p < reflector_packs; ++p) {
    x.packs[p] = zero_pack();
    if (exists && p * count < panel.columns) x.packs[p] = own[p];
  }
  if (pass <= 1 && thread_of_chunk < width) {
    const long place = matrix * all_columns + first + thread_of_chunk;
    const bool is_column = thread_of_chunk < panel.columns;
    scales[thread_of_chunk] = is_column ? basis_scale(square_at(order, squares + matrix * all_columns, place)) : 1.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (pass <= 1) {
#pragma unroll
    for (int p = 0; p < reflector_packs; ++p) {
#pragma unroll
      for (int q = 0; q < count; ++q) {
        x.packs[p] = with_number(x.packs[p], q, scales[p * count + q] * number_at<T>(x.packs[p], q));
      }
    }
  }
  threadgroup float4* const staged_row = staged + thread_of_chunk * staged_row_packs;
  if (pass == 0) {
#pragma unroll
    for (int p = 0; p < reflector_packs; ++p) staged_row[p] = x.packs[p];
  } else {
    const SquareOfThread<T> place = make_square_of_thread<T>(thread_of_chunk);
    const CholeskyMemory<T> memory = {R, diagonal, diagonal + 2 * width, rows_of_gram};
    OwnSquare<T> inverse;
    const CholeskyReport report = factor_gram<T>(sum_grams(grams + (pass - 1) % 2 * half, int(summed), place), inverse,
                                                 panel.columns, place, memory);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (chunk == 0 && thread_of_chunk == 0) words[pass] = report.again ? 1u : 0u;
    solve_row<T>(x, R, diagonal + width, exists ? report.waiting : 0u, row, staged_row);
    if (exists) {
#pragma unroll
      for (int p = 0; p < reflector_packs; ++p) own_basis[p] = staged_row[p];
    }
  }
  store_gram<T, basis_rows, limits::reflectors_basis_threads / limits::simd_width>(
      staged, grams + pass % 2 * half + chunk * square_packs<T>(), thread_of_chunk, int(lane), int(simdgroup));
}

}  // namespace metalsvd
