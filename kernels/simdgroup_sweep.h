// The sweeps of method `simdgroup` (kernels/simdgroup.h).
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/entries.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "simdgroup_line.h"
#include "simdgroup_qr.h"

namespace metalsvd {

using namespace metal;

template <int count, typename T>
inline void rotate_all(thread T* x, thread T* y, Rotation<T> rotation) {
#pragma unroll
  for (int t = 0; t < count; ++t) rotate_entries(x[t], y[t], rotation);
}

// Sums up the squares of the columns of W anew.
template <typename T, int entries, bool is_spread>
inline void measure_pair(thread Column<T, entries>& x, thread Column<T, entries>& y, Stand<is_spread> stand) {
  x.square = square_of_column<entries>(x.W, stand);
  y.square = square_of_column<entries>(y.W, stand);
}

// Their norms, summed up anew, and zero where they count as zero.
template <typename T, int entries, bool is_spread>
inline float2 norms_of_pair(thread Column<T, entries>& x, thread Column<T, entries>& y, Stand<is_spread> stand) {
  measure_pair(x, y, stand);
  return float2(x.square >= least_square() ? precise::sqrt(x.square) : 0.0f,
                y.square >= least_square() ? precise::sqrt(y.square) : 0.0f);
}

// Takes out of the norms of the columns of Q what the rotations of a sweep have added: a difference between two norms
// would be an error of their angle as soon as the columns meet at 45 degrees. Where the matrix is not `active` they
// stay as they are, however long its neighbours take.
template <typename T, int entries, bool is_spread>
inline void renormalize_pair(thread Column<T, entries>& x, thread Column<T, entries>& y, bool active,
                             Stand<is_spread> stand) {
  const float x_square = square_of_column<entries>(x.Q, stand);
  const float y_square = square_of_column<entries>(y.Q, stand);
  correct_entries<entries>(x.Q, active ? x_square : 1.0f);
  correct_entries<entries>(y.Q, active ? y_square : 1.0f);
}

// Makes the columns of a pair orthogonal where they are not within the tolerance. Returns what it found there.
template <typename T, int entries, bool is_spread>
inline uint meet(thread Column<T, entries>& x, thread Column<T, entries>& y, Tolerances tolerances,
                 Stand<is_spread> stand) {
  const int first_half = Column<T, entries>::first_half;
  const bool has_second_half = stand.w_used > first_half;
  PartialSums<T, limits::simdgroup_few_lanes(entries)> sums;
  clear_sums(sums);
  add_products<0, first_half>(x.W, y.W, sums);
  if (has_second_half) add_products<first_half, entries>(x.W, y.W, sums);
  const T dot = sum_over_parts(total(sums), stand);
  const uint found = found_in_pair(x.square, y.square, rough_magnitude(dot), tolerances);
  // Few matrices wait for the test and for the rotation: the tangent is found beside the one, ahead of the other.
  const bool is_one_of_few = entries == limits::simdgroup_few_entries;
  if (!is_one_of_few && found == found_nothing) return found;
  const Rotation<T> rotation = orthogonalizing_rotation(x.square, y.square, dot);
  const float gain = found == found_nothing ? 0.0f : y.square > x.square ? -rotation.gain : rotation.gain;
  x.square += gain;
  y.square -= gain;
  if (found == found_nothing) return found;
  rotate_all<first_half>(x.W, y.W, rotation);
  if (has_second_half) rotate_all<entries - first_half>(x.W + first_half, y.W + first_half, rotation);
  if (stand.q_used > 0) rotate_all<first_half>(x.Q, y.Q, rotation);
  if (stand.q_used > first_half) {
    rotate_all<entries - first_half>(x.Q + first_half, y.Q + first_half, rotation);
  }
  return found;
}

// One sweep: every pair of columns once, where the matrix is `active`. Returns what this lane has found. The line is
// reversed afterwards, be it active or not.
template <typename T, int entries, bool is_spread>
inline uint sweep_line(thread Column<T, entries>& x, thread Column<T, entries>& y, Tolerances tolerances, bool active,
                       Stand<is_spread> stand) {
  const Tolerances in_even_rounds = active ? tolerances : no_tolerances();
  // In odd rounds the last pair is the two ends of the line, which do not meet and stay where they are.
  Tolerances in_odd_rounds = in_even_rounds;
  if (stands_last(stand)) in_odd_rounds.cosine = INFINITY;
  uint found = found_nothing;
  measure_pair(x, y, stand);
  if (stand.q_used > 0 && stand.columns > limits::simdgroup_steady_columns) renormalize_pair(x, y, active, stand);
  for (int round = 0; round < stand.pairs_in_line; ++round) {
    found = max(found, meet(x, y, in_even_rounds, stand));
    move_second_columns(y, stand);
    found = max(found, meet(x, y, in_odd_rounds, stand));
    move_first_columns(x, y, stand);
  }
  return found;
}

// The same, without the branches around registers that are not used where it is known here that they are, or that none
// of Q is. Where lines are spread, one more loop with vectors would cost the first one registers.
template <typename T, int entries, bool is_spread>
inline uint sweep(thread Column<T, entries>& x, thread Column<T, entries>& y, Tolerances tolerances, bool active,
                  Stand<is_spread> stand) {
  const int first_half = Column<T, entries>::first_half;
  if (stand.w_used > first_half && stand.q_used == 0) {
    return sweep_line(x, y, tolerances, active, with_used(stand, entries, 0));
  }
  if (!is_spread && stand.w_used > first_half && stand.q_used > first_half) {
    return sweep_line(x, y, tolerances, active, with_used(stand, entries, entries));
  }
  return sweep_line(x, y, tolerances, active, stand);
}

}  // namespace metalsvd
