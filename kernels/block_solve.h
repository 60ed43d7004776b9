// Method `block`, second step of a round: the rotations of a pair of blocks, from its Gram matrix.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "common/power_of_two.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// What the threads of one round of rotations must know of a pair of columns of the Gram matrix.
template <typename T>
struct SolvePair {
  Rotation<T> rotation;
  int p, q;
  bool rotates;
};

// [x y] J of one row.
template <typename T>
inline void rotate_row(thread T& x, thread T& y, Rotation<T> rotation) {
  const T p = x;
  const T q = y;
  x = multiply_add(-conjugate(rotation.sigma), multiply_add(rotation.sigma_by_1pc, p, q), p);
  y = multiply_add(rotation.sigma, multiply_add(-conjugate(rotation.sigma_by_1pc), q, p), q);
}

// The rotation that zeroes entry (p, q) of the Gram matrix G, where it is not zero to working accuracy.
template <typename T>
inline SolvePair<T> choose_rotation(threadgroup const T* G, Pair pair, int columns, float tolerance) {
  SolvePair<T> chosen;
  chosen.p = pair.p;
  chosen.q = pair.q;
  const float alpha = real_part(G[pair.p * columns + pair.p]);
  const float beta = real_part(G[pair.q * columns + pair.q]);
  const T gamma = G[pair.q * columns + pair.p];
  chosen.rotates = needs_rotation(alpha, beta, gamma, tolerance);
  if (chosen.rotates) chosen.rotation = orthogonalizing_rotation(alpha, beta, gamma);
  return chosen;
}

// G = J_a^H G J_c in the 2x2 entries where rows of pair `a` meet columns of pair `c`, and their mirror image.
template <typename T>
inline void rotate_gram(threadgroup T* G, SolvePair<T> a, SolvePair<T> c, bool is_diagonal, int columns) {
  T pp = G[c.p * columns + a.p];
  T qp = G[c.p * columns + a.q];
  T pq = G[c.q * columns + a.p];
  T qq = G[c.q * columns + a.q];
  if (c.rotates) {
    rotate_row(pp, pq, c.rotation);
    rotate_row(qp, qq, c.rotation);
  }
  if (a.rotates) {
    pp = conjugate(pp), qp = conjugate(qp), pq = conjugate(pq), qq = conjugate(qq);
    rotate_row(pp, qp, a.rotation);
    rotate_row(pq, qq, a.rotation);
    pp = conjugate(pp), qp = conjugate(qp), pq = conjugate(pq), qq = conjugate(qq);
  }
  if (is_diagonal) {
    pp = from_real<T>(real_part(pp));
    qq = from_real<T>(real_part(qq));
    qp = pq = from_real<T>(0.0f);
  }
  G[c.p * columns + a.p] = pp;
  G[c.p * columns + a.q] = qp;
  G[c.q * columns + a.p] = pq;
  G[c.q * columns + a.q] = qq;
  if (is_diagonal) return;
  G[a.p * columns + c.p] = conjugate(pp);
  G[a.q * columns + c.p] = conjugate(qp);
  G[a.p * columns + c.q] = conjugate(pq);
  G[a.q * columns + c.q] = conjugate(qq);
}

// Columns `pair` of J, entry `row`. What is held is J - I: a product of small rotations keeps its digits, and columns
// that it multiplies keep their length to much less than the rounding error of one entry of J.
template <typename T>
inline void rotate_product(threadgroup T* J_minus_I, SolvePair<T> pair, int row, int columns) {
  const T p = J_minus_I[pair.p * columns + row];
  const T q = J_minus_I[pair.q * columns + row];
  const T x = p + from_real<T>(row == pair.p ? 1.0f : 0.0f);
  const T y = q + from_real<T>(row == pair.q ? 1.0f : 0.0f);
  const Rotation<T> rotation = pair.rotation;
  const T change_p = multiply(-conjugate(rotation.sigma), multiply_add(rotation.sigma_by_1pc, x, y));
  const T change_q = multiply(rotation.sigma, multiply_add(-conjugate(rotation.sigma_by_1pc), y, x));
  J_minus_I[pair.p * columns + row] = p + change_p;
  J_minus_I[pair.q * columns + row] = q + change_q;
}

// J - I = what block_inner_sweeps cyclic sweeps of Jacobi rotate the Gram matrix G of `width` pairs of columns by, and
// G more diagonal. Returns whether J is not the identity. J_minus_I is zero, and a barrier has been passed. Thread k <
// width chooses the rotation of the k-th pair of columns; thread (a, c) then owns what is left of 2x2 entries of G, and
// of J, until the next barrier. Two barriers a round of a sweep, and two where the threadgroup agrees.
template <typename T>
inline bool diagonalize(threadgroup T* G, threadgroup T* J_minus_I, threadgroup SolvePair<T>* pairs,
                        threadgroup uint* slots, int width, float tolerance, Team team) {
  const int columns = 2 * width;
  const int a = team.index % width;
  const int c = team.index / width;
  bool any = false;
  bool again = true;
  for (int i = 0; i < limits::block_inner_sweeps && again; ++i) {
    bool rotated = false;
    for (int step = 0; step < round_count(columns); ++step) {
      if (team.index < width) {
        const SolvePair<T> chosen =
            choose_rotation<T>(G, round_robin_pair(step, team.index, columns), columns, tolerance);
        rotated = rotated || chosen.rotates;
        pairs[team.index] = chosen;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (c < width) {
        const SolvePair<T> left = pairs[a];
        const SolvePair<T> right = pairs[c];
        if (a <= c && (left.rotates || right.rotates)) rotate_gram(G, left, right, a == c, columns);
        if (right.rotates) {
          rotate_product(J_minus_I, right, 2 * a, columns);
          rotate_product(J_minus_I, right, 2 * a + 1, columns);
        }
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    again = threadgroup_max(rotated ? 1u : 0u, slots, team) > 0u;
    any = any || again;
  }
  return any;
}

// Where column j stands in descending order of the squares on the diagonal of G: unsorted, matrices of small rank take
// nearly twice as many sweeps (de Rijk 1989).
template <typename T>
inline int place_in_order(threadgroup const T* G, int j, int columns) {
  // Rounding can leave a square below zero: that column still stands before those of the padding.
  const float square = max(real_part(G[j * columns + j]), 0.0f);
  int place = 0;
  for (int other = 0; other < columns; ++other) {
    const float beside = max(real_part(G[other * columns + other]), 0.0f);
    place += beside > square || (beside == square && other < j) ? 1 : 0;
  }
  return place;
}

// rotations[pair] = J - I, where J makes the pair's Gram matrix more diagonal; rotates[pair] = whether J is not the
// identity, in which case state_sweep asks for one more sweep; and places[pair] = where each column then goes, to stand
// in descending order.
//
// Grid: a threadgroup of block_threads a matrix and pair. Ownership: entries of G are dealt to all threads when they
// are loaded and stored; between, that of diagonalize. Barriers: one before the sweeps, then those of diagonalize. The
// host promises: as for block_gram, whose partial sums are added chunk after chunk. Threadgroups of one matrix meet in
// state_sweep only, which is atomic, and which all of them raise to the same number.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_solve(
    device const T* partials [[buffer(0)]], device T* rotations [[buffer(1)]], device int* rotates [[buffer(2)]],
    device int* places [[buffer(3)]], device atomic_int* states [[buffer(4)]], constant long& rows [[buffer(5)]],
    constant long& width [[buffer(6)]], constant long& block_count [[buffer(7)]], constant long& chunks [[buffer(8)]],
    constant long& round [[buffer(9)]], constant long& sweep [[buffer(10)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup T G[limits::block_pair_columns * limits::block_pair_columns];
  threadgroup T J_minus_I[limits::block_pair_columns * limits::block_pair_columns];
  threadgroup SolvePair<T> pairs[limits::block_columns];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Blocks blocks = make_blocks(width, block_count);
  const PairTask task = make_pair_task(group, 1, int(round), blocks);
  states += task.matrix * state_words + state_sweep;
  if (atomic_load_explicit(states, memory_order_relaxed) < int(sweep)) return;
  const int columns = 2 * blocks.width;
  partials += task.pair * chunks * columns * columns;
  rotations += task.pair * columns * columns;

  for (int index = team.index; index < columns * columns; index += team.threads) {
    const int p = index % columns;
    const int q = index / columns;
    J_minus_I[index] = from_real<T>(0.0f);
    if (p > q) continue;
    T sum = from_real<T>(0.0f);
    for (long chunk = 0; chunk < chunks; ++chunk) sum += partials[chunk * columns * columns + index];
    G[q * columns + p] = sum;
    if (p < q) G[p * columns + q] = conjugate(sum);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const bool any = diagonalize<T>(G, J_minus_I, pairs, slots, blocks.width, jacobi_tolerance(int(rows)), team);
  if (team.index == 0) {
    rotates[task.pair] = any ? 1 : 0;
    if (any) atomic_fetch_max_explicit(states, int(sweep) + 1, memory_order_relaxed);
  }
  if (!any) return;
  for (int j = team.index; j < columns; j += team.threads) {
    places[task.pair * columns + j] = place_in_order<T>(G, j, columns);
  }
  for (int index = team.index; index < columns * columns; index += team.threads) rotations[index] = J_minus_I[index];
}

}  // namespace metalsvd
