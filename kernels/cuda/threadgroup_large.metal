// Method `threadgroup` with a tile that no Apple GPU has: for CUDA devices with so much shared memory a block, up to 91
// complex columns. Real matrices of that size take less time by `simdgroup` and `block`, larger complex ones by
// `block`.
#include "threadgroup.h"

namespace metalsvd {

template [[host_name(
    "svd_threadgroup_132k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::tile_words(132)>)
    svd_threadgroup<float2, false, limits::tile_words(132)>;
template [[host_name(
    "svd_threadgroup_132k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::tile_words(132)>)
    svd_threadgroup<half2, false, limits::tile_words(132)>;

}  // namespace metalsvd
