#include "skeleton.h"

namespace metalsvd {

template [[host_name("column_norms_f32")]] [[kernel]] decltype(column_norms<float>) column_norms<float>;
template [[host_name("column_norms_c64")]] [[kernel]] decltype(column_norms<float2>) column_norms<float2>;

}  // namespace metalsvd
