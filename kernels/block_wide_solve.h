// Method `block` on real numbers: the rotations of a table of 64 columns, from its Gram matrix G, by one threadgroup.
// Where they are not too large together they are found at once (block_wide_exponential.h), else one after the other, in
// registers:
//
// Columns stand in 32 slots of two, p and q. A step rotates the two of every slot, then the q move on by one slot; 32
// steps, a pass, bring all p together with all q. Four SIMD-groups hold G, lane a what rows of slot a have in columns
// of the slots a + d (modulo 32), for a few distances d each; since G is symmetric, 0 <= d <= 16 are all there is. With
// the q move, of the 2 x 2 entries at distance d, pp stays, qq goes to the lane before, pq to distance d - 1, and qp to
// the lane before and distance d + 1: few numbers pass from one SIMD-group to another, through threadgroup memory. The
// SIMD-group with distances 0 and 1 knows the next rotations first, and tells them. A step takes as long as its chain
// from one rotation to the next, or as what the others have to do between two barriers: about the same.
//
// The four others hold J - I, two of them the rows whose number is that of a p, two those of a q. What a row has in its
// own kind of column stays where it is, and what it has in the other kind moves past that. So the 1 of I that belongs
// to a row, which would cost J its last bits if it were added, stays where it is too, in a register known beforehand.
// Seen from the q, slots are counted backwards, and the p, negated, meet them as q meet p.
//
// The first pass meets the columns of one half of the seats with those of the other. Passes within, in which p are the
// columns whose seat has a certain bit of five clear, meet those that have the bits above it in common, and some once
// more: these stand few slots apart, so that such a pass starts with the q a little before and ends a little after. A
// pass has an even number of steps: two make one turn of the loop, each with memory of its own.
#pragma once
#include <metal_stdlib>

#include "block_convergence.h"
#include "block_solve.h"
#include "block_wide.h"
#include "block_wide_exponential.h"
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
  // What SIMD-groups tell each other in a step, in words: the rotation of each slot, those of the first half once more
  // behind the last, since slots are counted modulo 32; all in the order in which rows of q meet them; and edges, pq
  // and qp of each SIMD-group of G and lane.
  wide_told_to_q = 2 * (wide_columns + wide_columns / 2),
  wide_edges = wide_told_to_q + 2 * wide_columns,
  wide_edge_kind = 4 * limits::simd_width,
  wide_told = wide_edges + 2 * wide_edge_kind
};

// What a threadgroup keeps beside G or J.
struct WideMemory {
  threadgroup float* G;      // 64 x 64, J - I once it is solved, of wide_product_stride
  threadgroup float4* told;  // in two steps, each wide_told words
  threadgroup int* seats;    // the column of each, or -1; behind them where these go
  threadgroup uint* slots;
};

inline WideMemory make_wide_memory(threadgroup float* G, threadgroup float4* told, threadgroup int* seats,
                                   threadgroup uint* slots) {
  WideMemory memory;
  memory.G = G;
  memory.told = told;
  memory.seats = seats;
  memory.slots = slots;
  return memory;
}

// The column of a seat, which stays there unless it is sorted.
inline void take_seat(WideMemory memory, int seat, int column) {
  memory.seats[seat] = column;
  memory.seats[wide_pair + seat] = column;
}

// The seat whose number is made of `slot` with the bit of `pass` put in: 0 for p, 1 for q.
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
  // Lanes side by side have the same slots, other rows: they are told the same rotations.
  const int rows_together = int(limits::simd_width) / wide_lanes_of_row;
  const int part = lane / rows_together;
  WideRows rows;
  rows.is_q = simdgroup % 4 >= 2;
  rows.first_row = (simdgroup % 2 * rows_together + lane % rows_together) * wide_rows_held;
  rows.first_slot = (rows.first_row + part * wide_slots_held) % wide_columns;
  rows.one = part == 0 ? 1.0f : 0.0f;
  rows.behind = ushort((lane + rows_together) % int(limits::simd_width));
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

inline float2 choose_wide_rotation(WideEntries diagonal, float scale, float tolerance) {
  const bool needed = needs_rotation(diagonal.pp, diagonal.qq, diagonal.pq, tolerance);
  const Rotation<float> rotation = orthogonalizing_rotation(diagonal.pp, diagonal.qq, diagonal.pq, scale);
  return float2(needed ? rotation.sigma : 0.0f, needed ? rotation.sigma_by_1pc : 0.0f);
}

// Where a lane finds what it is told, and leaves what others are, in steps of even number; in those of odd number
// wide_told words further, but for what comes from the step before.
struct WidePlaces {
  threadgroup float* own;       // the rotation of its slot
  threadgroup float* others;    // the first of those that columns of G take, or slots of J
  threadgroup float* arriving;  // what is left for it
  threadgroup float* leaving;   // where it leaves the qp that goes to another SIMD-group
};

inline WidePlaces make_wide_places(WideMemory memory, WideRows rows, int simdgroup, int lane) {
  threadgroup float* const told = (threadgroup float*)memory.told;
  threadgroup float* const edges = told + wide_edges;
  const int group = simdgroup % 4;
  // Distance 17 from slot a is distance 15 seen from slot a + 17, and comes back as pq to the SIMD-group that has this.
  const int back = 3 * limits::simd_width + (lane + wide_columns - wide_distances) % wide_columns;
  const int on = wide_edge_kind + (group + 1) % 4 * limits::simd_width + (lane + wide_columns - 1) % wide_columns;
  WidePlaces places;
  places.own = told + 2 * lane;
  places.others = simdgroup < 4 ? places.own + 2 * first_distance(simdgroup)
                                : told + (rows.is_q ? int(wide_told_to_q) : 0) + 2 * rows.first_slot;
  places.arriving = edges + group * limits::simd_width + lane;
  places.leaving = edges + (group == 3 ? back : on);
  return places;
}

// Tells the rotation of the lane's slot, once the q have moved so far.
inline void tell_rotation(float2 rotation, int move, int lane, threadgroup float* own) {
  threadgroup float2* const told = (threadgroup float2*)own;
  told[0] = rotation;
  told[wide_told_to_q / 2 - lane + int(wide_columns - 1 - uint(lane + move) % wide_columns)] = rotation;
  if (lane < wide_columns / 2) told[wide_columns] = rotation;
}

inline Rotation<float> make_rotation(float2 words) {
  Rotation<float> rotation;
  rotation.sigma = words.x;
  rotation.sigma_by_1pc = words.y;
  return rotation;
}

// What comes from other SIMD-groups, by the place where it was left.
template <int held>
inline void receive_edges(thread WideGram& gram, threadgroup const float* arriving) {
  gram.at[held - 1].pq = arriving[0];
  gram.at[0].qp = held == wide_first_distances ? gram.at[0].pq : arriving[wide_edge_kind];
}

// Left as if it came from others, so that the first step of a pass finds it.
inline void leave_own_edges(thread const WideGram& gram, threadgroup float* arriving, int simdgroup) {
  arriving[0] = simdgroup == 0 ? gram.at[wide_first_distances - 1].pq : gram.at[wide_distances_held - 1].pq;
  arriving[wide_edge_kind] = gram.at[0].qp;
}

// The rotations of a step on `held` of the distances, `own` that of the lane's slot.
template <int held>
inline void rotate_gram(thread WideGram& gram, float2 own, threadgroup const float* others) {
  const Rotation<float> left = make_rotation(own);
#pragma unroll
  for (int k = 0; k < held; ++k) {
    const bool is_own = held == wide_first_distances && k == 0;
    const Rotation<float> right = is_own ? left : make_rotation(((threadgroup const float2*)others)[k]);
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
inline void move_gram(thread WideGram& gram, WidePlaces places, int parity, int simdgroup, int lane) {
  const ushort behind = ushort((lane + 1) % wide_columns);
#pragma unroll
  for (int k = 0; k < held; ++k) gram.at[k].qq = simd_shuffle(gram.at[k].qq, behind);
  if (held == wide_first_distances) {
    places.leaving[parity * wide_told] = gram.at[held - 1].qp;
  } else {
    places.arriving[parity * wide_told - limits::simd_width] = gram.at[0].pq;
    places.leaving[parity * wide_told] = simdgroup == 3 ? gram.at[held - 2].qp : gram.at[held - 1].qp;
  }
#pragma unroll
  for (int k = held - 1; k > 0; --k) gram.at[k].qp = simd_shuffle(gram.at[k - 1].qp, behind);
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

template <int stride>
inline void load_gram(threadgroup const float* G, int pass, int simdgroup, int lane, thread WideGram& gram) {
  const int p = wide_column(pass, lane, false);
  const int q = wide_q_column(pass, lane, first_move(pass));
#pragma unroll
  for (int k = 0; k < wide_distances_held; ++k) {
    const int slot = (lane + first_distance(simdgroup) + k) % wide_columns;
    const int p_of_slot = wide_column(pass, slot, false) * stride;
    const int q_of_slot = wide_q_column(pass, slot, first_move(pass)) * stride;
    gram.at[k].pp = G[p_of_slot + p];
    gram.at[k].qp = G[p_of_slot + q];
    gram.at[k].pq = G[q_of_slot + p];
    gram.at[k].qq = G[q_of_slot + q];
  }
}

// Both triangles of G, its rows wide_solved_stride apart. Distance 16 is held twice, by lanes that agree but for
// rounding: those of the first half count.
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
    G[p_of_slot * wide_solved_stride + p] = entries.pp;
    G[q_of_slot * wide_solved_stride + p] = entries.pq;
    G[q_of_slot * wide_solved_stride + q] = entries.qq;
    G[p * wide_solved_stride + q_of_slot] = entries.pq;
    if (distance == 0) continue;
    G[p_of_slot * wide_solved_stride + q] = entries.qp;
    G[p * wide_solved_stride + p_of_slot] = entries.pp;
    G[q * wide_solved_stride + q_of_slot] = entries.qq;
    G[q * wide_solved_stride + p_of_slot] = entries.qp;
  }
}

// Whether the columns of a lane's slots are neighbours, as they are but in the last passes: then a row of them is moved
// at once. The slots of rows of q, which are counted backwards, stand in it the other way round.
inline bool moves_fours(int pass) { return wide_columns >> pass >= wide_slots_held; }

inline float4 four_of_row(thread const float* x, bool is_q, float sign) {
  return is_q ? float4(sign * x[3], sign * x[2], sign * x[1], sign * x[0]) : float4(x[0], x[1], x[2], x[3]);
}
inline void take_four(float4 four, bool is_q, float sign, thread float* x) {
  x[0] = is_q ? sign * four.w : four.x;
  x[1] = is_q ? sign * four.z : four.y;
  x[2] = is_q ? sign * four.y : four.z;
  x[3] = is_q ? sign * four.x : four.w;
}

// Row after row, wide_product_stride apart, once a pass is over.
inline void store_product(thread const WideProduct& product, WideRows rows, int pass, threadgroup float* words) {
  if (moves_fours(pass)) {
    const int first = rows.is_q ? wide_slots_held - 1 : 0;
    threadgroup float* const still = words + still_column(rows, pass, first);
    threadgroup float* const moving = words + moving_column(rows, pass, last_move(pass), first);
#pragma unroll
    for (int r = 0; r < wide_rows_held; ++r) {
      const int row = row_of_product(rows, pass, r) * wide_product_stride;
      *(threadgroup float4*)(still + row) = four_of_row(product.still[r], rows.is_q, 1.0f);
      *(threadgroup float4*)(moving + row) = four_of_row(product.moving[r], rows.is_q, -1.0f);
    }
  } else {
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
}

inline void load_product(threadgroup const float* words, WideRows rows, int pass, thread WideProduct& product) {
  if (moves_fours(pass)) {
    const int first = rows.is_q ? wide_slots_held - 1 : 0;
    threadgroup const float* const still = words + still_column(rows, pass, first);
    threadgroup const float* const moving = words + moving_column(rows, pass, first_move(pass), first);
#pragma unroll
    for (int r = 0; r < wide_rows_held; ++r) {
      const int row = row_of_product(rows, pass, r) * wide_product_stride;
      take_four(*(threadgroup const float4*)(still + row), rows.is_q, 1.0f, product.still[r]);
      take_four(*(threadgroup const float4*)(moving + row), rows.is_q, -1.0f, product.moving[r]);
    }
  } else {
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
}

// The shape alone decides: fewer columns take a sweep more where more is turned.
inline BlockTolerances make_wide_tolerances(long rows, long columns) {
  return make_block_tolerances(int(rows), int(columns), columns >= limits::block_wide_more_columns);
}

// What the SIMD-groups have found together, once they have left it in their slots, and the largest of their sums
// behind.
inline uint found_by_all(threadgroup const uint* slots) {
  uint found = found_nothing;
#pragma unroll
  for (int k = 0; k < limits::block_simdgroups; ++k) found |= slots[k];
  return found;
}
inline float sum_of_all(threadgroup const uint* slots) {
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < limits::block_simdgroups; ++k)
    sum = max(sum, as_type<float>(slots[limits::block_simdgroups + k]));
  return sum;
}

// Where these are when the columns of a table are sorted: nobody is told anything then.
inline threadgroup int* keys_of(WideMemory memory) { return (threadgroup int*)memory.told; }

// What the column of a seat is sorted by: all but the last bits of its square, then the seat. Rounding can leave a
// square below zero: that column still stands before empty seats.
inline int wide_key(float square, int seat, threadgroup const int* seats) {
  const int numbers = wide_pair - 1;
  return seats[seat] >= 0 ? (as_type<int>(max(square, 0.0f)) & ~numbers) + (numbers - seat) : -1 - seat;
}

// Where the columns of a table go, behind the seats: so that their squares descend with their numbers. Four lanes side
// by side look at a quarter of the seats each. Two barriers.
inline void sort_wide(threadgroup const int* keys, threadgroup int* columns, threadgroup int* seats, int thread_index) {
  const int seat = thread_index / 4;
  const int column = seats[seat];
  int larger_squares = 0;
  int smaller_columns = 0;
#pragma unroll
  for (int k = 0; k < wide_pair / 4; ++k) {
    const int other = 4 * k + thread_index % 4;
    larger_squares += keys[other] > keys[seat] ? 1 : 0;
    smaller_columns += uint(seats[other]) < uint(column) ? 1 : 0;  // an empty seat is larger than any
  }
#pragma unroll
  for (ushort distance = 1; distance < 4; distance *= 2) {
    larger_squares += simd_shuffle_xor(larger_squares, distance);
    smaller_columns += simd_shuffle_xor(smaller_columns, distance);
  }
  if (thread_index % 4 == 0 && column >= 0) columns[smaller_columns] = column;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (thread_index % 4 == 0) seats[wide_pair + seat] = column < 0 ? -1 : columns[larger_squares];
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// A step, `parity` its number modulo 2, before the barrier that ends it. `own` is the rotation of the lane's slot in
// the SIMD-group that finds these.
inline void wide_step(WidePlaces places, int parity, int move, float tolerance, WideRows rows, int simdgroup, int lane,
                      thread WideGram& gram, thread WideProduct& product, thread float2& own) {
  const int now = parity * wide_told;
  const int other = (1 - parity) * wide_told;
  if (simdgroup == 0) {
    // A step changes the larger of two squares little: the scale of the next rotation need not wait for this one.
    const float next_qq = simd_shuffle(gram.at[0].qq, ushort((lane + 1) % wide_columns));
    const float scale = inverse_power(max(gram.at[0].pp, next_qq));
    receive_edges<wide_first_distances>(gram, places.arriving + other);
    rotate_gram<wide_first_distances>(gram, own, places.others + now);
    move_gram<wide_first_distances>(gram, places, parity, 0, lane);
    own = choose_wide_rotation(gram.at[0], scale, tolerance);
    tell_rotation(own, move + 1, lane, places.own + other);
  } else if (simdgroup < 4) {
    receive_edges<wide_distances_held>(gram, places.arriving + other);
    rotate_gram<wide_distances_held>(gram, *(threadgroup const float2*)(places.own + now), places.others + now);
    move_gram<wide_distances_held>(gram, places, parity, simdgroup, lane);
  } else {
    step_of_product(product, (threadgroup const float4*)(places.others + now), rows);
  }
}

// What all hold stands where a pass leaves it, and then where the next one wants it: first G, then J - I. Three
// barriers.
inline void change_pass(threadgroup float* words, int before, int pass, int simdgroup, int lane, thread WideGram& gram,
                        thread WideProduct& product) {
  // The same lane, which a compiler does not know: it would keep all addresses here in registers while steps run.
  const int here = int(simd_shuffle(uint(lane), ushort(lane)));
  const WideRows rows = make_wide_rows(simdgroup, here);
  const bool holds_gram = simdgroup < 4;
  if (holds_gram) store_gram(gram, before, simdgroup, here, words);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (holds_gram) load_gram<wide_solved_stride>(words, pass, simdgroup, here, gram);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (!holds_gram) store_product(product, rows, before, words);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (!holds_gram) load_product(words, rows, pass, product);
}

// J - I in the place of G by rotations one after the other, and if that `sorts` the keys of the seats. G is known to
// all threads. One barrier a step and one a pass, three between two passes.
inline void rotate_in_passes(WideMemory memory, int passes, bool sorts, float tolerance, Team team) {
  const int simdgroup = int(simd_broadcast_first(uint(team.simdgroup)));
  const int lane = team.lane;
  const bool holds_gram = simdgroup < 4;
  const WideRows rows = make_wide_rows(simdgroup, lane);
  WideState state;
  thread WideGram& gram = state.gram;
  thread WideProduct& product = state.product;
  const WidePlaces places = make_wide_places(memory, rows, simdgroup, lane);
  float2 rotation = float2(0.0f, 0.0f);  // of the lane's slot, in the first SIMD-group
  if (holds_gram) {
    load_gram<wide_pair>(memory.G, 0, simdgroup, lane, gram);
  } else {
    clear_product(product);
  }
  int pass = 0;
  for (int done = 0; done < passes; ++done) {
    if (done > 0) {
      const int before = pass;
      pass = pass + 1 < limits::block_wide_passes ? pass + 1 : 0;
      change_pass(memory.G, before, pass, simdgroup, lane, gram, product);
    }
    if (simdgroup == 0) {
      const float scale = inverse_power(max(gram.at[0].pp, gram.at[0].qq));
      rotation = choose_wide_rotation(gram.at[0], scale, tolerance);
      tell_rotation(rotation, first_move(pass), lane, places.own);
    }
    if (holds_gram) leave_own_edges(gram, places.arriving + wide_told, simdgroup);
    threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll 1
    for (int move = first_move(pass); move < last_move(pass); move += 2) {
      wide_step(places, 0, move, tolerance, rows, simdgroup, lane, gram, product, rotation);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      wide_step(places, 1, move + 1, tolerance, rows, simdgroup, lane, gram, product, rotation);
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    if (simdgroup == 0) {
      receive_edges<wide_first_distances>(gram, places.arriving + wide_told);
    } else if (holds_gram) {
      receive_edges<wide_distances_held>(gram, places.arriving + wide_told);
    }
  }
  if (sorts && simdgroup == 0) {
    const int p = wide_column(pass, lane, false);
    const int q = wide_q_column(pass, lane, last_move(pass));
    keys_of(memory)[p] = wide_key(gram.at[0].pp, p, memory.seats);
    keys_of(memory)[q] = wide_key(gram.at[0].qq, q, memory.seats);
  }
  if (!holds_gram) store_product(product, rows, pass, memory.G);
}

// J - I in the place of G, where J makes the Gram matrix G of a table more diagonal, and where each column goes if the
// sweep sorts them. Returns what there was to rotate; where it was nothing, all stays as it was. G and the seats are
// known to all threads. One barrier, those of exponential_of_wide or rotate_in_passes, and one more, or three.
inline uint solve_wide(WideMemory memory, int sweep, int passes, BlockTolerances tolerances, Team team) {
  const bool sorts = limits::block_sweep_sorts(sweep);
  WideTile X;
  const WideAngles angles = find_wide_angles(memory.G, tolerances, team.index, X);
  if (team.lane == 0) {
    memory.slots[team.simdgroup] = angles.found;
    memory.slots[limits::block_simdgroups + team.simdgroup] = as_type<uint>(angles.sum);
  }
  if (sorts && team.index < wide_pair) {
    // Small rotations change the squares little.
    keys_of(memory)[team.index] = wide_key(memory.G[team.index * (wide_pair + 1)], team.index, memory.seats);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint found = found_by_all(memory.slots);
  if (!asks_for_rotation(found)) return found_nothing;
  if (sum_of_all(memory.slots) <= wide_most_sum(sweep)) {
    exponential_of_wide(X, memory.G, memory.slots, team);
  } else {
    rotate_in_passes(memory, passes, sorts, tolerances.cosine, team);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (!sorts) return found;
  sort_wide(keys_of(memory), keys_of(memory) + wide_pair, memory.seats, team.index);
  // Columns that have changed their seats may have missed others: that all were small here does not tell of these.
  return found | found_wide;
}

}  // namespace metalsvd
