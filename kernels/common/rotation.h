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
  const float cosine_of_pair = size * rsqrt(alpha) * rsqrt(beta);
  return min(alpha, beta) >= least_square() ? cosine_of_pair : 0.0f;
}

// Whether p and q are not yet orthogonal: gamma = p^H q.
template <typename T>
inline bool needs_rotation(float alpha, float beta, T gamma, float tolerance) {
  return cosine(alpha, beta, rough_magnitude(gamma)) > tolerance;
}

// [p q] J with J = [c sigma; -conj(sigma) c]: p' = c p - conj(sigma) q, q' = sigma p + c q.
template <typename T>
struct Rotation {
  T sigma;         // s e^(i phi)
  T sigma_by_1pc;  // sigma / (1 + c)
  float gain;      // of the larger of |p|^2 and |q|^2, which is the other's loss
};

// tan(a / 2) of twice the angle a, given its sine, with the sign or phase that it has, and z, one less its cosine, in
// [0, 1]: to a relative 1.4e-4, and the better the smaller a, by a minimax polynomial.
template <typename T>
inline T half_tangent(T sine, float z) {
  const float square = z * z;
  const float low = fma(z, 0.09267598f, 0.25f);
  const float high = fma(z, -0.009030655f, 0.04884029f);
  return sine * fma(square, fma(square, 0.03167028f, high), low);
}

// sin(a) = 2 h / (1 + |h|^2) of h = tan(a / 2), |a| <= pi / 4, rounded but once where a is small, and nearly so where
// it is not: a minimax polynomial, right to 2^-32. Its error would be one of length, of the same sign each time.
template <typename T>
inline T sine_of_half_tangent(T h) {
  const float u = square_add(h, 0.0f);
  const float square = u * u;
  const float low = fma(u, 1.9999563f, -1.9999995f);
  const float middle = fma(u, 1.9768454f, -1.998554f);
  const float high = fma(u, 1.1054941f, -1.8028318f);
  return fma(T(fma(square, fma(square, high, middle), low)), h * u, 2.0f * h);
}

// The rotation that makes p and q orthogonal: alpha = |p|^2, beta = |q|^2, gamma = p^H q != 0. The smaller of the two
// angles. No intermediate overflows where alpha and beta do not. The angle need not be right to the last bit, since the
// next sweep turns by what is missing; but J must be unitary, so sine follows from the tangent of half the angle. What
// counts is the length of the chain of operations, which all that follows waits for. `scale` is a power of two that
// takes the larger of alpha and beta near 1: 2^30 too many or too few do no harm.
template <typename T>
inline Rotation<T> orthogonalizing_rotation(float alpha, float beta, T gamma, float scale) {
  const float difference = beta - alpha;
  // The legs of a triangle, twice the angle between u and the longest side.
  const float u = fabs(difference) * scale;
  const T v = gamma * (2.0f * scale);
  const float square = square_add(v, u * u);
  const float inverse = rsqrt(square);
  const T sine_of_twice = (difference < 0.0f ? -v : v) * inverse;
  Rotation<T> rotation;
  rotation.sigma_by_1pc = half_tangent(sine_of_twice, fma(-u, inverse, 1.0f));
  rotation.sigma = sine_of_half_tangent(rotation.sigma_by_1pc);
  const float size = rough_magnitude(gamma);
  rotation.gain = 2.0f * size * scale * reciprocal(fma(square, inverse, u)) * size;
  return rotation;
}
template <typename T>
inline Rotation<T> orthogonalizing_rotation(float alpha, float beta, T gamma) {
  return orthogonalizing_rotation(alpha, beta, gamma, inverse_power(max(alpha, beta)));
}

// What |p|^2, of alpha = |p|^2 and beta = |q|^2, gains where they are turned, and |q|^2 loses.
template <typename T>
inline float gain_of_first(Rotation<T> rotation, float alpha, float beta, bool is_turned) {
  return !is_turned ? 0.0f : beta > alpha ? -rotation.gain : rotation.gain;
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
