#include "simdgroup_recover.h"

namespace metalsvd {

template
    [[host_name("svd_recovering_12_c64")]] [[kernel]] decltype(svd_recovering<float2, 12>) svd_recovering<float2, 12>;
template
    [[host_name("svd_recovering_12_c32")]] [[kernel]] decltype(svd_recovering<half2, 12>) svd_recovering<half2, 12>;
template
    [[host_name("svd_recovering_16_c64")]] [[kernel]] decltype(svd_recovering<float2, 16>) svd_recovering<float2, 16>;
template
    [[host_name("svd_recovering_16_c32")]] [[kernel]] decltype(svd_recovering<half2, 16>) svd_recovering<half2, 16>;
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
template [[host_name("svd_recovering_eighths_40_8_f32")]] [[kernel]] decltype(svd_recovering_eighths<float, 40, 8>)
    svd_recovering_eighths<float, 40, 8>;
template [[host_name("svd_recovering_eighths_40_8_f16")]] [[kernel]] decltype(svd_recovering_eighths<half, 40, 8>)
    svd_recovering_eighths<half, 40, 8>;
template [[host_name("svd_recovering_eighths_40_8_bf16")]] [[kernel]] decltype(svd_recovering_eighths<BFloat16, 40, 8>)
    svd_recovering_eighths<BFloat16, 40, 8>;
template [[host_name("svd_recovering_eighths_40_16_f32")]] [[kernel]] decltype(svd_recovering_eighths<float, 40, 16>)
    svd_recovering_eighths<float, 40, 16>;
template [[host_name("svd_recovering_eighths_40_16_f16")]] [[kernel]] decltype(svd_recovering_eighths<half, 40, 16>)
    svd_recovering_eighths<half, 40, 16>;
template
    [[host_name("svd_recovering_eighths_40_16_bf16")]] [[kernel]] decltype(svd_recovering_eighths<BFloat16, 40, 16>)
        svd_recovering_eighths<BFloat16, 40, 16>;
template [[host_name("svd_recovering_eighths_48_8_f32")]] [[kernel]] decltype(svd_recovering_eighths<float, 48, 8>)
    svd_recovering_eighths<float, 48, 8>;
template [[host_name("svd_recovering_eighths_48_8_f16")]] [[kernel]] decltype(svd_recovering_eighths<half, 48, 8>)
    svd_recovering_eighths<half, 48, 8>;
template [[host_name("svd_recovering_eighths_48_8_bf16")]] [[kernel]] decltype(svd_recovering_eighths<BFloat16, 48, 8>)
    svd_recovering_eighths<BFloat16, 48, 8>;
template [[host_name("svd_recovering_eighths_48_16_f32")]] [[kernel]] decltype(svd_recovering_eighths<float, 48, 16>)
    svd_recovering_eighths<float, 48, 16>;
template [[host_name("svd_recovering_eighths_48_16_f16")]] [[kernel]] decltype(svd_recovering_eighths<half, 48, 16>)
    svd_recovering_eighths<half, 48, 16>;
template
    [[host_name("svd_recovering_eighths_48_16_bf16")]] [[kernel]] decltype(svd_recovering_eighths<BFloat16, 48, 16>)
        svd_recovering_eighths<BFloat16, 48, 16>;
template [[host_name("svd_recovering_eighths_56_8_f32")]] [[kernel]] decltype(svd_recovering_eighths<float, 56, 8>)
    svd_recovering_eighths<float, 56, 8>;
template [[host_name("svd_recovering_eighths_56_8_f16")]] [[kernel]] decltype(svd_recovering_eighths<half, 56, 8>)
    svd_recovering_eighths<half, 56, 8>;
template [[host_name("svd_recovering_eighths_56_8_bf16")]] [[kernel]] decltype(svd_recovering_eighths<BFloat16, 56, 8>)
    svd_recovering_eighths<BFloat16, 56, 8>;
template [[host_name("svd_recovering_eighths_56_16_f32")]] [[kernel]] decltype(svd_recovering_eighths<float, 56, 16>)
    svd_recovering_eighths<float, 56, 16>;
template [[host_name("svd_recovering_eighths_56_16_f16")]] [[kernel]] decltype(svd_recovering_eighths<half, 56, 16>)
    svd_recovering_eighths<half, 56, 16>;
template
    [[host_name("svd_recovering_eighths_56_16_bf16")]] [[kernel]] decltype(svd_recovering_eighths<BFloat16, 56, 16>)
        svd_recovering_eighths<BFloat16, 56, 16>;
template [[host_name("svd_recovering_eighths_64_8_f32")]] [[kernel]] decltype(svd_recovering_eighths<float, 64, 8>)
    svd_recovering_eighths<float, 64, 8>;
template [[host_name("svd_recovering_eighths_64_8_f16")]] [[kernel]] decltype(svd_recovering_eighths<half, 64, 8>)
    svd_recovering_eighths<half, 64, 8>;
template [[host_name("svd_recovering_eighths_64_8_bf16")]] [[kernel]] decltype(svd_recovering_eighths<BFloat16, 64, 8>)
    svd_recovering_eighths<BFloat16, 64, 8>;
template [[host_name("svd_recovering_eighths_64_16_f32")]] [[kernel]] decltype(svd_recovering_eighths<float, 64, 16>)
    svd_recovering_eighths<float, 64, 16>;
template [[host_name("svd_recovering_eighths_64_16_f16")]] [[kernel]] decltype(svd_recovering_eighths<half, 64, 16>)
    svd_recovering_eighths<half, 64, 16>;
template
    [[host_name("svd_recovering_eighths_64_16_bf16")]] [[kernel]] decltype(svd_recovering_eighths<BFloat16, 64, 16>)
        svd_recovering_eighths<BFloat16, 64, 16>;
template [[host_name("svd_recovering_blocks_72_8_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 72, 8>)
    svd_recovering_blocks<float, 72, 8>;
template [[host_name("svd_recovering_blocks_72_8_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 72, 8>)
    svd_recovering_blocks<half, 72, 8>;
template [[host_name("svd_recovering_blocks_72_8_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 72, 8>)
    svd_recovering_blocks<BFloat16, 72, 8>;
template [[host_name("svd_recovering_blocks_80_8_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 80, 8>)
    svd_recovering_blocks<float, 80, 8>;
template [[host_name("svd_recovering_blocks_80_8_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 80, 8>)
    svd_recovering_blocks<half, 80, 8>;
template [[host_name("svd_recovering_blocks_80_8_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 80, 8>)
    svd_recovering_blocks<BFloat16, 80, 8>;
template [[host_name("svd_recovering_blocks_80_16_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 80, 16>)
    svd_recovering_blocks<float, 80, 16>;
template [[host_name("svd_recovering_blocks_80_16_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 80, 16>)
    svd_recovering_blocks<half, 80, 16>;
template [[host_name("svd_recovering_blocks_80_16_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 80, 16>)
    svd_recovering_blocks<BFloat16, 80, 16>;
template [[host_name("svd_recovering_blocks_96_8_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 96, 8>)
    svd_recovering_blocks<float, 96, 8>;
template [[host_name("svd_recovering_blocks_96_8_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 96, 8>)
    svd_recovering_blocks<half, 96, 8>;
template [[host_name("svd_recovering_blocks_96_8_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 96, 8>)
    svd_recovering_blocks<BFloat16, 96, 8>;
template [[host_name("svd_recovering_blocks_96_16_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 96, 16>)
    svd_recovering_blocks<float, 96, 16>;
template [[host_name("svd_recovering_blocks_96_16_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 96, 16>)
    svd_recovering_blocks<half, 96, 16>;
template [[host_name("svd_recovering_blocks_96_16_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 96, 16>)
    svd_recovering_blocks<BFloat16, 96, 16>;
template [[host_name("svd_recovering_blocks_112_16_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 112, 16>)
    svd_recovering_blocks<float, 112, 16>;
template [[host_name("svd_recovering_blocks_112_16_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 112, 16>)
    svd_recovering_blocks<half, 112, 16>;
template
    [[host_name("svd_recovering_blocks_112_16_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 112, 16>)
        svd_recovering_blocks<BFloat16, 112, 16>;
template [[host_name("svd_recovering_blocks_128_16_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 128, 16>)
    svd_recovering_blocks<float, 128, 16>;
template [[host_name("svd_recovering_blocks_128_16_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 128, 16>)
    svd_recovering_blocks<half, 128, 16>;
template
    [[host_name("svd_recovering_blocks_128_16_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 128, 16>)
        svd_recovering_blocks<BFloat16, 128, 16>;
template [[host_name("svd_recovering_blocks_144_16_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 144, 16>)
    svd_recovering_blocks<float, 144, 16>;
template [[host_name("svd_recovering_blocks_144_16_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 144, 16>)
    svd_recovering_blocks<half, 144, 16>;
template
    [[host_name("svd_recovering_blocks_144_16_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 144, 16>)
        svd_recovering_blocks<BFloat16, 144, 16>;
template [[host_name("svd_recovering_blocks_144_32_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 144, 32>)
    svd_recovering_blocks<float, 144, 32>;
template [[host_name("svd_recovering_blocks_144_32_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 144, 32>)
    svd_recovering_blocks<half, 144, 32>;
template
    [[host_name("svd_recovering_blocks_144_32_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 144, 32>)
        svd_recovering_blocks<BFloat16, 144, 32>;
template [[host_name("svd_recovering_blocks_160_16_f32")]] [[kernel]] decltype(svd_recovering_blocks<float, 160, 16>)
    svd_recovering_blocks<float, 160, 16>;
template [[host_name("svd_recovering_blocks_160_16_f16")]] [[kernel]] decltype(svd_recovering_blocks<half, 160, 16>)
    svd_recovering_blocks<half, 160, 16>;
template
    [[host_name("svd_recovering_blocks_160_16_bf16")]] [[kernel]] decltype(svd_recovering_blocks<BFloat16, 160, 16>)
        svd_recovering_blocks<BFloat16, 160, 16>;

}  // namespace metalsvd
