// The rounds of a sweep of method `block` on real numbers: at which table of kernels/block_seating.h each column sits.
#pragma once

#include <cstdint>
#include <vector>

namespace metalsvd {

// Rounds that differ in the slope only: all of 0, 1, ..., rounds - 1. What the numbers mean kernels/block_seating.h
// says.
struct SeatingRounds {
  std::int64_t classes;
  std::int64_t order;
  std::int64_t polynomial;
  std::int64_t rounds;

  std::int64_t tables() const { return classes * order; }  // in use at the same time
};

struct SeatingPlan {
  std::int64_t point_bits;
  std::vector<SeatingRounds> parts;

  std::int64_t rounds() const;
  std::int64_t most_tables() const;
};

// Those that take the least time.
SeatingPlan plan_seating(std::int64_t columns);

}  // namespace metalsvd
