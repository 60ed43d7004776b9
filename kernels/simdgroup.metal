#include "simdgroup.h"

namespace metalsvd {

template [[host_name("svd_simdgroup_4_f32")]] [[kernel]] decltype(svd_simdgroup<float, 4>) svd_simdgroup<float, 4>;
template [[host_name("svd_simdgroup_4_f16")]] [[kernel]] decltype(svd_simdgroup<half, 4>) svd_simdgroup<half, 4>;
template
    [[host_name("svd_simdgroup_4_bf16")]] [[kernel]] decltype(svd_simdgroup<BFloat16, 4>) svd_simdgroup<BFloat16, 4>;
template [[host_name("svd_simdgroup_4_c64")]] [[kernel]] decltype(svd_simdgroup<float2, 4>) svd_simdgroup<float2, 4>;
template [[host_name("svd_simdgroup_4_c32")]] [[kernel]] decltype(svd_simdgroup<half2, 4>) svd_simdgroup<half2, 4>;
template [[host_name("svd_simdgroup_8_f32")]] [[kernel]] decltype(svd_simdgroup<float, 8>) svd_simdgroup<float, 8>;
template [[host_name("svd_simdgroup_8_f16")]] [[kernel]] decltype(svd_simdgroup<half, 8>) svd_simdgroup<half, 8>;
template
    [[host_name("svd_simdgroup_8_bf16")]] [[kernel]] decltype(svd_simdgroup<BFloat16, 8>) svd_simdgroup<BFloat16, 8>;
template [[host_name("svd_simdgroup_10_f32")]] [[kernel]] decltype(svd_simdgroup<float, 10>) svd_simdgroup<float, 10>;
template [[host_name("svd_simdgroup_10_f16")]] [[kernel]] decltype(svd_simdgroup<half, 10>) svd_simdgroup<half, 10>;
template
    [[host_name("svd_simdgroup_10_bf16")]] [[kernel]] decltype(svd_simdgroup<BFloat16, 10>) svd_simdgroup<BFloat16, 10>;
template [[host_name("svd_simdgroup_12_f32")]] [[kernel]] decltype(svd_simdgroup<float, 12>) svd_simdgroup<float, 12>;
template [[host_name("svd_simdgroup_12_f16")]] [[kernel]] decltype(svd_simdgroup<half, 12>) svd_simdgroup<half, 12>;
template
    [[host_name("svd_simdgroup_12_bf16")]] [[kernel]] decltype(svd_simdgroup<BFloat16, 12>) svd_simdgroup<BFloat16, 12>;
template [[host_name("svd_simdgroup_14_f32")]] [[kernel]] decltype(svd_simdgroup<float, 14>) svd_simdgroup<float, 14>;
template [[host_name("svd_simdgroup_14_f16")]] [[kernel]] decltype(svd_simdgroup<half, 14>) svd_simdgroup<half, 14>;
template
    [[host_name("svd_simdgroup_14_bf16")]] [[kernel]] decltype(svd_simdgroup<BFloat16, 14>) svd_simdgroup<BFloat16, 14>;
template [[host_name("svd_simdgroup_16_f32")]] [[kernel]] decltype(svd_simdgroup<float, 16>) svd_simdgroup<float, 16>;
template [[host_name("svd_simdgroup_16_f16")]] [[kernel]] decltype(svd_simdgroup<half, 16>) svd_simdgroup<half, 16>;
template
    [[host_name("svd_simdgroup_16_bf16")]] [[kernel]] decltype(svd_simdgroup<BFloat16, 16>) svd_simdgroup<BFloat16, 16>;
template [[host_name("svd_simdgroup_18_f32")]] [[kernel]] decltype(svd_simdgroup<float, 18>) svd_simdgroup<float, 18>;
template [[host_name("svd_simdgroup_18_f16")]] [[kernel]] decltype(svd_simdgroup<half, 18>) svd_simdgroup<half, 18>;
template
    [[host_name("svd_simdgroup_18_bf16")]] [[kernel]] decltype(svd_simdgroup<BFloat16, 18>) svd_simdgroup<BFloat16, 18>;
template [[host_name("svd_simdgroup_20_f32")]] [[kernel]] decltype(svd_simdgroup<float, 20>) svd_simdgroup<float, 20>;
template [[host_name("svd_simdgroup_20_f16")]] [[kernel]] decltype(svd_simdgroup<half, 20>) svd_simdgroup<half, 20>;
template
    [[host_name("svd_simdgroup_20_bf16")]] [[kernel]] decltype(svd_simdgroup<BFloat16, 20>) svd_simdgroup<BFloat16, 20>;
template [[host_name("svd_simdgroup_8_c64")]] [[kernel]] decltype(svd_simdgroup<float2, 8>) svd_simdgroup<float2, 8>;
template [[host_name("svd_simdgroup_8_c32")]] [[kernel]] decltype(svd_simdgroup<half2, 8>) svd_simdgroup<half2, 8>;
template [[host_name("svd_simdgroup_10_c64")]] [[kernel]] decltype(svd_simdgroup<float2, 10>) svd_simdgroup<float2, 10>;
template [[host_name("svd_simdgroup_10_c32")]] [[kernel]] decltype(svd_simdgroup<half2, 10>) svd_simdgroup<half2, 10>;
template [[host_name("svd_simdgroups_4_f32")]] [[kernel]] decltype(svd_simdgroups<float, 4>) svd_simdgroups<float, 4>;
template [[host_name("svd_simdgroups_4_f16")]] [[kernel]] decltype(svd_simdgroups<half, 4>) svd_simdgroups<half, 4>;
template
    [[host_name("svd_simdgroups_4_bf16")]] [[kernel]] decltype(svd_simdgroups<BFloat16, 4>) svd_simdgroups<BFloat16, 4>;
template [[host_name("svd_simdgroups_4_c64")]] [[kernel]] decltype(svd_simdgroups<float2, 4>) svd_simdgroups<float2, 4>;
template [[host_name("svd_simdgroups_4_c32")]] [[kernel]] decltype(svd_simdgroups<half2, 4>) svd_simdgroups<half2, 4>;
template
    [[host_name("svd_simdgroups_12_f32")]] [[kernel]] decltype(svd_simdgroups<float, 12>) svd_simdgroups<float, 12>;
template [[host_name("svd_simdgroups_12_f16")]] [[kernel]] decltype(svd_simdgroups<half, 12>) svd_simdgroups<half, 12>;
template [[host_name(
    "svd_simdgroups_12_bf16")]] [[kernel]] decltype(svd_simdgroups<BFloat16, 12>) svd_simdgroups<BFloat16, 12>;
template
    [[host_name("svd_simdgroups_16_f32")]] [[kernel]] decltype(svd_simdgroups<float, 16>) svd_simdgroups<float, 16>;
template [[host_name("svd_simdgroups_16_f16")]] [[kernel]] decltype(svd_simdgroups<half, 16>) svd_simdgroups<half, 16>;
template [[host_name(
    "svd_simdgroups_16_bf16")]] [[kernel]] decltype(svd_simdgroups<BFloat16, 16>) svd_simdgroups<BFloat16, 16>;
template
    [[host_name("svd_simdgroups_20_f32")]] [[kernel]] decltype(svd_simdgroups<float, 20>) svd_simdgroups<float, 20>;
template [[host_name("svd_simdgroups_20_f16")]] [[kernel]] decltype(svd_simdgroups<half, 20>) svd_simdgroups<half, 20>;
template [[host_name(
    "svd_simdgroups_20_bf16")]] [[kernel]] decltype(svd_simdgroups<BFloat16, 20>) svd_simdgroups<BFloat16, 20>;
template [[host_name("svd_simdgroups_8_c64")]] [[kernel]] decltype(svd_simdgroups<float2, 8>) svd_simdgroups<float2, 8>;
template [[host_name("svd_simdgroups_8_c32")]] [[kernel]] decltype(svd_simdgroups<half2, 8>) svd_simdgroups<half2, 8>;
template
    [[host_name("svd_simdgroups_10_c64")]] [[kernel]] decltype(svd_simdgroups<float2, 10>) svd_simdgroups<float2, 10>;
template
    [[host_name("svd_simdgroups_10_c32")]] [[kernel]] decltype(svd_simdgroups<half2, 10>) svd_simdgroups<half2, 10>;

}  // namespace metalsvd
