// Method `block` on real numbers: what blocks have in common with themselves, 32 x 32 entries of Gram matrices each, is
// found when a pair is solved and carried on from round to round in device memory. So all but the first round of a
// sweep sum up only what one block has in common with the other, half of the work. What rounding errors add to the
// entries is gone with the next sweep, and one that rotates nothing adds none.
//
// Threadgroups that share a pair read what an earlier round has left while the first of them writes for the next ones:
// rounds write in two places in turn, or in three where a block may rest, which has been written two rounds before.
#pragma once
#include <metal_stdlib>

#include "block_wide.h"
#include "common/pairs.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

// Of a pair: where the entries of its blocks stand, and where they are to be left, if this threadgroup `stores` them.
struct WideOwn {
  bool stores;
  device const float4* p;
  device const float4* q;
  device float4* next_p;
  device float4* next_q;
};

inline WideOwn no_own() {
  WideOwn own;
  own.stores = false;
  own.p = own.q = nullptr;
  own.next_p = own.next_q = nullptr;
  return own;
}

// The round before `round` in which a block was last in a pair. The one that has no other to meet rests, in all rounds
// but the first; it is in the first pair, with the block without columns.
inline int last_round_of(int block, int round, Blocks blocks) {
  const bool rests = blocks.count % 2 != 0 && round > 1;
  return rests && round_robin_pair(round - 1, 0, even_count(blocks)).p == block ? round - 2 : round - 1;
}

inline device float4* own_of_block(device float* own, int block, int round, Blocks blocks) {
  const int turn = round % limits::block_wide_own_turns(blocks.count);
  return (device float4*)(own + (turn * even_count(blocks) + block) * wide_own_entries);
}

inline WideOwn make_wide_own(device float* own, bool stores, int round, PairTask task, Blocks blocks) {
  own += task.matrix * limits::block_wide_own_turns(blocks.count) * even_count(blocks) * wide_own_entries;
  const int p = task.p / blocks.width;
  const int q = task.q / blocks.width;
  WideOwn of_pair;
  of_pair.stores = stores;
  of_pair.p = own_of_block(own, p, last_round_of(p, max(round, 1), blocks), blocks);
  of_pair.q = own_of_block(own, q, last_round_of(q, max(round, 1), blocks), blocks);
  of_pair.next_p = own_of_block(own, p, round, blocks);
  of_pair.next_q = own_of_block(own, q, round, blocks);
  return of_pair;
}

// To the rows of G that begin with them, and those that end with them.
inline void put_own(float4 of_p, float4 of_q, threadgroup float* G, int thread_index) {
  const int fours_of_row = wide_columns / 4;
  threadgroup float4* const four =
      (threadgroup float4*)G + thread_index / fours_of_row * (wide_pair / 4) + thread_index % fours_of_row;
  four[0] = of_p;
  four[wide_columns * (wide_pair / 4) + fours_of_row] = of_q;
}

// From G, of whose columns these are the ones that go to each place.
template <int stride>
inline void store_own(threadgroup const float* G, threadgroup const int* sources, WideOwn own, int thread_index) {
  const int fours_of_row = wide_columns / 4;
#pragma unroll
  for (int first = 0; first < wide_pair; first += wide_columns) {
    threadgroup const float* const row = G + sources[first + thread_index / fours_of_row] * stride;
    threadgroup const int* const columns = sources + first + thread_index % fours_of_row * 4;
    device float4* const block = first == 0 ? own.next_p : own.next_q;
    block[thread_index] = float4(row[columns[0]], row[columns[1]], row[columns[2]], row[columns[3]]);
  }
}

// The same of columns that stay where they are. One barrier.
inline void store_own_as_it_is(threadgroup const float* G, threadgroup int* sources, WideOwn own, int thread_index) {
  if (thread_index < wide_pair) sources[thread_index] = thread_index;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  store_own<wide_pair>(G, sources, own, thread_index);
}

}  // namespace metalsvd
