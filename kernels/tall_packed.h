// Numbers packed into 16 bytes, four real ones or two complex, which threads move and multiply together.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// How many numbers one pack holds.
template <typename T>
constexpr int packed_count() {
  return int(sizeof(float4) / sizeof(T));
}

inline float4 zero_pack() { return float4(0.0f, 0.0f, 0.0f, 0.0f); }

// The number at place i; i is known where the loop around it is unrolled.
template <typename T>
inline T number_at(float4 pack, int i);
template <>
inline float number_at<float>(float4 pack, int i) {
  return i == 0 ? pack.x : i == 1 ? pack.y : i == 2 ? pack.z : pack.w;
}
template <>
inline float2 number_at<float2>(float4 pack, int i) {
  return i == 0 ? float2(pack.x, pack.y) : float2(pack.z, pack.w);
}

// The pack with another number at place i, as number_at.
inline float4 with_number(float4 pack, int i, float number) {
  return float4(i == 0 ? number : pack.x, i == 1 ? number : pack.y, i == 2 ? number : pack.z, i == 3 ? number : pack.w);
}
inline float4 with_number(float4 pack, int i, float2 number) {
  return i == 0 ? float4(number.x, number.y, pack.z, pack.w) : float4(pack.x, pack.y, number.x, number.y);
}

// The conjugate of every number, of the type of the second argument.
inline float4 conjugate_of_pack(float4 pack, float) { return pack; }
inline float4 conjugate_of_pack(float4 pack, float2) { return float4(pack.x, -pack.y, pack.z, -pack.w); }

inline float4 pack_of(thread const float* x) { return float4(x[0], x[1], x[2], x[3]); }
inline float4 pack_of(thread const float2* x) { return float4(x[0].x, x[0].y, x[1].x, x[1].y); }

// a b + c for every number of b and c
inline float4 multiply_add(float a, float4 b, float4 c) { return fma(float4(a, a, a, a), b, c); }
inline float4 multiply_add(float2 a, float4 b, float4 c) {
  return float4(fma(-a.y, b.y, fma(a.x, b.x, c.x)), fma(a.y, b.x, fma(a.x, b.y, c.y)),
                fma(-a.y, b.w, fma(a.x, b.z, c.z)), fma(a.y, b.z, fma(a.x, b.w, c.w)));
}

// conj(a) b + c, number by number
template <typename T>
inline float4 conjugate_multiply_add(float4 a, float4 b, float4 c);
template <>
inline float4 conjugate_multiply_add<float>(float4 a, float4 b, float4 c) {
  return fma(a, b, c);
}
template <>
inline float4 conjugate_multiply_add<float2>(float4 a, float4 b, float4 c) {
  return float4(fma(a.y, b.y, fma(a.x, b.x, c.x)), fma(-a.y, b.x, fma(a.x, b.y, c.y)),
                fma(a.w, b.w, fma(a.z, b.z, c.z)), fma(-a.w, b.z, fma(a.z, b.w, c.w)));
}

// The sum of the numbers.
template <typename T>
inline T sum_of_pack(float4 pack);
template <>
inline float sum_of_pack<float>(float4 pack) {
  return (pack.x + pack.y) + (pack.z + pack.w);
}
template <>
inline float2 sum_of_pack<float2>(float4 pack) {
  return float2(pack.x + pack.z, pack.y + pack.w);
}

enum : int { panel_packs = limits::tall_panel_bytes / limits::tall_pack_bytes };  // of a row of a panel

// What a lane owns of a product with V^H, where V has panel_packs packs a row: a pack of its rows, and every fourth
// pack from `pack` on. Every lane shares what it reads of one factor with its neighbour, of the other with the next but
// one (block_wide_gram.h says why).
struct ProductOfLane {
  int row_pack;
  int pack;
};

inline ProductOfLane make_product_of_lane(int lane_index) {
  const uint lane = uint(lane_index);
  ProductOfLane own;
  own.row_pack = int(lane / 8 * 2 + lane / 2 % 2);
  own.pack = int(lane / 4 % 2 * 2 + lane % 2);
  return own;
}

}  // namespace metalsvd
