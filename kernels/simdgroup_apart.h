// The kernels of method `simdgroup` that turn Q apart: one-sided Jacobi in registers as in kernels/simdgroup.h, of few
// real matrices, each in a threadgroup of its own. They give the same bits.
//
// The SIMD-groups that lead, one or two, hold the columns of W, which is B, in a line, and find the rotations. Each
// thread of those that follow has a row of Q, a number for each place of the line, and makes the same rotations a round
// later, as they are left in threadgroup memory. So rotations do not wait for Q, and nothing of it goes from lane to
// lane. One matrix takes half to three quarters of the time; thousands take longer, since there are more instructions
// in all. In the end the columns of Q go to the lanes that hold those of W.
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

// What the SIMD-groups of a matrix tell each other.
template <int most_columns>
struct ApartMemory {
  Turns<most_columns> turns[2];             // of this round and of the one before
  float Q[most_columns][most_columns + 1];  // columns, in the order of the line; padded against bank conflicts
  float missing[most_columns];              // half of what their squares lack of 1
  uint is_unfinished[limits::simdgroup_apart_leaders];
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

// Where a thread that follows has its row: in the registers for columns of W and, as far as it is longer, of Q.
template <int most_columns, int entries>
inline thread float* row_in(thread Columns<float, entries>& columns) {
  static_assert(most_columns <= 2 * pair_columns * entries, "a row finds room where columns do");
  return (thread float*)&columns;
}

// What the registers of a thread are for.
struct Role {
  bool leads;   // columns of W, rather than a row of Q
  int leaders;  // SIMD-groups
  int row;
};

inline Role make_role(Team team, Shape shape) {
  const int followers = shape.left_columns > 0 ? (shape.columns + limits::simd_width - 1) / limits::simd_width : 0;
  Role role;
  role.leaders = team.simdgroups - followers;
  role.leads = team.simdgroup < role.leaders;
  role.row = (team.simdgroup - role.leaders) * limits::simd_width + team.lane;
  return role;
}

// Whether this lane holds columns of the matrix: there may be lanes for more than one.
template <bool is_spread>
inline bool has_only_matrix(Stand<is_spread> stand) {
  return has_matrix(stand) && stand.matrix == 0;
}

// Makes the columns of a pair orthogonal where they are not within the tolerance, and tells by which rotation. Returns
// what it found there. As everything waits for the rotation it is found beside the test, and made where it is none,
// which may take the sign of a zero.
template <int entries, bool is_spread>
inline uint meet_and_tell(thread Columns<float, entries>& columns, Tolerances tolerances, threadgroup float4* turns,
                          Stand<is_spread> stand) {
  thread float* const squares = columns.squares;
  const float dot = product_of_columns<entries>(columns.W[0], columns.W[1], stand);
  const uint found = found_in_pair(squares[0], squares[1], fabs(dot), tolerances);
  const bool is_turned = found != found_nothing;
  Rotation<float> rotation = orthogonalizing_rotation(squares[0], squares[1], dot);
  rotation.sigma = is_turned ? rotation.sigma : 0.0f;
  rotation.sigma_by_1pc = is_turned ? rotation.sigma_by_1pc : 0.0f;
  const float gain = gain_of_first(rotation, squares[0], squares[1], is_turned);
  squares[0] += gain;
  squares[1] -= gain;
  rotate_all<entries>(columns.W[0], columns.W[1], rotation);
  const bool tells = has_only_matrix(stand) && stand.part == 0;
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

// What column i of Q lacks. As in renormalize_columns, where lanes sum up over every so many-th row.
template <int sums, int most_columns>
inline void find_missing(int i, threadgroup ApartMemory<most_columns>& memory) {
  if (i >= most_columns) return;
  float column[most_columns];
#pragma unroll
  for (int k = 0; k < most_columns; ++k) column[k] = memory.Q[i][k];
  memory.missing[i] = 0.5f * (1.0f - square_of_entries<most_columns, sums>(column));
}

template <int most_columns>
inline void correct_row(thread float* row, threadgroup const ApartMemory<most_columns>& memory) {
#pragma unroll
  for (int j = 0; j < most_columns; ++j) row[j] = fma(row[j], memory.missing[j], row[j]);
}

// What a thread that follows does in a round, behind the first one. What the rotations of a sweep have added to the
// norms of Q is taken out in the next one, which needs barriers: of the SIMD-group where that has all rows, else those
// of the rounds.
template <int sums, bool is_spread, int most_columns>
inline void follow_first_half(thread float* row, int now, int round, bool corrects, Role role, int pairs,
                              threadgroup ApartMemory<most_columns>& memory) {
  if (is_spread && corrects && round == 1) correct_row(row, memory);
  follow_round(row, memory.turns[1 - now], pairs);
  if (!corrects || round != 0) return;
  put_row(row, role.row, memory);
  if (is_spread) return;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  find_missing<sums>(role.row, memory);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  correct_row(row, memory);
}
template <int sums, int most_columns>
inline void follow_second_half(int round, bool corrects, Role role, threadgroup ApartMemory<most_columns>& memory) {
  if (corrects && round == 0) find_missing<sums>(role.row, memory);
}

// What threads that lead do in a round. Returns what they have found so far in the sweep.
template <int entries, int most_columns, bool is_spread>
inline uint lead_first_half(thread Columns<float, entries>& columns, uint found, Tolerances tolerances,
                            threadgroup Turns<most_columns>& turns, Stand<is_spread> stand) {
  found = max(found, meet_and_tell(columns, tolerances, turns.even, stand));
  give_second_column(columns, stand);
  return found;
}
template <int entries, int most_columns, bool is_spread>
inline uint lead_second_half(thread Columns<float, entries>& columns, uint found, Tolerances tolerances, int round,
                             int now, threadgroup ApartMemory<most_columns>& memory, Stand<is_spread> stand) {
  take_second_column(columns, stand);
  found = max(found, meet_and_tell(columns, tolerances, memory.turns[now].odd, stand));
  give_first_column(columns, stand);
  if (round == stand.pairs_in_line - 1) {
    const bool is_unfinished = simd_any(found == found_large);
    if (stand.lane == 0) memory.is_unfinished[stand.simdgroup] = is_unfinished ? 1u : 0u;
  }
  return found;
}

// Makes the columns of W orthogonal, of which the threads that lead stand in a line, and turns the rows of Q with them,
// which those that follow have in their place. A barrier a round, two where lines are spread.
template <int sums, int entries, int most_columns, bool is_spread>
inline Swept sweep_apart(thread Columns<float, entries>& columns, Tolerances tolerances, Role role,
                         threadgroup ApartMemory<most_columns>& memory, Stand<is_spread> stand) {
  thread float* const row = row_in<most_columns>(columns);
  // In odd rounds the last pair is the two ends of the line, which do not meet and stay where they are.
  Tolerances in_odd_rounds = tolerances;
  if (stands_last(stand)) in_odd_rounds.cosine = INFINITY;
  const bool drifts = stand.columns > limits::simdgroup_steady_columns;
  Swept swept;
  swept.is_unfinished = true;
  int now = 0;  // which of `turns`
  for (swept.sweeps = 0; swept.sweeps < limits::jacobi_max_sweeps && swept.is_unfinished; ++swept.sweeps) {
    const bool corrects = drifts && swept.sweeps > 0;
    uint found = found_nothing;
    if (role.leads) squares_of_columns<entries>(columns.W, columns.squares, stand);
    for (int round = 0; round < stand.pairs_in_line; ++round) {
      if (role.leads) {
        found = lead_first_half(columns, found, tolerances, memory.turns[now], stand);
        if (!is_spread) {
          found = lead_second_half(columns, found, in_odd_rounds, round, now, memory, stand);
          take_first_column(columns, stand);
        }
      } else if (round + swept.sweeps > 0) {
        follow_first_half<sums, is_spread>(row, now, round, corrects, role, stand.pairs_in_line, memory);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (is_spread) {
        if (role.leads) {
          found = lead_second_half(columns, found, in_odd_rounds, round, now, memory, stand);
        } else {
          follow_second_half<sums>(round, corrects, role, memory);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (role.leads) take_first_column(columns, stand);
      }
      now = 1 - now;
    }
    swept.is_unfinished = (memory.is_unfinished[0] | memory.is_unfinished[role.leaders - 1]) != 0u;
  }
  if (!role.leads) follow_round(row, memory.turns[1 - now], stand.pairs_in_line);
  return swept;
}

template <int most_columns, int entries, bool is_spread>
inline void take_columns(threadgroup const ApartMemory<most_columns>& memory, thread float (*columns)[entries],
                         Stand<is_spread> stand) {
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      const int i = row_of(stand, t);
      columns[c][t] = i < most_columns ? memory.Q[column_of<pair_columns>(c, stand)][i] : 0.0f;
    }
  }
}

// The matrix of the threadgroup. Where lines are spread, threads that follow take part in what goes before and behind
// the sweeps, for its barriers, as lanes that hold no columns.
template <typename Storage, int entries, int parts, int most_columns, bool is_spread>
inline void factor_apart(Tensors<Storage> tensors, Shape shape, Team team, LineMemory of_line,
                         threadgroup ApartMemory<most_columns>& memory) {
  const Role role = make_role(team, shape);
  const bool takes_part = role.leads || is_spread;
  const Stand<is_spread> stand =
      make_stand<is_spread>(shape, pairs_of(shape.columns, pair_columns), parts, of_line, team);
  Team leaders = team;
  leaders.simdgroups = role.leaders;
  const Stand<is_spread> of_W = with_used(
      make_stand<is_spread>(shape, pairs_of(shape.columns, pair_columns), parts, of_line, leaders), entries, 0);
  Columns<float, entries> columns;
  Loaded loaded = {false, true, 0};
  if (takes_part) loaded = load_matrix(tensors, has_only_matrix(stand), shape, columns, stand);
  thread float* const row = row_in<most_columns>(columns);
  if (!role.leads) {
#pragma unroll
    for (int j = 0; j < most_columns; ++j) row[j] = j == role.row ? 1.0f : 0.0f;
  }
  clear_turns(memory, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const Tolerances tolerances = loaded.is_finite ? make_tolerances(shape.rows, shape.columns) : no_tolerances();
  constexpr int sums = parts * limits::simdgroup_few_lanes(entries);
  const Swept swept = sweep_apart<sums>(columns, tolerances, role, memory, of_W);
  if (!role.leads) put_row(row, role.row, memory);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (!takes_part) return;
  if (has_only_matrix(stand) && stand.q_used > 0) {
    take_columns(memory, columns.Q, stand);
  } else {
    put_unit_vectors(columns, stand);
  }
  if (!role.leads) {
#pragma unroll
    for (int t = 0; t < entries; ++t) columns.W[0][t] = columns.W[1][t] = 0.0f;
  }
  finish_matrix(columns, loaded, swept, tensors, shape, stand);
}

// Grid: a threadgroup for each matrix, of one SIMD-group and, where there are vectors, another. Ownership: the lanes of
// the first own the columns of W, those of a pair its two, lane `part` the rows part, part + 2, ...; the threads of the
// second a row of Q each. Barriers: one a round, and two. The host promises: two lanes hold a column, and those of a
// matrix are at most a SIMD-group; without vectors `left` and `right` are not touched; `scratch` never is.
template <typename Storage, int entries>
[[kernel, max_total_threads_per_threadgroup(2 * limits::simd_width)]] void svd_simdgroup_apart(
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
  constexpr int most_columns = limits::simdgroup_apart_columns(entries, 2, 1);
  threadgroup float4 words[limits::simdgroup_words_bytes / 16];
  threadgroup ApartMemory<most_columns> memory[1];
  const LineMemory of_line = make_line_memory(words, limits::simdgroup_words_bytes / 16, nullptr, nullptr);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_apart<Storage, entries, 2, most_columns, false>(
      tensors_from(tensors, long(threadgroup_index), batch_stride, shape), shape, team, of_line, memory[0]);
}

// The same where lines are spread over up to two SIMD-groups, two or four lanes a column, and up to two others have the
// rows of Q. Barriers: two a round, and those before and behind the sweeps.
template <typename Storage, int entries, int parts_of_column>
[[kernel, max_total_threads_per_threadgroup(limits::simdgroup_apart_threads)]] void svd_simdgroups_apart(
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
  constexpr int most_columns =
      limits::simdgroup_apart_columns(entries, parts_of_column, limits::simdgroup_apart_leaders);
  constexpr int float4s = limits::simdgroup_apart_boxes_bytes(entries, parts_of_column) / 16;
  threadgroup float4 boxes[float4s];
  threadgroup uint marks[limits::simdgroup_apart_threads / limits::simd_width];
  threadgroup ApartMemory<most_columns> memory[1];
  const LineMemory of_line = make_line_memory(boxes, float4s, nullptr, marks);
  const Shape shape = make_shape(rows, columns, left_columns, transposed);
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Tensors<Storage> tensors = make_tensors(A, left, S, right, info, row_stride, column_stride);
  factor_apart<Storage, entries, parts_of_column, most_columns, true>(
      tensors_from(tensors, long(threadgroup_index), batch_stride, shape), shape, team, of_line, memory[0]);
}

}  // namespace metalsvd
