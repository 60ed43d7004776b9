// Method `block` on real numbers: the rotations of a pair of blocks of 32 columns, from its Gram matrix G, by one
// threadgroup, in registers.
//
// Columns stand in 32 slots of two, p and q. A step rotates the two of every slot, then the q move on by one slot; 32
// steps, a pass, bring all p together with all q. Four SIMD-groups hold G, lane a what rows of slot a have in columns
// of the slots a + d (modulo 32), for a few distances d each; since G is symmetric, 0 <= d <= 16 are all there is. With
// the q move, of the 2 x 2 entries at distance d, pp stays, qq goes to the lane before, pq to distance d - 1, and qp to
// the lane before and distance d + 1: few numbers pass from one SIMD-group to another, through threadgroup memory. The
// SIMD-group with distances 0 and 1 knows the next rotations first, and tells them. The four others hold J, two lanes a
// row of it.
//
// The first pass meets the columns of one block with those of the other. Passes within, in which p are the columns
// whose number in the pair has a certain bit of five clear, meet those that have the bits above it in common, and some
// once more: these stand few slots apart, so that such a pass starts with the q a little before and ends a little
// after.
#pragma once
#include <metal_stdlib>

#include "block_solve.h"
#include "block_wide.h"
#include "common/convergence.h"
#include "common/power_of_two.h"
#include "common/rotation.h"
#include "common/team.h"

namespace metalsvd {

using namespace metal;

enum : int {
  wide_distances = wide_columns / 2 + 1,
  // The first SIMD-group of G holds distances 0 and 1, the others so many.
  wide_first_distances = 2,
  wide_distances_held = (wide_distances - wide_first_distances) / 3,
  // Slots of J that a lane holds of its row.
  wide_slots_held = wide_columns / 2
};

// What a threadgroup keeps beside G or J.
struct WideMemory {
  threadgroup float* G;           // 64 x 64, J - I once it is solved, of wide_product_stride
  threadgroup float4* rotations;  // sigma and sigma / (1 + c) of 32 slots, of two steps
  threadgroup float* edges;       // what passes between the SIMD-groups of G: [step % 2][pq or qp][SIMD-group][lane]
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
enum : int { wide_rotations = wide_columns + 4, wide_edges = 2 * 2 * 4 * limits::simd_width };

// The column whose number in the pair is made of `slot` with the bit of `pass` put in: 0 for p, 1 for q.
inline int wide_column(int pass, int slot, bool is_q) {
  const int side = wide_columns >> pass;
  return slot / side * 2 * side + slot % side + (is_q ? side : 0);
}

// How far the q have moved before a pass and after it, and so how many steps it has.
inline int first_move(int pass) { return pass == 0 ? 0 : wide_columns + 1 - (wide_columns >> pass); }
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

// Row `row` of J - I in the p and q of half of the slots.
struct WideProduct {
  float p[wide_slots_held];
  float q[wide_slots_held];
  int p_slot;  // of the one where J has the 1 of I, counted from the first on this side; or a number that is no slot
  int q_slot;
};

// The distances that a SIMD-group of G holds.
inline int first_distance(int simdgroup) {
  return simdgroup == 0 ? 0 : wide_first_distances + (simdgroup - 1) * wide_distances_held;
}
inline int count_of_distances(int simdgroup) {
  return simdgroup == 0 ? int(wide_first_distances) : int(wide_distances_held);
}

// The rotation of two columns, as orthogonalizing_rotation but with a shorter chain of operations, which is what a step
// takes: the tangent of half the angle by a polynomial in that of the angle, T, to a relative 2^-12, of which the next
// sweep turns by what is missing, and the sine from it by Newton's method, to the last bit or two.
inline float2 quick_rotation(float alpha, float beta, float gamma) {
  const uint exponent = as_type<uint>(max(alpha, beta)) & not_finite_bits;
  const float unit = as_type<float>(0x7f000000u - min(exponent, 0x7e800000u));
  const float difference = beta - alpha;
  const float u = fabs(difference) * unit;
  const float v = 2.0f * fabs(gamma) * unit;
  const float square = fma(v, v, u * u);
  const float T = v * reciprocal(fma(square, rsqrt(square), u));
  const float z = T * T;
  const float size = T * fma(fma(fma(-0.01326351f, z, 0.05035122f), z, -0.12285041f), z, 0.49993526f);
  const float t = (difference < 0.0f) == (gamma < 0.0f) ? size : -size;
  // 1 / (1 + t^2), |t| <= tan(pi / 8)
  const float y = fma(t, t, 1.0f);
  float inverse = fma(fma(0.78538595f, t * t, -0.98617149f), t * t, 0.9998086f);
  inverse = fma(fma(-y, inverse, 1.0f), inverse, inverse);
  const float sine = 2.0f * t * inverse;
  return float2(fma(fma(-y, sine, 2.0f * t), inverse, sine), t);
}

inline float2 choose_wide_rotation(WideEntries diagonal, float tolerance) {
  const bool needed = needs_rotation(diagonal.pp, diagonal.qq, diagonal.pq, tolerance);
  const float2 rotation = quick_rotation(diagonal.pp, diagonal.qq, diagonal.pq);
  return needed ? rotation : float2(0.0f, 0.0f);
}

// Where the rotation of a slot stands: those of the second half so that the two lanes of a row meet in no bank.
inline int place_of_rotation(int slot) { return slot + slot / wide_slots_held * 2; }

inline Rotation<float> make_rotation(float2 words) {
  Rotation<float> rotation;
  rotation.sigma = words.x;
  rotation.sigma_by_1pc = words.y;
  return rotation;
}

// One step of `held` of the distances, from `first` on.
template <int held>
inline void step_of_gram(thread WideGram& gram, int first, float2 own, threadgroup const float2* rotations, int lane) {
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
  threadgroup float* const pq_edges = edges + simdgroup * limits::simd_width;
  threadgroup float* const qp_edges = edges + (4 + simdgroup) * limits::simd_width;
  pq_edges[lane] = gram.at[0].pq;
  qp_edges[lane] = gram.at[held - 1].qp;
  // Distance 17 from slot a is distance 15 seen from slot a + 17. The other SIMD-groups have no use for it.
  const float far = simd_shuffle(gram.at[held - 2].qp, ushort((lane + wide_distances) % wide_columns));
  float moved[held];
#pragma unroll
  for (int k = 0; k < held; ++k) {
    gram.at[k].qq = simd_shuffle(gram.at[k].qq, behind);
    moved[k] = simd_shuffle(gram.at[k].qp, behind);
  }
#pragma unroll
  for (int k = 0; k < held; ++k) {
    gram.at[k].pq = k + 1 < held ? gram.at[min(k + 1, held - 1)].pq : far;
    if (k > 0) gram.at[k].qp = moved[max(k - 1, 0)];
  }
}

template <int held>
inline void receive_edges(thread WideGram& gram, threadgroup const float* edges, int simdgroup, int lane) {
  if (simdgroup < 3) gram.at[held - 1].pq = edges[(simdgroup + 1) * limits::simd_width + lane];
  gram.at[0].qp =
      simdgroup > 0 ? edges[(4 + simdgroup - 1) * limits::simd_width + (lane + 1) % wide_columns] : gram.at[0].pq;
}

// J = J times the rotations of a step, and the q move on.
// Apart from the 1, whose place no loop over registers knows: what it adds to the two columns of its slot.
inline void step_of_product(thread WideProduct& product, threadgroup const float4* rotations, int side) {
  const bool in_p = product.p_slot >= 0;
  const int slot = in_p ? product.p_slot : product.q_slot;
  const float2 at_one =
      ((threadgroup const float2*)rotations)[place_of_rotation((slot + side * wide_slots_held) % wide_columns)];
  const float square = -at_one.x * at_one.y;
  const float to_p = in_p ? square : -at_one.x;
  const float to_q = in_p ? at_one.x : square;
#pragma unroll
  for (int k = 0; k < wide_slots_held; k += 2) {
    const float4 two = rotations[(place_of_rotation(side * wide_slots_held) + k) / 2];
    const float sigma[2] = {two.x, two.z};
    const float sigma_by_1pc[2] = {two.y, two.w};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float x = product.p[k + i];
      const float y = product.q[k + i];
      product.p[k + i] = fma(-sigma[i], fma(sigma_by_1pc[i], x, y), x);
      product.q[k + i] = fma(sigma[i], fma(-sigma_by_1pc[i], y, x), y);
      if (k + i == slot) {
        product.p[k + i] += to_p;
        product.q[k + i] += to_q;
      }
    }
  }
  const float arriving = simd_shuffle_xor(product.q[0], ushort(1));
#pragma unroll
  for (int k = 0; k + 1 < wide_slots_held; ++k) product.q[k] = product.q[k + 1];
  product.q[wide_slots_held - 1] = arriving;
  // From slot 0 of one side to the last of the other; those of the other side are at 16 to 31.
  product.q_slot = product.q_slot >= 0 ? (product.q_slot + wide_columns - 1) % wide_columns : product.q_slot;
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

// Where the 1 of row `row` of I stands before a pass.
inline void place_one(int pass, int row, int side, thread WideProduct& product) {
  const int bit = wide_columns >> pass;
  const bool in_p = (row & bit) == 0;
  const int slot = row / (2 * bit) * bit + row % bit + (in_p ? 0 : 2 * wide_columns - first_move(pass));
  const int counted = (slot + wide_columns - side * wide_slots_held) % wide_columns;
  product.p_slot = in_p ? counted : -1;
  product.q_slot = in_p ? -1 : counted;
}

// A lane's half of a row, after a pass: entries `stride` apart from column to column.
inline void store_product(thread const WideProduct& product, int pass, int side, int stride, threadgroup float* row) {
#pragma unroll
  for (int k = 0; k < wide_slots_held; ++k) {
    const int slot = side * wide_slots_held + k;
    row[wide_column(pass, slot, false) * stride] = product.p[k];
    row[wide_q_column(pass, slot, last_move(pass)) * stride] = product.q[k];
  }
}

inline void load_product(threadgroup const float* row, int pass, int side, int stride, thread WideProduct& product) {
#pragma unroll
  for (int k = 0; k < wide_slots_held; ++k) {
    const int slot = side * wide_slots_held + k;
    product.p[k] = row[wide_column(pass, slot, false) * stride];
    product.q[k] = row[wide_q_column(pass, slot, first_move(pass)) * stride];
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

// Where column j of the pair goes when its columns stand in descending order of the squares (see place_in_order).
inline int wide_place_in_order(threadgroup const float* squares, int j, Blocks blocks) {
  const float square = max(squares[j], 0.0f);
  int place = 0;
  for (int other = 0; other < wide_pair; ++other) {
    const float beside = max(squares[other], 0.0f);
    const bool is_before = beside > square || (beside == square && other < j);
    place += exists_in_pair(other, blocks) && is_before ? 1 : 0;
  }
  return place < blocks.width ? place : wide_columns + place - blocks.width;
}

// J - I in the place of G, where J makes the pair's Gram matrix G more diagonal, and the place of each column. Returns
// what there was to rotate; where it was nothing, all stays as it was. G is known to all threads. Two barriers for the
// look at G, one a step and one a pass, three between two passes, and two more.
inline uint solve_wide(WideMemory memory, Blocks blocks, int passes, Tolerances tolerances, Team team) {
  const uint found = look_for_wide_rotations(memory.G, passes > 1, tolerances, memory.slots, team);
  if (found == found_nothing) return found;

  const bool holds_gram = team.simdgroup < 4;
  const int row = (team.simdgroup - 4) * (limits::simd_width / 2) + team.lane / 2;
  const int side = team.lane % 2;
  WideGram gram;
  WideProduct product;
  load_gram(memory.G, 0, team.simdgroup % 4, team.lane, gram);
#pragma unroll
  for (int k = 0; k < wide_slots_held; ++k) {
    product.p[k] = 0.0f;
    product.q[k] = 0.0f;
  }
  place_one(0, max(row, 0), side, product);

  int pass = 0;
  for (int done = 0; done < passes; ++done) {
    if (done > 0) {
      const int before = pass;
      pass = pass + 1 < limits::block_wide_passes ? pass + 1 : 0;
      if (holds_gram) store_gram(gram, before, team.simdgroup, team.lane, memory.G);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (holds_gram) load_gram(memory.G, pass, team.simdgroup, team.lane, gram);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (!holds_gram) store_product(product, before, side, wide_pair, memory.G + row);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (!holds_gram) {
        load_product(memory.G + row, pass, side, wide_pair, product);
        place_one(pass, row, side, product);
      }
    }
    float2 own = float2(0.0f, 0.0f);
    if (team.simdgroup == 0) {
      own = choose_wide_rotation(gram.at[0], tolerances.cosine);
      ((threadgroup float2*)memory.rotations)[place_of_rotation(team.lane)] = own;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int step = 0; step < last_move(pass) - first_move(pass); ++step) {
      threadgroup const float4* const now = memory.rotations + step % 2 * (wide_rotations / 2);
      threadgroup const float2* const each = (threadgroup const float2*)now;
      threadgroup float2* const next = (threadgroup float2*)(memory.rotations + (step + 1) % 2 * (wide_rotations / 2));
      threadgroup float* const edges = memory.edges + step % 2 * (wide_edges / 2);
      if (team.simdgroup == 0) {
        step_of_gram<wide_first_distances>(gram, 0, own, each, team.lane);
        move_gram<wide_first_distances>(gram, edges, 0, team.lane);
        own = choose_wide_rotation(gram.at[0], tolerances.cosine);
        next[place_of_rotation(team.lane)] = own;
      } else if (holds_gram) {
        step_of_gram<wide_distances_held>(gram, first_distance(team.simdgroup), each[place_of_rotation(team.lane)],
                                          each, team.lane);
        move_gram<wide_distances_held>(gram, edges, team.simdgroup, team.lane);
      } else {
        step_of_product(product, now, side);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (team.simdgroup == 0) {
        receive_edges<wide_first_distances>(gram, edges, 0, team.lane);
      } else if (holds_gram) {
        receive_edges<wide_distances_held>(gram, edges, team.simdgroup, team.lane);
      }
    }
  }

  threadgroup float* const squares = (threadgroup float*)memory.rotations;  // which nobody reads any more
  if (team.simdgroup == 0) {
    squares[wide_column(pass, team.lane, false)] = gram.at[0].pp;
    squares[wide_q_column(pass, team.lane, last_move(pass))] = gram.at[0].qq;
  }
  if (!holds_gram) store_product(product, pass, side, 1, memory.G + row * wide_product_stride);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.index < wide_pair) memory.places[team.index] = wide_place_in_order(squares, team.index, blocks);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return found;
}

}  // namespace metalsvd
