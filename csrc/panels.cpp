#include "panels.h"

#include <algorithm>

#include "aten.h"

namespace metalsvd {
namespace {

using torch::headeronly::ScalarType;

void append(std::vector<Argument>& arguments, const std::vector<Argument>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
}

}  // namespace

Numbers allocate_numbers(const Matrices& A, std::int64_t count) {
  return {empty_vector(A.tensor, A.batch * count, number_type(A.tensor.scalar_type())), count};
}

Launch tall_launch(std::int64_t batch, const std::string& kernel, std::int64_t threadgroups,
                   std::vector<Argument> arguments, std::int64_t threads) {
  return {"tall", "tall_" + kernel, batch * threadgroups, threads, std::move(arguments)};
}

std::int64_t groups_for_rows(std::int64_t rows) {
  return std::min<std::int64_t>(divide_up(rows * limits::simd_width, limits::tall_threads), limits::tall_strips);
}

PanelQr::PanelQr(const Reduction& reduction, const Matrices& like, std::optional<Source> source,
                 std::optional<torch::stable::Tensor> settled)
    : reduction_(reduction),
      like_(like),
      source_(std::move(source)),
      settled_(std::move(settled)),
      columns_(reduction_.panels.back().first + reduction_.panels.back().columns),
      stride_(reduction_.padded(columns_)),
      left_stride_(reduction_.padded(reduction_.left_columns)) {
  plan_levels();
  // Where B is read at its source, R alone needs no V.
  numbers_ = allocate(wants_vectors() || !reads_source() ? reduction_.rows * stride_ : 1);
  const std::int64_t root = reduction_.panels.front().padded * reduction_.panels.front().padded;
  roots_ = allocate(is_one_panel() ? root : reduction_.panel_columns * reduction_.panel_columns * levels_.size());
  left_ = !wants_vectors()                     ? allocate(1)
          : starts_at_root() && is_one_panel() ? numbers_
                                               : allocate(reduction_.rows * left_stride_);
  const std::int64_t reports =
      std::max<std::int64_t>(reduction_.left_columns * reduction_.panels.front().nodes.front(), 1);
  largest_ = allocate(reports).tensor;
  squares_ = empty_vector(like.tensor, like.batch * reports, ScalarType::Float);
}

// The levels of all panels, and what they leave room for: V and T of every panel where they are wanted later.
void PanelQr::plan_levels() {
  const bool vectors = wants_vectors();
  Offset V = 0;
  Offset joint = 0;
  std::int64_t V_room = 1;
  std::int64_t joint_room = 1;
  std::vector<std::int64_t> stack_rooms;
  for (const Panel& panel : reduction_.panels) {
    if (!vectors) V = joint = 0;
    std::vector<Level>& levels = levels_.emplace_back();
    for (std::size_t i = 0; i < panel.nodes.size(); ++i) {
      const std::int64_t nodes = panel.nodes[i];
      if (i == 0) {
        const std::int64_t rows = reduction_.rows - panel.first;
        levels.push_back({nodes, rows, rows / nodes, rows % nodes, 0, 0, 0, joint});
      } else {
        const std::int64_t step = i == 1 ? 1 : levels.back().unit_step * panel.units;
        const std::int64_t rows = panel.nodes[i - 1] * panel.padded;
        levels.push_back({nodes, rows, panel.units * panel.padded, 0, panel.padded, step, V, joint});
        V += rows * panel.padded;
        // On the way down the last panel's stack is as wide as P.
        const bool is_last = panel.first + panel.columns == columns_;
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

std::int64_t PanelQr::V_row_stride(std::size_t panel, std::size_t level) const {
  return level == 0 ? stride_ : reduction_.panels[panel].padded;
}

bool PanelQr::keeps(std::size_t panel) const { return wants_vectors() || panel + 1 < levels_.size(); }

// Full matrices have more to apply Q to than the vectors of R.
bool PanelQr::starts_at_root() const { return reduction_.left_columns == columns_; }

std::vector<Argument> PanelQr::settled_arguments() const {
  // Metal wants a buffer for every argument.
  return {settled_ ? *settled_ : numbers_.tensor, std::int64_t{settled_.has_value()}};
}

std::optional<Need> PanelQr::need() const {
  return settled_ ? std::optional(Need{*settled_, like_.batch, 1, 0, 1, 0, 0}) : std::nullopt;
}

Launch PanelQr::launch(const std::string& kernel, std::int64_t threadgroups, std::vector<Argument> arguments,
                       std::int64_t threads) const {
  append(arguments, settled_arguments());
  return tall_launch(like_.batch, kernel, threadgroups, std::move(arguments), threads);
}

// Applies nodes to rows of so many packs. Tiles are narrow where they can take the rows whole, where the cores have one
// wide tile each at most, and where a few would be left over from the first that a core runs at a time.
Launch PanelQr::launch_tiles(const std::string& kernel, std::int64_t nodes, std::int64_t packs, bool is_one_tile,
                             std::vector<Argument> arguments) const {
  const std::int64_t cores = reduction_.cores;
  const std::int64_t wide = like_.batch * nodes * divide_up(packs, limits::tall_tile_packs);
  const bool leaves_few = wide > cores * limits::tall_apply_resident && wide <= cores * limits::tall_apply_few_resident;
  const bool narrow = packs <= limits::tall_narrow_tile_packs || (!is_one_tile && (wide <= cores || leaves_few));
  const std::int64_t tile_packs = narrow ? limits::tall_narrow_tile_packs : limits::tall_tile_packs;
  return launch(kernel + (narrow ? "_narrow_" : "_") + reduction_.number, nodes * divide_up(packs, tile_packs),
                std::move(arguments), limits::tall_apply_threads);
}

// Whether B at its source has rows of whole packs of numbers. An MPS tensor's address is that of its buffer, which is
// aligned to more than a pack, and its offset.
bool PanelQr::is_packed() const {
  const Matrices& B = source_->B;
  return reduction_.storage == reduction_.number && B.column_stride == 1 && columns_ % reduction_.packed == 0 &&
         B.row_stride % reduction_.packed == 0 && B.batch_stride % reduction_.packed == 0 &&
         reinterpret_cast<std::uintptr_t>(B.tensor.data_ptr()) % limits::tall_pack_bytes == 0;
}

// The rows of level 0 are read at the source, where there is one, or from the numbers, which have been scaled already.
Launch PanelQr::factor(std::size_t index, std::size_t i) const {
  const Panel& panel = reduction_.panels[index];
  const Level& level = levels_[index][i];
  const Numbers V = V_of(i);
  const Offset corner = panel.first * (stride_ + 1);
  const bool is_root = i + 1 == levels_[index].size();
  const Numbers& R = is_root ? roots_ : stacks_[i + 1];
  const std::int64_t R_stride = is_root ? roots_.stride : levels_[index][i + 1].rows * panel.padded;
  const Offset R_offset =
      is_root ? static_cast<Offset>(index) * reduction_.panel_columns * reduction_.panel_columns : 0;
  const bool is_source = i == 0 && reads_source();
  std::vector<Argument> arguments{is_source ? source_->B.tensor
                                  : i == 0  ? numbers_.tensor
                                            : stacks_[i].tensor,
                                  source_ ? source_->magnitudes : numbers_.tensor,
                                  V.tensor,
                                  R.tensor,
                                  joints_.tensor,
                                  level.rows,
                                  panel.columns,
                                  level.nodes,
                                  level.share,
                                  level.rest,
                                  is_source ? reduction_.strips : std::int64_t{0},
                                  std::int64_t{keeps(index)}};
  if (is_source) {
    append(arguments, {std::int64_t{0}, source_->B.batch_stride, source_->B.row_stride, source_->B.column_stride});
  } else {
    for (std::int64_t stride : {i == 0 ? corner : Offset{0}, i == 0 ? numbers_.stride : level.rows * panel.padded,
                                V_row_stride(index, i), std::int64_t{1}})
      arguments.push_back(stride);
  }
  for (std::int64_t argument :
       {i == 0 ? corner : level.V, V.stride, V_row_stride(index, i), R_offset, R_stride, level.joint, joints_.stride})
    arguments.push_back(argument);
  arguments.push_back(std::int64_t{!is_source || is_packed()});
  return launch("factor_" + (is_source ? reduction_.storage : reduction_.number), level.nodes, std::move(arguments),
                panel.threads);
}

// Where the reflectors of a level stand, as the kernels that apply them are told.
std::vector<Argument> PanelQr::reflector_arguments(std::size_t index, std::size_t i) const {
  const Panel& panel = reduction_.panels[index];
  const Level& level = levels_[index][i];
  return {level.rows,     panel.padded,
          level.nodes,    level.share,
          level.rest,     i == 0 ? panel.first * (stride_ + 1) : level.V,
          V_of(i).stride, V_row_stride(index, i),
          level.joint,    joints_.stride};
}

// The adjoint to the columns behind the panel, or the panel to P.
Launch PanelQr::apply(std::size_t index, std::size_t i, bool adjoint) const {
  const Panel& panel = reduction_.panels[index];
  const Level& level = levels_[index][i];
  const Level& chunks = levels_[index][0];
  const Numbers& C = adjoint ? numbers_ : left_;
  const std::int64_t C_stride = adjoint ? stride_ : left_stride_;
  const std::int64_t first_column = adjoint ? panel.first + panel.padded : 0;
  const std::int64_t packs = (C_stride - first_column) / reduction_.packed;
  const bool reports = !adjoint && index == 0 && i == 0;
  std::vector<Argument> arguments{V_of(i).tensor, joints_.tensor, C.tensor, largest_, squares_};
  append(arguments, reflector_arguments(index, i));
  append(arguments,
         {panel.first * C_stride + first_column, C.stride, C_stride, packs, level.unit_rows, level.unit_step,
          chunks.share, chunks.rest, std::int64_t{adjoint}, reports ? reduction_.left_columns : std::int64_t{0}});
  return launch_tiles("apply", level.nodes, packs, false, std::move(arguments));
}

// The last panel, where all rows of P that it meets are zero but those of the vectors.
Launch PanelQr::expand_last(const Matrices& vectors, std::size_t i) const {
  const std::size_t index = levels_.size() - 1;
  const Panel& panel = reduction_.panels[index];
  const Level& level = levels_[index][i];
  const Numbers& C = i == 0 ? left_ : stacks_[i];
  const bool is_root = i + 1 == levels_[index].size();
  const std::int64_t n = columns_;
  const bool reports = index == 0 && i == 0;
  const Tensor& Z = is_root ? vectors.tensor : stacks_[i + 1].tensor;
  const std::int64_t Z_stride = is_root ? vectors.batch_stride : levels_[index][i + 1].rows * left_stride_;
  const std::int64_t row_stride = is_root ? vectors.row_stride : left_stride_;
  const std::int64_t column_stride = is_root ? vectors.column_stride : 1;
  std::vector<Argument> arguments{V_of(i).tensor, joints_.tensor, Z, C.tensor, largest_, squares_};
  append(arguments, reflector_arguments(index, i));
  append(arguments, {is_root ? panel.first * row_stride : Offset{0}, Z_stride, panel.padded * left_stride_, row_stride,
                     column_stride, panel.columns, n, i == 0 ? panel.first * left_stride_ : Offset{0},
                     i == 0 ? left_.stride : level.rows * left_stride_, left_stride_, reports ? n : std::int64_t{0}});
  // One panel's P takes the place of V.
  return launch_tiles("expand", level.nodes, left_stride_ / reduction_.packed, is_one_panel(), std::move(arguments));
}

void PanelQr::factor(std::vector<Launch>& launches) const {
  for (std::size_t panel = 0; panel < levels_.size(); ++panel) {
    for (std::size_t level = 0; level < levels_[panel].size(); ++level) {
      launches.push_back(factor(panel, level));
      if (panel + 1 < levels_.size()) launches.push_back(apply(panel, level, true));
    }
  }
}

void PanelQr::expand(const Matrices& vectors, std::vector<Launch>& launches) const {
  // Rows of P before those that the last panel meets, or all of it.
  const std::int64_t count = starts_at_root() ? reduction_.panels.back().first : reduction_.rows;
  if (count > 0) {
    const std::int64_t groups = groups_for_rows(count);
    launches.push_back(launch("start_" + reduction_.number, groups,
                              {vectors.tensor, left_.tensor, count, reduction_.rows, columns_, left_stride_,
                               vectors.batch_stride, vectors.row_stride, vectors.column_stride, groups}));
  }
  for (std::size_t panel = levels_.size(); panel-- > 0;) {
    const bool starts = starts_at_root() && panel + 1 == levels_.size();
    for (std::size_t level = levels_[panel].size(); level-- > 0;) {
      launches.push_back(starts ? expand_last(vectors, level) : apply(panel, level, false));
    }
  }
}

}  // namespace metalsvd
