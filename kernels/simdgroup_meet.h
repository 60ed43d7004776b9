// How columns of two blocks that the lanes of a pair hold (kernels/simdgroup_held.h) meet in method `simdgroup`: as
// many at a time as a block has, in a step. The rotations of a step are found at the same time, each by a share of the
// lanes, so that a step is as long as one rotation; the squares of the columns, which follow from the rotations, are
// known to that share alone.
//
// Which columns meet as number 0, 1, ... says a type Pairs: first(i) and second(i), for i < count.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/entries.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "device_limits.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"

namespace metalsvd {

using namespace metal;

// The shares that lanes have in the rotations of a step, one or more of each: of blocks of so many columns as many as
// these, or some without a rotation.
constexpr int shares_of(int width) { return width > 4 ? 8 : 4; }

// Of the pair of columns that the share of a lane is: the first column and the second.
struct SharedSquares {
  float first;
  float second;
};

// The rotations of a step.
template <typename T, int count>
struct StepRotations {
  T sigmas[count];
  T sigmas_by_1pc[count];
};

template <typename T, int count>
inline Rotation<T> rotation_of(thread const StepRotations<T, count>& rotations, int i) {
  Rotation<T> rotation;
  rotation.sigma = rotations.sigmas[i];
  rotation.sigma_by_1pc = rotations.sigmas_by_1pc[i];
  rotation.gain = 0.0f;
  return rotation;
}

// The rotations that make the columns of a step orthogonal where they are not within the tolerance, and what the
// squares become. Returns what this lane has found.
template <typename Pairs, typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint find_rotations(thread const Held<T, entries, count>& held, thread SharedSquares& squares,
                           PairTolerances tolerances, thread StepRotations<T, Pairs::count>& rotations,
                           Stand<is_spread> stand) {
  const int shares = shares_of(count / 2);
  T products[shares];
#pragma unroll
  for (int i = 0; i < shares; ++i) {
    products[i] = from_real<T>(0.0f);
    if (i >= Pairs::count) continue;
    products[i] = product_of_entries<entries, limits::simdgroup_few_lanes(entries)>(held.W[Pairs::first(i)],
                                                                                    held.W[Pairs::second(i)]);
  }
  const T dot = share_of_sums<shares>(products, stand);
  const uint found = found_in_pair(squares.first, squares.second, rough_magnitude(dot), tolerances);
  const bool is_to_turn = is_turned(found, tolerances);
  const Rotation<T> rotation = orthogonalizing_rotation(squares.first, squares.second, dot);
  const float gain = is_to_turn ? (squares.second > squares.first ? -rotation.gain : rotation.gain) : 0.0f;
  squares.first += gain;
  squares.second -= gain;
  gather_shares<shares, Pairs::count>(is_to_turn ? rotation.sigma : from_real<T>(0.0f), rotations.sigmas, stand);
  gather_shares<shares, Pairs::count>(is_to_turn ? rotation.sigma_by_1pc : from_real<T>(0.0f), rotations.sigmas_by_1pc,
                                      stand);
  return found;
}

// What the share so many places on has, or as many back, of as many shares as a block has columns.
template <int width, bool is_spread>
inline float of_other_share(float value, int places, Stand<is_spread> stand) {
  const int share = number_of_share<shares_of(width)>(stand);
  const int other = share + places;
  const int wrapped = other < 0 ? other + width : other < width ? other : other - width;
  const int from = share < width ? wrapped : share;
  return simd_shuffle(value, ushort(stand.lane + (from - share) * (stand.parts / shares_of(width))));
}

// One entry of each column: the rotation as in common/rotation.h, after which they change places.
template <typename T>
inline void rotate_and_exchange(thread T& x, thread T& y, Rotation<T> rotation) {
  const T turned = multiply_add(-conjugate(rotation.sigma_by_1pc), y, x);
  x = multiply_add(rotation.sigma, turned, y);
  y = multiply_add(-conjugate(rotation.sigma_by_1pc), x, turned);
}

// The columns of a step likewise.
template <typename Pairs, typename T, int entries, int count>
inline void rotate_and_exchange_all(thread Held<T, entries, count>& held,
                                    thread const StepRotations<T, Pairs::count>& rotations) {
#pragma unroll
  for (int i = 0; i < Pairs::count; ++i) {
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      rotate_and_exchange(held.W[Pairs::first(i)][t], held.W[Pairs::second(i)][t], rotation_of(rotations, i));
    }
  }
}

// The squares of a lane's share, summed up anew.
template <typename Pairs, typename T, int entries, int count, bool is_spread>
inline SharedSquares measure_shares(thread const Held<T, entries, count>& held, Stand<is_spread> stand) {
  const int sums = limits::simdgroup_few_lanes(entries);
  const int shares = shares_of(count / 2);
  float first[shares];
  float second[shares];
#pragma unroll
  for (int i = 0; i < shares; ++i) {
    first[i] = second[i] = 0.0f;
    if (i >= Pairs::count) continue;
    first[i] = square_of_entries<entries, sums>(held.W[Pairs::first(i)]);
    second[i] = square_of_entries<entries, sums>(held.W[Pairs::second(i)]);
  }
  SharedSquares squares;
  squares.first = share_of_sums<shares>(first, stand);
  squares.second = share_of_sums<shares>(second, stand);
  return squares;
}

}  // namespace metalsvd
