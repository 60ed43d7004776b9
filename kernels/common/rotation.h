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

// The cosine of the angle between p and q: alpha = |p|^2, beta = |q|^2, size = |p^H q|. Columns that count as zero are
// orthogonal to all. To a few ulps: it is only compared.
inline float cosine(float alpha, float beta, float size) {
  return min(alpha, beta) >= least_square() ? size * rsqrt(alpha) * rsqrt(beta) : 0.0f;
}

// Whether p and q are not yet orthogonal: gamma = p^H q.
template <typename T>
inline bool needs_rotation(float alpha, float beta, T gamma, float tolerance) {
  return cosine(alpha, beta, magnitude(gamma)) > tolerance;
}

// [p q] J with J = [c sigma; -conj(sigma) c]: p' = c p - conj(sigma) q, q' = sigma p + c q.
template <typename T>
struct Rotation {
  T sigma;         // s e^(i phi)
  T sigma_by_1pc;  // sigma / (1 + c)
};

// 1 / a to a few ulps, for 2^-120 < a < 2^120.
inline float reciprocal(float a) {
  const float root = rsqrt(a);
  return root * root;
}

// The rotation that makes p and q orthogonal: alpha = |p|^2, beta = |q|^2, gamma = p^H q != 0. The smaller of the two
// angles. No intermediate overflows where alpha and beta do not. The angle need not be right to the last bit, since the
// next sweep turns by what is missing; but J must be unitary, so sine follows from the tangent of half the angle.
template <typename T>
inline Rotation<T> orthogonalizing_rotation(float alpha, float beta, T gamma) {
  const float twice_gamma = 2.0f * magnitude(gamma);
  const float difference = beta - alpha;
  const float size = fabs(difference);
  const bool is_small = size >= twice_gamma;
  // tan of twice the angle, or its reciprocal
  const float x = min(size, twice_gamma) * reciprocal(max(size, twice_gamma));
  const float h = rsqrt(fma(x, x, 1.0f));
  const float cosine_of_twice = is_small ? h : x * h;
  const float sine_of_twice = is_small ? x * h : h;
  const float square = fma(0.5f, cosine_of_twice, 0.5f);
  const float root = rsqrt(square);
  const float half_tangent = 0.5f * sine_of_twice * root * reciprocal(fma(square, root, 1.0f));
  const float t = difference < 0.0f ? -half_tangent : half_tangent;
  const T unit = phase(gamma);
  Rotation<T> rotation;
  rotation.sigma = precise::divide(2.0f * t, fma(t, t, 1.0f)) * unit;
  rotation.sigma_by_1pc = t * unit;
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
