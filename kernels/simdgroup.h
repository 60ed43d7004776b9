// Method `simdgroup`: one-sided Jacobi in registers, several matrices a SIMD-group or several SIMD-groups a matrix.
//
// Factors B = P diag(sigma) V^H, where B is A, or A^H when A is wide. The columns of a matrix W are rotated in pairs
// until all are orthogonal, those of Q with them (Hestenes 1958). Up to limits::simdgroup_plain_columns W = B and Q =
// I, and so W J = P diag(sigma), Q J = V. With more columns B is factored first, as by method `threadgroup`
// (kernels/threadgroup.h): B Pi = Q R, Pi by decreasing norms of the columns, and W = R^H, so that W J = Pi V
// diag(sigma), Q J = P. That takes as long as one sweep to two and saves two of ten sweeps on random matrices, ten to
// fifteen on decaying spectra. The order alone saves nearly as many as pivoting would, which needs a search in each
// step.
//
// The columns of W, with those of Q below them, stand in a line of pairs; each pair is held by one lane, or by `parts`
// of them where a column has more rows than a lane has registers for. The pairs of a sweep are met by odd-even
// transposition (Stewart 1985; Luk and Park 1989): neighbours meet and change places, in even rounds those of a pair,
// in odd rounds the second of a pair and the first of the next, until the line is reversed and each column has met
// each. Between two rounds only one column of a pair moves to another lane (simdgroup_line.h), half of what a
// tournament moves. The square of a column moves with it: it is summed up once a sweep, and each rotation tells what
// one column gains and the other loses.
//
// Few matrices leave a GPU waiting for one round after the other: kernels of simdgroup_few_entries a lane share the
// entries of a column out to two to eight lanes for one, or others turn Q apart (kernels/simdgroup_apart.h), and give
// the same bits.
//
// A group of lanes, a SIMD-group or where lines are spread a threadgroup, has as many matrices as it has lanes for. All
// its lanes take part in all its SIMD operations and barriers until the last of its matrices is done; a matrix that is
// done, is not finite or is missing at the end of the batch rotates no more. Lanes that are left over store nothing.
//
// Lanes hold zeros beyond the rows and columns of a matrix. A zero column is never rotated, and sorts last. Every loop
// over registers has compile-time bounds, so that none is indexed at run time.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/nan_factors.h"
#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "common/team.h"
#include "device_limits.h"
#include "simdgroup_factors.h"
#include "simdgroup_line.h"
#include "simdgroup_load.h"
#include "simdgroup_qr.h"
#include "simdgroup_sweep.h"

namespace metalsvd {

using namespace metal;

// B Pi = Q R: W, which is B, becomes R^H, and Q is made where vectors are wanted.
template <typename T, int entries, bool is_spread>
inline void factor_line(thread Columns<T, entries>& columns, Stand<is_spread> stand) {
  float squares[pair_columns];
  squares_of_columns<entries>(columns.W, squares, stand);
  const HeldPlaces<pair_columns> places = rank_columns<pair_columns>(squares, false, stand);
  threadgroup int* origins = stand.memory.origins + stand.matrix * stand.columns;
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
    const bool is_told = has_matrix(stand) && stand.part == 0 && places.of[c] < stand.columns;
    if (is_told) origins[places.of[c]] = column_of<pair_columns>(c, stand);
  }
  T diagonals[pair_columns];
  factor_columns<entries>(columns.W, places, stand.columns, stand.columns, stand, diagonals);
  if (stand.q_used > 0) form_columns(columns, places, stand);
  transpose_factor(columns, places, diagonals, stand);
}

// P and V from the columns that the sweeps have left, with what is missing to full rank or full matrices. Called by all
// lanes of a group, those too whose matrix has no factors.
template <typename Storage, typename T, int entries, bool is_spread>
inline void store_factors(thread Columns<T, entries>& columns, thread const float* sigmas,
                          HeldPlaces<pair_columns> places, bool has_factors, Tensors<Storage> tensors, Shape shape,
                          Stand<is_spread> stand) {
  const Factor<Storage> P = make_factor(tensors.left, left_place(shape), shape.rows, shape.left_columns);
  Factor<Storage> V = make_factor(tensors.right, right_place(shape), shape.columns, shape.columns);
  if (stand.factors) V.origins = stand.memory.origins + min(stand.matrix, stand.matrices - 1) * shape.columns;
  const Factor<Storage> of_W = stand.factors ? V : P;
  const Factor<Storage> of_Q = stand.factors ? P : V;
  const bool U_is_of_W = stand.factors == shape.transposed;
  normalize_columns(columns, sigmas, of_W, of_Q, U_is_of_W, stand);
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
    if (!has_factors) continue;
    if (sigmas[c] > 0.0f) store_entries<entries>(columns.W[c], places.of[c], of_W, stand);
    if (places.of[c] < shape.columns) store_entries<entries>(columns.Q[c], places.of[c], of_Q, stand);
  }
  const int nonzero = has_factors ? places.nonzero : of_W.columns;
  if (where_it_holds(nonzero < of_W.columns, stand).in_group) {
    complete_held<entries>(columns.W, places, nonzero, stand.factors && U_is_of_W, of_W, stand);
  }
  if (shape.columns < of_Q.columns) {
    const int held = has_factors ? shape.columns : of_Q.columns;
    complete_held<entries>(columns.Q, places, held, false, of_Q, stand);
  }
}

// What is known of a matrix that has been loaded.
struct Loaded {
  bool exists;     // where it does not, nothing is stored
  bool is_finite;  // where it is not, its factors are NaN, and stored already
  int exponent;    // by which it was scaled
};

// W = B, scaled, of the matrix of this lane, together with all lanes of its group.
template <typename Storage, typename T, int entries, bool is_spread>
inline Loaded load_matrix(Tensors<Storage> tensors, bool exists, Shape shape, thread Columns<T, entries>& columns,
                          Stand<is_spread> stand) {
  uint largest_of_pair = 0u;
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
    const int j = column_of<pair_columns>(c, stand);
    largest_of_pair = max(largest_of_pair, load_column<entries>(tensors, j, exists, shape, stand, columns.W[c]));
  }
  const uint largest = max_over_matrix(largest_of_pair, stand);
  Loaded loaded;
  loaded.exists = exists;
  loaded.is_finite = largest < not_finite_bits;
  loaded.exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  scale_columns<entries>(columns.W, loaded.exponent, loaded.is_finite, shape.transposed);
  if (exists && !loaded.is_finite) {
    store_nan(tensors.left, tensors.S, tensors.right, shape, stand.pair * stand.parts + stand.part,
              stand.pairs_in_line * stand.parts);
  }
  return loaded;
}

// What is known of it after the sweeps.
struct Swept {
  int sweeps;
  bool is_unfinished;
};

// The factors of the matrix, from the columns that the sweeps have left, and what happened to it.
template <typename Storage, typename T, int entries, bool is_spread>
inline void finish_matrix(thread Columns<T, entries>& columns, Loaded loaded, Swept swept, Tensors<Storage> tensors,
                          Shape shape, Stand<is_spread> stand) {
  const bool has_factors = loaded.exists && loaded.is_finite;
  if (loaded.exists && stand.pair == 0 && stand.part == 0) {
    *tensors.info = !loaded.is_finite ? info_not_finite : swept.is_unfinished ? info_not_converged : info_ok;
  }
  float sigmas[pair_columns];
  norms_of_columns(columns, sigmas, stand);
  const HeldPlaces<pair_columns> places = rank_columns<pair_columns>(sigmas, swept.sweeps % 2 != 0, stand);
  if (has_factors && stand.part == 0) store_values(sigmas, places, loaded.exponent, tensors, shape);
  if (stand.q_used > 0) store_factors(columns, sigmas, places, has_factors, tensors, shape, stand);
}

// The matrix of this lane, together with all lanes of its group.
template <typename Storage, int entries, bool is_spread>
inline void factor_matrix(Tensors<Storage> tensors, bool exists, Shape shape, Stand<is_spread> stand) {
  typedef typename StorageTraits<Storage>::Number T;
  Columns<T, entries> columns;
  const Loaded loaded = load_matrix(tensors, exists, shape, columns, stand);
  if (stand.factors) {
    factor_line(columns, stand);
  } else {
    put_unit_vectors(columns, stand);
  }

  const Tolerances tolerances = make_tolerances(stand.factors ? shape.columns : shape.rows, shape.columns);
  Swept swept;
  swept.is_unfinished = exists && loaded.is_finite;
  bool is_group_unfinished = true;
  for (swept.sweeps = 0; swept.sweeps < limits::jacobi_max_sweeps && is_group_unfinished; ++swept.sweeps) {
    const uint found = sweep(columns, tolerances, swept.is_unfinished, stand);
    const Holds unfinished = where_it_holds(found == found_large, stand);
    is_group_unfinished = unfinished.in_group;
    swept.is_unfinished = unfinished.in_matrix;
  }
  finish_matrix(columns, loaded, swept, tensors, shape, stand);
}

// The matrices of a group, which are `first` and following, as far as there are any. Lanes that have none stand in for
// the first.
template <typename Storage, int entries, bool is_spread>
inline void factor_group(Tensors<Storage> tensors, long first, long batch, long batch_stride, Shape shape,
                         Stand<is_spread> stand) {
  const bool exists = has_matrix(stand) && first + stand.matrix < batch;
  const long index = exists ? first + stand.matrix : first;
  factor_matrix<Storage, entries>(tensors_from(tensors, index, batch_stride, shape), exists, shape, stand);
}

// Grid: SIMD-groups of as many matrices as they have lanes for, as many of them a threadgroup as the host likes; those
// beyond `batch` return as a whole. Ownership: the lanes of a pair own its two columns, lane `part` the rows part,
// part + parts, ...; whole columns change owners by exchange. Barriers: none, as the SIMD-groups of a threadgroup share
// nothing. The host promises: a matrix takes at most the lanes of a SIMD-group; without vectors `left` and `right` are
// not touched; `scratch` never is.
template <typename Storage, int entries>
[[kernel, max_total_threads_per_threadgroup(limits::simdgroup_method_threads)]] void svd_simdgroup(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], constant long& parts [[buffer(14)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 boxes[limits::simdgroup_method_simdgroups][limits::simdgroup_words_bytes / 16];
  const LineMemory memory = make_line_memory(boxes[simdgroup], limits::simdgroup_words_bytes / 16, nullptr, nullptr);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Stand<false> stand = make_stand<false>(shape, pairs_of(shape.columns, pair_columns), int(parts), memory, team);
  const long first_index = (long(threadgroup_index) * long(team.simdgroups) + long(team.simdgroup)) * stand.matrices;
  if (first_index >= batch) return;
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_group<Storage, entries>(tensors, first_index, batch, batch_stride, shape, stand);
}

// Grid: threadgroups of as many matrices as they have lanes for. Ownership as above; barriers: simdgroup_line.h. The
// host promises besides: a matrix takes at most the lanes of a threadgroup, and the boxes of their lines find room.
template <typename Storage, int entries>
[[kernel, max_total_threads_per_threadgroup(limits::simdgroup_spread_threads)]] void svd_simdgroups(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], constant long& parts [[buffer(14)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 boxes[limits::simdgroup_boxes_bytes / 16];
  threadgroup int origins[limits::simdgroup_spread_origins];
  threadgroup uint marks[limits::simdgroups_per_threadgroup];
  const LineMemory memory = make_line_memory(boxes, limits::simdgroup_boxes_bytes / 16, origins, marks);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Stand<true> stand = make_stand<true>(shape, pairs_of(shape.columns, pair_columns), int(parts), memory, team);
  const long first_index = long(threadgroup_index) * stand.matrices;
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_group<Storage, entries>(tensors, first_index, batch, batch_stride, shape, stand);
}

}  // namespace metalsvd
