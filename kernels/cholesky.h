// The QR of matrices with many more rows than columns, where their columns are well-conditioned: from Gram matrices, so
// that B is met by products alone, which leave nothing to wait for.
//
// CholeskyQR2 (Yamamoto, Nakatsukasa, Yanagisawa and Fukaya 2015): with the Cholesky factor R_1 of B^T B, C = B R_1^-1
// is orthonormal but for some eps cond(B)^2, and with the Cholesky factor R_2 of C^T C, R = R_2 R_1 and Q = C R_2^-1
// are those of B to rounding. Q is not formed: what it is to be applied to is multiplied with R_2^-1 first. Columns of
// very different length do no harm, since what counts is the condition of B with columns of unit length: each entry of
// a Gram matrix, and so of the factors, is right relative to the lengths of its columns.
//
// That the condition is small enough is seen on the way. A pivot is the square of what a column has that those before
// it have not: where one is less than 2^-16 of the column's, or where C^T C is not nearly I, the matrix is left to the
// reflectors of the tall QR (tall.h), which take whatever comes.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"
#include "whole.h"

namespace metalsvd {

using namespace metal;

// Gram matrices of parts of the rows of B, those of their tiles that are on or above the diagonal.
//
// Grid: a threadgroup of block_threads a matrix, part and tile. Ownership and barriers: those of sum_whole and
// total_of_whole. The host promises: rows of B are whole fours, zero beyond its columns, and a Gram matrix has
// `width` x `width` subtiles that hold them.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void cholesky_gram(
    device const T* B [[buffer(0)]], device T* grams [[buffer(1)]], constant long& rows [[buffer(2)]],
    constant long& stride [[buffer(3)]], constant long& width [[buffer(4)]], constant long& parts [[buffer(5)]],
    constant long& part_rows [[buffer(6)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  enum : int { subtiles = 2 };
  threadgroup float4 memory[WholeTile<subtiles>::packs];
  const WholeTask task = make_triangle_task<subtiles>(group, int(width));
  const long matrix = task.matrix / parts;
  const long first = task.matrix % parts * part_rows;
  const int side = int(width) * whole_side;
  WholeProduct<WholeLines, WholeLines> product;
  product.lines = int(min(part_rows, rows - first));
  product.left = whole_factor<WholeLines>(B + (matrix * rows + first) * stride, stride, product.lines, stride);
  product.right = product.left;
  product.first_row = task.row * whole_side;
  product.first_column = task.column * whole_side;
  WholeSums<subtiles> sums;
  sum_whole<subtiles, false>(product, memory, int(thread_index), sums);
  grams += task.matrix * side * side;
#pragma unroll
  for (int a = 0; a < subtiles; ++a) {
#pragma unroll
    for (int b = 0; b < subtiles; ++b) {
      const float4 total = total_of_whole<subtiles>(sums, a, b, memory, int(thread_index));
      if (task.row + a > task.column + b || task.column + b >= int(width)) continue;
      *(device float4*)(grams + place_of_four(side, task.row + a, task.column + b, int(thread_index))) = total;
    }
  }
}

// The sum of these, both of its triangles.
//
// Grid: a threadgroup of block_threads a matrix and subtile on or above the diagonal. Ownership: four columns of a row
// of it a thread, and their mirror images. No barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void cholesky_sum(
    device const T* grams [[buffer(0)]], device T* gram [[buffer(1)]], constant long& width [[buffer(2)]],
    constant long& parts [[buffer(3)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  const WholeTask task = make_triangle_task<1>(group, int(width));
  const int side = int(width) * whole_side;
  grams += task.matrix * parts * side * side;
  grams += place_of_four(side, task.row, task.column, int(thread_index));
  float4 sum = float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
  for (long part = 0; part < parts; ++part) sum += *(device const float4*)(grams + part * side * side);
  store_whole(sum, 1.0f, gram + task.matrix * side * side, side, task.row, task.column, int(thread_index));
}

// A square matrix of up to cholesky_most_columns in the registers of a threadgroup: a SIMD-group has some rows, each of
// its lanes four columns of these.
enum : int {
  cholesky_side = limits::cholesky_most_columns,
  cholesky_rows = cholesky_side * int(limits::simd_width) / int(limits::cholesky_threads),
  cholesky_columns = cholesky_side / int(limits::simd_width)
};
struct CholeskySquare {
  float at[cholesky_rows][cholesky_columns];
};

// What stands in the lower triangle of the square times `scale`, a factor a row, to the upper triangle of `out`; zeros
// below.
inline void store_transposed(thread const CholeskySquare& square, thread const float (&scale)[cholesky_rows],
                             device float* out, long stride, int columns, Team team) {
  const int first_row = team.simdgroup * cholesky_rows;
#pragma unroll
  for (int q = 0; q < cholesky_columns; ++q) {
    const int column = team.lane * cholesky_columns + q;
    if (column >= columns) continue;
#pragma unroll
    for (int a = 0; a < cholesky_rows; a += 4) {
      if (first_row + a >= int(stride)) continue;
      float entries[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = first_row + a + i;
        entries[i] = column < row ? scale[a + i] * square.at[a + i][q] : column == row ? scale[a + i] : 0.0f;
      }
      *(device float4*)(out + column * stride + first_row + a) = float4(entries[0], entries[1], entries[2], entries[3]);
    }
  }
}

// Takes a pivot row off the rows behind row `last` of a SIMD-group, of which `entries` are those in the pivot's column;
// a lane that has this column puts that of the inverse in its place.
inline void eliminate(threadgroup const float* entries, int last, float inverse_of_pivot,
                      thread const float (&row)[cholesky_columns], bool has_pivot, int pivot_place,
                      thread CholeskySquare& square) {
#pragma unroll
  for (int b = 0; b < cholesky_rows; ++b) {
    const float factor = last < b ? entries[b] * inverse_of_pivot : 0.0f;
#pragma unroll
    for (int q = 0; q < cholesky_columns; ++q) {
      const bool begins = q == pivot_place && has_pivot && last < b;
      square.at[b][q] = fma(-factor, row[q], begins ? 0.0f : square.at[b][q]);
    }
  }
}

// R of a Gram matrix, and its inverse; whether there is one, in `settled`. Of the second Gram matrix of a B, that of C,
// only if the first had one, and if it is nearly I. By elimination of one row after the other from those behind it, of
// the Gram matrix and of I beside it, which becomes the inverse of R^T: column j of that is I until row j has been
// eliminated, and then takes the place of that of the Gram matrix, which is zero.
//
// Grid: one threadgroup of cholesky_threads a matrix. Ownership: CholeskySquare. Barriers: one a column, two where the
// threadgroup agrees how far it is from I, one more. The host promises: `stride` numbers a row of R and of its inverse,
// whole fours.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::cholesky_threads)]] void cholesky_factor(
    device const T* gram [[buffer(0)]], device T* R [[buffer(1)]], device T* inverse [[buffer(2)]],
    device uint* settled [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& stride [[buffer(5)]],
    constant long& width [[buffer(6)]], constant long& is_second [[buffer(7)]],
    uint matrix [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 pivot_rows[2][int(cholesky_side) / 4];  // every second
  threadgroup float diagonal[cholesky_side];                 // at first
  threadgroup float pivots[cholesky_side];
  threadgroup float slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, limits::cholesky_threads, lane, simdgroup);
  const int side = int(width) * whole_side;
  const int count = int(columns);
  gram += long(matrix) * side * side;
  R += long(matrix) * columns * stride;
  inverse += long(matrix) * columns * stride;
  const int first_row = team.simdgroup * cholesky_rows;
  const int first_column = team.lane * cholesky_columns;
  CholeskySquare square;
  float far_from_one = 0.0f;
#pragma unroll
  for (int a = 0; a < cholesky_rows; ++a) {
    const int row = first_row + a;
    float4 four = float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (row < side && first_column < side) four = *(device const float4*)(gram + row * side + first_column);
    square.at[a][0] = four.x;
    square.at[a][1] = four.y;
    square.at[a][2] = four.z;
    square.at[a][3] = four.w;
#pragma unroll
    for (int q = 0; q < cholesky_columns; ++q) {
      const bool is_diagonal = row == first_column + q;
      if (is_diagonal) diagonal[row] = square.at[a][q];
      const float difference = square.at[a][q] - (is_diagonal && row < count ? 1.0f : 0.0f);
      far_from_one = fma(difference, difference, far_from_one);
    }
  }
  if (is_second != 0) {
    if (team.index == 0 && settled[matrix] == 0u) far_from_one = INFINITY;
    far_from_one = threadgroup_sum(far_from_one, slots, team);
    // Not of a NaN either.
    if (!(far_from_one <= 0.25f)) {
      if (team.index == 0) settled[matrix] = 0u;
      return;
    }
  }

#pragma unroll 1
  for (int start = 0; start < count; start += cholesky_rows) {
#pragma unroll
    for (int a = 0; a < cholesky_rows; ++a) {
      const int pivot_row = start + a;
      if (pivot_row >= count) break;
      if (first_row == start) {
        pivot_rows[a % 2][team.lane] = float4(square.at[a][0], square.at[a][1], square.at[a][2], square.at[a][3]);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      threadgroup const float* const entries = (threadgroup const float*)pivot_rows[a % 2];
      const float pivot = entries[pivot_row];
      if (!(pivot > power_of_two(-16) * diagonal[pivot_row] && diagonal[pivot_row] >= least_square())) {
        if (team.index == 0) settled[matrix] = 0u;
        return;
      }
      if (team.index == 0) pivots[pivot_row] = pivot;
      if (first_row + cholesky_rows - 1 <= pivot_row) continue;
      const float inverse_of_pivot = accurate_reciprocal(pivot);
      const float4 of_lane = pivot_rows[a % 2][team.lane];
      // What becomes that of the inverse begins as a column of I.
      const bool has_pivot = team.lane == pivot_row / cholesky_columns;
      float row[cholesky_columns] = {of_lane.x, of_lane.y, of_lane.z, of_lane.w};
      if (has_pivot) row[a % cholesky_columns] = 1.0f;
      eliminate(entries + first_row, pivot_row - first_row, inverse_of_pivot, row, has_pivot, a % cholesky_columns,
                square);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float scale[cholesky_rows];
#pragma unroll
  for (int a = 0; a < cholesky_rows; ++a) {
    const int row = first_row + a;
    scale[a] = row < count ? precise::divide(1.0f, precise::sqrt(pivots[row])) : 0.0f;
    if (row >= count || first_column >= int(stride)) continue;
    float entries[cholesky_columns];
#pragma unroll
    for (int q = 0; q < cholesky_columns; ++q) {
      entries[q] = first_column + q >= row ? scale[a] * square.at[a][q] : 0.0f;
    }
    *(device float4*)(R + row * stride + first_column) = float4(entries[0], entries[1], entries[2], entries[3]);
  }
  store_transposed(square, scale, inverse, stride, count, team);
  if (is_second == 0 && team.index == 0) settled[matrix] = 1u;
}

}  // namespace metalsvd
