#include "threadgroup.h"

namespace metalsvd {

template [[host_name(
    "svd_threadgroup_f32")]] [[kernel]] decltype(svd_threadgroup<float, false>) svd_threadgroup<float, false>;
template [[host_name(
    "svd_threadgroup_split_f32")]] [[kernel]] decltype(svd_threadgroup<float, true>) svd_threadgroup<float, true>;
template
    [[host_name("svd_threadgroup_f16")]] [[kernel]] decltype(svd_threadgroup<half, false>) svd_threadgroup<half, false>;
template [[host_name(
    "svd_threadgroup_split_f16")]] [[kernel]] decltype(svd_threadgroup<half, true>) svd_threadgroup<half, true>;
template [[host_name(
    "svd_threadgroup_bf16")]] [[kernel]] decltype(svd_threadgroup<BFloat16, false>) svd_threadgroup<BFloat16, false>;
template [[host_name("svd_threadgroup_split_bf16")]] [[kernel]] decltype(svd_threadgroup<BFloat16, true>)
    svd_threadgroup<BFloat16, true>;
template [[host_name(
    "svd_threadgroup_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false>) svd_threadgroup<float2, false>;
template [[host_name(
    "svd_threadgroup_split_c64")]] [[kernel]] decltype(svd_threadgroup<float2, true>) svd_threadgroup<float2, true>;
template [[host_name(
    "svd_threadgroup_c32")]] [[kernel]] decltype(svd_threadgroup<half2, false>) svd_threadgroup<half2, false>;
template [[host_name(
    "svd_threadgroup_split_c32")]] [[kernel]] decltype(svd_threadgroup<half2, true>) svd_threadgroup<half2, true>;

}  // namespace metalsvd
