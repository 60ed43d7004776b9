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

inline float basis_used() { return power_of_two(-16); }
inline float basis_done() { return power_of_two(-10); }
inline float basis_floor() { return power_of_two(-21); }  // 4 eps: a column that waits is scaled as if it had this left
inline float basis_nudge() { return power_of_two(-13); }  // times the root of that an ulp

// What a thread owns of a square matrix: neighbouring packs of a row.
template <typename T>
struct SquareOfThread {
  enum : int {
    owned = square_packs<T>() / int(limits::reflectors_small_threads),
    owned_numbers = int(owned) * packed_count<T>(),
    groups = int(limits::reflectors_small_threads) / panel_width<T>()
  };
  int row;
  int group;  // of packs
  int pack;   // the first of them
};

template <typename T>
inline SquareOfThread<T> make_square_of_thread(int thread_index) {
  SquareOfThread<T> place;
  place.row = thread_index % panel_width<T>();
  place.group = thread_index / panel_width<T>();
  place.pack = place.group * SquareOfThread<T>::owned;
  return place;
}

template <typename T>
struct OwnSquare {
  float4 packs[SquareOfThread<T>::owned];
};

// The sum of the Gram matrices of all chunks.
template <typename T>
inline OwnSquare<T> sum_grams(device const float4* grams, int chunks, SquareOfThread<T> place) {
  OwnSquare<T> sum;
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) sum.packs[s] = zero_pack();
  grams += place.row * reflector_packs + place.pack;
  for (int chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
    for (int s = 0; s < SquareOfThread<T>::owned; ++s) sum.packs[s] += grams[chunk * square_packs<T>() + s];
  }
  return sum;
}

// Threadgroup memory of a Cholesky factor: R above the diagonal, with zeros on and below it; the diagonal, and the
// inverses of that; the squares of the columns; and room for published rows.
template <typename T>
struct CholeskyMemory {
  threadgroup float4* R;
  threadgroup float* diagonal;
  threadgroup float* squares;
  threadgroup float4* rows;
};

// Rows of a square matrix and of another that threads tell each other: of a pair of neighbours, while that of the last
// pair is still read.
enum : int { published_packs = 2 * int(reflector_packs), published_room = 4 * int(published_packs) };

inline threadgroup float4* published_row(threadgroup float4* rows, int row) {
  return rows + (row & 3) * published_packs;
}

// Those of the pair that begins at `row`.
template <typename T>
inline void publish_pair(OwnSquare<T> own, OwnSquare<T> other, int row, SquareOfThread<T> place,
                         threadgroup float4* rows) {
  if (place.row >> 1 != row >> 1) return;
  threadgroup float4* const packs = published_row(rows, place.row) + place.pack;
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
    packs[s] = own.packs[s];
    packs[reflector_packs + s] = other.packs[s];
  }
}

// A pivot of a Cholesky factor: what is left of the square of a column.
struct CholeskyPivot {
  bool is_used;
  float root;
  float inverse;  // of the root
};

inline CholeskyPivot make_cholesky_pivot(float left, float whole) {
  CholeskyPivot pivot;
  pivot.is_used = left > basis_used() * whole;
  const float square = pivot.is_used ? left : max(max(left, basis_floor() * whole), power_of_two(-100));
  const float estimate = rsqrt(square);
  pivot.inverse = fma(0.5f * estimate, fma(-square * estimate, estimate, 1.0f), estimate);
  pivot.root = square * pivot.inverse;
  return pivot;
}

// What there is to know of a Cholesky factor.
struct CholeskyReport {
  uint waiting;  // a bit for each column that waits
  bool again;    // some column is less than basis_done independent
};

inline void report_pivot(CholeskyPivot pivot, float left, float whole, int column, thread CholeskyReport& report) {
  report.waiting |= pivot.is_used ? 0u : 1u << column;
  report.again = report.again || left < basis_done() * whole;
}

// A row of R and of R^-H, by the threads of that row, from what is left of it.
template <typename T>
inline void finish_row(OwnSquare<T> own, thread OwnSquare<T>& inverse, CholeskyPivot pivot, SquareOfThread<T> place,
                       CholeskyMemory<T> memory) {
  constexpr int count = packed_count<T>();
  if (place.group == 0) {
    memory.diagonal[place.row] = pivot.root;
    memory.diagonal[panel_width<T>() + place.row] = pivot.inverse;
  }
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
    inverse.packs[s] = pivot.inverse * inverse.packs[s];
    float4 of_R = zero_pack();
#pragma unroll
    for (int q = 0; q < count; ++q) {
      if (pivot.is_used && (place.pack + s) * count + q > place.row) {
        of_R = with_number(of_R, q, pivot.inverse * number_at<T>(own.packs[s], q));
      }
    }
    memory.R[place.row * reflector_packs + place.pack + s] = of_R;
  }
}

// The factor by which a row is taken off another, which has this number in the pivot's column.
template <typename T>
inline T cholesky_factor(CholeskyPivot pivot, T number) {
  return (pivot.is_used ? pivot.inverse * pivot.inverse : 0.0f) * conjugate(number);
}

// The Cholesky factor R of G, of which `own` is lost, and R^-H in `inverse`. A barrier for two columns; R is known to
// all after another. `squares` has room for an even number.
template <typename T>
inline CholeskyReport factor_gram(OwnSquare<T> own, thread OwnSquare<T>& inverse, int columns, SquareOfThread<T> place,
                                  CholeskyMemory<T> memory) {
  constexpr int count = packed_count<T>();
  const T zero = from_real<T>(0.0f);
  CholeskyReport report;
  report.waiting = 0u;
  report.again = false;
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
    inverse.packs[s] = zero_pack();
    memory.R[place.row * reflector_packs + place.pack + s] = zero_pack();
#pragma unroll
    for (int q = 0; q < count; ++q) {
      if ((place.pack + s) * count + q != place.row) continue;
      memory.squares[place.row] = real_part(number_at<T>(own.packs[s], q));
      inverse.packs[s] = with_number(inverse.packs[s], q, from_real<T>(1.0f));
    }
  }
  if (place.group == 0 && place.row >= columns) {
    memory.diagonal[place.row] = 0.0f;
    memory.diagonal[panel_width<T>() + place.row] = 1.0f;
  }
  publish_pair(own, inverse, 0, place, memory.rows);
#pragma unroll 1
  for (int j = 0; j < columns; j += 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    threadgroup const float4* const first_row = published_row(memory.rows, j);
    threadgroup const float4* const second_row = published_row(memory.rows, j + 1);
    threadgroup const T* const first = (threadgroup const T*)first_row;
    threadgroup const T* const second = (threadgroup const T*)second_row;
    const float first_left = real_part(first[j]);
    const CholeskyPivot first_pivot = make_cholesky_pivot(first_left, memory.squares[j]);
    const T between = cholesky_factor(first_pivot, first[j + 1]);
    const float second_left = real_part(multiply_add(-between, first[j + 1], second[j + 1]));
    const CholeskyPivot second_pivot = make_cholesky_pivot(second_left, memory.squares[j + 1]);
    report_pivot(first_pivot, first_left, memory.squares[j], j, report);
    if (j + 1 < columns) report_pivot(second_pivot, second_left, memory.squares[j + 1], j + 1, report);
    // Of the first row of the pair nothing is taken off, of the second only the first.
    const T of_second = multiply_add(-between, first[place.row], second[place.row]);
    const T first_factor = place.row > j ? cholesky_factor(first_pivot, first[place.row]) : zero;
    const T second_factor = place.row > j + 1 ? cholesky_factor(second_pivot, of_second) : zero;
#pragma unroll
    for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
      const int pack = place.pack + s;
      own.packs[s] = multiply_add(-first_factor, first_row[pack], own.packs[s]);
      own.packs[s] =
          multiply_add(-second_factor, multiply_add(-between, first_row[pack], second_row[pack]), own.packs[s]);
      const float4 inverse_row = first_row[reflector_packs + pack];
      inverse.packs[s] = multiply_add(-first_factor, inverse_row, inverse.packs[s]);
      inverse.packs[s] = multiply_add(
          -second_factor, multiply_add(-between, inverse_row, second_row[reflector_packs + pack]), inverse.packs[s]);
    }
    publish_pair(own, inverse, j + 2, place, memory.rows);
    if (place.row == j) finish_row(own, inverse, first_pivot, place, memory);
    if (place.row == j + 1 && place.row < columns) finish_row(own, inverse, second_pivot, place, memory);
  }
  return report;
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
