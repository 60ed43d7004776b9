// Threadgroup memory, barriers and SIMD operations: each calls the emulator (csrc/emulator/kernel_interface.h).
//
// Order of every reduction, whatever the order of the threads: the butterfly with lane ^ 16, 8, 4, 2, 1, that is
// value[i] = value[i] op value[i + 16] for i < 16, then + 8, 4, 2, 1. A prefix sum adds from lane - 1, - 2, - 4, - 8,
// - 16.
#pragma once

#include "host_namespace.h"
#include "shared_math.h"

namespace METALSVD_TRANSLATED {
namespace metal {

#define METALSVD_SITE const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()

METAL_FUNC void threadgroup_barrier(mem_flags flags, METALSVD_SITE) {
  ::metalsvd::emulator::threadgroup_barrier(static_cast<uint>(flags), {file, line});
}
METAL_FUNC void simdgroup_barrier(mem_flags flags, METALSVD_SITE) {
  ::metalsvd::emulator::simdgroup_barrier(static_cast<uint>(flags), {file, line});
}

namespace emulated {

using ::metalsvd::emulator::LaneArgument;
using ::metalsvd::emulator::simd_operation;
using ::metalsvd::emulator::simd_width;
using ::metalsvd::emulator::SimdOperation;
using ::metalsvd::emulator::SimdSlot;
using ::metalsvd::emulator::Site;

// What "threadgroup T name[..];" refers to. T may be an array.
template <class T>
METAL_FUNC T& tile(unsigned index, const char* name, METALSVD_SITE) {
  return *static_cast<T*>(::metalsvd::emulator::threadgroup_tile(index, name, sizeof(T), alignof(T), {file, line}));
}

template <class T>
[[gnu::no_sanitize("thread")]] void load(const SimdSlot* slots, T (&values)[simd_width]) {
  for (unsigned i = 0; i < simd_width; ++i) std::memcpy(static_cast<void*>(&values[i]), slots[i].value, sizeof(T));
}
template <class T>
[[gnu::no_sanitize("thread")]] void store(const T (&values)[simd_width], SimdSlot* slots) {
  for (unsigned i = 0; i < simd_width; ++i) std::memcpy(slots[i].value, &values[i], sizeof(T));
}

template <class T, class Operator>
[[gnu::no_sanitize("thread")]] void reduce(SimdSlot* slots) {
  T values[simd_width];
  load(slots, values);
  for (unsigned distance = simd_width / 2; distance > 0; distance /= 2) {
    for (unsigned i = 0; i < distance; ++i) values[i] = Operator::apply(values[i], values[i + distance]);
  }
  for (unsigned i = 1; i < simd_width; ++i) values[i] = values[0];
  store(values, slots);
}

template <class T, bool inclusive>
[[gnu::no_sanitize("thread")]] void prefix_sum(SimdSlot* slots) {
  T values[simd_width], result[simd_width];
  load(slots, values);
  for (unsigned distance = 1; distance < simd_width; distance *= 2) {
    for (unsigned i = simd_width - 1; i >= distance; --i) values[i] = values[i - distance] + values[i];
  }
  for (unsigned i = 0; i < simd_width; ++i) result[i] = inclusive ? values[i] : i == 0 ? T(0) : values[i - 1];
  store(result, slots);
}

// Each lane's result is the value of the lane that Source names; past the ends it keeps its own.
template <class T, class Source>
[[gnu::no_sanitize("thread")]] void permute(SimdSlot* slots) {
  T values[simd_width], result[simd_width];
  load(slots, values);
  for (unsigned i = 0; i < simd_width; ++i) {
    const unsigned source = Source::lane(i, slots[i].argument);
    result[i] = values[source < simd_width ? source : i];
  }
  store(result, slots);
}

struct Add {
  template <class T>
  [[gnu::no_sanitize("thread")]] static T apply(T a, T b) {
    return static_cast<T>(a + b);
  }
};
struct Multiply {
  template <class T>
  [[gnu::no_sanitize("thread")]] static T apply(T a, T b) {
    return static_cast<T>(a * b);
  }
};
struct Minimum {
  template <class T>
  [[gnu::no_sanitize("thread")]] static T apply(T a, T b) {
    return min(a, b);
  }
};
struct Maximum {
  template <class T>
  [[gnu::no_sanitize("thread")]] static T apply(T a, T b) {
    return max(a, b);
  }
};
struct And {
  template <class T>
  [[gnu::no_sanitize("thread")]] static T apply(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  [[gnu::no_sanitize("thread")]] static T apply(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  [[gnu::no_sanitize("thread")]] static T apply(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};

struct FromLane {
  static unsigned lane(unsigned, unsigned argument) { return argument; }
};
struct FromXor {
  static unsigned lane(unsigned self, unsigned argument) { return self ^ argument; }
};
struct FromAbove {
  static unsigned lane(unsigned self, unsigned argument) { return self + argument; }
};
struct FromBelow {
  static unsigned lane(unsigned self, unsigned argument) { return self - argument; }
};

template <class T>
inline constexpr unsigned padded_size = sizeof(T) <= 4   ? 4
                                        : sizeof(T) <= 8 ? 8
                                                         : 16;

template <class T>
METAL_FUNC T exchange(const SimdOperation& operation, T value, unsigned argument, Site site) {
  static_assert(sizeof(T) <= sizeof(SimdSlot::value), "a SIMD operation takes 16 bytes a lane at most");
  union {
    T padded;
    unsigned char bytes[padded_size<T>];
  };
  padded = value;
  simd_operation(operation, bytes, argument, site);
  return padded;
}

[[gnu::no_sanitize("thread")]] inline void ballot(SimdSlot* slots) {
  std::uint64_t votes = 0;
  for (unsigned i = 0; i < simd_width; ++i) votes |= std::uint64_t{slots[i].argument} << i;
  for (unsigned i = 0; i < simd_width; ++i) std::memcpy(slots[i].value, &votes, sizeof(votes));
}

METAL_FUNC std::uint64_t count_votes(const SimdOperation& operation, bool vote, Site site) {
  return exchange(operation, std::uint64_t{0}, vote, site);
}

}  // namespace emulated

#define METALSVD_SIMD_FUNCTION(name, ...)                                                                          \
  template <class T>                                                                                               \
  METAL_FUNC T name(T value, METALSVD_SITE) {                                                                      \
    static constexpr emulated::SimdOperation operation{#name, emulated::__VA_ARGS__, emulated::LaneArgument::none, \
                                                       emulated::padded_size<T>};                                  \
    return emulated::exchange(operation, value, 0, {file, line});                                                  \
  }
METALSVD_SIMD_FUNCTION(simd_sum, reduce<T, emulated::Add>)
METALSVD_SIMD_FUNCTION(simd_product, reduce<T, emulated::Multiply>)
METALSVD_SIMD_FUNCTION(simd_min, reduce<T, emulated::Minimum>)
METALSVD_SIMD_FUNCTION(simd_max, reduce<T, emulated::Maximum>)
METALSVD_SIMD_FUNCTION(simd_and, reduce<T, emulated::And>)
METALSVD_SIMD_FUNCTION(simd_or, reduce<T, emulated::Or>)
METALSVD_SIMD_FUNCTION(simd_xor, reduce<T, emulated::Xor>)
METALSVD_SIMD_FUNCTION(simd_prefix_inclusive_sum, prefix_sum<T, true>)
METALSVD_SIMD_FUNCTION(simd_prefix_exclusive_sum, prefix_sum<T, false>)
#undef METALSVD_SIMD_FUNCTION

#define METALSVD_SIMD_FUNCTION(name, Source, rule)                                                              \
  template <class T>                                                                                            \
  METAL_FUNC T name(T value, ushort argument, METALSVD_SITE) {                                                  \
    static constexpr emulated::SimdOperation operation{#name, emulated::permute<T, emulated::Source>,           \
                                                       emulated::LaneArgument::rule, emulated::padded_size<T>}; \
    return emulated::exchange(operation, value, argument, {file, line});                                        \
  }
METALSVD_SIMD_FUNCTION(simd_shuffle, FromLane, any)
METALSVD_SIMD_FUNCTION(simd_broadcast, FromLane, uniform)
METALSVD_SIMD_FUNCTION(simd_shuffle_xor, FromXor, uniform)
METALSVD_SIMD_FUNCTION(simd_shuffle_down, FromAbove, uniform)
METALSVD_SIMD_FUNCTION(simd_shuffle_up, FromBelow, uniform)
#undef METALSVD_SIMD_FUNCTION

template <class T>
METAL_FUNC T simd_broadcast_first(T value, METALSVD_SITE) {
  static constexpr emulated::SimdOperation operation{"simd_broadcast_first", emulated::permute<T, emulated::FromLane>,
                                                     emulated::LaneArgument::none, emulated::padded_size<T>};
  return emulated::exchange(operation, value, 0, {file, line});
}

class simd_vote {
 public:
  using vote_t = ulong;
  METAL_FUNC explicit constexpr simd_vote(vote_t votes) : votes_(votes) {}
  METAL_FUNC explicit constexpr operator vote_t() const { return votes_; }
  METAL_FUNC bool all() const { return votes_ == 0xFFFFFFFFu; }
  METAL_FUNC bool any() const { return votes_ != 0; }

 private:
  vote_t votes_;
};

METAL_FUNC simd_vote simd_ballot(bool vote, METALSVD_SITE) {
  static constexpr emulated::SimdOperation operation{"simd_ballot", emulated::ballot, emulated::LaneArgument::none, 8};
  return simd_vote(emulated::count_votes(operation, vote, {file, line}));
}
METAL_FUNC bool simd_all(bool vote, METALSVD_SITE) {
  static constexpr emulated::SimdOperation operation{"simd_all", emulated::ballot, emulated::LaneArgument::none, 8};
  return emulated::count_votes(operation, vote, {file, line}) == 0xFFFFFFFFu;
}
METAL_FUNC bool simd_any(bool vote, METALSVD_SITE) {
  static constexpr emulated::SimdOperation operation{"simd_any", emulated::ballot, emulated::LaneArgument::none, 8};
  return emulated::count_votes(operation, vote, {file, line}) != 0;
}

#undef METALSVD_SITE

}  // namespace metal
}  // namespace METALSVD_TRANSLATED
