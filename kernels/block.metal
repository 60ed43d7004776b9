#include "block_copy.h"
#include "block_finish.h"
#include "block_gram.h"
#include "block_held.h"
#include "block_noise.h"
#include "block_rotate.h"
#include "block_round.h"
#include "block_wide_gram.h"
#include "block_wide_rotate.h"
#include "block_wide_round.h"
#include "block_wide_strip.h"

namespace metalsvd {

template [[host_name("block_measure_f32")]] [[kernel]] decltype(block_measure<float>) block_measure<float>;
template [[host_name("block_load_f32")]] [[kernel]] decltype(block_load<float>) block_load<float>;
template [[host_name("block_store_f32")]] [[kernel]] decltype(block_store<float>) block_store<float>;
template [[host_name("block_complete_f32")]] [[kernel]] decltype(block_complete<float>) block_complete<float>;
template [[host_name("block_measure_f16")]] [[kernel]] decltype(block_measure<half>) block_measure<half>;
template [[host_name("block_load_f16")]] [[kernel]] decltype(block_load<half>) block_load<half>;
template [[host_name("block_store_f16")]] [[kernel]] decltype(block_store<half>) block_store<half>;
template [[host_name("block_complete_f16")]] [[kernel]] decltype(block_complete<half>) block_complete<half>;
template [[host_name("block_measure_bf16")]] [[kernel]] decltype(block_measure<BFloat16>) block_measure<BFloat16>;
template [[host_name("block_load_bf16")]] [[kernel]] decltype(block_load<BFloat16>) block_load<BFloat16>;
template [[host_name("block_store_bf16")]] [[kernel]] decltype(block_store<BFloat16>) block_store<BFloat16>;
template [[host_name("block_complete_bf16")]] [[kernel]] decltype(block_complete<BFloat16>) block_complete<BFloat16>;
template [[host_name("block_measure_c64")]] [[kernel]] decltype(block_measure<float2>) block_measure<float2>;
template [[host_name("block_load_c64")]] [[kernel]] decltype(block_load<float2>) block_load<float2>;
template [[host_name("block_store_c64")]] [[kernel]] decltype(block_store<float2>) block_store<float2>;
template [[host_name("block_complete_c64")]] [[kernel]] decltype(block_complete<float2>) block_complete<float2>;
template [[host_name("block_measure_c32")]] [[kernel]] decltype(block_measure<half2>) block_measure<half2>;
template [[host_name("block_load_c32")]] [[kernel]] decltype(block_load<half2>) block_load<half2>;
template [[host_name("block_store_c32")]] [[kernel]] decltype(block_store<half2>) block_store<half2>;
template [[host_name("block_complete_c32")]] [[kernel]] decltype(block_complete<half2>) block_complete<half2>;

template [[host_name("block_order_f32")]] [[kernel]] decltype(block_order<float>) block_order<float>;
template [[host_name("block_order_f16")]] [[kernel]] decltype(block_order<half>) block_order<half>;
template [[host_name("block_order_bf16")]] [[kernel]] decltype(block_order<BFloat16>) block_order<BFloat16>;

template [[host_name("block_gram_f32")]] [[kernel]] decltype(block_gram<float>) block_gram<float>;
template [[host_name("block_round_f32")]] [[kernel]] decltype(block_round<float>) block_round<float>;
template [[host_name("block_rotate_f32")]] [[kernel]] decltype(block_rotate<float>) block_rotate<float>;
template [[host_name("block_normalize_f32")]] [[kernel]] decltype(block_normalize<float>) block_normalize<float>;
template [[host_name("block_panel_f32")]] [[kernel]] decltype(block_panel<float>) block_panel<float>;
template [[host_name("block_reflect_f32")]] [[kernel]] decltype(block_reflect<float>) block_reflect<float>;
template [[host_name("block_lengths_f32")]] [[kernel]] decltype(block_lengths<float>) block_lengths<float>;
template [[host_name("block_drop_f32")]] [[kernel]] decltype(block_drop<float>) block_drop<float>;
template [[host_name("block_held_192_f32")]] [[kernel]] decltype(block_held<float, 192>) block_held<float, 192>;
template [[host_name("block_held_224_f32")]] [[kernel]] decltype(block_held<float, 224>) block_held<float, 224>;
template [[host_name("block_held_256_f32")]] [[kernel]] decltype(block_held<float, 256>) block_held<float, 256>;
template [[host_name("block_held_288_f32")]] [[kernel]] decltype(block_held<float, 288>) block_held<float, 288>;
template [[host_name("block_wide_gram_f32")]] [[kernel]] decltype(block_wide_gram<float>) block_wide_gram<float>;
template [[host_name("block_wide_round_f32")]] [[kernel]] decltype(block_wide_round<float>) block_wide_round<float>;
template [[host_name("block_wide_solve_f32")]] [[kernel]] decltype(block_wide_solve<float>) block_wide_solve<float>;
template [[host_name("block_wide_rotate_f32")]] [[kernel]] decltype(block_wide_rotate<float>) block_wide_rotate<float>;
template [[host_name("block_wide_turn_f32")]] [[kernel]] decltype(block_wide_turn<float>) block_wide_turn<float>;
template [[host_name("block_gram_c64")]] [[kernel]] decltype(block_gram<float2>) block_gram<float2>;
template [[host_name("block_round_c64")]] [[kernel]] decltype(block_round<float2>) block_round<float2>;
template [[host_name("block_rotate_c64")]] [[kernel]] decltype(block_rotate<float2>) block_rotate<float2>;
template [[host_name("block_normalize_c64")]] [[kernel]] decltype(block_normalize<float2>) block_normalize<float2>;
template [[host_name("block_lengths_c64")]] [[kernel]] decltype(block_lengths<float2>) block_lengths<float2>;
template [[host_name("block_drop_c64")]] [[kernel]] decltype(block_drop<float2>) block_drop<float2>;
template [[host_name("block_panel_c64")]] [[kernel]] decltype(block_panel<float2>) block_panel<float2>;
template [[host_name("block_reflect_c64")]] [[kernel]] decltype(block_reflect<float2>) block_reflect<float2>;

}  // namespace metalsvd
