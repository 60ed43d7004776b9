// The order in which one-sided Jacobi meets its pairs of columns: a round-robin tournament (the circle method; Brent
// and Luk 1985), in which the pairs of one round share no column and can be rotated at the same time.
#pragma once
#include <metal_stdlib>

namespace metalsvd {

struct Pair {
  int p;  // p < q
  int q;
};

// The rounds of a tournament of `columns`, one more than they need where their number is odd.
inline int round_count(int columns) { return columns + columns % 2 - 1; }

// Pair `index` (0 <= index < (columns + 1) / 2) of round `round` < round_count. Where `columns` is odd, one pair a
// round has q == columns: the column that rests.
inline Pair round_robin_pair(int round, int index, int columns) {
  const int circle = round_count(columns);
  const int after = round + index;
  const int before = round - index;
  const int a = index == 0 ? circle : after < circle ? after : after - circle;
  const int b = before < 0 ? before + circle : before;
  Pair pair;
  pair.p = a < b ? a : b;
  pair.q = a < b ? b : a;
  return pair;
}

}  // namespace metalsvd
