// The sweeps of the recovering kernels of method `simdgroup` (kernels/simdgroup_recover.h) where the columns of a
// matrix are eight blocks, four pairs of them.
//
// Where lanes are few to a column one SIMD-group has a whole matrix, and no barrier is needed. The blocks stand at the
// corners of a cube: in each of seven rounds all meet at once, block b the block b ^ x, for x = 7, 6, ..., 1. Pairs
// hold blocks p and 7 - p to begin with. Between rounds second blocks are traded, and where all first ones have met all
// second ones half of the pairs come to hold first ones only. At the end of a sweep all go back, since sweeps that meet
// columns in another order each time converge later, by one in seven.
//
// Where two blocks meet, their columns stand alternately, the first of the one, the first of the other, the second of
// the one, ..., and neighbours meet and change places, those on an even place with the one behind in even steps, with
// the one before in odd ones. In a ring columns of the one block move on and those of the other move back, until each
// has met each; in a line, in the first round, which is reversed then, each of both has met each (Stewart 1985).
// Nothing is moved but by the rotations themselves, so that two steps can be a loop: of more the instructions would not
// lie near enough to the cores.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "device_limits.h"
#include "simdgroup_blocks.h"
#include "simdgroup_held.h"
#include "simdgroup_line.h"
#include "simdgroup_meet.h"

namespace metalsvd {

using namespace metal;

enum : int { eighth_pairs = limits::simdgroup_eighth_pairs, eighth_rounds = 7, eighth_steps = eighth_rounds + 3 };

enum Standing : int { in_ring, in_line };

// In an odd step the ends of a line do not meet. Columns on even places are those of the first block.
template <Standing standing, bool is_odd, int width>
struct PairsOfEighths {
  enum : int { count = standing == in_line && is_odd ? width - 1 : width };
  static constexpr int first(int i) { return is_odd ? width + i : i; }
  static constexpr int second(int i) { return is_odd ? (i + 1) % width : width + i; }
};

// The column of W that a pair holds as number c when the sweeps begin.
template <int count, bool is_spread>
inline int column_swept(int c, Stand<is_spread> stand, InCube) {
  const int width = count / 2;
  const int eighth = c < width ? stand.pair : 2 * eighth_pairs - 1 - stand.pair;
  return eighth * width + c % width;
}

// Each lane finds the rotation of its share, and turns its entries of all columns by those of all. Shares keep the
// square of the first of their two columns; that of the second comes from the next share, or goes back to it.
template <Standing standing, bool is_odd, typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint meet_and_exchange(thread Held<T, entries, count>& held, thread SharedSquares& squares,
                              PairTolerances tolerances, Stand<is_spread> stand) {
  const int width = count / 2;
  typedef PairsOfEighths<standing, is_odd, width> Pairs;
  if (is_odd) squares.second = of_other_share<width>(squares.second, 1, stand);
  StepRotations<T, Pairs::count> rotations;
  const uint found = find_rotations<Pairs>(held, squares, tolerances, rotations, stand);
  rotate_and_exchange_all<Pairs>(held, rotations);
  if (is_odd) {
    const bool holds_ends = standing == in_line && number_of_share<shares_of(width)>(stand) == width - 1;
    exchange_entries<1>(&squares.first, &squares.second, holds_ends);
    squares.first = of_other_share<width>(squares.first, -1, stand);
  }
  return found;
}

// Two blocks meet. Afterwards each may stand where the other did.
template <Standing standing, typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint meet_eighths(thread Held<T, entries, count>& held, thread SharedSquares& squares, PairTolerances tolerances,
                         Stand<is_spread> stand) {
  const int steps = standing == in_ring ? count / 2 : count;
  uint found = 0u;
#pragma unroll 1
  for (int step = 0; step + 1 < steps; step += 2) {
    found |= meet_and_exchange<standing, false>(held, squares, tolerances, stand);
    found |= meet_and_exchange<standing, true>(held, squares, tolerances, stand);
  }
  if (steps % 2 != 0) {
    found |= meet_and_exchange<standing, false>(held, squares, tolerances, stand);
    exchange_entries<1>(&squares.first, &squares.second, true);
  }
  return found;
}

// The second block becomes that of the pair whose number differs in these bits, and that one this. Two barriers where
// another SIMD-group holds it.
template <typename T, int entries, int count, bool is_spread>
inline void trade_second_block(thread Held<T, entries, count>& held, thread float& square, int bits,
                               Stand<is_spread> stand) {
  const int width = count / 2;
  thread T* const traded = held.W[width];
  if (!is_spread || bits * stand.parts < limits::simd_width) {
    const ushort lanes = ushort(bits * stand.parts);
#pragma unroll
    for (int t = 0; t < width * entries; ++t) traded[t] = simd_shuffle_xor(traded[t], lanes);
    square = simd_shuffle_xor(square, lanes);
    return;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  put_columns<width, width, entries>(traded, square, stand.pair, stand);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  take_columns<width, width, entries>(traded, square, stand.pair ^ bits, stand);
}

// What is done ahead of a round, and in three more steps behind the last: blocks of some pairs change places, second
// blocks are traded, and blocks of some pairs change places. The first and second blocks of the four pairs are then
//   0: 07 16 25 34   1: 06 17 24 35   2: 05 14 27 36   3: 04 15 26 37
//   4: 03 12 65 74   5: 02 13 64 75
//   6: 01 32 67 54   7: 02 13 64 75   8: 04 15 26 37   9: 07 16 25 34
// Of the pairs those whose number has this bit change theirs.
inline int bit_exchanged_first(int step) { return step == 4 ? 2 : step == 6 ? 1 : 0; }
inline int bits_traded(int step) { return step == 2 || step == 4 || step == 9 ? 3 : step == 8 ? 2 : 1; }
inline int bit_exchanged_then(int step) { return step == 7 ? 1 : step == 8 ? 2 : 0; }

// One sweep: every pair of columns once. Returns what this lane has found. The order of the columns is reversed
// afterwards, in each block and of the two blocks of each pair.
template <typename T, int entries, int count, typename PairTolerances, bool is_spread>
inline uint sweep_held(thread Held<T, entries, count>& held, int, PairTolerances tolerances, Stand<is_spread> stand,
                       InCube) {
  const int width = count / 2;
  SharedSquares squares = measure_shares<PairsOfEighths<in_ring, false, width>>(held, stand);
  uint found = meet_eighths<in_line>(held, squares, tolerances, stand);
  for (int step = 1; step < eighth_steps; ++step) {
    if (bit_exchanged_first(step) != 0) exchange_blocks(held, squares, (stand.pair & bit_exchanged_first(step)) != 0);
    trade_second_block(held, squares.second, bits_traded(step), stand);
    if (bit_exchanged_then(step) != 0) exchange_blocks(held, squares, (stand.pair & bit_exchanged_then(step)) != 0);
    if (step < eighth_rounds) found |= meet_eighths<in_ring>(held, squares, tolerances, stand);
  }
  // After meetings of an odd number of steps a block stands where the other did.
  if (width % 2 != 0) exchange_entries<width * entries>(held.W[0], held.W[width], true);
  return found;
}

}  // namespace metalsvd
