// Householder QR with column pivoting of a matrix in threadgroup memory, B P = Q R (Businger and Golub 1965; Golub and
// Van Loan, Matrix Computations, 5.4.2). The rows of R fall in size, and so do the columns of R^H: one-sided Jacobi on
// R^H needs fewer sweeps than on B, far fewer where B is graded (Drmac and Veselic 2008, part I).
//
// Columns stay where they are: the k-th pivot is column pivots[k] of B, and row k of R is row k of all columns that
// were not chosen before. A team of `team_lanes` lanes works on a column, lane l of it on the rows l, l + 8, ...
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// The sum over the lanes of a team, told to each of them. Called by all lanes of a SIMD-group.
template <typename Value>
inline Value sum_over_team(Value value) {
#pragma unroll
  for (int distance = 1; distance < limits::team_lanes; distance *= 2) {
    value += simd_shuffle_xor(value, ushort(distance));
  }
  return value;
}

// The first row from `first` on that this lane of a team owns.
inline int first_team_row(int first, Team team) { return first_owned(first, lane_in_team(team), limits::team_lanes); }

// H = I - tau v v^H, with v_k apart from the rest of v, for which H x = r e_k.
template <typename T>
struct Reflector {
  T head;  // v_k
  float tau;
  T r;
};

// Of a column x that has x_k and |x|^2 from row k on. A column that counts as zero is left alone.
template <typename T>
inline Reflector<T> reflector_of(T x_k, float square) {
  Reflector<T> reflector;
  reflector.head = from_real<T>(0.0f);
  reflector.tau = 0.0f;
  reflector.r = from_real<T>(0.0f);
  if (square < least_square()) return reflector;
  const float norm = precise::sqrt(square);
  const float size = magnitude(x_k);
  const T unit = size > 0.0f ? phase(x_k) : from_real<T>(1.0f);
  // v = x + phase(x_k) |x| e_k, which loses no digit. Taking |v|^2 from v_k as it was rounded makes H unitary.
  reflector.head = (norm + size) * unit;
  const float below = max(square - square_add(x_k, 0.0f), 0.0f);
  reflector.tau = precise::divide(2.0f, square_add(reflector.head, below));
  reflector.r = -norm * unit;
  return reflector;
}

// x -= tau v (v^H x) over rows [k, rows), each team its own x: does nothing where `is_mine` is false. Returns |x|^2
// below row k. Called by all lanes of a SIMD-group.
template <typename T>
inline float reflect_team(threadgroup const T* v, Reflector<T> reflector, threadgroup T* x, bool is_mine, int k,
                          int rows, Team team) {
  const int last = is_mine ? rows : 0;
  const int first = first_team_row(k, team);
  T dot = from_real<T>(0.0f);
  for (int i = first; i < last; i += limits::team_lanes) {
    dot = multiply_add(conjugate(i == k ? reflector.head : v[i]), x[i], dot);
  }
  const T factor = -reflector.tau * sum_over_team(dot);
  float square = 0.0f;
  for (int i = first; i < last; i += limits::team_lanes) {
    const T entry = multiply_add(factor, i == k ? reflector.head : v[i], x[i]);
    x[i] = entry;
    if (i > k) square = square_add(entry, square);
  }
  return sum_over_team(square);
}

// |x|^2, told to every lane of the team.
template <typename T>
inline float square_of_team(threadgroup const T* x, int rows, Team team) {
  float square = 0.0f;
  for (int i = lane_in_team(team); i < rows; i += limits::team_lanes) square = square_add(x[i], square);
  return sum_over_team(square);
}

// What stands for a column while B is factored: its square, or once it has been chosen, -tau of its reflector.
inline uint chosen(float tau) { return as_type<uint>(tau) | 0x80000000u; }
inline bool is_chosen(uint state) { return (state & 0x80000000u) != 0u; }
inline float tau_of(uint state) { return as_type<float>(state & 0x7fffffffu); }

// The column that has the largest of the squares that are left, the first of them where several have. Told to every
// lane of the SIMD-group.
inline int largest_remaining(threadgroup const uint* states, int columns, int lane) {
  uint largest = 0u;
  int index = columns;
  for (int j = lane; j < columns; j += limits::simd_width) {
    const uint state = states[j];
    if (is_chosen(state) || (index < columns && state <= largest)) continue;
    largest = state;
    index = j;
  }
  const uint most = simd_max(largest);
  return simd_min(index < columns && largest == most ? index : columns);
}

// Factors B. Leaves v_k in rows k.. of column pivots[k], R above, and the conjugate of its diagonal in `diagonal`,
// stride + 1 apart. `states` has two words a column; returns which half of it holds the taus. Every SIMD-group finds
// the pivot and its reflector for itself, from squares that the step before has left; what they all read of column k
// changes a step later. A barrier a step, and one before them.
template <typename T, typename DiagonalPointer>
inline threadgroup const uint* factor_pivoted(threadgroup T* B, threadgroup uint* states, threadgroup uint* pivots,
                                              DiagonalPointer diagonal, int stride, int rows, int columns, Team team) {
  for (int first = first_team(team); first < columns; first += team_step(team)) {
    const int j = first + team_in_simdgroup(team);
    const float square = square_of_team(B + j * rows, j < columns ? rows : 0, team);
    if (j < columns && lane_in_team(team) == 0) states[j] = as_type<uint>(square);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int k = 0; k < columns; ++k) {
    threadgroup const uint* current = states + k % 2 * columns;
    threadgroup uint* next = states + (k + 1) % 2 * columns;
    const int pivot = largest_remaining(current, columns, team.lane);
    threadgroup T* v = B + pivot * rows;
    const Reflector<T> reflector = reflector_of(v[k], as_type<float>(current[pivot]));
    for (int first = first_team(team); first < columns; first += team_step(team)) {
      const int j = first + team_in_simdgroup(team);
      const bool remains = j < columns && j != pivot && !is_chosen(current[j]);
      const float square = reflect_team(v, reflector, B + j * rows, remains, k, rows, team);
      if (j < columns && lane_in_team(team) == 0) {
        next[j] = remains ? as_type<uint>(square) : j == pivot ? chosen(reflector.tau) : current[j];
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (team.index == 0) {
      v[k] = reflector.head;
      pivots[k] = uint(pivot);
      diagonal[k * (stride + 1)] = conjugate(reflector.r);
    }
  }
  return states + columns % 2 * columns;
}

// Replaces what factor_pivoted has left in B by the columns of Q, the k-th of them in column pivots[k]. A barrier a
// column. A team owns the columns of Q in turn, and never the same entry of one with two of its lanes.
template <typename T>
inline void form_pivoted(threadgroup T* B, threadgroup const uint* states, threadgroup const uint* pivots, int rows,
                         int columns, Team team) {
  for (int k = columns - 1; k >= 0; --k) {
    threadgroup T* v = B + int(pivots[k]) * rows;
    Reflector<T> reflector;
    reflector.head = v[k];
    reflector.tau = tau_of(states[pivots[k]]);
    for (int first = first_team(team); first < columns; first += team_step(team)) {
      const int j = first + team_in_simdgroup(team);
      const bool is_later = j > k && j < columns;
      reflect_team(v, reflector, B + int(pivots[is_later ? j : k]) * rows, is_later, k, rows, team);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // H_k e_k = e_k - tau v conj(v_k)
    const bool is_mine = k % team_step(team) == first_team(team) + team_in_simdgroup(team);
    const T factor = -reflector.tau * conjugate(reflector.head);
    for (int i = lane_in_team(team); is_mine && i < rows; i += limits::team_lanes) {
      const T unit = from_real<T>(i == k ? 1.0f : 0.0f);
      v[i] = i < k ? unit : multiply_add(factor, i == k ? reflector.head : v[i], unit);
    }
  }
}

}  // namespace metalsvd
