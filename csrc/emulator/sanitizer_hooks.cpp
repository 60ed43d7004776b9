// g++ -fsanitize=thread puts a call before every memory access of an instrumented kernel. These are the functions it
// calls; the sanitizer's own library is not linked. Outside of a checked dispatch they let everything pass.
#include <cstddef>
#include <cstdint>

#include "memory_checks.h"
#include "threadgroup.h"

namespace metalsvd::emulator {

namespace {

using Kind = MemoryChecker::Kind;

inline void check(const volatile void* address, std::size_t bytes, Kind kind, const void* return_address) {
  if (Threadgroup* const running = Threadgroup::running()) {
    running->checker().check(const_cast<const void*>(address), bytes, kind, return_address);
  }
}

}  // namespace

extern "C" {

#define HOOK(name, bytes, kind) \
  void __tsan_##name(void* address) { check(address, bytes, Kind::kind, __builtin_return_address(0)); }
#define HOOKS(bytes)                       \
  HOOK(read##bytes, bytes, read)           \
  HOOK(write##bytes, bytes, write)         \
  HOOK(unaligned_read##bytes, bytes, read) \
  HOOK(unaligned_write##bytes, bytes, write)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
#undef HOOKS
#undef HOOK

void __tsan_read_range(void* address, std::size_t bytes) {
  check(address, bytes, Kind::read, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
  check(address, bytes, Kind::write, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

using Word = std::uint32_t;

Word __tsan_atomic32_load(const volatile Word* object, int) {
  check(object, sizeof(Word), Kind::atomic_read, __builtin_return_address(0));
  return __atomic_load_n(object, __ATOMIC_RELAXED);
}

void __tsan_atomic32_store(volatile Word* object, Word value, int) {
  check(object, sizeof(Word), Kind::atomic_write, __builtin_return_address(0));
  __atomic_store_n(object, value, __ATOMIC_RELAXED);
}

Word __tsan_atomic32_exchange(volatile Word* object, Word value, int) {
  check(object, sizeof(Word), Kind::atomic_write, __builtin_return_address(0));
  return __atomic_exchange_n(object, value, __ATOMIC_RELAXED);
}

int __tsan_atomic32_compare_exchange_weak(volatile Word* object, Word* expected, Word desired, int, int) {
  check(object, sizeof(Word), Kind::atomic_write, __builtin_return_address(0));
  return __atomic_compare_exchange_n(object, expected, desired, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

}  // extern "C"

}  // namespace metalsvd::emulator
