#include "cholesky.h"

namespace metalsvd {

template [[host_name("cholesky_gram_f32")]] [[kernel]] decltype(cholesky_gram<float>) cholesky_gram<float>;
template [[host_name("cholesky_sum_f32")]] [[kernel]] decltype(cholesky_sum<float>) cholesky_sum<float>;
template [[host_name("cholesky_factor_f32")]] [[kernel]] decltype(cholesky_factor<float>) cholesky_factor<float>;

}  // namespace metalsvd
