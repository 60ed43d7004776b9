// Method `block` on real numbers: the rotations of a table of 64 columns all at once, where they are not too large.
//
// One after the other they are a hundred steps that wait for each other (block_wide_solve.h). But let X hold the angles
// of all pairs of columns, each as if there were no others, and with opposite signs on both sides of the diagonal:
// J = exp(X) is orthogonal, the very rotation of a pair that has nothing in common with the rest, and leaves of the
// others what is of second order in X, as a sweep of rotations does. It takes a few products of 64 x 64 matrices.
//
// To converge it is enough that J is X but for terms of second order. So polynomials p that stay closer to orthogonal
// matrices than those of Taylor's series, for as many products, are better than exp; X has eigenvalues i phi, and
// J^H J - I those of p(x) p(-x) - 1:
//   I + X + a X^2                                                                   for phi up to 0.028
//   I + X + a X^2 + (b X + c X^2)^2                                                 for phi up to 0.5
//   I + X + a X^2 + b Y + (c X + d X^2 + e Y)^2, Y = (7.5 X + X^2)^2                for phi up to 2
// where least squares of |p(i phi)|^2 - 1 give a to e; what is left of it is below 4e-8. p turns by 2.04 for phi = 2.
#pragma once
#include <metal_stdlib>

#include "block_convergence.h"
#include "block_wide.h"
#include "common/rotation.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

enum : int {
  // A thread has four rows and four columns of each matrix.
  wide_tile_side = 4,
  wide_tiles_of_row = wide_pair / wide_tile_side,
  // Threads side by side have the same columns, and every other the same rows (block_wide_gram.h says why).
  wide_rows_of_tiles = int(limits::simd_width) / wide_tiles_of_row
};

struct WideTile {
  float at[wide_tile_side][wide_tile_side];
};

// Where the rows and columns of a thread begin: a SIMD-group has all of some rows.
inline int first_row_of_tile(int thread_index) {
  const int row_of_tiles =
      thread_index / int(limits::simd_width) * wide_rows_of_tiles + thread_index % wide_rows_of_tiles;
  return row_of_tiles * wide_tile_side;
}
inline int first_column_of_tile(int thread_index) {
  return thread_index / wide_rows_of_tiles % wide_tiles_of_row * wide_tile_side;
}

// The angle in [-pi / 4, pi / 4] of the rotation that makes two columns orthogonal: alpha = |p|^2, beta = |q|^2,
// gamma = p^H q; to a relative 4e-4.
inline float rotation_angle(float alpha, float beta, float gamma) {
  const float half_tangent = orthogonalizing_rotation(alpha, beta, gamma).sigma_by_1pc;
  const float square = half_tangent * half_tangent;
  return 2.0f * half_tangent * fma(square, fma(square, 0.2f, -1.0f / 3.0f), 1.0f);
}

// What there is to rotate in a table, and how large these rotations are together: the largest sum, over a column, of
// angles, or of cosines where these are larger.
struct WideAngles {
  uint found;
  float sum;
};

// X of the Gram matrix G, a thread its tile: zero where columns are orthogonal. Both of its triangles are found, from
// the same numbers, so that they differ in the sign only. Returns what has been found in the rows of the SIMD-group.
inline WideAngles find_wide_angles(threadgroup const float* G, BlockTolerances tolerances, int thread_index,
                                   thread WideTile& X) {
  const int first_row = first_row_of_tile(thread_index);
  const int first_column = first_column_of_tile(thread_index);
  float square_of_column[wide_tile_side];
  float inverse_of_column[wide_tile_side];
#pragma unroll
  for (int b = 0; b < wide_tile_side; ++b) {
    const float square = G[(first_column + b) * (wide_pair + 1)];
    square_of_column[b] = square;
    inverse_of_column[b] = square >= least_square() ? rsqrt(square) : 0.0f;
  }
  uint found = found_nothing;
  float largest_sum = 0.0f;
#pragma unroll
  for (int a = 0; a < wide_tile_side; ++a) {
    const int row = first_row + a;
    const float square = G[row * (wide_pair + 1)];
    const float inverse = square >= least_square() ? rsqrt(square) : 0.0f;
    float products[wide_tile_side];
    read_four((threadgroup const float4*)(G + row * wide_pair + first_column), products);
    float sum = 0.0f;
#pragma unroll
    for (int b = 0; b < wide_tile_side; ++b) {
      const int column = first_column + b;
      const float beta = square_of_column[b];
      const float size = fabs(products[b]);
      const float cosine_of_pair = row == column ? 0.0f : size * (inverse * inverse_of_column[b]);
      found |= found_with_cosine(cosine_of_pair, square, beta, size, tolerances);
      // Two columns of the same length turn by 45 degrees, which is as good either way: that of the first one.
      const float angle = rotation_angle(square, beta, square == beta && row > column ? -products[b] : products[b]);
      X.at[a][b] = cosine_of_pair > tolerances.cosine ? angle : 0.0f;
      sum += cosine_of_pair > tolerances.cosine ? max(cosine_of_pair, fabs(angle)) : 0.0f;
    }
#pragma unroll
    for (ushort distance = wide_rows_of_tiles; distance < limits::simd_width; distance *= 2) {
      sum += simd_shuffle_xor(sum, distance);
    }
    largest_sum = max(largest_sum, sum);
  }
  WideAngles angles;
  angles.found = simd_or(found);
  angles.sum = max(largest_sum, simd_shuffle_xor(largest_sum, ushort(wide_rows_of_tiles / 2)));
  return angles;
}

// What the rotations of a table may come to for J = exp(X): with more, sweeps converge more slowly. In the first ones
// it matters less, where they are not as large as those of many columns of the same length.
inline float wide_most_sum(int sweep) { return sweep <= limits::block_first_sweeps ? 10.0f : 3.0f; }

inline void store_wide_tile(thread const WideTile& tile, int thread_index, threadgroup float* words) {
  words += first_row_of_tile(thread_index) * wide_product_stride + first_column_of_tile(thread_index);
#pragma unroll
  for (int a = 0; a < wide_tile_side; ++a) {
    *(threadgroup float4*)(words + a * wide_product_stride) =
        float4(tile.at[a][0], tile.at[a][1], tile.at[a][2], tile.at[a][3]);
  }
}

// The tile of the square of the matrix of these tiles, by way of `words`, which are free again after a barrier. One
// barrier.
inline void square_of_wide(thread const WideTile& tile, int thread_index, threadgroup float* words,
                           thread WideTile& square) {
  store_wide_tile(tile, thread_index, words);
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (int a = 0; a < wide_tile_side; ++a) {
#pragma unroll
    for (int b = 0; b < wide_tile_side; ++b) square.at[a][b] = 0.0f;
  }
  threadgroup const float* const rows = words + first_row_of_tile(thread_index) * wide_product_stride;
  threadgroup const float* const columns = words + first_column_of_tile(thread_index);
#pragma unroll 4
  for (int k = 0; k < wide_pair; k += wide_tile_side) {
    float left[wide_tile_side][wide_tile_side];
#pragma unroll
    for (int a = 0; a < wide_tile_side; ++a) {
      read_four((threadgroup const float4*)(rows + a * wide_product_stride + k), left[a]);
    }
#pragma unroll
    for (int i = 0; i < wide_tile_side; ++i) {
      float right[wide_tile_side];
      read_four((threadgroup const float4*)(columns + (k + i) * wide_product_stride), right);
#pragma unroll
      for (int a = 0; a < wide_tile_side; ++a) {
#pragma unroll
        for (int b = 0; b < wide_tile_side; ++b) square.at[a][b] = fma(left[a][i], right[b], square.at[a][b]);
      }
    }
  }
}

// x = first x + second y
inline void combine_wide(float first, thread WideTile& x, float second, thread const WideTile& y) {
#pragma unroll
  for (int a = 0; a < wide_tile_side; ++a) {
#pragma unroll
    for (int b = 0; b < wide_tile_side; ++b) x.at[a][b] = fma(second, y.at[a][b], first * x.at[a][b]);
  }
}

// What the squares of all entries come to, by the tile of each thread, told to all. One barrier.
inline float sum_of_squares(thread const WideTile& tile, threadgroup uint* slots, Team team) {
  float sum = 0.0f;
#pragma unroll
  for (int a = 0; a < wide_tile_side; ++a) {
#pragma unroll
    for (int b = 0; b < wide_tile_side; ++b) sum = fma(tile.at[a][b], tile.at[a][b], sum);
  }
  sum = simd_sum(sum);
  if (team.lane == 0) slots[team.simdgroup] = as_type<uint>(sum);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  sum = 0.0f;
#pragma unroll
  for (int k = 0; k < limits::block_simdgroups; ++k) sum += as_type<float>(slots[k]);
  return sum;
}

// J - I in `words`, row after row, wide_product_stride apart, of X or, where that turns by more than two radians, of as
// large a part of it. It is known to all after a barrier. Two barriers a product.
inline void exponential_of_wide(thread const WideTile& X, threadgroup float* words, threadgroup uint* slots,
                                Team team) {
  WideTile square;
  square_of_wide(X, team.index, words, square);
  // X has the eigenvalues i phi and -i phi, so X^2 has -phi^2 twice.
  const float largest_angle = precise::sqrt(precise::sqrt(0.5f * sum_of_squares(square, slots, team)));
  WideTile J_minus_I = X;
  if (largest_angle <= 0.028f) {
    combine_wide(1.0f, J_minus_I, 0.50008f, square);
  } else if (largest_angle <= 0.5f) {
    const float a = 0.25262319f, b = 0.49737059f, c = 0.14752234f;
    WideTile root = X;
    combine_wide(b, root, c, square);
    combine_wide(1.0f, J_minus_I, a, square);
    square_of_wide(root, team.index, words, square);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    combine_wide(1.0f, J_minus_I, 1.0f, square);
  } else {
    const float a = 0.12592977f, b = 0.0027588222f, c = 0.4678532f, d = 0.05875555f, e = 0.0012420921f;
    const float part = largest_angle > 2.0f ? precise::divide(2.0f, largest_angle) : 1.0f;
    combine_wide(part, J_minus_I, 0.0f, square);
    WideTile inner = J_minus_I;
    combine_wide(7.5f, inner, part * part, square);
    WideTile outer = J_minus_I;
    combine_wide(c, outer, part * part * d, square);
    combine_wide(1.0f, J_minus_I, part * part * a, square);
    square_of_wide(inner, team.index, words, square);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    combine_wide(1.0f, outer, e, square);
    combine_wide(1.0f, J_minus_I, b, square);
    square_of_wide(outer, team.index, words, square);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    combine_wide(1.0f, J_minus_I, 1.0f, square);
  }
  store_wide_tile(J_minus_I, team.index, words);
}

}  // namespace metalsvd
