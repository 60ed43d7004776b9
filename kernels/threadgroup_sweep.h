// The sweeps of method `threadgroup` (kernels/threadgroup.h): one-sided Jacobi on W, a square matrix in threadgroup
// memory, every rotation of whose columns is made to those of Q as well.
//
// Columns are met in blocks of two. A team of lanes takes two blocks, holds their four columns of W in registers and
// makes each column of one orthogonal to each of the other; in the first round of a sweep also the two of a block.
// Memory is read and written half as often as if columns were met in pairs, and a sweep has half as many barriers.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/pairs.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// The columns that a team takes in a round: a0 a1 of one block, b0 b1 of the other. -1 where there is none: a block
// that rests, the column that an odd number of them leaves over, a team without work.
struct Four {
  int column[4];
};

inline Four four_columns(int round, int index, int columns) {
  const int blocks = (columns + 1) / 2;
  const bool has_work = 2 * index < blocks;
  const Pair pair = round_robin_pair(round, has_work ? index : 0, blocks);
  Four four;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int j = 2 * (s < 2 ? pair.p : pair.q) + s % 2;
    four.column[s] = has_work && j < columns ? j : -1;
  }
  return four;
}

// The rows of W that a lane of a team owns: row lane + 8 t is held in register t.
struct Rows {
  int lane;  // in the team
  int held;  // registers that are used
};

inline Rows make_rows(int rows, Team team) {
  Rows result;
  result.lane = lane_in_team(team);
  result.held = (rows - result.lane + limits::team_lanes - 1) / limits::team_lanes;
  return result;
}

// This lane's entries of the four columns of W.
template <typename T, int entries>
struct Held {
  T x[4][entries];
};

template <typename T, int entries>
inline void load_held(threadgroup const T* W, int stride, Four four, Rows rows, thread Held<T, entries>& held) {
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    threadgroup const T* column = W + max(four.column[s], 0) * stride + rows.lane;
    const int count = four.column[s] >= 0 ? rows.held : 0;
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      held.x[s][t] = t < count ? column[t * limits::team_lanes] : from_real<T>(0.0f);
    }
  }
}

template <typename T, int entries>
inline void store_held(thread const Held<T, entries>& held, threadgroup T* W, int stride, Four four, Rows rows) {
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    threadgroup T* column = W + max(four.column[s], 0) * stride + rows.lane;
    const int count = four.column[s] >= 0 ? rows.held : 0;
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      if (t < count) column[t * limits::team_lanes] = held.x[s][t];
    }
  }
}

inline float2 packed(Rotation<float> rotation) { return float2(rotation.sigma, rotation.sigma_by_1pc); }
inline float4 packed(Rotation<float2> rotation) { return float4(rotation.sigma, rotation.sigma_by_1pc); }
inline Rotation<float> unpacked(float2 words) {
  Rotation<float> rotation;
  rotation.sigma = words.x;
  rotation.sigma_by_1pc = words.y;
  return rotation;
}
inline Rotation<float2> unpacked(float4 words) {
  Rotation<float2> rotation;
  rotation.sigma = float2(words.x, words.y);
  rotation.sigma_by_1pc = float2(words.z, words.w);
  return rotation;
}

// Makes columns p and q orthogonal, and r and s: tells every lane of the team the two rotations. One half of its lanes
// sums up and finds the first, the other the second. Called by all lanes of a SIMD-group.
template <int p, int q, int r, int s, typename T, int entries>
inline uint orthogonalize_two(thread Held<T, entries>& held, Rows rows, Tolerances tolerances,
                              thread Rotation<T>& first, thread Rotation<T>& second) {
  float2 squares = float2(0.0f, 0.0f);
  float2 other_squares = float2(0.0f, 0.0f);
  T dot = from_real<T>(0.0f);
  T other_dot = from_real<T>(0.0f);
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    squares.x = square_add(held.x[p][t], squares.x);
    squares.y = square_add(held.x[q][t], squares.y);
    dot = multiply_add(conjugate(held.x[p][t]), held.x[q][t], dot);
    other_squares.x = square_add(held.x[r][t], other_squares.x);
    other_squares.y = square_add(held.x[s][t], other_squares.y);
    other_dot = multiply_add(conjugate(held.x[r][t]), held.x[s][t], other_dot);
  }
  const bool is_second = rows.lane >= limits::team_lanes / 2;
  if (is_second) {
    exchange(squares, other_squares);
    exchange(dot, other_dot);
  }
  squares += simd_shuffle_xor(other_squares, ushort(limits::team_lanes / 2));
  dot += simd_shuffle_xor(other_dot, ushort(limits::team_lanes / 2));
#pragma unroll
  for (int distance = 1; distance < limits::team_lanes / 2; distance *= 2) {
    squares += simd_shuffle_xor(squares, ushort(distance));
    dot += simd_shuffle_xor(dot, ushort(distance));
  }

  Rotation<T> rotation;
  rotation.sigma = from_real<T>(0.0f);
  rotation.sigma_by_1pc = from_real<T>(0.0f);
  const uint found = found_in_pair(squares.x, squares.y, rough_magnitude(dot), tolerances);
  if (found != found_nothing) rotation = orthogonalizing_rotation(squares.x, squares.y, dot);
  const Rotation<T> other = unpacked(simd_shuffle_xor(packed(rotation), ushort(limits::team_lanes / 2)));
  first = rotation;
  second = other;
  if (is_second) exchange(first, second);
#pragma unroll
  for (int t = 0; t < entries; ++t) {
    rotate_entries(held.x[p][t], held.x[q][t], first);
    rotate_entries(held.x[r][t], held.x[s][t], second);
  }
  return max(found, simd_shuffle_xor(found, ushort(limits::team_lanes / 2)));
}

// The rotations that a team makes in a round: within the blocks, a0 a1 and b0 b1, in the first one only; then a0 b0 and
// a1 b1; then a0 b1 and a1 b0.
template <typename T>
struct Rotations {
  bool within;
  Rotation<T> a0_a1, b0_b1, a0_b0, a1_b1, a0_b1, a1_b0;
};

// Makes them on an entry of each of the four columns.
template <typename T>
inline void rotate_row(thread T* x, thread const Rotations<T>& rotations) {
  if (rotations.within) {
    rotate_entries(x[0], x[1], rotations.a0_a1);
    rotate_entries(x[2], x[3], rotations.b0_b1);
  }
  rotate_entries(x[0], x[2], rotations.a0_b0);
  rotate_entries(x[1], x[3], rotations.a1_b1);
  rotate_entries(x[0], x[3], rotations.a0_b1);
  rotate_entries(x[1], x[2], rotations.a1_b0);
}

// Four columns of Q, of any address space. Those that are missing are zero, and stay as they are.
template <typename Pointer>
struct FourPointers {
  Pointer column[4];
  bool is_there[4];
};

template <typename T, typename Pointer>
inline void load_row(FourPointers<Pointer> four, int i, bool is_there, thread T* x) {
#pragma unroll
  for (int s = 0; s < 4; ++s) x[s] = is_there && four.is_there[s] ? four.column[s][i] : from_real<T>(0.0f);
}

template <typename T, typename Pointer>
inline void store_row(FourPointers<Pointer> four, int i, bool is_there, thread const T* x) {
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    if (is_there && four.is_there[s]) four.column[s][i] = x[s];
  }
}

// On rows [0, rows) of Q, two at a time, which hides some of their latency.
template <typename Pointer, typename T>
inline void rotate_four(Pointer Q, int stride, int rows, Four four, thread const Rotations<T>& rotations, int lane) {
  FourPointers<Pointer> columns;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    columns.is_there[s] = four.column[s] >= 0;
    columns.column[s] = Q + stride * max(four.column[s], 0);
  }
  for (int i = lane; i < rows; i += 2 * limits::team_lanes) {
    const int next = i + limits::team_lanes;
    T x[4];
    T y[4];
    load_row(columns, i, true, x);
    load_row(columns, next, next < rows, y);
    rotate_row(x, rotations);
    rotate_row(y, rotations);
    store_row(columns, i, true, x);
    store_row(columns, next, next < rows, y);
  }
}

// Q of a sweep: rows [0, staged_rows) in threadgroup memory, the others in device memory; none without vectors. Column
// k of it is column pivots[k] of both parts.
template <typename T>
struct SplitMatrix {
  threadgroup T* staged;
  int staged_stride;
  int staged_rows;
  device T* rest;
  int rest_stride;
  int rest_rows;
  threadgroup const uint* pivots;
};

template <bool is_split, typename T>
inline void rotate_split(SplitMatrix<T> Q, Four four, thread const Rotations<T>& rotations, int lane) {
  Four places;
#pragma unroll
  for (int s = 0; s < 4; ++s) places.column[s] = four.column[s] >= 0 ? int(Q.pivots[four.column[s]]) : -1;
  rotate_four(Q.staged, Q.staged_stride, Q.staged_rows, places, rotations, lane);
  if (is_split) rotate_four(Q.rest, Q.rest_stride, Q.rest_rows, places, rotations, lane);
}

// One sweep: every pair of columns of W (columns x columns, `stride` from one to the next) once. Returns what was
// found. A barrier a round.
template <bool is_split, int entries, typename T>
inline uint sweep(threadgroup T* W, int stride, SplitMatrix<T> Q, Tolerances tolerances, int columns, Team team) {
  const int blocks = (columns + 1) / 2;
  const Rows rows = make_rows(columns, team);
  uint found = found_nothing;
  for (int round = 0; round < round_count(blocks); ++round) {
    for (int first = first_team(team); 2 * first < blocks; first += team_step(team)) {
      const Four four = four_columns(round, first + team_in_simdgroup(team), columns);
      Held<T, entries> held;
      load_held(W, stride, four, rows, held);
      Rotations<T> rotations;
      rotations.within = round == 0;
      uint found_here = found_nothing;
      if (rotations.within) {
        found_here = orthogonalize_two<0, 1, 2, 3>(held, rows, tolerances, rotations.a0_a1, rotations.b0_b1);
      }
      found_here =
          max(found_here, orthogonalize_two<0, 2, 1, 3>(held, rows, tolerances, rotations.a0_b0, rotations.a1_b1));
      found_here =
          max(found_here, orthogonalize_two<0, 3, 1, 2>(held, rows, tolerances, rotations.a0_b1, rotations.a1_b0));
      if (found_here != found_nothing) {
        found = max(found, found_here);
        store_held(held, W, stride, four, rows);
        rotate_split<is_split>(Q, four, rotations, rows.lane);
      }
    }
    if (is_split) {
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    } else {
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
  }
  return found;
}

}  // namespace metalsvd
