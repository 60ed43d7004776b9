// The lines of pairs of columns of method `simdgroup` (kernels/simdgroup.h): who holds what, and how columns and what
// the lanes of a matrix must agree on come from one lane to another.
//
// A group of lanes holds as many lines as it has room for: a SIMD-group, or, where lines are `spread`, all SIMD-groups
// of the threadgroup. Lanes of a SIMD-group exchange by SIMD operations. From one SIMD-group to another a column goes
// through a box in threadgroup memory. A box belongs to a pair and the next of its line and is used in turn: what one
// of the two pairs has put there the other takes a barrier later, each lane the words of its part, before it puts
// something there itself. So a round needs one barrier, and lines that are not spread need none.
#pragma once
#include <metal_stdlib>

#include "common/entries.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/team.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// Threadgroup memory of a group of lanes, for all its matrices.
struct LineMemory {
  threadgroup float4* boxes;  // and whatever else lanes tell each other before and after the sweeps
  int float4s;                // that have room there
  threadgroup int* origins;   // where B is factored: for each row of W the column of B that it comes from
  threadgroup uint* marks;    // where lines are spread a word for each SIMD-group
};

inline LineMemory make_line_memory(threadgroup float4* boxes, int float4s, threadgroup int* origins,
                                   threadgroup uint* marks) {
  LineMemory memory;
  memory.boxes = boxes;
  memory.float4s = float4s;
  memory.origins = origins;
  memory.marks = marks;
  return memory;
}

// That a pair has where Q is kept, and complex ones without.
enum : int { pair_columns = 2 };

// One lane's entries of the columns of a pair: of W, which is B until it has been factored, and of Q below it, rows
// part, part + parts, part + 2 parts, ... They count in two halves, which sweeps skip where they are not used.
template <typename T, int entries>
struct Columns {
  enum : int { step = 16 / sizeof(T), first_half = (entries / 2 + step - 1) / step * step };
  T W[pair_columns][entries];
  T Q[pair_columns][entries];
  float squares[pair_columns];  // of those of W, to the rounding errors of the rotations since they were summed up
};

// Where a lane stands, and which of its registers its matrix uses.
template <bool is_spread>
struct Stand {
  int lane;  // of the SIMD-group
  int simdgroup;
  int simdgroups;  // over which lines may be spread, or 1
  int matrix;      // of the group; one beyond the last for lanes that are left over
  int matrices;    // of the group
  int pair;
  int part;
  int parts;
  int pairs_in_line;
  int columns;
  int first_slot;  // of the matrix. Slots are the places for pairs, numbered through the group
  bool factors;    // B is factored first
  bool tells_Q;    // columns of Q go with those of W
  bool rests;      // a block of the line does in each round (kernels/simdgroup_blocks.h)
  int w_used;      // entries of a column of W
  int q_used;      // none without vectors
  // The same part of the neighbours, as if the line were a ring: the lane, or where it is another SIMD-group's, this
  // lane itself and the box between, which is otherwise none. Lanes that are left over see themselves.
  ushort lane_before;
  ushort lane_after;
  int box_before;
  int box_after;
  bool has_end;  // whether a line ends in this SIMD-group
  LineMemory memory;
};

enum : int { no_box = -1 };

// The box before a pair that stands at `slot`, in another SIMD-group than its neighbour: each SIMD-group has one for a
// line that goes on in it, and one for a line that begins in it, not at its first slot, and goes on behind it.
template <bool is_spread>
inline int box_of(int slot, bool is_first, int slots_of_simdgroup, Stand<is_spread> stand) {
  const int simdgroup = slot / slots_of_simdgroup;
  return is_first && slot % slots_of_simdgroup != 0 ? stand.simdgroups + simdgroup : simdgroup;
}

template <bool is_spread>
inline bool has_matrix(Stand<is_spread> stand) {
  return stand.matrix < stand.matrices;
}

template <bool is_spread>
inline bool stands_last(Stand<is_spread> stand) {
  return stand.pair == stand.pairs_in_line - 1;
}

template <bool is_spread>
inline int row_of(Stand<is_spread> stand, int t) {
  return stand.part + t * stand.parts;
}

// As if its matrix used so many entries of a column of W and of Q.
template <bool is_spread>
inline Stand<is_spread> with_used(Stand<is_spread> stand, int of_W, int of_Q) {
  stand.w_used = of_W;
  stand.q_used = of_Q;
  return stand;
}

template <bool is_spread>
inline int slot_of(Stand<is_spread> stand) {
  return stand.first_slot + stand.pair;
}

// Pairs of so many columns each.
inline int pairs_of(int columns, int columns_of_pair) { return (columns + columns_of_pair - 1) / columns_of_pair; }

template <bool is_spread>
inline Stand<is_spread> make_stand(Shape shape, int pairs_in_line, int parts, LineMemory memory, Team team) {
  Stand<is_spread> stand;
  stand.parts = parts;
  stand.pairs_in_line = pairs_in_line;
  stand.columns = shape.columns;
  stand.factors = is_spread && shape.columns > limits::simdgroup_plain_columns;
  const int of_columns = (shape.columns + stand.parts - 1) / stand.parts;
  const int of_rows = (shape.rows + stand.parts - 1) / stand.parts;
  stand.w_used = stand.factors ? of_columns : of_rows;
  stand.q_used = shape.left_columns == 0 ? 0 : stand.factors ? of_rows : of_columns;
  stand.tells_Q = true;
  stand.rests = false;
  stand.lane = team.lane;
  stand.simdgroup = is_spread ? team.simdgroup : 0;
  stand.simdgroups = is_spread ? team.simdgroups : 1;
  stand.memory = memory;
  const int slots = limits::simd_width / stand.parts;  // of a SIMD-group
  const int slot = stand.simdgroup * slots + team.lane / stand.parts;
  stand.matrices = stand.simdgroups * slots / stand.pairs_in_line;
  stand.matrix = slot / stand.pairs_in_line;
  stand.pair = slot % stand.pairs_in_line;
  stand.part = team.lane % stand.parts;
  stand.first_slot = slot - stand.pair;
  const bool is_first = stand.pair == 0;
  const bool is_last = stands_last(stand);
  const int before = !has_matrix(stand) ? slot : is_first ? slot + stand.pairs_in_line - 1 : slot - 1;
  const int after = !has_matrix(stand) ? slot : is_last ? stand.first_slot : slot + 1;
  const bool is_before_here = before / slots == stand.simdgroup;
  const bool is_after_here = after / slots == stand.simdgroup;
  stand.lane_before = ushort(is_before_here ? before % slots * stand.parts + stand.part : team.lane);
  stand.lane_after = ushort(is_after_here ? after % slots * stand.parts + stand.part : team.lane);
  stand.box_before = is_before_here ? int(no_box) : box_of(slot, is_first, slots, stand);
  stand.box_after = is_after_here ? int(no_box) : box_of(after, is_last, slots, stand);
  stand.has_end = simd_any(is_last);
  return stand;
}

// A barrier for the lanes of a group.
template <bool is_spread>
inline void group_barrier(Stand<is_spread>) {
  if (is_spread) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
  } else {
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// The same, and what they have written to device memory can be read.
template <bool is_spread>
inline void device_barrier(Stand<is_spread>) {
  if (is_spread) {
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  } else {
    simdgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  }
}

// The lanes of the SIMD-group where this holds, a bit each.
inline uint lanes_where(bool condition) { return uint(simd_vote::vote_t(simd_ballot(condition))); }

// The bits of those lanes of a SIMD-group of the group that hold the matrix.
template <bool is_spread>
inline uint lanes_of_matrix(Stand<is_spread> stand, int simdgroup) {
  const int first = stand.first_slot * stand.parts - simdgroup * limits::simd_width;
  const int behind = min(first + stand.pairs_in_line * stand.parts, int(limits::simd_width));
  if (behind <= 0 || first >= limits::simd_width) return 0u;
  const uint below_behind = 0xffffffffu >> (limits::simd_width - behind);
  return first <= 0 ? below_behind : below_behind & (0xffffffffu << first);
}

// Where a condition holds.
struct Holds {
  bool in_matrix;  // in a lane of this lane's matrix
  bool in_group;   // in any lane of the group
};

// Two barriers where lines are spread.
template <bool is_spread>
inline Holds where_it_holds(bool condition, Stand<is_spread> stand) {
  const uint lanes_here = lanes_where(condition);
  Holds holds;
  holds.in_group = lanes_here != 0u;
  holds.in_matrix = (lanes_here & lanes_of_matrix(stand, stand.simdgroup)) != 0u;
  if (!is_spread) return holds;
  if (stand.lane == 0) stand.memory.marks[stand.simdgroup] = lanes_here;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int simdgroup = 0; simdgroup < stand.simdgroups; ++simdgroup) {
    const uint lanes = stand.memory.marks[simdgroup];
    holds.in_group = holds.in_group || lanes != 0u;
    holds.in_matrix = holds.in_matrix || (lanes & lanes_of_matrix(stand, simdgroup)) != 0u;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return holds;
}

// The largest over the lanes of a group, told to each of them. Two barriers where lines are spread.
template <bool is_spread>
inline int max_over_group(int value, Stand<is_spread> stand) {
  int largest = simd_max(value);
  if (!is_spread) return largest;
  if (stand.lane == 0) stand.memory.marks[stand.simdgroup] = uint(largest);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int simdgroup = 0; simdgroup < stand.simdgroups; ++simdgroup) {
    largest = max(largest, int(stand.memory.marks[simdgroup]));
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return largest;
}

// The largest over the lanes of a matrix, told to each of them. Two barriers.
template <bool is_spread>
inline uint max_over_matrix(uint value, Stand<is_spread> stand) {
  for (int distance = 1; distance < stand.parts; distance *= 2) {
    value = max(value, simd_shuffle_xor(value, ushort(distance)));
  }
  threadgroup uint* words = (threadgroup uint*)stand.memory.boxes;
  if (stand.part == 0) words[slot_of(stand)] = value;
  group_barrier(stand);
  const int pairs = has_matrix(stand) ? stand.pairs_in_line : 0;
  for (int pair = 0; pair < pairs; ++pair) value = max(value, words[stand.first_slot + pair]);
  group_barrier(stand);
  return value;
}

// The sums of values over so many lanes next to each other, told to each of them; partners that are farthest come
// first. Four lanes hear of each other at once, which takes one shuffle's time rather than that of two in turn.
template <int count, typename T>
inline void sum_all_over_lanes(thread T* values, int lanes) {
  int far = lanes >> 1;
  for (; far > 1; far >>= 2) {
    const int near = far >> 1;
#pragma unroll
    for (int c = 0; c < count; ++c) {
      const T of_far = simd_shuffle_xor(values[c], ushort(far));
      const T of_near = simd_shuffle_xor(values[c], ushort(near));
      const T of_both = simd_shuffle_xor(values[c], ushort(far + near));
      values[c] = (values[c] + of_far) + (of_near + of_both);
    }
  }
  if (far != 1) return;
#pragma unroll
  for (int c = 0; c < count; ++c) values[c] += simd_shuffle_xor(values[c], ushort(1));
}

template <typename T>
inline T sum_over_lanes(T value, int lanes) {
  sum_all_over_lanes<1>(&value, lanes);
  return value;
}

// The same over the lanes of a pair.
template <typename T, bool is_spread>
inline T sum_over_parts(T value, Stand<is_spread> stand) {
  return sum_over_lanes(value, stand.parts);
}

// x^H y of columns of a pair, told to each of its lanes: the same to the last bit, however many they are.
template <int entries, typename T, bool is_spread>
inline T product_of_columns(thread const T* x, thread const T* y, Stand<is_spread> stand) {
  return sum_over_parts(product_of_entries<entries, limits::simdgroup_few_lanes(entries)>(x, y), stand);
}

// |x|^2, likewise.
template <int entries, typename T, bool is_spread>
inline float square_of_column(thread const T* x, Stand<is_spread> stand) {
  return sum_over_parts(square_of_entries<entries, limits::simdgroup_few_lanes(entries)>(x), stand);
}

// The same of the columns of a pair at once.
template <int entries, typename T, bool is_spread>
inline void squares_of_columns(thread const T (*columns)[entries], thread float* squares, Stand<is_spread> stand) {
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
    squares[c] = square_of_entries<entries, limits::simdgroup_few_lanes(entries)>(columns[c]);
  }
  sum_all_over_lanes<pair_columns>(squares, stand.parts);
}

// Two real numbers for an entry, to carry it beside others.
inline float2 to_floats(float a) { return float2(a, 0.0f); }
inline float2 to_floats(float2 a) { return a; }
template <typename T>
inline T from_floats(float x, float y);
template <>
inline float from_floats<float>(float x, float) {
  return x;
}
template <>
inline float2 from_floats<float2>(float x, float y) {
  return float2(x, y);
}

// 16 bytes of a column, at once to another lane.
inline float4 packed(thread const float* x) { return float4(x[0], x[1], x[2], x[3]); }
inline float4 packed(thread const float2* x) { return float4(x[0].x, x[0].y, x[1].x, x[1].y); }
inline void unpack(float4 words, thread float* x) {
  x[0] = words.x;
  x[1] = words.y;
  x[2] = words.z;
  x[3] = words.w;
}
inline void unpack(float4 words, thread float2* x) {
  x[0] = float2(words.x, words.y);
  x[1] = float2(words.z, words.w);
}

// What a lane puts into a box: its entries of W, the square, 16 bytes of which also keep the lanes of a pair in
// different banks, and its entries of Q.
template <int entries, typename T, bool is_spread>
inline threadgroup float4* place_in_box(int box, Stand<is_spread> stand) {
  const int bytes = limits::simdgroup_box_bytes(entries, sizeof(T), stand.tells_Q);
  return stand.memory.boxes + (box * stand.parts + stand.part) * (bytes / 16);
}

// Of `count` entries so many go in whole vectors, the others by themselves.
template <int count, typename T>
constexpr int packed_entries() {
  return count / (16 / int(sizeof(T))) * (16 / int(sizeof(T)));
}

template <int count, typename T>
inline void put_entries(thread const T* x, threadgroup float4* place) {
  const int step = 16 / sizeof(T);
  const int in_vectors = packed_entries<count, T>();
#pragma unroll
  for (int t = 0; t < in_vectors; t += step) place[t / step] = packed(x + t);
#pragma unroll
  for (int t = in_vectors; t < count; ++t) ((threadgroup T*)place)[t] = x[t];
}

template <int count, typename T>
inline void take_entries(thread T* x, threadgroup const float4* place) {
  const int step = 16 / sizeof(T);
  const int in_vectors = packed_entries<count, T>();
#pragma unroll
  for (int t = 0; t < in_vectors; t += step) unpack(place[t / step], x + t);
#pragma unroll
  for (int t = in_vectors; t < count; ++t) x[t] = ((threadgroup const T*)place)[t];
}

// Column number c of the pair: all entries, used or not, where there are vectors: few lanes have a box, and branches
// would cost all of them more.
template <int c, typename T, int entries, bool is_spread>
inline void put_into_box(thread const Columns<T, entries>& columns, int box, Stand<is_spread> stand) {
  const int step = Columns<T, entries>::step;
  threadgroup float4* place = place_in_box<entries, T>(box, stand);
  place[entries / step].x = columns.squares[c];
  put_entries<entries>(columns.W[c], place);
  if (stand.q_used > 0) put_entries<entries>(columns.Q[c], place + entries / step + 1);
}

template <int c, typename T, int entries, bool is_spread>
inline void take_from_box(thread Columns<T, entries>& columns, int box, Stand<is_spread> stand) {
  const int step = Columns<T, entries>::step;
  threadgroup const float4* place = place_in_box<entries, T>(box, stand);
  columns.squares[c] = place[entries / step].x;
  take_entries<entries>(columns.W[c], place);
  if (stand.q_used > 0) take_entries<entries>(columns.Q[c], place + entries / step + 1);
}

// x comes from lane `source`, for all lanes at once.
template <int count, typename T>
inline void shuffle_entries(thread T* x, ushort source) {
  const int step = 16 / sizeof(T);
  const int in_vectors = packed_entries<count, T>();
#pragma unroll
  for (int t = 0; t < in_vectors; t += step) unpack(simd_shuffle(packed(x + t), source), x + t);
#pragma unroll
  for (int t = in_vectors; t < count; ++t) x[t] = simd_shuffle(x[t], source);
}

template <int c, typename T, int entries, bool is_spread>
inline void shuffle_column(thread Columns<T, entries>& columns, ushort source, Stand<is_spread> stand) {
  const int first_half = Columns<T, entries>::first_half;
  columns.squares[c] = simd_shuffle(columns.squares[c], source);
  shuffle_entries<first_half>(columns.W[c], source);
  if (stand.w_used > first_half) shuffle_entries<entries - first_half>(columns.W[c] + first_half, source);
  if (stand.q_used > 0) shuffle_entries<first_half>(columns.Q[c], source);
  if (stand.q_used > first_half) shuffle_entries<entries - first_half>(columns.Q[c] + first_half, source);
}

template <int count, typename T>
inline void exchange_entries(thread T* x, thread T* y, bool exchanged) {
#pragma unroll
  for (int t = 0; t < count; ++t) {
    const T old = x[t];
    x[t] = exchanged ? y[t] : old;
    y[t] = exchanged ? old : y[t];
  }
}

template <typename T, int entries, bool is_spread>
inline void exchange_columns(thread Columns<T, entries>& columns, bool exchanged, Stand<is_spread> stand) {
  const int first_half = Columns<T, entries>::first_half;
  exchange_entries<1>(columns.squares, columns.squares + 1, exchanged);
  exchange_entries<first_half>(columns.W[0], columns.W[1], exchanged);
  if (stand.w_used > first_half) {
    exchange_entries<entries - first_half>(columns.W[0] + first_half, columns.W[1] + first_half, exchanged);
  }
  if (stand.q_used > 0) exchange_entries<first_half>(columns.Q[0], columns.Q[1], exchanged);
  if (stand.q_used > first_half) {
    exchange_entries<entries - first_half>(columns.Q[0] + first_half, columns.Q[1] + first_half, exchanged);
  }
}

// Q = I.
template <typename T, int entries, bool is_spread>
inline void put_unit_vectors(thread Columns<T, entries>& columns, Stand<is_spread> stand) {
#pragma unroll
  for (int c = 0; c < pair_columns; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) {
      columns.Q[c][t] = from_real<T>(row_of(stand, t) == pair_columns * stand.pair + c ? 1.0f : 0.0f);
    }
  }
}

// After an even round: the first column of each pair stays, the second is that of the next pair, of the first where the
// line ends. A pair gives it before a barrier, where lines are spread, and takes it behind that.
template <typename T, int entries, bool is_spread>
inline void give_second_column(thread Columns<T, entries>& columns, Stand<is_spread> stand) {
  if (is_spread && stand.box_before != no_box) put_into_box<1>(columns, stand.box_before, stand);
}
template <typename T, int entries, bool is_spread>
inline void take_second_column(thread Columns<T, entries>& columns, Stand<is_spread> stand) {
  shuffle_column<1>(columns, stand.lane_after, stand);
  if (is_spread && stand.box_after != no_box) take_from_box<1>(columns, stand.box_after, stand);
}

// After an odd round: back, so that each pair has the first columns of the pairs that met, before and behind it. Where
// the line ends they are the two ends of the line, in each other's place.
template <typename T, int entries, bool is_spread>
inline void give_first_column(thread Columns<T, entries>& columns, Stand<is_spread> stand) {
  if (!is_spread || stand.has_end) exchange_columns(columns, stands_last(stand), stand);
  if (is_spread && stand.box_after != no_box) put_into_box<0>(columns, stand.box_after, stand);
}
template <typename T, int entries, bool is_spread>
inline void take_first_column(thread Columns<T, entries>& columns, Stand<is_spread> stand) {
  shuffle_column<0>(columns, stand.lane_before, stand);
  if (is_spread && stand.box_before != no_box) take_from_box<0>(columns, stand.box_before, stand);
}

// Both at once. A barrier where lines are spread.
template <typename T, int entries, bool is_spread>
inline void move_second_columns(thread Columns<T, entries>& columns, Stand<is_spread> stand) {
  give_second_column(columns, stand);
  if (is_spread) threadgroup_barrier(mem_flags::mem_threadgroup);
  take_second_column(columns, stand);
}
template <typename T, int entries, bool is_spread>
inline void move_first_columns(thread Columns<T, entries>& columns, Stand<is_spread> stand) {
  give_first_column(columns, stand);
  if (is_spread) threadgroup_barrier(mem_flags::mem_threadgroup);
  take_first_column(columns, stand);
}

}  // namespace metalsvd
