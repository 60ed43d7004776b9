// The tall QR: what only moves numbers, in tiles that are read and written along whole cache lines.
#pragma once
#include <metal_stdlib>

#include "common/columns.h"
#include "tall.h"

namespace metalsvd {

using namespace metal;

inline uint columns_of_tiles(long columns) {
  return uint((columns + limits::tall_copy_columns - 1) / limits::tall_copy_columns);
}

// How rows x columns are cut into tiles: the columns are shared out evenly.
struct TileGrid {
  int across;
  int down;
  int width;
  int height;
};

inline TileGrid make_tile_grid(long rows, long columns) {
  TileGrid grid;
  grid.across = int(columns_of_tiles(columns));
  grid.width = (int(columns) + grid.across - 1) / grid.across;
  grid.height = min(int(limits::tall_copy_numbers) / grid.width, int(limits::tall_threads));
  grid.down = int(uint(rows + grid.height - 1) / uint(grid.height));
  return grid;
}

// A part of rows x columns: tile `index`, counted across the columns first, since tiles side by side may read the same
// cache lines where columns are sorted.
struct Tile {
  long matrix;
  long first_row;
  long first_column;
  int rows;
  int columns;
};

inline Tile make_tile(uint index, long rows, long columns) {
  const TileGrid grid = make_tile_grid(rows, columns);
  Tile tile;
  const uint row_of_tiles = index / uint(grid.across);
  tile.matrix = row_of_tiles / uint(grid.down);
  tile.first_row = long(row_of_tiles % uint(grid.down)) * grid.height;
  tile.first_column = long(index % uint(grid.across)) * grid.width;
  tile.rows = int(min(long(grid.height), rows - tile.first_row));
  tile.columns = int(max(min(long(grid.width), columns - tile.first_column), 0L));
  return tile;
}

// Where entry (i, j) of a tile is staged: a number of padding a column keeps both directions from one bank.
inline int place_in_tile(int i, int j, Tile tile) { return j * (tile.rows | 1) + i; }

enum : int { staged_numbers = limits::tall_copy_numbers + limits::tall_copy_columns };

// The largest magnitude bits of entries first, first + step, ... of so many that lie `stride` apart.
template <typename Storage>
inline uint largest_of_line(device const Storage* A, int first, int step, int count, long stride) {
  uint largest = 0u;
  for (int i = first; i < count; i += batch_entries * step) {
    typename StorageTraits<Storage>::Number fetched[batch_entries];
    fetch_lines(A, i, step, count, stride, fetched);
#pragma unroll
    for (int s = 0; s < batch_entries; ++s) {
      if (s * step < count - i) largest = max(largest, magnitude_bits(fetched[s]));
    }
  }
  return largest;
}

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
  const int line = along_rows ? node.rows : int(columns);
  const int lines = along_rows ? int(columns) : node.rows;
  const long line_stride = along_rows ? column_stride : row_stride;
  const long stride = along_rows ? row_stride : column_stride;
  if (line <= team.threads) {
    const Walk walk = make_walk(line, team);
    largest = largest_of_line(A + walk.place * stride, walk.first, walk.step, lines, line_stride);
  } else {
    for (int i = 0; i < lines; ++i) {
      largest = max(largest, largest_of_line(A + i * line_stride, team.index, team.threads, line, stride));
    }
  }
  largest = threadgroup_max(largest, slots, team);
  if (team.index == 0) magnitudes[strip] = largest;
}

// The column of B that is to be column k: that of `order`, where columns are sorted.
inline long source_column(device const int* order, bool is_sorted, long k) { return is_sorted ? long(order[k]) : k; }

// How a tile of B is read: along whichever of rows and columns lies side by side.
struct TileWalk {
  int first;
  int step;
  int place;
  int lines;
  bool along_rows;
  int there;  // columns that B has
};

inline TileWalk make_tile_walk(Tile tile, long columns, bool along_rows, Team team) {
  const int there = int(min(long(tile.columns), columns - tile.first_column));
  const Walk walk = make_walk(along_rows ? tile.rows : there, team);
  TileWalk reading;
  reading.first = walk.first;
  reading.step = walk.step;
  reading.place = walk.place;
  reading.lines = along_rows ? there : tile.rows;
  reading.along_rows = along_rows;
  reading.there = there;
  return reading;
}

// Some lines of a tile of B, from line `first` on.
template <typename Storage, typename T>
inline void fetch_tile(device const Storage* A, device const int* order, bool is_sorted, Tile tile, long row_stride,
                       long column_stride, TileWalk reading, int first, thread T* fetched) {
#pragma unroll
  for (int s = 0; s < batch_entries; ++s) {
    if (s * reading.step >= reading.lines - first) break;
    const int line = first + s * reading.step;
    const int i = reading.along_rows ? reading.place : line;
    const int j = reading.along_rows ? line : reading.place;
    const long column = source_column(order, is_sorted, tile.first_column + j);
    fetched[s] = to_number(A[(tile.first_row + i) * row_stride + column * column_stride]);
  }
}

// A tile of B, scaled, to `staged`; columns beyond the last are zero. A and `order` are those of the matrix, whose
// largest magnitude bits are returned. Two barriers, where the threadgroup agrees on these, with numbers on their way.
template <typename Storage, typename T>
inline uint stage_tile(device const Storage* A, device const int* order, bool is_sorted, device const uint* magnitudes,
                       long strips, Tile tile, long columns, long row_stride, long column_stride, threadgroup T* staged,
                       threadgroup uint* slots, Team team) {
  const TileWalk reading = make_tile_walk(tile, columns, row_stride < column_stride, team);
  T fetched[batch_entries];
  fetch_tile(A, order, is_sorted, tile, row_stride, column_stride, reading, reading.first, fetched);
  const uint magnitude = magnitude_of_matrix(magnitudes, tile.matrix, strips, slots, team);
  const int exponent = magnitude < not_finite_bits ? tall_exponent(magnitude) : 0;
  for (int first = reading.first; first < reading.lines; first += batch_entries * reading.step) {
    if (first > reading.first) {
      fetch_tile(A, order, is_sorted, tile, row_stride, column_stride, reading, first, fetched);
    }
#pragma unroll
    for (int s = 0; s < batch_entries; ++s) {
      if (s * reading.step >= reading.lines - first) break;
      const int line = first + s * reading.step;
      const int i = reading.along_rows ? reading.place : line;
      const int j = reading.along_rows ? line : reading.place;
      staged[place_in_tile(i, j, tile)] = scaled_number(fetched[s], magnitude, exponent);
    }
  }
  for (int index = team.index; index < (tile.columns - reading.there) * tile.rows; index += team.threads) {
    staged[place_in_tile(index % tile.rows, reading.there + index / tile.rows, tile)] = from_real<T>(0.0f);
  }
  return magnitude;
}

// B, scaled by the power of two of its matrix, to numbers; with `sorts` its columns in the order of `order`.
//
// Grid: one threadgroup a tile of the numbers, padded columns included. Ownership: entries are dealt to all threads.
// Barriers: two where the threadgroup agrees on the magnitude, one between reading and writing.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_load(
    device const Storage* A [[buffer(0)]], device const uint* magnitudes [[buffer(1)]],
    device typename StorageTraits<Storage>::Number* numbers [[buffer(2)]], constant long& rows [[buffer(3)]],
    constant long& columns [[buffer(4)]], constant long& stride [[buffer(5)]], constant long& strips [[buffer(6)]],
    constant long& batch_stride [[buffer(7)]], constant long& row_stride [[buffer(8)]],
    constant long& column_stride [[buffer(9)]], device const int* order [[buffer(10)]],
    constant long& sorts [[buffer(11)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup float2 tile_numbers[staged_numbers];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  threadgroup T* staged = (threadgroup T*)tile_numbers;
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Tile tile = make_tile(threadgroup_index, rows, stride);
  numbers += (tile.matrix * rows + tile.first_row) * stride + tile.first_column;
  stage_tile(A + tile.matrix * batch_stride, order + tile.matrix * columns, sorts != 0, magnitudes, strips, tile,
             columns, row_stride, column_stride, staged, slots, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const Walk writing = make_walk(tile.columns, team);
  for (int i = writing.first; i < tile.rows; i += writing.step) {
    numbers[i * stride + writing.place] = staged[place_in_tile(i, writing.place, tile)];
  }
}

// The same of an A whose rows lie side by side, to a B whose columns are sorted: whole rows, some at a time, since what
// are neighbours in a tile of B are not in A.
//
// Grid: one threadgroup for `height` rows. Ownership: entries are dealt to all threads. Barriers: two where the
// threadgroup agrees on the magnitude, one between reading and writing. The host promises: `height` rows are
// tall_row_bytes at most.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_load_rows(
    device const Storage* A [[buffer(0)]], device const uint* magnitudes [[buffer(1)]],
    device typename StorageTraits<Storage>::Number* numbers [[buffer(2)]], constant long& rows [[buffer(3)]],
    constant long& columns [[buffer(4)]], constant long& stride [[buffer(5)]], constant long& strips [[buffer(6)]],
    constant long& batch_stride [[buffer(7)]], constant long& row_stride [[buffer(8)]],
    device const int* order [[buffer(9)]], constant long& height [[buffer(10)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup T staged[limits::tall_row_bytes / sizeof(T)];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const uint groups = uint(rows + height - 1) / uint(height);
  const long matrix = threadgroup_index / groups;
  const long first_row = threadgroup_index % groups * height;
  const int there = int(min(height, rows - first_row));
  A += matrix * batch_stride + first_row * row_stride;
  numbers += (matrix * rows + first_row) * stride;
  order += matrix * columns;

  const uint magnitude = magnitude_of_matrix(magnitudes, matrix, strips, slots, team);
  const int exponent = magnitude < not_finite_bits ? tall_exponent(magnitude) : 0;
  const int across = min(int(stride), team.threads);
  const Walk walk = make_walk(across, team);
  for (int j = walk.place; j < int(columns); j += across) {
    for (int first = walk.first; first < there; first += batch_entries * walk.step) {
      T fetched[batch_entries];
      fetch_lines(A + j, first, walk.step, there, row_stride, fetched);
#pragma unroll
      for (int s = 0; s < batch_entries; ++s) {
        const int i = first + s * walk.step;
        if (i < there) staged[i * int(columns) + j] = scaled_number(fetched[s], magnitude, exponent);
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int k = walk.place; k < int(stride); k += across) {
    const int column = k < int(columns) ? order[k] : 0;
#pragma unroll 4
    for (int i = walk.first; i < there; i += walk.step) {
      numbers[i * stride + k] = k < int(columns) ? staged[i * int(columns) + column] : from_real<T>(0.0f);
    }
  }
}

// Rows of a matrix that a SIMD-group moves: every so many, where its matrix has `groups` threadgroups of tall_threads.
struct RowsOfSimdgroup {
  long matrix;
  long first;
  long step;
};

inline RowsOfSimdgroup make_rows_of_simdgroup(uint threadgroup_index, long groups, uint simdgroup) {
  const int simdgroups = int(limits::tall_threads) / int(limits::simd_width);
  RowsOfSimdgroup own;
  own.matrix = threadgroup_index / uint(groups);
  own.first = threadgroup_index % uint(groups) * simdgroups + simdgroup;
  own.step = groups * simdgroups;
  return own;
}

// Where row i of R starts in the roots of its panels, and its panel's first column.
struct PlaceInRoots {
  long row;
  long first;
};

template <typename T>
inline PlaceInRoots find_in_roots(long i, long columns, long panel_columns) {
  const long panel = i / panel_columns;
  PlaceInRoots place;
  place.first = panel * panel_columns;
  // The last panel may be narrower, and so is its root.
  const long last_columns = (columns - place.first + packed_count<T>() - 1) / packed_count<T>() * packed_count<T>();
  place.row = panel * panel_columns * panel_columns + (i - place.first) * min(panel_columns, last_columns);
  return place;
}

// R of several panels, row-major: each panel's square from its root, which `roots` holds where it has them, and what
// stands behind it in the first rows of the numbers.
//
// Grid: `groups` threadgroups of tall_threads a matrix. Ownership: a SIMD-group rows s, s + all of them, ... No
// barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_collect(
    device const T* numbers [[buffer(0)]], device const T* roots [[buffer(1)]], device T* R [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& stride [[buffer(5)]],
    constant long& panel_columns [[buffer(6)]], constant long& roots_stride [[buffer(7)]],
    constant long& groups [[buffer(8)]], constant long& has_roots [[buffer(9)]],
    device const uint* settled [[buffer(10)]], constant long& may_settle [[buffer(11)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const RowsOfSimdgroup own = make_rows_of_simdgroup(threadgroup_index, groups, simdgroup);
  if (is_settled(settled, may_settle, own.matrix)) return;
  numbers += own.matrix * rows * stride;
  roots += own.matrix * roots_stride;
  R += own.matrix * columns * stride;
  for (long i = own.first; i < columns; i += own.step) {
    const PlaceInRoots place = find_in_roots<T>(i, columns, panel_columns);
    const long first_of_numbers = has_roots != 0 ? place.first + panel_columns : i;
    for (long j = lane; j < stride; j += limits::simd_width) {
      // Zeros to the end of the last pack.
      const bool is_upper = i <= j && j < columns;
      T entry = from_real<T>(0.0f);
      if (is_upper) entry = j >= first_of_numbers ? numbers[i * stride + j] : roots[place.row + j - place.first];
      R[i * stride + j] = entry;
    }
  }
}

// What Q is applied to: the vectors of R in the first rows, and where full matrices are wanted ones on the diagonal
// behind them.
//
// Grid and ownership are those of tall_collect, of `count` rows. No barrier. The host promises: without full matrices
// no more rows than R has.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_start(
    device const T* vectors [[buffer(0)]], device T* numbers [[buffer(1)]], constant long& count [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& stride [[buffer(5)]],
    constant long& batch_stride [[buffer(6)]], constant long& row_stride [[buffer(7)]],
    constant long& column_stride [[buffer(8)]], constant long& groups [[buffer(9)]],
    device const uint* settled [[buffer(10)]], constant long& may_settle [[buffer(11)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const RowsOfSimdgroup own = make_rows_of_simdgroup(threadgroup_index, groups, simdgroup);
  if (is_settled(settled, may_settle, own.matrix)) return;
  vectors += own.matrix * batch_stride;
  numbers += own.matrix * rows * stride;
  for (long i = own.first; i < count; i += own.step) {
    for (long j = lane; j < stride; j += limits::simd_width) {
      T entry = from_real<T>(i == j && i >= columns ? 1.0f : 0.0f);
      if (i < columns && j < columns) entry = vectors[i * row_stride + j * column_stride];
      numbers[i * stride + j] = entry;
    }
  }
}

// What is left of a matrix but P: S, scaled back; the right vectors; and what the columns of P still lack. They are
// turned so that the entry of largest magnitude in each column of U is real and positive, the first of them where
// several are; where U is Q rather than P the method has seen to it. And they are to have unit length: a reflector
// whose tau is an ulp off stretches what lies along it, four ulps in |u|^2, and does so to whole columns where singular
// values fall steeply. Entries of the right vectors go back to where `sorts` has taken the columns of B from.
//
// Grid: `parts` threadgroups for `tall_copy_columns` of P, and the singular values and right vectors that belong to
// them, of which each takes some of the entries of all: tall_finish_lines. Threads: tall_finish_threads. Ownership: a
// SIMD-group owns columns s, s + simdgroups, ... of P; otherwise entries are dealt to all threads. Barriers: two where
// the threadgroup agrees on the magnitude, one between the two. The host promises: `right_of_R` is column-major as
// `right` is; `turns` holds a number a column of P; without vectors only S is touched, and P has `columns` too.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_finish_threads)]] void tall_finish(
    device const uint* magnitudes [[buffer(0)]], device const float* S_of_R [[buffer(1)]],
    device const typename StorageTraits<Storage>::Number* right_of_R [[buffer(2)]],
    device const typename StorageTraits<Storage>::Number* largest [[buffer(3)]],
    device const float* squares [[buffer(4)]], device typename StorageTraits<Storage>::Number* turns [[buffer(5)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(6)]], device Storage* right [[buffer(7)]],
    constant long& columns [[buffer(8)]], constant long& nodes [[buffer(9)]], constant long& strips [[buffer(10)]],
    constant long& wants_vectors [[buffer(11)]], constant long& transposed [[buffer(12)]],
    device const int* order [[buffer(13)]], constant long& sorts [[buffer(14)]],
    constant long& left_columns [[buffer(15)]], constant long& parts [[buffer(16)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  typedef typename StorageTraits<Storage>::Real Real;
  threadgroup T right_turns[limits::tall_copy_columns];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const uint groups = columns_of_tiles(left_columns);
  const uint part = threadgroup_index % uint(parts);
  const long matrix = threadgroup_index / uint(parts) / groups;
  const long first = threadgroup_index / uint(parts) % groups * limits::tall_copy_columns;
  const int left_count = int(min(long(limits::tall_copy_columns), left_columns - first));
  const int count = int(min(long(left_count), columns - first));
  const uint magnitude = magnitude_of_matrix(magnitudes, matrix, strips, slots, team);
  const bool is_finite = magnitude < not_finite_bits;
  const int exponent = is_finite ? tall_exponent(magnitude) : 0;
  const long column = matrix * columns + first;

  for (int k = team.index; k < count && part == 0u; k += team.threads) {
    S[column + k] = to_storage<Real>(scale(S_of_R[column + k], -exponent));
  }
  if (wants_vectors == 0) return;
  const long left_column = matrix * left_columns + first;
  for (int k = team.simdgroup; k < left_count; k += team.simdgroups) {
    const long reported = (left_column + k) * nodes;
    float sum = 0.0f;
    for (long node = team.lane; node < nodes; node += limits::simd_width) sum += squares[reported + node];
    const float missing = 0.5f * (1.0f - simd_sum(sum));
    T turn = is_finite ? from_real<T>(1.0f) : T(not_a_number());
    if (transposed == 0 && is_finite && k < count) {
      turn = conjugate(phase_of_column<T>(largest + reported, int(nodes), team.lane));
    }
    if (team.lane != 0) continue;
    if (part == 0u) turns[left_column + k] = multiply_add(missing, turn, turn);
    right_turns[k] = conjugate(turn);
  }
  if (count <= 0) return;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // U needs no turn. V^H has a row for each column of P.
  const long vectors = matrix * columns * columns + first * (transposed != 0 ? columns : 1);
  order += matrix * columns;
  const int first_line = int(part) * limits::tall_finish_lines;
  const int lines = min(int(limits::tall_finish_lines), int(columns) - first_line);
  if (transposed != 0) {
    for (int index = team.index; index < lines * count; index += team.threads) {
      const int line = first_line + index % lines;
      const long place = vectors + index / lines * columns;
      right[place + source_column(order, sorts != 0, line)] = to_storage<Storage>(right_of_R[place + line]);
    }
    return;
  }
  const Walk walk = make_walk(count, team);
  const T turn = right_turns[walk.place];
  right_of_R += vectors + first_line * columns + walk.place;
  for (int next = walk.first; next < lines; next += batch_entries * walk.step) {
    T fetched[batch_entries];
    fetch_lines(right_of_R, next, walk.step, lines, columns, fetched);
#pragma unroll
    for (int s = 0; s < batch_entries; ++s) {
      if (s * walk.step >= lines - next) break;
      const int line = first_line + next + s * walk.step;
      const long place = vectors + source_column(order, sorts != 0, line) * columns + walk.place;
      right[place] = to_storage<Storage>(multiply(turn, fetched[s]));
    }
  }
}

// P, turned, to U or, transposed, to Vh. The turns of a matrix that is not finite are NaN.
//
// Grid: one threadgroup a tile of P. Ownership: entries are dealt to all threads. Barriers: one, between reading and
// writing. The host promises: `turns` has a number a column.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_store(
    device const typename StorageTraits<Storage>::Number* numbers [[buffer(0)]],
    device const typename StorageTraits<Storage>::Number* turns [[buffer(1)]], device Storage* left [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& left_columns [[buffer(4)]], constant long& stride [[buffer(5)]],
    constant long& transposed [[buffer(6)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup float2 tile_numbers[staged_numbers];
  threadgroup T* staged = (threadgroup T*)tile_numbers;
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Tile tile = make_tile(threadgroup_index, rows, left_columns);
  turns += tile.matrix * left_columns;
  numbers += (tile.matrix * rows + tile.first_row) * stride + tile.first_column;
  const Walk reading = make_walk(tile.columns, team);
  const long column = tile.first_column + reading.place;
  const T turn = turns[column];
  for (int first = reading.first; first < tile.rows; first += batch_entries * reading.step) {
    T fetched[batch_entries];
    fetch_lines(numbers + reading.place, first, reading.step, tile.rows, stride, fetched);
#pragma unroll
    for (int s = 0; s < batch_entries; ++s) {
      if (s * reading.step >= tile.rows - first) break;
      staged[place_in_tile(first + s * reading.step, reading.place, tile)] = multiply(turn, fetched[s]);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const bool is_transposed = transposed != 0;
  const long row_stride = is_transposed ? left_columns : 1;
  const long column_stride = is_transposed ? 1 : rows;
  left += tile.matrix * rows * left_columns + tile.first_row * row_stride + tile.first_column * column_stride;
  const Walk writing = make_walk(is_transposed ? tile.columns : tile.rows, team);
  for (int line = writing.first; line < (is_transposed ? tile.rows : tile.columns); line += writing.step) {
    const int i = is_transposed ? line : writing.place;
    const int j = is_transposed ? writing.place : line;
    left[i * row_stride + j * column_stride] = to_storage<Storage>(staged[place_in_tile(i, j, tile)]);
  }
}

}  // namespace metalsvd
