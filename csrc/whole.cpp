#include "whole.h"

#include <utility>

#include "../kernels/device_limits.h"
#include "aten.h"

namespace metalsvd {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

WholeSweeps::WholeSweeps(const Plan& plan, const Matrices& A, const Tensor& W, const Tensor& states,
                         std::int64_t height, std::int64_t padded)
    : plan_(plan),
      batch_(A.batch),
      height_(height),
      padded_(padded),
      width_(divide_up(plan.columns, limits::whole_side)),
      large_width_(divide_up(width_, 2)),
      W_(W),
      states_(states) {
  const auto allocate = [&](std::int64_t numbers) {
    return empty_vector(A.tensor, batch_ * numbers, ScalarType::Float);
  };
  const std::int64_t side = width_ * limits::whole_side;
  turned_ = allocate(height * padded);
  for (Tensor* const matrix : {&X_, &S_, &T_, &E_, &O_}) *matrix = allocate(side * side);
  squares_ = allocate(2 * limits::whole_triangle(width_));
}

// Large tiles take less time for as many numbers, where there are some for each core.
Launch WholeSweeps::launch(const std::string& kernel, std::int64_t tiles, std::int64_t large_tiles,
                           std::vector<Argument> arguments) const {
  const bool is_large = batch_ * large_tiles >= plan_.reduction->cores * limits::whole_large_per_core;
  return {"whole", "whole_" + kernel + (is_large ? "_large_f32" : "_f32"), batch_ * (is_large ? large_tiles : tiles),
          limits::block_threads, std::move(arguments)};
}

void WholeSweeps::sweep(std::int64_t sweep, std::vector<Launch>& launches) {
  const std::int64_t tiles = limits::whole_triangle(width_);
  const std::int64_t large_tiles = limits::whole_triangle(large_width_);
  launches.push_back(
      launch("gram", tiles, large_tiles, {W_, X_, states_, height_, plan_.columns, padded_, width_, sweep}));
  launches.push_back(launch("square", tiles, large_tiles, {X_, S_, squares_, states_, width_, std::int64_t{0}, sweep}));
  launches.push_back(launch("square", tiles, large_tiles, {S_, T_, squares_, states_, width_, std::int64_t{1}, sweep}));
  launches.push_back(
      launch("exponential", 2 * tiles, 2 * large_tiles, {X_, S_, T_, E_, O_, squares_, states_, width_, sweep}));
  const std::int64_t down = divide_up(height_, limits::whole_side);
  launches.push_back(launch("turn", down * width_, divide_up(down, 2) * large_width_,
                            {W_, turned_, E_, O_, states_, height_, plan_.columns, padded_, width_, sweep}));
  std::swap(W_, turned_);
}

void WholeSweeps::collect(std::vector<Launch>& launches) const {
  static_assert(limits::whole_sweeps % 2 == 0, "after all sweeps W is where it was at first");
  const std::int64_t parts = divide_up(height_ * plan_.columns, limits::whole_collected);
  launches.push_back({"whole",
                      "whole_collect_f32",
                      batch_ * parts,
                      limits::block_threads,
                      {W_, turned_, states_, height_, plan_.columns, padded_, plan_.block_whole_sweeps, parts}});
}

}  // namespace metalsvd
