// The tall QR in front of the methods: B = Q R for B with many more rows than columns, as a tree (TSQR; Demmel,
// Grigori, Hoemmen and Langou 2012). Here B is A, or the plain transpose A^T when A is wide, so that nothing is
// conjugated on the way: the method then factors R, or R^T.
//
// Level 0 cuts the rows of B into chunks, one node of the tree each; the rows of a level above are the R's of the one
// below, `columns` rows each, and its nodes cut them between two R's. A node replaces its rows by its Q and hands its R
// up, until one is left. On the way down each node multiplies its Q by its block of the level above, the root's being
// the singular vectors of R: at level 0 the product is P. Householder QR is columnwise stable, which keeps the relative
// accuracy that Jacobi has on column-graded matrices. A Q is formed rather than kept as reflectors: it costs no more,
// and the way down is then a product of matrices, in which no thread waits for another.
//
// Numbers of a level lie in units, the rows that are never cut (1 row at level 0, `columns` above): each unit is
// column-major, one after the other.
#pragma once
#include <metal_stdlib>

#include "common/columns.h"
#include "common/householder.h"
#include "common/power_of_two.h"
#include "common/scalar.h"
#include "common/shape.h"
#include "common/storage.h"
#include "common/team.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// A node of a level: which rows it owns. Nodes share the units of their matrix evenly, so that each has at least
// `columns` rows.
struct Node {
  long matrix;
  long index;      // in its matrix
  long first_row;  // in the level's rows of its matrix
  int rows;
};

inline Node make_node(uint threadgroup_index, long units, long nodes, long unit) {
  Node node;
  node.matrix = long(threadgroup_index) / nodes;
  node.index = long(threadgroup_index) % nodes;
  const long share = units / nodes;
  const long rest = units % nodes;
  node.first_row = (node.index * share + min(node.index, rest)) * unit;
  node.rows = int((share + (node.index < rest ? 1 : 0)) * unit);
  return node;
}

// Where entry (i, j) of a node lies among its numbers.
inline int place_in_units(int i, int j, int columns, int unit) {
  return i / unit * unit * columns + j * unit + i % unit;
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

// Entry `index` of rows x columns, dealt so that neighbouring threads meet entries that lie side by side: those of a
// column (`along_rows`) or of a row.
struct Dealt {
  int i;
  int j;
};

inline Dealt deal(int index, int rows, int columns, bool along_rows) {
  Dealt entry;
  entry.i = along_rows ? index % rows : index / columns;
  entry.j = along_rows ? index / rows : index % columns;
  return entry;
}

// Factors the tile: R to `R`, column-major with zeros below its diagonal, and Q to `numbers` where it is wanted. The
// tile has been written, and a barrier passed. A barrier a column, two, and a barrier a column once more for Q.
template <typename T>
inline void factor_tile(threadgroup T* tile, threadgroup float* taus, Node node, int columns, int unit, bool wants_q,
                        device T* numbers, device T* R, Team team) {
  factor_columns<T>(tile, taus, node.rows, columns, R, columns + 1, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int index = team.index; index < columns * columns; index += team.threads) {
    const int i = index % columns;
    const int j = index / columns;
    if (i != j) R[index] = i < j ? tile[j * node.rows + i] : from_real<T>(0.0f);
  }
  if (!wants_q) return;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  form_columns(tile, taus, node.rows, columns, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int index = team.index; index < node.rows * columns; index += team.threads) {
    const Dealt entry = deal(index, node.rows, columns, unit > 1);
    numbers[place_in_units(entry.i, entry.j, columns, unit)] = tile[entry.j * node.rows + entry.i];
  }
}

// The largest magnitude bits in a strip of a matrix: chunks s, s + strips, ... of those that level 0 will factor.
//
// Grid: `strips` threadgroups a matrix. Ownership: entries of a chunk are dealt to all threads. Barriers: two. The host
// promises: strips <= chunks, and magnitudes holds batch * strips words.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_magnitude(
    device const Storage* A [[buffer(0)]], device uint* magnitudes [[buffer(1)]], constant long& rows [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& chunks [[buffer(4)]], constant long& strips [[buffer(5)]],
    constant long& batch_stride [[buffer(6)]], constant long& row_stride [[buffer(7)]],
    constant long& column_stride [[buffer(8)]], uint strip [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const bool along_rows = row_stride < column_stride;
  A += long(strip) / strips * batch_stride;

  uint largest = 0u;
  for (long chunk = long(strip) % strips; chunk < chunks; chunk += strips) {
    const Node node = make_node(uint(chunk), rows, chunks, 1);
    device const Storage* first = A + node.first_row * row_stride;
    for (int index = team.index; index < node.rows * int(columns); index += team.threads) {
      const Dealt entry = deal(index, node.rows, int(columns), along_rows);
      largest = max(largest, magnitude_bits(to_number(first[entry.i * row_stride + entry.j * column_stride])));
    }
  }
  largest = threadgroup_max(largest, slots, team);
  if (team.index == 0) magnitudes[strip] = largest;
}

// Level 0 on the way up: a chunk of B, scaled by the power of two of its matrix, to its Q and R. The R of a matrix that
// is not finite is NaN, which tells the method so.
//
// Grid: one threadgroup a chunk, of any multiple of 32 threads; every number of them gives the same bits. Ownership:
// entries are dealt to all threads when loading and storing; a SIMD-group owns columns s, s + simdgroups, ... while
// they are factored, lane l the rows l, l + 32, ... Barriers: two where the threadgroup agrees on the magnitude, one
// after loading, then those of factor_tile. The host promises: chunks have at least `columns` rows and fit the tile
// with a word for each column; `numbers` holds rows * columns numbers a matrix where Q is wanted, R columns^2 a chunk.
template <typename Storage, int most_columns>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_factor_rows(
    device const Storage* A [[buffer(0)]], device const uint* magnitudes [[buffer(1)]],
    device typename StorageTraits<Storage>::Number* numbers [[buffer(2)]],
    device typename StorageTraits<Storage>::Number* R [[buffer(3)]], constant long& rows [[buffer(4)]],
    constant long& columns [[buffer(5)]], constant long& nodes [[buffer(6)]], constant long& strips [[buffer(7)]],
    constant long& wants_q [[buffer(8)]], constant long& batch_stride [[buffer(9)]],
    constant long& row_stride [[buffer(10)]], constant long& column_stride [[buffer(11)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  enum : int { tile_words = limits::tall_tile_words(most_columns, sizeof(T) / limits::word_bytes) };
  threadgroup float2 tile[tile_words / 2];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const Node node = make_node(threadgroup_index, rows, nodes, 1);
  R += long(threadgroup_index) * columns * columns;

  const uint magnitude = magnitude_of_matrix(magnitudes, node.matrix, strips, slots, team);
  if (magnitude >= not_finite_bits) {
    for (int index = team.index; index < columns * columns; index += team.threads) R[index] = T(not_a_number());
    return;
  }
  A += node.matrix * batch_stride + node.first_row * row_stride;
  const int exponent = tall_exponent(magnitude);
  const bool along_rows = row_stride < column_stride;
  threadgroup T* B = (threadgroup T*)tile;
  threadgroup float* taus = (threadgroup float*)(B + node.rows * columns);
  for (int index = team.index; index < node.rows * int(columns); index += team.threads) {
    const Dealt entry = deal(index, node.rows, int(columns), along_rows);
    B[entry.j * node.rows + entry.i] = scale(to_number(A[entry.i * row_stride + entry.j * column_stride]), exponent);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const long first = wants_q != 0 ? (node.matrix * rows + node.first_row) * columns : 0;
  factor_tile(B, taus, node, int(columns), 1, wants_q != 0, numbers + first, R, team);
}

// A level above on the way up: the R's of some nodes below to their Q, in place, and R.
//
// Grid, ownership and barriers are those of tall_factor_rows. The host promises: `numbers` holds the R's of `units`
// nodes a matrix; those of one node here fit the tile.
template <typename T, int most_columns>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_factor_stack(
    device T* numbers [[buffer(0)]], device T* R [[buffer(1)]], constant long& units [[buffer(2)]],
    constant long& columns [[buffer(3)]], constant long& nodes [[buffer(4)]], constant long& wants_q [[buffer(5)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  enum : int { tile_words = limits::tall_tile_words(most_columns, sizeof(T) / limits::word_bytes) };
  threadgroup float2 tile[tile_words / 2];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const int unit = int(columns);
  const Node node = make_node(threadgroup_index, units, nodes, unit);
  R += long(threadgroup_index) * columns * columns;

  numbers += (node.matrix * units * unit + node.first_row) * columns;
  threadgroup T* B = (threadgroup T*)tile;
  threadgroup float* taus = (threadgroup float*)(B + node.rows * columns);
  for (int index = team.index; index < node.rows * unit; index += team.threads) {
    const Dealt entry = deal(index, node.rows, unit, true);
    B[index] = numbers[place_in_units(entry.i, entry.j, unit, unit)];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  factor_tile(B, taus, node, unit, unit, wants_q != 0, numbers, R, team);
}

// Any level on the way down: the Q of a node times its block of the level above, in place. Level 0 reports the largest
// entry of each column of its product where that settles the sign of the column. Blocks of a matrix that is not finite
// are NaN, and so are their products.
//
// Grid: one threadgroup a node, of any multiple of 32 threads; every number of them gives the same bits. Ownership:
// entries are dealt to all threads when loading and storing; a SIMD-group owns columns s, s + simdgroups, ... of the
// product, lane l the rows l, l + 32, ... Barriers: two for each part of the rows. The host promises: the block, a
// number a column and two parts of the rows fit the tile; `largest` holds `nodes` numbers a column of each matrix.
template <typename T, int most_columns>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_product(
    device T* numbers [[buffer(0)]], device const T* blocks [[buffer(1)]], device T* largest [[buffer(2)]],
    constant long& units [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& nodes [[buffer(5)]],
    constant long& unit_rows [[buffer(6)]], constant long& block_row_stride [[buffer(7)]],
    constant long& block_column_stride [[buffer(8)]], constant long& reports [[buffer(9)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  enum : int { tile_words = limits::tall_tile_words(most_columns, sizeof(T) / limits::word_bytes) };
  threadgroup float2 tile[tile_words / 2];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const int n = int(columns);
  const int unit = int(unit_rows);
  const Node node = make_node(threadgroup_index, units, nodes, unit);
  numbers += (node.matrix * units * unit + node.first_row) * columns;
  blocks += long(threadgroup_index) * columns * columns;

  const int tile_numbers = int(tile_words) * limits::word_bytes / int(sizeof(T));
  const int part = min(node.rows, (tile_numbers - n * n - n) / (2 * n));
  threadgroup T* block = (threadgroup T*)tile;
  threadgroup T* best = block + n * n;
  threadgroup T* Q = best + n;
  threadgroup T* product = Q + part * n;
  for (int index = team.index; index < n * n; index += team.threads) {
    block[index] = blocks[index % n * block_row_stride + index / n * block_column_stride];
  }
  for (int first = 0; first < node.rows; first += part) {
    const int rows = min(part, node.rows - first);
    for (int index = team.index; index < rows * n; index += team.threads) {
      const Dealt entry = deal(index, rows, n, unit > 1);
      Q[entry.j * rows + entry.i] = numbers[place_in_units(first + entry.i, entry.j, n, unit)];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int k = team.simdgroup; k < n; k += team.simdgroups) {
      for (int i = team.lane; i < rows; i += limits::simd_width) {
        T sum = from_real<T>(0.0f);
        for (int j = 0; j < n; ++j) sum = multiply_add(Q[j * rows + i], block[k * n + j], sum);
        product[k * rows + i] = sum;
      }
      if (reports == 0) continue;
      const T entry = largest_of_column<T>(product + k * rows, rows, team.lane);
      if (team.lane == 0 && (first == 0 || square_add(entry, 0.0f) > square_add(best[k], 0.0f))) best[k] = entry;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int index = team.index; index < rows * n; index += team.threads) {
      const Dealt entry = deal(index, rows, n, unit > 1);
      numbers[place_in_units(first + entry.i, entry.j, n, unit)] = product[entry.j * rows + entry.i];
    }
  }
  if (reports == 0) return;
  for (int k = team.index; k < n; k += team.threads)
    largest[(node.matrix * columns + k) * nodes + node.index] = best[k];
}

// What is left of a matrix but P: S, scaled back; the right vectors; and how the columns of P are still to be turned,
// so that the entry of largest magnitude in each column of U is real and positive, the first of them where several are.
// Where U is Q rather than P the method has seen to it.
//
// Grid: one threadgroup a matrix. Ownership: a SIMD-group owns columns s, s + simdgroups, ... when they are turned;
// otherwise entries are dealt to all threads. Barriers: two where the threadgroup agrees on the magnitude, one between
// the two. The host promises: `right_of_R` is column-major as `right` is; `turns` holds a number a column; without
// vectors only S is touched.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_finish(
    device const uint* magnitudes [[buffer(0)]], device const float* S_of_R [[buffer(1)]],
    device const typename StorageTraits<Storage>::Number* right_of_R [[buffer(2)]],
    device const typename StorageTraits<Storage>::Number* largest [[buffer(3)]],
    device typename StorageTraits<Storage>::Number* turns [[buffer(4)]],
    device typename StorageTraits<Storage>::Real* S [[buffer(5)]], device Storage* right [[buffer(6)]],
    constant long& columns [[buffer(7)]], constant long& nodes [[buffer(8)]], constant long& strips [[buffer(9)]],
    constant long& wants_vectors [[buffer(10)]], constant long& transposed [[buffer(11)]],
    uint matrix [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  typedef typename StorageTraits<Storage>::Real Real;
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const int n = int(columns);
  const uint magnitude = magnitude_of_matrix(magnitudes, long(matrix), strips, slots, team);
  const bool is_finite = magnitude < not_finite_bits;
  const int exponent = is_finite ? tall_exponent(magnitude) : 0;
  const long column = long(matrix) * columns;

  for (int k = team.index; k < n; k += team.threads) {
    S[column + k] = to_storage<Real>(scale(S_of_R[column + k], -exponent));
  }
  if (wants_vectors == 0) return;
  for (int k = team.simdgroup; k < n; k += team.simdgroups) {
    T turn = is_finite ? from_real<T>(1.0f) : T(not_a_number());
    if (transposed == 0 && is_finite) {
      turn = conjugate(phase_of_column<T>(largest + (column + k) * nodes, int(nodes), team.lane));
    }
    if (team.lane == 0) turns[column + k] = turn;
  }
  threadgroup_barrier(mem_flags::mem_device);
  for (int index = team.index; index < n * n; index += team.threads) {
    // V^H, whose row index % n belongs to that column of P; U needs no turn.
    T entry = right_of_R[column * n + index];
    if (transposed == 0) entry = multiply(conjugate(turns[column + index % n]), entry);
    right[column * n + index] = to_storage<Storage>(entry);
  }
}

// P, turned, to U or, transposed, to Vh. The turns of a matrix that is not finite are NaN.
//
// Grid: one threadgroup a chunk of level 0. Ownership: entries are dealt to all threads, so that neighbours write
// neighbours. Barriers: one, after the turns are staged. The host promises: columns <= tall_most_columns.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_store(
    device const typename StorageTraits<Storage>::Number* numbers [[buffer(0)]],
    device const typename StorageTraits<Storage>::Number* turns [[buffer(1)]], device Storage* left [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& left_columns [[buffer(5)]],
    constant long& nodes [[buffer(6)]], constant long& transposed [[buffer(7)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup float2 staged[limits::tall_most_columns];
  threadgroup T* staged_turns = (threadgroup T*)staged;
  const int n = int(columns);
  const Node node = make_node(threadgroup_index, rows, nodes, 1);
  turns += node.matrix * columns;
  for (int k = int(thread_index); k < n; k += int(threads)) staged_turns[k] = turns[k];
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const bool is_transposed = transposed != 0;
  const long row_stride = is_transposed ? left_columns : 1;
  const long column_stride = is_transposed ? 1 : rows;
  numbers += (node.matrix * rows + node.first_row) * columns;
  left += node.matrix * rows * left_columns + node.first_row * row_stride;
  for (int index = int(thread_index); index < node.rows * n; index += int(threads)) {
    const Dealt entry = deal(index, node.rows, n, !is_transposed);
    const T number = multiply(staged_turns[entry.j], numbers[entry.i * n + entry.j]);
    left[entry.i * row_stride + entry.j * column_stride] = to_storage<Storage>(number);
  }
}

// Full matrices: the reflectors of P, whose QR factorisation has a Q that P is the first columns of, but for phases.
// Its other columns are those of H_0 .. H_{columns-1} = I - V W V^H with an upper triangular W (Schreiber and Van Loan
// 1989).
//
// Grid: one threadgroup a matrix. Ownership: entries are dealt to all threads while P is copied; a SIMD-group owns
// columns s, s + simdgroups, ... of V while they are factored, and rows of W while it is made. Barriers: one after
// copying, one a column, one before W and one for each of its columns. The host promises: rows * columns numbers for V,
// column-major; columns^2 for W and for R, which is not needed any more; columns <= tall_most_columns.
template <typename T>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_reflectors(
    device const T* numbers [[buffer(0)]], device T* V [[buffer(1)]], device T* W [[buffer(2)]],
    device T* R [[buffer(3)]], constant long& rows [[buffer(4)]], constant long& columns [[buffer(5)]],
    uint matrix [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float taus[limits::tall_most_columns];
  threadgroup float2 staged[limits::tall_most_columns];
  threadgroup T* products = (threadgroup T*)staged;
  const Team team = make_team(thread_index, threads, lane, simdgroup);
  const int n = int(columns);
  const int height = int(rows);
  numbers += long(matrix) * rows * columns;
  V += long(matrix) * rows * columns;
  W += long(matrix) * columns * columns;
  R += long(matrix) * columns * columns;

  for (long index = team.index; index < rows * columns; index += team.threads) {
    V[index] = numbers[index % rows * columns + index / rows];
  }
  threadgroup_barrier(mem_flags::mem_device);
  factor_columns<T>(V, taus, height, n, R, n + 1, team);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  // Column j of W: tau_j on the diagonal, and -tau_j W V^H v_j above.
  for (int j = 0; j < n; ++j) {
    for (int k = team.simdgroup; k < j; k += team.simdgroups) {
      const T product = column_dot<T>(V + long(height) * k, V + long(height) * j, 1, j, height, team.lane);
      if (team.lane == 0) products[k] = product;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    for (int i = team.index; i < n; i += team.threads) {
      T sum = from_real<T>(0.0f);
      for (int k = i; k < j; ++k) sum = multiply_add(W[k * n + i], products[k], sum);
      W[j * n + i] = i < j ? -taus[j] * sum : from_real<T>(i == j ? taus[j] : 0.0f);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  }
}

// Full matrices: column k >= columns of P is e_k - V W V^H e_k.
//
// Grid: one threadgroup a column and matrix. Ownership: entries are dealt to all threads. Barriers: two, before and
// after W V^H e_k is made. The host promises: V and W as tall_reflectors left them.
template <typename Storage>
[[kernel, max_total_threads_per_threadgroup(limits::threads_per_threadgroup)]] void tall_complete(
    device const typename StorageTraits<Storage>::Number* V [[buffer(0)]],
    device const typename StorageTraits<Storage>::Number* W [[buffer(1)]], device Storage* left [[buffer(2)]],
    constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]], constant long& transposed [[buffer(5)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]]) {
  typedef typename StorageTraits<Storage>::Number T;
  threadgroup float2 staged[2 * limits::tall_most_columns];
  threadgroup T* row = (threadgroup T*)staged;
  threadgroup T* weights = row + columns;
  const int n = int(columns);
  const long matrix = long(threadgroup_index) / (rows - columns);
  const long k = columns + long(threadgroup_index) % (rows - columns);
  V += matrix * rows * columns;
  W += matrix * columns * columns;

  for (int j = int(thread_index); j < n; j += int(threads)) row[j] = conjugate(V[j * rows + k]);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int i = int(thread_index); i < n; i += int(threads)) {
    T sum = from_real<T>(0.0f);
    for (int j = i; j < n; ++j) sum = multiply_add(W[j * n + i], row[j], sum);
    weights[i] = sum;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  left += matrix * rows * rows + k * (transposed != 0 ? 1 : rows);
  const long row_stride = transposed != 0 ? rows : 1;
  for (long i = thread_index; i < rows; i += threads) {
    T entry = from_real<T>(i == k ? 1.0f : 0.0f);
    // v_j begins in row j; what stands above it in V is of R.
    for (int j = 0; j < n && j <= i; ++j) entry = multiply_add(-V[j * rows + i], weights[j], entry);
    left[i * row_stride] = to_storage<Storage>(entry);
  }
}

}  // namespace metalsvd
