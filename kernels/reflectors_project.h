// Block reflectors, what a basis has in common with the columns of B: X^H times the panel and all behind it, and the
// K of the panel's reflector.
#pragma once
#include <metal_stdlib>

#include "common/team.h"
#include "reflectors.h"

namespace metalsvd {

using namespace metal;

// The parts that the rows of a panel are cut into, and rows of one.
inline int rows_of_part(int rows) {
  const int even = (rows + limits::reflectors_parts - 1) / limits::reflectors_parts;
  const int slabs = (even + limits::reflectors_slab_rows - 1) / limits::reflectors_slab_rows;
  return max(slabs * limits::reflectors_slab_rows, int(limits::reflectors_part_rows));
}
inline int parts_of_rows(int rows) { return (rows + rows_of_part(rows) - 1) / rows_of_part(rows); }

// A column of a square matrix, as a lane holds it.
template <typename T>
struct HeldLine {
  T entries[panel_width<T>()];
};

// The product of a row of a matrix and a column, of the entries [begin, end).
template <typename T>
inline T product_of_row(threadgroup const float4* row, thread const HeldLine<T>& line, int begin, int end) {
  constexpr int count = packed_count<T>();
  T sums[2] = {from_real<T>(0.0f), from_real<T>(0.0f)};
#pragma unroll
  for (int pack = begin / count; pack < (end + count - 1) / count; ++pack) {
    const float4 numbers = row[pack];
#pragma unroll
    for (int q = 0; q < count; ++q) {
      const int k = pack * count + q;
      if (k >= begin && k < end) sums[q % 2] = multiply_add(number_at<T>(numbers, q), line.entries[k], sums[q % 2]);
    }
  }
  return sums[0] + sums[1];
}

// F = L U for F = Q_1 - D, by one SIMD-group of which a lane owns a row, to `factors`; D, and the inverses of the
// diagonal of U. D is chosen so that the latter is not below one in magnitude. A barrier of the SIMD-group a column.
template <typename T>
inline void factor_shifted(thread HeldRow& row, threadgroup float4* factors, threadgroup T* units,
                           threadgroup T* inverses, int lane) {
  constexpr int count = packed_count<T>();
#pragma unroll
  for (int j = 0; j < panel_width<T>(); ++j) {
    const int own = j / count;
    const T entry = number_at<T>(row.packs[own], j % count);
    const T head = simd_broadcast(entry, ushort(j));
    const float size = magnitude(head);
    const T unit = size > 0.0f ? phase(head) : from_real<T>(1.0f);
    const T inverse = precise::divide(1.0f, size + 1.0f) * conjugate(unit);
    if (lane == j) {
      row.packs[own] = with_number(row.packs[own], j % count, (size + 1.0f) * unit);
#pragma unroll
      for (int p = 0; p < reflector_packs; ++p) factors[j * reflector_packs + p] = row.packs[p];
      units[j] = -unit;
      inverses[j] = inverse;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    const T factor = lane > j ? multiply(entry, inverse) : from_real<T>(0.0f);
#pragma unroll
    for (int p = own; p < reflector_packs; ++p) {
      const float4 upper = factors[j * reflector_packs + p];
#pragma unroll
      for (int q = 0; q < count; ++q) {
        if (p * count + q <= j) continue;
        const T number = multiply_add(-factor, number_at<T>(upper, q), number_at<T>(row.packs[p], q));
        row.packs[p] = with_number(row.packs[p], q, number);
      }
    }
    if (lane > j) row.packs[own] = with_number(row.packs[own], j % count, factor);
  }
}

// What a SIMD-group finds of a panel: R, Q_1 - D factored, and the small matrices that are left to the next launch.
template <typename T>
struct ReflectorMemory {
  threadgroup float4* R;
  threadgroup float4* factors;
  threadgroup float* diagonal;
  threadgroup T* units;
  threadgroup T* inverses;
};

// Column `lane` of K = -R^-1 U^-1 L^-1 D R^-H.
template <typename T>
inline void solve_for_K(ReflectorMemory<T> memory, int lane, thread HeldLine<T>& line) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
#pragma unroll
  for (int j = 0; j < width; ++j) line.entries[j] = from_real<T>(j == lane ? 1.0f : 0.0f);
#pragma unroll
  for (int i = 0; i < width; ++i) {
    line.entries[i] = memory.diagonal[width + i] * line.entries[i];
#pragma unroll
    for (int p = i / count; p < reflector_packs; ++p) {
      const float4 row = memory.R[i * reflector_packs + p];
#pragma unroll
      for (int q = 0; q < count; ++q) {
        const int j = p * count + q;
        if (j <= i) continue;
        line.entries[j] = multiply_add(-conjugate(number_at<T>(row, q)), line.entries[i], line.entries[j]);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < width; ++j) {
    line.entries[j] = multiply(-memory.units[j], line.entries[j]);
    line.entries[j] = line.entries[j] - product_of_row<T>(memory.factors + j * reflector_packs, line, 0, j);
  }
#pragma unroll
  for (int j = width - 1; j >= 0; --j) {
    const T left = line.entries[j] - product_of_row<T>(memory.factors + j * reflector_packs, line, j + 1, width);
    line.entries[j] = multiply(memory.inverses[j], left);
  }
#pragma unroll
  for (int j = width - 1; j >= 0; --j) {
    const T left = line.entries[j] - product_of_row<T>(memory.R + j * reflector_packs, line, j + 1, width);
    line.entries[j] = memory.diagonal[width + j] * left;
  }
}

// D R, K, and Y_1 = X_1 - D R, from X and its Gram matrix, to `small`, one square matrix after the other; by the first
// SIMD-group of the threadgroup. One barrier.
template <typename T>
inline void find_reflector(device const float4* basis, device const float4* grams, int chunks, int columns,
                           ReflectorMemory<T> memory, device float4* small, Team team) {
  constexpr int width = panel_width<T>();
  sum_grams<T>(grams, chunks, memory.R, team.index, limits::reflectors_project_threads);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (team.simdgroup != 0) return;
  factor_gram<T>(memory.R, memory.diagonal, columns, team.lane);
  const bool exists = team.lane < columns;
  HeldRow top;
#pragma unroll
  for (int p = 0; p < reflector_packs; ++p) {
    top.packs[p] = exists ? basis[team.lane * reflector_packs + p] : zero_pack();
  }
  HeldRow row = top;
  solve_row<T>(row, memory.R, memory.diagonal, 0u, team.lane);
  factor_shifted<T>(row, memory.factors, memory.units, memory.inverses, team.lane);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  HeldLine<T> line;
  solve_for_K<T>(memory, team.lane, line);
  if (team.lane >= width) return;
  device T* const K = (device T*)(small + square_packs<T>());
#pragma unroll
  for (int j = 0; j < width; ++j) K[j * width + team.lane] = line.entries[j];
  const T unit = memory.units[team.lane];
#pragma unroll
  for (int p = 0; p < reflector_packs; ++p) {
    float4 of_R = memory.R[team.lane * reflector_packs + p];
#pragma unroll
    for (int q = 0; q < packed_count<T>(); ++q) {
      if (p * packed_count<T>() + q != team.lane) continue;
      of_R = with_number(of_R, q, from_real<T>(memory.diagonal[team.lane]));
    }
    const float4 product = exists ? multiply_add(unit, of_R, zero_pack()) : zero_pack();
    const int place = team.lane * reflector_packs + p;
    small[place] = product;
    small[2 * square_packs<T>() + place] = top.packs[p] - product;
  }
}

// The rows of a slab that a thread moves: a pack of X, and two of C.
struct HeldSlab {
  float4 x;
  float4 c[2];
};

enum : int {
  slab_rows = limits::reflectors_slab_rows,
  slab_packs = int(slab_rows) * int(reflector_packs),
  slab_tile_packs = int(slab_rows) * int(limits::reflectors_tile_packs),
  slab_step = limits::reflectors_project_threads / limits::reflectors_tile_packs
};

inline void fetch_slab(device const float4* X, device const float4* C, long row_packs, int row, int end_row, int packs,
                       int thread_index, thread HeldSlab& held) {
  const int x_row = row + thread_index / reflector_packs;
  held.x = x_row < end_row ? X[long(x_row) * reflector_packs + thread_index % reflector_packs] : zero_pack();
  const int pack = thread_index % limits::reflectors_tile_packs;
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const int c_row = row + thread_index / limits::reflectors_tile_packs + s * slab_step;
    held.c[s] = c_row < end_row && pack < packs ? C[long(c_row) * row_packs + pack] : zero_pack();
  }
}

// Of a panel with a basis X, X^H C for C from the panel on, a part of the rows at a time, to `products`, and a copy of
// the first rows of C, which are to be changed while others read them; and by one threadgroup of each matrix what
// find_reflector says.
//
// Grid: reflectors_project_threads, a threadgroup a matrix and then one a tile of columns and part of the rows, parts
// innermost. Ownership: a SIMD-group multiplies a quarter of the rows of each slab. Barriers: one a slab, of which two
// have room, and five until all sums are added up. The host promises: rows of B are whole packs; `products` has room
// for reflectors_parts x a panel's columns rows as long as those of B, `heads` for a panel's columns, and `small` for
// three square matrices.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::reflectors_project_threads)]] void reflectors_project(
    device const float4* numbers [[buffer(0)]], device const float4* basis [[buffer(1)]],
    device const float4* grams [[buffer(2)]], device const uint* again [[buffer(3)]],
    device float4* products [[buffer(4)]], device float4* heads [[buffer(5)]], device float4* small [[buffer(6)]],
    constant long& rows [[buffer(7)]], constant long& stride [[buffer(8)]], constant long& first [[buffer(9)]],
    constant long& columns [[buffer(10)]], constant long& most_chunks [[buffer(11)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int count = packed_count<T>();
  constexpr int width = panel_width<T>();
  constexpr int owned = limits::reflectors_tile_packs / 4;
  constexpr int tile_sums = width * limits::reflectors_tile_packs;
  constexpr int slabs = 2 * (int(slab_packs) + int(slab_tile_packs));
  constexpr int room = slabs < 2 * tile_sums ? 2 * tile_sums : slabs;
  threadgroup float4 staged[room];
  threadgroup float4 ends[3 * reflector_packs];
  const Team team = make_team(thread_index, limits::reflectors_project_threads, lane, simdgroup);
  const PanelPlace panel = make_panel_place(first, columns, rows);
  const int parts = parts_of_rows(panel.rows);
  const long row_packs = stride / count;
  const int all_packs = int((stride - first) / count);
  const uint tiles = uint(all_packs + limits::reflectors_tile_packs - 1) / limits::reflectors_tile_packs;
  const uint groups = 1 + tiles * uint(parts);
  const long matrix = threadgroup_index / groups;
  const uint group = threadgroup_index % groups;
  basis += (matrix * rows + first) * reflector_packs;
  if (group == 0) {
    device const uint* const words = again + matrix * (limits::reflectors_passes + 1);
    int pass = 1;
    while (pass < limits::reflectors_passes && words[pass] != 0u) ++pass;
    const int chunks = (panel.rows + basis_rows - 1) / basis_rows;
    ReflectorMemory<T> memory;
    memory.R = staged;
    memory.factors = staged + square_packs<T>();
    memory.diagonal = (threadgroup float*)(staged + 2 * square_packs<T>());
    memory.units = (threadgroup T*)ends;
    memory.inverses = memory.units + width;
    find_reflector<T>(basis, grams + (matrix * 2 + pass % 2) * most_chunks * square_packs<T>(), chunks, panel.columns,
                      memory, small + matrix * 3 * square_packs<T>(), team);
    return;
  }
  const int part = int((group - 1) % uint(parts));
  const int first_pack = int((group - 1) / uint(parts)) * limits::reflectors_tile_packs;
  const int packs = all_packs - first_pack;
  const long place = first / count + first_pack;
  numbers += (matrix * rows + first) * row_packs + place;
  heads += matrix * width * row_packs + place;
  const int start = part * rows_of_part(panel.rows);
  const int end = min(start + rows_of_part(panel.rows), panel.rows);

  const ProductOfLane own = make_product_of_lane(team.lane);
  float4 sums[owned][count];
#pragma unroll
  for (int j = 0; j < owned; ++j) {
#pragma unroll
    for (int q = 0; q < count; ++q) sums[j][q] = zero_pack();
  }
  const int pack = team.index % limits::reflectors_tile_packs;
  HeldSlab held;
  fetch_slab(basis, numbers, row_packs, start, end, packs, team.index, held);
#pragma unroll 1
  for (int row = start; row < end; row += slab_rows) {
    threadgroup float4* const x = staged + (row / slab_rows & 1) * (slab_packs + slab_tile_packs);
    threadgroup float4* const c = x + slab_packs;
    x[team.index] = held.x;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      c[team.index + s * limits::reflectors_project_threads] = held.c[s];
      const int c_row = row + team.index / limits::reflectors_tile_packs + s * slab_step;
      if (c_row < min(width, panel.rows) && pack < packs) heads[c_row * row_packs + pack] = held.c[s];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    fetch_slab(basis, numbers, row_packs, row + slab_rows, end, packs, team.index, held);
#pragma unroll
    for (int i = 0; i < slab_rows / 4; ++i) {
      const int own_row = team.simdgroup * (slab_rows / 4) + i;
      add_product_of_row<T, owned>(x + own_row * reflector_packs, c + own_row * limits::reflectors_tile_packs, own,
                                   sums);
    }
  }
  // Of the upper half of the SIMD-groups, then of the second.
#pragma unroll
  for (int senders = 2; senders > 0; senders /= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const bool sends = team.simdgroup >= senders && team.simdgroup < 2 * senders;
    threadgroup float4* const shared = staged + team.simdgroup % senders * tile_sums + team.lane;
#pragma unroll
    for (int j = 0; j < owned; ++j) {
#pragma unroll
      for (int q = 0; q < count; ++q) {
        if (sends) shared[(j * count + q) * limits::simd_width] = sums[j][q];
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (team.simdgroup >= senders) continue;
#pragma unroll
    for (int j = 0; j < owned; ++j) {
#pragma unroll
      for (int q = 0; q < count; ++q) sums[j][q] += shared[(j * count + q) * limits::simd_width];
    }
  }
  if (team.simdgroup != 0) return;
  products += (matrix * limits::reflectors_parts + part) * width * row_packs + place;
#pragma unroll
  for (int j = 0; j < owned; ++j) {
    if (own.pack + 4 * j >= packs) continue;
#pragma unroll
    for (int q = 0; q < count; ++q) {
      products[(own.row_pack * count + q) * row_packs + own.pack + 4 * j] = sums[j][q];
    }
  }
}

}  // namespace metalsvd
