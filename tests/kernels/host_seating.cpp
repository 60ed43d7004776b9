// The planner's rounds of tables, for the test of the kernels' part of it.
#include "csrc/seating.h"

#pragma GCC visibility push(default)
extern "C" {

// classes, order, point_bits, slope and polynomial of each round of a sweep, as far as there is room for. Returns how
// many rounds there are.
int test_seating(long columns, long* rounds, int room) {
  const metalsvd::SeatingPlan plan = metalsvd::plan_seating(columns);
  int count = 0;
  for (const metalsvd::SeatingRounds& part : plan.parts) {
    for (long slope = 0; slope < part.rounds; ++slope, ++count) {
      if (count >= room) continue;
      for (const long number :
           {long(part.classes), long(part.order), long(plan.point_bits), slope, long(part.polynomial)}) {
        *rounds++ = number;
      }
    }
  }
  return count;
}

}  // extern "C"
