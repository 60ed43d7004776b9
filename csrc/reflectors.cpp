#include "reflectors.h"

#include <algorithm>

#include "../kernels/device_limits.h"
#include "aten.h"

namespace metalsvd {

BlockReflectors::BlockReflectors(const Reduction& reduction, const Matrices& like, const Numbers& numbers,
                                 std::int64_t stride, const Tensor& order, const Tensor& squares)
    : reduction_(reduction),
      like_(like),
      numbers_(numbers),
      stride_(stride),
      columns_(reduction.panels.back().first + reduction.panels.back().columns),
      order_(order),
      squares_(squares) {
  const std::int64_t width = limits::tall_panel_bytes / limits::tall_pack_bytes * reduction.packed;
  basis_ = allocate_numbers(like, reduction.rows * width);
  grams_ = allocate_numbers(like, 2 * chunks(reduction.panels.front()) * width * width);
  products_ = allocate_numbers(like, limits::reflectors_parts * width * stride);
  heads_ = allocate_numbers(like, width * stride);
  small_ = allocate_numbers(like, 3 * width * width);
  gram_ = allocate_numbers(like, width * width);
}

std::int64_t BlockReflectors::chunks(const Panel& panel) const {
  return divide_up(reduction_.rows - panel.first, limits::reflectors_chunk_rows);
}

std::int64_t BlockReflectors::tiles(const Panel& panel) const {
  return divide_up(stride_ - panel.first, limits::reflectors_tile_packs * reduction_.packed);
}

Launch BlockReflectors::launch(const std::string& kernel, std::int64_t threadgroups, std::int64_t threads,
                               std::vector<Argument> arguments) const {
  return {"reflectors", "reflectors_" + kernel + "_" + reduction_.number, like_.batch * threadgroups, threads,
          std::move(arguments)};
}

Launch BlockReflectors::pass(const Panel& panel, std::int64_t summed, std::int64_t pass) const {
  return launch("basis", chunks(panel), limits::reflectors_small_threads,
                {numbers_.tensor, order_, squares_, basis_.tensor, grams_.tensor, reduction_.rows, columns_, stride_,
                 panel.first, panel.columns, chunks(reduction_.panels.front()), summed, pass});
}

Launch BlockReflectors::repeat(const Panel& panel) const {
  return launch("repeat", 1, limits::reflectors_small_threads,
                {basis_.tensor, grams_.tensor, gram_.tensor, reduction_.rows, panel.first, panel.columns,
                 chunks(reduction_.panels.front())});
}

Launch BlockReflectors::project(const Panel& panel) const {
  const std::int64_t rows = reduction_.rows - panel.first;
  const std::int64_t parts = divide_up(rows, limits::reflectors_part_rows(static_cast<int>(rows)));
  return launch("project", 1 + tiles(panel) * parts, limits::reflectors_small_threads,
                {numbers_.tensor, basis_.tensor, gram_.tensor, products_.tensor, heads_.tensor, small_.tensor,
                 reduction_.rows, stride_, panel.first, panel.columns});
}

Launch BlockReflectors::apply(const Panel& panel, std::int64_t next_columns) const {
  // Where cores have many tiles, they take some at a time for the same columns. That changes no bit.
  const std::int64_t down = chunks(panel);
  const std::int64_t all = like_.batch * down * tiles(panel);
  const std::int64_t share = std::min(divide_up(all, limits::reflectors_applied_per_core * reduction_.cores), down);
  return launch("apply", divide_up(down, share) * tiles(panel), limits::reflectors_apply_threads,
                {numbers_.tensor, order_, squares_, basis_.tensor, grams_.tensor, products_.tensor, heads_.tensor,
                 small_.tensor, reduction_.rows, columns_, stride_, panel.first, panel.columns,
                 chunks(reduction_.panels.front()), next_columns, share});
}

void BlockReflectors::factor(std::vector<Launch>& launches) const {
  std::int64_t summed = chunks(reduction_.panels.front());
  launches.push_back(pass(reduction_.panels.front(), summed, 0));
  for (std::size_t i = 0; i < reduction_.panels.size(); ++i) {
    const Panel& panel = reduction_.panels[i];
    launches.push_back(pass(panel, summed, 1));
    launches.push_back(repeat(panel));
    launches.push_back(project(panel));
    const bool is_last = i + 1 == reduction_.panels.size();
    launches.push_back(apply(panel, is_last ? 0 : reduction_.panels[i + 1].columns));
    summed = chunks(panel);
  }
}

}  // namespace metalsvd
