// The tall QR: what a node of the tree does with its rows of a panel.
#pragma once
#include <metal_stdlib>

#include "tall.h"

namespace metalsvd {

using namespace metal;

// A SIMD-group holds some columns of the node in registers, lane l of it rows l, l + 32, ... The rows of R, as many as
// a panel has columns, are the first of all lanes.
enum : int {
  held_columns = limits::tall_held_columns,
  held_packs = limits::tall_chunk_bytes / (int(sizeof(float4)) * int(limits::simd_width))
};

// A column of the node, as a lane holds it.
struct HeldColumn {
  float4 packs[held_packs];
};

// The row of the i-th number of pack p.
template <typename T>
inline int held_row(int p, int i, Team team) {
  return (p * packed_count<T>() + i) * limits::simd_width + team.lane;
}

// Of the square of a length, neither denormal nor near the largest number: the root, all but rounded once, as
// accurate_reciprocal is.
inline float root_of_square(float square) {
  const float inverse = rsqrt(square);
  const float root = square * inverse;
  return fma(0.5f * inverse, fma(-root, root, square), root);
}

// The reflector H = I - tau v v^H for which H x = r e_k: v is x below row k, and v_k there.
template <typename T>
struct HeldReflector {
  T v_k;
  T r;
  float tau;
};

// That of a column with `head` in row k, and with the square `below` under it.
template <typename T>
inline HeldReflector<T> make_held_reflector(T head, float below) {
  // What counts as zero is left alone: H = I.
  const bool is_zero = below < least_square();
  const float size = magnitude(head);
  const T unit = size > 0.0f ? phase(head) : from_real<T>(1.0f);
  const float norm = root_of_square(square_add(head, below));
  // v = x + phase(x_k) |x| e_k, which loses no digit. Taking |v|^2 from v as it was rounded makes H unitary.
  const T v_k = (norm + size) * unit;
  HeldReflector<T> reflector;
  reflector.v_k = is_zero ? head : v_k;
  reflector.tau = is_zero ? 0.0f : 2.0f * accurate_reciprocal(square_add(v_k, below));
  reflector.r = is_zero ? head : -norm * unit;
  return reflector;
}

// The products u^H x of the columns that are held, and the square of u, summed over the SIMD-group.
template <typename T, int packs>
inline float products_of_held(thread const HeldColumn& u, thread const HeldColumn* x, thread T* products) {
  float4 squares = zero_pack();
#pragma unroll
  for (int p = 0; p < packs; ++p) squares = fma(u.packs[p], u.packs[p], squares);
#pragma unroll
  for (int c = 0; c < held_columns; ++c) {
    float4 sum = zero_pack();
#pragma unroll
    for (int p = 0; p < packs; ++p) sum = conjugate_multiply_add<T>(u.packs[p], x[c].packs[p], sum);
    products[c] = sum_of_pack<T>(sum);
  }
#pragma unroll
  for (int c = 0; c < held_columns; ++c) products[c] = simd_sum(products[c]);
  return simd_sum((squares.x + squares.y) + (squares.z + squares.w));
}

inline threadgroup float4* room_of_step(threadgroup float4* steps, int k) {
  return steps + k % 2 * held_packs * limits::simd_width;
}

// A column that is held, to all.
template <int packs>
inline void share_held(thread const HeldColumn& x, threadgroup float4* step, Team team) {
#pragma unroll
  for (int p = 0; p < packs; ++p) step[p * limits::simd_width + team.lane] = x.packs[p];
}

// The triangle T for which H_0 H_1 .. = I - V T V^H: tau_j on the diagonal of column j, -tau_j T V^H v_j above. A lane
// holds its row of T in the columns of its SIMD-group. What these add to the next column the SIMD-group leaves in
// `parts`, a lane each; the SIMD-group of that column adds it up in the step behind, when tau is known to it.
template <typename T>
inline threadgroup T* parts_of_step(threadgroup T* parts, int k) {
  return parts + k % 2 * limits::tall_threads;
}

// Column j, in the SIMD-group that holds it: the products of V^H v_j were found in those up to there.
template <typename T>
inline T join_reflector(threadgroup const T* parts, float tau, int j, int stride, device T* joint, Team team) {
  threadgroup const T* const part = parts_of_step(parts, j) + team.lane;
  T sum = from_real<T>(0.0f);
#pragma unroll
  for (int s = 0; s < limits::tall_threads / limits::simd_width; ++s) {
    if (s <= team.simdgroup) sum += part[s * limits::simd_width];
  }
  const T entry = team.lane < j ? -tau * sum : from_real<T>(team.lane == j ? tau : 0.0f);
  if (team.lane < stride) joint[j * stride + team.lane] = entry;
  return entry;
}

// What a SIMD-group has of the triangle T, and of the step before.
template <typename T>
struct HeldTriangle {
  T rows[held_columns];  // of a lane
  float tau;
};

// Column k = owner * held_columns + c. Behind the barrier every SIMD-group sums up the column's square below row k and
// its products with those it holds, all at once, and finds the reflector for itself.
template <typename T, int packs, int c>
inline void factor_column(thread HeldColumn* x, int owner, int stride, threadgroup float4* steps, threadgroup T* parts,
                          device T* R, device T* joint, bool keeps, thread HeldTriangle<T>& triangle, Team team) {
  const int k = owner * held_columns + c;
  const int ahead = team.simdgroup - owner;
  const T zero = from_real<T>(0.0f);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // Those of earlier columns only find the products. All of the SIMD-group go on, which a compiler should know.
  if (simd_all(ahead < 0 && !keeps)) return;
  if (keeps && k > 0 && ahead == (c > 0 ? 0 : -1)) {
    triangle.rows[(c + held_columns - 1) % held_columns] =
        join_reflector(parts, triangle.tau, k - 1, stride, joint, team);
  }
  threadgroup const float4* step = room_of_step(steps, k);
  HeldColumn v;
#pragma unroll
  for (int p = 0; p < packs; ++p) v.packs[p] = step[p * limits::simd_width + team.lane];
  const T entry = number_at<T>(v.packs[0], 0);
  v.packs[0] = with_number(v.packs[0], 0, team.lane > k ? entry : zero);
  T products[held_columns];
  const float below = products_of_held<T, packs>(v, x, products);
  const HeldReflector<T> reflector = make_held_reflector(simd_broadcast(entry, ushort(k)), below);
  triangle.tau = reflector.tau;
  v.packs[0] = with_number(v.packs[0], 0, team.lane > k ? entry : team.lane == k ? reflector.v_k : zero);
#pragma unroll
  for (int i = 0; i < held_columns; ++i) {
    const T head = simd_broadcast(number_at<T>(x[i].packs[0], 0), ushort(k));
    products[i] = multiply_add(conjugate(reflector.v_k), head, products[i]);
  }
#pragma unroll
  for (int i = 0; i < held_columns; ++i) {
    if (ahead < (i > c ? 0 : 1)) continue;
    const T factor = -reflector.tau * products[i];
#pragma unroll
    for (int p = 0; p < packs; ++p) x[i].packs[p] = multiply_add(factor, v.packs[p], x[i].packs[p]);
  }
  if (ahead == (c + 1 < held_columns ? 0 : 1)) {
    share_held<packs>(x[(c + 1) % held_columns], room_of_step(steps, k + 1), team);
  }
  if (ahead == 0) {
    x[c].packs[0] = v.packs[0];
    const T above = team.lane < k ? entry : team.lane == k ? reflector.r : zero;
    if (team.lane < stride) R[team.lane * stride + k] = above;
  }
  if (keeps && ahead <= 0) {
    T part = zero;
#pragma unroll
    for (int i = 0; i < held_columns; ++i) part = multiply_add(conjugate(products[i]), triangle.rows[i], part);
    parts_of_step(parts, k)[team.index] = part;
  }
}

// Factors the columns that the SIMD-groups hold: leaves v of each in x, R row-major, and T but for its last column if
// the reflectors are kept. `steps` and `parts` have room for two columns. A barrier a column. The rows of the node fill
// so many `packs` of a lane. Returns the last tau.
template <typename T, int packs>
inline float factor_panel(thread HeldColumn* x, int columns, int stride, threadgroup float4* steps,
                          threadgroup T* parts, device T* R, device T* joint, bool keeps, Team team) {
  HeldTriangle<T> triangle;
#pragma unroll
  for (int i = 0; i < held_columns; ++i) triangle.rows[i] = from_real<T>(0.0f);
  triangle.tau = 0.0f;
  if (team.simdgroup == 0) share_held<packs>(x[0], room_of_step(steps, 0), team);
#pragma unroll 1
  for (int owner = 0; owner * held_columns < columns; ++owner) {
    const int left = columns - owner * held_columns;
    factor_column<T, packs, 0>(x, owner, stride, steps, parts, R, joint, keeps, triangle, team);
    if (left > 1) factor_column<T, packs, 1>(x, owner, stride, steps, parts, R, joint, keeps, triangle, team);
    if (left > 2) factor_column<T, packs, 2>(x, owner, stride, steps, parts, R, joint, keeps, triangle, team);
    if (left > 3) factor_column<T, packs, 3>(x, owner, stride, steps, parts, R, joint, keeps, triangle, team);
  }
  return triangle.tau;
}

// The columns of a SIMD-group that begin at `column`: of rows < `rows`, and as many of them as are `there`; zero
// beyond.
template <typename Storage>
inline void load_held(device const Storage* column, int rows, int there, long row_stride, long column_stride,
                      thread HeldColumn* x, Team team) {
  typedef typename StorageTraits<Storage>::Number T;
#pragma unroll
  for (int c = 0; c < held_columns; ++c) {
#pragma unroll
    for (int p = 0; p < held_packs; ++p) {
      T numbers[packed_count<T>()];
#pragma unroll
      for (int i = 0; i < packed_count<T>(); ++i) {
        const int row = held_row<T>(p, i, team);
        numbers[i] = from_real<T>(0.0f);
        if (row < rows && c < there) numbers[i] = to_number(column[row * row_stride + c * column_stride]);
      }
      x[c].packs[p] = pack_of(numbers);
    }
  }
}

// The same of rows of whole packs, the columns of a row being one pack or two.
template <typename T>
inline void load_held_packs(device const T* column, int rows, int there, long row_stride, thread HeldColumn* x,
                            Team team) {
  constexpr int count = packed_count<T>();
  constexpr int row_packs = held_columns / packed_count<T>();
  column += team.lane * row_stride;
#pragma unroll
  for (int p = 0; p < held_packs; ++p) {
    T numbers[held_columns * count];
#pragma unroll
    for (int i = 0; i < count; ++i) {
#pragma unroll
      for (int q = 0; q < row_packs; ++q) {
        const bool exists = held_row<T>(p, i, team) < rows && q * count < there;
        const float4 pack = exists ? ((device const float4*)column)[q] : zero_pack();
#pragma unroll
        for (int c = 0; c < count; ++c) numbers[(q * count + c) * count + i] = number_at<T>(pack, c);
      }
      column += limits::simd_width * row_stride;
    }
#pragma unroll
    for (int c = 0; c < held_columns; ++c) x[c].packs[p] = pack_of(numbers + c * count);
  }
}

// Back to rows of whole packs, 32 rows at a time, which the threadgroup writes along whole cache lines. Two barriers
// each. `staged` has room for as many rows of an odd number of packs.
template <typename T>
inline void store_held_packs(thread const HeldColumn* x, int rows, int width, long row_stride,
                             threadgroup float4* staged, device T* V, Team team) {
  constexpr int count = packed_count<T>();
  constexpr int row_packs = held_columns / packed_count<T>();
  const int staged_width = width | 1;
  const Walk walk = make_walk(width, team);
#pragma unroll
  for (int p = 0; p < held_packs; ++p) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int first = (p * count + i) * limits::simd_width;
      if (first >= rows) break;
      // What is written may have been read by another, as what is staged may yet be.
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
#pragma unroll
      for (int q = 0; q < row_packs; ++q) {
        const int place = team.simdgroup * row_packs + q;
        T numbers[count];
#pragma unroll
        for (int c = 0; c < count; ++c) numbers[c] = number_at<T>(x[q * count + c].packs[p], i);
        if (place < width) staged[team.lane * staged_width + place] = pack_of(numbers);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      for (int line = walk.first; line < min(int(limits::simd_width), rows - first); line += walk.step) {
        ((device float4*)(V + (first + line) * row_stride))[walk.place] = staged[line * staged_width + walk.place];
      }
    }
  }
}

// How far above the smallest a number other than zero may be, as bits less one: zero comes out as the largest.
inline uint least_bits(float4 pack) {
  const uint xy = min(magnitude_bits(pack.x) - 1u, magnitude_bits(pack.y) - 1u);
  return min(xy, min(magnitude_bits(pack.z) - 1u, magnitude_bits(pack.w) - 1u));
}

// Scales the columns that are held: by one product each where that is exact, neither the numbers nor what becomes of
// them being denormal.
template <typename T>
inline void scale_held(thread HeldColumn* x, uint magnitude, int exponent) {
  uint least = 0xffffffffu;
#pragma unroll
  for (int c = 0; c < held_columns; ++c) {
#pragma unroll
    for (int p = 0; p < held_packs; ++p) least = min(least, least_bits(x[c].packs[p]));
  }
  const uint normal = uint(1 + max(0, -exponent)) << 23;
  if (magnitude < not_finite_bits && exponent <= 127 && simd_min(least) >= normal - 1u) {
    const float factor = power_of_two(exponent);
#pragma unroll
    for (int c = 0; c < held_columns; ++c) {
#pragma unroll
      for (int p = 0; p < held_packs; ++p) x[c].packs[p] = factor * x[c].packs[p];
    }
    return;
  }
#pragma unroll
  for (int c = 0; c < held_columns; ++c) {
#pragma unroll
    for (int p = 0; p < held_packs; ++p) {
      T numbers[packed_count<T>()];
#pragma unroll
      for (int i = 0; i < packed_count<T>(); ++i) {
        numbers[i] = scaled_number(number_at<T>(x[c].packs[p], i), magnitude, exponent);
      }
      x[c].packs[p] = pack_of(numbers);
    }
  }
}

// A node: its rows of the panel, scaled where there are `strips` that tell how, to V, T and R.
//
// Grid: one threadgroup a node, of a SIMD-group for each tall_held_columns of the panel with its last pack filled.
// Ownership: a SIMD-group owns columns, in registers; packs of V are dealt to all threads when they are stored.
// Barriers: two where the threadgroup agrees on the magnitude, one a column, and two for each 32 rows of V. The host
// promises: a node has at most tall_chunk_bytes of each column; rows of V, T and R are as wide as the panel is with its
// last pack filled, and there are as many of T and R; V may be the source; `is_packed` only where the rows of the
// source are numbers in whole packs too.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::tall_threads)]] void tall_factor(
    device const Storage* source [[buffer(0)]], device const uint* magnitudes [[buffer(1)]],
    device typename StorageTraits<Storage>::Number* V [[buffer(2)]],
    device typename StorageTraits<Storage>::Number* R [[buffer(3)]],
    device typename StorageTraits<Storage>::Number* joint [[buffer(4)]], constant long& rows [[buffer(5)]],
    constant long& columns [[buffer(6)]], constant long& nodes [[buffer(7)]], constant long& share [[buffer(8)]],
    constant long& rest [[buffer(9)]], constant long& strips [[buffer(10)]], constant long& keeps [[buffer(11)]],
    constant long& source_offset [[buffer(12)]], constant long& batch_stride [[buffer(13)]],
    constant long& row_stride [[buffer(14)]], constant long& column_stride [[buffer(15)]],
    constant long& V_offset [[buffer(16)]], constant long& V_batch_stride [[buffer(17)]],
    constant long& V_row_stride [[buffer(18)]], constant long& R_offset [[buffer(19)]],
    constant long& R_batch_stride [[buffer(20)]], constant long& joint_offset [[buffer(21)]],
    constant long& joint_batch_stride [[buffer(22)]], constant long& is_packed [[buffer(23)]],
    device const uint* settled [[buffer(24)]], constant long& may_settle [[buffer(25)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  enum : int {
    row_packs = limits::tall_panel_bytes / int(sizeof(float4)),
    step_packs = 2 * int(held_packs) * int(limits::simd_width),
    staged_packs = (row_packs | 1) * int(limits::simd_width),
    tile_room = int(step_packs) > int(staged_packs) ? int(step_packs) : int(staged_packs)
  };
  threadgroup float4 steps[tile_room];
  threadgroup T parts[2 * limits::tall_threads];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Node node = make_node(threadgroup_index, rows, nodes, share, rest);
  if (is_settled(settled, may_settle, node.matrix)) return;
  const int stride = (int(columns) + packed_count<T>() - 1) / packed_count<T>() * packed_count<T>();
  const int mine = team.simdgroup * held_columns;
  source += source_offset + node.matrix * batch_stride + node.first_row * row_stride + mine * column_stride;
  R += R_offset + node.matrix * R_batch_stride + node.index * stride * stride;

  uint magnitude = 0u;
  if (strips > 0) magnitude = magnitude_of_matrix(magnitudes, node.matrix, strips, slots, team);
  const int exponent = magnitude < not_finite_bits ? tall_exponent(magnitude) : 0;
  HeldColumn x[held_columns];
  if (is_packed != 0) {
    load_held_packs<T>((device const T*)source, node.rows, stride - mine, row_stride, x, team);
  } else {
    load_held(source, node.rows, min(int(columns) - mine, int(held_columns)), row_stride, column_stride, x, team);
  }
  if (strips > 0) scale_held<T>(x, magnitude, exponent);

  joint += joint_offset + node.matrix * joint_batch_stride + node.index * stride * stride;
  const int rows_of_pack = packed_count<T>() * int(limits::simd_width);
  float tau;
  if (node.rows <= rows_of_pack) {
    tau = factor_panel<T, 1>(x, int(columns), stride, steps, parts, R, joint, keeps != 0, team);
  } else if (node.rows <= 2 * rows_of_pack) {
    tau = factor_panel<T, 2>(x, int(columns), stride, steps, parts, R, joint, keeps != 0, team);
  } else {
    tau = factor_panel<T, held_packs>(x, int(columns), stride, steps, parts, R, joint, keeps != 0, team);
  }
  // Columns that fill the last pack.
  const int padding = stride - int(columns);
  for (int index = team.index; index < padding * stride; index += team.threads) {
    R[index / padding * stride + columns + index % padding] = from_real<T>(0.0f);
    if (keeps != 0) joint[columns * stride + index] = from_real<T>(0.0f);
  }
  if (keeps == 0) return;
  V += V_offset + node.matrix * V_batch_stride + node.first_row * V_row_stride;
  store_held_packs(x, node.rows, stride / packed_count<T>(), V_row_stride, steps, V, team);
  // Behind the barriers of that all have left what they add to the last column of T.
  const int last = int(columns) - 1;
  if (team.simdgroup == last / held_columns) join_reflector(parts, tau, last, stride, joint, team);
}

}  // namespace metalsvd
