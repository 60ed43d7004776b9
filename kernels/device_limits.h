// The limits of the device and of our kernels, by name. Read by the kernels (Metal) and by the planner (C++), so that a
// number stands in one place only. Unscoped enums, because a global of Metal would have to live in `constant` memory.
#pragma once

namespace metalsvd {
namespace limits {

enum : int {
  // Apple GPUs since Apple7 (M1): what every kernel may count on.
  simd_width = 32,
  threads_per_threadgroup = 1024,
  threadgroup_bytes = 32768,

  // Kernels count rows and columns in 32 bits, and step beyond the last by up to a threadgroup. All other products are
  // formed in 64 bits.
  most_rows = 2147483647 - threads_per_threadgroup,

  // One float32 word of threadgroup memory a SIMD-group, where each leaves what the whole threadgroup wants to know.
  simdgroups_per_threadgroup = threads_per_threadgroup / simd_width,
  word_bytes = 4,
  // Method `threadgroup` keeps a matrix, its norms and their order in one tile: all the memory but the words above.
  threadgroup_tile_words = threadgroup_bytes / word_bytes - simdgroups_per_threadgroup,

  // Lanes that work on a column, or on four at a time, in method `threadgroup`: few, so that little of the work is
  // summing up over lanes and finding the same rotation in each of them.
  team_lanes = 8,
  teams_per_simdgroup = simd_width / team_lanes,

  // Of method `threadgroup`: as many as have columns to take in a sweep, and some more to factor with.
  threadgroup_method_threads = 256,
  threadgroup_few_matrices = 64,  // that leave most cores of most GPUs with one or none

  // Method `thread` holds B and Q, padded to N x N, in registers: with 6 real or 4 complex columns 72 or 64 of the 128
  // words that a thread has, the others being left for what it computes.
  thread_method_size = 6,
  thread_method_complex_size = 4,
  // Enough to hide each other's latency, few enough to spread small batches over the cores.
  thread_method_threads = 128,

  // Method `simdgroup` holds two columns of B and of Q in the registers of one lane or of several, up to 20 entries of
  // each a lane, of complex ones 10: 80 of the 128 words that a thread has. More rows are left to a threadgroup.
  simdgroup_most_rows = 512,
  // More real columns are left to method `block`.
  simdgroup_most_columns = 128,
  // From simdgroup_long_columns on and up to as many as these rows are, columns of more rows take less time by the tall
  // QR and with R in registers.
  simdgroup_long_rows = 128,
  simdgroup_long_complex_rows = 80,
  simdgroup_long_columns = 16,
  // What a lane has to do beside its entries, counted in them, when a pair meets.
  simdgroup_work_of_pair = 8,
  // Where a matrix takes more than a SIMD-group, or would leave too many of its lanes over, the columns of several are
  // spread over the SIMD-groups of a threadgroup. It needs the registers of so many threads at once, and memory for the
  // columns that go from one SIMD-group to another.
  simdgroup_spread_threads = 512,
  simdgroup_boxes_bytes = 18 * 1024,
  simdgroup_spread_origins = 512,  // columns of all matrices of a threadgroup
  simdgroup_words_bytes = 256,     // of a SIMD-group where columns are not spread: two words a pair
  // Up to so many columns sweeps of B itself cost less, on random matrices, than a QR factorisation and fewer sweeps.
  simdgroup_plain_columns = 40,
  // Up to so many the norms of the right vectors do not drift enough to be corrected each sweep.
  simdgroup_steady_columns = 16,
  simdgroup_sharing_simdgroups = 4,
  // Where there are few matrices more lanes hold each, of so many entries: nothing else hides the time of a round.
  simdgroup_few_entries = 4,
  // Enough SIMD-groups a threadgroup to hide each other's latency, one where few would not fill the cores.
  simdgroup_method_simdgroups = 4,
  simdgroup_method_threads = simdgroup_method_simdgroups * simd_width,
  simdgroup_enough_threadgroups = 128,
  // Its kernels that turn Q apart (simdgroup_apart.h): one or two SIMD-groups for W, and one for each 32 rows of Q.
  simdgroup_apart_leaders = 2,
  simdgroup_apart_threads = 4 * simd_width,
  simdgroup_apart_fewest = 9,  // columns
  // Its recovering kernels (simdgroup_recover.h) hold columns of W only, but more of them, for which a lane needs more
  // than 128 words in all: of complex matrices pairs; of real ones of up to so many rows pairs of eight blocks, in so
  // many lanes each, or in more where there are few matrices; of more rows lines of blocks (simdgroup_block_width).
  simdgroup_eighths_most = 64,
  simdgroup_eighth_pairs = 4,
  simdgroup_eighth_lanes = 8,
  simdgroup_eighth_few_lanes = 16,
  simdgroup_eighth_most_threads = 256,
  simdgroup_block_most_threads = 384,
  // They take so many columns and more, of up to so many rows; up to simdgroup_plain_columns of up to so many.
  simdgroup_recovering_fewest = 33,
  simdgroup_recovering_long_rows = 48,
  simdgroup_recovering_most = 160,
  simdgroup_recovering_complex_fewest = 21,
  simdgroup_recovering_complex_most = 80,

  // One-sided Jacobi converges quadratically: random matrices need 6 to 11 sweeps; the worst seen is 25, on rows graded
  // over 12 decades. A matrix that has not converged after this many is reported (info = 2).
  jacobi_max_sweeps = 40,

  // Each matrix is scaled by a power of two so that its largest entry lies in [2^48, 2^49): a column of 2^13 such
  // entries still has a square below 2^127, and a column 2^-111 times smaller still has one above 2^-126.
  scaled_exponent = 48,

  // Method `block` and the tall QR scale it to [2^40, 2^41): all of 2^42 such entries, more than any memory holds, can
  // come together in one column, which still has a square below 2^126.
  large_scaled_exponent = 40,

  // Method `block`. A pair of blocks has at most 32 columns: the Gram matrix of complex ones and their rotation take
  // 8 KiB each, and a thread of 256 owns 2x2 entries of either.
  block_columns = 16,
  block_pair_columns = 2 * block_columns,
  block_threads = block_columns * block_columns,
  block_simdgroups = block_threads / simd_width,
  // Rows of such a pair that are staged together, 16 or 8 KiB; a row of them is padded by a number against bank
  // conflicts where lanes walk down a column. A thread of 256 then owns 4x4 entries of real ones.
  block_tile_rows = 4 * simd_width,
  block_complex_tile_rows = simd_width,
  block_tile_stride = block_pair_columns + 1,
  // Of real matrices of more columns than so many 64 meet at a time, at the 2^block_seat_bits seats of a table or in a
  // pair of blocks: their Gram matrix, which J then replaces, takes 16 KiB, and a slice of the columns, as they are
  // multiplied, 8 KiB.
  block_seat_bits = 6,
  block_wide_pair_columns = 1 << block_seat_bits,
  block_wide_columns = block_wide_pair_columns / 2,
  // What rounds of tables are named by in place of a polynomial (block_seating.h).
  block_tournament = -1,
  block_tournament_with_rest = -2,
  block_field_radix = 16,
  // What is kept of a Gram matrix of 64 x 64, which is symmetric: 9 numbers for each thread.
  block_wide_partial = 9 * block_threads,
  // Rows that a threadgroup rotates at a time where it finds the rotations itself: four for each sixteenth thread.
  block_wide_turned_rows = 4 * block_threads / (block_wide_pair_columns / 4),
  // From so many real columns on tables turn more than asks for it (block_convergence.h).
  block_wide_more_columns = 1024,
  // Rows that a threadgroup sums up of these: in tiles of so many, and so few that all pairs of a matrix are given to
  // this many threadgroups, nearly all that the cores of an H100 run at a time, or each to block_wide_chunks.
  block_wide_chunk_rows = 64,
  block_wide_gram_threadgroups = 256,
  block_wide_chunks = 4,
  // The first sweeps sort the columns of a table by their norms. Later ones do not: columns of nearly the same norm
  // would change seats again and again, and some would miss each other. Graded rows without a QR in front take many
  // sweeps to be in order: after so many every other one sorts.
  block_sorting_sweeps = 5,
  block_sorting_again = 14,
  // Sweeps in which angles are large (block_wide_exponential.h).
  block_first_sweeps = 2,
  // Passes that meet each of 64 columns with each other (block_wide_solve.h), a bit of their seat each.
  block_wide_passes = 6,
  // Where this is a step of its own, each SIMD-group rotates strips of so many rows, which take with J all the memory
  // that a threadgroup may have; up to so many strips, since with more the cores would end further apart. A core runs
  // block_wide_rotating of these threadgroups at a time.
  block_wide_strip_rows = 16,
  block_wide_strip_simdgroups = 4,
  block_wide_strip_threads = block_wide_strip_simdgroups * simd_width,
  block_wide_most_strips = 16,
  block_wide_rotating = 4,
  // Behind the tall QR columns of so few rows stay in registers while a pair is met, where lanes have so many of them
  // (block_held.h): in the lanes of half a SIMD-group where they are few, of a whole one where they are more.
  block_held_most_rows = 288,
  block_held_few_rows = 192,
  // Sweeps over R that rotate all columns at once (whole.h), up to so many, before those of tables: products of
  // subtiles of whole_side x whole_side numbers, four of them to a threadgroup where each core has so many of these.
  // One matrix of 192 to 384 columns takes two thirds of the time so, hundreds take twice as long: by default only
  // those of so many rows a column take them, and up to so many columns, whose QR takes much longer.
  whole_rows_a_column = 256,
  whole_most_columns = 512,
  whole_sweeps = 30,
  whole_side = 32,
  whole_large_per_core = 1,
  whole_collected = 4096,  // numbers that a threadgroup copies
  // Rows that a threadgroup sums up: at least a tile, and so many that a pair has at most this many chunks.
  block_most_chunks = 64,
  // Columns between which no dispatch stands when reflectors are made, two to a SIMD-group: these dispatches are paid
  // for whether columns are missing or not.
  block_panel_columns = 32,
  block_panel_threads = block_panel_columns / 2 * simd_width,
  // Threadgroups that look for the largest entry of a matrix; each of those that copy it reads what they found.
  block_measure_parts = 256,
  // So many sweeps meet each pair of columns once, which takes the least time where matrices converge at all. In later
  // ones a Gram matrix is swept over this many times, all pairs of columns, before it is formed anew: matrices of small
  // rank and of graded rows need it.
  block_quick_sweeps = 12,
  block_inner_sweeps = 2,
  // As jacobi_max_sweeps, and some more since sweeps that rotate all columns at once may come first; but every sweep is
  // paid for in dispatches, needed or not.
  block_max_sweeps = 64,
  // So those after some are made of fewer, which take longer where they are needed. First come as many full ones as
  // random matrices need, and a few more: so many for few columns, for up to so many more, and for each time twice as
  // many. Then some whose rounds are one step, each pair of blocks in one threadgroup. Then those in which groups of so
  // many blocks meet, each pair of groups in one threadgroup, and two groups do all sweeps in one dispatch. Last, after
  // some of these, larger groups, two of which do one sweep in a dispatch: with more it could take seconds.
  block_few_columns = 512,
  block_full_sweeps_of_few = 12,
  // Of tables for so few columns that one threadgroup has few rows to read: less.
  block_fewest_columns = 256,
  block_full_sweeps_of_fewest = 10,
  block_full_sweeps_columns = 1024,
  block_full_sweeps = 14,
  block_sweeps_for_twice_the_columns = 3,
  block_one_step_sweeps = 2,
  block_group_sweeps = 8,
  block_group_blocks = 4,
  block_last_group_blocks = 16,
  // A round is one step rather than two where rows are one chunk, of wide pairs less than the two tiles that a chunk
  // has at least, or where each core has so many pairs of blocks that are not wide. Where it is two, the second is
  // given to so many threadgroups a core, each of which solves for the rotations of its pair.
  block_pairs_per_core = 2,
  block_rotating_per_core = 2,
  // Wide pairs are rotated in two steps, where each core finds the rotations of one table and turns up to so many rows.
  // With more they are three, of which the second finds the rotations, of each table once; but two beyond
  // block_quick_sweeps, since those are less to pay for, of so many shares a core.
  block_wide_most_turned = 256,
  block_wide_late_per_core = 2,

  // From so many columns on the left vectors are not accumulated behind the tall QR, but follow from the right ones
  // (tall_recover.h), which takes less time, measured, than half of the rotations. The shape alone decides: batches of
  // 256x256 and 512x512 gain a tenth and a seventh, one of them loses a tenth or a twentieth; from 640 columns on one
  // gains too, and so do complex ones of any size.
  block_recovered_columns = 256,
  block_recovered_complex_columns = 80,
  // Up to so many rows a column they follow from B itself rather than R: products of all rows take less time than Q.
  recovered_rows_a_column = 4,

  // The tall QR moves numbers in packs of so many bytes. It takes panels of at most so many bytes a row, 32 real or 16
  // complex columns, and nodes of at most so many of a column, 512 or 256 rows: a SIMD-group holds some columns in 64
  // words of registers a lane (reading the reflector once for all of them), and 16 nodes or more meet in one above.
  tall_pack_bytes = 16,
  tall_panel_bytes = 128,
  tall_chunk_bytes = 2048,
  tall_held_columns = 4,
  tall_threads = 256,
  // Packs of a row that a threadgroup applies reflectors to, one SIMD-group for each quarter of the rows: 32 real
  // columns, as wide as a panel, or half of that where there are few tiles. A core runs tall_apply_resident wide tiles
  // at a time, and half empty what is left over up to tall_apply_few_resident.
  tall_tile_packs = 8,
  tall_narrow_tile_packs = 4,
  tall_quarters = 4,
  tall_apply_threads = tall_quarters * simd_width,
  tall_apply_resident = 4,
  tall_apply_few_resident = 6,
  // Rows and packs of a tile of a product that a threadgroup makes, narrow where there is no wide one for each core.
  tall_product_rows = 128,
  tall_product_packs = 32,
  tall_narrow_product_rows = 64,
  tall_narrow_product_packs = 16,
  tall_narrow_product_threads = 128,
  // What a product is of, and what becomes of it (tall_recover.h).
  tall_product_reflected = 0,
  tall_product_of_upper = 1,
  tall_product_over_values = 2,
  tall_product_of_gram = 3,
  tall_product_of_last_gram = 4,
  tall_product_by_upper = 5,
  tall_product_by_last_upper = 6,
  tall_product_of_all = 7,
  tall_left_rows = 8,         // of a threadgroup that looks what orthogonalization leaves (tall_settle.h)
  tall_finish_threads = 512,  // a column of the tallest has thousands of nodes to hear of
  tall_finish_lines = 256,    // of right vectors that a threadgroup moves
  // The QR of real matrices by Gram matrices (cholesky.h), of so many columns: 4 x 4 for each thread. By default it is
  // for those of more columns than one panel has. A Gram matrix is summed over up to so many parts, of so many rows at
  // least.
  cholesky_most_columns = 128,
  cholesky_fewest_columns = 33,
  cholesky_threads = 512,
  cholesky_parts = 88,
  cholesky_least_part = 256,
  // Block reflectors take panels of tall_panel_bytes too, and Gram matrices of so many rows of one, a thread each in a
  // pass; for the products with X^H rows are cut in so many parts at most, of so many at least, of which a threadgroup
  // stages some at a time; and they are applied to so many packs of a chunk at a time, by so many threadgroups a core,
  // each of which multiplies K anew.
  reflectors_passes = 16,
  reflectors_chunk_rows = 128,
  reflectors_small_threads = reflectors_chunk_rows,
  reflectors_apply_threads = 256,
  reflectors_parts = 8,
  reflectors_least_part = 128,
  reflectors_slab_rows = 16,
  reflectors_tile_packs = 16,
  reflectors_applied_per_core = 4,
  // Numbers of a tile that is copied, as wide as so many columns at most: whole cache lines in either direction.
  tall_copy_numbers = 2048,
  tall_copy_columns = 32,
  // Whole rows that a threadgroup moves, where they are longer than its threads are many.
  tall_row_bytes = 16384,
  tall_squares_rows = 64,  // that a threadgroup sums the squares of
  // So many threadgroups at most look for the largest entry of a matrix, each in that many entries at least; others
  // read as many words to know it.
  tall_strips = 512,
  tall_strip_entries = 4096,
  // It stands in front of a matrix of so few columns that one threadgroup or thread could take it when that has more
  // than so many rows: one threadgroup would sweep over all of them, many times, where many can reduce them once.
  tall_rows = 512
};

// Positions in a grid are 32-bit numbers.
enum : unsigned int { most_grid_threads = 4294967295u };

// Words of a tile of so many KiB. Smaller matrices have kernels of method `threadgroup` that claim less than all the
// memory, since a core runs as many threadgroups as its memory has room for: in 9 KiB 32 real columns fit. A larger one
// is for CUDA, where a block may have 163 KiB on an A100, 227 on an H100.
constexpr int tile_words(int kib) { return kib * 1024 / word_bytes - simdgroups_per_threadgroup; }

// Words of the tile of method `threadgroup` that go before numbers, an even number of them.
constexpr int threadgroup_column_words(int columns) { return (3 * columns + 1) / 2 * 2; }

// From one column of W to the next, where there is room. The blocks that the four teams of a SIMD-group hold lie next
// to each other: with 4 modulo 16 rows of 4 or 8 bytes a column, padded by zeros, no two teams meet in a bank.
constexpr int threadgroup_padded_stride(int columns) { return columns + ((4 - columns) & 15); }

// The most columns for which a tile has room for a square of numbers of `words` words, or for two of them.
constexpr int threadgroup_most_columns(int words, int tile_words, bool one_square) {
  int columns = 0;
  const int squares = one_square ? 1 : 2;
  while (squares * words * (columns + 1) * (columns + 1) + threadgroup_column_words(columns + 1) <= tile_words) {
    ++columns;
  }
  return columns;
}

// The lanes that hold a column of this many rows in method `simdgroup`, of so many entries a lane: a power of two.
constexpr int simdgroup_parts(int rows, int entries) {
  int parts = 1;
  while (parts * entries < rows) parts *= 2;
  return parts;
}

// The lanes that take the place of one of so many entries where there are few matrices: a power of two. With as many
// partial sums that one lane adds up its entries in the same order as they do.
constexpr int simdgroup_few_lanes(int entries) {
  int lanes = 1;
  while (lanes * simdgroup_few_entries < entries) lanes *= 2;
  return lanes;
}

// What a lane puts there of a column of W, and of Q if that is told too: numbers of so many bytes, and 16 bytes more.
constexpr int simdgroup_box_bytes(int entries, int number_bytes, bool tells_Q) {
  return (tells_Q ? 2 : 1) * entries * number_bytes + 16;
}

// The most columns of a kernel that turns Q apart, a column of W in so many lanes of that many SIMD-groups.
constexpr int simdgroup_apart_columns(int entries, int parts, int simdgroups) {
  const int held = 2 * simdgroups * simd_width / parts;
  return parts * entries < held ? parts * entries : held;
}

// And its boxes where that are two, enough for as many lines as all its threads could hold.
constexpr int simdgroup_apart_boxes_bytes(int entries, int parts) {
  return 2 * simdgroup_apart_threads / simd_width * parts * simdgroup_box_bytes(entries, word_bytes, true);
}

// So many bytes in whole vectors of 16, of which there is an odd number: with these lanes side by side, which have what
// they read so far apart, are in different banks.
constexpr int odd_vectors(int bytes) { return ((bytes + 15) / 16 | 1) * 16; }

// What a lane has of a column in a box that is not passed on.
constexpr int simdgroup_part_bytes(int entries, int number_bytes) { return odd_vectors(entries * number_bytes); }

// What a recovering kernel needs of threadgroup memory for columns in so many lanes, of a matrix in so many
// SIMD-groups: for 8 columns of B, or for the boxes between SIMD-groups.
constexpr long simdgroup_recovering_bytes(int entries, int number_bytes, long parts, long simdgroups) {
  const long columns = 8 * parts * simdgroup_part_bytes(entries, number_bytes);
  const long boxes = simdgroups > 1 ? simdgroups * parts * simdgroup_box_bytes(entries, number_bytes, false) : 0;
  return columns > boxes ? columns : boxes;
}

// And what it has where lines are spread: of complex numbers for up to six SIMD-groups of four lanes a column; of few
// matrices, whose lanes have few entries, for sixteen of sixteen.
constexpr int simdgroup_recovering_tile(int entries, int number_bytes) {
  return int(entries == simdgroup_few_entries ? simdgroup_recovering_bytes(entries, number_bytes, 16, 16)
                                              : simdgroup_recovering_bytes(entries, number_bytes, 4, 6));
}

// Entries of a column of so many rows in each of so many lanes.
constexpr int simdgroup_entries(int rows, int lanes) { return (rows + lanes - 1) / lanes; }

// Of the kernels for lines of blocks, for up to 72, 80, 96, 112, 128, 144 or 160 rows and columns: the columns of a
// block. A core has the registers for two matrices of up to 144 rows, in SIMD-groups that are as many in each part of
// it: 16 of narrow blocks, 12 of wide ones. Of more rows it has one.
constexpr int simdgroup_block_width(int rows) { return rows <= 128 ? 4 : rows <= 144 ? 6 : 5; }
// And the lanes of a pair, where there are many matrices.
constexpr int simdgroup_block_lanes(int rows) { return rows <= 96 ? 8 : 16; }
// Of an odd number of blocks one rests where the others fill SIMD-groups: that of the last pair only waits then.
constexpr bool simdgroup_block_rests(int rows, int columns) {
  const int blocks = (columns + simdgroup_block_width(rows) - 1) / simdgroup_block_width(rows);
  return blocks % 2 != 0 && blocks / 2 * simdgroup_block_lanes(rows) % simd_width == 0;
}
// Columns of a block of so many that go from SIMD-group to SIMD-group together: half of them where each SIMD-group
// tells the next of its only pair, which would take more threadgroup memory than there is.
constexpr int simdgroup_block_columns_moved(int width, int parts) {
  return parts < simd_width ? width : (width + 1) / 2;
}
// What a lane puts into a box of so many of these, and a square.
constexpr int simdgroup_block_box_bytes(int columns, int entries, int number_bytes) {
  return odd_vectors(columns * entries * number_bytes + word_bytes);
}
// The boxes of all SIMD-groups of a line of so many columns, in blocks of so many.
constexpr int simdgroup_block_boxes(int columns, int width, int parts, int entries, int number_bytes) {
  const int lanes = (columns + 2 * width - 1) / (2 * width) * parts;
  const int simdgroups = (lanes + simd_width - 1) / simd_width;
  const int box_bytes = simdgroup_block_box_bytes(simdgroup_block_columns_moved(width, parts), entries, number_bytes);
  return simdgroups * parts * box_bytes;
}
// The threadgroup memory of such a kernel, for these; or for 8 columns of B, and behind them what is kept of the
// reflectors of all columns: a number and a word each.
constexpr int simdgroup_reflectors_bytes(int rows, int number_bytes) { return rows * (number_bytes + word_bytes); }
constexpr int simdgroup_block_tile(int rows, int number_bytes, int lanes) {
  const int entries = simdgroup_entries(rows, lanes);
  const int columns =
      int(simdgroup_recovering_bytes(entries, number_bytes, lanes, 1)) + simdgroup_reflectors_bytes(rows, number_bytes);
  const int boxes = simdgroup_block_boxes(rows, simdgroup_block_width(rows), lanes, entries, number_bytes);
  return columns > boxes ? columns : boxes;
}

// Of the kernels for eight blocks, for up to 40, 48, 56 or 64 rows and columns: the columns of a block, and the
// threadgroup memory, for 8 columns of B or where lanes of one SIMD-group do not have all blocks for one of each pair.
constexpr int simdgroup_eighth(int rows) { return rows / (2 * simdgroup_eighth_pairs); }
// Matrices of a threadgroup, a SIMD-group each: some where a core runs more than eight SIMD-groups at a time.
constexpr int simdgroup_eighth_matrices(int rows, int lanes) {
  return lanes == simdgroup_eighth_lanes && rows <= simdgroup_recovering_long_rows ? 8 : 1;
}
constexpr int simdgroup_eighth_tile(int rows, int number_bytes, int lanes) {
  const int entries = simdgroup_entries(rows, lanes);
  const int columns = int(simdgroup_recovering_bytes(entries, number_bytes, lanes, 1));
  const int all_lanes = simdgroup_eighth_pairs * lanes;
  const int boxes = all_lanes * simdgroup_block_box_bytes(simdgroup_eighth(rows), entries, number_bytes);
  return all_lanes > simd_width && boxes > columns ? boxes : columns;
}

// Numbers of device memory that it has of a matrix: V, and the reflectors of columns of so many entries.
constexpr long simdgroup_recovering_vectors(long columns) { return columns * (columns + columns % 2); }
constexpr long simdgroup_recovering_numbers(long columns, long entries) {
  return simdgroup_recovering_vectors(columns) + columns * entries;
}

// Tiles, or subtiles, on or above the diagonal of a square of so many a side.
constexpr long whole_triangle(long width) { return width * (width + 1) / 2; }

// Rows of a part of so many that products with X^H are summed over, from the shape alone: whole slabs.
constexpr int reflectors_part_rows(int rows) {
  const int slabs = (rows + reflectors_parts * reflectors_slab_rows - 1) / (reflectors_parts * reflectors_slab_rows);
  return slabs * reflectors_slab_rows < reflectors_least_part ? int(reflectors_least_part)
                                                              : slabs * reflectors_slab_rows;
}

// Rows that method `block` keeps of columns of so many: zeros behind the last, so that all begin at 16 bytes.
constexpr long block_height(long rows) { return (rows + 3) / 4 * 4; }

// Rows of a chunk of method `block`, from the shape alone: whole tiles.
constexpr int block_chunk_rows(long rows) {
  const long tiles = (rows + block_most_chunks * block_tile_rows - 1) / (block_most_chunks * block_tile_rows);
  return int(tiles) * block_tile_rows;
}

// The same of wide pairs.
constexpr int block_wide_chunk(long rows, long pairs) {
  const long wanted = block_wide_gram_threadgroups / pairs;
  const long most = block_most_chunks;
  const long fewest = block_wide_chunks;
  const long chunks = wanted > most ? most : wanted < fewest ? fewest : wanted;
  const long tiles = (rows + chunks * block_wide_chunk_rows - 1) / (chunks * block_wide_chunk_rows);
  // Two tiles at least, so that little of the work is adding up what they come to.
  return int(tiles > 2 ? tiles : 2) * block_wide_chunk_rows;
}

// Whether it sorts the columns of tables.
constexpr bool block_sweep_sorts(long sweep) {
  return sweep <= block_sorting_sweeps || (sweep > block_sorting_again && sweep % 2 == 0);
}

// Of the kernels that hold pairs of up to 64 columns of so many rows: the columns of a small block, of which a block of
// 28 is a multiple; the lanes of a pair of these, their entries of a column, and the boxes.
constexpr int block_held_width(int rows) { return rows == 224 ? 7 : 4; }
constexpr int block_held_parts(int rows) { return rows > block_held_few_rows ? simd_width : simd_width / 2; }
constexpr int block_held_entries(int rows) { return simdgroup_entries(rows, block_held_parts(rows)); }
constexpr int block_held_tile(int rows) {
  return simdgroup_block_boxes(block_wide_pair_columns, block_held_width(rows), block_held_parts(rows),
                               block_held_entries(rows), word_bytes);
}

}  // namespace limits

// What a method reports for one matrix.
enum Info : int { info_ok = 0, info_not_finite = 1, info_not_converged = 2 };

// The words that method `block` keeps of each matrix in `states`.
enum StateWord : int {
  state_far = 0,       // the last sweep that cosines ask for, counted from 1; 0: A is not finite
  state_wide = 1,      // and that angles ask for: the sweep to make is the smaller of these (block_convergence.h)
  state_exponent = 2,  // B is A 2^exponent
  state_rank = 3,      // the columns of B that are not zero once they are orthogonal
  state_words = 4
};

}  // namespace metalsvd
