// Method `block` behind the tall QR, on real matrices of some hundred columns: sweeps that rotate all columns at once.
//
// A sweep over tables (block_wide_exponential.h) is many rounds that wait for each other. But all columns can be one
// table: X holds the angles of all pairs, each as if there were no others, and J = p(X), an orthogonal matrix that is X
// to first order, takes what columns have in common to what is of second order in X. A sweep is then a few products of
// n x n matrices, of which all but the last are symmetric or antisymmetric, since powers of X commute:
//   X       the angles of W^T W (whole_gram)
//   S       X^2 (whole_square)
//   T       S^2 (whole_square)
//   E, O    J - I = E + O, the parts of p that are even and odd in X: E = a S + b T + T (c S + d T), and
//           O = X + X (e S + f T) (whole_exponential)
//   W J     (whole_turn)
// X is long where columns are many: random ones, sorted by a QR, have |X| of about sqrt(n) / 2 at first. Sweeps
// converge still, the fastest, by experience, where X is shortened to some 1.5 radians: random matrices take 9 of them
// for 64 columns, 12 for 128, 14 for 256, 17 for 512, where tables take 10. The length of X is that of its longest
// eigenvalue, i phi, which comes in a pair with -i phi: phi^8 is at most half of the sum of the squares of T.
//
// p has been fitted for J^T J - I, |p(i phi)|^2 - 1, to vanish: it is below 3e-8 for phi up to 1.8. Where phi is below
// 0.028, by the squares of S, J - I = X + a S is as good. E and O are what is added to W, so that small rotations leave
// small rounding errors.
//
// Numbers of n x n matrices stand row after row, padded with zeros to whole subtiles of whole_side x whole_side. A
// threadgroup makes a tile of a product, of one subtile, or of 2 x 2 where these are enough for all cores; a quarter of
// its threads sums a quarter of each slice. That is the same order in both: which it is changes no bit.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "common/team.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

enum : int {
  whole_side = limits::whole_side,
  whole_packs = whole_side / 4,
  // Groups of threads, each of which has all of a tile, four rows and columns of each subtile a thread.
  whole_groups = 4,
  whole_group_threads = int(limits::block_threads) / whole_groups,
  // Lines that a product sums over, of which each group takes so many in turn.
  whole_part = 8,
  // From a row of what groups have summed of a subtile to the next: those that are moved together meet in no bank.
  whole_sum_stride = whole_side + 4,
  whole_sum_packs = whole_groups * whole_side * whole_sum_stride / 4
};

// Of subtiles x subtiles: the rows and columns; lines of a slice that is staged, and fours that a thread moves of it.
template <int subtiles>
struct WholeTile {
  enum : int {
    side = subtiles * whole_side,
    slice = subtiles == 1 ? 64 : 32,
    lines_together = subtiles == 1 ? 4 : 2,  // that are read before they are multiplied
    moved = side * slice / (4 * int(limits::block_threads)),
    held = 4 * subtiles,  // rows, and columns, of a thread
    packs = int(whole_sum_packs) > 2 * slice* side / 4 ? int(whole_sum_packs) : 2 * slice* side / 4
  };
};

// Factors of a product: lines, over which it sums, of columns. Those of a matrix whose lines stand one after the other,
// of the weighted sum of two of them, or of one whose columns do, in lines that are whole fours. Numbers beyond the
// last column and line are zero.
struct WholeLines {
  enum : int { matrices = 1 };
  device const float* first;
  long stride;
  int lines, columns;
};
struct WholeSum {
  enum : int { matrices = 2 };
  WholeLines x, y;  // which stand alike
  float of_x, of_y;
};
struct WholeColumns {
  enum : int { matrices = 1 };
  device const float* first;
  long stride;
  int lines, columns;
};

template <typename Factor>
inline Factor whole_factor(device const float* first, long stride, long lines, long columns) {
  Factor factor;
  factor.first = first;
  factor.stride = stride;
  factor.lines = int(lines);
  factor.columns = int(columns);
  return factor;
}

// What a thread moves of a slice of a factor, as it is read.
template <int subtiles, typename Factor>
struct HeldWholeSlice {
  float4 x[Factor::matrices][WholeTile<subtiles>::moved];
};

// Where it stands: four columns of some lines, or four lines of some columns.
struct WholePlace {
  int line, column;
};
template <int subtiles>
inline WholePlace place_in_lines(int index) {
  WholePlace place;
  place.line = index / (subtiles * int(whole_packs));
  place.column = index % (subtiles * int(whole_packs)) * 4;
  return place;
}
template <int subtiles>
inline WholePlace place_in_columns(int index) {
  const int side = WholeTile<subtiles>::side;
  WholePlace place;
  place.line = (index % 8 + index / (8 * side) * 8) * 4;
  place.column = index / 8 % side;
  return place;
}

// Where a column of a line is staged: fours of columns are renumbered, differently in lines that are moved together, so
// that these meet in no bank.
inline int renumbered(int column, int line) { return column ^ (line & 28); }

template <int subtiles>
inline int place_in_slice(WholePlace place) {
  return place.line * WholeTile<subtiles>::side + renumbered(place.column, place.line);
}

inline float4 four_of_line(WholeLines factor, int line, int column) {
  float4 four = float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (line < factor.lines && column < factor.columns) {
    four = *(device const float4*)(factor.first + line * factor.stride + column);
  }
  return four;
}

// Reads a slice from line `start` on.
template <int subtiles>
inline void fetch_whole(WholeLines factor, int first_column, int start, int thread_index,
                        thread HeldWholeSlice<subtiles, WholeLines>& held) {
#pragma unroll
  for (int s = 0; s < WholeTile<subtiles>::moved; ++s) {
    const WholePlace place = place_in_lines<subtiles>(thread_index + s * limits::block_threads);
    held.x[0][s] = four_of_line(factor, start + place.line, first_column + place.column);
  }
}
template <int subtiles>
inline void fetch_whole(WholeSum factor, int first_column, int start, int thread_index,
                        thread HeldWholeSlice<subtiles, WholeSum>& held) {
#pragma unroll
  for (int s = 0; s < WholeTile<subtiles>::moved; ++s) {
    const WholePlace place = place_in_lines<subtiles>(thread_index + s * limits::block_threads);
    held.x[0][s] = four_of_line(factor.x, start + place.line, first_column + place.column);
    held.x[1][s] = four_of_line(factor.y, start + place.line, first_column + place.column);
  }
}
template <int subtiles>
inline void fetch_whole(WholeColumns factor, int first_column, int start, int thread_index,
                        thread HeldWholeSlice<subtiles, WholeColumns>& held) {
#pragma unroll
  for (int s = 0; s < WholeTile<subtiles>::moved; ++s) {
    const WholePlace place = place_in_columns<subtiles>(thread_index + s * limits::block_threads);
    const int line = start + place.line;
    const int column = first_column + place.column;
    held.x[0][s] = float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (line < factor.lines && column < factor.columns) {
      held.x[0][s] = *(device const float4*)(factor.first + column * factor.stride + line);
    }
  }
}

template <int subtiles>
inline void stage_line(float4 four, int index, threadgroup float* slice) {
  const WholePlace place = place_in_lines<subtiles>(index);
  *(threadgroup float4*)(slice + place_in_slice<subtiles>(place)) = four;
}
template <int subtiles>
inline void stage_whole(WholeLines, thread const HeldWholeSlice<subtiles, WholeLines>& held, int thread_index,
                        threadgroup float* slice) {
#pragma unroll
  for (int s = 0; s < WholeTile<subtiles>::moved; ++s) {
    stage_line<subtiles>(held.x[0][s], thread_index + s * limits::block_threads, slice);
  }
}
template <int subtiles>
inline void stage_whole(WholeSum factor, thread const HeldWholeSlice<subtiles, WholeSum>& held, int thread_index,
                        threadgroup float* slice) {
#pragma unroll
  for (int s = 0; s < WholeTile<subtiles>::moved; ++s) {
    stage_line<subtiles>(factor.of_x * held.x[0][s] + factor.of_y * held.x[1][s],
                         thread_index + s * limits::block_threads, slice);
  }
}
template <int subtiles>
inline void stage_whole(WholeColumns, thread const HeldWholeSlice<subtiles, WholeColumns>& held, int thread_index,
                        threadgroup float* slice) {
  const int side = WholeTile<subtiles>::side;
#pragma unroll
  for (int s = 0; s < WholeTile<subtiles>::moved; ++s) {
    const WholePlace place = place_in_columns<subtiles>(thread_index + s * limits::block_threads);
    threadgroup float* const four = slice + place_in_slice<subtiles>(place);
    four[0] = held.x[0][s].x;
    four[side] = held.x[0][s].y;
    four[2 * side] = held.x[0][s].z;
    four[3 * side] = held.x[0][s].w;
  }
}

// What a thread sums: products, and where they are wanted squares of one column of every whole_group_threads, those of
// the left factor before those of the right one.
template <int subtiles>
struct WholeSums {
  float products[WholeTile<subtiles>::held][WholeTile<subtiles>::held];
  float squares[subtiles];
};

// Which rows and columns a thread has of each subtile: four of either. Every lane shares what it reads of one factor
// with its neighbour, of the other with the next but one (block_wide_gram.h says why).
struct PartOfWhole {
  int row, column;
};
inline PartOfWhole part_of_whole(int index_in_group) {
  const uint index = uint(index_in_group);
  PartOfWhole part;
  part.row = int(index / 2 % 2 + index / 16 * 2) * 4;
  part.column = int(index % 2 + index / 4 % 4 * 2) * 4;
  return part;
}

// A line of a slice: where what a thread reads of it stands, renumbered.
template <int subtiles, bool with_squares>
inline void add_whole_line(threadgroup const float* left, threadgroup const float* right, PartOfWhole part, int square,
                           thread WholeSums<subtiles>& sums) {
  float4 of_right[subtiles];
#pragma unroll
  for (int b = 0; b < subtiles; ++b) {
    of_right[b] = *(threadgroup const float4*)(right + b * whole_side + part.column);
  }
#pragma unroll
  for (int a = 0; a < subtiles; ++a) {
    const float4 of_left = *(threadgroup const float4*)(left + a * whole_side + part.row);
    const float of_row[4] = {of_left.x, of_left.y, of_left.z, of_left.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int b = 0; b < subtiles; ++b) {
        thread float* const four = sums.products[a * 4 + i] + b * 4;
        four[0] = fma(of_row[i], of_right[b].x, four[0]);
        four[1] = fma(of_row[i], of_right[b].y, four[1]);
        four[2] = fma(of_row[i], of_right[b].z, four[2]);
        four[3] = fma(of_row[i], of_right[b].w, four[3]);
      }
    }
  }
  if (!with_squares) return;
#pragma unroll
  for (int s = 0; s < subtiles; ++s) {
    // Of two subtiles the left factor's columns come first, of one they are those of the first half of the threads.
    threadgroup const float* const factor = subtiles == 2 ? (s == 0 ? left : right) : left;
    const float x = factor[square];
    sums.squares[s] = fma(x, x, sums.squares[s]);
  }
}

// A tile of left^T right: its factors, and where it begins.
template <typename Left, typename Right>
struct WholeProduct {
  Left left;
  Right right;
  int first_row, first_column;
  int lines;
};

// The part of the group of a thread. Two barriers a slice, before and after it is read.
template <int subtiles, bool with_squares, typename Left, typename Right>
inline void sum_whole(WholeProduct<Left, Right> product, threadgroup float4* memory, int thread_index,
                      thread WholeSums<subtiles>& sums) {
  typedef WholeTile<subtiles> Tile;
#pragma unroll
  for (int i = 0; i < Tile::held; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::held; ++j) sums.products[i][j] = 0.0f;
  }
#pragma unroll
  for (int s = 0; s < subtiles; ++s) sums.squares[s] = 0.0f;
  threadgroup float* const of_left = (threadgroup float*)memory;
  threadgroup float* const of_right = of_left + int(Tile::slice) * Tile::side;
  const int first_line = thread_index / whole_group_threads * whole_part;
  const int index_in_group = thread_index % whole_group_threads;
  const PartOfWhole part = part_of_whole(index_in_group);
  HeldWholeSlice<subtiles, Left> left_held;
  HeldWholeSlice<subtiles, Right> right_held;
  fetch_whole<subtiles>(product.left, product.first_row, 0, thread_index, left_held);
  fetch_whole<subtiles>(product.right, product.first_column, 0, thread_index, right_held);
#pragma unroll 1
  for (int start = 0; start < product.lines; start += Tile::slice) {
    stage_whole<subtiles>(product.left, left_held, thread_index, of_left);
    stage_whole<subtiles>(product.right, right_held, thread_index, of_right);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The next slice is on its way while this one is multiplied.
    fetch_whole<subtiles>(product.left, product.first_row, start + Tile::slice, thread_index, left_held);
    fetch_whole<subtiles>(product.right, product.first_column, start + Tile::slice, thread_index, right_held);
#pragma unroll 1
    for (int line = first_line; line < Tile::slice; line += whole_groups * whole_part) {
#pragma unroll 1
      for (int l = line; l < line + whole_part; l += Tile::lines_together) {
        PartOfWhole here;
        here.row = renumbered(part.row, l);
        here.column = renumbered(part.column, l);
        // Squares are of columns of the left factor and, counted on, of the right one.
        const int square = renumbered(index_in_group, l);
        const int square_of_right = square < Tile::side ? 0 : (int(Tile::slice) - 1) * Tile::side;
#pragma unroll
        for (int k = 0; k < Tile::lines_together; ++k) {
          const int start_of_line = (l + k) * Tile::side;
          add_whole_line<subtiles, with_squares>(of_left + start_of_line, of_right + start_of_line, here,
                                                 square + square_of_right, sums);
        }
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// Of a subtile a thread is left with four columns of a row.
inline int whole_row_of_thread(int thread_index) { return thread_index / whole_packs; }
inline int whole_column_of_thread(int thread_index) { return thread_index % whole_packs * 4; }

// What all groups have summed there, of subtile (a, b). Two barriers, before and after it is read.
template <int subtiles>
inline float4 total_of_whole(thread const WholeSums<subtiles>& sums, int a, int b, threadgroup float4* memory,
                             int thread_index) {
  const int group = thread_index / whole_group_threads;
  const int index_in_group = thread_index % whole_group_threads;
  threadgroup float* const words = (threadgroup float*)memory;
  const PartOfWhole part = part_of_whole(index_in_group);
  threadgroup float* const own = words + (group * whole_side + part.row) * whole_sum_stride + part.column;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    thread const float* const four = sums.products[a * 4 + i] + b * 4;
    *(threadgroup float4*)(own + i * whole_sum_stride) = float4(four[0], four[1], four[2], four[3]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup const float* const all =
      words + whole_row_of_thread(thread_index) * whole_sum_stride + whole_column_of_thread(thread_index);
  float4 parts[whole_groups];
#pragma unroll
  for (int g = 0; g < whole_groups; ++g) {
    parts[g] = *(threadgroup const float4*)(all + g * whole_side * whole_sum_stride);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

// The tile of a matrix that a threadgroup makes, in subtiles: of a symmetric one, or an antisymmetric, those on and
// above the diagonal.
struct WholeTask {
  long matrix;
  int row, column;
};

// A row of the triangle and the one as far from the end have one more tile together than a row of the square.
template <int subtiles>
inline WholeTask make_triangle_task(uint group, int width) {
  const uint across = uint((width + subtiles - 1) / subtiles);
  const uint tiles = uint(limits::whole_triangle(across));
  const uint tile = group % tiles;
  const uint row = tile / (across + 1);
  const uint place = tile % (across + 1);
  WholeTask task;
  task.matrix = group / tiles;
  task.row = int(place > row ? row : across - 1 - row) * subtiles;
  task.column = int(place > row ? place - 1 : across - 1 - place) * subtiles;
  return task;
}

// Where a subtile stands among those on and above the diagonal.
inline int place_in_triangle(int row, int column) { return int(limits::whole_triangle(column)) + row; }

// Where the four columns of a thread stand in a matrix.
inline long place_of_four(long stride, int subtile_row, int subtile_column, int thread_index) {
  return (subtile_row * whole_side + whole_row_of_thread(thread_index)) * stride + subtile_column * whole_side +
         whole_column_of_thread(thread_index);
}

// Stores four columns of a row of a subtile, and their mirror images times `sign` unless it is on the diagonal.
inline void store_whole(float4 four, float sign, device float* matrix, long stride, int subtile_row, int subtile_column,
                        int thread_index) {
  *(device float4*)(matrix + place_of_four(stride, subtile_row, subtile_column, thread_index)) = four;
  if (subtile_row == subtile_column) return;
  const long row = subtile_row * whole_side + whole_row_of_thread(thread_index);
  const long column = subtile_column * whole_side + whole_column_of_thread(thread_index);
  device float* const mirrored = matrix + column * stride + row;
  mirrored[0] = sign * four.x;
  mirrored[stride] = sign * four.y;
  mirrored[2 * stride] = sign * four.z;
  mirrored[3 * stride] = sign * four.w;
}

// The squares of all entries of a symmetric matrix, by those of its subtiles on and above the diagonal.
inline float sum_of_whole(device const float* squares, int width, threadgroup float* slots, Team team) {
  float sum = 0.0f;
  for (int k = team.index; k < int(limits::whole_triangle(width)); k += team.threads) sum += squares[k];
  return threadgroup_sum(sum, slots, team);
}

// Whether X turns by so little that J - I = X + a X^2, by the squares of the entries of X^2.
inline bool is_short(float squares) {
  const float most = 0.028f;
  return 0.5f * squares <= most * most * most * most;
}

}  // namespace metalsvd
