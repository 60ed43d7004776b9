// Method `threadgroup` with tiles that no Apple GPU has: for CUDA devices with so much shared memory a block, up to 63,
// 79, 90 and 119 complex columns. Real matrices of that size take less time by `simdgroup` and `block`.
#include "threadgroup.h"

namespace metalsvd {

template
    [[host_name("svd_threadgroup_64k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::tile_words(64)>)
        svd_threadgroup<float2, false, limits::tile_words(64)>;
template
    [[host_name("svd_threadgroup_64k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::tile_words(64)>)
        svd_threadgroup<half2, false, limits::tile_words(64)>;
template
    [[host_name("svd_threadgroup_99k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::tile_words(99)>)
        svd_threadgroup<float2, false, limits::tile_words(99)>;
template
    [[host_name("svd_threadgroup_99k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::tile_words(99)>)
        svd_threadgroup<half2, false, limits::tile_words(99)>;
template [[host_name(
    "svd_threadgroup_132k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::tile_words(132)>)
    svd_threadgroup<float2, false, limits::tile_words(132)>;
template [[host_name(
    "svd_threadgroup_132k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::tile_words(132)>)
    svd_threadgroup<half2, false, limits::tile_words(132)>;
template [[host_name(
    "svd_threadgroup_227k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::tile_words(227)>)
    svd_threadgroup<float2, false, limits::tile_words(227)>;
template [[host_name(
    "svd_threadgroup_227k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::tile_words(227)>)
    svd_threadgroup<half2, false, limits::tile_words(227)>;

}  // namespace metalsvd
