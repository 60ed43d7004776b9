// The tall QR in front of the methods: B = Q R for B with more rows than columns. Here B is A, or the plain transpose
// A^T when A is wide, so that nothing is conjugated on the way: the method then factors R, or R^T.
//
// Communication-avoiding QR (Demmel, Grigori, Hoemmen and Langou 2012). Columns are taken in panels of at most
// tall_panel_bytes a row. The rows of a panel, from its own first row on, are the leaves of a tree: level 0 cuts them
// into chunks; the rows of a level above are the R's of the one below, which its nodes take several at a time, until
// one is left. A node leaves I - V T V^H, the product of its Householder reflectors (Schreiber and Van Loan 1989),
// which are then applied to the columns behind the panel: at level 0 to all rows of the chunk, above to the first rows
// of the chunks whose R's met. In the same way, last panel first and root first, Q is applied to the vectors of R on
// the way back. No Q is formed: reflectors keep the relative accuracy that Jacobi has on column-graded matrices, and U
// orthonormal whatever the rank of B. In front of `block` the columns are sorted first, and R^H is factored
// (tall_order.h).
//
// All numbers are row-major, the rows being whole packs of 16 bytes (tall_packed.h): what is beyond the last column
// is zero.
#pragma once
#include <metal_stdlib>

#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/storage.h"
#include "common/team.h"
#include "device_limits.h"
#include "tall_packed.h"

namespace metalsvd {

using namespace metal;

// A node of a level: which of the level's rows it owns.
struct Node {
  long matrix;
  long index;  // in its matrix
  long first_row;
  int rows;
};

// Each node has `share` rows, the first `rest` of them one more, and the last what is left.
inline long first_row_of_node(long index, long share, long rest) { return index * share + min(index, rest); }

inline Node make_node(uint index, long rows, long nodes, long share, long rest) {
  Node node;
  node.matrix = index / uint(nodes);
  node.index = index % uint(nodes);
  node.first_row = first_row_of_node(node.index, share, rest);
  node.rows = int(min(share + (node.index < rest ? 1 : 0), rows - node.first_row));
  return node;
}

// Whether a matrix needs no QR, where one may_settle (tall_recover.h).
inline bool is_settled(device const uint* settled, long may_settle, long matrix) {
  return may_settle != 0 && settled[matrix] != 0u;
}

// The largest magnitude bits of a matrix, from those that its strips left, told to every thread. Two barriers.
inline uint magnitude_of_matrix(device const uint* magnitudes, long matrix, long strips, threadgroup uint* slots,
                                Team team) {
  uint largest = 0u;
  for (long strip = team.index; strip < strips; strip += team.threads) {
    largest = max(largest, magnitudes[matrix * strips + strip]);
  }
  return threadgroup_max(largest, slots, team);
}

// What a matrix with this magnitude is multiplied by, as a power of two.
inline int tall_exponent(uint magnitude) {
  return magnitude > 0u ? limits::large_scaled_exponent - exponent_of(magnitude) : 0;
}

// A number of A as the tree takes it. Those of a matrix that is not finite are NaN, and so is its R, which tells the
// method.
template <typename T>
inline T scaled_number(T number, uint magnitude, int exponent) {
  return magnitude < not_finite_bits ? scale(number, exponent) : T(not_a_number());
}

// How threads walk over lines of `line` entries that lie side by side, no more than there are threads: each takes entry
// `place` of lines first, first + step, ...
struct Walk {
  int first;
  int step;
  int place;
};

inline Walk make_walk(int line, Team team) {
  Walk walk;
  walk.step = team.threads / line;
  walk.place = team.index % line;
  // Threads that are left over have no line.
  walk.first = team.index / line < walk.step ? team.index / line : limits::most_rows;
  return walk;
}

// Entries that a thread reads before it uses the first of them.
enum : int { batch_entries = int(limits::tall_copy_numbers) / int(limits::tall_threads) };

// The next of them, as numbers: of lines first, first + step, ... of those that lie `stride` apart, as far as there are
// any.
template <typename Storage>
inline void fetch_lines(device const Storage* A, int first, int step, int lines, long stride,
                        thread typename StorageTraits<Storage>::Number* fetched) {
#pragma unroll
  for (int s = 0; s < batch_entries; ++s) {
    if (s * step < lines - first) fetched[s] = to_number(A[(first + s * step) * stride]);
  }
}

}  // namespace metalsvd
