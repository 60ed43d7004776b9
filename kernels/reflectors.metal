#include "reflectors_apply.h"
#include "reflectors_basis.h"
#include "reflectors_project.h"

namespace metalsvd {

template [[host_name("reflectors_basis_f32")]] [[kernel]] decltype(reflectors_basis<float>) reflectors_basis<float>;
template [[host_name("reflectors_basis_c64")]] [[kernel]] decltype(reflectors_basis<float2>) reflectors_basis<float2>;
template [[host_name("reflectors_repeat_f32")]] [[kernel]] decltype(reflectors_repeat<float>) reflectors_repeat<float>;
template
    [[host_name("reflectors_repeat_c64")]] [[kernel]] decltype(reflectors_repeat<float2>) reflectors_repeat<float2>;
template
    [[host_name("reflectors_project_f32")]] [[kernel]] decltype(reflectors_project<float>) reflectors_project<float>;
template
    [[host_name("reflectors_project_c64")]] [[kernel]] decltype(reflectors_project<float2>) reflectors_project<float2>;
template [[host_name("reflectors_apply_f32")]] [[kernel]] decltype(reflectors_apply<float>) reflectors_apply<float>;
template [[host_name("reflectors_apply_c64")]] [[kernel]] decltype(reflectors_apply<float2>) reflectors_apply<float2>;

}  // namespace metalsvd
