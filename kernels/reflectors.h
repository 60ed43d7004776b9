// R of B = Q R, where Q itself is not wanted: by block reflectors that are found from Gram matrices.
//
// Columns are taken in panels. For a basis X of a panel P, any with X^H X well-conditioned, there are R and unitary
// D = diag(d) with X^H X = R^H R, and for Y = X - E D R, E the first columns of the identity, H = I - Y K Y^H is
// unitary and H X = E D R, where K^-1 = -R^H D^H Y_1 and Y_1 is what Y has in the first rows: a block reflector
// (Schreiber and Parlett 1988). Then H P is upper triangular too, if X spans what P spans. That H is unitary hangs on R
// being the Cholesky factor of X^H X, not on P: no digit is lost where the columns of P are nearly dependent. d is
// chosen while Y_1 is factored, so that no pivot is less than one (Ballard, Demmel, Grigori, Jacquelin, Knight and
// Nguyen 2015).
//
// X is P R_1^-1, where R_1 is the Cholesky factor of P^H P (Cholesky QR), once more of that as long as a column is less
// than `basis_done` independent of those before it. A column that is so little independent that rounding may have left
// nothing of it, basis_used, waits: it is freed of those before it, but no other of it, and scaled up, so that the next
// time it is as good as any. All columns that wait are moved apart by an ulp of their lengths; exact copies of a column
// and columns of zeros have directions of their own then. (Fukaya, Kannan, Nakatsukasa, Yamamoto and Yanagisawa 2020
// add a multiple of I to P^H P for the same end.) No matrix has been found that takes more than reflectors_passes.
//
// A panel takes one launch for each of these passes, of which most have nothing to do but the first; one for X^H times
// the panel and all columns behind it, in which one threadgroup finds K; and one that takes Y K Y^H times them off.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/scalar.h"
#include "device_limits.h"
#include "tall_packed.h"

namespace metalsvd {

using namespace metal;

enum : int {
  reflector_packs = limits::tall_panel_bytes / limits::tall_pack_bytes,  // of a row of a panel
  basis_rows = limits::reflectors_basis_threads,                         // of a panel, that a threadgroup owns
  // Rows of a panel are staged so far apart that lanes read the same pack of eight of them from different banks.
  staged_row_packs = int(reflector_packs) + 1
};

// Columns of a panel that is full, and packs of a square matrix of as many.
template <typename T>
constexpr int panel_width() {
  return reflector_packs * packed_count<T>();
}
template <typename T>
constexpr int square_packs() {
  return panel_width<T>() * reflector_packs;
}

// Where the panel stands in B: its first row and column, and how many rows it has from there on.
struct PanelPlace {
  long first;
  int columns;
  int rows;
};

inline PanelPlace make_panel_place(long first, long columns, long rows) {
  PanelPlace panel;
  panel.first = first;
  panel.columns = int(columns);
  panel.rows = int(rows - first);
  return panel;
}

// The power of two by which a column of B whose square was this is scaled in a basis, so that no square underflows.
inline float basis_scale(float square) {
  return power_of_two(-(exponent_of(magnitude_bits(max(square, FLT_MIN))) >> 1));
}

// What a Cholesky factor leaves of a Gram matrix.
struct CholeskyReport {
  uint waiting;  // a bit for each column that waits
  bool again;    // some column is less than basis_done independent
};

inline float basis_used() { return power_of_two(-16); }
inline float basis_done() { return power_of_two(-10); }
inline float basis_floor() { return power_of_two(-21); }  // 4 eps: a column that waits is scaled as if it had this left
inline float basis_nudge() { return power_of_two(-13); }  // times the root of that an ulp

// The Cholesky factor R of G, both row-major, by one SIMD-group: above the diagonal in the place of G, with zeros on
// and below it, and in `diagonal` the diagonal and then its inverse. A lane owns column `lane`, a barrier of the
// SIMD-group stands between rows.
template <typename T>
inline CholeskyReport factor_gram(threadgroup float4* gram, threadgroup float* diagonal, int columns, int lane) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  threadgroup T* const entries = (threadgroup T*)gram;
  const int column = lane % width;
  T schur[width];
#pragma unroll
  for (int i = 0; i < width; ++i) schur[i] = entries[i * width + column];
  const float square = real_part(entries[column * width + column]);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  CholeskyReport report;
  report.waiting = 0u;
  report.again = false;
#pragma unroll
  for (int j = 0; j < width; ++j) {
    const float left = real_part(simd_broadcast(schur[j], ushort(j)));
    const float whole = simd_broadcast(square, ushort(j));
    const bool exists = j < columns;
    const bool is_used = left > basis_used() * whole;
    if (exists && !is_used) report.waiting |= 1u << j;
    if (exists && left < basis_done() * whole) report.again = true;
    const float pivot = is_used ? left : max(max(left, basis_floor() * whole), power_of_two(-100));
    const float estimate = rsqrt(pivot);
    const float inverse = fma(0.5f * estimate, fma(-pivot * estimate, estimate, 1.0f), estimate);
    T entry = from_real<T>(0.0f);
    if (column > j && is_used && exists) entry = inverse * schur[j];
    if (lane < width) entries[j * width + column] = entry;
    if (lane == 0) {
      diagonal[j] = exists ? pivot * inverse : 0.0f;
      diagonal[width + j] = exists ? inverse : 1.0f;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (int pack = j / count; pack < reflector_packs; ++pack) {
      const float4 row = gram[j * reflector_packs + pack];
#pragma unroll
      for (int q = 0; q < count; ++q) {
        const int i = pack * count + q;
        if (i > j) schur[i] = multiply_add(-conjugate(number_at<T>(row, q)), entry, schur[i]);
      }
    }
  }
  return report;
}

// A row of a panel, as a thread holds it.
struct HeldRow {
  float4 packs[reflector_packs];
};

// x R^-1 for R as factor_gram leaves it; columns that wait are nudged in row `row` of the panel.
template <typename T>
inline void solve_row(thread HeldRow& x, threadgroup const float4* R, threadgroup const float* diagonal, uint waiting,
                      int row) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
#pragma unroll
  for (int p = 0; p < reflector_packs; ++p) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const int j = p * count + q;
      T entry = diagonal[width + j] * number_at<T>(x.packs[p], q);
      if (row == j && (waiting >> j & 1u) != 0u) entry += from_real<T>(basis_nudge());
      x.packs[p] = with_number(x.packs[p], q, entry);
      // What R has in the columns up to there is zero.
#pragma unroll
      for (int r = p; r < reflector_packs; ++r) {
        x.packs[r] = multiply_add(-entry, R[j * reflector_packs + r], x.packs[r]);
      }
    }
  }
}

// The sum of the Gram matrices of all chunks, by all threads.
template <typename T>
inline void sum_grams(device const float4* grams, int chunks, threadgroup float4* sum, int thread_index, int threads) {
  for (int index = thread_index; index < square_packs<T>(); index += threads) {
    float4 total = zero_pack();
    for (int chunk = 0; chunk < chunks; ++chunk) total += grams[chunk * square_packs<T>() + index];
    sum[index] = total;
  }
}

// What a lane owns of a product of as many rows as a panel has columns: a pack of rows, and every fourth pack from
// `pack` on. Every lane shares what it reads of one factor with its neighbour, of the other with the next but one
// (block_wide_gram.h says why).
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

// Adds conj(x_i) c_j of one row to the sums of a lane, `owned` packs for each of its rows.
template <typename T, int owned>
inline void add_product_of_row(threadgroup const float4* x, threadgroup const float4* c, ProductOfLane own,
                               thread float4 (&sums)[owned][packed_count<T>()]) {
  const float4 left = x[own.row_pack];
#pragma unroll
  for (int j = 0; j < owned; ++j) {
    const float4 right = c[own.pack + 4 * j];
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) {
      sums[j][q] = multiply_add(conjugate(number_at<T>(left, q)), right, sums[j][q]);
    }
  }
}

// The Gram matrix of `rows` staged rows of a panel, to `gram`, by `simdgroups` SIMD-groups which share the rows out.
// Three barriers; the rows are lost. The host promises: rows are a multiple of what they are shared by, and have room
// for a square matrix for each SIMD-group.
template <typename T, int rows, int simdgroups>
inline void store_gram(threadgroup float4* staged, device float4* gram, int thread_index, int lane, int simdgroup) {
  constexpr int count = packed_count<T>();
  constexpr int own_rows = rows / simdgroups;
  const ProductOfLane own = make_product_of_lane(lane);
  float4 sums[2][count];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int q = 0; q < count; ++q) sums[j][q] = zero_pack();
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll 4
  for (int i = 0; i < own_rows; ++i) {
    threadgroup const float4* row = staged + (simdgroup * own_rows + i) * staged_row_packs;
    add_product_of_row<T, 2>(row, row, own, sums);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // Of half of the SIMD-groups first, so that those of eight find room.
  constexpr int half = simdgroups / 2;
  for (int first = half; first >= 0; first -= half) {
    if (first == 0) threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup < first || simdgroup >= first + half) continue;
    threadgroup float4* const part = staged + (simdgroup - first) * square_packs<T>();
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int q = 0; q < count; ++q) {
        const int place = (own.row_pack * count + q) * reflector_packs + own.pack + 4 * j;
        if (first == 0) {
          part[place] += sums[j][q];
        } else {
          part[place] = sums[j][q];
        }
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int index = thread_index; index < square_packs<T>(); index += simdgroups * limits::simd_width) {
    float4 sum = staged[index];
#pragma unroll
    for (int part = 1; part < half; ++part) sum += staged[part * square_packs<T>() + index];
    gram[index] = sum;
  }
}

}  // namespace metalsvd
