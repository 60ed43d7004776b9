// Method `block`, after the last sweep: singular values and their order, unit vectors, and the columns of P that the
// columns of B leave open.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "common/columns.h"
#include "common/householder.h"
#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// The matrix and the column that a SIMD-group works on.
struct ColumnTask {
  long matrix;
  int column;
};

// Threadgroups of block_simdgroups columns each, those of one matrix beside each other.
inline ColumnTask make_column_task(uint group, uint simdgroup, long columns) {
  const uint groups = uint((columns + limits::block_simdgroups - 1) / limits::block_simdgroups);
  ColumnTask task;
  task.matrix = group / groups;
  task.column = int(group % groups) * limits::block_simdgroups + int(simdgroup);
  return task;
}

// sigma[j] = |column j of W|, zero where that counts as zero, and then unit columns of W and V, turned so that the
// entry of largest magnitude in the column of U is real and positive (see normalize_columns of method `threadgroup`).
//
// Grid: one SIMD-group a column, block_simdgroups of them a threadgroup. Ownership: a column of W and of V each, lane l
// the rows l, l + 32, ... Barriers: none. The host promises: V is not touched unless it `accumulates`; columns of W are
// not turned then, as U is made behind the tall QR.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_normalize(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device float* sigma [[buffer(2)]],
    device const int* states [[buffer(3)]], constant long& rows [[buffer(4)]], constant long& columns [[buffer(5)]],
    constant long& padded [[buffer(6)]], constant long& left_columns [[buffer(7)]],
    constant long& transposed [[buffer(8)]], constant long& accumulates [[buffer(9)]],
    uint group [[threadgroup_position_in_grid]], uint lane_index [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const ColumnTask task = make_column_task(group, simdgroup, columns);
  if (task.column >= int(columns) || sweep_due(states + task.matrix * state_words) == 0) return;
  const int lane = int(lane_index);
  device T* p = W + (task.matrix * padded + task.column) * limits::block_height(rows);
  device T* q = V + (task.matrix * padded + task.column) * limits::block_height(columns);

  const float square = simd_sum(square_of_column<T>(p, int(rows), lane));
  const bool is_zero = square < least_square();
  const float value = is_zero ? 0.0f : precise::sqrt(square);
  if (lane == 0) sigma[task.matrix * columns + task.column] = value;
  if (left_columns == 0) return;

  T turn = from_real<T>(1.0f);
  if (accumulates == 0) {
    if (!is_zero) normalize_column(p, int(rows), value, turn, lane);
    return;
  }
  const float norm = precise::sqrt(simd_sum(square_of_column<T>(q, int(columns), lane)));
  if (transposed != 0) {
    turn = conjugate(phase_of_column<T>(q, int(columns), lane));
  } else if (!is_zero) {
    turn = conjugate(phase_of_column<T>(p, int(rows), lane));
  }
  if (!is_zero) normalize_column(p, int(rows), value, turn, lane);
  normalize_column(q, int(columns), norm, turn, lane);
}

// order[k] = the column with the k-th largest singular value, S in that order, state_rank and info.
//
// Grid and ownership: a SIMD-group a column, as in block_normalize, whose place is the number of those before it.
// Barriers: none. The host promises: S has k entries.
template <typename Real>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_order(
    device const float* sigma [[buffer(0)]], device int* order [[buffer(1)]], device int* states [[buffer(2)]],
    device Real* S [[buffer(3)]], device int* info [[buffer(4)]], constant long& columns [[buffer(5)]],
    uint group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const ColumnTask task = make_column_task(group, simdgroup, columns);
  const int j = task.column;
  if (j >= int(columns)) return;
  sigma += task.matrix * columns;
  order += task.matrix * columns;
  states += task.matrix * state_words;
  S += task.matrix * columns;
  const int sweep = sweep_due(states);
  if (j == 0 && lane == 0) {
    info[task.matrix] = sweep == 0 ? info_not_finite : sweep > limits::block_max_sweeps ? info_not_converged : info_ok;
  }
  if (sweep == 0) {
    if (lane == 0) S[j] = to_storage<Real>(as_type<float>(0x7fc00000u));
    return;
  }
  const float value = sigma[j];
  int before = 0;
  int zeros = 0;
  for (int other = int(lane); other < int(columns); other += limits::simd_width) {
    const float beside = sigma[other];
    before += beside > value || (beside == value && other < j) ? 1 : 0;
    zeros += beside > 0.0f ? 0 : 1;
  }
  const int place = simd_sum(before);
  const int nonzero = int(columns) - simd_sum(zeros);
  if (lane != 0) return;
  order[place] = j;
  S[place] = to_storage<Real>(scale(value, -states[state_exponent]));
  if (j == 0) states[state_rank] = nonzero;
}

// Whether block_complete has anything to do for a matrix.
inline bool leaves_columns(device const int* states, long left_columns) {
  return sweep_due(states) > 0 && long(states[state_rank]) < left_columns;
}

// Columns [first, first + block_panel_columns) of P, in their order and as far as they are not zero, become the
// reflectors of their QR factorisation (householder.h), in place, with |v|^2 in sigma, which has been stored.
//
// Grid: one threadgroup of block_panel_threads a matrix; its SIMD-groups share the columns of the panel. Barriers: two
// a column. The host promises: block_reflect has applied the panels before to this one.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_panel_threads)]] void block_panel(
    device T* W [[buffer(0)]], device float* sigma [[buffer(1)]], device const int* order [[buffer(2)]],
    device const int* states [[buffer(3)]], constant long& rows [[buffer(4)]], constant long& columns [[buffer(5)]],
    constant long& padded [[buffer(6)]], constant long& left_columns [[buffer(7)]], constant long& first [[buffer(8)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const long matrix = group;
  states += matrix * state_words;
  if (!leaves_columns(states, left_columns)) return;
  const int last = min(int(first) + int(limits::block_panel_columns), states[state_rank]);
  const long height = limits::block_height(rows);
  factor_orthonormal<T>(W + matrix * padded * height, int(height), int(first), last, order + matrix * columns,
                        sigma + matrix * columns, make_team(thread_index, threads, lane, simdgroup));
}

// Applies the reflectors of a panel to the columns of P behind it.
//
// Grid: one SIMD-group a column behind the panel, block_simdgroups of them a threadgroup. Ownership: a column each,
// lane l the rows l, l + 32, ... Barriers: none. The host promises: `first` is that of the panel, and there are columns
// behind it.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_reflect(
    device T* W [[buffer(0)]], device const float* sigma [[buffer(1)]], device const int* order [[buffer(2)]],
    device const int* states [[buffer(3)]], constant long& rows [[buffer(4)]], constant long& columns [[buffer(5)]],
    constant long& padded [[buffer(6)]], constant long& left_columns [[buffer(7)]], constant long& first [[buffer(8)]],
    uint group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const int behind = int(first) + limits::block_panel_columns;
  const ColumnTask task = make_column_task(group, simdgroup, columns - behind);
  states += task.matrix * state_words;
  const int k = behind + task.column;
  if (!leaves_columns(states, left_columns) || k >= states[state_rank]) return;
  const long height = limits::block_height(rows);
  W += task.matrix * padded * height;
  sigma += task.matrix * columns;
  order += task.matrix * columns;
  for (int reflector = int(first); reflector < behind; ++reflector) {
    const int j = order[reflector];
    reflect<T>(W + j * height, sigma[j], W + order[k] * height, 1, reflector, int(rows), int(lane));
  }
}

// Columns [state_rank, left_columns) of P: column k is H_0 .. H_{rank-1} e_k, orthonormal to those before it.
//
// Grid: one SIMD-group a column of P, block_simdgroups of them a threadgroup. Ownership: a column each, lane l the rows
// l, l + 32, ... Barriers: none. Columns are made in a zero column of W while there are any, then in place where
// tensors hold the numbers that are computed with, otherwise in `extra`. The host promises: `extra` then has, for each
// matrix, rows * (left_columns - columns) numbers.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_complete(
    device typename StorageTraits<Storage>::Number* W [[buffer(0)]], device const float* sigma [[buffer(1)]],
    device const int* order [[buffer(2)]], device const int* states [[buffer(3)]], device Storage* left [[buffer(4)]],
    device typename StorageTraits<Storage>::Number* extra [[buffer(5)]], constant long& rows [[buffer(6)]],
    constant long& columns [[buffer(7)]], constant long& padded [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    uint group [[threadgroup_position_in_grid]], uint lane_index [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  const ColumnTask task = make_column_task(group, simdgroup, left_columns);
  const int k = task.column;
  states += task.matrix * state_words;
  if (k >= int(left_columns) || !leaves_columns(states, left_columns) || k < states[state_rank]) return;
  const bool is_narrow = sizeof(Storage) < sizeof(T);
  const Place place = left_place(make_shape(rows, columns, left_columns, transposed));
  const long height = limits::block_height(rows);
  W += task.matrix * padded * height;
  sigma += task.matrix * columns;
  order += task.matrix * columns;
  left += task.matrix * rows * left_columns + k * place.column_stride;

  device T* column = (device T*)left;
  long stride = place.row_stride;
  if (k < int(columns)) {
    column = W + order[k] * height;
    stride = 1;
  } else if (is_narrow) {
    column = extra + (task.matrix * (left_columns - columns) + k - columns) * rows;
    stride = 1;
  }
  const int lane = int(lane_index);
  for (int i = lane; i < int(rows); i += limits::simd_width) column[i * stride] = from_real<T>(i == k ? 1.0f : 0.0f);
  for (int reflector = states[state_rank] - 1; reflector >= 0; --reflector) {
    const int j = order[reflector];
    reflect<T>(W + j * height, sigma[j], column, stride, reflector, int(rows), lane);
  }
  for (int i = lane; i < int(rows); i += limits::simd_width) {
    const T entry = column[i * stride];
    left[i * place.row_stride] = to_storage<Storage>(place.conjugated ? conjugate(entry) : entry);
  }
}

}  // namespace metalsvd
