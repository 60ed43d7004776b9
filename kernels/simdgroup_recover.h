// The recovering kernels of method `simdgroup`: one-sided Jacobi in registers without Q, one matrix a threadgroup.
//
// B Pi = Q R and W = R^H, as in kernels/simdgroup.h, whose lines and sweeps these are. But what the sweeps turn is W
// alone: W J = Pi V diag(sigma), and P is recovered afterwards from B V = P diag(sigma), as in kernels/tall_recover.h:
// its columns are orthogonal but for rounding errors of the largest, and a QR factorisation of them in the order of the
// singular values makes them so. Both factorisations are by modified Gram-Schmidt, of which the first needs R alone and
// the second meets columns that are orthogonal already; where singular values are 2^16 apart and more, it is by
// reflectors. All that takes as long as three or four sweeps. But with nothing below W a lane has registers for twice
// as many entries of it, and less of the work is finding rotations, telling columns and waiting.
//
// Complex columns are held and met in pairs, up to 32 entries of each a lane; few matrices leave a GPU waiting, so that
// kernels of fewer entries a lane, which give the same bits, take these. Real ones are held in pairs of blocks: of up
// to simdgroup_eighths_most rows in eight, a matrix in one SIMD-group or where there are few in two
// (kernels/simdgroup_eighths.h); of more in a line of blocks (kernels/simdgroup_blocks.h).
//
// Lanes have up to 128 words of W and work with as many more, which a lane of an Apple GPU does not have, and A is read
// three times: the planner takes these kernels where DeviceLimits says so.
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
#include "simdgroup_blocks.h"
#include "simdgroup_eighths.h"
#include "simdgroup_factors.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"
#include "simdgroup_load.h"
#include "simdgroup_lockstep.h"
#include "simdgroup_reflect.h"
#include "simdgroup_stage.h"

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
  device T* square;         // R^H, then Pi V, in rows of width_of_square
  Lockstep lockstep;
};

inline int width_of_square(int columns) { return columns + columns % 2; }

// Without what lies in device memory.
template <typename T>
inline Workspace<T> make_workspace(threadgroup int* places, threadgroup T* turns, threadgroup float* taus,
                                   threadgroup T* diagonals) {
  Workspace<T> work;
  work.places = places;
  work.turns = turns;
  work.reflectors.taus = taus;
  work.reflectors.diagonals = diagonals;
  work.lockstep = no_lockstep();
  return work;
}

// V as it lies in device memory, of which each pair has some columns at a time.
template <typename T>
inline Factor<T> square_factor(Workspace<T> work, int columns) {
  Place place;
  place.row_stride = width_of_square(columns);
  place.column_stride = 1;
  place.conjugated = false;
  return make_factor(work.square, place, columns, columns);
}

// The places of the columns that pairs hold by their numbers, from `first` on.
template <int count, bool is_spread>
inline HeldPlaces<count> places_from(int first, Stand<is_spread> stand) {
  HeldPlaces<count> places;
  places.nonzero = stand.columns;
#pragma unroll
  for (int c = 0; c < count; ++c) places.of[c] = first + column_of<count>(c, stand);
  return places;
}

// Takes those of a factor that this pair holds by their places.
template <typename T, int entries, int count, bool is_spread>
inline void take_held(thread Held<T, entries, count>& held, Factor<T> factor, Stand<is_spread> stand) {
  clear_held(held);
#pragma unroll
  for (int c = 0; c < count; ++c) {
    const int column = column_or_none<count>(c, stand);
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = row_of(stand, t);
      if (column >= stand.columns || i >= factor.rows) continue;
      held.W[c][t] = factor.entries[i * factor.place.row_stride + column * factor.place.column_stride];
    }
  }
}

// The columns in another order, by way of what holds reflectors later.
template <typename T, int entries, int count, bool is_spread>
inline void reorder_held(thread Held<T, entries, count>& held, HeldPlaces<count> places, device T* kept,
                         Stand<is_spread> stand) {
  const int height = stand.parts * entries;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    if (places.of[c] >= stand.columns) continue;
#pragma unroll
    for (int t = 0; t < entries; ++t) kept[places.of[c] * height + row_of(stand, t)] = held.W[c][t];
  }
  device_barrier(stand);
  take_held(held, make_factor(kept, column_major_place(height), height, stand.columns), stand);
}

// W = R^H of B Pi = Q R.
template <typename Formation, typename T, int entries, int count, bool is_spread>
inline void factor_line(thread Held<T, entries, count>& held, Workspace<T> work, Stand<is_spread> stand) {
  const int width = width_of_square(stand.columns);
  float squares[count];
  measure_held(held, squares, stand);
  const HeldPlaces<count> places = rank_held<count>(squares, false, stand);
#pragma unroll
  for (int c = 0; c < count; ++c) {
    if (stand.part != 0 || places.of[c] >= stand.columns) continue;
    stand.memory.origins[places.of[c]] = column_of<count>(c, stand);
    work.places[column_of<count>(c, stand)] = places.of[c];
  }
  reorder_held(held, places, work.reflectors.kept, stand);
  orthogonalize_by_boxes(held, work.square, width, stand);
  device_barrier(stand);
#pragma unroll
  for (int c = 0; c < count; ++c) {
    const int row = column_swept<count>(c, stand, Formation());
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = row_of(stand, t);
      held.W[c][t] = from_real<T>(0.0f);
      if (i >= row && i < stand.columns) held.W[c][t] = work.square[row * width + i];
    }
  }
  device_barrier(stand);
}

// A column of W, whose norm is sigma, becomes one of V: only its length, to the last bit, is what a quotient would be.
template <typename T, int entries, int count, bool is_spread>
inline void make_right_vectors(thread Held<T, entries, count>& held, thread const float* sigmas,
                               Stand<is_spread> stand) {
#pragma unroll
  for (int c = 0; c < count; ++c) {
    const float inverse = sigmas[c] > 0.0f ? precise::divide(1.0f, sigmas[c]) : 0.0f;
#pragma unroll
    for (int t = 0; t < entries; ++t) held.W[c][t] = inverse * held.W[c][t];
  }
  float squares[count];
  measure_held(held, squares, stand);
#pragma unroll
  for (int c = 0; c < count; ++c) correct_entries<entries>(held.W[c], sigmas[c] > 0.0f ? squares[c] : 1.0f);
}

// Orthonormal ones take the places of columns `nonzero` and following of V, which are zero.
template <typename T, int entries, int count, bool is_spread>
inline void complete_right_vectors(thread Held<T, entries, count>& held, int nonzero, Workspace<T> work,
                                   Stand<is_spread> stand) {
  const Factor<T> V = square_factor(work, stand.columns);
  take_held(held, V, stand);
  factor_by_boxes(held, work.reflectors, stand);
  form_by_boxes(held, 0, work.reflectors, stand);
  store_columns(held, places_from<count>(0, stand), nonzero, stand.columns, V, stand);
  device_barrier(stand);
}

// How the columns of U are turned so that their entries of largest magnitude, the first of them where several are, are
// real and positive: here where U is V, a thread a column.
template <typename T, bool is_spread>
inline void find_turns(Workspace<T> work, Stand<is_spread> stand) {
  const int width = width_of_square(stand.columns);
  for (int k = thread_of(stand); k < stand.columns; k += threads_of(stand)) {
    float largest = 0.0f;
    int row = 0;
    T best = from_real<T>(1.0f);
    for (int i = 0; i < stand.columns; ++i) {
      const T entry = work.square[i * width + k];
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

// The numbers of a row of V for the columns of this pair: each lane reads its shares, where there are more than two.
template <int count, typename T, bool is_spread>
inline void read_row(device const T* row, thread Shares<T, count>& shares, Stand<is_spread> stand) {
  const int last = stand.columns - 1;
#pragma unroll
  for (int n = 0; n < (count > 2 ? lots_of(count) : count); ++n) {
    const int c = count > 2 ? number_in_lot(n, stand) : n;
    shares.of[n] = row[min(column_of<count>(c, stand), last)];
  }
}

// The columns become those of B V. Two barriers for each staged_columns.
template <typename Storage, typename T, int entries, int count, bool is_spread>
inline void multiply_right_vectors(Tensors<Storage> tensors, int exponent, Shape shape, Workspace<T> work,
                                   thread Held<T, entries, count>& held, Stand<is_spread> stand) {
  const int width = width_of_square(stand.columns);
  clear_held(held);
  for (int first = 0; first < shape.columns; first += staged_columns) {
    stage_columns<entries, T>(tensors, first, exponent, shape, stand);
    group_barrier(stand);
    for (int begin = 0; begin < staged_columns; begin += multiplied_columns) {
      Shares<T, count> rows[multiplied_columns];
#pragma unroll
      for (int b = 0; b < multiplied_columns; ++b) {
        const int j = min(first + begin + b, shape.columns - 1);
        read_row(work.square + work.places[j] * width, rows[b], stand);
      }
#pragma unroll
      for (int b = 0; b < multiplied_columns; ++b) {
        T of_V[count];
        values_of_shares(rows[b], of_V, stand);
        threadgroup T* column = column_box<entries, T>(begin + b, stand);
        threadgroup const float4* part = part_of_column<entries, T>(column, stand);
#pragma unroll
        for (int c = 0; c < count; ++c) add_box<entries>(part, of_V[c], held.W[c]);
      }
    }
    group_barrier(stand);
  }
}

// Columns that are orthogonal to the others become those of P. Where they come from reflectors they have the phase of
// R.
template <typename Storage, typename T, int entries, int count, bool is_spread>
inline void make_left_vectors(thread Held<T, entries, count>& held, bool reflects, Factor<Storage> P, bool is_of_U,
                              Workspace<T> work, Stand<is_spread> stand) {
  float squares[count];
  measure_held(held, squares, stand);
#pragma unroll
  for (int c = 0; c < count; ++c) {
    const int column = column_or_none<count>(c, stand);
    const int k = min(column, stand.columns - 1);
    const T diagonal = reflects ? work.reflectors.diagonals[k] : from_real<T>(1.0f);
    const T unit = magnitude(diagonal) > 0.0f ? phase(diagonal) : from_real<T>(1.0f);
    const T of_P = conjugate(phase_of_entries<entries>(held.W[c], P, stand));
    if (is_of_U && column < stand.columns && stand.part == 0) work.turns[k] = multiply(of_P, conjugate(unit));
    const float inverse = squares[c] > 0.0f ? precise::divide(1.0f, precise::sqrt(squares[c])) : 0.0f;
    const T turn = inverse * (is_of_U ? of_P : multiply(work.turns[k], unit));
#pragma unroll
    for (int t = 0; t < entries; ++t) held.W[c][t] = multiply(turn, held.W[c][t]);
  }
  measure_held(held, squares, stand);
#pragma unroll
  for (int c = 0; c < count; ++c) correct_entries<entries>(held.W[c], squares[c]);
}

// The columns of V, turned, their rows as B has them. Two barriers for each staged_columns.
template <int entries, typename Storage, typename T, bool is_spread>
inline void store_right_vectors(Factor<Storage> V, Workspace<T> work, Stand<is_spread> stand) {
  const int width = width_of_square(stand.columns);
  const Walk walk = make_walk(false, stand);
  for (int first = 0; first < stand.columns; first += staged_columns) {
    const int column = first + walk.column;
    threadgroup T* const box = column_box<entries, T>(walk.column, stand);
    for (int i = walk.row; i < stand.columns && column < stand.columns; i += walk.step) {
      box[place_of_row<entries, T>(stand.memory.origins[i], stand)] =
          multiply(work.turns[column], work.square[i * width + column]);
    }
    group_barrier(stand);
    store_boxes<entries, T>(first, stand.columns, V, stand);
    group_barrier(stand);
  }
}

// Whether the columns of B V, with these norms, could be too dependent for modified Gram-Schmidt: they are orthogonal
// to rounding errors of the largest, and what is lost besides is as much as those come to beside the smallest.
template <int count, bool is_spread>
inline bool are_dependent(thread const float* sigmas, HeldPlaces<count> places, Stand<is_spread> stand) {
  float largest = 0.0f;
#pragma unroll
  for (int c = 0; c < count; ++c) largest = max(largest, sigmas[c]);
  const float least = power_of_two(-16) * as_type<float>(max_over_group(as_type<int>(largest), stand));
  bool has_small = false;
#pragma unroll
  for (int c = 0; c < count; ++c) has_small = has_small || (places.of[c] < stand.columns && sigmas[c] <= least);
  return where_it_holds(has_small, stand).in_group;
}

// P and V from the columns of W that the sweeps have left, given their places: V, where columns of W count as zero with
// those that the others leave; B V, of which P is made; and what full matrices have besides.
template <typename Storage, typename T, int entries, int count, bool is_spread>
inline void recover_factors(thread Held<T, entries, count>& held, thread const float* sigmas, HeldPlaces<count> places,
                            int exponent, Tensors<Storage> tensors, Shape shape, Workspace<T> work,
                            Stand<is_spread> stand) {
  const Factor<Storage> P = make_factor(tensors.left, left_place(shape), shape.rows, shape.left_columns);
  const Factor<Storage> V = make_factor(tensors.right, right_place(shape), shape.columns, shape.columns);
  const bool reflects = are_dependent<count>(sigmas, places, stand);
  make_right_vectors(held, sigmas, stand);
  store_columns(held, places, 0, shape.columns, square_factor(work, shape.columns), stand);
  device_barrier(stand);
  if (places.nonzero < shape.columns) complete_right_vectors(held, places.nonzero, work, stand);
  int first = 0;  // column of P
  while (first < shape.left_columns) {
    const bool are_of_B = first == 0;
    const int behind = are_of_B ? shape.columns : min(first + count * stand.pairs_in_line, shape.left_columns);
    keep_step(work.lockstep);
    if (are_of_B) multiply_right_vectors(tensors, exponent, shape, work, held, stand);
    keep_step(work.lockstep);
    if (!are_of_B || reflects) {
      if (first <= shape.columns) factor_by_boxes(held, work.reflectors, stand);
      form_by_boxes(held, first, work.reflectors, stand);
    } else {
      orthogonalize_by_boxes(held, (device T*)nullptr, 0, stand);
    }
    if (are_of_B) {
      if (shape.transposed) find_turns(work, stand);
      group_barrier(stand);
      make_left_vectors(held, reflects, P, !shape.transposed, work, stand);
    }
    store_columns(held, places_from<count>(first, stand), first, behind, P, stand);
    first = behind;
  }
  store_right_vectors<entries>(V, work, stand);
}

// The matrix of a threadgroup, in lanes that hold so many columns.
template <typename Formation, typename Storage, int entries, int count, bool is_spread>
inline void factor_alone(Tensors<Storage> tensors, Shape shape, Workspace<typename StorageTraits<Storage>::Number> work,
                         Stand<is_spread> stand) {
  typedef typename StorageTraits<Storage>::Number T;
  const uint largest = largest_entry<entries, T>(tensors, shape, stand);
  // Of all lanes or of none, which a compiler should know: shuffles in lanes that may have gone apart are branches.
  const bool is_finite = simd_all(largest < not_finite_bits);
  work.lockstep = kept_where_all_go_on(is_finite, stand.lane, work.lockstep);
  if (!is_finite) {
    store_nan(tensors.left, tensors.S, tensors.right, shape, thread_of(stand), threads_of(stand));
    if (thread_of(stand) == 0) *tensors.info = info_not_finite;
    return;
  }
  const int exponent = largest > 0u ? limits::scaled_exponent - exponent_of(largest) : 0;
  Held<T, entries, count> held;
  load_held(tensors, exponent, shape, held, stand);
  keep_step(work.lockstep);
  factor_line<Formation>(held, work, stand);
  keep_step(work.lockstep);

  const Tolerances tolerances = make_tolerances(shape.columns, shape.columns);
  bool is_unfinished = true;
  int sweeps = 0;
  for (; sweeps < limits::jacobi_max_sweeps && is_unfinished; ++sweeps) {
    const uint found = sweep_held(held, sweeps, tolerances, stand, Formation());
    is_unfinished = where_it_holds(found == found_large, stand).in_group;
  }
  keep_step(work.lockstep);
  if (thread_of(stand) == 0) *tensors.info = is_unfinished ? info_not_converged : info_ok;

  float sigmas[count];
  norms_of_held(held, sigmas, stand);
  const HeldPlaces<count> places = rank_held<count>(sigmas, sweeps % 2 != 0, stand);
  if (stand.part == 0) store_values(sigmas, places, exponent, tensors, shape);
  if (shape.left_columns > 0) recover_factors(held, sigmas, places, exponent, tensors, shape, work, stand);
}

// Its registers, its part of the memory, and what the kernel was called with from there on.
template <typename Formation, typename Storage, int entries, int count, bool is_spread>
inline void factor_one(Tensors<Storage> tensors, device typename StorageTraits<Storage>::Number* scratch, long index,
                       long batch_stride, Shape shape, Workspace<typename StorageTraits<Storage>::Number> work,
                       Stand<is_spread> stand) {
  stand.tells_Q = false;
  work.square = scratch + index * limits::simdgroup_recovering_numbers(shape.columns, stand.parts * entries);
  work.reflectors.kept = work.square + limits::simdgroup_recovering_vectors(shape.columns);
  factor_alone<Formation, Storage, entries, count>(tensors_from(tensors, index, batch_stride, shape), shape, work,
                                                   stand);
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
  const Stand<false> stand = make_stand<false>(shape, pairs_of(shape.columns, pair_columns), int(parts), memory, team);
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_one<InLine, Storage, entries, pair_columns>(tensors, scratch, threadgroup_index, batch_stride, shape, work,
                                                     stand);
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
  threadgroup int origins[limits::simdgroup_recovering_complex_most];
  threadgroup int places[limits::simdgroup_recovering_complex_most];
  threadgroup float taus[limits::simdgroup_recovering_complex_most];
  threadgroup T turns[limits::simdgroup_recovering_complex_most];
  threadgroup T diagonals[limits::simdgroup_recovering_complex_most];
  threadgroup uint marks[limits::simdgroups_per_threadgroup];
  const LineMemory memory = make_line_memory(boxes, float4s, origins, marks);
  const Workspace<T> work = make_workspace<T>(places, turns, taus, diagonals);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Stand<true> stand = make_stand<true>(shape, pairs_of(shape.columns, pair_columns), int(parts), memory, team);
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_one<InLine, Storage, entries, pair_columns>(tensors, scratch, threadgroup_index, batch_stride, shape, work,
                                                     stand);
}

// Grid: as above. Ownership: the lanes of a pair own its two blocks of columns, otherwise as above. `parts` is `lanes`.
template <typename Storage, int most_rows, int lanes>
[[kernel, max_total_threads_per_threadgroup(limits::simdgroup_block_most_threads)]] void svd_recovering_blocks(
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
  constexpr int width = limits::simdgroup_block_width(most_rows);
  constexpr int float4s = limits::simdgroup_block_tile(most_rows, sizeof(T), lanes) / 16;
  constexpr int for_reflectors = limits::simdgroup_reflectors_bytes(most_rows, sizeof(T));
  threadgroup float4 boxes[float4s];
  threadgroup int origins[most_rows];
  threadgroup int places[most_rows];
  threadgroup T turns[most_rows];
  threadgroup uint marks[limits::simdgroups_per_threadgroup];
  const LineMemory memory = make_line_memory(boxes, float4s, origins, marks);
  // Columns of B leave so much room behind them, while the sweeps need all.
  threadgroup T* const diagonals = (threadgroup T*)(boxes + (float4s - for_reflectors / 16));
  const Workspace<T> work = make_workspace<T>(places, turns, (threadgroup float*)(diagonals + most_rows), diagonals);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  Stand<true> stand = make_stand<true>(shape, pairs_of(shape.columns, 2 * width), lanes, memory, team);
  stand.rests = limits::simdgroup_block_rests(most_rows, shape.columns);
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_one<InLine, Storage, limits::simdgroup_entries(most_rows, lanes), 2 * width>(
      tensors, scratch, threadgroup_index, batch_stride, shape, work, stand);
}

// Grid: as above where a matrix takes more than one SIMD-group; else a SIMD-group a matrix, up to
// simdgroup_eighth_matrices of them a threadgroup, of which those beyond `batch` return as a whole. A pair of blocks
// (kernels/simdgroup_eighths.h) has so many lanes, which own it, otherwise as above. The host promises: `parts` is
// `lanes`.
template <typename Storage, int most_rows, int lanes>
[[kernel, max_total_threads_per_threadgroup(limits::simdgroup_eighth_most_threads)]] void svd_recovering_eighths(
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
  constexpr bool is_spread = eighth_pairs * lanes > limits::simd_width;
  constexpr int matrices = limits::simdgroup_eighth_matrices(most_rows, lanes);
  constexpr int float4s = limits::simdgroup_eighth_tile(most_rows, sizeof(T), lanes) / 16;
  threadgroup float4 boxes[matrices][float4s];
  threadgroup int origins[matrices][most_rows];
  threadgroup int places[matrices][most_rows];
  threadgroup float taus[matrices][most_rows];
  threadgroup T turns[matrices][most_rows];
  threadgroup T diagonals[matrices][most_rows];
  threadgroup uint marks[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const int matrix = is_spread ? 0 : team.simdgroup;
  const long first = long(threadgroup_index) * (is_spread ? 1 : team.simdgroups);
  if (first + matrix >= batch) return;
  const LineMemory memory = make_line_memory(boxes[matrix], float4s, origins[matrix], marks);
  Workspace<T> work = make_workspace<T>(places[matrix], turns[matrix], taus[matrix], diagonals[matrix]);
  if (!is_spread && first + team.simdgroups <= batch) work.lockstep = make_lockstep(team, marks);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Stand<is_spread> stand = make_stand<is_spread>(shape, eighth_pairs, lanes, memory, team);
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_one<InCube, Storage, limits::simdgroup_entries(most_rows, lanes), 2 * limits::simdgroup_eighth(most_rows)>(
      tensors, scratch, first + matrix, batch_stride, shape, work, stand);
}

}  // namespace metalsvd
