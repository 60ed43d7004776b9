// The recovering kernels of method `simdgroup`: one-sided Jacobi in registers without Q, one matrix a threadgroup.
//
// B Pi = Q R and W = R^H, as in kernels/simdgroup.h, whose lines and sweeps these are. But what the sweeps turn is W
// alone: W J = Pi V diag(sigma), and P is recovered afterwards from B V = P diag(sigma), as in kernels/tall_recover.h:
// its columns are orthogonal but for rounding errors of the largest, and a QR factorisation of them in the order of the
// singular values makes them so. Both factorisations are by modified Gram-Schmidt, of which the first needs R alone and
// the second meets columns that are orthogonal already; where singular values are 2^16 apart and more, it is by
// reflectors. All that takes as long as three or four sweeps. But with nothing below W a lane has registers for twice
// as many entries of it, so that a matrix takes half as many lanes, up to 64 columns those of one SIMD-group, and less
// of the work is finding rotations, telling columns and waiting.
//
// Up to 64 entries of two columns take 128 words of registers and more, which a lane of an Apple GPU does not have, and
// A is read three times: the planner takes these kernels where DeviceLimits says so.
//
// Few matrices leave a GPU waiting here too: kernels of fewer entries a lane give the same bits.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/nan_factors.h"
#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "common/team.h"
#include "device_limits.h"
#include "simdgroup_factors.h"
#include "simdgroup_line.h"
#include "simdgroup_load.h"
#include "simdgroup_qr.h"
#include "simdgroup_reflect.h"
#include "simdgroup_stage.h"
#include "simdgroup_sweep.h"

namespace metalsvd {

using namespace metal;

// Columns of B that are multiplied by rows of V which have been read together.
enum : int { multiplied_columns = 4 };

// What a matrix has beside its registers.
template <typename T>
struct Workspace {
  Reflectors<T> reflectors;
  threadgroup int* places;  // of the columns of B in Pi
  threadgroup T* turns;     // of the columns of P and V
  device T* square;         // R^H, then Pi V: rows of 2 pairs_in_line
};

// Without what lies in device memory.
template <typename T>
inline Workspace<T> make_workspace(threadgroup int* places, threadgroup T* turns, threadgroup float* taus,
                                   threadgroup T* diagonals) {
  Workspace<T> work;
  work.places = places;
  work.turns = turns;
  work.reflectors.taus = taus;
  work.reflectors.diagonals = diagonals;
  return work;
}

// Where the two columns of W that this lane has part of stand in an order; lanes without any, nowhere.
template <bool is_spread>
inline Places rank_pair(float2 sizes, bool is_reversed, Stand<is_spread> stand) {
  Places places = rank_columns(sizes, is_reversed, stand);
  places.nonzero = max_over_group(places.nonzero, stand);
  if (!has_matrix(stand)) places.x = places.y = 2 * limits::simdgroup_recovering_most;
  return places;
}

template <int entries, typename T, bool is_spread>
inline void take_row_of_square(thread T* x, int row, Workspace<T> work, Stand<is_spread> stand) {
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const int i = row_of(stand, t);
    x[t] = from_real<T>(0.0f);
    if (row < stand.columns && i < stand.columns) x[t] = work.square[row * 2 * stand.pairs_in_line + i];
  }
}

// W = R^H of B Pi = Q R.
template <typename T, int entries, bool is_spread>
inline void factor_line(thread Column<T, entries>& x, thread Column<T, entries>& y, Workspace<T> work,
                        Stand<is_spread> stand) {
  measure_pair(x, y, stand);
  const Places places = rank_pair(float2(x.square, y.square), false, stand);
  if (stand.part == 0) {
    if (places.x < stand.columns) stand.memory.origins[places.x] = 2 * stand.pair;
    if (places.y < stand.columns) stand.memory.origins[places.y] = 2 * stand.pair + 1;
    if (places.x < stand.columns) work.places[2 * stand.pair] = places.x;
    if (places.y < stand.columns) work.places[2 * stand.pair + 1] = places.y;
  }
  orthogonalize_by_boxes<entries>(x.W, y.W, places, work.square, 2 * stand.pairs_in_line, stand);
  device_barrier(stand);
  take_row_of_square<entries>(x.W, has_matrix(stand) ? 2 * stand.pair : stand.columns, work, stand);
  take_row_of_square<entries>(y.W, has_matrix(stand) ? 2 * stand.pair + 1 : stand.columns, work, stand);
  device_barrier(stand);
}

// A column of W, whose norm is sigma, becomes one of V: only its length, to the last bit, is what a quotient would be.
template <typename T, int entries, bool is_spread>
inline void make_right_vector(thread Column<T, entries>& column, float sigma, Stand<is_spread> stand) {
  const float inverse = sigma > 0.0f ? precise::divide(1.0f, sigma) : 0.0f;
#pragma unroll
  for (int t = 0; t < entries; ++t) column.W[t] = inverse * column.W[t];
  const float square = square_of_column<entries>(column.W, stand);
  correct_entries<entries>(column.W, sigma > 0.0f ? square : 1.0f);
}

template <int entries, typename T, bool is_spread>
inline void put_right_vector(thread const T* x, int place, Workspace<T> work, Stand<is_spread> stand) {
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    const int i = row_of(stand, t);
    if (place < stand.columns && i < stand.columns) work.square[i * 2 * stand.pairs_in_line + place] = x[t];
  }
}

// How the columns of U are turned so that their entries of largest magnitude, the first of them where several are, are
// real and positive: here where U is V, a thread a column.
template <typename T, bool is_spread>
inline void find_turns(Workspace<T> work, Stand<is_spread> stand) {
  for (int k = thread_of(stand); k < stand.columns; k += threads_of(stand)) {
    float largest = 0.0f;
    int row = 0;
    T best = from_real<T>(1.0f);
    for (int i = 0; i < stand.columns; ++i) {
      const T entry = work.square[i * 2 * stand.pairs_in_line + k];
      const float square = square_add(entry, 0.0f);
      const int origin = stand.memory.origins[i];
      if (square < largest || (square == largest && origin > row)) continue;
      largest = square;
      row = origin;
      best = entry;
    }
    work.turns[k] = conjugate(phase(best));
  }
}

// x and y become columns of B V. Two barriers for each staged_columns, and one.
template <typename Storage, typename T, int entries, bool is_spread>
inline void multiply_right_vectors(Tensors<Storage> tensors, int exponent, Shape shape, Places places,
                                   Workspace<T> work, thread Column<T, entries>& x, thread Column<T, entries>& y,
                                   Stand<is_spread> stand) {
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    x.W[t] = from_real<T>(0.0f);
    y.W[t] = from_real<T>(0.0f);
  }
  device_barrier(stand);
  for (int first = 0; first < shape.columns; first += staged_columns) {
    stage_columns<entries, T>(tensors, first, exponent, shape, stand);
    group_barrier(stand);
    for (int begin = 0; begin < staged_columns; begin += multiplied_columns) {
      T of_V[multiplied_columns][2];
#pragma unroll
      for (int c = 0; c < multiplied_columns; ++c) {
        const int j = min(first + begin + c, shape.columns - 1);
        device const T* row = work.square + work.places[j] * 2 * stand.pairs_in_line;
        of_V[c][0] = row[min(places.x, stand.columns - 1)];
        of_V[c][1] = row[min(places.y, stand.columns - 1)];
      }
#pragma unroll
      for (int c = 0; c < multiplied_columns; ++c) {
        threadgroup T* column = column_box<entries, T>(begin + c, stand);
        threadgroup const float4* part = part_of_column<entries, T>(column, stand);
        add_box<entries>(part, of_V[c][0], x.W);
        add_box<entries>(part, of_V[c][1], y.W);
      }
    }
    group_barrier(stand);
  }
}

// A column that is orthogonal to the others becomes one of P, given its place. Where it comes from reflectors it has
// the phase of R.
template <typename Storage, typename T, int entries, bool is_spread>
inline void make_left_vector(thread Column<T, entries>& column, int place, bool reflects, Factor<Storage> P,
                             bool is_of_U, Workspace<T> work, Stand<is_spread> stand) {
  const int k = min(place, stand.columns - 1);
  const T diagonal = reflects ? work.reflectors.diagonals[k] : from_real<T>(1.0f);
  const T unit = magnitude(diagonal) > 0.0f ? phase(diagonal) : from_real<T>(1.0f);
  const T of_P = conjugate(phase_of_entries<entries>(column.W, P, stand));
  if (is_of_U && place < stand.columns && stand.part == 0) work.turns[k] = multiply(of_P, conjugate(unit));
  const float square = square_of_column<entries>(column.W, stand);
  const float inverse = square > 0.0f ? precise::divide(1.0f, precise::sqrt(square)) : 0.0f;
  const T turn = inverse * (is_of_U ? of_P : multiply(work.turns[k], unit));
#pragma unroll
  for (int t = 0; t < entries; ++t) column.W[t] = multiply(turn, column.W[t]);
  correct_entries<entries>(column.W, square_of_column<entries>(column.W, stand));
}

template <typename Storage, typename T, bool is_spread>
inline void store_right_vectors(Factor<Storage> V, Workspace<T> work, Stand<is_spread> stand) {
  const int width = 2 * stand.pairs_in_line;
  for (int k = thread_of(stand); k < stand.columns; k += threads_of(stand)) {
    const T turn = work.turns[k];
    for (int first = 0; first < stand.columns; first += moved_entries) {
      T held[moved_entries];
#pragma unroll
      for (int b = 0; b < moved_entries; ++b) held[b] = work.square[min(first + b, stand.columns - 1) * width + k];
#pragma unroll
      for (int b = 0; b < moved_entries; ++b) {
        if (first + b >= stand.columns) break;
        const T entry = multiply(turn, held[b]);
        V.entries[stand.memory.origins[first + b] * V.place.row_stride + k * V.place.column_stride] =
            to_storage<Storage>(V.place.conjugated ? conjugate(entry) : entry);
      }
    }
  }
}

// Whether the columns of B V, with these norms, could be too dependent for modified Gram-Schmidt: they are orthogonal
// to rounding errors of the largest, and what is lost besides is as much as those come to beside the smallest.
template <bool is_spread>
inline bool are_dependent(float2 sigmas, Places places, Stand<is_spread> stand) {
  const float largest = as_type<float>(max_over_group(as_type<int>(max(sigmas.x, sigmas.y)), stand));
  const float least = power_of_two(-16) * largest;
  const bool is_x_small = places.x < stand.columns && sigmas.x <= least;
  const bool is_y_small = places.y < stand.columns && sigmas.y <= least;
  return where_it_holds(is_x_small || is_y_small, stand).in_group;
}

// P and V from the columns of W that the sweeps have left. Each pass makes columns of a unitary factor: the first of V,
// where columns of W count as zero: those that the others leave take their places; the next of B V; others what full
// matrices have besides.
template <typename Storage, typename T, int entries, bool is_spread>
inline void recover_factors(thread Column<T, entries>& x, thread Column<T, entries>& y, float2 sigmas, Places places,
                            int exponent, Tensors<Storage> tensors, Shape shape, Workspace<T> work,
                            Stand<is_spread> stand) {
  enum : int { completes_V, makes_P, completes_P };
  const Factor<Storage> P = make_factor(tensors.left, left_place(shape), shape.rows, shape.left_columns);
  const Factor<Storage> V = make_factor(tensors.right, right_place(shape), shape.columns, shape.columns);
  const bool reflects = are_dependent(sigmas, places, stand);
  make_right_vector(x, sigmas.x, stand);
  make_right_vector(y, sigmas.y, stand);
  put_right_vector<entries>(x.W, places.x, work, stand);
  put_right_vector<entries>(y.W, places.y, work, stand);
  int first = 0;  // column of P
  for (int pass = places.nonzero < shape.columns ? completes_V : makes_P; first < shape.left_columns; ++pass) {
    const int x_place = pass < completes_P ? places.x : first + 2 * stand.pair;
    const int y_place = pass < completes_P ? places.y : first + 2 * stand.pair + 1;
    if (pass == makes_P) multiply_right_vectors(tensors, exponent, shape, places, work, x, y, stand);
    if (pass != makes_P || reflects) {
      if (pass <= completes_P) factor_by_boxes<entries>(x.W, y.W, places, work.reflectors, stand);
      form_by_boxes<entries>(x.W, y.W, x_place, y_place, work.reflectors, stand);
    } else {
      orthogonalize_by_boxes<entries>(x.W, y.W, places, (device T*)nullptr, 0, stand);
    }
    if (pass == completes_V) {
      if (places.x >= places.nonzero) put_right_vector<entries>(x.W, places.x, work, stand);
      if (places.y >= places.nonzero) put_right_vector<entries>(y.W, places.y, work, stand);
      continue;
    }
    if (pass == makes_P) {
      if (shape.transposed) find_turns(work, stand);
      group_barrier(stand);
      make_left_vector(x, places.x, reflects, P, !shape.transposed, work, stand);
      make_left_vector(y, places.y, reflects, P, !shape.transposed, work, stand);
    }
    const int behind = min(pass == makes_P ? shape.columns : first + 2 * stand.pairs_in_line, shape.left_columns);
    store_columns<entries>(x.W, y.W, x_place, y_place, first, behind, P, stand);
    first = behind;
  }
  store_right_vectors(V, work, stand);
}

// The matrix of a threadgroup.
template <typename Storage, int entries, bool is_spread>
inline void factor_alone(Tensors<Storage> tensors, Shape shape, Workspace<typename StorageTraits<Storage>::Number> work,
                         Stand<is_spread> stand) {
  typedef typename StorageTraits<Storage>::Number T;
  const uint largest = largest_entry<entries, T>(tensors, shape, stand);
  if (largest >= not_finite_bits) {
    store_nan(tensors.left, tensors.S, tensors.right, shape, thread_of(stand), threads_of(stand));
    if (thread_of(stand) == 0) *tensors.info = info_not_finite;
    return;
  }
  const int exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  Column<T, entries> x;
  Column<T, entries> y;
  load_pair(tensors, exponent, shape, x, y, stand);
  factor_line(x, y, work, stand);

  const Tolerances tolerances = make_tolerances(shape.columns, shape.columns);
  bool is_unfinished = true;
  int sweeps = 0;
  for (; sweeps < limits::jacobi_max_sweeps && is_unfinished; ++sweeps) {
    const uint found = sweep_line(x, y, tolerances, true, with_used(stand, entries, 0));
    is_unfinished = where_it_holds(found == found_large, stand).in_group;
  }
  if (thread_of(stand) == 0) *tensors.info = is_unfinished ? info_not_converged : info_ok;

  const float2 sigmas = norms_of_pair(x, y, stand);
  const Places places = rank_pair(sigmas, sweeps % 2 != 0, stand);
  if (stand.part == 0) store_values(sigmas, places, exponent, tensors, shape);
  if (shape.left_columns > 0) recover_factors(x, y, sigmas, places, exponent, tensors, shape, work, stand);
}

// Its registers, its part of the memory, and what the kernel was called with from there on.
template <typename Storage, int entries, bool is_spread>
inline void factor_one(Tensors<Storage> tensors, device typename StorageTraits<Storage>::Number* scratch, long index,
                       long batch_stride, Shape shape, Workspace<typename StorageTraits<Storage>::Number> work,
                       Stand<is_spread> stand) {
  stand.tells_Q = false;
  work.square = scratch + index * limits::simdgroup_recovering_numbers(shape.columns, stand.parts * entries);
  work.reflectors.kept = work.square + limits::simdgroup_recovering_vectors(shape.columns);
  factor_alone<Storage, entries>(tensors_from(tensors, index, batch_stride, shape), shape, work, stand);
}

// Grid: a SIMD-group a matrix. Ownership: the lanes of a pair own its two columns, lane `part` the rows part, part +
// parts, ...; whole columns change owners by exchange (simdgroup_line.h). Barriers: of the SIMD-group, as the functions
// say. The host promises: its lanes take the matrix; without vectors `left` and `right` are not touched.
template <typename Storage, int entries>
[[kernel, max_total_threads_per_threadgroup(limits::simd_width)]] void svd_recovering(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], constant long& parts [[buffer(14)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  constexpr int float4s = limits::simdgroup_recovering_bytes(entries, sizeof(T), sizeof(T) / 4, 1) / 16;
  threadgroup float4 boxes[float4s];
  threadgroup int origins[2 * limits::simd_width];
  threadgroup int places[2 * limits::simd_width];
  threadgroup float taus[2 * limits::simd_width];
  threadgroup T turns[2 * limits::simd_width];
  threadgroup T diagonals[2 * limits::simd_width];
  const LineMemory memory = make_line_memory(boxes, float4s, origins, nullptr);
  const Workspace<T> work = make_workspace<T>(places, turns, taus, diagonals);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Stand<false> stand = make_stand<false>(shape, int(parts), memory, team);
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_one<Storage, entries>(tensors, scratch, threadgroup_index, batch_stride, shape, work, stand);
}

// Grid: a threadgroup a matrix, of the SIMD-groups that its line takes. Ownership and promises as above, and besides:
// of what reflectors are made of and what is kept of them the first SIMD-group is the owner.
template <typename Storage, int entries>
[[kernel, max_total_threads_per_threadgroup(limits::simdgroup_spread_threads)]] void svd_recoverings(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], constant long& parts [[buffer(14)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  constexpr int float4s = limits::simdgroup_recovering_tile(entries, sizeof(T)) / 16;
  threadgroup float4 boxes[float4s];
  threadgroup int origins[limits::simdgroup_recovering_most];
  threadgroup int places[limits::simdgroup_recovering_most];
  threadgroup float taus[limits::simdgroup_recovering_most];
  threadgroup T turns[limits::simdgroup_recovering_most];
  threadgroup T diagonals[limits::simdgroup_recovering_most];
  threadgroup uint marks[limits::simdgroups_per_threadgroup];
  const LineMemory memory = make_line_memory(boxes, float4s, origins, marks);
  const Workspace<T> work = make_workspace<T>(places, turns, taus, diagonals);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Stand<true> stand = make_stand<true>(shape, int(parts), memory, team);
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_one<Storage, entries>(tensors, scratch, threadgroup_index, batch_stride, shape, work, stand);
}

}  // namespace metalsvd
