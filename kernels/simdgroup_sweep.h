// The sweeps of method `simdgroup` (kernels/simdgroup.h).
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/entries.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"
#include "simdgroup_qr.h"

namespace metalsvd {

using namespace metal;

template <int count, typename T>
inline void rotate_all(thread T* x, thread T* y, Rotation<T> rotation) {
#pragma unroll
  for (int t = 0; t < count; ++t) rotate_entries(x[t], y[t], rotation);
}

// The norms of the columns of W, zero where they count as zero.
template <typename T, int entries, bool is_spread>
inline void norms_of_columns(thread const Columns<T, entries>& columns, thread float* norms, Stand<is_spread> stand) {
  squares_of_columns<entries>(columns.W, norms, stand);
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) norms[c] = norms[c] >= least_square() ? precise::sqrt(norms[c]) : 0.0f;
}

// Takes out of the norms of the columns of Q what the rotations of a sweep have added: a difference between two norms
// would be an error of their angle as soon as the columns meet at 45 degrees. Where the matrix is not `active` they
// stay as they are, however long its neighbours take.
template <typename T, int entries, bool is_spread>
inline void renormalize_columns(thread Columns<T, entries>& columns, bool active, Stand<is_spread> stand) {
  float squares[pair_columns];
  squares_of_columns<entries>(columns.Q, squares, stand);
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) correct_entries<entries>(columns.Q[c], active ? squares[c] : 1.0f);
}

// x^H y of the columns of W.
template <typename T, int entries, bool is_spread>
inline T product_of_pair(thread const Columns<T, entries>& columns, Stand<is_spread> stand) {
  const int first_half = Columns<T, entries>::first_half;
  PartialSums<T, limits::simdgroup_few_lanes(entries)> sums;
  clear_sums(sums);
  add_products<0, first_half>(columns.W[0], columns.W[1], sums);
  if (stand.w_used > first_half) add_products<first_half, entries>(columns.W[0], columns.W[1], sums);
  return sum_over_parts(total(sums), stand);
}

// The columns of W, and those of Q.
template <typename T, int entries, bool is_spread>
inline void rotate_pair(thread Columns<T, entries>& columns, Rotation<T> rotation, Stand<is_spread> stand) {
  const int first_half = Columns<T, entries>::first_half;
  const int second_half = entries - first_half;
  rotate_all<first_half>(columns.W[0], columns.W[1], rotation);
  if (stand.w_used > first_half) {
    rotate_all<second_half>(columns.W[0] + first_half, columns.W[1] + first_half, rotation);
  }
  if (stand.q_used > 0) rotate_all<first_half>(columns.Q[0], columns.Q[1], rotation);
  if (stand.q_used > first_half) {
    rotate_all<second_half>(columns.Q[0] + first_half, columns.Q[1] + first_half, rotation);
  }
}

// Makes the columns of a pair orthogonal where they are not within the tolerance. Returns what it found there.
template <typename T, int entries, bool is_spread>
inline uint meet(thread Columns<T, entries>& columns, Tolerances tolerances, Stand<is_spread> stand) {
  thread float* const squares = columns.squares;
  const T dot = product_of_pair(columns, stand);
  const uint found = found_in_pair(squares[0], squares[1], rough_magnitude(dot), tolerances);
  // Few matrices wait for the test and for the rotation: the tangent is found beside the one, ahead of the other.
  const bool is_one_of_few = entries == limits::simdgroup_few_entries;
  if (!is_one_of_few && found == found_nothing) return found;
  const Rotation<T> rotation = orthogonalizing_rotation(squares[0], squares[1], dot);
  const float gain = gain_of_first(rotation, squares[0], squares[1], found != found_nothing);
  squares[0] += gain;
  squares[1] -= gain;
  if (found != found_nothing) rotate_pair(columns, rotation, stand);
  return found;
}

// One sweep: every pair of columns once, where the matrix is `active`. Returns what this lane has found. The line is
// reversed afterwards, be it active or not.
template <typename T, int entries, bool is_spread>
inline uint sweep_line(thread Columns<T, entries>& columns, Tolerances tolerances, bool active,
                       Stand<is_spread> stand) {
  const Tolerances in_even_rounds = active ? tolerances : no_tolerances();
  // In odd rounds the last pair is the two ends of the line, which do not meet and stay where they are.
  Tolerances in_odd_rounds = in_even_rounds;
  if (stands_last(stand)) in_odd_rounds.cosine = INFINITY;
  uint found = found_nothing;
  squares_of_columns<entries>(columns.W, columns.squares, stand);
  if (stand.q_used > 0 && stand.columns > limits::simdgroup_steady_columns) renormalize_columns(columns, active, stand);
  for (int round = 0; round < stand.pairs_in_line; ++round) {
    found = max(found, meet(columns, in_even_rounds, stand));
    move_second_columns(columns, stand);
    found = max(found, meet(columns, in_odd_rounds, stand));
    move_first_columns(columns, stand);
  }
  return found;
}

// The same, without the branches around registers that are not used where it is known here that they are, or that none
// of Q is. Where lines are spread, one more loop with vectors would cost the first one registers.
template <typename T, int entries, bool is_spread>
inline uint sweep(thread Columns<T, entries>& columns, Tolerances tolerances, bool active, Stand<is_spread> stand) {
  const int first_half = Columns<T, entries>::first_half;
  if (stand.w_used > first_half && stand.q_used == 0) {
    return sweep_line(columns, tolerances, active, with_used(stand, entries, 0));
  }
  if (!is_spread && stand.w_used > first_half && stand.q_used > first_half) {
    return sweep_line(columns, tolerances, active, with_used(stand, entries, entries));
  }
  return sweep_line(columns, tolerances, active, stand);
}

}  // namespace metalsvd
