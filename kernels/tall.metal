#include "tall.h"

namespace metalsvd {

template [[host_name("tall_magnitude_f32")]] [[kernel]] decltype(tall_magnitude<float>) tall_magnitude<float>;
template [[host_name("tall_factor_rows_4_f32")]] [[kernel]] decltype(tall_factor_rows<float, limits::tall_few_columns>)
    tall_factor_rows<float, limits::tall_few_columns>;
template
    [[host_name("tall_factor_rows_63_f32")]] [[kernel]] decltype(tall_factor_rows<float, limits::tall_most_columns>)
        tall_factor_rows<float, limits::tall_most_columns>;
template [[host_name("tall_finish_f32")]] [[kernel]] decltype(tall_finish<float>) tall_finish<float>;
template [[host_name("tall_store_f32")]] [[kernel]] decltype(tall_store<float>) tall_store<float>;
template [[host_name("tall_magnitude_f16")]] [[kernel]] decltype(tall_magnitude<half>) tall_magnitude<half>;
template [[host_name("tall_factor_rows_4_f16")]] [[kernel]] decltype(tall_factor_rows<half, limits::tall_few_columns>)
    tall_factor_rows<half, limits::tall_few_columns>;
template [[host_name("tall_factor_rows_63_f16")]] [[kernel]] decltype(tall_factor_rows<half, limits::tall_most_columns>)
    tall_factor_rows<half, limits::tall_most_columns>;
template [[host_name("tall_finish_f16")]] [[kernel]] decltype(tall_finish<half>) tall_finish<half>;
template [[host_name("tall_store_f16")]] [[kernel]] decltype(tall_store<half>) tall_store<half>;
template [[host_name("tall_magnitude_bf16")]] [[kernel]] decltype(tall_magnitude<BFloat16>) tall_magnitude<BFloat16>;
template
    [[host_name("tall_factor_rows_4_bf16")]] [[kernel]] decltype(tall_factor_rows<BFloat16, limits::tall_few_columns>)
        tall_factor_rows<BFloat16, limits::tall_few_columns>;
template
    [[host_name("tall_factor_rows_63_bf16")]] [[kernel]] decltype(tall_factor_rows<BFloat16, limits::tall_most_columns>)
        tall_factor_rows<BFloat16, limits::tall_most_columns>;
template [[host_name("tall_finish_bf16")]] [[kernel]] decltype(tall_finish<BFloat16>) tall_finish<BFloat16>;
template [[host_name("tall_store_bf16")]] [[kernel]] decltype(tall_store<BFloat16>) tall_store<BFloat16>;
template [[host_name("tall_magnitude_c64")]] [[kernel]] decltype(tall_magnitude<float2>) tall_magnitude<float2>;
template [[host_name("tall_factor_rows_4_c64")]] [[kernel]] decltype(tall_factor_rows<float2, limits::tall_few_columns>)
    tall_factor_rows<float2, limits::tall_few_columns>;
template
    [[host_name("tall_factor_rows_63_c64")]] [[kernel]] decltype(tall_factor_rows<float2, limits::tall_most_columns>)
        tall_factor_rows<float2, limits::tall_most_columns>;
template [[host_name("tall_finish_c64")]] [[kernel]] decltype(tall_finish<float2>) tall_finish<float2>;
template [[host_name("tall_store_c64")]] [[kernel]] decltype(tall_store<float2>) tall_store<float2>;
template [[host_name("tall_magnitude_c32")]] [[kernel]] decltype(tall_magnitude<half2>) tall_magnitude<half2>;
template [[host_name("tall_factor_rows_4_c32")]] [[kernel]] decltype(tall_factor_rows<half2, limits::tall_few_columns>)
    tall_factor_rows<half2, limits::tall_few_columns>;
template
    [[host_name("tall_factor_rows_63_c32")]] [[kernel]] decltype(tall_factor_rows<half2, limits::tall_most_columns>)
        tall_factor_rows<half2, limits::tall_most_columns>;
template [[host_name("tall_finish_c32")]] [[kernel]] decltype(tall_finish<half2>) tall_finish<half2>;
template [[host_name("tall_store_c32")]] [[kernel]] decltype(tall_store<half2>) tall_store<half2>;
template
    [[host_name("tall_factor_stack_4_f32")]] [[kernel]] decltype(tall_factor_stack<float, limits::tall_few_columns>)
        tall_factor_stack<float, limits::tall_few_columns>;
template
    [[host_name("tall_factor_stack_63_f32")]] [[kernel]] decltype(tall_factor_stack<float, limits::tall_most_columns>)
        tall_factor_stack<float, limits::tall_most_columns>;
template [[host_name("tall_product_4_f32")]] [[kernel]] decltype(tall_product<float, limits::tall_few_columns>)
    tall_product<float, limits::tall_few_columns>;
template [[host_name("tall_product_63_f32")]] [[kernel]] decltype(tall_product<float, limits::tall_most_columns>)
    tall_product<float, limits::tall_most_columns>;
template
    [[host_name("tall_factor_stack_4_c64")]] [[kernel]] decltype(tall_factor_stack<float2, limits::tall_few_columns>)
        tall_factor_stack<float2, limits::tall_few_columns>;
template
    [[host_name("tall_factor_stack_63_c64")]] [[kernel]] decltype(tall_factor_stack<float2, limits::tall_most_columns>)
        tall_factor_stack<float2, limits::tall_most_columns>;
template [[host_name("tall_product_4_c64")]] [[kernel]] decltype(tall_product<float2, limits::tall_few_columns>)
    tall_product<float2, limits::tall_few_columns>;
template [[host_name("tall_product_63_c64")]] [[kernel]] decltype(tall_product<float2, limits::tall_most_columns>)
    tall_product<float2, limits::tall_most_columns>;
template [[host_name("tall_complete_f32")]] [[kernel]] decltype(tall_complete<float>) tall_complete<float>;
template [[host_name("tall_complete_f16")]] [[kernel]] decltype(tall_complete<half>) tall_complete<half>;
template [[host_name("tall_complete_bf16")]] [[kernel]] decltype(tall_complete<BFloat16>) tall_complete<BFloat16>;
template [[host_name("tall_complete_c64")]] [[kernel]] decltype(tall_complete<float2>) tall_complete<float2>;
template [[host_name("tall_complete_c32")]] [[kernel]] decltype(tall_complete<half2>) tall_complete<half2>;
template [[host_name("tall_reflectors_f32")]] [[kernel]] decltype(tall_reflectors<float>) tall_reflectors<float>;
template [[host_name("tall_reflectors_c64")]] [[kernel]] decltype(tall_reflectors<float2>) tall_reflectors<float2>;

}  // namespace metalsvd
