#include "whole_sweep.h"

namespace metalsvd {

template [[host_name("whole_gram_f32")]] [[kernel]] decltype(whole_gram<float, 1>) whole_gram<float, 1>;
template [[host_name("whole_gram_large_f32")]] [[kernel]] decltype(whole_gram<float, 2>) whole_gram<float, 2>;
template [[host_name("whole_square_f32")]] [[kernel]] decltype(whole_square<float, 1>) whole_square<float, 1>;
template [[host_name("whole_square_large_f32")]] [[kernel]] decltype(whole_square<float, 2>) whole_square<float, 2>;
template
    [[host_name("whole_exponential_f32")]] [[kernel]] decltype(whole_exponential<float, 1>) whole_exponential<float, 1>;
template [[host_name(
    "whole_exponential_large_f32")]] [[kernel]] decltype(whole_exponential<float, 2>) whole_exponential<float, 2>;
template [[host_name("whole_turn_f32")]] [[kernel]] decltype(whole_turn<float, 1>) whole_turn<float, 1>;
template [[host_name("whole_turn_large_f32")]] [[kernel]] decltype(whole_turn<float, 2>) whole_turn<float, 2>;
template [[host_name("whole_collect_f32")]] [[kernel]] decltype(whole_collect<float>) whole_collect<float>;

}  // namespace metalsvd
