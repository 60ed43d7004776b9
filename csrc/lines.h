// The lines of method `simdgroup` (kernels/simdgroup_line.h), as the planner chooses them.
#pragma once

#include <cstdint>
#include <optional>

#include "../kernels/device_limits.h"
#include "plan.h"

namespace metalsvd {

// The vectors that the sweeps do not leave in W: their columns are held with those of W (kernels/simdgroup.h); threads
// of their own have their rows (kernels/simdgroup_apart.h); they are recovered from the others, which W has by columns,
// by blocks in a line or by eight blocks (kernels/simdgroup_recover.h). But for the first a matrix has a threadgroup of
// its own.
enum class Vectors { held, apart, recovered, recovered_by_blocks, recovered_by_eighths };

// How method `simdgroup` holds B: a column in `parts` lanes of so many entries, its pairs in one SIMD-group, or spread
// over those of a threadgroup.
struct Line {
  int entries;
  std::int64_t parts;
  std::int64_t pairs;
  bool is_spread;
  Vectors vectors;

  std::int64_t slots() const { return limits::simd_width / parts; }      // for pairs, of a SIMD-group
  std::int64_t simdgroups() const { return divide_up(pairs, slots()); }  // for one matrix
  // What so many SIMD-groups hold.
  std::int64_t matrices(std::int64_t simdgroups) const {
    return is_spread ? simdgroups * slots() / pairs : simdgroups * (slots() / pairs);
  }
};

// Of the lines for which there is a kernel the one that costs least, where there are many matrices.
std::optional<Line> line_of_many(const Problem& problem);

// Kernel and grid of method `simdgroup`, of that line or, where matrices are few, of one of more lanes.
void plan_simdgroup(const Problem& problem, Plan& plan);

// The most rows that B may have for method `simdgroup`; less than columns where these are too many.
std::int64_t most_simdgroup_rows(const Problem& problem, std::int64_t columns);

}  // namespace metalsvd
