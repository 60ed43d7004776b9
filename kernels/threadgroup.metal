#include "threadgroup.h"

namespace metalsvd {

template [[host_name(
    "svd_threadgroup_f32")]] [[kernel]] decltype(svd_threadgroup<float, false>) svd_threadgroup<float, false>;
template [[host_name("svd_threadgroup_device_right_f32")]] [[kernel]] decltype(svd_threadgroup<float, true>)
    svd_threadgroup<float, true>;
template [[host_name(
    "svd_threadgroup_c64")]] [[kernel]] decltype(svd_threadgroup<float2, false>) svd_threadgroup<float2, false>;
template [[host_name("svd_threadgroup_device_right_c64")]] [[kernel]] decltype(svd_threadgroup<float2, true>)
    svd_threadgroup<float2, true>;

}  // namespace metalsvd
