#include "simdgroup_recover.h"

namespace metalsvd {

template
    [[host_name("svd_recovering_48_f32")]] [[kernel]] decltype(svd_recovering<float, 48>) svd_recovering<float, 48>;
template [[host_name("svd_recovering_48_f16")]] [[kernel]] decltype(svd_recovering<half, 48>) svd_recovering<half, 48>;
template [[host_name(
    "svd_recovering_48_bf16")]] [[kernel]] decltype(svd_recovering<BFloat16, 48>) svd_recovering<BFloat16, 48>;
template
    [[host_name("svd_recovering_12_c64")]] [[kernel]] decltype(svd_recovering<float2, 12>) svd_recovering<float2, 12>;
template
    [[host_name("svd_recovering_12_c32")]] [[kernel]] decltype(svd_recovering<half2, 12>) svd_recovering<half2, 12>;
template
    [[host_name("svd_recovering_16_c64")]] [[kernel]] decltype(svd_recovering<float2, 16>) svd_recovering<float2, 16>;
template
    [[host_name("svd_recovering_16_c32")]] [[kernel]] decltype(svd_recovering<half2, 16>) svd_recovering<half2, 16>;
template
    [[host_name("svd_recoverings_4_f32")]] [[kernel]] decltype(svd_recoverings<float, 4>) svd_recoverings<float, 4>;
template [[host_name("svd_recoverings_4_f16")]] [[kernel]] decltype(svd_recoverings<half, 4>) svd_recoverings<half, 4>;
template [[host_name(
    "svd_recoverings_4_bf16")]] [[kernel]] decltype(svd_recoverings<BFloat16, 4>) svd_recoverings<BFloat16, 4>;
template
    [[host_name("svd_recoverings_4_c64")]] [[kernel]] decltype(svd_recoverings<float2, 4>) svd_recoverings<float2, 4>;
template
    [[host_name("svd_recoverings_4_c32")]] [[kernel]] decltype(svd_recoverings<half2, 4>) svd_recoverings<half2, 4>;
template [[host_name(
    "svd_recoverings_24_c64")]] [[kernel]] decltype(svd_recoverings<float2, 24>) svd_recoverings<float2, 24>;
template
    [[host_name("svd_recoverings_24_c32")]] [[kernel]] decltype(svd_recoverings<half2, 24>) svd_recoverings<half2, 24>;
template [[host_name(
    "svd_recoverings_32_c64")]] [[kernel]] decltype(svd_recoverings<float2, 32>) svd_recoverings<float2, 32>;
template
    [[host_name("svd_recoverings_32_c32")]] [[kernel]] decltype(svd_recoverings<half2, 32>) svd_recoverings<half2, 32>;
template [[host_name("svd_recovering_blocks_56_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 56>)
    svd_recovering_blocks<float, 56>;
template [[host_name("svd_recovering_blocks_56_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 56>)
    svd_recovering_blocks<half, 56>;
template [[host_name("svd_recovering_blocks_56_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 56>)
    svd_recovering_blocks<BFloat16, 56>;
template [[host_name("svd_recovering_blocks_64_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 64>)
    svd_recovering_blocks<float, 64>;
template [[host_name("svd_recovering_blocks_64_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 64>)
    svd_recovering_blocks<half, 64>;
template [[host_name("svd_recovering_blocks_64_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 64>)
    svd_recovering_blocks<BFloat16, 64>;
template [[host_name("svd_recovering_blocks_80_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 80>)
    svd_recovering_blocks<float, 80>;
template [[host_name("svd_recovering_blocks_80_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 80>)
    svd_recovering_blocks<half, 80>;
template [[host_name("svd_recovering_blocks_80_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 80>)
    svd_recovering_blocks<BFloat16, 80>;
template [[host_name("svd_recovering_blocks_96_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 96>)
    svd_recovering_blocks<float, 96>;
template [[host_name("svd_recovering_blocks_96_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 96>)
    svd_recovering_blocks<half, 96>;
template [[host_name("svd_recovering_blocks_96_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 96>)
    svd_recovering_blocks<BFloat16, 96>;
template [[host_name("svd_recovering_blocks_112_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 112>)
    svd_recovering_blocks<float, 112>;
template [[host_name("svd_recovering_blocks_112_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 112>)
    svd_recovering_blocks<half, 112>;
template [[host_name("svd_recovering_blocks_112_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 112>)
    svd_recovering_blocks<BFloat16, 112>;
template [[host_name("svd_recovering_blocks_128_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 128>)
    svd_recovering_blocks<float, 128>;
template [[host_name("svd_recovering_blocks_128_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 128>)
    svd_recovering_blocks<half, 128>;
template [[host_name("svd_recovering_blocks_128_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 128>)
    svd_recovering_blocks<BFloat16, 128>;

}  // namespace metalsvd
