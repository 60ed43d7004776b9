// Method `block`: the rotations of a pair of blocks, from its Gram matrix, by one threadgroup.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "block_gram.h"
#include "common/pairs.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// Which pairs of columns of a pair of blocks are met, and how often: those within a block too, or only those across.
struct Meetings {
  int width;
  bool within;
  int times;
};

inline Meetings make_meetings(int width, int round, int sweep) {
  const bool is_quick = sweep <= limits::block_quick_sweeps;
  Meetings meetings;
  meetings.width = width;
  meetings.within = round == 0 || !is_quick;
  meetings.times = is_quick ? 1 : int(limits::block_inner_sweeps);
  return meetings;
}

inline int step_count(Meetings meetings) { return meetings.within ? round_count(2 * meetings.width) : meetings.width; }

// Pair `index` < width of a step: no two share a column.
inline Pair pair_of_step(Meetings meetings, int step, int index) {
  if (meetings.within) return round_robin_pair(step, index, 2 * meetings.width);
  const int across = index + step;
  Pair pair;
  pair.p = index;
  pair.q = meetings.width + (across < meetings.width ? across : across - meetings.width);
  return pair;
}

// What there is to rotate in G, told to every thread. Two barriers.
template <typename T>
inline uint look_for_rotations(threadgroup const T* G, Meetings meetings, BlockTolerances tolerances,
                               threadgroup uint* slots, Team team) {
  uint found = found_nothing;
  for (int index = team.index; index < gram_entries; index += team.threads) {
    const int p = index % gram_stride;
    const int q = index / gram_stride;
    const bool meets =
        p < q && q < 2 * meetings.width && (meetings.within || (p < meetings.width && q >= meetings.width));
    if (!meets) continue;
    const float alpha = real_part(G[p * gram_stride + p]);
    const float beta = real_part(G[q * gram_stride + q]);
    found |= found_in_pair(alpha, beta, rough_magnitude(G[index]), tolerances);
  }
  return threadgroup_or(found, slots, team);
}

// What those who rotate J must know of a pair of columns.
template <typename T>
struct PairRotation {
  T sigma;
  T sigma_by_1pc;
  int p, q;
};

// What a threadgroup keeps while it works on a pair of blocks: 25 KiB of numbers.
template <typename T>
struct PairMemory {
  threadgroup T* tile;
  threadgroup T* G;
  threadgroup T* J_minus_I;
  threadgroup PairRotation<T>* rotations;  // of two steps
  threadgroup int* places;
  threadgroup uint* slots;
};

template <typename T>
inline PairMemory<T> make_pair_memory(threadgroup T* tile, threadgroup T* G, threadgroup T* J_minus_I,
                                      threadgroup PairRotation<T>* rotations, threadgroup int* places,
                                      threadgroup uint* slots) {
  PairMemory<T> memory;
  memory.tile = tile;
  memory.G = G;
  memory.J_minus_I = J_minus_I;
  memory.rotations = rotations;
  memory.places = places;
  memory.slots = slots;
  return memory;
}

// The rotation of a pair of columns, the identity where they are orthogonal.
template <typename T>
inline Rotation<T> choose_rotation(threadgroup const T* G, Pair pair, float tolerance) {
  Rotation<T> rotation;
  rotation.sigma = from_real<T>(0.0f);
  rotation.sigma_by_1pc = from_real<T>(0.0f);
  const float alpha = real_part(G[pair.p * gram_stride + pair.p]);
  const float beta = real_part(G[pair.q * gram_stride + pair.q]);
  const T gamma = G[pair.q * gram_stride + pair.p];
  if (needs_rotation(alpha, beta, gamma, tolerance)) rotation = orthogonalizing_rotation(alpha, beta, gamma);
  return rotation;
}

// Half of the SIMD-groups: J_a^H G J_c in all 2x2 entries where rows of pair a meet columns of pair c. Lane l finds the
// rotation of pair a = l % 16, and is told those of the pairs c that its half of the SIMD-group takes. The second half
// swaps the two rows of pair a, so that the halves meet in no bank.
template <typename T>
inline void rotate_gram(threadgroup const T* from, threadgroup T* to, threadgroup PairRotation<T>* rotations,
                        Meetings meetings, int step, float tolerance, Team team) {
  const int a = team.lane % limits::block_columns;
  const bool is_second = team.lane >= limits::block_columns;
  Pair left = pair_of_step(meetings, step, min(a, meetings.width - 1));
  Rotation<T> rotation = choose_rotation<T>(from, left, tolerance);
  if (team.index < limits::block_columns) {
    rotations[a].sigma = rotation.sigma;
    rotations[a].sigma_by_1pc = rotation.sigma_by_1pc;
    rotations[a].p = left.p;
    rotations[a].q = left.q;
  }
  const int both = left.p + left.q * gram_stride;
  Rotation<T> turned = rotation;
  if (is_second) {
    exchange(left.p, left.q);
    turned.sigma = -conjugate(rotation.sigma);
    turned.sigma_by_1pc = -conjugate(rotation.sigma_by_1pc);
  }
#pragma unroll
  for (int c0 = 0; c0 < limits::block_columns; c0 += limits::block_simdgroups) {
    const int c = c0 + 2 * team.simdgroup + (is_second ? 1 : 0);
    Rotation<T> other;
    other.sigma = simd_shuffle(rotation.sigma, ushort(c));
    other.sigma_by_1pc = simd_shuffle(rotation.sigma_by_1pc, ushort(c));
    const int both_of_other = simd_shuffle(both, ushort(c));
    if (max(a, c) >= meetings.width) continue;
    Pair right;
    right.p = both_of_other % gram_stride;
    right.q = both_of_other / gram_stride;
    T pp = from[right.p * gram_stride + left.p];
    T qp = from[right.p * gram_stride + left.q];
    T pq = from[right.q * gram_stride + left.p];
    T qq = from[right.q * gram_stride + left.q];
    rotate_entries(pp, pq, other);
    rotate_entries(qp, qq, other);
    pp = conjugate(pp), qp = conjugate(qp), pq = conjugate(pq), qq = conjugate(qq);
    rotate_entries(pp, qp, turned);
    rotate_entries(pq, qq, turned);
    to[right.p * gram_stride + left.p] = conjugate(pp);
    to[right.p * gram_stride + left.q] = conjugate(qp);
    to[right.q * gram_stride + left.p] = conjugate(pq);
    to[right.q * gram_stride + left.q] = conjugate(qq);
  }
}

// The other half, one step later: columns of J, lane l row l. What is held is J - I: a product of small rotations keeps
// its digits, and columns that it multiplies keep their length to much less than the rounding error of one entry of J.
template <typename T>
inline void rotate_product(threadgroup T* J_minus_I, threadgroup const PairRotation<T>* rotations, int width,
                           int simdgroup, int row) {
#pragma unroll
  for (int c0 = 0; c0 < limits::block_columns; c0 += limits::block_simdgroups / 2) {
    const int c = c0 + simdgroup;
    if (c >= width) continue;
    PairRotation<T> pair;
    pair.p = rotations[c].p;
    pair.q = rotations[c].q;
    pair.sigma = rotations[c].sigma;
    pair.sigma_by_1pc = rotations[c].sigma_by_1pc;
    const T p = J_minus_I[pair.p * gram_stride + row];
    const T q = J_minus_I[pair.q * gram_stride + row];
    const T x = p + from_real<T>(row == pair.p ? 1.0f : 0.0f);
    const T y = q + from_real<T>(row == pair.q ? 1.0f : 0.0f);
    const T change_p = multiply(-conjugate(pair.sigma), multiply_add(pair.sigma_by_1pc, x, y));
    const T change_q = multiply(pair.sigma, multiply_add(-conjugate(pair.sigma_by_1pc), y, x));
    J_minus_I[pair.p * gram_stride + row] = p + change_p;
    J_minus_I[pair.q * gram_stride + row] = q + change_q;
  }
}

// One cyclic sweep of two-sided Jacobi over G: G = J^H G J and J_minus_I with it, a step reading G from one of two
// buffers and writing it to the other. Returns the buffer that it stands in. One barrier a step, and one more.
template <typename T>
inline threadgroup T* sweep_gram(threadgroup T* from, threadgroup T* to, PairMemory<T> memory, Meetings meetings,
                                 float tolerance, Team team) {
  const int half_of_simdgroups = limits::block_simdgroups / 2;
  const int steps = step_count(meetings);
  for (int step = 0; step <= steps; ++step) {
    threadgroup PairRotation<T>* const now = memory.rotations + step % 2 * limits::block_columns;
    threadgroup PairRotation<T>* const before = memory.rotations + (step + 1) % 2 * limits::block_columns;
    if (team.simdgroup >= half_of_simdgroups && step > 0) {
      rotate_product(memory.J_minus_I, before, meetings.width, team.simdgroup - half_of_simdgroups, team.lane);
    }
    if (team.simdgroup < half_of_simdgroups && step < steps) {
      rotate_gram(from, to, now, meetings, step, tolerance, team);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (step < steps) exchange(from, to);
  }
  return from;
}

// Where column j stands in descending order of the squares on the diagonal of G: unsorted, matrices of small rank take
// nearly twice as many sweeps (de Rijk 1989).
template <typename T>
inline int place_in_order(threadgroup const T* G, int j, int columns) {
  // Rounding can leave a square below zero: that column still stands before those of the padding.
  const float square = max(real_part(G[j * gram_stride + j]), 0.0f);
  int place = 0;
  for (int other = 0; other < columns; ++other) {
    const float beside = max(real_part(G[other * gram_stride + other]), 0.0f);
    place += beside > square || (beside == square && other < j) ? 1 : 0;
  }
  return place;
}

// J - I, where J makes the pair's Gram matrix G more diagonal, and the place of each column. Returns what there was to
// rotate; where it was nothing, both stay as they were. G is known to all threads, the tile free for use as the second
// buffer. Two barriers for each look at G, those of sweep_gram, and one that makes all known.
template <typename T>
inline uint solve(PairMemory<T> memory, Meetings meetings, BlockTolerances tolerances, Team team) {
  const uint found = look_for_rotations<T>(memory.G, meetings, tolerances, memory.slots, team);
  if (!asks_for_rotation(found)) return found;
  for (int index = team.index; index < gram_entries; index += team.threads) {
    memory.J_minus_I[index] = from_real<T>(0.0f);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup T* G = memory.G;
  bool again = true;
  for (int time = 0; time < meetings.times && again; ++time) {
    G = sweep_gram<T>(G, G == memory.G ? memory.tile : memory.G, memory, meetings, tolerances.cosine, team);
    again = time + 1 < meetings.times &&
            (look_for_rotations<T>(G, meetings, tolerances, memory.slots, team) & found_wide) != 0u;
  }
  const int columns = 2 * meetings.width;
  for (int j = team.index; j < columns; j += team.threads) memory.places[j] = place_in_order<T>(G, j, columns);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return found;
}

}  // namespace metalsvd
