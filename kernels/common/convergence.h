// When the sweeps of one-sided Jacobi are over. Convergence is quadratic: a sweep that has met small cosines and small
// angles only needs no other to verify what it has left.
#pragma once
#include <metal_stdlib>

#include "common/rotation.h"

namespace metalsvd {

using namespace metal;

// What a sweep has found, the worst of all pairs, or their bits together: nothing to rotate; cosines and angles so
// small that after their rotation all cosines are within the tolerance; larger ones.
enum Found : uint { found_nothing = 0, found_small = 1, found_large = 3 };

// When columns count as orthogonal, and what is so small that one more sweep makes them so. A cosine that one rotation
// has made zero grows by at most the product of two small ones in each of the fewer than 2 columns rotations that
// follow.
struct Tolerances {
  float cosine;
  float small;
};

inline Tolerances make_tolerances(int rows, int columns) {
  Tolerances tolerances;
  tolerances.cosine = jacobi_tolerance(rows);
  tolerances.small = precise::sqrt(precise::divide(tolerances.cosine, 2.0f * float(columns)));
  return tolerances;
}

// Whether a pair is to be rotated, by what has been found in it.
inline bool is_turned(uint found, Tolerances) { return found != found_nothing; }

// With these nothing is found: of columns that are not to be rotated.
inline Tolerances no_tolerances() {
  Tolerances tolerances;
  tolerances.cosine = INFINITY;
  tolerances.small = 0.0f;
  return tolerances;
}

// Whether neither the cosine nor the angle of a rotation exceeds `small`: alpha = |p|^2, beta = |q|^2, size = |p^H q|.
inline bool is_small_rotation(float cosine_of_pair, float alpha, float beta, float size, float small) {
  const float difference = fabs(beta - alpha);
  return max(cosine_of_pair * difference, size) <= small * difference;
}

// Of two columns: alpha = |p|^2, beta = |q|^2, size = |p^H q|. They need a rotation unless it is nothing.
inline uint found_in_pair(float alpha, float beta, float size, Tolerances tolerances) {
  const float cosine_of_pair = cosine(alpha, beta, size);
  const bool is_small = is_small_rotation(cosine_of_pair, alpha, beta, size, tolerances.small);
  return cosine_of_pair > tolerances.cosine ? (is_small ? found_small : found_large) : found_nothing;
}

}  // namespace metalsvd
