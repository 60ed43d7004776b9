// The kernels of method `simdgroup` that turn Q apart: one-sided Jacobi in registers as in kernels/simdgroup.h, of few
// real matrices whose columns take most of a SIMD-group, each in a threadgroup of its own. They give the same bits.
//
// The first SIMD-group holds the columns of W, which is B, in a line, two lanes a column, and finds the rotations. A
// thread of the second has a row of Q, a number for each place of the line, and makes the same rotations a round later,
// as the first SIMD-group leaves them in threadgroup memory. So rotations do not wait for Q, and nothing of it goes
// from lane to lane. For one matrix that takes two thirds of the time; for thousands it takes longer, since there are
// more instructions in all. In the end the columns of Q go to the lanes that hold those of W.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/entries.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "common/team.h"
#include "device_limits.h"
#include "simdgroup.h"
#include "simdgroup_line.h"
#include "simdgroup_load.h"
#include "simdgroup_sweep.h"

namespace metalsvd {

using namespace metal;

// The rotations of an even round and of the odd one after it, one a pair: sigma_by_1pc and sigma, zeros where there is
// none.
template <int most_columns>
struct Turns {
  float4 even[most_columns / 4];
  float4 odd[most_columns / 4];
};

// What the SIMD-groups of a matrix tell each other, and the threads that have Q themselves.
template <int most_columns>
struct ApartMemory {
  Turns<most_columns> turns[2];             // of this round and of the one before
  float Q[most_columns][most_columns + 1];  // columns, in the order of the line; padded against bank conflicts
  float missing[most_columns];              // of their lengths
  uint is_unfinished;
};

// So that there are rotations for places of the line that have no columns.
template <int most_columns>
inline void clear_turns(threadgroup ApartMemory<most_columns>& memory, Team team) {
  const int count = most_columns / 4;
  for (int index = team.index; index < 2 * count; index += team.threads) {
    threadgroup Turns<most_columns>& turns = memory.turns[index / count];
    turns.even[index % count] = float4(0.0f);
    turns.odd[index % count] = float4(0.0f);
  }
}

// Makes the columns of a pair orthogonal where they are not within the tolerance, and tells by which rotation. Returns
// what it found there. As everything waits for the rotation it is found beside the test, and made where it is none,
// which may take the sign of a zero.
template <int entries>
inline uint meet_and_tell(thread Columns<float, entries>& columns, Tolerances tolerances, threadgroup float4* turns,
                          Stand<false> stand) {
  thread float* const squares = columns.squares;
  const float dot = product_of_columns<entries>(columns.W[0], columns.W[1], stand);
  const uint found = found_in_pair(squares[0], squares[1], fabs(dot), tolerances);
  const bool is_turned = found != found_nothing;
  Rotation<float> rotation = orthogonalizing_rotation(squares[0], squares[1], dot);
  rotation.sigma = is_turned ? rotation.sigma : 0.0f;
  rotation.sigma_by_1pc = is_turned ? rotation.sigma_by_1pc : 0.0f;
  const float gain = !is_turned ? 0.0f : squares[1] > squares[0] ? -rotation.gain : rotation.gain;
  squares[0] += gain;
  squares[1] -= gain;
  rotate_all<entries>(columns.W[0], columns.W[1], rotation);
  const bool tells = has_matrix(stand) && stand.part == 0;
  if (tells) ((threadgroup float2*)turns)[stand.pair] = float2(rotation.sigma_by_1pc, rotation.sigma);
  return found;
}

// Makes on two numbers of a row of Q the rotation that a pair has told.
inline void follow_turn(thread float& x, thread float& y, threadgroup const float4* turns, int pair) {
  const float4 two = turns[pair / 2];
  Rotation<float> rotation;
  rotation.sigma_by_1pc = pair % 2 == 0 ? two.x : two.z;
  rotation.sigma = pair % 2 == 0 ? two.y : two.w;
  rotate_entries(x, y, rotation);
}

// A row of Q, whose numbers stand in the order of the line, two a pair, goes through the rotations and moves of an even
// round and of the odd one after it (simdgroup_line.h).
template <int most_columns>
inline void follow_round(thread float* row, threadgroup const Turns<most_columns>& turns, int pairs) {
  const int most_pairs = most_columns / 2;
#pragma unroll
  for (int p = 0; p < most_pairs; ++p) follow_turn(row[2 * p], row[2 * p + 1], turns.even, p);
#pragma unroll
  for (int p = 0; p < most_pairs - 1; ++p) follow_turn(row[2 * p], row[2 * p + 3], turns.odd, p);
  // The second column of each pair is that of the next, the first that of the one before; at the ends of the line they
  // take each other's place.
  const float second_of_first = row[1];
#pragma unroll
  for (int p = 0; p < most_pairs; ++p) {
    const bool is_last = p == pairs - 1 || p == most_pairs - 1;
    row[2 * p + 1] = is_last ? row[2 * p] : row[2 * min(p, most_pairs - 2) + 3];
  }
#pragma unroll
  for (int p = most_pairs - 1; p > 0; --p) row[2 * p] = row[2 * p - 2];
  row[0] = second_of_first;
}

template <int most_columns>
inline void put_row(thread const float* row, int i, threadgroup ApartMemory<most_columns>& memory) {
  if (i >= most_columns) return;
#pragma unroll
  for (int j = 0; j < most_columns; ++j) memory.Q[j][i] = row[j];
}

// Takes out of the norms of the columns of Q, whose rows the lanes of a SIMD-group have, what the rotations of a sweep
// have added: as renormalize_columns does, the sums likewise.
template <int entries, int most_columns>
inline void renormalize_rows(thread float* row, int i, threadgroup ApartMemory<most_columns>& memory) {
  put_row(row, i, memory);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  if (i < most_columns) {
    constexpr int sums = limits::simdgroup_apart_parts * limits::simdgroup_few_lanes(entries);
    PartialSums<float, sums> squares;
    clear_sums(squares);
#pragma unroll
    for (int k = 0; k < most_columns; ++k) squares.at[k % sums] = square_add(memory.Q[i][k], squares.at[k % sums]);
    memory.missing[i] = 0.5f * (1.0f - total(squares));
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (int j = 0; j < most_columns; ++j) row[j] = fma(row[j], memory.missing[j], row[j]);
}

// Makes the columns of W orthogonal, which the first SIMD-group has, and turns the rows of Q with them, which the
// threads of the second have in columns.W. A barrier a round.
template <int entries, int most_columns>
inline Swept sweep_apart(thread Columns<float, entries>& columns, Tolerances tolerances, Team team,
                         threadgroup ApartMemory<most_columns>& memory, Stand<false> stand) {
  const bool leads = team.simdgroup == 0;
  thread float* const row = columns.W[0];
  // In odd rounds the last pair is the two ends of the line, which do not meet and stay where they are.
  Tolerances in_odd_rounds = tolerances;
  if (stands_last(stand)) in_odd_rounds.cosine = INFINITY;
  Swept swept;
  swept.is_unfinished = true;
  const bool drifts = stand.columns > limits::simdgroup_steady_columns;
  int now = 0;  // which of `turns`
  for (swept.sweeps = 0; swept.sweeps < limits::jacobi_max_sweeps && swept.is_unfinished; ++swept.sweeps) {
    uint found = found_nothing;
    if (leads) squares_of_columns<entries>(columns.W, columns.squares, stand);
    for (int round = 0; round < stand.pairs_in_line; ++round) {
      if (leads) {
        found = max(found, meet_and_tell(columns, tolerances, memory.turns[now].even, stand));
        move_second_columns(columns, stand);
        found = max(found, meet_and_tell(columns, in_odd_rounds, memory.turns[now].odd, stand));
        move_first_columns(columns, stand);
        if (round == stand.pairs_in_line - 1) {
          const bool is_unfinished = simd_any(found == found_large);
          if (stand.lane == 0) memory.is_unfinished = is_unfinished ? 1u : 0u;
        }
      } else if (round + swept.sweeps > 0) {
        follow_round(row, memory.turns[1 - now], stand.pairs_in_line);
        if (round == 0 && drifts) renormalize_rows<entries>(row, stand.lane, memory);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      now = 1 - now;
    }
    swept.is_unfinished = memory.is_unfinished != 0u;
  }
  if (!leads) follow_round(row, memory.turns[1 - now], stand.pairs_in_line);
  return swept;
}

template <int most_columns, int entries>
inline void take_columns(threadgroup const ApartMemory<most_columns>& memory, thread float (*columns)[entries],
                         Stand<false> stand) {
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = row_of(stand, t);
      columns[c][t] = i < most_columns ? memory.Q[column_of<pair_columns>(c, stand)][i] : 0.0f;
    }
  }
}

// Grid: a threadgroup for each matrix, of one SIMD-group and, where there are vectors, another. Ownership: the lanes of
// the first own the columns of W, those of a pair its two, lane `part` the rows part, part + 2, ...; the threads of the
// second a row of Q each. Barriers: one a round, and two. The host promises: two lanes hold a column, and those of a
// matrix are at most a SIMD-group; without vectors `left` and `right` are not touched; `scratch` never is.
template <typename Storage, int entries>
[[kernel, max_total_threads_per_threadgroup(limits::simdgroup_apart_threads)]] void svd_simdgroup_apart(
    device const Storage* A [[buffer(0)]], device Storage* left [[buffer(1)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(2)]], device Storage* right [[buffer(3)]],
    device int* info [[buffer(4)]], device typename StorageTraits<Storage>::Number* scratch [[buffer(5)]],
    constant long& batch [[buffer(6)]], constant long& rows [[buffer(7)]], constant long& columns_of_B [[buffer(8)]],
    constant long& left_columns [[buffer(9)]], constant long& transposed [[buffer(10)]],
    constant long& batch_stride [[buffer(11)]], constant long& row_stride [[buffer(12)]],
    constant long& column_stride [[buffer(13)]], constant long& parts [[buffer(14)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int most_columns = limits::simdgroup_apart_columns(entries);
  threadgroup float4 words[limits::simdgroup_words_bytes / 16];
  threadgroup ApartMemory<most_columns> memory[1];
  const LineMemory of_line = make_line_memory(words, limits::simdgroup_words_bytes / 16, nullptr, nullptr);
  const Shape shape = make_shape(rows, columns_of_B, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Stand<false> stand = make_stand<false>(shape, pair_columns, limits::simdgroup_apart_parts, of_line, team);
  const Stand<false> of_W = with_used(stand, entries, 0);
  const Tensors<Storage> tensors = tensors_from(make_tensors(A, left, S, right, info, row_stride, column_stride),
                                                long(threadgroup_index), batch_stride, shape);
  const bool leads = team.simdgroup == 0;
  Columns<float, entries> columns;
  Loaded loaded = {false, true, 0};
  if (leads) {
    loaded = load_matrix(tensors, has_matrix(stand), shape, columns, of_W);
  } else {
#pragma unroll
    for (int j = 0; j < most_columns; ++j) columns.W[0][j] = j == team.lane ? 1.0f : 0.0f;
  }
  clear_turns(memory[0], team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const Tolerances tolerances = loaded.is_finite ? make_tolerances(shape.rows, shape.columns) : no_tolerances();
  const Swept swept = sweep_apart(columns, tolerances, team, memory[0], of_W);
  if (!leads) put_row(columns.W[0], team.lane, memory[0]);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (!leads) return;
  if (stand.q_used > 0) take_columns(memory[0], columns.Q, stand);
  finish_matrix(columns, loaded, swept, tensors, shape, stand);
}

}  // namespace metalsvd
