// The plane rotation of one-sided Jacobi (Hestenes 1958; Demmel and Veselic 1992), in Rutishauser's form, whose
// rounding errors shrink with the angle.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// Columns of this many rows count as orthogonal when their cosine is within the rounding error of computing it.
inline float jacobi_tolerance(int rows) { return 0.5f * FLT_EPSILON * max(4.0f, precise::sqrt(float(rows))); }

// Whether p and q are not yet orthogonal: alpha = |p|^2, beta = |q|^2, gamma = p^H q. Columns that count
// as zero are orthogonal to all.
template <typename T>
inline bool needs_rotation(float alpha, float beta, T gamma, float tolerance) {
  return min(alpha, beta) >= least_square() &&
         magnitude(gamma) > tolerance * precise::sqrt(alpha) * precise::sqrt(beta);
}

// [p q] J with J = [c sigma; -conj(sigma) c]: p' = c p - conj(sigma) q, q' = sigma p + c q.
template <typename T>
struct Rotation {
  T sigma;         // s e^(i phi)
  T sigma_by_1pc;  // sigma / (1 + c)
};

// The rotation that makes p and q orthogonal: alpha = |p|^2, beta = |q|^2, gamma = p^H q != 0. The smaller of the two
// angles. No intermediate overflows where alpha and beta do not.
template <typename T>
inline Rotation<T> orthogonalizing_rotation(float alpha, float beta, T gamma) {
  const float twice_gamma = 2.0f * magnitude(gamma);
  const float difference = beta - alpha;
  const float size = fabs(difference);
  float t;
  if (size >= twice_gamma) {
    const float x = precise::divide(twice_gamma, size);
    t = precise::divide(x, 1.0f + precise::sqrt(fma(x, x, 1.0f)));
  } else {
    const float x = precise::divide(size, twice_gamma);
    t = precise::divide(1.0f, x + precise::sqrt(fma(x, x, 1.0f)));
  }
  const float c = precise::divide(1.0f, precise::sqrt(fma(t, t, 1.0f)));
  const float s = difference < 0.0f ? -c * t : c * t;
  Rotation<T> rotation;
  rotation.sigma = s * phase(gamma);
  rotation.sigma_by_1pc = precise::divide(s, 1.0f + c) * phase(gamma);
  return rotation;
}

// One entry of each column.
template <typename T>
inline void rotate_entries(thread T& x, thread T& y, Rotation<T> rotation) {
  const T old = x;
  x = multiply_add(-conjugate(rotation.sigma), multiply_add(rotation.sigma_by_1pc, x, y), x);
  y = multiply_add(rotation.sigma, multiply_add(-conjugate(rotation.sigma_by_1pc), y, old), y);
}

// The two columns, one lane every 32nd entry. No barrier: each lane touches its own entries only.
template <typename Pointer, typename T>
inline void rotate_columns(Pointer p, Pointer q, int rows, Rotation<T> rotation, int lane) {
  for (int i = lane; i < rows; i += limits::simd_width) {
    T x = p[i];
    T y = q[i];
    rotate_entries(x, y, rotation);
    p[i] = x;
    q[i] = y;
  }
}

}  // namespace metalsvd
