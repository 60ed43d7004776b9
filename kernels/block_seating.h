// Method `block` on real numbers: which columns meet in a round of a sweep.
//
// All columns of a matrix sit at tables of 64, and in a sweep each two of them sit at one table together at least once.
// Rounds of pairs of blocks of 32 columns would bring together only half of those that sit at a table, the others again
// and again; here a sweep has down to half as many rounds, each of which reads and writes the columns once.
//
// A table has 2^point_bits points, of neighbouring columns each. Those that are alike modulo `classes` have a class of
// tables to themselves. Rounds are of two kinds:
// - Of a transversal design (Colbourn and Dinitz, Handbook of Combinatorial Designs, 2nd ed., III.3): the points of a
//   class are dealt to as many sides as a table has points, each of up to `order` places, and table x takes the place
//   x + side * slope of each side, in the field of so many elements. The rounds of all slopes bring together all points
//   of different sides. Sides are the classes of the rounds that follow; where they have no more points than a table,
//   these are the lines of an affine plane, and one more round is all.
// - Of a tournament (common/pairs.h) of half tables, for the few points of a class that are left at the end. Where
//   these are odd, one rests, but in the last round: then it has a table to itself.
// csrc/seating.h has the rounds of a sweep.
#pragma once
#include <metal_stdlib>

#include "common/pairs.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// A round, as csrc/seating.h describes it.
struct Seating {
  int classes;
  int order;  // tables of a class
  int point_bits;
  int slope;  // or the round of a tournament
  // Modulo which binary polynomials are the field, or 0 where numbers modulo `order` are. block_tournament: a round of
  // one; block_tournament_with_rest: but for the first one, without the half table that rests. Else, below zero,
  // -(block_field_radix p + n), where `order` is the square of a prime p: the field is a + b sqrt(n), written down as
  // a + p b, a and b modulo p.
  int polynomial;
};

inline Seating make_seating(long classes, long order, long point_bits, long slope, long polynomial) {
  Seating seating;
  seating.classes = int(classes);
  seating.order = int(order);
  seating.point_bits = int(point_bits);
  seating.slope = int(slope);
  seating.polynomial = int(polynomial);
  return seating;
}

// Which point of its class sits at a place of a table of the class.
inline int point_of_class(Seating seating, int table, int place) {
  const bool rests = seating.polynomial == limits::block_tournament_with_rest;
  if (rests || seating.polynomial == limits::block_tournament) {
    const int places = 1 << (seating.point_bits - 1);  // of half a table
    const int resting = rests ? 1 : 0;
    const Pair pair = round_robin_pair(seating.slope + resting, table + resting, 2 * (seating.order + resting));
    return place < places ? pair.p * places + place : pair.q * places + place - places;
  }
  int of_side = (table + place * seating.slope) % seating.order;
  if (seating.polynomial < 0) {
    const int prime = -seating.polynomial / limits::block_field_radix;
    const int radicand = -seating.polynomial % limits::block_field_radix;
    const int a = place % prime, b = place / prime;
    const int c = seating.slope % prime, d = seating.slope / prime;
    const int rational = table % prime + a * c + radicand * b * d;
    const int irrational = table / prime + a * d + b * c;
    of_side = rational % prime + irrational % prime * prime;
  } else if (seating.polynomial > 0) {
    of_side = table;
    int summand = seating.slope;
    for (int rest = place; rest != 0; rest >>= 1) {
      of_side ^= (rest & 1) != 0 ? summand : 0;
      summand <<= 1;
      summand ^= (summand & seating.order) != 0 ? seating.polynomial : 0;
    }
  }
  return (of_side << seating.point_bits) + place;
}

// The column at a seat of a table of a matrix with so many columns, or -1 where there is none.
inline int column_at_seat(Seating seating, int table, int seat, int columns) {
  const int bits = limits::block_seat_bits - seating.point_bits;
  const int of_class = point_of_class(seating, table % seating.order, seat >> bits);
  const int point = table / seating.order + seating.classes * of_class;
  const int column = (point << bits) + (seat & ((1 << bits) - 1));
  return column < columns ? column : -1;
}

// The matrix, table and chunk of rows that a threadgroup works on.
struct TableTask {
  long matrix;
  long table;  // counted through the batch
  int table_of_matrix;
  int chunk;
};

inline TableTask make_table_task(uint threadgroup_index, int chunks, Seating seating) {
  TableTask task;
  const uint tables = uint(seating.classes * seating.order);
  const uint table_of_batch = threadgroup_index / uint(chunks);
  task.table = table_of_batch;
  task.chunk = int(threadgroup_index % uint(chunks));
  task.matrix = table_of_batch / tables;
  task.table_of_matrix = int(table_of_batch % tables);
  return task;
}

}  // namespace metalsvd
