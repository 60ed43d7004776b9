// Method `block`, a round in one step: one threadgroup does for a pair of blocks what block_gram and block_rotate
// do with many, to the same bits. It also meets whole groups of blocks, pair after pair: fewer dispatches
// a sweep, each with less to do at the same time.
#pragma once
#include <metal_stdlib>

#include "block.h"
#include "block_convergence.h"
#include "block_gram.h"
#include "block_rotate.h"
#include "block_solve.h"
#include "common/pairs.h"
#include "common/rotation.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

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

// Makes `task` the index-th meeting of two groups, if both of its blocks exist.
inline bool take_meeting(Pair groups, int size, bool is_first_round, int index, Blocks blocks, thread PairTask& task) {
  const Pair meeting = meeting_of_groups(groups, size, is_first_round, index);
  if (meeting.q >= meeting_blocks(blocks, is_first_round)) return false;
  task.p = meeting.p * blocks.width;
  task.q = meeting.q * blocks.width;
  return true;
}

// One pair of blocks: its Gram matrix, added chunk after chunk of the rows as block_rotate does; its rotations; its
// columns, rotated. Returns what there was to rotate. Those of the functions called, and three barriers.
template <typename T>
inline uint meet_blocks(device T* W, device T* V, PairTask task, Blocks blocks, long rows, long columns,
                        Meetings meetings, PairMemory<T> memory, Team team) {
  const int chunk_rows = limits::block_chunk_rows(rows);
  T sums[gram_entries_per_thread];
#pragma unroll
  for (int k = 0; k < gram_entries_per_thread; ++k) sums[k] = from_real<T>(0.0f);
  for (long first_row = 0; first_row < rows; first_row += chunk_rows) {
    form_gram<T>(W, task, blocks, rows, int(first_row), int(min(first_row + chunk_rows, rows)), memory.tile,
                 memory.tile, team.index);
#pragma unroll
    for (int k = 0; k < gram_entries_per_thread; ++k) sums[k] += memory.tile[team.index + k * limits::block_threads];
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
#pragma unroll
  for (int k = 0; k < gram_entries_per_thread; ++k) memory.G[team.index + k * limits::block_threads] = sums[k];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint found = solve<T>(memory, meetings, make_block_tolerances(int(rows), padded_columns(blocks), true), team);
  if (!asks_for_rotation(found)) return found_nothing;
  rotate_rows<T>(W, task, blocks, rows, 0, int(rows), memory, team.index);
  rotate_rows<T>(V, task, blocks, columns, 0, int(columns), memory, team.index);
  // The next pair reads what this one wrote.
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  return found;
}

// A round of a sweep in which groups of `group_size` blocks meet, one pair of groups a threadgroup. Where there is but
// one pair, that round is the sweep, and the threadgroup goes on with as many as `sweeps` while its matrix needs them.
//
// Grid: a threadgroup of block_threads a matrix and pair of groups. Ownership: the threadgroup owns the columns of both
// groups for the round. Barriers: those of meet_blocks for each pair of blocks. The host promises: `group_count` groups
// of `group_size` cover the blocks, and are even in number: blocks beyond the last are passed over; `sweeps` is more
// than one only with one pair of groups. Threadgroups of one matrix meet in its `states` only.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_round(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device atomic_int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& width [[buffer(5)]],
    constant long& block_count [[buffer(6)]], constant long& group_size [[buffer(7)]],
    constant long& group_count [[buffer(8)]], constant long& round [[buffer(9)]], constant long& sweep [[buffer(10)]],
    constant long& sweeps [[buffer(11)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup T tile[Tile<T>::entries];
  threadgroup T G[gram_entries];
  threadgroup T J_minus_I[gram_entries];
  threadgroup PairRotation<T> rotations[2 * limits::block_columns];
  threadgroup int places[limits::block_pair_columns];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const PairMemory<T> memory = make_pair_memory<T>(tile, G, J_minus_I, rotations, places, slots);

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  const Blocks blocks = make_blocks(width, block_count);
  const int group_pairs = int(group_count) / 2;
  const int size = int(group_size);
  PairTask task;
  task.matrix = group / uint(group_pairs);
  const Pair groups = round_robin_pair(int(round), int(group % uint(group_pairs)), int(group_count));
  states += task.matrix * state_words;
  if (sweep_due(states) < int(sweep)) return;
  W += task.matrix * padded_columns(blocks) * rows;
  V += task.matrix * padded_columns(blocks) * columns;

  const bool is_first_round = round == 0;
  const int meeting_count = is_first_round ? size * (2 * size - 1) : size * size;
  for (int current = int(sweep); current < int(sweep + sweeps); ++current) {
    const Meetings meetings = make_meetings(blocks.width, int(round), current);
    uint found = found_nothing;
    for (int index = 0; index < meeting_count; ++index) {
      if (!take_meeting(groups, size, is_first_round, index, blocks, task)) continue;
      found |= meet_blocks<T>(W, V, task, blocks, rows, columns, meetings, memory, team);
    }
    if (team.index == 0) ask_for_next_sweep(states, found, current);
    if (sweeps > 1 && !asks_for_sweep(found)) return;
  }
}

}  // namespace metalsvd
