// Method `simdgroup` with few entries a lane, so that small matrices are spread over several SIMD-groups.
#include "simdgroup.h"

namespace metalsvd {

template [[host_name("alone_f32")]] [[kernel]] decltype(svd_simdgroup<float, 8>) svd_simdgroup<float, 8>;
template [[host_name("alone_c64")]] [[kernel]] decltype(svd_simdgroup<float2, 4>) svd_simdgroup<float2, 4>;
template [[host_name("spread_f32")]] [[kernel]] decltype(svd_simdgroups<float, 8>) svd_simdgroups<float, 8>;
template [[host_name("spread_c64")]] [[kernel]] decltype(svd_simdgroups<float2, 4>) svd_simdgroups<float2, 4>;

}  // namespace metalsvd
