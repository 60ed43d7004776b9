#include "tall_apply.h"
#include "tall_copy.h"
#include "tall_factor.h"
#include "tall_order.h"
#include "tall_recover.h"
#include "tall_settle.h"

namespace metalsvd {

template [[host_name("tall_magnitude_f32")]] [[kernel]] decltype(tall_magnitude<float>) tall_magnitude<float>;
template [[host_name("tall_magnitude_f16")]] [[kernel]] decltype(tall_magnitude<half>) tall_magnitude<half>;
template [[host_name("tall_magnitude_bf16")]] [[kernel]] decltype(tall_magnitude<BFloat16>) tall_magnitude<BFloat16>;
template [[host_name("tall_magnitude_c64")]] [[kernel]] decltype(tall_magnitude<float2>) tall_magnitude<float2>;
template [[host_name("tall_magnitude_c32")]] [[kernel]] decltype(tall_magnitude<half2>) tall_magnitude<half2>;
template [[host_name("tall_load_f32")]] [[kernel]] decltype(tall_load<float>) tall_load<float>;
template [[host_name("tall_load_f16")]] [[kernel]] decltype(tall_load<half>) tall_load<half>;
template [[host_name("tall_load_bf16")]] [[kernel]] decltype(tall_load<BFloat16>) tall_load<BFloat16>;
template [[host_name("tall_load_c64")]] [[kernel]] decltype(tall_load<float2>) tall_load<float2>;
template [[host_name("tall_load_c32")]] [[kernel]] decltype(tall_load<half2>) tall_load<half2>;
template [[host_name("tall_load_rows_f32")]] [[kernel]] decltype(tall_load_rows<float>) tall_load_rows<float>;
template [[host_name("tall_load_rows_f16")]] [[kernel]] decltype(tall_load_rows<half>) tall_load_rows<half>;
template [[host_name("tall_load_rows_bf16")]] [[kernel]] decltype(tall_load_rows<BFloat16>) tall_load_rows<BFloat16>;
template [[host_name("tall_load_rows_c64")]] [[kernel]] decltype(tall_load_rows<float2>) tall_load_rows<float2>;
template [[host_name("tall_load_rows_c32")]] [[kernel]] decltype(tall_load_rows<half2>) tall_load_rows<half2>;
template [[host_name("tall_squares_f32")]] [[kernel]] decltype(tall_squares<float>) tall_squares<float>;
template [[host_name("tall_squares_f16")]] [[kernel]] decltype(tall_squares<half>) tall_squares<half>;
template [[host_name("tall_squares_bf16")]] [[kernel]] decltype(tall_squares<BFloat16>) tall_squares<BFloat16>;
template [[host_name("tall_squares_c64")]] [[kernel]] decltype(tall_squares<float2>) tall_squares<float2>;
template [[host_name("tall_squares_c32")]] [[kernel]] decltype(tall_squares<half2>) tall_squares<half2>;
template [[host_name("tall_squares_rows_f32")]] [[kernel]] decltype(tall_squares_rows<float>) tall_squares_rows<float>;
template [[host_name("tall_squares_rows_f16")]] [[kernel]] decltype(tall_squares_rows<half>) tall_squares_rows<half>;
template [[host_name(
    "tall_squares_rows_bf16")]] [[kernel]] decltype(tall_squares_rows<BFloat16>) tall_squares_rows<BFloat16>;
template
    [[host_name("tall_squares_rows_c64")]] [[kernel]] decltype(tall_squares_rows<float2>) tall_squares_rows<float2>;
template [[host_name("tall_squares_rows_c32")]] [[kernel]] decltype(tall_squares_rows<half2>) tall_squares_rows<half2>;
template [[host_name("tall_factor_f32")]] [[kernel]] decltype(tall_factor<float>) tall_factor<float>;
template [[host_name("tall_factor_f16")]] [[kernel]] decltype(tall_factor<half>) tall_factor<half>;
template [[host_name("tall_factor_bf16")]] [[kernel]] decltype(tall_factor<BFloat16>) tall_factor<BFloat16>;
template [[host_name("tall_factor_c64")]] [[kernel]] decltype(tall_factor<float2>) tall_factor<float2>;
template [[host_name("tall_factor_c32")]] [[kernel]] decltype(tall_factor<half2>) tall_factor<half2>;
template [[host_name("tall_finish_f32")]] [[kernel]] decltype(tall_finish<float>) tall_finish<float>;
template [[host_name("tall_finish_f16")]] [[kernel]] decltype(tall_finish<half>) tall_finish<half>;
template [[host_name("tall_finish_bf16")]] [[kernel]] decltype(tall_finish<BFloat16>) tall_finish<BFloat16>;
template [[host_name("tall_finish_c64")]] [[kernel]] decltype(tall_finish<float2>) tall_finish<float2>;
template [[host_name("tall_finish_c32")]] [[kernel]] decltype(tall_finish<half2>) tall_finish<half2>;
template [[host_name("tall_store_f32")]] [[kernel]] decltype(tall_store<float>) tall_store<float>;
template [[host_name("tall_store_f16")]] [[kernel]] decltype(tall_store<half>) tall_store<half>;
template [[host_name("tall_store_bf16")]] [[kernel]] decltype(tall_store<BFloat16>) tall_store<BFloat16>;
template [[host_name("tall_store_c64")]] [[kernel]] decltype(tall_store<float2>) tall_store<float2>;
template [[host_name("tall_store_c32")]] [[kernel]] decltype(tall_store<half2>) tall_store<half2>;
template [[host_name("tall_apply_f32")]] [[kernel]] decltype(tall_apply<float, limits::tall_tile_packs>)
    tall_apply<float, limits::tall_tile_packs>;
template [[host_name("tall_apply_narrow_f32")]] [[kernel]] decltype(tall_apply<float, limits::tall_narrow_tile_packs>)
    tall_apply<float, limits::tall_narrow_tile_packs>;
template [[host_name("tall_apply_c64")]] [[kernel]] decltype(tall_apply<float2, limits::tall_tile_packs>)
    tall_apply<float2, limits::tall_tile_packs>;
template [[host_name("tall_apply_narrow_c64")]] [[kernel]] decltype(tall_apply<float2, limits::tall_narrow_tile_packs>)
    tall_apply<float2, limits::tall_narrow_tile_packs>;
template [[host_name("tall_expand_f32")]] [[kernel]] decltype(tall_expand<float, limits::tall_tile_packs>)
    tall_expand<float, limits::tall_tile_packs>;
template [[host_name("tall_expand_narrow_f32")]] [[kernel]] decltype(tall_expand<float, limits::tall_narrow_tile_packs>)
    tall_expand<float, limits::tall_narrow_tile_packs>;
template [[host_name("tall_expand_c64")]] [[kernel]] decltype(tall_expand<float2, limits::tall_tile_packs>)
    tall_expand<float2, limits::tall_tile_packs>;
template
    [[host_name("tall_expand_narrow_c64")]] [[kernel]] decltype(tall_expand<float2, limits::tall_narrow_tile_packs>)
        tall_expand<float2, limits::tall_narrow_tile_packs>;
template [[host_name("tall_report_f32")]] [[kernel]] decltype(tall_report<float>) tall_report<float>;
template [[host_name("tall_report_c64")]] [[kernel]] decltype(tall_report<float2>) tall_report<float2>;
template [[host_name("tall_collect_f32")]] [[kernel]] decltype(tall_collect<float>) tall_collect<float>;
template [[host_name("tall_collect_c64")]] [[kernel]] decltype(tall_collect<float2>) tall_collect<float2>;
template [[host_name("tall_product_f32")]] [[kernel]] decltype(tall_product<float, WideProduct, false>)
    tall_product<float, WideProduct, false>;
template [[host_name("tall_product_c64")]] [[kernel]] decltype(tall_product<float2, WideProduct, false>)
    tall_product<float2, WideProduct, false>;
template [[host_name("tall_product_narrow_f32")]] [[kernel]] decltype(tall_product<float, NarrowProduct, false>)
    tall_product<float, NarrowProduct, false>;
template [[host_name("tall_product_narrow_c64")]] [[kernel]] decltype(tall_product<float2, NarrowProduct, false>)
    tall_product<float2, NarrowProduct, false>;
template [[host_name("tall_product_few_f32")]] [[kernel]] decltype(tall_product<float, FewProduct, false>)
    tall_product<float, FewProduct, false>;
template [[host_name("tall_product_few_c64")]] [[kernel]] decltype(tall_product<float2, FewProduct, false>)
    tall_product<float2, FewProduct, false>;
template [[host_name("tall_product_upper_f32")]] [[kernel]] decltype(tall_product<float, WideProduct, true>)
    tall_product<float, WideProduct, true>;
template [[host_name("tall_product_upper_c64")]] [[kernel]] decltype(tall_product<float2, WideProduct, true>)
    tall_product<float2, WideProduct, true>;
template [[host_name("tall_product_upper_narrow_f32")]] [[kernel]] decltype(tall_product<float, NarrowProduct, true>)
    tall_product<float, NarrowProduct, true>;
template [[host_name("tall_product_upper_narrow_c64")]] [[kernel]] decltype(tall_product<float2, NarrowProduct, true>)
    tall_product<float2, NarrowProduct, true>;
template [[host_name("tall_product_upper_few_f32")]] [[kernel]] decltype(tall_product<float, FewProduct, true>)
    tall_product<float, FewProduct, true>;
template [[host_name("tall_product_upper_few_c64")]] [[kernel]] decltype(tall_product<float2, FewProduct, true>)
    tall_product<float2, FewProduct, true>;
template [[host_name("tall_phases_f32")]] [[kernel]] decltype(tall_phases<float>) tall_phases<float>;
template [[host_name("tall_phases_c64")]] [[kernel]] decltype(tall_phases<float2>) tall_phases<float2>;
template [[host_name("tall_restore_f32")]] [[kernel]] decltype(tall_restore<float>) tall_restore<float>;
template [[host_name("tall_restore_c64")]] [[kernel]] decltype(tall_restore<float2>) tall_restore<float2>;
template [[host_name("tall_defects_f32")]] [[kernel]] decltype(tall_defects<float>) tall_defects<float>;
template [[host_name("tall_defects_c64")]] [[kernel]] decltype(tall_defects<float2>) tall_defects<float2>;
template [[host_name("tall_trim_f32")]] [[kernel]] decltype(tall_trim<float>) tall_trim<float>;
template [[host_name("tall_trim_c64")]] [[kernel]] decltype(tall_trim<float2>) tall_trim<float2>;
template [[host_name("tall_left_f32")]] [[kernel]] decltype(tall_left<float>) tall_left<float>;
template [[host_name("tall_left_c64")]] [[kernel]] decltype(tall_left<float2>) tall_left<float2>;
template [[host_name("tall_settle")]] [[kernel]] decltype(tall_settle<uint>) tall_settle<uint>;
template [[host_name("tall_norms_f32")]] [[kernel]] decltype(tall_norms<float>) tall_norms<float>;
template [[host_name("tall_order_f32")]] [[kernel]] decltype(tall_order<float>) tall_order<float>;
template [[host_name("tall_start_f32")]] [[kernel]] decltype(tall_start<float>) tall_start<float>;
template [[host_name("tall_start_c64")]] [[kernel]] decltype(tall_start<float2>) tall_start<float2>;

}  // namespace metalsvd
