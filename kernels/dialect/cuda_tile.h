// Threadgroup memory. A tile is a static array of the kernel; one larger than a block may declare so is what the launch
// asked for (Launch::tile_bytes), of which a kernel can have one.
#pragma once

#include "shared_types.h"

namespace METALSVD_TRANSLATED {
namespace metal {
namespace cuda {

constexpr unsigned most_static_bytes = 40 * 1024;  // of the 48 KiB, which smaller tiles of the kernel share

template <class Array, int index>
METAL_FUNC Array& tile() {
  if constexpr (sizeof(Array) > most_static_bytes) {
    extern __shared__ __align__(16) unsigned char asked_for[];
    return *reinterpret_cast<Array*>(asked_for);
  } else {
    __shared__ Array array;
    return array;
  }
}

}  // namespace cuda
}  // namespace metal
}  // namespace METALSVD_TRANSLATED
