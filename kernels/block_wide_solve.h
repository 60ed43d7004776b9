// Method `block` on real numbers: the rotations of a pair of blocks of 32 columns, from its Gram matrix G, by one
// threadgroup, in registers.
//
// Columns stand in 32 slots of two, p and q. A step rotates the two of every slot, then the q move on by one slot; 32
// steps, a pass, bring all p together with all q. Four SIMD-groups hold G, lane a what rows of slot a have in columns
// of the slots a + d (modulo 32), for a few distances d each; since G is symmetric, 0 <= d <= 16 are all there is. With
// the q move, of the 2 x 2 entries at distance d, pp stays, qq goes to the lane before, pq to distance d - 1, and qp to
// the lane before and distance d + 1: few numbers pass from one SIMD-group to another, through threadgroup memory. The
// SIMD-group with distances 0 and 1 knows the next rotations first, and tells them.
//
// The four others hold J - I, two of them the rows whose number is that of a p, two those of a q. What a row has in its
// own kind of column stays where it is, and what it has in the other kind moves past that. So the 1 of I that belongs
// to a row, which would cost J its last bits if it were added, stays where it is too, in a register known beforehand.
// Seen from the q, slots are counted backwards, and the p, negated, meet them as q meet p.
//
// The first pass meets the columns of one block with those of the other. Passes within, in which p are the columns
// whose number in the pair has a certain bit of five clear, meet those that have the bits above it in common, and some
// once more: these stand few slots apart, so that such a pass starts with the q a little before and ends a little
// after. A pass has an even number of steps: two make one turn of the loop, each with memory of its own.
#pragma once
#include <metal_stdlib>

#include "block_solve.h"
#include "block_wide.h"
#include "common/convergence.h"
#include "common/rotation.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

enum : int {
  wide_distances = wide_columns / 2 + 1,
  // The first SIMD-group of G holds distances 0 and 1, the others so many.
  wide_first_distances = 2,
  wide_distances_held = (wide_distances - wide_first_distances) / 3,
  // Rows of J that a lane holds, and in how many slots; the lanes beside it hold the other slots.
  wide_rows_held = 4,
  wide_slots_held = 4,
  wide_lanes_of_row = wide_columns / wide_slots_held,
  // Rotations of one step (see place_of_rotation) by slot, and once more in the order in which rows of q meet them.
  wide_table = wide_columns + 2,
  wide_rotations = 2 * 2 * wide_table / 2,
  wide_edges = 2 * 2 * 4 * limits::simd_width
};

// What a threadgroup keeps beside G or J.
struct WideMemory {
  threadgroup float* G;           // 64 x 64, J - I once it is solved, of wide_product_stride
  threadgroup float4* rotations;  // sigma and sigma / (1 + c) of 32 slots: [step % 2][seen from p or q][place]
  threadgroup float* edges;  // what comes to a SIMD-group of G from another: [step % 2][pq or qp][SIMD-group][lane]
  threadgroup int* places;
  threadgroup uint* slots;
};

inline WideMemory make_wide_memory(threadgroup float* G, threadgroup float4* rotations, threadgroup float* edges,
                                   threadgroup int* places, threadgroup uint* slots) {
  WideMemory memory;
  memory.G = G;
  memory.rotations = rotations;
  memory.edges = edges;
  memory.places = places;
  memory.slots = slots;
  return memory;
}

// The column whose number in the pair is made of `slot` with the bit of `pass` put in: 0 for p, 1 for q.
inline int wide_column(int pass, int slot, bool is_q) {
  const int bit = wide_columns >> pass;
  return slot + (slot & -bit) + (is_q ? bit : 0);
}

// How far the q have moved before a pass and after it.
inline int first_move(int pass) { return pass == 0 ? 0 : wide_columns - (wide_columns >> pass); }
inline int last_move(int pass) { return pass == 0 ? int(wide_columns) : wide_columns + (wide_columns >> pass); }

// The column in q of a slot once the q have moved.
inline int wide_q_column(int pass, int slot, int move) { return wide_column(pass, (slot + move) % wide_columns, true); }

// The 2 x 2 entries of G where rows of slot a meet columns of slot c.
struct WideEntries {
  float pp, qp, pq, qq;
};

struct WideGram {
  WideEntries at[wide_distances_held];
};

// Rows of J - I: what stays, in the columns of the rows' own kind, and what moves past it, of rows of q negated.
struct WideProduct {
  float still[wide_rows_held][wide_slots_held];
  float moving[wide_rows_held][wide_slots_held];
};

// What a lane holds: registers for one of the two, since no SIMD-group has both.
union WideState {
  WideGram gram;
  WideProduct product;
};

// Which these are. Slots are those of p, or counted backwards from the last those of q.
struct WideRows {
  bool is_q;
  int first_row;   // the slot of the first row; row r has its 1 of I in that of number r among these
  int first_slot;  // of what the lane holds
  float one;       // 1 where the lane holds the 1 of I of its rows
  ushort behind;   // the lane whose slots follow
};

inline WideRows make_wide_rows(int simdgroup, int lane) {
  const int part = lane % wide_lanes_of_row;
  const int rows_of_simdgroup = int(limits::simd_width) / wide_lanes_of_row * wide_rows_held;
  WideRows rows;
  rows.is_q = simdgroup % 4 >= 2;
  rows.first_row = simdgroup % 2 * rows_of_simdgroup + lane / wide_lanes_of_row * wide_rows_held;
  rows.first_slot = (rows.first_row + part * wide_slots_held) % wide_columns;
  rows.one = part == 0 ? 1.0f : 0.0f;
  rows.behind = ushort(lane - part + (part + 1) % wide_lanes_of_row);
  return rows;
}

inline int row_of_product(WideRows rows, int pass, int r) {
  const int slot = rows.first_row + r;
  return wide_column(pass, rows.is_q ? wide_columns - 1 - slot : slot, rows.is_q);
}

// The columns of the lane's k-th slot.
inline int still_column(WideRows rows, int pass, int k) {
  const int slot = rows.first_slot + k;
  return wide_column(pass, rows.is_q ? wide_columns - 1 - slot : slot, rows.is_q);
}
inline int moving_column(WideRows rows, int pass, int move, int k) {
  const int slot = (rows.first_slot + k + move) % wide_columns;
  return wide_column(pass, rows.is_q ? wide_columns - 1 - slot : slot, !rows.is_q);
}

// The distances that a SIMD-group of G holds.
inline int first_distance(int simdgroup) {
  return simdgroup == 0 ? 0 : wide_first_distances + (simdgroup - 1) * wide_distances_held;
}
inline int count_of_distances(int simdgroup) {
  return simdgroup == 0 ? int(wide_first_distances) : int(wide_distances_held);
}

inline float2 choose_wide_rotation(WideEntries diagonal, float tolerance) {
  const bool needed = needs_rotation(diagonal.pp, diagonal.qq, diagonal.pq, tolerance);
  const Rotation<float> rotation = orthogonalizing_rotation(diagonal.pp, diagonal.qq, diagonal.pq);
  return needed ? float2(rotation.sigma, rotation.sigma_by_1pc) : float2(0.0f, 0.0f);
}

// Where the rotation of a slot stands: those of the second half so that lanes that read four of them each, which are
// four apart, meet in no bank.
inline int place_of_rotation(int slot) { return slot + slot / (wide_columns / 2) * 2; }

// Tells the rotation of the lane's slot, once the q have moved so far.
inline void tell_rotation(float2 rotation, int move, int lane, threadgroup float2* rotations) {
  rotations[place_of_rotation(lane)] = rotation;
  rotations[wide_table + place_of_rotation(int(wide_columns - 1 - uint(lane + move) % wide_columns))] = rotation;
}

inline Rotation<float> make_rotation(float2 words) {
  Rotation<float> rotation;
  rotation.sigma = words.x;
  rotation.sigma_by_1pc = words.y;
  return rotation;
}

// What comes from other SIMD-groups, by the place where it was left.
template <int held>
inline void receive_edges(thread WideGram& gram, threadgroup const float* edges, int simdgroup, int lane) {
  gram.at[held - 1].pq = edges[simdgroup * limits::simd_width + lane];
  gram.at[0].qp = held == wide_first_distances ? gram.at[0].pq : edges[(4 + simdgroup) * limits::simd_width + lane];
}

// Left as if it came from others, so that the first step of a pass finds it.
inline void leave_own_edges(thread const WideGram& gram, threadgroup float* edges, int simdgroup, int lane) {
  edges[simdgroup * limits::simd_width + lane] =
      simdgroup == 0 ? gram.at[wide_first_distances - 1].pq : gram.at[wide_distances_held - 1].pq;
  edges[(4 + simdgroup) * limits::simd_width + lane] = gram.at[0].qp;
}

// The rotations of a step on `held` of the distances, from `first` on.
template <int held>
inline void rotate_gram(thread WideGram& gram, int first, float2 own, threadgroup const float2* rotations, int lane) {
  const Rotation<float> left = make_rotation(own);
#pragma unroll
  for (int k = 0; k < held; ++k) {
    const bool is_own = held == wide_first_distances && k == 0;
    const Rotation<float> right =
        is_own ? left : make_rotation(rotations[place_of_rotation((lane + first + k) % wide_columns)]);
    WideEntries entries = gram.at[k];
    rotate_entries(entries.pp, entries.pq, right);
    rotate_entries(entries.qp, entries.qq, right);
    rotate_entries(entries.pp, entries.qp, left);
    rotate_entries(entries.pq, entries.qq, left);
    gram.at[k] = entries;
  }
}

// The q move on; what other SIMD-groups hold follows after the barrier.
template <int held>
inline void move_gram(thread WideGram& gram, threadgroup float* edges, int simdgroup, int lane) {
  const ushort behind = ushort((lane + 1) % wide_columns);
  if (held == wide_first_distances) {
    edges[(4 + 1) * limits::simd_width + (lane + wide_columns - 1) % wide_columns] = gram.at[held - 1].qp;
  } else {
    edges[(simdgroup - 1) * limits::simd_width + lane] = gram.at[0].pq;
    // Distance 17 from slot a is distance 15 seen from slot a + 17, and comes back to the SIMD-group that has this.
    const bool is_last = simdgroup == 3;
    const int reader = is_last ? simdgroup : 4 + simdgroup + 1;
    const int its_lane = (lane + wide_columns - (is_last ? int(wide_distances) : 1)) % wide_columns;
    edges[reader * limits::simd_width + its_lane] = is_last ? gram.at[held - 2].qp : gram.at[held - 1].qp;
  }
#pragma unroll
  for (int k = held - 1; k > 0; --k) gram.at[k].qp = simd_shuffle(gram.at[k - 1].qp, behind);
#pragma unroll
  for (int k = 0; k < held; ++k) gram.at[k].qq = simd_shuffle(gram.at[k].qq, behind);
#pragma unroll
  for (int k = 0; k + 1 < held; ++k) gram.at[k].pq = gram.at[k + 1].pq;
}

// J = J times the rotations of a step, those of the lane's slots, and what moves does.
inline void step_of_product(thread WideProduct& product, threadgroup const float4* rotations, WideRows rows) {
  const float4 two = rotations[0];
  const float4 others = rotations[1];
  const float sigma[wide_slots_held] = {two.x, two.z, others.x, others.z};
  const float sigma_by_1pc[wide_slots_held] = {two.y, two.w, others.y, others.w};
#pragma unroll
  for (int r = 0; r < wide_rows_held; ++r) {
#pragma unroll
    for (int k = 0; k < wide_slots_held; ++k) {
      // As rotate_entries, on x + 1 where that is due.
      float x = product.still[r][k];
      float y = product.moving[r][k];
      x = fma(-sigma_by_1pc[k], y, x);
      if (k == r) y = fma(sigma[k], rows.one, y);
      y = fma(sigma[k], x, y);
      x = fma(-sigma_by_1pc[k], y, x);
      product.still[r][k] = x;
      product.moving[r][k] = y;
    }
    const float arriving = simd_shuffle(product.moving[r][0], rows.behind);
#pragma unroll
    for (int k = 0; k + 1 < wide_slots_held; ++k) product.moving[r][k] = product.moving[r][k + 1];
    product.moving[r][wide_slots_held - 1] = arriving;
  }
}

inline void clear_product(thread WideProduct& product) {
#pragma unroll
  for (int r = 0; r < wide_rows_held; ++r) {
#pragma unroll
    for (int k = 0; k < wide_slots_held; ++k) {
      product.still[r][k] = 0.0f;
      product.moving[r][k] = 0.0f;
    }
  }
}

inline void load_gram(threadgroup const float* G, int pass, int simdgroup, int lane, thread WideGram& gram) {
  const int p = wide_column(pass, lane, false);
  const int q = wide_q_column(pass, lane, first_move(pass));
#pragma unroll
  for (int k = 0; k < wide_distances_held; ++k) {
    const int slot = (lane + first_distance(simdgroup) + k) % wide_columns;
    const int p_of_slot = wide_column(pass, slot, false) * wide_pair;
    const int q_of_slot = wide_q_column(pass, slot, first_move(pass)) * wide_pair;
    gram.at[k].pp = G[p_of_slot + p];
    gram.at[k].qp = G[p_of_slot + q];
    gram.at[k].pq = G[q_of_slot + p];
    gram.at[k].qq = G[q_of_slot + q];
  }
}

// Both triangles of G. Distance 16 is held twice, by lanes that agree but for rounding: those of the first half count.
inline void store_gram(thread const WideGram& gram, int pass, int simdgroup, int lane, threadgroup float* G) {
  const int p = wide_column(pass, lane, false);
  const int q = wide_q_column(pass, lane, last_move(pass));
#pragma unroll
  for (int k = 0; k < wide_distances_held; ++k) {
    const int distance = first_distance(simdgroup) + k;
    if (k >= count_of_distances(simdgroup) || (distance == wide_distances - 1 && lane >= wide_columns / 2)) continue;
    const int slot = (lane + distance) % wide_columns;
    const int p_of_slot = wide_column(pass, slot, false);
    const int q_of_slot = wide_q_column(pass, slot, last_move(pass));
    const WideEntries entries = gram.at[k];
    G[p_of_slot * wide_pair + p] = entries.pp;
    G[q_of_slot * wide_pair + p] = entries.pq;
    G[q_of_slot * wide_pair + q] = entries.qq;
    G[p * wide_pair + q_of_slot] = entries.pq;
    if (distance == 0) continue;
    G[p_of_slot * wide_pair + q] = entries.qp;
    G[p * wide_pair + p_of_slot] = entries.pp;
    G[q * wide_pair + q_of_slot] = entries.qq;
    G[q * wide_pair + p_of_slot] = entries.qp;
  }
}

// Row after row, wide_product_stride apart, once a pass is over.
inline void store_product(thread const WideProduct& product, WideRows rows, int pass, threadgroup float* words) {
#pragma unroll
  for (int k = 0; k < wide_slots_held; ++k) {
    const int still = still_column(rows, pass, k);
    const int moving = moving_column(rows, pass, last_move(pass), k);
#pragma unroll
    for (int r = 0; r < wide_rows_held; ++r) {
      threadgroup float* const row = words + row_of_product(rows, pass, r) * wide_product_stride;
      row[still] = product.still[r][k];
      row[moving] = rows.is_q ? -product.moving[r][k] : product.moving[r][k];
    }
  }
}

inline void load_product(threadgroup const float* words, WideRows rows, int pass, thread WideProduct& product) {
#pragma unroll
  for (int k = 0; k < wide_slots_held; ++k) {
    const int still = still_column(rows, pass, k);
    const int moving = moving_column(rows, pass, first_move(pass), k);
#pragma unroll
    for (int r = 0; r < wide_rows_held; ++r) {
      threadgroup const float* const row = words + row_of_product(rows, pass, r) * wide_product_stride;
      product.still[r][k] = row[still];
      product.moving[r][k] = rows.is_q ? -row[moving] : row[moving];
    }
  }
}

// What there is to rotate in G across the blocks, or everywhere, told to every thread. Two barriers.
inline uint look_for_wide_rotations(threadgroup const float* G, bool within, Tolerances tolerances,
                                    threadgroup uint* slots, Team team) {
  const int rows = within ? int(wide_pair) : int(wide_columns);
  uint found = found_nothing;
  for (int index = team.index; index < rows * rows; index += team.threads) {
    const int p = index % rows;
    const int q = index / rows + wide_pair - rows;
    if (p >= q) continue;
    found =
        max(found, found_in_pair(G[p * wide_pair + p], G[q * wide_pair + q], fabs(G[q * wide_pair + p]), tolerances));
  }
  return threadgroup_max(found, slots, team);
}

// Where column j of the pair goes when its columns stand in descending order of the squares (see place_in_order). Four
// lanes side by side look at every fourth of the others each.
inline int wide_place_in_order(threadgroup const float* squares, int j, int part, Blocks blocks) {
  const float square = max(squares[j], 0.0f);
  int place = 0;
  for (int other = part; other < wide_pair; other += 4) {
    const float beside = max(squares[other], 0.0f);
    const bool is_before = beside > square || (beside == square && other < j);
    place += exists_in_pair(other, blocks) && is_before ? 1 : 0;
  }
  place += simd_shuffle_xor(place, ushort(1));
  place += simd_shuffle_xor(place, ushort(2));
  return place < blocks.width ? place : wide_columns + place - blocks.width;
}

// A step, `parity` its number modulo 2, before the barrier that ends it. `own` is the rotation of the lane's slot in
// the SIMD-group that finds these.
inline void wide_step(WideMemory memory, int parity, int move, float tolerance, WideRows rows, int simdgroup, int lane,
                      thread WideGram& gram, thread WideProduct& product, thread float2& own) {
  threadgroup const float4* const now = memory.rotations + parity * wide_table;
  threadgroup const float2* const each = (threadgroup const float2*)now;
  threadgroup const float* const arrived = memory.edges + (1 - parity) * (wide_edges / 2);
  threadgroup float* const leaving = memory.edges + parity * (wide_edges / 2);
  if (simdgroup == 0) {
    receive_edges<wide_first_distances>(gram, arrived, 0, lane);
    rotate_gram<wide_first_distances>(gram, 0, own, each, lane);
    move_gram<wide_first_distances>(gram, leaving, 0, lane);
    own = choose_wide_rotation(gram.at[0], tolerance);
    tell_rotation(own, move + 1, lane, (threadgroup float2*)(memory.rotations + (1 - parity) * wide_table));
  } else if (simdgroup < 4) {
    receive_edges<wide_distances_held>(gram, arrived, simdgroup, lane);
    rotate_gram<wide_distances_held>(gram, first_distance(simdgroup), each[place_of_rotation(lane)], each, lane);
    move_gram<wide_distances_held>(gram, leaving, simdgroup, lane);
  } else {
    const int table = rows.is_q ? wide_table / 2 : 0;
    step_of_product(product, now + table + place_of_rotation(rows.first_slot) / 2, rows);
  }
}

// J - I in the place of G, where J makes the pair's Gram matrix G more diagonal, and the place of each column. Returns
// what there was to rotate; where it was nothing, all stays as it was. G is known to all threads. Two barriers for the
// look at G, one a step and one a pass, three between two passes, and two more.
inline uint solve_wide(WideMemory memory, Blocks blocks, int passes, Tolerances tolerances, Team team) {
  const uint found = look_for_wide_rotations(memory.G, passes > 1, tolerances, memory.slots, team);
  if (found == found_nothing) return found;

  const int simdgroup = int(simd_broadcast_first(uint(team.simdgroup)));
  const bool holds_gram = simdgroup < 4;
  const WideRows rows = make_wide_rows(simdgroup, team.lane);
  WideState state;
  thread WideGram& gram = state.gram;
  thread WideProduct& product = state.product;
  if (holds_gram) {
    load_gram(memory.G, 0, simdgroup, team.lane, gram);
  } else {
    clear_product(product);
  }

  int pass = 0;
  for (int done = 0; done < passes; ++done) {
    if (done > 0) {
      const int before = pass;
      pass = pass + 1 < limits::block_wide_passes ? pass + 1 : 0;
      if (holds_gram) store_gram(gram, before, simdgroup, team.lane, memory.G);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (holds_gram) load_gram(memory.G, pass, simdgroup, team.lane, gram);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (!holds_gram) store_product(product, rows, before, memory.G);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (!holds_gram) load_product(memory.G, rows, pass, product);
    }
    // The step before the first has the other half of the memory.
    threadgroup float* const edges = memory.edges + wide_edges / 2;
    float2 own = float2(0.0f, 0.0f);
    if (simdgroup == 0) {
      own = choose_wide_rotation(gram.at[0], tolerances.cosine);
      tell_rotation(own, first_move(pass), team.lane, (threadgroup float2*)memory.rotations);
    }
    if (holds_gram) leave_own_edges(gram, edges, simdgroup, team.lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll 1
    for (int move = first_move(pass); move < last_move(pass); move += 2) {
      wide_step(memory, 0, move, tolerances.cosine, rows, simdgroup, team.lane, gram, product, own);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      wide_step(memory, 1, move + 1, tolerances.cosine, rows, simdgroup, team.lane, gram, product, own);
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    if (simdgroup == 0) {
      receive_edges<wide_first_distances>(gram, edges, 0, team.lane);
    } else if (holds_gram) {
      receive_edges<wide_distances_held>(gram, edges, simdgroup, team.lane);
    }
  }

  threadgroup float* const squares = (threadgroup float*)memory.rotations;  // which nobody reads any more
  if (simdgroup == 0) {
    squares[wide_column(pass, team.lane, false)] = gram.at[0].pp;
    squares[wide_q_column(pass, team.lane, last_move(pass))] = gram.at[0].qq;
  }
  if (!holds_gram) store_product(product, rows, pass, memory.G);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const int place = wide_place_in_order(squares, team.index / 4, team.index % 4, blocks);
  if (team.index % 4 == 0) memory.places[team.index / 4] = place;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return found;
}

}  // namespace metalsvd
