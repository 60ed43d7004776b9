#include "thread.h"

namespace metalsvd {

template [[host_name("svd_thread_2_f32")]] [[kernel]] decltype(svd_thread<float, 2>) svd_thread<float, 2>;
template [[host_name("svd_thread_3_f32")]] [[kernel]] decltype(svd_thread<float, 3>) svd_thread<float, 3>;
template [[host_name("svd_thread_4_f32")]] [[kernel]] decltype(svd_thread<float, 4>) svd_thread<float, 4>;
template [[host_name("svd_thread_5_f32")]] [[kernel]] decltype(svd_thread<float, 5>) svd_thread<float, 5>;
template [[host_name("svd_thread_6_f32")]] [[kernel]] decltype(svd_thread<float, 6>) svd_thread<float, 6>;
template [[host_name("svd_thread_2_f16")]] [[kernel]] decltype(svd_thread<half, 2>) svd_thread<half, 2>;
template [[host_name("svd_thread_3_f16")]] [[kernel]] decltype(svd_thread<half, 3>) svd_thread<half, 3>;
template [[host_name("svd_thread_4_f16")]] [[kernel]] decltype(svd_thread<half, 4>) svd_thread<half, 4>;
template [[host_name("svd_thread_5_f16")]] [[kernel]] decltype(svd_thread<half, 5>) svd_thread<half, 5>;
template [[host_name("svd_thread_6_f16")]] [[kernel]] decltype(svd_thread<half, 6>) svd_thread<half, 6>;
template [[host_name("svd_thread_2_bf16")]] [[kernel]] decltype(svd_thread<BFloat16, 2>) svd_thread<BFloat16, 2>;
template [[host_name("svd_thread_3_bf16")]] [[kernel]] decltype(svd_thread<BFloat16, 3>) svd_thread<BFloat16, 3>;
template [[host_name("svd_thread_4_bf16")]] [[kernel]] decltype(svd_thread<BFloat16, 4>) svd_thread<BFloat16, 4>;
template [[host_name("svd_thread_5_bf16")]] [[kernel]] decltype(svd_thread<BFloat16, 5>) svd_thread<BFloat16, 5>;
template [[host_name("svd_thread_6_bf16")]] [[kernel]] decltype(svd_thread<BFloat16, 6>) svd_thread<BFloat16, 6>;
template [[host_name("svd_thread_2_c64")]] [[kernel]] decltype(svd_thread<float2, 2>) svd_thread<float2, 2>;
template [[host_name("svd_thread_3_c64")]] [[kernel]] decltype(svd_thread<float2, 3>) svd_thread<float2, 3>;
template [[host_name("svd_thread_4_c64")]] [[kernel]] decltype(svd_thread<float2, 4>) svd_thread<float2, 4>;
template [[host_name("svd_thread_2_c32")]] [[kernel]] decltype(svd_thread<half2, 2>) svd_thread<half2, 2>;
template [[host_name("svd_thread_3_c32")]] [[kernel]] decltype(svd_thread<half2, 3>) svd_thread<half2, 3>;
template [[host_name("svd_thread_4_c32")]] [[kernel]] decltype(svd_thread<half2, 4>) svd_thread<half2, 4>;

}  // namespace metalsvd
