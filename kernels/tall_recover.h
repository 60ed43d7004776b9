// Behind the tall QR and method `block`: the left vectors Z of R = Z diag(sigma) X^H from its right ones.
//
// To accumulate Z, `block` multiplies it with every rotation: half of what its sweeps do. Where columns are many it
// leaves Z away, and Y = Z diag(sigma) is formed. X is orthonormal to the tolerance of the sweeps only, as E = X^H X -
// I. It is R = Z diag(sigma) X^H for the Z that would have been accumulated, so that R X = Z diag(sigma) (I + E), and
// Y = R X (I - E) but for E^2. Z is R times the small matrix X (I - E) diag(sigma)^-1.
//
// An error of eps sigma_1 in Y is one of eps sigma_1 in R = Y X^H, as large as any backward stable method leaves. In a
// column of small sigma it may be the whole direction, but such columns are the last: they are made orthogonal to those
// before, which stay as they are. Drmac and Veselic (2008, I, section 3) obtain Z by a triangular solve, for which R
// has to be well-conditioned.
//
// Where B has few times as many rows as columns the same is done for B instead of R, whose sigma and X are the same:
// then Z are the left vectors of B, Q is not applied to them, and need not be kept.
//
// That is done by products, of which few launches make many numbers. The columns of Z = Y diag(sigma)^-1 are multiplied
// by the upper triangle I - F, where F is what Z^H Z has above the diagonal. This is Gram-Schmidt to the first order;
// what is left is of the order of F^2, as in Newton's iteration (tall_settle.h). One of these steps makes it rounding,
// and the matrix is settled, where sigma_1 is up to some 10^5 sigma_n, a second one where it is up to 10^6. A matrix
// for which F is not small by then, as where the rank is not full, is not settled: the tall QR factors what there is, Z
// = Q D, where D has the phases of the diagonal of R of Z, and completes what is missing.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"
#include "tall.h"
#include "tall_copy.h"
#include "tall_packed.h"
#include "tall_product.h"

namespace metalsvd {

using namespace metal;

// The sum of an entry of a product, and where it stands.
template <typename T>
struct ProductEntry {
  T sum;
  long row, column;
};

// Of the square of a length.
inline bool is_nearly_one(float square) { return fabs(square - 1.0f) <= power_of_two(-5); }

inline bool is_of_gram(long kind) {
  return kind == limits::tall_product_of_gram || kind == limits::tall_product_of_last_gram;
}

// What becomes of it, if that is anything else. Of a Gram matrix Z^T conj(Z) that is an entry of the triangle that Z is
// multiplied by. It corrects lengths, the last one by up to a factor of two, the first one only if they are nearly
// right: a column that is far from unit length would not become orthogonal with them.
template <typename T>
inline T finished_entry(ProductEntry<T> entry, long kind, device const float* values) {
  const bool is_diagonal = entry.row == entry.column;
  if (kind == limits::tall_product_reflected) return from_real<T>(is_diagonal ? 2.0f : 0.0f) - entry.sum;
  if (kind == limits::tall_product_over_values) {
    // Where sigma is less than rounding errors of the largest, so is the column.
    const float sigma = max(values[entry.column], values[0] * power_of_two(-22));
    return (sigma > 0.0f ? precise::divide(1.0f, sigma) : 0.0f) * entry.sum;
  }
  if (!is_diagonal) return entry.row > entry.column ? from_real<T>(0.0f) : -conjugate(entry.sum);
  const float square = real_part(entry.sum);
  if (kind == limits::tall_product_of_gram && !is_nearly_one(square)) return from_real<T>(1.0f);
  return from_real<T>(clamp(precise::divide(1.0f, precise::sqrt(square)), 0.5f, 2.0f));
}

// A reflected product of real numbers is symmetric to the last bit, so that tiles below the diagonal are mirror images.
inline bool is_mirrored(long kind, float) { return kind == limits::tall_product_reflected; }
inline bool is_mirrored(long, float2) { return false; }

// The mirror images of what a thread has of four rows and a pack, where they stand from `first` on.
inline void store_mirrored(thread const float4* rows, device float* first, long stride, int there) {
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    if (q >= there) continue;
    *(device float4*)(first + q * stride) = float4(-number_at<float>(rows[0], q), -number_at<float>(rows[1], q),
                                                   -number_at<float>(rows[2], q), -number_at<float>(rows[3], q));
  }
}
inline void store_mirrored(thread const float4*, device float2*, long, int) {}

// What an entry of a Gram matrix adds to the defect of lengths: on the diagonal the square of how far it is from 1,
// which multiplies what is left of the others, in units of 2^-40, or of the last one all that may be where a column is
// not nearly of unit length. Whole numbers, whose sum is the same in any order; no sum need be larger than that.
enum : uint { most_defect = 1u << 24 };

template <typename T>
inline uint defect_of(ProductEntry<T> entry, bool is_last) {
  if (entry.row != entry.column) return 0u;
  if (is_last) return is_nearly_one(real_part(entry.sum)) ? 0u : uint(most_defect);
  const float square = square_add(entry.sum - from_real<T>(1.0f), 0.0f);
  return square < power_of_two(-16) ? uint(square * power_of_two(40)) : uint(most_defect);
}

// The sum of what the lanes of a SIMD-group have.
inline uint sum_of_defects(uint defect) { return min(simd_sum(min(defect, uint(most_defect))), uint(most_defect)); }

// A tile of matrices that are both row-major, of whole packs.
template <typename Tile, typename T>
inline void copy_tile(device const T* from, device T* to, long matrix, long rows, long stride, long first_row,
                      long first_pack, Team team) {
  for (int place = team.index; place < Tile::rows * Tile::packs; place += team.threads) {
    const long row = first_row + place / Tile::packs;
    const long number = (first_pack + place % Tile::packs) * packed_count<T>();
    if (row >= rows || number >= stride) continue;
    const long place_in_matrices = (matrix * rows + row) * stride + number;
    *(device float4*)(to + place_in_matrices) = *(device const float4*)(from + place_in_matrices);
  }
}

// Whether the columns from `first` to `end` of a triangle are those of I, as all lanes of a SIMD-group find together.
inline bool is_trimmed(device const float* multiplied, long first, long end, int lane) {
  float of_lane = 0.0f;
  for (long column = first + lane; column < end; column += limits::simd_width) {
    of_lane = max(of_lane, multiplied[column]);
  }
  return simd_max(of_lane) == 0.0f;
}

// A product of rows x columns, of a left factor of rows x summed, by its kind:
// - reflected: 2 I - left conj(right), which is Hermitian: of real numbers tiles below the diagonal are left out, and
//   stored by those above
// - over_values: left conj(right), each column divided by its value
// - of_all: left conj(right); of_upper: the same with an upper triangular left
// - of_gram, of_last_gram: of the Gram matrix left conj(right) what finished_entry says, tiles below the diagonal left
//   out, and to `defects` the sum of what defect_of says, a number a tile
// - by_upper: left right with an upper triangular right, of which columns whose value is zero are those of I
// - by_last_upper: the same. These two have kernels of their own.
// Of matrices that are settled by then the last Gram matrix is not formed, and by_last_upper copies the left factor.
// It is row-major, its rows whole packs. Of a triangular factor, numbers beyond the tiles that meet it are not read.
//
// Grid: one threadgroup of Tile::threads a tile of the product, across first, or by an upper triangle down first, from
// the last column on. Ownership: a thread owns packs of the rows that follow each other. Barriers: those of
// sum_product, and one for the defect.
template <typename T, typename Tile, bool by_upper>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_product(
    device const T* left [[buffer(0)]], device const T* right [[buffer(1)]], device T* product [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& stride [[buffer(4)]],
    constant long& left_batch_stride [[buffer(5)]], constant long& left_row_stride [[buffer(6)]],
    constant long& left_column_stride [[buffer(7)]], constant long& right_batch_stride [[buffer(8)]],
    constant long& right_row_stride [[buffer(9)]], constant long& right_column_stride [[buffer(10)]],
    constant long& kind [[buffer(11)]], device const float* values [[buffer(12)]], device uint* defects [[buffer(13)]],
    device const uint* settled [[buffer(14)]], constant long& rows [[buffer(15)]], constant long& summed [[buffer(16)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  threadgroup float4 left_packs[2 * int(Tile::left_numbers) * sizeof(T) / sizeof(float4)];
  threadgroup float4 right_packs[2 * int(Tile::right_packs)];
  threadgroup uint defects_of_simdgroups[int(Tile::threads) / int(limits::simd_width)];
  const Team team = make_team(thread_index, Tile::threads, lane, simdgroup);
  const bool is_gram = !by_upper && is_of_gram(kind);
  const uint across = uint(stride / count + Tile::packs - 1) / uint(Tile::packs);
  const uint down = uint(rows + Tile::rows - 1) / uint(Tile::rows);
  const long matrix = threadgroup_index / (across * down);
  // Tiles that take the most time come first.
  const uint tile = threadgroup_index % (across * down);
  const long first_row = long(by_upper ? tile % down : tile / across) * Tile::rows;
  const long first_pack = long(by_upper ? across - 1 - tile / down : tile % across) * Tile::packs;
  const long end_of_tile = min((first_pack + Tile::packs) * count, long(columns));
  const bool is_of_last = kind == limits::tall_product_of_last_gram || kind == limits::tall_product_by_last_upper;
  if (is_of_last && settled[matrix] != 0u) {
    if (!is_gram) copy_tile<Tile>(left, product, matrix, rows, stride, first_row, first_pack, team);
    return;
  }
  const bool mirrored = !by_upper && is_mirrored(kind, T());
  if ((is_gram || mirrored) && first_row >= end_of_tile) {
    if (is_gram && team.index == 0) defects[threadgroup_index] = 0u;
    return;
  }
  const long first_column = first_pack * count;
  const bool is_of_unit_columns =
      by_upper && is_trimmed(values + matrix * columns, first_column, end_of_tile, team.lane);
  const int first = int(!by_upper && kind == limits::tall_product_of_upper ? first_row
                        : is_of_unit_columns                               ? first_column
                                                                           : 0);
  const int end = int(by_upper ? end_of_tile : long(summed));
  const Operand<T> of_left = {left + matrix * left_batch_stride + first_row * left_row_stride, left_row_stride,
                              left_column_stride, int(rows - first_row), 0};
  const Operand<T> of_right = {right + matrix * right_batch_stride + first_column * right_column_stride,
                               right_row_stride, right_column_stride, 0, int(columns - first_column)};
  const WholePacks whole = find_whole_packs(of_left, left_batch_stride, of_right, right_batch_stride);
  const Factors<T> factors = {of_left, of_right, whole, first, end, !by_upper};
  const PartOfTile part = make_part_of_tile<Tile>(team);
  SumsOfTile<Tile> sums;
  sum_product<Tile>(factors, (threadgroup T*)left_packs, right_packs, part, team.index, sums);

  if (by_upper || kind == limits::tall_product_of_upper || kind == limits::tall_product_of_all) {
    store_sums<Tile>(sums, part, product + (matrix * rows + first_row) * stride + first_column, stride,
                     int(rows - first_row), int(columns - first_column), int(stride - first_column));
    return;
  }
  uint defect = 0u;
#pragma unroll
  for (int p = 0; p < Tile::held_packs; ++p) {
    const long pack = first_pack + part.pack + p * Tile::packs_across;
#pragma unroll
    for (int r = 0; r < Tile::held_rows; ++r) {
      const long row = first_row + part.row + r;
      if (row >= rows || pack * count >= stride) break;
      T numbers[count];
#pragma unroll
      for (int q = 0; q < count; ++q) {
        const ProductEntry<T> entry = {number_at<T>(sums.of[p][r], q), row, pack * count + q};
        numbers[q] = from_real<T>(0.0f);
        if (entry.column >= columns) continue;
        numbers[q] = finished_entry(entry, kind, values + matrix * columns);
        if (is_gram) defect += defect_of(entry, kind == limits::tall_product_of_last_gram);
      }
      ((device float4*)(product + (matrix * rows + row) * stride))[pack] = pack_of(numbers);
    }
  }
  if (mirrored && first_row + Tile::rows <= first_column) {
#pragma unroll
    for (int p = 0; p < Tile::held_packs; ++p) {
      const long column = (first_pack + part.pack + p * Tile::packs_across) * count;
#pragma unroll
      for (int r = 0; r < Tile::held_rows; r += 4) {
        const long row = first_row + part.row + r;
        if (row >= columns) continue;
        store_mirrored(sums.of[p] + r, product + (matrix * columns + column) * stride + row, stride,
                       int(columns - column));
      }
    }
  }
  if (!is_gram) return;
  defect = sum_of_defects(defect);
  if (team.lane == 0) defects_of_simdgroups[team.simdgroup] = defect;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.simdgroup != 0) return;
  defect = sum_of_defects(team.lane < team.simdgroups ? defects_of_simdgroups[team.lane] : 0u);
  if (team.lane == 0) defects[threadgroup_index] = defect;
}

// Z of the settled matrices of a batch, where the QR has completed them too: back to the first columns of P.
//
// Grid and ownership are those of tall_collect, of `rows` rows. No barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_restore(
    device const T* Z [[buffer(0)]], device T* P [[buffer(1)]], constant long& rows [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& stride [[buffer(4)]], constant long& P_stride [[buffer(5)]],
    constant long& groups [[buffer(6)]], device const uint* settled [[buffer(7)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const RowsOfSimdgroup own = make_rows_of_simdgroup(threadgroup_index, groups, simdgroup);
  if (settled[own.matrix] == 0u) return;
  for (long i = own.first; i < rows; i += own.step) {
    const long row = own.matrix * rows + i;
    for (long j = lane; j < columns; j += limits::simd_width) P[row * P_stride + j] = Z[row * stride + j];
  }
}

// D: the phases of the diagonal of R on that of a square matrix, row-major. R is in the roots of its panels, as
// tall_collect finds it.
//
// Grid and ownership are those of tall_collect. No barrier.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_phases(
    device const T* roots [[buffer(0)]], device T* phases [[buffer(1)]], constant long& columns [[buffer(2)]],
    constant long& panel_columns [[buffer(3)]], constant long& roots_stride [[buffer(4)]],
    constant long& groups [[buffer(5)]], device const uint* settled [[buffer(6)]],
    constant long& may_settle [[buffer(7)]], uint threadgroup_index [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const RowsOfSimdgroup own = make_rows_of_simdgroup(threadgroup_index, groups, simdgroup);
  if (is_settled(settled, may_settle, own.matrix)) return;
  roots += own.matrix * roots_stride;
  phases += own.matrix * columns * columns;
  for (long i = own.first; i < columns; i += own.step) {
    const PlaceInRoots place = find_in_roots<T>(i, columns, panel_columns);
    const T diagonal = roots[place.row + i - place.first];
    const T unit = magnitude(diagonal) > 0.0f ? phase(diagonal) : from_real<T>(1.0f);
    for (long j = lane; j < columns; j += limits::simd_width) {
      phases[i * columns + j] = i == j ? unit : from_real<T>(0.0f);
    }
  }
}

}  // namespace metalsvd
