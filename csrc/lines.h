// The lines of method `simdgroup` (kernels/simdgroup_line.h), as the planner chooses them.
#pragma once

#include <cstdint>
#include <optional>

#include "../kernels/device_limits.h"
#include "plan.h"

namespace metalsvd {

// How method `simdgroup` holds B: a column in `parts` lanes of so many entries, its pairs in one SIMD-group, or spread
// over those of a threadgroup.
struct Line {
  int entries;
  std::int64_t parts;
  std::int64_t pairs;
  bool is_spread;
  bool recovers;  // left vectors are recovered, and a matrix has a threadgroup of its own (kernels/simdgroup_recover.h)
  int most_rows = 0;  // that the kernel takes where a pair is two blocks of columns (kernels/simdgroup_blocks.h)

  std::int64_t slots() const { return limits::simd_width / parts; }      // for pairs, of a SIMD-group
  std::int64_t simdgroups() const { return divide_up(pairs, slots()); }  // for one matrix
  // What so many SIMD-groups hold.
  std::int64_t matrices(std::int64_t simdgroups) const {
    return is_spread ? simdgroups * slots() / pairs : simdgroups * (slots() / pairs);
  }
};

// Of the lines for which there is a kernel the one that costs least, where there are many matrices.
std::optional<Line> line_of_many(const Problem& problem);

// The line for few matrices, more lanes a column, if these matrices are few and it has room. The sums over a column are
// the same.
std::optional<Line> line_of_few(const Problem& problem, const Line& line);

// How many SIMD-groups of a threadgroup share lines that are spread: where there are matrices enough, so many that the
// fewest lanes are left over.
std::int64_t sharing_simdgroups(const Problem& problem, const Line& line);

// The most rows that B may have for method `simdgroup`; less than columns where these are too many.
std::int64_t most_simdgroup_rows(const Problem& problem, std::int64_t columns);

}  // namespace metalsvd
