// Of the columns that the lanes of a pair hold in method `simdgroup`, one or a block of them for each half: what their
// numbers are, how the lanes sum up over them, and where they stand in an order. What the lanes hold in the recovering
// kernels (kernels/simdgroup_recover.h): two columns of W, or two blocks of them.
#pragma once
#include <metal_stdlib>

#include "common/entries.h"
#include "common/scalar.h"
#include "device_limits.h"
#include "simdgroup_line.h"

namespace metalsvd {

using namespace metal;

// A lane's entries of the columns of its pair, which are count * pair and following: rows part, part + parts, ...
template <typename T, int entries, int count>
struct Held {
  T W[count][entries];
};

// The places of these columns in an order of those of their matrix.
template <int count>
struct HeldPlaces {
  int of[count];
  int nonzero;  // columns of the matrix
};

// How the pairs of a matrix stand when the sweeps begin: in a line, or at the corners of a cube
// (kernels/simdgroup_eighths.h).
struct InLine {};
struct InCube {};

// The column of the matrix that the pair holds as number c.
template <int count, bool is_spread>
inline int column_of(int c, Stand<is_spread> stand) {
  return count * stand.pair + c;
}

// The same, or the first behind the last column for lanes that hold none.
template <int count, bool is_spread>
inline int column_or_none(int c, Stand<is_spread> stand) {
  return has_matrix(stand) ? column_of<count>(c, stand) : stand.columns;
}

// The first column behind those that lanes of this SIMD-group hold.
template <int count, bool is_spread>
inline int columns_behind(Stand<is_spread> stand) {
  return count * (stand.simdgroup + 1) * (limits::simd_width / stand.parts);
}

template <typename T, int entries, int count>
inline void clear_held(thread Held<T, entries, count>& held) {
#pragma unroll
  for (int c = 0; c < count; ++c) {
#pragma unroll
    for (int t = 0; t < entries; ++t) held.W[c][t] = from_real<T>(0.0f);
  }
}

// Of as many values as there are columns the one that this lane has a share in.
template <int count, bool is_spread>
inline int number_of_share(Stand<is_spread> stand) {
  return stand.part * count / stand.parts;
}

// Each of `count` values summed up over the lanes of a pair, of which there are as many or a multiple. Each lane is
// told the sum of value number_of_share alone: in each of the first steps lanes that are farthest from each other
// share their values out, so that half of them are left. The values are lost.
template <int count, typename T, bool is_spread>
inline T share_of_sums(thread T* values, Stand<is_spread> stand) {
  int distance = stand.parts;
#pragma unroll
  for (int left = count / 2; left > 0; left /= 2) {
    distance /= 2;
    const bool is_upper = (stand.part & distance) != 0;
#pragma unroll
    for (int i = 0; i < left; ++i) {
      const T lower = values[i];
      const T upper = values[i + left];
      const T sent = is_upper ? lower : upper;
      values[i] = (is_upper ? upper : lower) + simd_shuffle_xor(sent, ushort(distance));
    }
  }
  return sum_over_lanes(values[0], distance);
}

// The shares of all lanes of the pair, the first `told` of them told to each.
template <int count, int told = count, typename T, bool is_spread>
inline void gather_shares(T share, thread T* values, Stand<is_spread> stand) {
  const int first = stand.lane - stand.part;
#pragma unroll
  for (int i = 0; i < told; ++i) values[i] = simd_shuffle(share, ushort(first + i * (stand.parts / count)));
}

// Whether this lane speaks for its share.
template <int count, bool is_spread>
inline bool is_first_of_share(Stand<is_spread> stand) {
  return (stand.part & (stand.parts / count - 1)) == 0;
}

// Values that are shared out at a time: any more come after them, and lanes have a share in each lot.
enum : int { lot = 8 };
constexpr int lots_of(int count) { return (count + lot - 1) / lot; }

// What a lane has of so many values, of which the lanes of a pair may be one only where they are two: its shares, or
// the values themselves.
template <typename T, int count>
struct Shares {
  T of[count > 2 ? lots_of(count) : count];
};

// The value that the lane's share in a lot is, `count` or more where it has none there.
template <bool is_spread>
inline int number_in_lot(int number_of_lot, Stand<is_spread> stand) {
  return number_of_lot * lot + number_of_share<lot>(stand);
}

// What all lanes of the pair have of them, told to each.
template <typename T, int count, bool is_spread>
inline void values_of_shares(thread const Shares<T, count>& shares, thread T* values, Stand<is_spread> stand) {
  if (count <= 2) {
#pragma unroll
    for (int c = 0; c < count; ++c) values[c] = shares.of[c];
    return;
  }
  const int whole = count / lot;
#pragma unroll
  for (int n = 0; n < whole; ++n) gather_shares<lot>(shares.of[n], values + n * lot, stand);
  gather_shares<lot, count % lot>(shares.of[lots_of(count) - 1], values + whole * lot, stand);
}

// All of these sums, told to each lane of the pair, and this lane's shares.
template <int count, typename T, bool is_spread>
inline void tell_sums(thread T* values, thread Shares<T, count>& shares, Stand<is_spread> stand) {
  if (count <= 2) {
    sum_all_over_lanes<count>(values, stand.parts);
#pragma unroll
    for (int c = 0; c < count; ++c) shares.of[c] = values[c];
    return;
  }
#pragma unroll
  for (int n = 0; n < lots_of(count); ++n) {
    T of_lot[lot];
#pragma unroll
    for (int i = 0; i < lot; ++i) {
      of_lot[i] = n * lot + i < count ? values[min(n * lot + i, count - 1)] : from_real<T>(0.0f);
    }
    shares.of[n] = share_of_sums<lot>(of_lot, stand);
  }
  values_of_shares(shares, values, stand);
}
template <int count, typename T, bool is_spread>
inline void tell_sums(thread T* values, Stand<is_spread> stand) {
  Shares<T, count> shares;
  tell_sums<count>(values, shares, stand);
}

// |x|^2 of each column, told to each lane of the pair.
template <typename T, int entries, int count, bool is_spread>
inline void measure_held(thread const Held<T, entries, count>& held, thread float* squares, Stand<is_spread> stand) {
#pragma unroll
  for (int c = 0; c < count; ++c) {
    squares[c] = square_of_entries<entries, limits::simdgroup_few_lanes(entries)>(held.W[c]);
  }
  tell_sums<count>(squares, stand);
}

// Their norms, zero where they count as zero.
template <typename T, int entries, int count, bool is_spread>
inline void norms_of_held(thread const Held<T, entries, count>& held, thread float* norms, Stand<is_spread> stand) {
  measure_held(held, norms, stand);
#pragma unroll
  for (int c = 0; c < count; ++c) norms[c] = norms[c] >= least_square() ? precise::sqrt(norms[c]) : 0.0f;
}

// The column that a pair holds as number c, counted from the other end where the line is reversed.
template <int count, bool is_spread>
inline int column_held(int pair, int c, bool is_reversed, Stand<is_spread> stand) {
  const int column = count * pair + c;
  return is_reversed ? count * stand.pairs_in_line - 1 - column : column;
}

// The places of the columns of each matrix of a group: the largest of `sizes` first, then in the order of columns;
// those that only pad, and whose sizes are zero, come last. Two barriers.
template <int count, bool is_spread>
inline HeldPlaces<count> rank_columns(thread const float* sizes, bool is_reversed, Stand<is_spread> stand) {
  threadgroup float* all_sizes = (threadgroup float*)stand.memory.boxes;
  HeldPlaces<count> places;
  places.nonzero = 0;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    places.of[c] = 0;
    if (stand.part == 0) all_sizes[count * slot_of(stand) + c] = sizes[c];
  }
  group_barrier(stand);
  const int pairs = has_matrix(stand) ? stand.pairs_in_line : 0;
  for (int pair = 0; pair < pairs; ++pair) {
#pragma unroll
    for (int other = 0; other < count; ++other) {
      const float size = all_sizes[count * (stand.first_slot + pair) + other];
      const int column = column_held<count>(pair, other, is_reversed, stand);
      places.nonzero += size > 0.0f ? 1 : 0;
#pragma unroll
      for (int c = 0; c < count; ++c) {
        const bool is_before = column < column_held<count>(stand.pair, c, is_reversed, stand);
        places.of[c] += size > sizes[c] || (size == sizes[c] && is_before) ? 1 : 0;
      }
    }
  }
  group_barrier(stand);
  return places;
}

// The same of one matrix, a thread a column. Lanes that hold none stand nowhere. Three barriers.
template <int count, bool is_spread>
inline HeldPlaces<count> rank_held(thread const float* sizes, bool is_reversed, Stand<is_spread> stand) {
  const int columns = count * stand.pairs_in_line;
  // In this order: nvcc reads a size behind the last ahead of time, which racecheck would hold against the places.
  threadgroup int* all_places = (threadgroup int*)stand.memory.boxes;
  threadgroup float* all_sizes = (threadgroup float*)stand.memory.boxes + columns;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    const int column = column_held<count>(stand.pair, c, is_reversed, stand);
    if (has_matrix(stand) && stand.part == 0) all_sizes[column] = sizes[c];
  }
  group_barrier(stand);
  const int threads = stand.simdgroups * limits::simd_width;
  for (int column = stand.simdgroup * limits::simd_width + stand.lane; column < columns; column += threads) {
    const float size = all_sizes[column];
    int place = 0;
    for (int other = 0; other < columns; ++other) {
      const float other_size = all_sizes[other];
      place += other_size > size || (other_size == size && other < column) ? 1 : 0;
    }
    all_places[column] = place;
  }
  HeldPlaces<count> places;
  places.nonzero = 0;
  for (int column = 0; column < columns; ++column) places.nonzero += all_sizes[column] > 0.0f ? 1 : 0;
  group_barrier(stand);
  const int nowhere = 2 * limits::simdgroup_recovering_most;
#pragma unroll
  for (int c = 0; c < count; ++c) {
    const int column = column_held<count>(stand.pair, c, is_reversed, stand);
    places.of[c] = has_matrix(stand) ? all_places[column] : nowhere;
  }
  group_barrier(stand);
  return places;
}

}  // namespace metalsvd
