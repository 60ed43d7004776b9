#include "tall.h"

#include <algorithm>

#include "aten.h"

namespace metalsvd {
namespace {

using torch::headeronly::ScalarType;

// Threadgroups a matrix for a SIMD-group a row, within reason.
std::int64_t groups_for(std::int64_t rows) {
  return std::min<std::int64_t>(divide_up(rows * limits::simd_width, limits::tall_threads), limits::tall_strips);
}

// Threads of a threadgroup that applies the reflectors of a panel to rows of so many packs.
std::int64_t applying_threads(const Panel& panel, std::int64_t packed, std::int64_t packs) {
  const std::int64_t sums =
      limits::tall_quarters * (panel.padded / packed) * std::min<std::int64_t>(packs, limits::tall_tile_packs);
  return sums > limits::tall_apply_few_threads ? limits::tall_apply_threads : limits::tall_apply_few_threads;
}

void append(std::vector<Argument>& arguments, const std::vector<Argument>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
}

}  // namespace

TallQr::TallQr(const Plan& plan, const Matrices& A, const Factors& factors) : plan_(plan), A_(A), factors_(factors) {
  const Reduction& reduction = *plan.reduction;
  const std::int64_t n = plan.columns;
  const bool vectors = plan.left_columns > 0;
  stride_ = reduction.padded(n);
  left_stride_ = reduction.padded(reduction.left_columns);
  magnitudes_ = empty_vector(A.tensor, A.batch * reduction.strips, ScalarType::Int);
  // The values of one panel's R need no V.
  numbers_ = allocate(vectors || reduction.panels.size() > 1 ? reduction.rows * stride_ : 1);
  plan_levels();

  const std::int64_t root = reduction.panels.front().padded * reduction.panels.front().padded;
  roots_ = allocate(is_one_panel() ? root : reduction.panel_columns * reduction.panel_columns * levels_.size());
  left_ = !vectors                             ? allocate(1)
          : starts_at_root() && is_one_panel() ? numbers_
                                               : allocate(reduction.rows * left_stride_);
  // P is made when R has been factored.
  R_ = is_one_panel() ? roots_ : vectors ? Numbers{left_.tensor, n * n} : allocate(n * n);
  const std::int64_t square = vectors ? n * n : 1;
  factors_of_R_ = {allocate(square).tensor, empty_vector(A.tensor, A.batch * n, ScalarType::Float),
                   allocate(square).tensor, std::get<3>(factors)};
  const std::int64_t left_columns = vectors ? reduction.left_columns : 0;
  const std::int64_t reports = std::max<std::int64_t>(left_columns * reduction.panels.front().nodes.front(), 1);
  largest_ = allocate(reports).tensor;
  squares_ = empty_vector(A.tensor, A.batch * reports, ScalarType::Float);
  turns_ = allocate(std::max<std::int64_t>(left_columns, 1)).tensor;
  order_ = reduction.preconditions ? empty_vector(A.tensor, A.batch * n, ScalarType::Int) : magnitudes_;
}

TallQr::Numbers TallQr::allocate(std::int64_t count) const {
  return {empty_vector(A_.tensor, A_.batch * count, number_type(A_.tensor.scalar_type())), count};
}

// The levels of all panels, and what they leave room for: V and T of every panel where they are wanted later.
void TallQr::plan_levels() {
  const Reduction& reduction = *plan_.reduction;
  const bool vectors = plan_.left_columns > 0;
  Offset V = 0;
  Offset joint = 0;
  std::int64_t V_room = 1;
  std::int64_t joint_room = 1;
  std::vector<std::int64_t> stack_rooms;
  for (const Panel& panel : reduction.panels) {
    if (!vectors) V = joint = 0;
    std::vector<Level>& levels = levels_.emplace_back();
    for (std::size_t i = 0; i < panel.nodes.size(); ++i) {
      const std::int64_t nodes = panel.nodes[i];
      if (i == 0) {
        const std::int64_t rows = reduction.rows - panel.first;
        levels.push_back({nodes, rows, rows / nodes, rows % nodes, 0, 0, 0, joint});
      } else {
        const std::int64_t step = i == 1 ? 1 : levels.back().unit_step * panel.units;
        const std::int64_t rows = panel.nodes[i - 1] * panel.padded;
        levels.push_back({nodes, rows, panel.units * panel.padded, 0, panel.padded, step, V, joint});
        V += rows * panel.padded;
        // On the way down the last panel's stack is as wide as P.
        const bool is_last = panel.first + panel.columns == plan_.columns;
        const std::int64_t width = std::max(panel.padded, is_last && starts_at_root() ? left_stride_ : 0);
        if (stack_rooms.size() < i) stack_rooms.push_back(0);
        stack_rooms[i - 1] = std::max(stack_rooms[i - 1], rows * width);
      }
      joint += nodes * panel.padded * panel.padded;
    }
    V_room = std::max(V_room, V);
    joint_room = std::max(joint_room, joint);
  }
  upper_ = allocate(V_room);
  joints_ = allocate(joint_room);
  stacks_.push_back({});
  for (std::int64_t room : stack_rooms) stacks_.push_back(allocate(room));
}

std::int64_t TallQr::V_row_stride(std::size_t panel, std::size_t level) const {
  return level == 0 ? stride_ : plan_.reduction->panels[panel].padded;
}

bool TallQr::keeps(std::size_t panel) const { return plan_.left_columns > 0 || panel + 1 < levels_.size(); }

std::int64_t TallQr::row_stride() const { return plan_.reduction->transposed ? A_.column_stride : A_.row_stride; }

std::int64_t TallQr::column_stride() const { return plan_.reduction->transposed ? A_.row_stride : A_.column_stride; }

// Full matrices have more to apply Q to than the vectors of R.
bool TallQr::starts_at_root() const { return plan_.reduction->left_columns == plan_.columns; }

Launch TallQr::launch(const std::string& kernel, std::int64_t threadgroups, std::vector<Argument> arguments,
                      std::int64_t threads) const {
  return {"tall", "tall_" + kernel, A_.batch * threadgroups, threads, std::move(arguments)};
}

// Whether B of one panel has rows of whole packs of numbers. An MPS tensor's address is that of its buffer, which is
// aligned to more than a pack, and its offset.
bool TallQr::is_packed() const {
  const Reduction& reduction = *plan_.reduction;
  return reduction.storage == reduction.number && column_stride() == 1 && plan_.columns % reduction.packed == 0 &&
         row_stride() % reduction.packed == 0 && A_.batch_stride % reduction.packed == 0 &&
         reinterpret_cast<std::uintptr_t>(A_.tensor.data_ptr()) % limits::tall_pack_bytes == 0;
}

// One panel is read where it is; of several the numbers have been scaled already.
Launch TallQr::factor(std::size_t index, std::size_t i) const {
  const Reduction& reduction = *plan_.reduction;
  const Panel& panel = reduction.panels[index];
  const Level& level = levels_[index][i];
  const Numbers V = V_of(i);
  const Offset corner = panel.first * (stride_ + 1);
  const bool is_root = i + 1 == levels_[index].size();
  const Numbers& R = is_root ? roots_ : stacks_[i + 1];
  const std::int64_t R_stride = is_root ? roots_.stride : levels_[index][i + 1].rows * panel.padded;
  const Offset R_offset = is_root ? static_cast<Offset>(index) * reduction.panel_columns * reduction.panel_columns : 0;
  const bool reads_A = i == 0 && is_one_panel();
  std::vector<Argument> arguments{reads_A  ? A_.tensor
                                  : i == 0 ? numbers_.tensor
                                           : stacks_[i].tensor,
                                  magnitudes_,
                                  V.tensor,
                                  R.tensor,
                                  joints_.tensor,
                                  level.rows,
                                  panel.columns,
                                  level.nodes,
                                  level.share,
                                  level.rest,
                                  reads_A ? reduction.strips : std::int64_t{0},
                                  std::int64_t{keeps(index)}};
  if (reads_A) {
    append(arguments, {std::int64_t{0}, A_.batch_stride, row_stride(), column_stride()});
  } else {
    for (std::int64_t stride : {i == 0 ? corner : Offset{0}, i == 0 ? numbers_.stride : level.rows * panel.padded,
                                V_row_stride(index, i), std::int64_t{1}})
      arguments.push_back(stride);
  }
  for (std::int64_t argument :
       {i == 0 ? corner : level.V, V.stride, V_row_stride(index, i), R_offset, R_stride, level.joint, joints_.stride})
    arguments.push_back(argument);
  arguments.push_back(std::int64_t{!reads_A || is_packed()});
  return launch("factor_" + (reads_A ? reduction.storage : reduction.number), level.nodes, std::move(arguments),
                panel.threads);
}

// Where the reflectors of a level stand, as the kernels that apply them are told.
std::vector<Argument> TallQr::reflector_arguments(std::size_t index, std::size_t i) const {
  const Panel& panel = plan_.reduction->panels[index];
  const Level& level = levels_[index][i];
  return {level.rows,     panel.padded,
          level.nodes,    level.share,
          level.rest,     i == 0 ? panel.first * (stride_ + 1) : level.V,
          V_of(i).stride, V_row_stride(index, i),
          level.joint,    joints_.stride};
}

// The adjoint to the columns behind the panel, or the panel to P.
Launch TallQr::apply(std::size_t index, std::size_t i, bool adjoint) const {
  const Reduction& reduction = *plan_.reduction;
  const Panel& panel = reduction.panels[index];
  const Level& level = levels_[index][i];
  const Level& chunks = levels_[index][0];
  const Numbers& C = adjoint ? numbers_ : left_;
  const std::int64_t C_stride = adjoint ? stride_ : left_stride_;
  const std::int64_t first_column = adjoint ? panel.first + panel.padded : 0;
  const std::int64_t packs = (C_stride - first_column) / reduction.packed;
  const bool reports = !adjoint && index == 0 && i == 0;
  std::vector<Argument> arguments{V_of(i).tensor, joints_.tensor, C.tensor, largest_, squares_};
  append(arguments, reflector_arguments(index, i));
  append(arguments,
         {panel.first * C_stride + first_column, C.stride, C_stride, packs, level.unit_rows, level.unit_step,
          chunks.share, chunks.rest, std::int64_t{adjoint}, reports ? reduction.left_columns : std::int64_t{0}});
  return launch("apply_" + reduction.number, level.nodes * divide_up(packs, limits::tall_tile_packs),
                std::move(arguments), applying_threads(panel, reduction.packed, packs));
}

// The last panel, where all rows of P that it meets are zero but those of the vectors of R.
Launch TallQr::expand_last(std::size_t i) const {
  const Reduction& reduction = *plan_.reduction;
  const std::size_t index = levels_.size() - 1;
  const Panel& panel = reduction.panels[index];
  const Level& level = levels_[index][i];
  const Numbers& C = i == 0 ? left_ : stacks_[i];
  const bool is_root = i + 1 == levels_[index].size();
  const std::int64_t n = plan_.columns;
  const bool reports = index == 0 && i == 0;
  // P of R is the transpose of Vh when A is wide.
  const std::int64_t row_stride = !is_root ? left_stride_ : reduction.transposed ? n : 1;
  const std::int64_t column_stride = !is_root || reduction.transposed ? 1 : n;
  const Tensor& Z = !is_root               ? stacks_[i + 1].tensor
                    : reduction.transposed ? std::get<2>(factors_of_R_)
                                           : std::get<0>(factors_of_R_);
  const std::int64_t Z_stride = !is_root ? levels_[index][i + 1].rows * left_stride_ : n * n;
  std::vector<Argument> arguments{V_of(i).tensor, joints_.tensor, Z, C.tensor, largest_, squares_};
  append(arguments, reflector_arguments(index, i));
  append(arguments, {is_root ? panel.first * row_stride : Offset{0}, Z_stride, panel.padded * left_stride_, row_stride,
                     column_stride, panel.columns, n, i == 0 ? panel.first * left_stride_ : Offset{0},
                     i == 0 ? left_.stride : level.rows * left_stride_, left_stride_, reports ? n : std::int64_t{0}});
  const std::int64_t packs = left_stride_ / reduction.packed;
  return launch("expand_" + reduction.number, level.nodes * divide_up(packs, limits::tall_tile_packs),
                std::move(arguments), applying_threads(panel, reduction.packed, packs));
}

// The order of the columns of B.
void TallQr::sort(std::vector<Launch>& launches) const {
  const Reduction& reduction = *plan_.reduction;
  const std::int64_t n = plan_.columns;
  const std::int64_t tiles = copied_tiles(reduction.rows, n);
  const Tensor squares = empty_vector(A_.tensor, A_.batch * tiles * limits::tall_copy_columns, ScalarType::Float);
  const Tensor norms = empty_vector(A_.tensor, A_.batch * n, ScalarType::Float);
  launches.push_back(launch("squares_" + reduction.storage, tiles,
                            {A_.tensor, magnitudes_, squares, reduction.rows, n, reduction.strips, A_.batch_stride,
                             row_stride(), column_stride()}));
  const std::int64_t groups = divide_up(n, limits::tall_copy_columns);
  launches.push_back(launch("norms_f32", groups, {squares, norms, reduction.rows, n}, limits::threads_per_threadgroup));
  launches.push_back(launch("order_f32", groups, {norms, order_, n}));
}

Step TallQr::reduce() const {
  const Reduction& reduction = *plan_.reduction;
  const std::int64_t n = plan_.columns;
  Step step{"metalsvd::qr reduce", {}};
  std::vector<Launch>& launches = step.launches;
  launches.push_back(launch(
      "magnitude_" + reduction.storage, reduction.strips,
      {A_.tensor, magnitudes_, reduction.rows, n, reduction.strips, A_.batch_stride, row_stride(), column_stride()}));
  if (reduction.preconditions) sort(launches);
  if (!is_one_panel()) {
    launches.push_back(
        launch("load_" + reduction.storage, copied_tiles(reduction.rows, stride_),
               {A_.tensor, magnitudes_, numbers_.tensor, reduction.rows, n, stride_, reduction.strips, A_.batch_stride,
                row_stride(), column_stride(), order_, std::int64_t{reduction.preconditions}}));
  }
  for (std::size_t panel = 0; panel < levels_.size(); ++panel) {
    for (std::size_t level = 0; level < levels_[panel].size(); ++level) {
      launches.push_back(factor(panel, level));
      if (panel + 1 < levels_.size()) launches.push_back(apply(panel, level, true));
    }
  }
  if (is_one_panel()) return step;
  const std::int64_t groups = groups_for(n);
  launches.push_back(launch("collect_" + reduction.number, groups,
                            {numbers_.tensor, roots_.tensor, R_.tensor, reduction.rows, n, stride_,
                             reduction.panel_columns, roots_.stride, groups}));
  return step;
}

Matrices TallQr::R() const {
  const std::int64_t n = plan_.columns;
  const std::int64_t stride = is_one_panel() ? stride_ : n;
  const bool transposed = plan_.reduction->transposed;
  return {R_.tensor, A_.batch, R_.stride, n, n, transposed ? 1 : stride, transposed ? stride : 1};
}

Step TallQr::expand() const {
  const Reduction& reduction = *plan_.reduction;
  const auto& [U, S, Vh, info] = factors_;
  const auto& [U_of_R, S_of_R, Vh_of_R, info_of_R] = factors_of_R_;
  const std::int64_t n = plan_.columns;
  const std::int64_t vectors = plan_.left_columns > 0;
  const std::int64_t transposed = reduction.transposed;
  Step step{"metalsvd::qr expand", {}};
  std::vector<Launch>& launches = step.launches;
  if (vectors) {
    // Rows of P before those that the last panel meets, or all of it.
    const std::int64_t count = starts_at_root() ? reduction.panels.back().first : reduction.rows;
    if (count > 0) {
      const std::int64_t groups = groups_for(count);
      launches.push_back(
          launch("start_" + reduction.number, groups,
                 {reduction.transposed ? Vh_of_R : U_of_R, left_.tensor, count, reduction.rows, n, left_stride_,
                  reduction.transposed ? n : std::int64_t{1}, reduction.transposed ? std::int64_t{1} : n, groups}));
    }
    for (std::size_t panel = levels_.size(); panel-- > 0;) {
      const bool starts = starts_at_root() && panel + 1 == levels_.size();
      for (std::size_t level = levels_[panel].size(); level-- > 0;) {
        launches.push_back(starts ? expand_last(level) : apply(panel, level, false));
      }
    }
  }
  // Metal wants a buffer for every argument: where the kernel touches none, S stands in.
  const Tensor& right = !vectors ? S : reduction.transposed ? U : Vh;
  const std::int64_t left_columns = vectors ? reduction.left_columns : n;
  launches.push_back(launch("finish_" + reduction.storage, divide_up(left_columns, limits::tall_copy_columns),
                            {magnitudes_, S_of_R, reduction.transposed ? U_of_R : Vh_of_R, largest_, squares_, turns_,
                             S, right, n, reduction.panels.front().nodes.front(), reduction.strips, vectors, transposed,
                             order_, std::int64_t{reduction.preconditions}, left_columns},
                            limits::tall_finish_threads));
  if (!vectors) return step;
  launches.push_back(launch("store_" + reduction.storage, copied_tiles(reduction.rows, reduction.left_columns),
                            {left_.tensor, turns_, reduction.transposed ? Vh : U, reduction.rows,
                             reduction.left_columns, left_stride_, transposed}));
  return step;
}

}  // namespace metalsvd
