// Method `block`: the rotations of a pair of blocks, from its Gram matrix, by one threadgroup.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_gram.h"
#include "common/pairs.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/team.h"
#include "threadgroup_sweep.h"

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

inline Tolerances make_block_tolerances(int rows, Blocks blocks) {
  Tolerances tolerances;
  tolerances.cosine = jacobi_tolerance(rows);
  tolerances.small = precise::sqrt(precise::divide(tolerances.cosine, 2.0f * float(padded_columns(blocks))));
  return tolerances;
}

// What there is to rotate in G, told to every thread. Two barriers.
template <typename T>
inline uint look_for_rotations(threadgroup const T* G, Meetings meetings, Tolerances tolerances,
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
    const float size = magnitude(G[index]);
    const float cosine_of_pair = cosine(alpha, beta, size);
    if (cosine_of_pair <= tolerances.cosine) continue;
    const float difference = fabs(beta - alpha);
    const bool is_small = max(cosine_of_pair * difference, size) <= tolerances.small * difference;
    found = max(found, uint(is_small ? found_small : found_large));
  }
  return threadgroup_max(found, slots, team);
}

template <typename T>
inline void rotate_gram(threadgroup const T* from, threadgroup T* to, Pair a, Pair c, Rotation<T> left,
                        Rotation<T> right, bool is_zeroed) {
  T pp = from[c.p * gram_stride + a.p];
  T qp = from[c.p * gram_stride + a.q];
  T pq = from[c.q * gram_stride + a.p];
  T qq = from[c.q * gram_stride + a.q];
  rotate_entries(pp, pq, right);
  rotate_entries(qp, qq, right);
  pp = conjugate(pp), qp = conjugate(qp), pq = conjugate(pq), qq = conjugate(qq);
  rotate_entries(pp, qp, left);
  rotate_entries(pq, qq, left);
  if (is_zeroed) qp = pq = from_real<T>(0.0f);
  to[c.p * gram_stride + a.p] = conjugate(pp);
  to[c.p * gram_stride + a.q] = conjugate(qp);
  to[c.q * gram_stride + a.p] = conjugate(pq);
  to[c.q * gram_stride + a.q] = conjugate(qq);
}

// Columns `pair` of J, entry `row`. What is held is J - I: a product of small rotations keeps its digits, and columns
// that it multiplies keep their length to much less than the rounding error of one entry of J.
template <typename T>
inline void rotate_product(threadgroup T* J_minus_I, Pair pair, Rotation<T> rotation, int row) {
  const T p = J_minus_I[pair.p * gram_stride + row];
  const T q = J_minus_I[pair.q * gram_stride + row];
  const T x = p + from_real<T>(row == pair.p ? 1.0f : 0.0f);
  const T y = q + from_real<T>(row == pair.q ? 1.0f : 0.0f);
  const T change_p = multiply(-conjugate(rotation.sigma), multiply_add(rotation.sigma_by_1pc, x, y));
  const T change_q = multiply(rotation.sigma, multiply_add(-conjugate(rotation.sigma_by_1pc), y, x));
  J_minus_I[pair.p * gram_stride + row] = p + change_p;
  J_minus_I[pair.q * gram_stride + row] = q + change_q;
}

// One cyclic sweep of two-sided Jacobi over G: G = J^H G J and J_minus_I with it, a step reading G from one of two
// buffers and writing it to the other. Returns the buffer that it stands in. Thread a + 16 c owns the 2x2 entries where
// rows of pair a meet columns of pair c, and of J the columns of pair c in rows a and a + 16; the rotation of pair a is
// found by every half of a SIMD-group, that of pair c is told by the lane that has found it. One barrier a step.
template <typename T>
inline threadgroup T* sweep_gram(threadgroup T* from, threadgroup T* to, threadgroup T* J_minus_I, Meetings meetings,
                                 float tolerance, Team team) {
  const int a = team.index % limits::block_columns;
  const int c = team.index / limits::block_columns;
  const int steps = step_count(meetings);
  for (int step = 0; step < steps; ++step) {
    const Pair left = pair_of_step(meetings, step, a < meetings.width ? a : 0);
    const Pair right = pair_of_step(meetings, step, c < meetings.width ? c : 0);
    const float alpha = real_part(from[left.p * gram_stride + left.p]);
    const float beta = real_part(from[left.q * gram_stride + left.q]);
    const T gamma = from[left.q * gram_stride + left.p];
    Rotation<T> rotation;
    rotation.sigma = from_real<T>(0.0f);
    rotation.sigma_by_1pc = from_real<T>(0.0f);
    const bool rotates = needs_rotation(alpha, beta, gamma, tolerance);
    if (rotates) rotation = orthogonalizing_rotation(alpha, beta, gamma);
    Rotation<T> other;
    other.sigma = simd_shuffle(rotation.sigma, ushort(c));
    other.sigma_by_1pc = simd_shuffle(rotation.sigma_by_1pc, ushort(c));
    if (a < meetings.width && c < meetings.width) {
      rotate_gram(from, to, left, right, rotation, other, rotates && a == c);
    }
    if (c < meetings.width) {
      rotate_product(J_minus_I, right, other, a);
      rotate_product(J_minus_I, right, other, a + limits::block_columns);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    threadgroup T* const old = from;
    from = to;
    to = old;
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

// What a threadgroup keeps while it works on a pair of blocks: 25 KiB of numbers.
template <typename T>
struct PairMemory {
  threadgroup T* tile;
  threadgroup T* G;
  threadgroup T* J_minus_I;
  threadgroup int* places;
  threadgroup uint* slots;
};

// J - I, where J makes the pair's Gram matrix G more diagonal, and the place of each column. Returns what there was to
// rotate; where it was nothing, both stay as they were. G is known to all threads, the tile free for use as the second
// buffer. Two barriers for each look at G, those of sweep_gram, and one that makes all known.
template <typename T>
inline uint solve(PairMemory<T> memory, Meetings meetings, Tolerances tolerances, Team team) {
  const uint found = look_for_rotations<T>(memory.G, meetings, tolerances, memory.slots, team);
  if (found == found_nothing) return found;
  for (int index = team.index; index < gram_entries; index += team.threads) {
    memory.J_minus_I[index] = from_real<T>(0.0f);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup T* G = memory.G;
  bool again = true;
  for (int time = 0; time < meetings.times && again; ++time) {
    G = sweep_gram<T>(G, G == memory.G ? memory.tile : memory.G, memory.J_minus_I, meetings, tolerances.cosine, team);
    again = time + 1 < meetings.times &&
            look_for_rotations<T>(G, meetings, tolerances, memory.slots, team) != found_nothing;
  }
  const int columns = 2 * meetings.width;
  for (int j = team.index; j < columns; j += team.threads) memory.places[j] = place_in_order<T>(G, j, columns);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return found;
}

}  // namespace metalsvd
