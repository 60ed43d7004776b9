// Method `block`, a round in one step: one threadgroup does for a pair of blocks what block_gram, block_solve and
// block_update do with many, to the same bits. It also meets whole groups of blocks, pair after pair: fewer dispatches
// a sweep, each with less to do at the same time.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_gram.h"
#include "block_solve.h"
#include "block_update.h"
#include "common/pairs.h"
#include "common/rotation.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// What a threadgroup keeps while it works on a pair of blocks: 26 KiB of complex numbers.
template <typename T>
struct RoundMemory {
  threadgroup T* tile;
  threadgroup T* G;
  threadgroup T* J_minus_I;
  threadgroup SolvePair<T>* pairs;
  threadgroup int* places;
  threadgroup uint* slots;
};

// The blocks of the index-th meeting of two groups of `size` blocks. In the first round of a sweep all blocks of both
// meet each other, size * (2 size - 1) times; later those of one meet those of the other, size * size times.
inline Pair meeting_of_groups(Pair groups, int size, bool is_first_round, int index) {
  Pair blocks;
  if (is_first_round) {
    const Pair local = round_robin_pair(index / size, index % size, 2 * size);
    blocks.p = local.p < size ? groups.p * size + local.p : groups.q * size + local.p - size;
    blocks.q = local.q < size ? groups.p * size + local.q : groups.q * size + local.q - size;
  } else {
    const int first = index % size;
    blocks.p = groups.p * size + first;
    blocks.q = groups.q * size + (first + index / size) % size;
  }
  return blocks;
}

// One pair of blocks: its Gram matrix, added chunk after chunk of the rows as block_solve does; its rotations; its
// columns, rotated. Returns whether it rotated. Those of the functions called, and two barriers.
template <typename T>
inline bool meet_blocks(device T* W, device T* V, PairTask task, Blocks blocks, long rows, long columns,
                        bool wants_vectors, RoundMemory<T> memory, Team team) {
  const int pair_columns = 2 * blocks.width;
  const GramOwner owner = make_gram_owner(team.index, blocks);
  T sums[4] = {from_real<T>(0.0f), from_real<T>(0.0f), from_real<T>(0.0f), from_real<T>(0.0f)};
  for (int first_row = 0; first_row < int(rows); first_row += limits::block_chunk_rows) {
    T sums_of_chunk[4];
    sum_gram<T>(W, task, blocks, rows, first_row, min(first_row + int(limits::block_chunk_rows), int(rows)),
                memory.tile, owner, team.index, sums_of_chunk);
    for (int index = 0; index < 4; ++index) sums[index] += sums_of_chunk[index];
  }
  for (int index = 0; owner.owns && index < 4; ++index) {
    const int p = 2 * owner.a + index % 2;
    const int q = 2 * owner.c + index / 2;
    if (p <= q) memory.G[q * pair_columns + p] = sums[index];
    if (p < q) memory.G[p * pair_columns + q] = conjugate(sums[index]);
  }
  for (int index = team.index; index < pair_columns * pair_columns; index += team.threads) {
    memory.J_minus_I[index] = from_real<T>(0.0f);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (!diagonalize<T>(memory.G, memory.J_minus_I, memory.pairs, memory.slots, blocks.width, jacobi_tolerance(int(rows)),
                      team)) {
    return false;
  }
  for (int j = team.index; j < pair_columns; j += team.threads) {
    memory.places[j] = place_in_order<T>(memory.G, j, pair_columns);
  }
  rotate_rows<T>(W, task, blocks, rows, 0, int(rows), memory.tile, memory.J_minus_I, memory.places, team.index);
  if (wants_vectors) {
    rotate_rows<T>(V, task, blocks, columns, 0, int(columns), memory.tile, memory.J_minus_I, memory.places, team.index);
  }
  // The next pair reads what this one wrote.
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  return true;
}

// A round of a sweep in which groups of `group_size` blocks meet, one pair of groups a threadgroup.
//
// Grid: a threadgroup of block_threads a matrix and pair of groups. Ownership: the threadgroup owns the columns of both
// groups for the round. Barriers: those of meet_blocks for each pair of blocks. The host promises: `group_count` groups
// of `group_size` cover the blocks, and are even in number: blocks beyond the last are passed over. Threadgroups of one
// matrix meet in state_sweep only, as those of block_solve do.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_round(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device atomic_int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& width [[buffer(5)]],
    constant long& block_count [[buffer(6)]], constant long& group_size [[buffer(7)]],
    constant long& group_count [[buffer(8)]], constant long& wants_vectors [[buffer(9)]],
    constant long& round [[buffer(10)]], constant long& sweep [[buffer(11)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup T tile[limits::block_pair_columns * limits::block_tile_stride];
  threadgroup T G[limits::block_pair_columns * limits::block_pair_columns];
  threadgroup T J_minus_I[limits::block_pair_columns * limits::block_pair_columns];
  threadgroup SolvePair<T> pairs[limits::block_columns];
  threadgroup int places[limits::block_pair_columns];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  RoundMemory<T> memory;
  memory.tile = tile;
  memory.G = G;
  memory.J_minus_I = J_minus_I;
  memory.pairs = pairs;
  memory.places = places;
  memory.slots = slots;

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Blocks blocks = make_blocks(width, block_count);
  const int group_pairs = int(group_count) / 2;
  const int size = int(group_size);
  PairTask task;
  task.matrix = group / uint(group_pairs);
  const Pair groups = round_robin_pair(int(round), int(group % uint(group_pairs)), int(group_count));
  states += task.matrix * state_words + state_sweep;
  if (atomic_load_explicit(states, memory_order_relaxed) < int(sweep)) return;
  W += task.matrix * padded_columns(blocks) * rows;
  V += wants_vectors != 0 ? task.matrix * padded_columns(blocks) * columns : 0;

  const bool is_first_round = round == 0;
  const int meetings = is_first_round ? size * (2 * size - 1) : size * size;
  bool any = false;
  for (int index = 0; index < meetings; ++index) {
    const Pair meeting = meeting_of_groups(groups, size, is_first_round, index);
    if (meeting.q >= blocks.count) continue;
    task.p = meeting.p * blocks.width;
    task.q = meeting.q * blocks.width;
    any = meet_blocks<T>(W, V, task, blocks, rows, columns, wants_vectors != 0, memory, team) || any;
  }
  if (any && team.index == 0) atomic_fetch_max_explicit(states, int(sweep) + 1, memory_order_relaxed);
}

}  // namespace metalsvd
