// Fibers: many stacks on one OS thread, one running at a time, switched by hand.
#pragma once

#include <cstddef>
#include <vector>

#if !defined(METALSVD_UCONTEXT) && !(defined(__x86_64__) && defined(__linux__))
#define METALSVD_UCONTEXT  // no assembly for this machine: the C library's slower switch
#endif
#ifdef METALSVD_UCONTEXT
#include <ucontext.h>
#endif

namespace metalsvd::emulator {

// A place where execution can be left and taken up again.
class Fiber {
 public:
  using Entry = void (*)(void* argument);  // must not return

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next switch to this fiber calls entry(argument) on the stack [low, low + bytes).
  void prepare(std::byte* low, std::size_t bytes, Entry entry, void* argument);

  // Leave from, which is running; go on with to.
  static void switch_between(Fiber& from, Fiber& to);

 private:
#ifdef METALSVD_UCONTEXT
  ucontext_t context_ = {};
#else
  void* stack_pointer_ = nullptr;
#endif
};

// Stacks of one size with an inaccessible page below each, mapped when first asked for and kept.
class StackPool {
 public:
  static constexpr std::size_t stack_bytes = 128 * 1024;

  StackPool() = default;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  ~StackPool();

  std::byte* stack(std::size_t index);  // its lowest usable byte

 private:
  std::vector<std::byte*> stacks_;
};

}  // namespace metalsvd::emulator
