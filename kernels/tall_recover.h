// The tall QR behind method `block`: the left vectors Z of R = Z diag(sigma) X^H from its right ones.
//
// To accumulate Z, `block` multiplies it with every rotation: half of what its sweeps do. Where columns are many it
// leaves Z away, and Y = Z diag(sigma) is formed and factored by the tall QR: Z = Q D, where D has the phases of the
// diagonal of R of Y, which else is diag(sigma) but for rounding. An error of eps sigma_1 in Y is one of eps sigma_1 in
// R = Y X^H, as large as any backward stable method leaves. In a column of small sigma it may be the whole direction,
// but such columns are the last, and a QR makes them orthogonal to those before, which it leaves as they are: Drmac and
// Veselic (2008, I, section 3) obtain Z by a triangular solve, for which R has to be well-conditioned.
//
// X is orthonormal to the tolerance of the sweeps only, as E = X^H X - I. It is R = Z diag(sigma) X^H for the Z that
// would have been accumulated, so that R X = Z diag(sigma) (I + E), and Y = R X (I - E) but for E^2.
#pragma once
#include <metal_stdlib>

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

// left right, or where it `conjugates` left conj(right), or where it `reflects` 2 I minus that: all columns x columns;
// what is made is row-major, its rows whole packs. Of a left factor that is `upper` triangular what is below the
// diagonal is zero.
//
// Grid: one threadgroup of tall_threads a tile of the product, across first. Ownership: a thread owns a pack of eight
// rows. Barriers: two a slice, before and after it is read.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_product(
    device const T* left [[buffer(0)]], device const T* right [[buffer(1)]], device T* product [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& stride [[buffer(4)]],
    constant long& left_batch_stride [[buffer(5)]], constant long& left_row_stride [[buffer(6)]],
    constant long& left_column_stride [[buffer(7)]], constant long& right_batch_stride [[buffer(8)]],
    constant long& right_row_stride [[buffer(9)]], constant long& right_column_stride [[buffer(10)]],
    constant long& upper [[buffer(11)]], constant long& conjugates [[buffer(12)]],
    constant long& reflects [[buffer(13)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  threadgroup float4 left_packs[product_slice * product_stride / 2];
  threadgroup float4 right_packs[product_slice * product_packs];
  const Team team = make_team(thread_index, limits::tall_threads, lane, simdgroup);
  const uint across = uint(stride / count + product_packs - 1) / uint(product_packs);
  const uint down = uint(columns + product_rows - 1) / uint(product_rows);
  const long matrix = threadgroup_index / (across * down);
  const long first_row = long(threadgroup_index / across % down) * product_rows;
  const long first_pack = long(threadgroup_index % across) * product_packs;
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
  const long first = upper != 0 ? first_row : 0;
  fetch_slice(slice, left_row_stride, left_column_stride, right_row_stride, right_column_stride, conjugates != 0, first,
              columns, held);
  for (long start = first; start < columns; start += product_slice) {
    stage_slice(slice, held, (threadgroup T*)left_packs, right_packs);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The next slice is on its way while this one is multiplied.
    fetch_slice(slice, left_row_stride, left_column_stride, right_row_stride, right_column_stride, conjugates != 0,
                start + product_slice, columns, held);
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
  if (first_column >= stride) return;
#pragma unroll
  for (int r = 0; r < product_held_rows; ++r) {
    const long row = first_row + rows_of_thread + r;
    if (row >= columns) break;
    T numbers[count];
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const T sum = number_at<T>(sums[r], q);
      numbers[q] = reflects != 0 ? from_real<T>(row == first_column + q ? 2.0f : 0.0f) - sum : sum;
    }
    ((device float4*)(product + (matrix * columns + row) * stride))[first_pack + pack] = pack_of(numbers);
  }
}

// D: the phases of the diagonal of R on that of a square matrix, row-major. R is in the roots of its panels, as
// tall_collect finds it.
//
// Grid and ownership are those of tall_collect. No barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_phases(
    device const T* roots [[buffer(0)]], device T* phases [[buffer(1)]], constant long& columns [[buffer(2)]],
    constant long& panel_columns [[buffer(3)]], constant long& roots_stride [[buffer(4)]],
    constant long& groups [[buffer(5)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const RowsOfSimdgroup own = make_rows_of_simdgroup(threadgroup_index, groups, simdgroup);
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
