// Block reflectors, what a basis has in common with the columns of B: X^H times the panel and all behind it, and the
// K of the panel's reflector.
#pragma once
#include <metal_stdlib>

#include "common/team.h"
#include "reflectors.h"

namespace metalsvd {

using namespace metal;

// The parts that the rows of a panel are cut into.
inline int parts_of_rows(int rows) {
  const int part_rows = limits::reflectors_part_rows(rows);
  return (rows + part_rows - 1) / part_rows;
}

// A pivot of F = Q_1 - D: the number of D that makes it at least one in magnitude, and its inverse.
template <typename T>
struct ShiftedPivot {
  T unit;
  T inverse;
};

template <typename T>
inline ShiftedPivot<T> make_shifted_pivot(T head) {
  const float size = magnitude(head);
  const T unit = size > 0.0f ? phase(head) : from_real<T>(1.0f);
  ShiftedPivot<T> pivot;
  pivot.unit = -unit;
  pivot.inverse = accurate_reciprocal(size + 1.0f) * conjugate(unit);
  return pivot;
}

// F^-1 for F = Q_1 - D, of which `own` is Q_1, in place, by steps of Gauss and Jordan; and D. A barrier for two
// columns. `columns` has room for four columns.
template <typename T>
inline void invert_shifted(thread OwnSquare<T>& own, SquareOfThread<T> place, threadgroup float4* rows,
                           threadgroup T* columns, threadgroup T* units) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  constexpr int owned_numbers = SquareOfThread<T>::owned_numbers;
  publish_pair(own, 0, place, rows);
  if (place.group == 0) {
    columns[place.row] = number_at<T>(own.packs[0], 0);
    columns[width + place.row] = number_at<T>(own.packs[0], 1);
  }
#pragma unroll 1
  for (int group = 0; group < SquareOfThread<T>::groups; ++group) {
#pragma unroll
    for (int c = 0; c < owned_numbers; c += 2) {
      const int j = group * owned_numbers + c;
      threadgroup_barrier(mem_flags::mem_threadgroup);
      threadgroup const float4* const first_row = published_row(rows, j);
      threadgroup const float4* const second_row = published_row(rows, j + 1);
      threadgroup const T* const first_column = columns + (j & 2) * width;
      threadgroup const T* const second_column = first_column + width;
      const T corner = second_column[j];
      const ShiftedPivot<T> first = make_shifted_pivot(first_column[j]);
      const T between = multiply(first_column[j + 1], first.inverse);
      const ShiftedPivot<T> second = make_shifted_pivot(multiply_add(-between, corner, second_column[j + 1]));
      const bool is_first = place.row == j;
      const bool is_second = place.row == j + 1;
      const T factor = is_first ? -first.inverse : multiply(first_column[place.row], first.inverse);
      const T left =
          is_first ? multiply(first.inverse, corner) : multiply_add(-factor, corner, second_column[place.row]);
      const T second_factor = multiply(left, second.inverse);
#pragma unroll
      for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
        const float4 of_first = first_row[place.pack + s];
        const float4 of_second = multiply_add(-between, of_first, second_row[place.pack + s]);
        const float4 changed = multiply_add(-factor, of_first, is_first ? zero_pack() : own.packs[s]);
        own.packs[s] = is_second ? multiply_add(second.inverse, of_second, zero_pack())
                                 : multiply_add(-second_factor, of_second, changed);
      }
      if (place.group == group) {
        const T of_first =
            is_second ? multiply(-between, second.inverse) : multiply_add(second_factor, between, -factor);
        own.packs[c / count] = with_number(own.packs[c / count], c % count, of_first);
        own.packs[c / count] =
            with_number(own.packs[c / count], c % count + 1, is_second ? second.inverse : -second_factor);
      }
      if (is_first && place.group == 0) units[j] = first.unit;
      if (is_second && place.group == 0) units[j + 1] = second.unit;
      publish_pair(own, j + 2, place, rows);
      const int next = (c + 2) % owned_numbers;
      if (place.group == (next > 0 ? group : group + 1)) {
        threadgroup T* const next_columns = columns + (j + 2 & 2) * width + place.row;
        next_columns[0] = number_at<T>(own.packs[next / count], next % count);
        next_columns[width] = number_at<T>(own.packs[next / count], next % count + 1);
      }
    }
  }
}

// left right, of which `left` has rows staged_row_packs apart.
template <typename T>
inline void multiply_squares(threadgroup const float4* left, threadgroup const float4* right, SquareOfThread<T> place,
                             thread OwnSquare<T>& product) {
  constexpr int count = packed_count<T>();
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) product.packs[s] = zero_pack();
#pragma unroll 2
  for (int p = 0; p < panel_packs; ++p) {
    const float4 of_left = left[place.row * staged_row_packs + p];
#pragma unroll
    for (int q = 0; q < count; ++q) {
#pragma unroll
      for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
        const float4 of_right = right[(p * count + q) * panel_packs + place.pack + s];
        product.packs[s] = multiply_add(number_at<T>(of_left, q), of_right, product.packs[s]);
      }
    }
  }
}

template <typename T>
inline void store_square(OwnSquare<T> own, SquareOfThread<T> place, int row_packs, threadgroup float4* square) {
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) square[place.row * row_packs + place.pack + s] = own.packs[s];
}

// Its conjugate transpose.
template <typename T>
inline void store_adjoint(OwnSquare<T> own, SquareOfThread<T> place, int row_packs, threadgroup float4* square) {
  constexpr int count = packed_count<T>();
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      ((threadgroup T*)(square + ((place.pack + s) * count + q) * row_packs))[place.row] =
          conjugate(number_at<T>(own.packs[s], q));
    }
  }
}

// Packs of threadgroup memory that find_reflector has.
template <typename T>
constexpr int packs_of_reflector() {
  return square_packs<T>() + 2 * panel_width<T>() * staged_row_packs + published_room + panel_width<T>() / 4 +
         5 * panel_packs;
}

// Threadgroup memory for two products of square matrices, with the same right factor or one after the other.
template <typename T>
struct ProductMemory {
  threadgroup float4* left;
  threadgroup float4* other_left;
  threadgroup float4* right;
};

// The Cholesky factor R of the Gram matrix of a basis, and R^-1. With columns of unit length that is I + U + U^H, U
// strictly upper and small: up to what is of third order, R = I + U - W and R^-1 = I - U + W + U^2, where W is what
// U^H U has above the diagonal and half of what it has on it. Three barriers, two of them before `memory` is read.
template <typename T>
inline void factor_nearly_identity(OwnSquare<T> gram, int columns, SquareOfThread<T> place, ProductMemory<T> memory,
                                   threadgroup float* lengths, thread OwnSquare<T>& R, thread OwnSquare<T>& inverse) {
  constexpr int count = packed_count<T>();
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const int column = (place.pack + s) * count + q;
      if (column != place.row) continue;
      const float square = real_part(number_at<T>(gram.packs[s], q));
      lengths[column] = column < columns ? precise::sqrt(square) : 1.0f;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float inverse_length = precise::divide(1.0f, lengths[place.row]);
  OwnSquare<T> upper;
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
    upper.packs[s] = zero_pack();
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const int column = (place.pack + s) * count + q;
      if (column <= place.row || column >= columns) continue;
      const float scale = inverse_length * precise::divide(1.0f, lengths[column]);
      upper.packs[s] = with_number(upper.packs[s], q, scale * number_at<T>(gram.packs[s], q));
    }
  }
  store_square(upper, place, staged_row_packs, memory.left);
  store_adjoint(upper, place, staged_row_packs, memory.other_left);
  store_square(upper, place, panel_packs, memory.right);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  OwnSquare<T> square, product;
  multiply_squares<T>(memory.left, memory.right, place, square);
  multiply_squares<T>(memory.other_left, memory.right, place, product);
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
    R.packs[s] = zero_pack();
    inverse.packs[s] = zero_pack();
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const int column = (place.pack + s) * count + q;
      if (column < place.row || column >= columns) continue;
      const bool is_diagonal = column == place.row;
      const T one = from_real<T>(is_diagonal ? 1.0f : 0.0f);
      const T change =
          number_at<T>(upper.packs[s], q) - (is_diagonal ? 0.5f : 1.0f) * number_at<T>(product.packs[s], q);
      R.packs[s] = with_number(R.packs[s], q, lengths[column] * (one + change));
      inverse.packs[s] =
          with_number(inverse.packs[s], q, inverse_length * (one - change + number_at<T>(square.packs[s], q)));
    }
  }
}

// D R, K = -R^-1 F^-1 D R^-H, and Y_1 = X_1 - D R, from X and its Gram matrix, to `small`, one square matrix after the
// other. A barrier for two columns, and eight.
template <typename T>
inline void find_reflector(device const float4* basis, device const float4* gram, int columns, threadgroup float4* room,
                           device float4* small, int thread_index) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  ProductMemory<T> memory;
  memory.right = room;
  memory.left = memory.right + square_packs<T>();
  memory.other_left = memory.left + width * staged_row_packs;
  threadgroup float4* const rows = memory.other_left + width * staged_row_packs;
  threadgroup float* const lengths = (threadgroup float*)(rows + published_room);
  threadgroup T* const columns_of_F = (threadgroup T*)(lengths + width);
  threadgroup T* const units = columns_of_F + 4 * width;
  const SquareOfThread<T> place = make_square_of_thread<T>(thread_index);
  OwnSquare<T> sum, R, inverse;
  sum_grams(gram, 1, place, sum);
  factor_nearly_identity<T>(sum, columns, place, memory, lengths, R, inverse);

  OwnSquare<T> top;
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
    top.packs[s] = place.row < columns ? basis[place.row * panel_packs + place.pack + s] : zero_pack();
  }
  store_square(top, place, staged_row_packs, memory.left);
  store_square(inverse, place, panel_packs, memory.right);
  store_square(inverse, place, staged_row_packs, memory.other_left);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  OwnSquare<T> own;
  multiply_squares<T>(memory.left, memory.right, place, own);  // Q_1
  invert_shifted<T>(own, place, rows, columns_of_F, units);
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const T unit = units[(place.pack + s) * count + q];
      own.packs[s] = with_number(own.packs[s], q, multiply(-unit, number_at<T>(own.packs[s], q)));
    }
  }
  store_square(own, place, staged_row_packs, memory.left);
  store_adjoint(inverse, place, panel_packs, memory.right);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  multiply_squares<T>(memory.left, memory.right, place, own);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  store_square(own, place, panel_packs, memory.right);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  multiply_squares<T>(memory.other_left, memory.right, place, own);
  const T unit = units[place.row];
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
    const int index = place.row * panel_packs + place.pack + s;
    const float4 turned = multiply_add(unit, R.packs[s], zero_pack());
    small[index] = turned;
    small[square_packs<T>() + index] = own.packs[s];
    small[2 * square_packs<T>() + index] = top.packs[s] - turned;
  }
}

// The rows of a slab that a thread moves: a pack of X, and two of C.
struct HeldSlab {
  float4 x;
  float4 c[2];
};

enum : int {
  slab_rows = limits::reflectors_slab_rows,
  slab_packs = int(slab_rows) * int(panel_packs),
  slab_tile_packs = int(slab_rows) * int(limits::reflectors_tile_packs),
  slab_step = limits::reflectors_small_threads / limits::reflectors_tile_packs
};

inline void fetch_slab(device const float4* X, device const float4* C, long row_packs, int row, int end_row, int packs,
                       int thread_index, thread HeldSlab& held) {
  const int x_row = row + thread_index / panel_packs;
  held.x = x_row < end_row ? X[long(x_row) * panel_packs + thread_index % panel_packs] : zero_pack();
  const int pack = thread_index % limits::reflectors_tile_packs;
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const int c_row = row + thread_index / limits::reflectors_tile_packs + s * slab_step;
    held.c[s] = c_row < end_row && pack < packs ? C[long(c_row) * row_packs + pack] : zero_pack();
  }
}

// Of a panel with a basis X, X^H C for C from the panel on, a part of the rows at a time, to `products`, and a copy of
// the first rows of C, which are to be changed while others read them; and by one threadgroup of each matrix what
// find_reflector says.
//
// Grid: reflectors_small_threads, a threadgroup a matrix and then one a tile of columns and part of the rows, parts
// innermost. Ownership: a SIMD-group multiplies a quarter of the rows of each slab. Barriers: one a slab, of which two
// have room, and four until all sums are added up. The host promises: rows of B are whole packs; `products` has room
// for reflectors_parts x a panel's columns rows as long as those of B, `heads` for a panel's columns, and `small` for
// three square matrices.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::reflectors_small_threads)]] void reflectors_project(
    device const float4* numbers [[buffer(0)]], device const float4* basis [[buffer(1)]],
    device const float4* gram [[buffer(2)]], device float4* products [[buffer(3)]], device float4* heads [[buffer(4)]],
    device float4* small [[buffer(5)]], constant long& rows [[buffer(6)]], constant long& stride [[buffer(7)]],
    constant long& first [[buffer(8)]], constant long& columns [[buffer(9)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  constexpr int owned = limits::reflectors_tile_packs / 4;
  constexpr int tile_sums = width * limits::reflectors_tile_packs;
  constexpr int slabs = 2 * (int(slab_packs) + int(slab_tile_packs));
  constexpr int summed = slabs < 2 * tile_sums ? 2 * tile_sums : slabs;
  constexpr int room = summed < packs_of_reflector<T>() ? packs_of_reflector<T>() : summed;
  threadgroup float4 staged[room];
  const Team team = make_team(thread_index, limits::reflectors_small_threads, lane, simdgroup);
  const PanelPlace panel = make_panel_place(first, columns, rows);
  const int parts = parts_of_rows(panel.rows);
  const long row_packs = stride / count;
  const int all_packs = int((stride - first) / count);
  const uint tiles = uint(all_packs + limits::reflectors_tile_packs - 1) / limits::reflectors_tile_packs;
  const uint groups = 1 + tiles * uint(parts);
  const long matrix = threadgroup_index / groups;
  const uint group = threadgroup_index % groups;
  basis += (matrix * rows + first) * panel_packs;
  if (group == 0) {
    find_reflector<T>(basis, gram + matrix * square_packs<T>(), panel.columns, staged,
                      small + matrix * 3 * square_packs<T>(), team.index);
    return;
  }
  const int part = int((group - 1) % uint(parts));
  const int first_pack = int((group - 1) / uint(parts)) * limits::reflectors_tile_packs;
  const int packs = all_packs - first_pack;
  const long place = first / count + first_pack;
  numbers += (matrix * rows + first) * row_packs + place;
  heads += matrix * width * row_packs + place;
  const int part_rows = limits::reflectors_part_rows(panel.rows);
  const int start = part * part_rows;
  const int end = min(start + part_rows, panel.rows);

  const ProductOfLane own = make_product_of_lane(team.lane);
  float4 sums[owned][count];
#pragma unroll
  for (int j = 0; j < owned; ++j) {
#pragma unroll
    for (int q = 0; q < count; ++q) sums[j][q] = zero_pack();
  }
  const int pack = team.index % limits::reflectors_tile_packs;
  HeldSlab held;
  fetch_slab(basis, numbers, row_packs, start, end, packs, team.index, held);
#pragma unroll 1
  for (int row = start; row < end; row += slab_rows) {
    threadgroup float4* const x = staged + (row / slab_rows & 1) * (slab_packs + slab_tile_packs);
    threadgroup float4* const c = x + slab_packs;
    x[team.index] = held.x;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      c[team.index + s * limits::reflectors_small_threads] = held.c[s];
      const int c_row = row + team.index / limits::reflectors_tile_packs + s * slab_step;
      if (c_row < min(width, panel.rows) && pack < packs) heads[c_row * row_packs + pack] = held.c[s];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    fetch_slab(basis, numbers, row_packs, row + slab_rows, end, packs, team.index, held);
#pragma unroll
    for (int i = 0; i < slab_rows / 4; ++i) {
      const int own_row = team.simdgroup * (slab_rows / 4) + i;
      add_product_of_row<T, owned>(x + own_row * panel_packs, c + own_row * limits::reflectors_tile_packs, own, sums);
    }
  }
  // Of the upper half of the SIMD-groups, then of the second.
#pragma unroll
  for (int senders = 2; senders > 0; senders /= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const bool sends = team.simdgroup >= senders && team.simdgroup < 2 * senders;
    threadgroup float4* const shared = staged + team.simdgroup % senders * tile_sums + team.lane;
#pragma unroll
    for (int j = 0; j < owned; ++j) {
#pragma unroll
      for (int q = 0; q < count; ++q) {
        if (sends) shared[(j * count + q) * limits::simd_width] = sums[j][q];
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (team.simdgroup >= senders) continue;
#pragma unroll
    for (int j = 0; j < owned; ++j) {
#pragma unroll
      for (int q = 0; q < count; ++q) sums[j][q] += shared[(j * count + q) * limits::simd_width];
    }
  }
  if (team.simdgroup != 0) return;
  products += (matrix * limits::reflectors_parts + part) * width * row_packs + place;
#pragma unroll
  for (int j = 0; j < owned; ++j) {
    if (own.pack + 4 * j >= packs) continue;
#pragma unroll
    for (int q = 0; q < count; ++q) {
      products[(own.row_pack * count + q) * row_packs + own.pack + 4 * j] = sums[j][q];
    }
  }
}

}  // namespace metalsvd
