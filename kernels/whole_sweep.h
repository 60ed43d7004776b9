// Method `block`, the steps of a sweep that rotates all columns at once (whole.h).
#pragma once
#include <metal_stdlib>

#include "block_wide_exponential.h"
#include "common/rotation.h"
#include "whole.h"

namespace metalsvd {

using namespace metal;

// Of a square matrix as a factor.
inline WholeLines whole_lines(device const float* matrix, int side) {
  return whole_factor<WholeLines>(matrix, side, side, side);
}

// X, the angles between all columns of W, and what they ask for.
//
// Grid: a threadgroup of block_threads a matrix and tile on or above the diagonal. Ownership: four columns of a row of
// each subtile a thread, and their mirror images. Barriers: those of sum_whole and total_of_whole, one for the squares,
// and in order to agree on what has been found. The host promises: X has `width` x `width` subtiles, which hold
// `columns`; W has `padded` columns of `rows`.
template <typename T, int subtiles>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void whole_gram(
    device const T* W [[buffer(0)]], device T* X [[buffer(1)]], device atomic_int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& padded [[buffer(5)]],
    constant long& width [[buffer(6)]], constant long& sweep [[buffer(7)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef WholeTile<subtiles> Tile;
  threadgroup float4 memory[Tile::packs];
  threadgroup float parts[whole_groups * 2 * Tile::side];
  threadgroup float squares[2 * Tile::side];  // of the columns on the left of the product, and of those on the right
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const WholeTask task = make_triangle_task<subtiles>(group, int(width));
  states += task.matrix * state_words;
  X += task.matrix * width * width * (whole_side * whole_side);
  WholeProduct<WholeColumns, WholeColumns> product;
  product.left = whole_factor<WholeColumns>(W + task.matrix * padded * rows, rows, rows, columns);
  product.right = product.left;
  product.first_row = task.row * whole_side;
  product.first_column = task.column * whole_side;
  product.lines = int(rows);
  if (sweep_due(states) < int(sweep)) return;
  WholeSums<subtiles> sums;
  sum_whole<subtiles, true>(product, memory, team.index, sums);
#pragma unroll
  for (int s = 0; s < subtiles; ++s) {
    const int column = team.index % whole_group_threads + s * whole_group_threads;
    parts[team.index / whole_group_threads * 2 * Tile::side + column] = sums.squares[s];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.index < 2 * Tile::side) {
    threadgroup const float* const of_column = parts + team.index;
    squares[team.index] =
        (of_column[0] + of_column[2 * Tile::side]) + (of_column[4 * Tile::side] + of_column[6 * Tile::side]);
  }

  const BlockTolerances tolerances = make_block_tolerances(int(rows), int(columns), true);
  uint found = found_nothing;
#pragma unroll
  for (int a = 0; a < subtiles; ++a) {
#pragma unroll
    for (int b = 0; b < subtiles; ++b) {
      const float4 total = total_of_whole<subtiles>(sums, a, b, memory, team.index);
      if (task.row + a > task.column + b || task.column + b >= int(width)) continue;
      const int row = a * whole_side + whole_row_of_thread(team.index);
      const int column = b * whole_side + whole_column_of_thread(team.index);
      const float alpha = squares[row];
      const float inverse = alpha >= least_square() ? rsqrt(alpha) : 0.0f;
      const float products[4] = {total.x, total.y, total.z, total.w};
      float angles[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float beta = squares[Tile::side + column + k];
        const float size = fabs(products[k]);
        const int ahead = (task.column - task.row) * whole_side + column + k - row;
        const float inverse_of_pair = inverse * (beta >= least_square() ? rsqrt(beta) : 0.0f);
        const float cosine_of_pair = ahead == 0 ? 0.0f : size * inverse_of_pair;
        found |= found_with_cosine(cosine_of_pair, alpha, beta, size, tolerances);
        // Two columns of the same length turn by 45 degrees, which is as good either way: that of the first one.
        const float angle = rotation_angle(alpha, beta, alpha == beta && ahead < 0 ? -products[k] : products[k]);
        angles[k] = cosine_of_pair > tolerances.cosine ? angle : 0.0f;
      }
      store_whole(float4(angles[0], angles[1], angles[2], angles[3]), -1.0f, X, width * whole_side, task.row + a,
                  task.column + b, team.index);
    }
  }
  found = threadgroup_or(found, slots, team);
  if (team.index == 0) ask_for_next_sweep(states, found, int(sweep));
}

// S = X^2 or, of S in place of X, S^2: sign times the Gram matrix of what is antisymmetric or symmetric, and the
// squares of the entries of each of its subtiles, those beside the diagonal twice.
//
// Grid and ownership: those of whole_gram. Barriers: those of sum_whole and total_of_whole, and those of
// threadgroup_sum for each subtile and, for S^2, before. The host promises: `squares` has two numbers for each
// subtile on or above the diagonal, all of S before those of S^2.
template <typename T, int subtiles>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void whole_square(
    device const T* X [[buffer(0)]], device T* square [[buffer(1)]], device float* squares [[buffer(2)]],
    device const int* states [[buffer(3)]], constant long& width [[buffer(4)]], constant long& of_S [[buffer(5)]],
    constant long& sweep [[buffer(6)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef WholeTile<subtiles> Tile;
  threadgroup float4 memory[Tile::packs];
  threadgroup float slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const WholeTask task = make_triangle_task<subtiles>(group, int(width));
  const long subtiles_of_matrix = limits::whole_triangle(width);
  const int side = int(width) * whole_side;
  square += task.matrix * side * side;
  squares += task.matrix * 2 * subtiles_of_matrix;
  WholeProduct<WholeLines, WholeLines> product;
  product.left = whole_lines(X + task.matrix * side * side, side);
  product.right = product.left;
  product.first_row = task.row * whole_side;
  product.first_column = task.column * whole_side;
  product.lines = side;
  if (sweep_due(states + task.matrix * state_words) < int(sweep)) return;
  if (of_S != 0) {
    if (is_short(sum_of_whole(squares, int(width), slots, team))) return;
    squares += subtiles_of_matrix;
  }
  WholeSums<subtiles> sums;
  sum_whole<subtiles, false>(product, memory, team.index, sums);
  const float sign = of_S != 0 ? 1.0f : -1.0f;
#pragma unroll
  for (int a = 0; a < subtiles; ++a) {
#pragma unroll
    for (int b = 0; b < subtiles; ++b) {
      const float4 total = sign * total_of_whole<subtiles>(sums, a, b, memory, team.index);
      const int row = task.row + a;
      const int column = task.column + b;
      if (row > column || column >= int(width)) continue;
      store_whole(total, 1.0f, square, side, row, column, team.index);
      const float sum = threadgroup_sum(dot(total, total), slots, team);
      if (team.index == 0) squares[place_in_triangle(row, column)] = row == column ? sum : 2.0f * sum;
    }
  }
}

// E and O, of X or, where that turns by more than 1.8 radians, of as large a part of it. Where X is short, T is not
// there.
//
// Grid: a threadgroup of block_threads a matrix and tile on or above the diagonal of E and then of O. Ownership: that
// of whole_gram. Barriers: those of sum_of_whole, twice, of sum_whole and total_of_whole. The host promises: as for
// whole_square.
template <typename T, int subtiles>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void whole_exponential(
    device const T* X [[buffer(0)]], device const T* S [[buffer(1)]], device const T* square_of_S [[buffer(2)]],
    device T* E [[buffer(3)]], device T* O [[buffer(4)]], device const float* squares [[buffer(5)]],
    device const int* states [[buffer(6)]], constant long& width [[buffer(7)]], constant long& sweep [[buffer(8)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef WholeTile<subtiles> Tile;
  threadgroup float4 memory[Tile::packs];
  threadgroup float slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const bool is_odd = group % 2 != 0;
  const WholeTask task = make_triangle_task<subtiles>(group / 2, int(width));
  const long subtiles_of_matrix = limits::whole_triangle(width);
  const int side = int(width) * whole_side;
  const long place = task.matrix * side * side;
  squares += task.matrix * 2 * subtiles_of_matrix;
  WholeProduct<WholeLines, WholeSum> product;
  product.left = whole_lines((is_odd ? X : square_of_S) + place, side);
  product.right.x = whole_lines(S + place, side);
  product.right.y = whole_lines(square_of_S + place, side);
  product.first_row = task.row * whole_side;
  product.first_column = task.column * whole_side;
  product.lines = side;
  if (sweep_due(states + task.matrix * state_words) < int(sweep)) return;
  const bool short_X = is_short(sum_of_whole(squares, int(width), slots, team));
  const float eighth_power = 0.5f * sum_of_whole(squares + subtiles_of_matrix, int(width), slots, team);
  const float largest_angle = precise::sqrt(precise::sqrt(precise::sqrt(eighth_power)));
  const float part = largest_angle > 1.8f ? precise::divide(1.8f, largest_angle) : 1.0f;
  const float square = part * part;
  // (X (e S + f T))_ij = -sum X_ki (e S + f T)_kj
  product.right.of_x = is_odd ? -0.16965869f * square * part : 0.0011108138f * square * square * square;
  product.right.of_y =
      is_odd ? -0.0090502558f * square * square * part : -1.9627996e-05f * square * square * square * square;
  if (short_X) product.lines = 0;
  WholeSums<subtiles> sums;
  sum_whole<subtiles, false>(product, memory, team.index, sums);
  device const T* const first = is_odd ? X : S;
  const float of_first = is_odd ? (short_X ? 1.0f : part) : (short_X ? 0.50008f : 0.49999976f * square);
  const float of_T = 0.0446573993f * square * square;
  device T* const out = (is_odd ? O : E) + place;
#pragma unroll
  for (int a = 0; a < subtiles; ++a) {
#pragma unroll
    for (int b = 0; b < subtiles; ++b) {
      const int row = task.row + a;
      const int column = task.column + b;
      float4 total = total_of_whole<subtiles>(sums, a, b, memory, team.index);
      if (row > column || column >= int(width)) continue;
      const long four = place + place_of_four(side, row, column, team.index);
      if (!is_odd && !short_X) total += of_T * *(device const float4*)(square_of_S + four);
      total += of_first * *(device const float4*)(first + four);
      store_whole(total, is_odd ? -1.0f : 1.0f, out, side, row, column, team.index);
    }
  }
}

// W J = W + W (E + O).
//
// Grid: a threadgroup of block_threads a matrix and tile of W^T, down the columns of W. Ownership: four rows of a
// column of each subtile a thread. Barriers: those of sum_whole and total_of_whole. The host promises: W and `turned`
// have `padded` columns of `rows`.
template <typename T, int subtiles>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void whole_turn(
    device const T* W [[buffer(0)]], device T* turned [[buffer(1)]], device const T* E [[buffer(2)]],
    device const T* O [[buffer(3)]], device const int* states [[buffer(4)]], constant long& rows [[buffer(5)]],
    constant long& columns [[buffer(6)]], constant long& padded [[buffer(7)]], constant long& width [[buffer(8)]],
    constant long& sweep [[buffer(9)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef WholeTile<subtiles> Tile;
  threadgroup float4 memory[Tile::packs];
  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const uint down = uint(rows + Tile::side - 1) / uint(Tile::side);
  const uint across = uint(columns + Tile::side - 1) / uint(Tile::side);
  const long matrix = group / (down * across);
  const uint tile = group % (down * across);
  const int side = int(width) * whole_side;
  const long place = matrix * side * side;
  W += matrix * padded * rows;
  turned += matrix * padded * rows;
  WholeProduct<WholeSum, WholeLines> product;
  product.left.x = whole_lines(E + place, side);
  product.left.y = whole_lines(O + place, side);
  product.left.of_x = 1.0f;
  product.left.of_y = 1.0f;
  product.right = whole_factor<WholeLines>(W, rows, columns, rows);
  const int first_column = int(tile / down) * Tile::side;
  const int first_row = int(tile % down) * Tile::side;
  product.first_row = first_column;
  product.first_column = first_row;
  product.lines = int(columns);
  if (sweep_due(states + matrix * state_words) < int(sweep)) return;
  WholeSums<subtiles> sums;
  sum_whole<subtiles, false>(product, memory, team.index, sums);
#pragma unroll
  for (int a = 0; a < subtiles; ++a) {
#pragma unroll
    for (int b = 0; b < subtiles; ++b) {
      const float4 total = total_of_whole<subtiles>(sums, a, b, memory, team.index);
      const long column = first_column + a * whole_side + whole_row_of_thread(team.index);
      const long row = first_row + b * whole_side + whole_column_of_thread(team.index);
      if (column >= columns || row >= rows) continue;
      *(device float4*)(turned + column * rows + row) = *(device const float4*)(W + column * rows + row) + total;
    }
  }
}

// W as the last sweep of a matrix has left it, in place of what the last but one has, where its sweeps were odd in
// number, of `sweeps` at most.
//
// Grid: `parts` threadgroups of block_threads a matrix. Ownership: fours of numbers, dealt in turn. No barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void whole_collect(
    device T* W [[buffer(0)]], device const T* turned [[buffer(1)]], device const int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& padded [[buffer(5)]],
    constant long& sweeps [[buffer(6)]], constant long& parts [[buffer(7)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]]) {
  const long matrix = group / uint(parts);
  const int made = min(sweep_due(states + matrix * state_words), int(sweeps));
  if (made % 2 == 0) return;
  // Columns behind the last are zero in W, and not written in `turned`.
  const long numbers = columns * rows;
  W += matrix * padded * rows;
  turned += matrix * padded * rows;
  const long step = parts * limits::block_threads * 4;
  for (long k = (long(group % uint(parts)) * limits::block_threads + thread_index) * 4; k < numbers; k += step) {
    *(device float4*)(W + k) = *(device const float4*)(turned + k);
  }
}

}  // namespace metalsvd
