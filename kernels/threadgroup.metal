#include "threadgroup.h"

namespace metalsvd {

template
    [[host_name("svd_threadgroup_4k_f32")]] [[kernel]] decltype(svd_threadgroup<float, false, limits::tile_words(4)>)
        svd_threadgroup<float, false, limits::tile_words(4)>;
template
    [[host_name("svd_threadgroup_9k_f32")]] [[kernel]] decltype(svd_threadgroup<float, false, limits::tile_words(9)>)
        svd_threadgroup<float, false, limits::tile_words(9)>;
template
    [[host_name("svd_threadgroup_18k_f32")]] [[kernel]] decltype(svd_threadgroup<float, false, limits::tile_words(18)>)
        svd_threadgroup<float, false, limits::tile_words(18)>;
template [[host_name(
    "svd_threadgroup_32k_f32")]] [[kernel]] decltype(svd_threadgroup<float, false, limits::threadgroup_tile_words>)
    svd_threadgroup<float, false, limits::threadgroup_tile_words>;
template [[host_name(
    "svd_threadgroup_split_f32")]] [[kernel]] decltype(svd_threadgroup<float, true, limits::threadgroup_tile_words>)
    svd_threadgroup<float, true, limits::threadgroup_tile_words>;
template
    [[host_name("svd_threadgroup_4k_f16")]] [[kernel]] decltype(svd_threadgroup<half, false, limits::tile_words(4)>)
        svd_threadgroup<half, false, limits::tile_words(4)>;
template
    [[host_name("svd_threadgroup_9k_f16")]] [[kernel]] decltype(svd_threadgroup<half, false, limits::tile_words(9)>)
        svd_threadgroup<half, false, limits::tile_words(9)>;
template
    [[host_name("svd_threadgroup_18k_f16")]] [[kernel]] decltype(svd_threadgroup<half, false, limits::tile_words(18)>)
        svd_threadgroup<half, false, limits::tile_words(18)>;
template [[host_name(
    "svd_threadgroup_32k_f16")]] [[kernel]] decltype(svd_threadgroup<half, false, limits::threadgroup_tile_words>)
    svd_threadgroup<half, false, limits::threadgroup_tile_words>;
template [[host_name(
    "svd_threadgroup_split_f16")]] [[kernel]] decltype(svd_threadgroup<half, true, limits::threadgroup_tile_words>)
    svd_threadgroup<half, true, limits::threadgroup_tile_words>;
template [[host_name(
    "svd_threadgroup_4k_bf16")]] [[kernel]] decltype(svd_threadgroup<BFloat16, false, limits::tile_words(4)>)
    svd_threadgroup<BFloat16, false, limits::tile_words(4)>;
template [[host_name(
    "svd_threadgroup_9k_bf16")]] [[kernel]] decltype(svd_threadgroup<BFloat16, false, limits::tile_words(9)>)
    svd_threadgroup<BFloat16, false, limits::tile_words(9)>;
template [[host_name(
    "svd_threadgroup_18k_bf16")]] [[kernel]] decltype(svd_threadgroup<BFloat16, false, limits::tile_words(18)>)
    svd_threadgroup<BFloat16, false, limits::tile_words(18)>;
template [[host_name(
    "svd_threadgroup_32k_bf16")]] [[kernel]] decltype(svd_threadgroup<BFloat16, false, limits::threadgroup_tile_words>)
    svd_threadgroup<BFloat16, false, limits::threadgroup_tile_words>;
template [[host_name(
    "svd_threadgroup_split_bf16")]] [[kernel]] decltype(svd_threadgroup<BFloat16, true, limits::threadgroup_tile_words>)
    svd_threadgroup<BFloat16, true, limits::threadgroup_tile_words>;
template
    [[host_name("svd_threadgroup_4k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::tile_words(4)>)
        svd_threadgroup<float2, false, limits::tile_words(4)>;
template
    [[host_name("svd_threadgroup_9k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::tile_words(9)>)
        svd_threadgroup<float2, false, limits::tile_words(9)>;
template
    [[host_name("svd_threadgroup_18k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::tile_words(18)>)
        svd_threadgroup<float2, false, limits::tile_words(18)>;
template [[host_name(
    "svd_threadgroup_32k_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false, limits::threadgroup_tile_words>)
    svd_threadgroup<float2, false, limits::threadgroup_tile_words>;
template [[host_name(
    "svd_threadgroup_split_c64")]] [[kernel]] decltype(svd_threadgroup<float2, true, limits::threadgroup_tile_words>)
    svd_threadgroup<float2, true, limits::threadgroup_tile_words>;
template
    [[host_name("svd_threadgroup_4k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::tile_words(4)>)
        svd_threadgroup<half2, false, limits::tile_words(4)>;
template
    [[host_name("svd_threadgroup_9k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::tile_words(9)>)
        svd_threadgroup<half2, false, limits::tile_words(9)>;
template
    [[host_name("svd_threadgroup_18k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::tile_words(18)>)
        svd_threadgroup<half2, false, limits::tile_words(18)>;
template [[host_name(
    "svd_threadgroup_32k_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false, limits::threadgroup_tile_words>)
    svd_threadgroup<half2, false, limits::threadgroup_tile_words>;
template [[host_name(
    "svd_threadgroup_split_c32")]] [[kernel]] decltype(svd_threadgroup<half2, true, limits::threadgroup_tile_words>)
    svd_threadgroup<half2, true, limits::threadgroup_tile_words>;

}  // namespace metalsvd
