// Barriers and SIMD operations. Reductions have the order that host_simd.h names: the butterfly with lane ^ 16, 8, 4,
// 2, 1, in which every lane computes the same bits, since all the operations commute.
#pragma once

#include "cuda_position.h"
#include "shared_math.h"

namespace METALSVD_TRANSLATED {
namespace metal {

// Either orders all memory that the threads it joins share.
METAL_FUNC void threadgroup_barrier(mem_flags) { __syncthreads(); }
METAL_FUNC void simdgroup_barrier(mem_flags) { __syncwarp(); }

namespace cuda {

// A value as words, which is what lanes exchange, each by the same rule.
template <class T, class Rule>
METAL_FUNC T exchange_words(T value, Rule rule) {
  constexpr int count = (sizeof(T) + sizeof(uint) - 1) / sizeof(uint);
  uint words[count] = {};
  std::memcpy(words, static_cast<const void*>(&value), sizeof(T));
#pragma unroll
  for (int i = 0; i < count; ++i) words[i] = rule(words[i]);
  std::memcpy(static_cast<void*>(&value), words, sizeof(T));
  return value;
}

template <class T>
METAL_FUNC T from_xor(T value, int distance) {
  return exchange_words(value, [distance](uint word) { return __shfl_xor_sync(all_lanes, word, distance); });
}
template <class T>
METAL_FUNC T from_below(T value, int distance) {
  return exchange_words(value, [distance](uint word) { return __shfl_up_sync(all_lanes, word, distance); });
}

}  // namespace cuda

#define METALSVD_REDUCTION(name, combined)                                \
  template <class T>                                                      \
  METAL_FUNC T name(T a) {                                                \
    _Pragma("unroll") for (int i = cuda::simd_width / 2; i > 0; i /= 2) { \
      const T b = cuda::from_xor(a, i);                                   \
      a = static_cast<T>(combined);                                       \
    }                                                                     \
    return a;                                                             \
  }
METALSVD_REDUCTION(simd_sum, a + b)
METALSVD_REDUCTION(simd_product, a* b)
METALSVD_REDUCTION(simd_min, min(a, b))
METALSVD_REDUCTION(simd_max, max(a, b))
METALSVD_REDUCTION(simd_and, a& b)
METALSVD_REDUCTION(simd_or, a | b)
METALSVD_REDUCTION(simd_xor, a ^ b)
#undef METALSVD_REDUCTION

// Past the ends of the SIMD-group a lane keeps its own value.
template <class T>
METAL_FUNC T simd_shuffle(T value, ushort lane) {
  return cuda::exchange_words(value, [lane](uint word) { return __shfl_sync(cuda::all_lanes, word, lane); });
}
template <class T>
METAL_FUNC T simd_broadcast(T value, ushort lane) {
  return simd_shuffle(value, lane);
}
template <class T>
METAL_FUNC T simd_broadcast_first(T value) {
  return simd_shuffle(value, 0);
}
template <class T>
METAL_FUNC T simd_shuffle_xor(T value, ushort mask) {
  return cuda::from_xor(value, mask);
}
template <class T>
METAL_FUNC T simd_shuffle_up(T value, ushort distance) {
  return cuda::from_below(value, distance);
}
template <class T>
METAL_FUNC T simd_shuffle_down(T value, ushort distance) {
  return cuda::exchange_words(value,
                              [distance](uint word) { return __shfl_down_sync(cuda::all_lanes, word, distance); });
}

template <class T>
METAL_FUNC T simd_prefix_inclusive_sum(T value) {
  const int lane = cuda::lane_index();
#pragma unroll
  for (int distance = 1; distance < cuda::simd_width; distance *= 2) {
    const T below = cuda::from_below(value, distance);
    if (lane >= distance) value = static_cast<T>(below + value);
  }
  return value;
}
template <class T>
METAL_FUNC T simd_prefix_exclusive_sum(T value) {
  const T below = cuda::from_below(simd_prefix_inclusive_sum(value), 1);
  return cuda::lane_index() == 0 ? T(0) : below;
}

class simd_vote {
 public:
  using vote_t = ulong;
  METAL_FUNC explicit constexpr simd_vote(vote_t votes) : votes_(votes) {}
  METAL_FUNC explicit constexpr operator vote_t() const { return votes_; }
  METAL_FUNC bool all() const { return votes_ == cuda::all_lanes; }
  METAL_FUNC bool any() const { return votes_ != 0; }

 private:
  vote_t votes_;
};

METAL_FUNC simd_vote simd_ballot(bool vote) { return simd_vote(__ballot_sync(cuda::all_lanes, vote)); }
METAL_FUNC bool simd_all(bool vote) { return __all_sync(cuda::all_lanes, vote); }
METAL_FUNC bool simd_any(bool vote) { return __any_sync(cuda::all_lanes, vote); }

}  // namespace metal
}  // namespace METALSVD_TRANSLATED
