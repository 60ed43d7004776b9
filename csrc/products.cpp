#include "products.h"

#include "../kernels/device_limits.h"

namespace metalsvd {
namespace {

// Whether a factor of the product, or what is made of it, is triangular.
bool has_triangle(std::int64_t kind, bool is_real) {
  if (kind == limits::tall_product_reflected) return is_real;
  return kind != limits::tall_product_of_all && kind != limits::tall_product_over_values;
}

}  // namespace

Products::Products(const Reduction& reduction, std::int64_t batch, std::int64_t columns)
    : number_(reduction.number),
      packed_(reduction.packed),
      cores_(reduction.cores),
      batch_(batch),
      columns_(columns),
      stride_(reduction.padded(columns)) {}

bool Products::is_real() const { return packed_ == limits::tall_pack_bytes / limits::word_bytes; }

std::int64_t Products::tiles_of_width(bool wide, std::int64_t rows) const {
  const std::int64_t packs = wide ? limits::tall_product_packs : limits::tall_narrow_product_packs;
  const std::int64_t tile_rows = wide ? limits::tall_product_rows : limits::tall_narrow_product_rows;
  return divide_up(stride_ / packed_, packs) * divide_up(rows, tile_rows);
}

std::int64_t Products::tiles(std::int64_t kind, std::int64_t rows) const {
  return tiles_of_width(is_wide(kind, rows), rows);
}

// Wide tiles take a tenth less time for as many numbers, but more of the last ones are empty. Where half of the numbers
// are zeros cores have more of them to go round.
bool Products::is_wide(std::int64_t kind, std::int64_t rows) const {
  constexpr std::int64_t wide_packs = limits::tall_product_rows * limits::tall_product_packs;
  constexpr std::int64_t narrow_packs = limits::tall_narrow_product_rows * limits::tall_narrow_product_packs;
  const std::int64_t wide_tiles = tiles_of_width(true, rows);
  const bool wastes_little = 9 * wide_tiles * wide_packs <= 10 * tiles_of_width(false, rows) * narrow_packs;
  return wastes_little && batch_ * wide_tiles >= (has_triangle(kind, is_real()) ? 4 : 1) * cores_;
}

Launch Products::launch(std::int64_t kind, const Matrices& left, const Matrices& right,
                        const torch::stable::Tensor& product, const Extras& extras) const {
  const bool by_upper = kind == limits::tall_product_by_upper || kind == limits::tall_product_by_last_upper;
  const bool wide = is_wide(kind, left.m);
  const std::int64_t tiles = tiles_of_width(wide, left.m);
  const bool few = !wide && batch_ * tiles <= cores_;
  const std::string tile = wide ? "_" : few ? "_few_" : "_narrow_";
  const std::string kernel = (by_upper ? "product_upper" : "product") + tile + number_;
  return tall_launch(batch_, kernel, tiles,
                     {left.tensor, right.tensor, product, columns_, stride_, left.batch_stride, left.row_stride,
                      left.column_stride, right.batch_stride, right.row_stride, right.column_stride, kind,
                      extras.values, extras.defects, extras.settled, left.m, left.n},
                     wide || few ? limits::tall_threads : limits::tall_narrow_product_threads);
}

}  // namespace metalsvd
