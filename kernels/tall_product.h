// Behind the tall QR and method `block`: a tile of a product of two matrices, summed up by a threadgroup.
//
// Slices of so many columns of the left factor, and rows of the right one, are staged one after the other. There is
// room for two: while one is multiplied the next is on its way, and goes where the one before it was.
#pragma once
#include <metal_stdlib>

#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"
#include "tall_packed.h"

namespace metalsvd {

using namespace metal;

// A factor of a product, from where the tile meets it.
template <typename T>
struct Operand {
  device const T* first;
  long row_stride, column_stride;
  int rows, columns;  // that there are from there on, or more than are read
};

// Of which factors packs are whole, along the lines that they are read in.
struct WholePacks {
  bool left, right;
};

// What is summed up: columns `start` to `end` of the left one, and these rows of the right one, as it is or conjugated.
template <typename T>
struct Factors {
  Operand<T> left, right;
  WholePacks whole;
  int start, end;
  bool conjugates;
};

template <typename T>
inline bool is_read_across(Operand<T> left) {
  return left.row_stride < left.column_stride;
}

// Whether numbers of so many a step are packs that begin at 16 bytes, if the first one does.
template <typename T>
inline bool are_whole(long stride, long line_stride, long batch_stride) {
  const long count = packed_count<T>();
  return stride == 1 && line_stride % count == 0 && batch_stride % count == 0;
}

template <typename T>
inline WholePacks find_whole_packs(Operand<T> left, long left_batch_stride, Operand<T> right, long right_batch_stride) {
  WholePacks whole;
  whole.left = is_read_across(left) ? are_whole<T>(left.row_stride, left.column_stride, left_batch_stride)
                                    : are_whole<T>(left.column_stride, left.row_stride, left_batch_stride);
  whole.right = are_whole<T>(right.column_stride, right.row_stride, right_batch_stride);
  return whole;
}

// A tile has so many rows and packs: wide ones, for which a thread reads less for what it multiplies, or narrow ones,
// which are more. How large they are changes no bit. Columns of the left factor are staged one after the other, padded
// so that they do not begin in the same bank.
template <int rows_of_tile, int packs_of_tile, int threads_of_tile>
struct ProductTile {
  enum : int {
    rows = rows_of_tile,
    packs = packs_of_tile,
    threads = threads_of_tile,
    // As many lines as give each thread a pack of the left factor to move, eight at least.
    slice = rows * 8 >= threads * 4 ? 8 : 16,
    stride = rows + 4,
    left_numbers = slice * int(stride),
    right_packs = slice * packs,
    // What a thread owns: rows that follow each other, and packs `packs_across` from each other.
    packs_across = 16,
    held_packs = packs / int(packs_across),
    held_rows = rows * int(packs_across) / threads,
    // What it moves of a slice: numbers of the left factor, and packs of the right one.
    moved = rows * int(slice) / threads,
    moved_packs = packs * int(slice) / threads
  };
};
typedef ProductTile<limits::tall_product_rows, limits::tall_product_packs, limits::tall_threads> WideProduct;
typedef ProductTile<limits::tall_narrow_product_rows, limits::tall_narrow_product_packs,
                    limits::tall_narrow_product_threads>
    NarrowProduct;
// Where there are not even as many tiles as cores, more threads hide more of what each waits for.
typedef ProductTile<limits::tall_narrow_product_rows, limits::tall_narrow_product_packs, limits::tall_threads>
    FewProduct;

// What a thread moves of a slice: packs of numbers of the left factor which follow each other in its rows or, where it
// is read `across`, in its columns, and packs of rows of the right one.
template <typename T, typename Tile>
struct HeldSlice {
  float4 left[Tile::moved / packed_count<T>()];
  float4 right[Tile::moved_packs];
};

// What a thread moves of slices, from one on, wherever the factors end: packs of lines, rows or columns, from some on
// in steps of so many, and where they are staged.
template <typename T, typename Tile>
struct AnySlices {
  Factors<T> factors;  // from the next slice on
  bool across;
  int left_pack, left_line, left_step;
  int right_pack, right_k, right_pack_step, right_k_step;
  int left_place, left_places_apart;
  int right_place, right_places_apart;
};

template <typename Tile, typename T>
inline AnySlices<T, Tile> make_any_slices(Factors<T> factors, int thread_index) {
  AnySlices<T, Tile> slices;
  slices.factors = factors;
  slices.across = is_read_across(factors.left);
  const int packs_of_line = (slices.across ? int(Tile::rows) : int(Tile::slice)) / packed_count<T>();
  slices.left_pack = thread_index % packs_of_line * packed_count<T>();
  slices.left_line = thread_index / packs_of_line;
  slices.left_step = int(Tile::threads) / packs_of_line;
  slices.left_place = slices.across ? slices.left_line * Tile::stride + slices.left_pack
                                    : slices.left_pack * Tile::stride + slices.left_line;
  slices.left_places_apart = slices.left_step * (slices.across ? int(Tile::stride) : 1);
  // Threads side by side read the right factor along whichever side its numbers lie.
  const bool down = factors.right.row_stride < factors.right.column_stride;
  slices.right_k = down ? thread_index % Tile::slice : thread_index / Tile::packs;
  slices.right_pack = down ? thread_index / Tile::slice : thread_index % Tile::packs;
  slices.right_k_step = down ? 0 : int(Tile::threads) / Tile::packs;
  slices.right_pack_step = down ? int(Tile::threads) / Tile::slice : 0;
  slices.right_place = slices.right_k * Tile::packs + slices.right_pack;
  slices.right_places_apart = slices.right_k_step * Tile::packs + slices.right_pack_step;
  return slices;
}

// Packs of so many numbers, `stride` apart, of which the first `there` exist; zeros beyond. Where they are `whole`, and
// packs of 16 bytes, rows have zeros to the end of the last pack.
template <typename T>
inline float4 fetch_pack(device const T* first, long stride, int there, bool whole) {
  if (whole) return there > 0 ? *(device const float4*)first : zero_pack();
  T numbers[packed_count<T>()];
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) {
    numbers[q] = from_real<T>(0.0f);
    if (q < there) numbers[q] = first[q * stride];
  }
  return pack_of(numbers);
}

// The next slice; zeros beyond the factors.
template <typename T, typename Tile>
inline void fetch_next(thread AnySlices<T, Tile>& slices, thread HeldSlice<T, Tile>& held) {
  const int count = packed_count<T>();
  const Factors<T> factors = slices.factors;
  const Operand<T> left = factors.left;
  const Operand<T> right = factors.right;
  const int there = min(factors.end - factors.start, int(Tile::slice));  // of the slice
  device const T* const left_slice = left.first + factors.start * left.column_stride;
#pragma unroll
  for (int s = 0; s < Tile::moved / count; ++s) {
    const int line = slices.left_line + s * slices.left_step;
    const int k = slices.across ? line : slices.left_pack;
    const int row = slices.across ? slices.left_pack : line;
    const int exist = slices.across ? (k < there ? left.rows - row : 0) : (row < left.rows ? there - k : 0);
    held.left[s] = fetch_pack(left_slice + k * left.column_stride + row * left.row_stride,
                              slices.across ? left.row_stride : left.column_stride, exist, factors.whole.left);
  }
  device const T* const right_slice = right.first + factors.start * right.row_stride;
#pragma unroll
  for (int s = 0; s < Tile::moved_packs; ++s) {
    const int k = slices.right_k + s * slices.right_k_step;
    const int column = (slices.right_pack + s * slices.right_pack_step) * count;
    held.right[s] = fetch_pack(right_slice + k * right.row_stride + column * right.column_stride, right.column_stride,
                               k < there ? right.columns - column : 0, factors.whole.right);
  }
  slices.factors.start += Tile::slice;
}

// The same of slices that the factors have all of, in whole packs: what is moved needs no look at where these end, and
// addresses go on by steps.
template <typename T, typename Tile, bool is_across>
struct WholeSlices {
  enum : bool { across = is_across };
  enum : int {
    packs_of_line = (across ? int(Tile::rows) : int(Tile::slice)) / packed_count<T>(),
    lines_apart = int(Tile::threads) / int(packs_of_line),
    left_places_apart = int(lines_apart) * (across ? int(Tile::stride) : 1),
    right_rows_apart = int(Tile::threads) / int(Tile::packs),
    right_places_apart = int(Tile::threads)
  };
  device const T* left;
  device const T* right;
  long left_apart, left_step;
  long right_apart, right_step;
  int left_place, right_place;
};

template <typename Tile, bool across, typename T>
inline WholeSlices<T, Tile, across> make_whole_slices(Factors<T> factors, int thread_index) {
  typedef WholeSlices<T, Tile, across> Slices;
  const Operand<T> left = factors.left;
  const Operand<T> right = factors.right;
  const int pack = thread_index % Slices::packs_of_line * packed_count<T>();
  const int line = thread_index / Slices::packs_of_line;
  const int row = across ? pack : line;
  const int k = across ? line : pack;
  const int right_row = thread_index / Tile::packs;
  const int right_pack = thread_index % Tile::packs;
  Slices slices;
  slices.left = left.first + row * left.row_stride + (factors.start + k) * left.column_stride;
  slices.left_apart = Slices::lines_apart * (across ? left.column_stride : left.row_stride);
  slices.left_step = Tile::slice * left.column_stride;
  slices.left_place = k * Tile::stride + row;
  slices.right = right.first + (factors.start + right_row) * right.row_stride + right_pack * packed_count<T>();
  slices.right_apart = Slices::right_rows_apart * right.row_stride;
  slices.right_step = Tile::slice * right.row_stride;
  slices.right_place = thread_index;
  return slices;
}

template <typename T, typename Tile, bool across>
inline void fetch_next(thread WholeSlices<T, Tile, across>& slices, thread HeldSlice<T, Tile>& held) {
#pragma unroll
  for (int s = 0; s < Tile::moved / packed_count<T>(); ++s) {
    held.left[s] = *(device const float4*)(slices.left + s * slices.left_apart);
  }
#pragma unroll
  for (int s = 0; s < Tile::moved_packs; ++s) {
    held.right[s] = *(device const float4*)(slices.right + s * slices.right_apart);
  }
  slices.left += slices.left_step;
  slices.right += slices.right_step;
}

// What is held of the left factor are packs of its columns, if it is read across, or of rows.
template <typename T, typename Tile, typename Slices>
inline void stage(thread const Slices& slices, thread const HeldSlice<T, Tile>& held, bool conjugates,
                  threadgroup T* left, threadgroup float4* right) {
  const int count = packed_count<T>();
#pragma unroll
  for (int s = 0; s < Tile::moved / count; ++s) {
    threadgroup T* const place = left + slices.left_place + s * slices.left_places_apart;
    if (slices.across) {
      *(threadgroup float4*)place = held.left[s];
      continue;
    }
#pragma unroll
    for (int q = 0; q < count; ++q) place[q * Tile::stride] = number_at<T>(held.left[s], q);
  }
#pragma unroll
  for (int s = 0; s < Tile::moved_packs; ++s) {
    right[slices.right_place + s * slices.right_places_apart] =
        conjugates ? conjugate_of_pack(held.right[s], T()) : held.right[s];
  }
}

// Where a thread's part of a tile begins. Neighbouring threads read the same rows, and every other the same pack
// (block_wide_gram.h says why).
struct PartOfTile {
  int row, pack;
};

template <typename Tile>
inline PartOfTile make_part_of_tile(Team team) {
  PartOfTile part;
  part.pack = team.index % 2 + team.index / 4 % (Tile::packs_across / 2) * 2;
  part.row = (team.index / 2 % 2 + team.index / (2 * Tile::packs_across) * 2) * Tile::held_rows;
  return part;
}

// The sums of a thread's part.
template <typename Tile>
struct SumsOfTile {
  float4 of[Tile::held_packs][Tile::held_rows];
};

// Adds the products of a slice.
template <typename T, typename Tile>
inline void add_slice(threadgroup const T* left, threadgroup const float4* right, PartOfTile part,
                      thread SumsOfTile<Tile>& sums) {
  constexpr int count = packed_count<T>();
  threadgroup const float4* const rows = (threadgroup const float4*)(left + part.row);
  threadgroup const float4* const packs = right + part.pack;
#pragma unroll
  for (int k = 0; k < Tile::slice; ++k) {
    float4 of_right[Tile::held_packs];
#pragma unroll
    for (int p = 0; p < Tile::held_packs; ++p) of_right[p] = packs[k * Tile::packs + p * Tile::packs_across];
#pragma unroll
    for (int r = 0; r < Tile::held_rows / count; ++r) {
      const float4 of_left = rows[k * (Tile::stride / count) + r];
#pragma unroll
      for (int i = 0; i < count; ++i) {
#pragma unroll
        for (int p = 0; p < Tile::held_packs; ++p) {
          thread float4& sum = sums.of[p][r * count + i];
          sum = multiply_add(number_at<T>(of_left, i), of_right[p], sum);
        }
      }
    }
  }
}

// Adds the products of the slices from number `first` to `end`. One barrier a slice, between where it is staged and
// where it is read.
template <typename T, typename Tile, typename Slices>
inline void add_slices(thread Slices& slices, int first, int end, bool conjugates, bool has_rows, PartOfTile part,
                       threadgroup T* left_room, threadgroup float4* right_room, thread SumsOfTile<Tile>& sums) {
  if (first >= end) return;
  HeldSlice<T, Tile> held;
  fetch_next(slices, held);
  for (int slice = first; slice < end; ++slice) {
    threadgroup T* const left = left_room + slice % 2 * Tile::left_numbers;
    threadgroup float4* const right = right_room + slice % 2 * Tile::right_packs;
    stage(slices, held, conjugates, left, right);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (slice + 1 < end) fetch_next(slices, held);
    if (has_rows) add_slice<T, Tile>(left, right, part, sums);
  }
}

// The sums of a thread's part of a tile. One barrier a slice. `end` is not before `start`, as every tile begins at a
// column that there is.
template <typename Tile, typename T>
inline void sum_product(Factors<T> factors, threadgroup T* left_room, threadgroup float4* right_room, PartOfTile part,
                        int thread_index, thread SumsOfTile<Tile>& sums) {
#pragma unroll
  for (int p = 0; p < Tile::held_packs; ++p) {
#pragma unroll
    for (int r = 0; r < Tile::held_rows; ++r) sums.of[p][r] = zero_pack();
  }
  const Operand<T> left = factors.left;
  const bool conjugates = factors.conjugates;
  const int summed = factors.end - factors.start;
  const int all_slices = (summed + Tile::slice - 1) / Tile::slice;
  const bool has_all = left.rows >= Tile::rows && factors.right.columns >= Tile::packs * packed_count<T>();
  const int whole_slices = has_all && factors.whole.left && factors.whole.right ? summed / Tile::slice : 0;
  if (is_read_across(left)) {
    auto slices = make_whole_slices<Tile, true>(factors, thread_index);
    add_slices<T, Tile>(slices, 0, whole_slices, conjugates, true, part, left_room, right_room, sums);
  } else {
    auto slices = make_whole_slices<Tile, false>(factors, thread_index);
    add_slices<T, Tile>(slices, 0, whole_slices, conjugates, true, part, left_room, right_room, sums);
  }
  factors.start += whole_slices * Tile::slice;
  auto rest = make_any_slices<Tile>(factors, thread_index);
  // At the last rows most SIMD-groups may have none.
  const bool has_rows = part.row < left.rows;
  add_slices<T, Tile>(rest, whole_slices, all_slices, conjugates, has_rows, part, left_room, right_room, sums);
}

// The first numbers of a pack, and zeros.
template <typename T>
inline float4 first_of_pack(float4 pack, int count) {
  T numbers[packed_count<T>()];
#pragma unroll
  for (int q = 0; q < packed_count<T>(); ++q) numbers[q] = q < count ? number_at<T>(pack, q) : from_real<T>(0.0f);
  return pack_of(numbers);
}

// The sums as they are, where a tile begins of a row-major matrix, of which so many rows and columns are there; zeros
// beyond these, to the end of a row, which `end` numbers are to.
template <typename Tile, typename T>
inline void store_sums(thread const SumsOfTile<Tile>& sums, PartOfTile part, device T* tile, long stride, int rows,
                       int columns, int end) {
  constexpr int count = packed_count<T>();
#pragma unroll
  for (int p = 0; p < Tile::held_packs; ++p) {
    const int pack = part.pack + p * Tile::packs_across;
    if (pack * count >= end) return;
    const int exist = columns - pack * count;
    device float4* place = (device float4*)(tile + part.row * stride) + pack;
#pragma unroll
    for (int r = 0; r < Tile::held_rows; ++r) {
      if (part.row + r < rows) *place = exist < count ? first_of_pack<T>(sums.of[p][r], exist) : sums.of[p][r];
      place += stride / count;
    }
  }
}

}  // namespace metalsvd
