// Products of matrices, and what becomes of them: the launches of tall_product (kernels/tall_recover.h).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "launch.h"
#include "matrices.h"
#include "panels.h"
#include "plan.h"

namespace metalsvd {

// Of a batch, with so many columns, its rows whole packs, on a device of so many cores.
class Products {
 public:
  Products(const Reduction& reduction, std::int64_t batch, std::int64_t columns);

  // What of the kinds need not be there is any tensor.
  struct Extras {
    torch::stable::Tensor values, defects, settled;
  };
  Launch launch(std::int64_t kind, const Matrices& left, const Matrices& right, const torch::stable::Tensor& product,
                const Extras& extras) const;
  // Tiles of a product of a kind and so many rows: wide ones, if that is all cores' work and little of it is wasted, or
  // narrow ones.
  std::int64_t tiles(std::int64_t kind, std::int64_t rows) const;
  std::int64_t stride() const { return stride_; }  // from row to row

 private:
  bool is_wide(std::int64_t kind, std::int64_t rows) const;
  std::int64_t tiles_of_width(bool wide, std::int64_t rows) const;
  bool is_real() const;

  std::string number_;
  std::int64_t packed_;
  std::int64_t cores_;
  std::int64_t batch_;
  std::int64_t columns_;
  std::int64_t stride_;
};

}  // namespace metalsvd
