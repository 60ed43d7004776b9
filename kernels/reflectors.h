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
// X is P R_1^-1, where R_1 is the Cholesky factor of P^H P (Cholesky QR), and as long as its columns are not nearly
// orthonormal once more of that. A column of which rounding of P^H P may have left nothing, as it is nearly dependent
// on those before it, waits: it is freed of them, but no other of it, and scaled up, so that the next time it is as
// good as any. Columns that wait are moved apart by half an ulp of their lengths, so that copies of a column and
// columns of zeros have directions of their own then. (Fukaya, Kannan, Nakatsukasa, Yamamoto and Yanagisawa 2020 add a
// multiple of I to P^H P for the same end.) Columns of random numbers take one such pass, those that fall off as fast
// as any, like powers or smooth kernels, up to nine.
//
// A panel takes a launch for the first pass; one for the others, by one threadgroup, of which most have nothing to do;
// one for X^H times the panel and all columns behind it, in which one threadgroup finds K; and one that takes Y K Y^H
// times them off.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/scalar.h"
#include "device_limits.h"
#include "tall_packed.h"

namespace metalsvd {

using namespace metal;

enum : int {
  chunk_rows = limits::reflectors_chunk_rows,
  // Rows of a panel are staged so far apart that lanes read the same pack of eight of them from different banks.
  staged_row_packs = int(panel_packs) + 1
};

// Columns of a panel that is full, and packs of a square matrix of as many.
template <typename T>
constexpr int panel_width() {
  return panel_packs * packed_count<T>();
}
template <typename T>
constexpr int square_packs() {
  return panel_width<T>() * panel_packs;
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

// A column is used for others as long as the square of what it is made of is less than this times that of what is left
// of it: an error of eps in P^H P is then one of less than 2^-7.
inline float most_amplified() { return power_of_two(16); }
// A column that waits is scaled as if it had 4 eps of its square left.
inline float least_left() { return power_of_two(-21); }
// And as if it had no less, so that no square of an inverse overflows: columns of B are scaled to unit length before
// they are freed of others.
inline float least_pivot() { return power_of_two(-100); }
// The square of what two columns of unit length of a basis may have in common: what is of third order in it is then
// less than rounding (reflectors_project.h).
inline float nearly_orthogonal() { return power_of_two(-24); }

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
inline void sum_grams(device const float4* grams, int chunks, SquareOfThread<T> place, thread OwnSquare<T>& sum) {
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) sum.packs[s] = zero_pack();
  grams += place.row * panel_packs + place.pack;
  for (int chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
    for (int s = 0; s < SquareOfThread<T>::owned; ++s) sum.packs[s] += grams[chunk * square_packs<T>() + s];
  }
}

// Threadgroup memory of a Cholesky factor, a number a column but for the first and the last: R above the diagonal, with
// zeros on and below it; the inverses of the diagonal; the squares of the columns of the basis, and of what they are
// made of; how far columns that wait are moved; and room for published rows.
template <typename T>
struct CholeskyMemory {
  threadgroup float4* R;
  threadgroup float* inverses;
  threadgroup float* squares;
  threadgroup float* made_of;
  threadgroup float* nudges;
  threadgroup float4* rows;
};
enum : int { cholesky_floats = 4 };  // a column

template <typename T>
inline CholeskyMemory<T> make_cholesky_memory(threadgroup float4* R, threadgroup float* floats,
                                              threadgroup float4* rows) {
  constexpr int width = panel_width<T>();
  return {R, floats, floats + width, floats + 2 * width, floats + 3 * width, rows};
}

// Rows of a square matrix that threads tell each other: a pair of neighbours, while the last pair is still read.
enum : int { published_room = 4 * int(panel_packs) };

inline threadgroup float4* published_row(threadgroup float4* rows, int row) { return rows + (row & 3) * panel_packs; }

// Those of the pair that begins at `row`.
template <typename T>
inline void publish_pair(OwnSquare<T> own, int row, SquareOfThread<T> place, threadgroup float4* rows) {
  if (place.row >> 1 != row >> 1) return;
  threadgroup float4* const packs = published_row(rows, place.row) + place.pack;
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) packs[s] = own.packs[s];
}

// A pivot of a Cholesky factor: what is left of the square of a column.
struct CholeskyPivot {
  bool is_used;
  float inverse;  // of its root
};

inline CholeskyPivot make_cholesky_pivot(float left, float whole, float made_of) {
  CholeskyPivot pivot;
  pivot.is_used = left >= least_pivot() && made_of < most_amplified() * left;
  float square = left;
  float estimate = rsqrt(left);
  if (!pivot.is_used) {
    square = max(max(left, least_left() * whole), least_pivot());
    estimate = rsqrt(square);
  }
  pivot.inverse = fma(0.5f * estimate, fma(-square * estimate, estimate, 1.0f), estimate);
  return pivot;
}

// A row of R, by the threads of that row, from what was left of it.
template <typename T>
inline void finish_row(OwnSquare<T> own, CholeskyPivot pivot, SquareOfThread<T> place, CholeskyMemory<T> memory) {
  constexpr int count = packed_count<T>();
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
    float4 of_R = zero_pack();
#pragma unroll
    for (int q = 0; q < count; ++q) {
      if (pivot.is_used && (place.pack + s) * count + q > place.row) {
        of_R = with_number(of_R, q, pivot.inverse * number_at<T>(own.packs[s], q));
      }
    }
    memory.R[place.row * panel_packs + place.pack + s] = of_R;
  }
  if (place.group > 0) return;
  const float whole = memory.squares[place.row];
  const float ulp = whole > 0.0f ? power_of_two(-26) * precise::sqrt(whole) * pivot.inverse : 0.25f;
  memory.inverses[place.row] = pivot.inverse;
  memory.nudges[place.row] = pivot.is_used ? 0.0f : ulp;
}

// The factor by which a row is taken off another, which has this number in the pivot's column.
template <typename T>
inline T cholesky_factor(CholeskyPivot pivot, T number) {
  return (pivot.is_used ? pivot.inverse * pivot.inverse : 0.0f) * conjugate(number);
}

// What a row adds to the square of what another is made of, which has this number in the pivot's column.
template <typename T>
inline float amplified(CholeskyPivot pivot, float made_of, T number) {
  const float inverse_square = pivot.is_used ? pivot.inverse * pivot.inverse : 0.0f;
  return square_add(inverse_square * number, 0.0f) * made_of;
}

// The Cholesky factor R of G, of which `own` is lost; columns that wait have zeros beside the diagonal of R. A barrier
// for two columns, and one before; R is known to all after another.
template <typename T>
inline void factor_gram(OwnSquare<T> own, int columns, SquareOfThread<T> place, CholeskyMemory<T> memory) {
  constexpr int count = packed_count<T>();
  const T zero = from_real<T>(0.0f);
#pragma unroll
  for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
#pragma unroll
    for (int q = 0; q < count; ++q) {
      if ((place.pack + s) * count + q != place.row) continue;
      const float square = real_part(number_at<T>(own.packs[s], q));
      memory.squares[place.row] = square;
      memory.made_of[place.row] = square;
    }
  }
  CholeskyPivot own_pivot = {true, 1.0f};  // of a column that there is not
  publish_pair(own, 0, place, memory.rows);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float made_of = memory.made_of[place.row];
#pragma unroll 1
  for (int j = 0; j < columns; j += 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    threadgroup const float4* const first_row = published_row(memory.rows, j);
    threadgroup const float4* const second_row = published_row(memory.rows, j + 1);
    threadgroup const T* const first = (threadgroup const T*)first_row;
    threadgroup const T* const second = (threadgroup const T*)second_row;
    const float first_made_of = memory.made_of[j];
    const CholeskyPivot first_pivot = make_cholesky_pivot(real_part(first[j]), memory.squares[j], first_made_of);
    const T between = cholesky_factor(first_pivot, first[j + 1]);
    const float second_left = real_part(multiply_add(-between, first[j + 1], second[j + 1]));
    const float second_made_of = memory.made_of[j + 1] + amplified(first_pivot, first_made_of, first[j + 1]);
    const CholeskyPivot second_pivot = make_cholesky_pivot(second_left, memory.squares[j + 1], second_made_of);
    // Of the first row of the pair nothing is taken off, of the second only the first.
    const T of_second = multiply_add(-between, first[place.row], second[place.row]);
    const T first_factor = place.row > j ? cholesky_factor(first_pivot, first[place.row]) : zero;
    const T second_factor = place.row > j + 1 ? cholesky_factor(second_pivot, of_second) : zero;
    made_of += amplified(first_pivot, first_made_of, first[place.row]);
    made_of += amplified(second_pivot, second_made_of, of_second);
#pragma unroll
    for (int s = 0; s < SquareOfThread<T>::owned; ++s) {
      const int pack = place.pack + s;
      own.packs[s] = multiply_add(-first_factor, first_row[pack], own.packs[s]);
      own.packs[s] =
          multiply_add(-second_factor, multiply_add(-between, first_row[pack], second_row[pack]), own.packs[s]);
    }
    publish_pair(own, j + 2, place, memory.rows);
    if (place.group == 0 && place.row >> 1 == (j + 2) >> 1) memory.made_of[place.row] = made_of;
    if (place.row == j) own_pivot = first_pivot;
    if (place.row == j + 1 && place.row < columns) own_pivot = second_pivot;
  }
  finish_row(own, own_pivot, place, memory);
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
// Four barriers; the rows are lost. The host promises: rows are a multiple of what they are shared by, and have room
// for a square matrix for every other SIMD-group.
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
  constexpr int senders = simdgroups / 2;
  for (int first = senders; first >= 0; first -= senders) {
    if (first == 0) threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup < first || simdgroup >= first + senders) continue;
    threadgroup float4* const part = staged + (simdgroup - first) * square_packs<T>();
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int q = 0; q < count; ++q) {
        const int place = (own.row_pack * count + q) * panel_packs + own.pack + 4 * j;
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
    for (int part = 1; part < senders; ++part) sum += staged[part * square_packs<T>() + index];
    gram[index] = sum;
  }
}

}  // namespace metalsvd
