// Method `block` on real numbers, a round in one step: one threadgroup does for a pair of blocks what block_wide_gram
// and block_wide_rotate do with many, to the same bits. It also meets whole groups of blocks (block_round.h).
#pragma once
#include <metal_stdlib>

#include "block_convergence.h"
#include "block_round.h"
#include "block_wide.h"
#include "block_wide_gram.h"
#include "block_wide_rotate.h"
#include "block_wide_solve.h"
#include "common/pairs.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// The same team, by this thread's number as it stands in `numbers`. What a compiler derives from that one way or
// another it has to derive anew, rather than keep it for later where a Gram matrix takes all registers.
inline Team same_team(threadgroup const int* numbers, Team team) {
  const uint index = uint(numbers[team.index]);
  return make_team(index, limits::block_threads, index % limits::simd_width, index / limits::simd_width);
}

// One pair of blocks, as meet_blocks: G of `memory` lies in `tile`, which holds rows of the columns before, J - I
// behind.
inline uint meet_wide_blocks(device float* W, device float* V, PairTask task, Blocks blocks, long rows, long columns,
                             long chunk_rows, int sweep, int passes, threadgroup float4* tile,
                             threadgroup float4* slice, WideMemory memory, threadgroup const int* numbers, Team team) {
  const int seat = wide_seat_moved(team.index);
  ColumnsMoved moved;
  moved.p = column_at_seat(task, blocks, seat);
  moved.q = column_at_seat(task, blocks, seat + wide_columns);
  float total[wide_entries_per_thread];
#pragma unroll
  for (int k = 0; k < wide_entries_per_thread; ++k) total[k] = 0.0f;
  for (long first_row = 0; first_row < rows; first_row += chunk_rows) {
    float sums[wide_entries_per_thread];
    sum_wide_gram(W, moved, rows, int(first_row), int(min(first_row + chunk_rows, rows)), tile, team.index, sums);
#pragma unroll
    for (int k = 0; k < wide_entries_per_thread; ++k) total[k] += sums[k];
  }
  team = same_team(numbers, team);
  store_wide_entries(total, team.index, memory.G);
  if (team.index < wide_pair) take_seat(memory, team.index, column_at_seat(task, blocks, team.index));
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint found = solve_wide(memory, sweep, passes, make_wide_tolerances(rows, padded_columns(blocks)), team);
  if (!asks_for_rotation(found)) return found_nothing;
  team = same_team(numbers, team);
  const WideStack stack = make_wide_stack(W, V, rows, columns);
  rotate_wide_rows(stack, 0, stack.height, tile, memory.seats, slice, team.index);
  // The next pair reads what this one wrote.
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  return found;
}

// A round of a sweep in which groups of `group_size` blocks meet, or whole sweeps, as block_round.
//
// Grid, ownership and promises: those of block_round. Barriers: those of meet_wide_blocks for each pair of blocks,
// which are those of the functions called, and two.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void block_wide_round(
    device T* W [[buffer(0)]], device T* V [[buffer(1)]], device atomic_int* states [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& width [[buffer(5)]],
    constant long& block_count [[buffer(6)]], constant long& chunk_rows [[buffer(7)]],
    constant long& group_size [[buffer(8)]], constant long& group_count [[buffer(9)]],
    constant long& round [[buffer(10)]], constant long& sweep [[buffer(11)]], constant long& sweeps [[buffer(12)]],
    constant long& passes [[buffer(13)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 tile[wide_tile_entries / 4];  // of the columns, then G, then J - I
  threadgroup float4 slice[wide_slice_entries / 4];
  threadgroup float4 told[2 * wide_told / 4];
  threadgroup int seats[2 * wide_pair];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  threadgroup int numbers[limits::block_threads];
  threadgroup float* const G = (threadgroup float*)tile;
  const WideMemory memory = make_wide_memory(G, told, seats, slots);

  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  numbers[team.index] = team.index;  // which nobody else reads
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
    uint found = found_nothing;
    for (int index = 0; index < meeting_count; ++index) {
      if (!take_meeting(groups, size, is_first_round, index, blocks, task)) continue;
      const uint found_here = meet_wide_blocks(W, V, task, blocks, rows, columns, chunk_rows, current, int(passes),
                                               tile, slice, memory, numbers, team);
      found |= found_here;
    }
    if (team.index == 0) ask_for_next_sweep(states, found, current);
    if (sweeps > 1 && !asks_for_sweep(found)) return;
  }
}

}  // namespace metalsvd
