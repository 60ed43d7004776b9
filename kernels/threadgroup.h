// Method `threadgroup`: preconditioned one-sided Jacobi, one threadgroup a matrix, staged in threadgroup memory.
//
// Factors B = P diag(sigma) V^H, where B is A, or A^H when A is wide, so that B has rows >= columns:
//   1. B Pi = Q R, with column pivoting (common/pivoted_qr.h), and W = R^H, columns x columns
//   2. the columns of W are rotated in pairs until all are orthogonal, those of Q with them: W J = X diag(sigma), so
//   that
//      B = (Q J) diag(sigma) (Pi X)^H (threadgroup_sweep.h)
// (Hestenes 1958; Drmac and Veselic 2008). Each pair is tested relative to its own norms, which keeps the relative
// accuracy of the small singular values of column-graded matrices (Demmel and Veselic 1992). P comes out of products of
// reflectors and rotations, orthonormal whatever the rank; the columns of X of zero singular values are made up.
#pragma once
#include <metal_stdlib>

#include "common/columns.h"
#include "common/householder.h"
#include "common/nan_factors.h"
#include "common/pivoted_qr.h"
#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "common/team.h"
#include "device_limits.h"
#include "threadgroup_sweep.h"

namespace metalsvd {

using namespace metal;

// Reads A into B as it is and returns the largest magnitude bits that this thread saw.
template <typename Storage, typename T>
inline uint load_matrix(device const Storage* A, long row_stride, long column_stride, Shape shape, threadgroup T* B,
                        Team team) {
  uint largest = 0u;
  const bool along_rows = row_stride < column_stride;
  for (int index = team.index; index < shape.rows * shape.columns; index += team.threads) {
    const int i = along_rows ? index % shape.rows : index / shape.columns;
    const int j = along_rows ? index / shape.rows : index % shape.columns;
    const T entry = to_number(A[i * row_stride + j * column_stride]);
    B[j * shape.rows + i] = entry;
    largest = max(largest, magnitude_bits(entry));
  }
  return largest;
}

// Of the tile: order and sigma, together two words a column while B is factored, pivots; then numbers, B first and W in
// its place or behind it. Behind sigma stands what nobody writes while sigma is read: compilers read it in fours.
template <typename T>
struct Tile {
  threadgroup uint* order;
  threadgroup float* sigma;
  threadgroup uint* pivots;
  threadgroup T* numbers;
  int size;  // of `numbers`
  threadgroup T* W;
  int stride;  // from one column of W to the next: padded where there is room
};

template <int words, bool is_split, typename T>
inline Tile<T> lay_out(threadgroup float2* memory, Shape shape) {
  const int pairs_of_words = limits::threadgroup_column_words(shape.columns) / 2;
  Tile<T> tile;
  tile.order = (threadgroup uint*)memory;
  tile.sigma = (threadgroup float*)(tile.order + shape.columns);
  tile.pivots = tile.order + 2 * shape.columns;
  tile.numbers = (threadgroup T*)(memory + pairs_of_words);
  tile.size = (words / 2 - pairs_of_words) * int(sizeof(float2) / sizeof(T));
  const int in_front = is_split ? 0 : shape.rows * shape.columns;
  tile.W = tile.numbers + in_front;
  const int padded = limits::threadgroup_padded_stride(shape.columns);
  tile.stride = in_front + padded * shape.columns <= tile.size ? padded : shape.columns;
  return tile;
}

// B becomes A or A^H, scaled. Conjugates are taken of scaled entries: a GPU may flush denormal ones when it negates
// them.
template <typename T>
inline void scale_matrix(threadgroup T* B, int exponent, Shape shape, Team team) {
  for (int index = team.index; index < shape.rows * shape.columns; index += team.threads) {
    const T entry = scale(B[index], exponent);
    B[index] = shape.transposed ? conjugate(entry) : entry;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// W = R^H below its diagonal, which stands there already.
template <typename T, typename Pointer>
inline void transpose_factor(threadgroup const T* B, Pointer W, int stride, threadgroup const uint* pivots, Shape shape,
                             Team team) {
  for (int index = team.index; index < stride * shape.columns; index += team.threads) {
    const int k = index / stride;
    const int i = index % stride;
    if (i < k || i >= shape.columns) {
      W[index] = from_real<T>(0.0f);
    } else if (i > k) {
      W[index] = conjugate(B[int(pivots[i]) * shape.rows + k]);
    }
  }
}

// Step 1 in the tile, which has room for B and W: Q takes the place of B.
template <typename T>
inline SplitMatrix<T> factor_staged(Tile<T> tile, device T* no_rest, Shape shape, Team team) {
  threadgroup T* B = tile.numbers;
  SplitMatrix<T> Q;
  Q.staged = B;
  Q.staged_stride = shape.rows;
  Q.staged_rows = shape.left_columns > 0 ? shape.rows : 0;
  Q.rest = no_rest;
  Q.rest_stride = 0;
  Q.rest_rows = 0;
  Q.pivots = tile.pivots;
  threadgroup const uint* states =
      factor_pivoted(B, tile.order, tile.pivots, tile.W, tile.stride, shape.rows, shape.columns, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  transpose_factor(B, tile.W, tile.stride, tile.pivots, shape, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (shape.left_columns == 0) return Q;
  form_pivoted(B, states, tile.pivots, shape.rows, shape.columns, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return Q;
}

// Step 1 where W does not fit beside B: both go through device memory, Q is made first, then W takes the place of B.
// What is left of the tile holds the first rows of Q, the others stay in device memory.
template <typename T>
inline SplitMatrix<T> factor_split(Tile<T> tile, device T* W_copy, device T* Q_copy, Shape shape, Team team) {
  threadgroup T* B = tile.numbers;
  const int columns = shape.columns;
  threadgroup const uint* states =
      factor_pivoted(B, tile.order, tile.pivots, W_copy, columns, shape.rows, columns, team);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  transpose_factor(B, W_copy, columns, tile.pivots, shape, team);
  const bool vectors = shape.left_columns > 0;
  if (vectors) {
    form_pivoted(B, states, tile.pivots, shape.rows, columns, team);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int index = team.index; index < shape.rows * columns; index += team.threads) Q_copy[index] = B[index];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);

  for (int index = team.index; index < tile.stride * columns; index += team.threads) {
    const int i = index % tile.stride;
    tile.W[index] = i < columns ? W_copy[index / tile.stride * columns + i] : from_real<T>(0.0f);
  }
  SplitMatrix<T> Q;
  Q.staged = tile.W + tile.stride * columns;
  Q.staged_rows = vectors ? min(shape.rows, tile.size / columns - tile.stride) : 0;
  Q.staged_stride = Q.staged_rows;
  Q.rest = Q_copy + Q.staged_rows;
  Q.rest_stride = shape.rows;
  Q.rest_rows = vectors ? shape.rows - Q.staged_rows : 0;
  Q.pivots = tile.pivots;
  for (int index = team.index; index < Q.staged_rows * columns; index += team.threads) {
    Q.staged[index] = Q_copy[index / Q.staged_rows * shape.rows + index % Q.staged_rows];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return Q;
}

// The rows of Q that were staged, back to the others. One barrier.
template <typename T>
inline void unite_split(SplitMatrix<T> Q, device T* Q_copy, Shape shape, Team team) {
  for (int index = team.index; index < Q.staged_rows * shape.columns; index += team.threads) {
    Q_copy[index / Q.staged_rows * shape.rows + index % Q.staged_rows] = Q.staged[index];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
}

// sigma[k] = |column k| of W, zero where its square is below least_square(), and order[k] = the column of the k-th
// largest. Two barriers.
template <typename T>
inline void sort_columns(Tile<T> tile, int columns, Team team) {
  threadgroup float* sigma = tile.sigma;
  for (int k = team.simdgroup; k < columns; k += team.simdgroups) {
    const float square = simd_sum(square_of_column<T>(tile.W + k * tile.stride, columns, team.lane));
    if (team.lane == 0) sigma[k] = square >= least_square() ? precise::sqrt(square) : 0.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int k = team.index; k < columns; k += team.threads) {
    int place = 0;
    for (int other = 0; other < columns; ++other) {
      const bool before = sigma[other] > sigma[k] || (sigma[other] == sigma[k] && other < k);
      place += before ? 1 : 0;
    }
    tile.order[place] = uint(k);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// Step 2: sweeps until nothing is left to rotate, then sigma and order. `entries` rows of W a lane are enough. Returns
// what goes to info.
template <bool is_split, int entries, typename T>
inline int orthogonalize(Tile<T> tile, SplitMatrix<T> Q, threadgroup uint* slots, int columns, Team team) {
  const Tolerances tolerances = make_tolerances(columns, columns);
  uint found = found_large;
  for (int i = 0; i < limits::jacobi_max_sweeps && found == found_large; ++i) {
    found = threadgroup_max(sweep<is_split, entries>(tile.W, tile.stride, Q, tolerances, columns, team), slots, team);
  }
  sort_columns(tile, columns, team);
  return found == found_large ? info_not_converged : info_ok;
}

// The number of columns that are not zero: the k-th largest is the last of them.
inline int count_nonzero(threadgroup const float* sigma, threadgroup const uint* order, int columns) {
  int count = columns;
  while (count > 0 && sigma[order[count - 1]] == 0.0f) --count;
  return count;
}

// Makes the columns of W that are not zero and those of Q unit vectors, and turns each pair of them so that the entry
// of largest magnitude in the column of U is real and positive, the first of them where several are. Hundreds of
// rounded rotations have stretched the columns of Q by some ulps. One SIMD-group a column, each lane its own entries.
// The order of the rows of W, by pivots, decides between equal entries.
template <typename T, typename LeftPointer>
inline void normalize_columns(Tile<T> tile, LeftPointer Q, Shape shape, Team team) {
  for (int k = team.simdgroup; k < shape.columns; k += team.simdgroups) {
    const float sigma = tile.sigma[k];
    threadgroup T* x = tile.W + k * tile.stride;
    LeftPointer p = Q + int(tile.pivots[k]) * shape.rows;
    const float norm = precise::sqrt(simd_sum(square_of_column<T>(p, shape.rows, team.lane)));
    T turn = from_real<T>(1.0f);
    if (!shape.transposed) {
      turn = conjugate(phase_of_column<T>(p, shape.rows, team.lane));
    } else if (sigma > 0.0f) {
      turn = conjugate(phase_of_column<T>(x, shape.columns, team.lane));
    }
    if (sigma > 0.0f) normalize_column(x, shape.columns, sigma, turn, team.lane);
    normalize_column(p, shape.rows, norm, turn, team.lane);
  }
}

// Stores the `columns` columns of P.
template <typename Storage, typename T, typename LeftPointer>
inline void store_left(Tile<T> tile, LeftPointer Q, device Storage* left, Shape shape, Team team) {
  const Place place = left_place(shape);
  for (int index = team.index; index < shape.rows * shape.columns; index += team.threads) {
    const int i = shape.transposed ? index / shape.columns : index % shape.rows;
    const int k = shape.transposed ? index % shape.columns : index / shape.rows;
    const T entry = Q[int(tile.pivots[tile.order[k]]) * shape.rows + i];
    left[i * place.row_stride + k * place.column_stride] =
        to_storage<Storage>(place.conjugated ? conjugate(entry) : entry);
  }
}

// Fills columns [columns, left_columns) of P with an orthonormal basis of what the others, still in Q, leave: column k
// is H_0 .. H_{columns-1} e_k. Made in `work` and stored from there: in place where tensors hold the numbers that are
// computed with, otherwise in scratch. One SIMD-group a column, each lane its own rows.
template <typename Storage, typename T, typename LeftPointer>
inline void complete_left(Tile<T> tile, LeftPointer Q, device T* work, Place work_place, device Storage* left,
                          Shape shape, Team team) {
  const Place place = left_place(shape);
  threadgroup float* taus = tile.sigma;
  factor_orthonormal<T>(Q, shape.rows, 0, shape.columns, tile.pivots, taus, team);
  for (int k = shape.columns + team.simdgroup; k < shape.left_columns; k += team.simdgroups) {
    device T* column = work + k * work_place.column_stride;
    for (int i = team.lane; i < shape.rows; i += limits::simd_width) {
      column[i * work_place.row_stride] = from_real<T>(i == k ? 1.0f : 0.0f);
    }
    for (int reflector = shape.columns - 1; reflector >= 0; --reflector) {
      const int j = int(tile.pivots[reflector]);
      reflect<T>(Q + j * shape.rows, taus[j], column, work_place.row_stride, reflector, shape.rows, team.lane);
    }
    for (int i = team.lane; i < shape.rows; i += limits::simd_width) {
      const T entry = column[i * work_place.row_stride];
      left[i * place.row_stride + k * place.column_stride] =
          to_storage<Storage>(place.conjugated ? conjugate(entry) : entry);
    }
  }
}

// Stores columns [first, last) of Pi X.
template <typename Storage, typename T>
inline void store_right(Tile<T> tile, int first, int last, device Storage* right, Shape shape, Team team) {
  const Place place = right_place(shape);
  const int count = last - first;
  for (int index = team.index; index < shape.columns * count; index += team.threads) {
    const int i = shape.transposed ? index % shape.columns : index / count;
    const int k = first + (shape.transposed ? index / shape.columns : index % count);
    const T entry = tile.W[int(tile.order[k]) * tile.stride + i];
    right[int(tile.pivots[i]) * place.row_stride + k * place.column_stride] =
        to_storage<Storage>(place.conjugated ? conjugate(entry) : entry);
  }
}

// Makes of the columns of W from the `count`-th of the order on, which are zero, an orthonormal basis of what the
// others leave; those become reflectors. In U each is turned as normalize_columns does. One SIMD-group a column.
template <typename T>
inline void complete_right(Tile<T> tile, int count, Shape shape, Team team) {
  const int columns = shape.columns;
  const int rows = tile.stride;  // zeros pad them
  threadgroup float* taus = tile.sigma;
  factor_orthonormal<T>(tile.W, rows, 0, count, tile.order, taus, team);
  for (int k = count + team.simdgroup; k < columns; k += team.simdgroups) {
    threadgroup T* x = tile.W + int(tile.order[k]) * rows;
    for (int i = team.lane; i < rows; i += limits::simd_width) x[i] = from_real<T>(i == k ? 1.0f : 0.0f);
    for (int reflector = count - 1; reflector >= 0; --reflector) {
      const int j = int(tile.order[reflector]);
      reflect<T>(tile.W + j * rows, taus[j], x, 1, reflector, rows, team.lane);
    }
    if (!shape.transposed) continue;
    const T turn = conjugate(phase_of_column<T>(x, columns, team.lane));
    for (int i = team.lane; i < columns; i += limits::simd_width) x[i] = multiply(turn, x[i]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// What is left to do with vectors once W and Q are orthogonal, Q in the tile or in device memory.
template <typename Storage, typename T, typename LeftPointer>
inline void finish_vectors(Tile<T> tile, LeftPointer Q, device Storage* left, device Storage* right, device T* work,
                           Place work_place, Shape shape, Team team) {
  const int count = count_nonzero(tile.sigma, tile.order, shape.columns);
  normalize_columns(tile, Q, shape, team);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  store_left(tile, Q, left, shape, team);
  store_right(tile, 0, count, right, shape, team);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  if (count < shape.columns) {
    complete_right(tile, count, shape, team);
    store_right(tile, count, shape.columns, right, shape, team);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (shape.left_columns > shape.columns) complete_left(tile, Q, work, work_place, left, shape, team);
}

// The rows of the largest W that a tile takes, shared out to the lanes of a team.
template <typename T, bool is_split, int tile_words>
constexpr int threadgroup_entries() {
  return (limits::threadgroup_most_columns(int(sizeof(T) / sizeof(float)), tile_words, is_split) + limits::team_lanes -
          1) /
         limits::team_lanes;
}

// Grid: one threadgroup a matrix, of any multiple of 32 threads up to the limit; every number of them gives the same
// bits. Ownership: entries are dealt to all threads when loading, copying and storing; while B is factored a team of
// lanes owns a column and each lane of it certain rows; in a round of a sweep a team owns four columns of W and of Q; a
// SIMD-group owns a column while it is normalised or completed. Barriers: after loading and scaling; one a column, and
// one between, while B is factored and Q formed; between copies; one a round; two where the threadgroup agrees on a
// number; two in sorting; one after normalising, and two a column that is made a reflector to complete others.
// The host promises: B, W and three words a column fit the tile, or with `is_split` each of B and W does (csrc/plan.cpp
// counts the words); `scratch` holds, for each matrix, columns^2 numbers with `is_split`, rows * columns more with
// vectors, and rows * left_columns numbers where full matrices of tensors narrower than the numbers computed with are
// wanted; without vectors `left` and `right` are not touched.
template <typename Storage, bool is_split, int tile_words>
[[kernel, max_total_threads_per_threadgroup(limits::threadgroup_method_threads)]] void svd_threadgroup(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], uint matrix [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  typedef typename StorageTraits<Storage>::Real Real;
  threadgroup float2 memory[tile_words / 2];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];

  if (long(matrix) >= batch) return;
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const bool vectors = shape.left_columns > 0;
  const bool completes_in_scratch = sizeof(Storage) < sizeof(T) && left_columns > columns;

  const long index = long(matrix);
  A += index * batch_stride;
  left += index * rows * left_columns;
  S += index * columns;
  right += vectors ? index * columns * columns : 0;
  const long W_numbers = is_split ? columns * columns : 0;
  const long Q_numbers = is_split && vectors ? rows * columns : 0;
  scratch += index * (W_numbers + Q_numbers + (completes_in_scratch ? rows * left_columns : 0));
  device T* Q_copy = scratch + W_numbers;
  device T* work = completes_in_scratch ? Q_copy + Q_numbers : (device T*)left;
  const Place work_place = completes_in_scratch ? column_major_place(shape.rows) : left_place(shape);

  const Tile<T> tile = lay_out<tile_words, is_split, T>(memory, shape);
  const uint largest =
      threadgroup_max(load_matrix(A, row_stride, column_stride, shape, tile.numbers, team), slots, team);
  if (largest >= not_finite_bits) {
    store_nan(left, S, right, shape, team.index, team.threads);
    if (team.index == 0) info[matrix] = info_not_finite;
    return;
  }
  const int exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  scale_matrix(tile.numbers, exponent, shape, team);

  const SplitMatrix<T> Q =
      is_split ? factor_split(tile, scratch, Q_copy, shape, team) : factor_staged(tile, scratch, shape, team);
  const int result =
      orthogonalize<is_split, threadgroup_entries<T, is_split, tile_words>()>(tile, Q, slots, shape.columns, team);
  for (int k = team.index; k < shape.columns; k += team.threads) {
    S[k] = to_storage<Real>(scale(tile.sigma[tile.order[k]], -exponent));
  }
  if (vectors && is_split) {
    unite_split(Q, Q_copy, shape, team);
    finish_vectors(tile, Q_copy, left, right, work, work_place, shape, team);
  } else if (vectors) {
    finish_vectors(tile, tile.numbers, left, right, work, work_place, shape, team);
  }
  if (team.index == 0) info[matrix] = result;
}

}  // namespace metalsvd
