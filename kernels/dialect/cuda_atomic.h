// Atomics of device and threadgroup memory. Metal orders them relaxed only, as CUDA's are.
#pragma once

#include "cuda_namespace.h"
#include "shared_types.h"

namespace METALSVD_TRANSLATED {
namespace metal {

enum memory_order { memory_order_relaxed };

template <class T>
struct atomic {
  static_assert(sizeof(T) == 4, "Metal's atomics are int, uint and float");
  T value;
};
using atomic_int = atomic<int>;
using atomic_uint = atomic<uint>;
using atomic_float = atomic<float>;

template <class T>
METAL_FUNC T atomic_load_explicit(const volatile atomic<T>* object, memory_order) {
  return object->value;
}
template <class T>
METAL_FUNC void atomic_store_explicit(volatile atomic<T>* object, same<T> value, memory_order) {
  object->value = value;
}

#define METALSVD_ATOMIC(name, function)                                                        \
  template <class T>                                                                           \
  METAL_FUNC T atomic_##name##_explicit(volatile atomic<T>* object, same<T> b, memory_order) { \
    return function(const_cast<T*>(&object->value), b);                                        \
  }
METALSVD_ATOMIC(exchange, atomicExch)
METALSVD_ATOMIC(fetch_add, atomicAdd)
METALSVD_ATOMIC(fetch_sub, atomicSub)
METALSVD_ATOMIC(fetch_min, atomicMin)
METALSVD_ATOMIC(fetch_max, atomicMax)
METALSVD_ATOMIC(fetch_and, atomicAnd)
METALSVD_ATOMIC(fetch_or, atomicOr)
METALSVD_ATOMIC(fetch_xor, atomicXor)
#undef METALSVD_ATOMIC

template <class T>
METAL_FUNC bool atomic_compare_exchange_weak_explicit(volatile atomic<T>* object, T* expected, same<T> desired,
                                                      memory_order, memory_order) {
  const uint wanted = as_type<uint>(*expected);
  const uint seen = atomicCAS(reinterpret_cast<uint*>(const_cast<T*>(&object->value)), wanted, as_type<uint>(desired));
  *expected = as_type<T>(seen);
  return seen == wanted;
}

}  // namespace metal
}  // namespace METALSVD_TRANSLATED
