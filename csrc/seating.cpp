#include "seating.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <optional>

#include "../kernels/device_limits.h"
#include "plan.h"

namespace metalsvd {
namespace {

std::int64_t rounds_of(const std::vector<SeatingRounds>& parts) {
  std::int64_t sum = 0;
  for (const SeatingRounds& part : parts) sum += part.rounds;
  return sum;
}

// Irreducible binary polynomials of degree 1, 2, ..., for up to 64 * 2^13 columns: bit i is the coefficient of x^i.
constexpr std::int64_t irreducible[] = {0x3,   0x7,   0xb,   0x13,  0x25,   0x43,  0x83,
                                        0x11b, 0x203, 0x409, 0x805, 0x1009, 0x201b};

// The polynomial of a field of so many elements, if they are a power of two.
std::optional<std::int64_t> polynomial_of(std::int64_t order) {
  const auto elements = static_cast<std::uint64_t>(order);
  const std::size_t degree = static_cast<std::size_t>(std::countr_zero(elements));
  if (!std::has_single_bit(elements) || degree > std::size(irreducible)) return std::nullopt;
  return irreducible[degree - 1];
}

// Of the field of p^2 elements a + b sqrt(n), for the primes p whose squares save rounds, by a number n that is no
// square modulo p.
std::optional<std::int64_t> square_field_of(std::int64_t order) {
  constexpr std::int64_t primes[] = {3, 5, 7};
  constexpr std::int64_t not_squares[] = {2, 2, 3};
  for (std::size_t i = 0; i < std::size(primes); ++i) {
    if (order == primes[i] * primes[i]) return -(limits::block_field_radix * primes[i] + not_squares[i]);
  }
  return std::nullopt;
}

// Whether 1, 2, ..., sides - 1, the differences of sides, have inverses modulo `order`.
bool have_inverses(std::int64_t order, std::int64_t sides) {
  for (std::int64_t divisor = 2; divisor < sides; ++divisor) {
    if (order % divisor == 0) return false;
  }
  return true;
}

// The transversal design of so many sides with the fewest places a side, `places` at least.
SeatingRounds plan_design(std::int64_t classes, std::int64_t sides, std::int64_t places) {
  for (std::int64_t order = std::max(places, sides);; ++order) {
    if (const auto polynomial = polynomial_of(order)) return {classes, order, *polynomial, order};
    if (const auto field = square_field_of(order)) return {classes, order, *field, order};
    if (have_inverses(order, sides)) return {classes, order, 0, order};
  }
}

// Of so many half tables a class. The one that rests has its table in the last round.
std::vector<SeatingRounds> plan_tournament(std::int64_t classes, std::int64_t halves) {
  const std::int64_t pairs = divide_up(halves, 2);
  if (halves % 2 == 0 || pairs == 1) return {{classes, pairs, limits::block_tournament, 2 * pairs - 1}};
  return {{classes, pairs - 1, limits::block_tournament_with_rest, 2 * pairs - 2},
          {classes, pairs, limits::block_tournament, 1}};
}

// The rounds for `points` points of each class, of tables of so many: a design and what its sides need, or where that
// takes as long a tournament.
std::vector<SeatingRounds> plan_parts(std::int64_t classes, std::int64_t points, std::int64_t points_of_table) {
  const std::vector<SeatingRounds> of_halves = plan_tournament(classes, divide_up(points, points_of_table / 2));
  if (points <= points_of_table) return of_halves;
  const SeatingRounds design = plan_design(classes, points_of_table, divide_up(points, points_of_table));
  const std::int64_t rounds = rounds_of(of_halves);
  if (design.rounds >= rounds) return of_halves;  // small classes would need designs without end
  std::vector<SeatingRounds> parts = plan_parts(classes * points_of_table, design.order, points_of_table);
  parts.insert(parts.begin(), design);
  return rounds_of(parts) < rounds ? parts : of_halves;
}

// How long sweeps of one matrix take, in steps of the passes that solve a table (kernels/block_wide_solve.h), as
// measured on an H200: a round takes about 50 of them to begin and end, and one for 450 rows of tables to sum up and to
// rotate; of three tables in five the rotations are found at once, which takes as long as 25; and of tables of few
// points more sweeps are needed.
double time_of(const SeatingPlan& plan, std::int64_t columns) {
  const std::int64_t passes = plan.point_bits;
  const std::int64_t steps = 32 + 64 - (64 >> (passes - 1));
  const double sweeps = passes == 1 ? 1.15 : passes == 2 ? 1.05 : 1;
  double time = 0;
  for (const SeatingRounds& part : plan.parts) {
    const std::int64_t rows = part.tables() * columns;
    time += static_cast<double>(part.rounds) *
            (50 + 0.4 * static_cast<double>(steps) + 0.6 * 25 + static_cast<double>(rows) / 450);
  }
  return sweeps * time;
}

}  // namespace

std::int64_t SeatingPlan::rounds() const { return rounds_of(parts); }

std::int64_t SeatingPlan::most_tables() const {
  std::int64_t most = 0;
  for (const SeatingRounds& part : parts) most = std::max(most, part.tables());
  return most;
}

SeatingPlan plan_seating(std::int64_t columns) {
  std::optional<SeatingPlan> best;
  double least = 0;
  for (std::int64_t bits = 1; bits <= limits::block_seat_bits; ++bits) {
    const std::int64_t points = divide_up(columns, std::int64_t{1} << (limits::block_seat_bits - bits));
    const SeatingPlan plan{bits, plan_parts(1, points, std::int64_t{1} << bits)};
    const double time = time_of(plan, columns);
    if (best && time >= least) continue;
    best = plan;
    least = time;
  }
  return *best;
}

}  // namespace metalsvd
