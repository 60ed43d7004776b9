// Behind the tall QR and method `block`: the left vectors Z of R = Z diag(sigma) X^H from its right ones.
//
// To accumulate Z, `block` multiplies it with every rotation: half of what its sweeps do. Where columns are many it
// leaves Z away, and Y = Z diag(sigma) is formed. X is orthonormal to the tolerance of the sweeps only, as E = X^H X -
// I. It is R = Z diag(sigma) X^H for the Z that would have been accumulated, so that R X = Z diag(sigma) (I + E), and
// Y = R X (I - E) but for E^2.
//
// An error of eps sigma_1 in Y is one of eps sigma_1 in R = Y X^H, as large as any backward stable method leaves. In a
// column of small sigma it may be the whole direction, but such columns are the last: they are made orthogonal to those
// before, which stay as they are. Drmac and Veselic (2008, I, section 3) obtain Z by a triangular solve, for which R
// has to be well-conditioned.
//
// That is done by products, of which few launches make many numbers. The columns of Z = Y diag(sigma)^-1 are multiplied
// by the upper triangle I - F, where F is what Z^H Z has above the diagonal, and by the inverse of each length. This is
// Gram-Schmidt to the first order; what is left is of the order of F^2, as in Newton's iteration, and two of these
// steps make it rounding where sigma_1 is up to some 10^5 sigma_n. A matrix for which F is not small by then, as where
// the rank is not full, is not settled: the tall QR factors what there is, Z = Q D, where D has the phases of the
// diagonal of R of Z, and completes what is missing.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"
#include "tall.h"
#include "tall_copy.h"
#include "tall_packed.h"

namespace metalsvd {

using namespace metal;

// A threadgroup makes a tile of a product, a thread eight rows of a pack of it. Slices of as many columns of the left
// factor, and rows of the right one, are staged: those columns one after the other, padded so that they do not begin in
// the same bank.
enum : int {
  product_rows = limits::tall_product_rows,
  product_packs = limits::tall_product_packs,
  product_slice = 16,
  product_held_rows = product_rows * product_packs / int(limits::tall_threads),
  product_stride = product_rows + 4,
  // What a thread moves of a slice of the left factor, every so many rows.
  product_moved = product_rows * product_slice / int(limits::tall_threads),
  product_moved_step = int(limits::tall_threads) / product_slice
};

// What a thread moves of a slice: numbers of the left factor, and a pack of a row of the right one.
template <typename T>
struct HeldSlice {
  T left[product_moved];
  T right[packed_count<T>()];
};

// Where that comes from: a column of the slice of the left factor from some row on, and a row of that of the right one
// from some column on. There are `rows` and `columns` from there on.
template <typename T>
struct SliceOfThread {
  device const T* left;
  device const T* right;
  int left_k, left_row;  // in the tile
  int right_k, right_pack;
  int rows, columns;
};

// Threads side by side read the left factor along its rows, the right one along whichever side its numbers lie.
template <typename T>
inline SliceOfThread<T> make_slice_of_thread(device const T* left, long left_row_stride, long left_column_stride,
                                             device const T* right, long right_row_stride, long right_column_stride,
                                             long columns, long first_row, long first_column, Team team) {
  SliceOfThread<T> slice;
  const bool down = right_row_stride < right_column_stride;
  slice.left_k = team.index % product_slice;
  slice.left_row = team.index / product_slice;
  slice.right_k = down ? team.index % product_slice : team.index / product_packs;
  slice.right_pack = down ? team.index / product_slice : team.index % product_packs;
  const long row = first_row + slice.left_row;
  const long column = first_column + slice.right_pack * packed_count<T>();
  slice.left = left + row * left_row_stride + slice.left_k * left_column_stride;
  slice.right = right + slice.right_k * right_row_stride + column * right_column_stride;
  slice.rows = int(columns - row);
  slice.columns = int(columns - column);
  return slice;
}

// Those of the slice from column `start` of `columns` on; zeros beyond.
template <typename T>
inline void fetch_slice(SliceOfThread<T> slice, long left_row_stride, long left_column_stride, long right_row_stride,
                        long right_column_stride, bool conjugates, long start, long columns,
                        thread HeldSlice<T>& held) {
  const bool has_left = start + slice.left_k < columns;
  device const T* left = slice.left + start * left_column_stride;
#pragma unroll
  for (int s = 0; s < product_moved; ++s) {
    held.left[s] = from_real<T>(0.0f);
    if (has_left && s * product_moved_step < slice.rows) held.left[s] = left[s * product_moved_step * left_row_stride];
  }
  const bool has_right = start + slice.right_k < columns;
  device const T* right = slice.right + start * right_row_stride;
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) {
    held.right[q] = from_real<T>(0.0f);
    if (!has_right || q >= slice.columns) continue;
    const T number = right[q * right_column_stride];
    held.right[q] = conjugates ? conjugate(number) : number;
  }
}

template <typename T>
inline void stage_slice(SliceOfThread<T> slice, thread const HeldSlice<T>& held, threadgroup T* left,
                        threadgroup float4* right) {
  left += slice.left_k * product_stride + slice.left_row;
#pragma unroll
  for (int s = 0; s < product_moved; ++s) left[s * product_moved_step] = held.left[s];
  right[slice.right_k * product_packs + slice.right_pack] = pack_of(held.right);
}

// The sum of an entry of a product, and where it stands.
template <typename T>
struct ProductEntry {
  T sum;
  long row, column;
};

// What becomes of it. Of a Gram matrix Z^T conj(Z) that is an entry of the triangle that Z is multiplied by; a length
// that is far off is corrected by no more than a factor of two, and is not settled.
template <typename T>
inline T finished_entry(ProductEntry<T> entry, long kind, device const float* values) {
  const bool is_diagonal = entry.row == entry.column;
  if (kind == limits::tall_product_reflected) return from_real<T>(is_diagonal ? 2.0f : 0.0f) - entry.sum;
  if (kind == limits::tall_product_over_values) {
    // Where sigma is less than rounding errors of the largest, so is the column.
    const float sigma = max(values[entry.column], values[0] * power_of_two(-22));
    return (sigma > 0.0f ? precise::divide(1.0f, sigma) : 0.0f) * entry.sum;
  }
  if (kind != limits::tall_product_of_gram) return entry.sum;
  if (!is_diagonal) return entry.row > entry.column ? from_real<T>(0.0f) : -conjugate(entry.sum);
  return from_real<T>(clamp(precise::divide(1.0f, precise::sqrt(real_part(entry.sum))), 0.5f, 2.0f));
}

// What an entry of a Gram matrix adds to the defect: squares of those above the diagonal, which are to add up to 2^-20,
// and far more for a column that is not nearly of unit length.
template <typename T>
inline float defect_of(ProductEntry<T> entry) {
  if (entry.row == entry.column) return fabs(real_part(entry.sum) - 1.0f) <= 0.25f ? 0.0f : 1.0f;
  return entry.row < entry.column ? square_add(entry.sum, 0.0f) : 0.0f;
}

// A product of matrices of columns x columns, by its kind:
// - reflected: 2 I - left conj(right)
// - of_upper: left conj(right) with an upper triangular left
// - over_values: left right, each column divided by its value
// - of_gram: of the Gram matrix left conj(right) what finished_entry says, tiles below the diagonal left out, and to
//   `defects` the sum of what defect_of says, a number a tile
// - by_upper: left right with an upper triangular right.
// It is row-major, its rows whole packs. Of a triangular factor, numbers beyond the tiles that meet it are not read.
//
// Grid: one threadgroup of tall_threads a tile of the product, across first. Ownership: a thread owns a pack of eight
// rows. Barriers: two a slice, before and after it is read, and one for the defect.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_product(
    device const T* left [[buffer(0)]], device const T* right [[buffer(1)]], device T* product [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& stride [[buffer(4)]],
    constant long& left_batch_stride [[buffer(5)]], constant long& left_row_stride [[buffer(6)]],
    constant long& left_column_stride [[buffer(7)]], constant long& right_batch_stride [[buffer(8)]],
    constant long& right_row_stride [[buffer(9)]], constant long& right_column_stride [[buffer(10)]],
    constant long& kind [[buffer(11)]], device const float* values [[buffer(12)]], device float* defects [[buffer(13)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  threadgroup float4 left_packs[product_slice * product_stride / 2];
  threadgroup float4 right_packs[product_slice * product_packs];
  threadgroup float defects_of_simdgroups[limits::tall_threads / limits::simd_width];
  const Team team = make_team(thread_index, limits::tall_threads, lane, simdgroup);
  const uint across = uint(stride / count + product_packs - 1) / uint(product_packs);
  const uint down = uint(columns + product_rows - 1) / uint(product_rows);
  const long matrix = threadgroup_index / (across * down);
  const long first_row = long(threadgroup_index / across % down) * product_rows;
  const long first_pack = long(threadgroup_index % across) * product_packs;
  const long end_of_tile = min((first_pack + product_packs) * count, long(columns));
  if (kind == limits::tall_product_of_gram && first_row >= end_of_tile) {
    if (team.index == 0) defects[threadgroup_index] = 0.0f;
    return;
  }
  const bool conjugates = kind <= limits::tall_product_of_gram;
  const SliceOfThread<T> slice = make_slice_of_thread(
      left + matrix * left_batch_stride, left_row_stride, left_column_stride, right + matrix * right_batch_stride,
      right_row_stride, right_column_stride, columns, first_row, first_pack * count, team);
  // Neighbouring threads read the same rows, and every other the same pack (block_wide_gram.h says why).
  const int pack = team.index % 2 + team.index / 4 % (product_packs / 2) * 2;
  const int rows_of_thread = (team.index / 2 % 2 + team.index / (2 * product_packs) * 2) * product_held_rows;

  float4 sums[product_held_rows];
#pragma unroll
  for (int r = 0; r < product_held_rows; ++r) sums[r] = zero_pack();
  HeldSlice<T> held;
  const long first = kind == limits::tall_product_of_upper ? first_row : 0;
  const long end = kind == limits::tall_product_by_upper ? end_of_tile : long(columns);
  fetch_slice(slice, left_row_stride, left_column_stride, right_row_stride, right_column_stride, conjugates, first, end,
              held);
  for (long start = first; start < end; start += product_slice) {
    stage_slice(slice, held, (threadgroup T*)left_packs, right_packs);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The next slice is on its way while this one is multiplied.
    fetch_slice(slice, left_row_stride, left_column_stride, right_row_stride, right_column_stride, conjugates,
                start + product_slice, end, held);
#pragma unroll 4
    for (int k = 0; k < product_slice; ++k) {
      const float4 of_right = right_packs[k * product_packs + pack];
#pragma unroll
      for (int p = 0; p < product_held_rows / count; ++p) {
        const float4 of_left = left_packs[(k * product_stride + rows_of_thread) / count + p];
#pragma unroll
        for (int i = 0; i < count; ++i) {
          sums[p * count + i] = multiply_add(number_at<T>(of_left, i), of_right, sums[p * count + i]);
        }
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }

  const long first_column = (first_pack + pack) * count;
  float defect = 0.0f;
#pragma unroll
  for (int r = 0; r < product_held_rows; ++r) {
    const long row = first_row + rows_of_thread + r;
    if (row >= columns || first_column >= stride) break;
    T numbers[count];
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const ProductEntry<T> entry = {number_at<T>(sums[r], q), row, first_column + q};
      numbers[q] = from_real<T>(0.0f);
      if (entry.column >= columns) continue;
      numbers[q] = finished_entry(entry, kind, values + matrix * columns);
      if (kind == limits::tall_product_of_gram) defect += defect_of(entry);
    }
    ((device float4*)(product + (matrix * columns + row) * stride))[first_pack + pack] = pack_of(numbers);
  }
  if (kind != limits::tall_product_of_gram) return;
  defect = simd_sum(defect);
  if (team.lane == 0) defects_of_simdgroups[team.simdgroup] = defect;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.index != 0) return;
  float of_tile = 0.0f;
  for (int s = 0; s < team.simdgroups; ++s) of_tile += defects_of_simdgroups[s];
  defects[threadgroup_index] = of_tile;
}

// Which matrices are settled: those whose defects, one of each tile, add up to little.
//
// Grid: one SIMD-group a matrix. No barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::simd_width)]] void tall_settle(
    device const T* defects [[buffer(0)]], device uint* settled [[buffer(1)]], constant long& tiles [[buffer(2)]],
    uint matrix [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {
  float sum = 0.0f;
  for (long tile = lane; tile < tiles; tile += limits::simd_width) sum += defects[matrix * tiles + tile];
  sum = simd_sum(sum);
  if (lane == 0) settled[matrix] = sum <= power_of_two(-20) ? 1u : 0u;
}

// D: the phases of the diagonal of R on that of a square matrix, row-major. R is in the roots of its panels, as
// tall_collect finds it.
//
// Grid and ownership are those of tall_collect. No barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_phases(
    device const T* roots [[buffer(0)]], device T* phases [[buffer(1)]], constant long& columns [[buffer(2)]],
    constant long& panel_columns [[buffer(3)]], constant long& roots_stride [[buffer(4)]],
    constant long& groups [[buffer(5)]], device const uint* settled [[buffer(6)]],
    constant long& may_settle [[buffer(7)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const RowsOfSimdgroup own = make_rows_of_simdgroup(threadgroup_index, groups, simdgroup);
  if (is_settled(settled, may_settle, own.matrix)) return;
  roots += own.matrix * roots_stride;
  phases += own.matrix * columns * columns;
  for (long i = own.first; i < columns; i += own.step) {
    const PlaceInRoots place = find_in_roots<T>(i, columns, panel_columns);
    const T diagonal = roots[place.row + i - place.first];
    const T unit = magnitude(diagonal) > 0.0f ? phase(diagonal) : from_real<T>(1.0f);
    for (long j = lane; j < columns; j += limits::simd_width) {
      phases[i * columns + j] = i == j ? unit : from_real<T>(0.0f);
    }
  }
}

}  // namespace metalsvd
