// The tall QR: what only moves numbers, in tiles that are read and written along whole cache lines.
#pragma once
#include <metal_stdlib>

#include "common/columns.h"
#include "tall.h"

namespace metalsvd {

using namespace metal;

// A part of rows x columns: tile `index`, counted down the columns first. The columns are shared out evenly.
struct Tile {
  long matrix;
  long first_row;
  long first_column;
  int rows;
  int columns;
};

inline Tile make_tile(long index, long rows, long columns) {
  const long across = (columns + limits::tall_copy_columns - 1) / limits::tall_copy_columns;
  const long width = (columns + across - 1) / across;
  const long height = limits::tall_copy_numbers / width;
  const long down = (rows + height - 1) / height;
  Tile tile;
  tile.matrix = index / (across * down);
  tile.first_row = index % down * height;
  tile.first_column = index / down % across * width;
  tile.rows = int(min(height, rows - tile.first_row));
  tile.columns = int(max(min(width, columns - tile.first_column), 0L));
  return tile;
}

// Where entry (i, j) of a tile is staged: a number of padding a column keeps both directions from one bank.
inline int place_in_tile(Dealt entry, Tile tile) { return entry.j * (tile.rows | 1) + entry.i; }

enum : int { staged_numbers = limits::tall_copy_numbers + limits::tall_copy_columns };

// The largest magnitude bits in a strip of a matrix.
//
// Grid: `strips` threadgroups a matrix. Ownership: entries are dealt to all threads. Barriers: two. The host promises:
// magnitudes holds batch * strips words.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_magnitude(
    device const Storage* A [[buffer(0)]], device uint* magnitudes [[buffer(1)]], constant long& rows [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& strips [[buffer(4)]],
    constant long& batch_stride [[buffer(5)]], constant long& row_stride [[buffer(6)]],
    constant long& column_stride [[buffer(7)]], uint strip [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Node node = make_node(strip, rows, strips, rows / strips, rows % strips);
  const bool along_rows = row_stride < column_stride;
  A += node.matrix * batch_stride + node.first_row * row_stride;

  uint largest = 0u;
  // A row, or a column, after the other, or where they are short as many as the threads can take.
  const int line = along_rows ? node.rows : int(columns);
  const int lines = along_rows ? int(columns) : node.rows;
  const long line_stride = along_rows ? column_stride : row_stride;
  const long step = along_rows ? row_stride : column_stride;
  const int across = min(line, team.threads);
  const int down = team.threads / across;
  const int first_line = team.index / across;
  for (int i = first_line; first_line < down && i < lines; i += down) {
    for (int j = team.index % across; j < line; j += across) {
      largest = max(largest, magnitude_bits(to_number(A[i * line_stride + j * step])));
    }
  }
  largest = threadgroup_max(largest, slots, team);
  if (team.index == 0) magnitudes[strip] = largest;
}

// B, scaled by the power of two of its matrix, to numbers.
//
// Grid: one threadgroup a tile of the numbers, padded columns included. Ownership: entries are dealt to all threads.
// Barriers: two where the threadgroup agrees on the magnitude, one between reading and writing.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_load(
    device const Storage* A [[buffer(0)]], device const uint* magnitudes [[buffer(1)]],
    device typename StorageTraits<Storage>::Number* numbers [[buffer(2)]], constant long& rows [[buffer(3)]],
    constant long& columns [[buffer(4)]], constant long& stride [[buffer(5)]], constant long& strips [[buffer(6)]],
    constant long& batch_stride [[buffer(7)]], constant long& row_stride [[buffer(8)]],
    constant long& column_stride [[buffer(9)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup float2 tile_numbers[staged_numbers];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  threadgroup T* staged = (threadgroup T*)tile_numbers;
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Tile tile = make_tile(threadgroup_index, rows, stride);
  const uint magnitude = magnitude_of_matrix(magnitudes, tile.matrix, strips, slots, team);
  const int exponent = magnitude < not_finite_bits ? tall_exponent(magnitude) : 0;
  A += tile.matrix * batch_stride + tile.first_row * row_stride + tile.first_column * column_stride;
  numbers += (tile.matrix * rows + tile.first_row) * stride + tile.first_column;

  for (int index = team.index; index < tile.rows * tile.columns; index += team.threads) {
    const Dealt entry = deal(index, tile.rows, tile.columns, row_stride < column_stride);
    T number = from_real<T>(0.0f);
    if (tile.first_column + entry.j < columns) {
      number = scaled_entry(A[entry.i * row_stride + entry.j * column_stride], magnitude, exponent);
    }
    staged[place_in_tile(entry, tile)] = number;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int index = team.index; index < tile.rows * tile.columns; index += team.threads) {
    const Dealt entry = deal(index, tile.rows, tile.columns, false);
    numbers[entry.i * stride + entry.j] = staged[place_in_tile(entry, tile)];
  }
}

// R of several panels, row-major: each panel's square from its root, which `roots` holds, and what stands behind it in
// the first rows of the numbers.
//
// Grid: threads for each entry of R, `groups` threadgroups a matrix. Ownership: a thread its entries. No barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_collect(
    device const T* numbers [[buffer(0)]], device const T* roots [[buffer(1)]], device T* R [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& stride [[buffer(5)]],
    constant long& panel_columns [[buffer(6)]], constant long& roots_stride [[buffer(7)]],
    constant long& groups [[buffer(8)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  const long matrix = long(threadgroup_index) / groups;
  const long group = long(threadgroup_index) % groups;
  numbers += matrix * rows * stride;
  roots += matrix * roots_stride;
  R += matrix * columns * columns;
  for (long index = group * threads + thread_index; index < columns * columns; index += groups * threads) {
    const long i = index / columns;
    const long j = index % columns;
    const long panel = i / panel_columns;
    const long first = panel * panel_columns;
    // The last panel may be narrower, and so is its root.
    const long last_columns = (columns - first + packed_count<T>() - 1) / packed_count<T>() * packed_count<T>();
    const long root_stride = min(panel_columns, last_columns);
    T entry = from_real<T>(0.0f);
    if (j >= first + panel_columns) {
      entry = numbers[i * stride + j];
    } else if (j >= i) {
      entry = roots[panel * panel_columns * panel_columns + (i - first) * root_stride + j - first];
    }
    R[index] = entry;
  }
}

// What Q is applied to: the vectors of R in the first rows, and where full matrices are wanted ones on the diagonal
// behind them.
//
// Grid: threads for each number, `groups` threadgroups a matrix. Ownership: a thread its numbers. No barrier. The host
// promises: without full matrices no more rows than R has.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_start(
    device const T* vectors [[buffer(0)]], device T* numbers [[buffer(1)]], constant long& count [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& stride [[buffer(5)]],
    constant long& row_stride [[buffer(6)]], constant long& column_stride [[buffer(7)]],
    constant long& groups [[buffer(8)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  const long matrix = long(threadgroup_index) / groups;
  const long group = long(threadgroup_index) % groups;
  vectors += matrix * columns * columns;
  numbers += matrix * rows * stride;
  for (long index = group * threads + thread_index; index < count * stride; index += groups * threads) {
    const long i = index / stride;
    const long j = index % stride;
    T entry = from_real<T>(i == j && i >= columns ? 1.0f : 0.0f);
    if (i < columns && j < columns) entry = vectors[i * row_stride + j * column_stride];
    numbers[index] = entry;
  }
}

// What is left of a matrix but P: S, scaled back; the right vectors; and how the columns of P are still to be turned,
// so that the entry of largest magnitude in each column of U is real and positive, the first of them where several are.
// Where U is Q rather than P the method has seen to it.
//
// Grid: one threadgroup for `tall_copy_columns` of the singular values, and their vectors. Ownership: a SIMD-group owns
// values s, s + simdgroups, ... when their vectors are turned; otherwise entries are dealt to all threads. Barriers:
// two where the threadgroup agrees on the magnitude, one between the two. The host promises: `right_of_R` is
// column-major as `right` is; `turns` holds a number a column; without vectors only S is touched.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_finish(
    device const uint* magnitudes [[buffer(0)]], device const float* S_of_R [[buffer(1)]],
    device const typename StorageTraits<Storage>::Number* right_of_R [[buffer(2)]],
    device const typename StorageTraits<Storage>::Number* largest [[buffer(3)]],
    device typename StorageTraits<Storage>::Number* turns [[buffer(4)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(5)]], device Storage* right [[buffer(6)]],
    constant long& columns [[buffer(7)]], constant long& nodes [[buffer(8)]], constant long& strips [[buffer(9)]],
    constant long& wants_vectors [[buffer(10)]], constant long& transposed [[buffer(11)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  typedef typename StorageTraits<Storage>::Real Real;
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const long groups = (columns + limits::tall_copy_columns - 1) / limits::tall_copy_columns;
  const long matrix = long(threadgroup_index) / groups;
  const long first = long(threadgroup_index) % groups * limits::tall_copy_columns;
  const int count = int(min(long(limits::tall_copy_columns), columns - first));
  const uint magnitude = magnitude_of_matrix(magnitudes, matrix, strips, slots, team);
  const bool is_finite = magnitude < not_finite_bits;
  const int exponent = is_finite ? tall_exponent(magnitude) : 0;
  const long column = matrix * columns + first;

  for (int k = team.index; k < count; k += team.threads) {
    S[column + k] = to_storage<Real>(scale(S_of_R[column + k], -exponent));
  }
  if (wants_vectors == 0) return;
  for (int k = team.simdgroup; k < count; k += team.simdgroups) {
    T turn = is_finite ? from_real<T>(1.0f) : T(not_a_number());
    if (transposed == 0 && is_finite) {
      turn = conjugate(phase_of_column<T>(largest + (column + k) * nodes, int(nodes), team.lane));
    }
    if (team.lane == 0) turns[column + k] = turn;
  }
  threadgroup_barrier(mem_flags::mem_device);
  // U needs no turn. V^H has a row for each column of P.
  const long vectors = matrix * columns * columns + first * (transposed != 0 ? columns : 1);
  for (long index = team.index; index < columns * count; index += team.threads) {
    const long place = vectors + (transposed != 0 ? index : index / count * columns + index % count);
    T entry = right_of_R[place];
    if (transposed == 0) entry = multiply(conjugate(turns[column + index % count]), entry);
    right[place] = to_storage<Storage>(entry);
  }
}

// P, turned, to U or, transposed, to Vh. The turns of a matrix that is not finite are NaN.
//
// Grid: one threadgroup a tile of P. Ownership: entries are dealt to all threads. Barriers: one, between reading and
// writing. The host promises: `turns` has a number for each of the first `columns` columns, and the others need none.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_store(
    device const typename StorageTraits<Storage>::Number* numbers [[buffer(0)]],
    device const typename StorageTraits<Storage>::Number* turns [[buffer(1)]], device Storage* left [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& left_columns [[buffer(5)]],
    constant long& stride [[buffer(6)]], constant long& transposed [[buffer(7)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup float2 tile_numbers[staged_numbers];
  threadgroup T* staged = (threadgroup T*)tile_numbers;
  const Tile tile = make_tile(threadgroup_index, rows, left_columns);
  turns += tile.matrix * columns;
  numbers += (tile.matrix * rows + tile.first_row) * stride + tile.first_column;
  for (int index = int(thread_index); index < tile.rows * tile.columns; index += int(threads)) {
    const Dealt entry = deal(index, tile.rows, tile.columns, false);
    const long column = tile.first_column + entry.j;
    T number = numbers[entry.i * stride + entry.j];
    if (column < columns) number = multiply(turns[column], number);
    staged[place_in_tile(entry, tile)] = number;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const bool is_transposed = transposed != 0;
  const long row_stride = is_transposed ? left_columns : 1;
  const long column_stride = is_transposed ? 1 : rows;
  left += tile.matrix * rows * left_columns + tile.first_row * row_stride + tile.first_column * column_stride;
  for (int index = int(thread_index); index < tile.rows * tile.columns; index += int(threads)) {
    const Dealt entry = deal(index, tile.rows, tile.columns, !is_transposed);
    left[entry.i * row_stride + entry.j * column_stride] = to_storage<Storage>(staged[place_in_tile(entry, tile)]);
  }
}

}  // namespace metalsvd
