// The plane rotation of one-sided Jacobi (Hestenes 1958; Demmel and Veselic 1992), in Rutishauser's form, whose
// rounding errors shrink with the angle.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
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
  float gain;      // of the larger of |p|^2 and |q|^2, which is the other's loss
};

// 1 / a to a few ulps, for 2^-120 < a < 2^120.
inline float reciprocal(float a) {
  const float root = rsqrt(a);
  return root * root;
}

// tan(a / 2) of t = tan(a) in [0, 1] to a relative 1.4e-4, and the better the smaller t: a minimax polynomial.
inline float half_tangent(float t) {
  const float u = t * t;
  return t * fma(u, fma(u, fma(u, -0.01407167f, 0.05169776f), -0.12346982f), 0.5f);
}

// 1 / (1 + u) for 0 <= u <= tan(pi / 8)^2 to an ulp or two: a minimax polynomial and a step of Newton's method.
inline float reciprocal_above_one(float u) {
  const float near = fma(fma(0.78538595f, u, -0.98617149f), u, 0.9998086f);
  return fma(fma(-(u + 1.0f), near, 1.0f), near, near);
}

// The rotation that makes p and q orthogonal: alpha = |p|^2, beta = |q|^2, gamma = p^H q != 0. The smaller of the two
// angles. No intermediate overflows where alpha and beta do not. The angle need not be right to the last bit, since the
// next sweep turns by what is missing; but J must be unitary, so sine follows from the tangent of half the angle. What
// counts is the length of the chain of operations, which all that follows waits for.
template <typename T>
inline Rotation<T> orthogonalizing_rotation(float alpha, float beta, T gamma) {
  const float size = magnitude(gamma);
  const float difference = beta - alpha;
  const float scale = inverse_power(max(alpha, beta));
  const float u = fabs(difference) * scale;
  const float v = 2.0f * size * scale;
  const float square = fma(v, v, u * u);
  const float tangent = v * reciprocal(fma(square, rsqrt(square), u));
  const float h = half_tangent(tangent);
  // 2 h / (1 + h^2), rounded once
  const float inverse = reciprocal_above_one(h * h);
  const float near_sine = 2.0f * h * inverse;
  const float sine = fma(fma(-fma(h, h, 1.0f), near_sine, 2.0f * h), inverse, near_sine);
  const T unit = difference < 0.0f ? -phase(gamma) : phase(gamma);
  Rotation<T> rotation;
  rotation.sigma = sine * unit;
  rotation.sigma_by_1pc = h * unit;
  rotation.gain = tangent * size;
  return rotation;
}

// One entry of each column: the rotation as three shears, each of which rounds relative to what it adds.
template <typename T>
inline void rotate_entries(thread T& x, thread T& y, Rotation<T> rotation) {
  x = multiply_add(-conjugate(rotation.sigma_by_1pc), y, x);
  y = multiply_add(rotation.sigma, x, y);
  x = multiply_add(-conjugate(rotation.sigma_by_1pc), y, x);
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
