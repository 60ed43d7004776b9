// Block reflectors, the passes over a panel: its basis, and what that has for a Gram matrix.
#pragma once
#include <metal_stdlib>

#include "common/team.h"
#include "reflectors.h"

namespace metalsvd {

using namespace metal;

// The rows of a panel that the threads of a chunk hold, a row each, to places that are `staged_row_packs` apart.
inline void stage_row(thread const HeldRow& x, int row, threadgroup float4* staged) {
#pragma unroll
  for (int p = 0; p < reflector_packs; ++p) staged[row * staged_row_packs + p] = x.packs[p];
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
  threadgroup float4 staged[int(basis_rows) * int(staged_row_packs)];
  threadgroup float diagonal[2 * width];
  threadgroup float scales[width];
  threadgroup uint waiting[1];
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
  if (pass > 0) {
    sum_grams<T>(grams + (pass - 1) % 2 * half, int(summed), R, thread_of_chunk, limits::reflectors_basis_threads);
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
  if (pass > 0) {
    if (simdgroup == 0) {
      const CholeskyReport report = factor_gram<T>(R, diagonal, panel.columns, int(lane));
      if (lane == 0) {
        waiting[0] = report.waiting;
        if (chunk == 0) words[pass] = report.again ? 1u : 0u;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (exists) {
      solve_row<T>(x, R, diagonal, waiting[0], row);
#pragma unroll
      for (int p = 0; p < reflector_packs; ++p) own_basis[p] = x.packs[p];
    }
  }
  stage_row(x, thread_of_chunk, staged);
  store_gram<T, basis_rows, limits::reflectors_basis_threads / limits::simd_width>(
      staged, grams + pass % 2 * half + chunk * square_packs<T>(), thread_of_chunk, int(lane), int(simdgroup));
}

}  // namespace metalsvd
