#include "simdgroup_apart.h"

namespace metalsvd {

template [[host_name(
    "svd_simdgroup_apart_8_f32")]] [[kernel]] decltype(svd_simdgroup_apart<float, 8>) svd_simdgroup_apart<float, 8>;
template [[host_name(
    "svd_simdgroup_apart_12_f32")]] [[kernel]] decltype(svd_simdgroup_apart<float, 12>) svd_simdgroup_apart<float, 12>;
template [[host_name(
    "svd_simdgroup_apart_16_f32")]] [[kernel]] decltype(svd_simdgroup_apart<float, 16>) svd_simdgroup_apart<float, 16>;
template [[host_name(
    "svd_simdgroup_apart_20_f32")]] [[kernel]] decltype(svd_simdgroup_apart<float, 20>) svd_simdgroup_apart<float, 20>;
template [[host_name("svd_simdgroups_apart_12_f32")]] [[kernel]] decltype(svd_simdgroups_apart<float, 12, 4>)
    svd_simdgroups_apart<float, 12, 4>;
template [[host_name("svd_simdgroups_apart_16_f32")]] [[kernel]] decltype(svd_simdgroups_apart<float, 16, 4>)
    svd_simdgroups_apart<float, 16, 4>;
template [[host_name("svd_simdgroups_apart_20_f32")]] [[kernel]] decltype(svd_simdgroups_apart<float, 20, 2>)
    svd_simdgroups_apart<float, 20, 2>;
template [[host_name(
    "svd_simdgroup_apart_8_f16")]] [[kernel]] decltype(svd_simdgroup_apart<half, 8>) svd_simdgroup_apart<half, 8>;
template [[host_name(
    "svd_simdgroup_apart_12_f16")]] [[kernel]] decltype(svd_simdgroup_apart<half, 12>) svd_simdgroup_apart<half, 12>;
template [[host_name(
    "svd_simdgroup_apart_16_f16")]] [[kernel]] decltype(svd_simdgroup_apart<half, 16>) svd_simdgroup_apart<half, 16>;
template [[host_name(
    "svd_simdgroup_apart_20_f16")]] [[kernel]] decltype(svd_simdgroup_apart<half, 20>) svd_simdgroup_apart<half, 20>;
template [[host_name("svd_simdgroups_apart_12_f16")]] [[kernel]] decltype(svd_simdgroups_apart<half, 12, 4>)
    svd_simdgroups_apart<half, 12, 4>;
template [[host_name("svd_simdgroups_apart_16_f16")]] [[kernel]] decltype(svd_simdgroups_apart<half, 16, 4>)
    svd_simdgroups_apart<half, 16, 4>;
template [[host_name("svd_simdgroups_apart_20_f16")]] [[kernel]] decltype(svd_simdgroups_apart<half, 20, 2>)
    svd_simdgroups_apart<half, 20, 2>;
template [[host_name("svd_simdgroup_apart_8_bf16")]] [[kernel]] decltype(svd_simdgroup_apart<BFloat16, 8>)
    svd_simdgroup_apart<BFloat16, 8>;
template [[host_name("svd_simdgroup_apart_12_bf16")]] [[kernel]] decltype(svd_simdgroup_apart<BFloat16, 12>)
    svd_simdgroup_apart<BFloat16, 12>;
template [[host_name("svd_simdgroup_apart_16_bf16")]] [[kernel]] decltype(svd_simdgroup_apart<BFloat16, 16>)
    svd_simdgroup_apart<BFloat16, 16>;
template [[host_name("svd_simdgroup_apart_20_bf16")]] [[kernel]] decltype(svd_simdgroup_apart<BFloat16, 20>)
    svd_simdgroup_apart<BFloat16, 20>;
template [[host_name("svd_simdgroups_apart_12_bf16")]] [[kernel]] decltype(svd_simdgroups_apart<BFloat16, 12, 4>)
    svd_simdgroups_apart<BFloat16, 12, 4>;
template [[host_name("svd_simdgroups_apart_16_bf16")]] [[kernel]] decltype(svd_simdgroups_apart<BFloat16, 16, 4>)
    svd_simdgroups_apart<BFloat16, 16, 4>;
template [[host_name("svd_simdgroups_apart_20_bf16")]] [[kernel]] decltype(svd_simdgroups_apart<BFloat16, 20, 2>)
    svd_simdgroups_apart<BFloat16, 20, 2>;

}  // namespace metalsvd
