// Atomics of device and threadgroup memory. Metal orders them relaxed only. In the instrumented kernels g++ turns the
// builtins into calls of __tsan_atomic32_*, which csrc/emulator/memory_checks.cpp answers.
#pragma once

#include "host_namespace.h"
#include "shared_types.h"

namespace METALSVD_TRANSLATED {
namespace metal {

enum memory_order { memory_order_relaxed };

template <class T>
struct atomic {
  static_assert(sizeof(T) == 4, "Metal's atomics are int, uint and float");
  uint bits;
};
using atomic_int = atomic<int>;
using atomic_uint = atomic<uint>;
using atomic_float = atomic<float>;

template <class T>
METAL_FUNC T atomic_load_explicit(const volatile atomic<T>* object, memory_order) {
  return as_type<T>(__atomic_load_n(&object->bits, __ATOMIC_RELAXED));
}
template <class T>
METAL_FUNC void atomic_store_explicit(volatile atomic<T>* object, same<T> value, memory_order) {
  __atomic_store_n(&object->bits, as_type<uint>(value), __ATOMIC_RELAXED);
}
template <class T>
METAL_FUNC T atomic_exchange_explicit(volatile atomic<T>* object, same<T> value, memory_order) {
  return as_type<T>(__atomic_exchange_n(&object->bits, as_type<uint>(value), __ATOMIC_RELAXED));
}
template <class T>
METAL_FUNC bool atomic_compare_exchange_weak_explicit(volatile atomic<T>* object, T* expected, same<T> desired,
                                                      memory_order, memory_order) {
  uint expected_bits = as_type<uint>(*expected);
  const bool exchanged = __atomic_compare_exchange_n(&object->bits, &expected_bits, as_type<uint>(desired), true,
                                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  if (!exchanged) *expected = as_type<T>(expected_bits);
  return exchanged;
}

namespace emulated {

template <class T, class Change>
METAL_FUNC T fetch_and_change(volatile atomic<T>* object, Change change) {
  T seen = atomic_load_explicit(object, memory_order_relaxed);
  while (
      !atomic_compare_exchange_weak_explicit(object, &seen, change(seen), memory_order_relaxed, memory_order_relaxed)) {
  }
  return seen;
}

}  // namespace emulated

#define METALSVD_FETCH(name, expression)                                                                               \
  template <class T>                                                                                                   \
  METAL_FUNC T atomic_fetch_##name##_explicit(volatile atomic<T>* object, same<T> b, memory_order) {                   \
    return emulated::fetch_and_change(object, [b](T a) [[gnu::always_inline]] { return static_cast<T>(expression); }); \
  }
METALSVD_FETCH(add, a + b)
METALSVD_FETCH(sub, a - b)
METALSVD_FETCH(min, b < a ? b : a)
METALSVD_FETCH(max, a < b ? b : a)
METALSVD_FETCH(and, a& b)
METALSVD_FETCH(or, a | b)
METALSVD_FETCH(xor, a ^ b)
#undef METALSVD_FETCH

}  // namespace metal
}  // namespace METALSVD_TRANSLATED
