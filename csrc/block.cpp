// A = U diag(S) Vh by block Jacobi. The host encodes, without looking at any result:
//   1. load: the largest entry, then B, scaled, and the identity
//   2. sweeps: in each, rounds over all pairs of blocks, or tables, of two steps (gram, rotate), all in one, or three
//      (gram, solve, rotate), or of one in registers; in late sweeps, which few matrices need, of one step, and in the
//      last ones over pairs of groups of blocks; between late sweeps a look for noise (drop)
//   3. finish: unit columns, their order, what the outputs take of them, and the columns that are missing
// Kernels of sweeps that a matrix no longer needs return at once.
#include "block.h"

#include <algorithm>

#include "../kernels/device_limits.h"
#include "aten.h"
#include "whole.h"

namespace metalsvd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// How the work of one matrix is cut up. What the bits depend on, chunks, follows from its shape alone: a matrix must
// give the same in any batch.
struct Geometry {
  std::int64_t padded;              // columns of W and V
  std::int64_t w_height, v_height;  // and rows, none of V where it is not accumulated
  std::int64_t chunks;              // of rows that a Gram matrix is summed over
  std::int64_t measure_parts;

  explicit Geometry(const Plan& plan)
      : padded(plan.block_padded_columns()),
        w_height(limits::block_height(plan.rows)),
        v_height(plan.block_accumulates() ? limits::block_height(plan.columns) : 0),
        chunks(divide_up(w_height, plan.block_chunk_rows)),
        measure_parts(std::clamp<std::int64_t>(plan.rows * plan.columns / limits::threads_per_threadgroup, 1,
                                               limits::block_measure_parts)) {}

  static std::int64_t tiles(std::int64_t rows, std::int64_t columns) {
    return divide_up(rows, limits::simd_width) * divide_up(columns, limits::simd_width);
  }
};

// Device memory of one call; sizes count the numbers of one matrix.
struct Workspace {
  Tensor W, V;      // w_height x padded and v_height x padded: B and Q while they are rotated
  Tensor partials;  // Gram matrices of the chunks of each pair or table, then its rotations, where a step finds these
  Tensor seats;     // and which columns these are of, and where they bring them
  Tensor lengths;   // of the rows of W, squared
  Tensor sigma, order, states, maxima;
  Tensor extra;  // completed columns where tensors hold less than numbers
};

// Sweeps that nearly all matrices need; a power of two.
constexpr std::int64_t sweeps_of_all = 8;

class Encoder {
 public:
  Encoder(const Plan& plan, const Matrices& A, const Outputs& outputs, ScalarType number_type, LaunchStep launch_step)
      : plan_(plan), geometry_(plan), A_(A), outputs_(outputs), launch_step_(launch_step) {
    workspace_.W = allocate(geometry_.w_height * geometry_.padded, number_type);
    workspace_.V =
        plan.block_accumulates() ? allocate(geometry_.v_height * geometry_.padded, number_type) : workspace_.W;
    const bool sums = plan.block_steps > 1;
    const bool solves = plan.block_steps > 2;
    const std::int64_t meetings = plan.block_has_tables() ? plan.block_seating.most_tables() : plan.block_pairs(0);
    workspace_.partials = sums ? allocate(meetings * plan.block_partials, number_type) : workspace_.W;
    workspace_.seats =
        solves ? allocate(meetings * 2 * limits::block_wide_pair_columns, ScalarType::Int) : workspace_.W;
    workspace_.lengths = is_of_R() ? allocate(geometry_.w_height, ScalarType::Float) : workspace_.W;
    workspace_.sigma = allocate(plan.columns, ScalarType::Float);
    workspace_.order = allocate(plan.columns, ScalarType::Int);
    workspace_.states = allocate(state_words, ScalarType::Int);
    workspace_.maxima = allocate(geometry_.measure_parts, ScalarType::Int);
    if (plan.block_whole_sweeps > 0) {
      whole_.emplace(plan, A, workspace_.W, workspace_.states, geometry_.w_height, geometry_.padded);
    }
    const bool makes_extra = plan.suffix != plan.number_suffix && plan.left_columns > plan.columns;
    workspace_.extra =
        makes_extra ? allocate(plan.rows * (plan.left_columns - plan.columns), number_type) : workspace_.W;
  }

  void load() {
    begin("metalsvd::block load");
    const std::int64_t row_stride = plan_.transposed ? A_.column_stride : A_.row_stride;
    const std::int64_t column_stride = plan_.transposed ? A_.row_stride : A_.column_stride;
    launch("measure_", plan_.suffix, geometry_.measure_parts,
           {A_.tensor, workspace_.maxima, plan_.rows, plan_.columns, geometry_.measure_parts, A_.batch_stride,
            row_stride, column_stride});
    const std::int64_t tiles = Geometry::tiles(plan_.rows, geometry_.padded) +
                               (plan_.block_accumulates() ? Geometry::tiles(plan_.columns, geometry_.padded) : 0);
    launch("load_", plan_.suffix, tiles,
           {A_.tensor, workspace_.W, workspace_.V, workspace_.maxima, workspace_.states, plan_.rows, plan_.columns,
            geometry_.padded, std::int64_t{plan_.transposed}, geometry_.measure_parts, tiles, A_.batch_stride,
            row_stride, column_stride});
  }

  // A sweep, or as many as one dispatch does. Returns how many.
  std::int64_t sweep(std::int64_t sweep) {
    begin_sweep(sweep);
    if (sweep <= plan_.block_whole_sweeps) {
      whole_->sweep(sweep, step_.launches);
      if (sweep == plan_.block_whole_sweeps) collect_whole();
      return 1;
    }
    drop_noise(sweep);
    const std::int64_t sweep_of_groups = sweep - last_sweep_of_one_step();
    if (sweep_of_groups > 0) {
      const bool are_last = sweep_of_groups > limits::block_group_sweeps;
      return rounds_of_groups(sweep, limits::block_max_sweeps, are_last ? plan_.block_last_groups : plan_.block_groups);
    }
    const bool holds_pairs = plan_.block_held_rows > 0;
    if (sweep > plan_.block_full_sweeps || (plan_.block_steps == 1 && !holds_pairs)) {
      return rounds_of_groups(sweep, last_sweep_of_one_step(), {1, plan_.block_pair_rounds() + 1});
    }
    if (plan_.block_has_tables()) {
      for (const SeatingRounds& rounds : plan_.block_seating.parts) {
        for (std::int64_t slope = 0; slope < rounds.rounds; ++slope) wide_steps(sweep, rounds, slope);
      }
      return 1;
    }
    for (std::int64_t round = 0; round < plan_.block_rounds(); ++round) {
      holds_pairs ? held_step(sweep, round) : two_steps(sweep, round);
    }
    return 1;
  }

  void finish() {
    begin("metalsvd::block sort");
    launch(
        "normalize_", plan_.number_suffix, divide_up(plan_.columns, limits::block_simdgroups),
        {workspace_.W, workspace_.V, workspace_.sigma, workspace_.states, plan_.rows, plan_.columns, geometry_.padded,
         plan_.left_columns, std::int64_t{plan_.transposed}, std::int64_t{plan_.block_accumulates()}});
    launch("order_", plan_.real_suffix, divide_up(plan_.columns, limits::block_simdgroups),
           {workspace_.sigma, workspace_.order, workspace_.states, outputs_.S, outputs_.info, plan_.columns});
    if (plan_.left_columns == 0) return;
    begin("metalsvd::block store");
    const std::int64_t tiles = Geometry::tiles(plan_.rows, plan_.left_columns) +
                               (plan_.block_accumulates() ? Geometry::tiles(plan_.columns, plan_.columns) : 0);
    launch("store_", plan_.suffix, tiles,
           {workspace_.W, workspace_.V, workspace_.order, workspace_.states, outputs_.left, outputs_.right, plan_.rows,
            plan_.columns, geometry_.padded, plan_.left_columns, std::int64_t{plan_.transposed}, tiles});
    complete();
  }

  // Launches what has been encoded.
  void flush() {
    if (!step_.launches.empty()) launch_step_(step_);
    step_.launches.clear();
  }

 private:
  // Whether B is R^H of the tall QR.
  bool is_of_R() const { return plan_.reduction && plan_.reduction->preconditions; }

  std::int64_t last_sweep_of_one_step() const { return plan_.block_full_sweeps + limits::block_one_step_sweeps; }

  // What is encoded from here on belongs to the step of that name. The one before is launched.
  void begin(const char* step) {
    flush();
    step_.name = step;
    step_.need.reset();
  }

  // The sweep behind the last of a step that begins with this one. The first sweeps, which all matrices need, are steps
  // of as many as all before together: there are few of them, and the device never waits. Later ones are a step each,
  // and those that hardly any matrix needs one together.
  std::int64_t end_of_step(std::int64_t sweep) const {
    const std::int64_t end = std::int64_t{limits::block_max_sweeps} + 1;
    if (plan_.block_whole_sweeps > 0) return end_of_whole_step(sweep, end);
    return sweep < sweeps_of_all ? 2 * sweep : sweep <= plan_.block_full_sweeps ? sweep + 1 : end;
  }

  // Whole sweeps are few launches: there are more to a step, and hardly any matrix needs those of tables behind them.
  std::int64_t end_of_whole_step(std::int64_t sweep, std::int64_t end) const {
    const std::int64_t whole = plan_.block_whole_sweeps;
    if (sweep < sweeps_of_all) return sweeps_of_all;
    if (sweep < 2 * sweeps_of_all) return sweep + sweeps_of_all / 2;
    return sweep <= whole ? whole + 1 : end;
  }

  void begin_sweep(std::int64_t sweep) {
    if (sweep < next_step_) return;
    begin("metalsvd::block sweep");
    next_step_ = end_of_step(sweep);
    if (sweep >= sweeps_of_all) {
      step_.need = Need{workspace_.states, A_.batch, state_words, state_far, 2, sweep, limits::block_max_sweeps + 1};
    }
  }

  // Between sweeps that most matrices do not need, of W = R^H: columns that are noise become zero
  // (kernels/block_noise.h). Not before: to complete them takes as long as some sweeps.
  void drop_noise(std::int64_t sweep) {
    const std::int64_t full = plan_.block_full_sweeps;
    const std::int64_t first = std::min(full + 1, std::max<std::int64_t>(limits::block_full_sweeps + 1, full - 2));
    if (!is_of_R() || sweep < first || sweep > last_sweep_of_one_step()) return;
    const std::vector<Argument> arguments{workspace_.W,       workspace_.lengths, workspace_.states,
                                          geometry_.w_height, geometry_.padded,   sweep};
    if (sweep == first) {
      launch("lengths_", plan_.number_suffix, divide_up(geometry_.w_height, limits::simd_width), arguments);
    }
    launch("drop_", plan_.number_suffix, divide_up(geometry_.padded, limits::block_simdgroups), arguments);
  }

  // Needed by all matrices, whatever their last sweep.
  void collect_whole() {
    begin("metalsvd::block collect");
    whole_->collect(step_.launches);
  }

  // All pairs of blocks that one round of the tournament meets.
  void two_steps(std::int64_t sweep, std::int64_t round) {
    launch("gram_", plan_.number_suffix, plan_.block_pairs(round) * geometry_.chunks,
           {workspace_.W, workspace_.partials, workspace_.states, geometry_.w_height, plan_.block_width,
            plan_.block_count, geometry_.chunks, round, sweep});
    const std::int64_t w_shares = divide_up(geometry_.w_height, plan_.block_share);
    const std::int64_t shares = w_shares + divide_up(geometry_.v_height, plan_.block_share);
    launch("rotate_", plan_.number_suffix, plan_.block_pairs(round) * shares,
           {workspace_.W, workspace_.V, workspace_.partials, workspace_.states, geometry_.w_height, geometry_.v_height,
            plan_.block_width, plan_.block_count, geometry_.chunks, plan_.block_share, w_shares, shares, round, sweep});
  }

  // A round of tables (kernels/block_seating.h), where the rotations may be found in a step of their own.
  void wide_steps(std::int64_t sweep, const SeatingRounds& rounds, std::int64_t slope) {
    const auto arguments = [&](std::vector<Argument> first, const std::vector<Argument>& last) {
      for (const std::int64_t number :
           {geometry_.w_height, plan_.columns, geometry_.padded, sweep, rounds.classes, rounds.order,
            plan_.block_seating.point_bits, slope, rounds.polynomial, plan_.block_partials}) {
        first.push_back(number);
      }
      first.insert(first.end(), last.begin(), last.end());
      return first;
    };
    launch(
        "wide_gram_", plan_.number_suffix, rounds.tables() * geometry_.chunks,
        arguments({workspace_.W, workspace_.partials, workspace_.states}, {plan_.block_chunk_rows, geometry_.chunks}));

    // Columns of a point, which keep to the same table, meet once a sweep, in its last round.
    const bool is_last = &rounds == &plan_.block_seating.parts.back() && slope + 1 == rounds.rounds;
    const std::int64_t passes = is_last ? std::int64_t{limits::block_wide_passes} : plan_.block_seating.point_bits;
    const bool is_late = sweep > limits::block_quick_sweeps;
    const std::int64_t share = is_late ? plan_.block_late_share : plan_.block_share;
    const std::int64_t shares = divide_up(geometry_.w_height + geometry_.v_height, share);
    if (plan_.block_steps == 2 || is_late) {
      launch("wide_turn_", plan_.number_suffix, rounds.tables() * shares,
             arguments({workspace_.W, workspace_.V, workspace_.states},
                       {geometry_.chunks, passes, workspace_.partials, geometry_.v_height, share, shares}));
      return;
    }
    launch("wide_solve_", plan_.number_suffix, rounds.tables(),
           arguments({workspace_.partials, workspace_.seats, workspace_.states}, {geometry_.chunks, passes}));
    launch("wide_rotate_", plan_.number_suffix, rounds.tables() * shares,
           {workspace_.W, workspace_.V, workspace_.partials, workspace_.seats, workspace_.states, geometry_.w_height,
            geometry_.padded, geometry_.v_height, sweep, rounds.tables(), plan_.block_partials, share, shares},
           limits::block_wide_strip_threads);
  }

  // The same where pairs have room in registers.
  void held_step(std::int64_t sweep, std::int64_t round) {
    launch("held_" + std::to_string(plan_.block_held_rows) + "_", plan_.number_suffix, plan_.block_pairs(round),
           {workspace_.W, workspace_.states, geometry_.w_height, plan_.block_width, plan_.block_count, round, sweep},
           plan_.threads_per_threadgroup);
  }

  // The rounds of a sweep in which groups of blocks meet. Two groups, unless they are large, have one round, which does
  // all sweeps up to the last. Returns how many sweeps that are.
  std::int64_t rounds_of_groups(std::int64_t sweep, std::int64_t last, BlockGroups groups) {
    const bool does_all = groups.count == 2 && groups.size <= limits::block_group_blocks;
    const std::int64_t sweeps = does_all ? last - sweep + 1 : 1;
    for (std::int64_t round = 0; round < groups.count - 1; ++round) {
      std::vector<Argument> arguments{workspace_.W,       workspace_.V,      workspace_.states, geometry_.w_height,
                                      geometry_.v_height, plan_.block_width, plan_.block_count};
      if (plan_.block_is_wide) arguments.push_back(plan_.block_chunk_rows);
      for (const std::int64_t number : {groups.size, groups.count, round, sweep, sweeps}) arguments.push_back(number);
      if (plan_.block_is_wide) {
        arguments.push_back((sweep > plan_.block_full_sweeps ? 2 : 1) * limits::block_wide_passes);
      }
      launch(plan_.block_is_wide ? "wide_round_" : "round_", plan_.number_suffix, groups.count / 2,
             std::move(arguments));
    }
    return sweeps;
  }

  Tensor allocate(std::int64_t numbers, ScalarType dtype) const {
    return empty_vector(A_.tensor, A_.batch * numbers, dtype);
  }

  // Columns of P that B has not: of zero columns, and of full matrices. How many of them is known on the device only.
  void complete() {
    begin("metalsvd::block complete");
    step_.need = Need{workspace_.states, A_.batch, state_words, state_rank, 1, 0, plan_.left_columns - 1};
    for (std::int64_t first = 0; first < plan_.columns; first += limits::block_panel_columns) {
      const std::vector<Argument> arguments{workspace_.W,      workspace_.sigma,   workspace_.order,
                                            workspace_.states, plan_.rows,         plan_.columns,
                                            geometry_.padded,  plan_.left_columns, first};
      launch("panel_", plan_.number_suffix, 1, arguments, limits::block_panel_threads);
      const std::int64_t behind = plan_.columns - first - limits::block_panel_columns;
      if (behind <= 0) continue;
      launch("reflect_", plan_.number_suffix, divide_up(behind, limits::block_simdgroups), arguments);
    }
    launch("complete_", plan_.suffix, divide_up(plan_.left_columns, limits::block_simdgroups),
           {workspace_.W, workspace_.sigma, workspace_.order, workspace_.states, outputs_.left, workspace_.extra,
            plan_.rows, plan_.columns, geometry_.padded, plan_.left_columns, std::int64_t{plan_.transposed}});
  }

  void launch(const std::string& step, const std::string& suffix, std::int64_t threadgroups_a_matrix,
              std::vector<Argument> arguments, std::int64_t threads = limits::block_threads) {
    step_.launches.push_back({plan_.library, plan_.library + "_" + step + suffix, A_.batch * threadgroups_a_matrix,
                              threads, std::move(arguments)});
  }

  const Plan& plan_;
  const Geometry geometry_;
  const Matrices& A_;
  const Outputs& outputs_;
  Workspace workspace_;
  std::optional<WholeSweeps> whole_;
  const LaunchStep launch_step_;
  Step step_;                   // not launched yet
  std::int64_t next_step_ = 1;  // the sweep that it begins with
};

}  // namespace

void launch_block(const Plan& plan, const Matrices& A, const Outputs& outputs, ScalarType number_type,
                  LaunchStep launch_step) {
  Encoder encoder(plan, A, outputs, number_type, launch_step);
  encoder.load();
  for (std::int64_t sweep = 1; sweep <= limits::block_max_sweeps;) sweep += encoder.sweep(sweep);
  encoder.finish();
  encoder.flush();
}

}  // namespace metalsvd
