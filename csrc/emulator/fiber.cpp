#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

namespace metalsvd::emulator {

#ifdef METALSVD_UCONTEXT

namespace {

// makecontext passes ints only: the two pointers travel in halves.
void start(unsigned entry_high, unsigned entry_low, unsigned argument_high, unsigned argument_low) {
  const auto join = [](unsigned high, unsigned low) { return std::uintptr_t{high} << 32 | low; };
  reinterpret_cast<Fiber::Entry>(join(entry_high, entry_low))(
      reinterpret_cast<void*>(join(argument_high, argument_low)));
}

}  // namespace

void Fiber::prepare(std::byte* low, std::size_t bytes, Entry entry, void* argument) {
  getcontext(&context_);
  context_.uc_stack.ss_sp = low;
  context_.uc_stack.ss_size = bytes;
  const auto high = [](auto* pointer) {
    return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(pointer) >> 32);
  };
  const auto rest = [](auto* pointer) { return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(pointer)); };
  makecontext(&context_, reinterpret_cast<void (*)()>(start), 4, high(entry), rest(entry), high(argument),
              rest(argument));
}

void Fiber::switch_between(Fiber& from, Fiber& to) { swapcontext(&from.context_, &to.context_); }

#else

// The callee-saved registers of the System V ABI are all that a switch must keep; rsp is saved where the first argument
// points.
asm(R"(
.text
.type metalsvd_switch_stack, @function
.hidden metalsvd_switch_stack
metalsvd_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size metalsvd_switch_stack, . - metalsvd_switch_stack

.type metalsvd_start_fiber, @function
.hidden metalsvd_start_fiber
metalsvd_start_fiber:
  .cfi_startproc
  .cfi_undefined rip
  movq %r12, %rdi
  callq *%r13
  ud2
  .cfi_endproc
.size metalsvd_start_fiber, . - metalsvd_start_fiber
)");

extern "C" {
void metalsvd_switch_stack(void** saved_stack_pointer, void* stack_pointer);
void metalsvd_start_fiber();
}

void Fiber::prepare(std::byte* low, std::size_t bytes, Entry entry, void* argument) {
  // What the first switch pops: r15 r14 r13 r12 rbx rbp and the return address; the stack is then 16-byte aligned.
  const auto top = reinterpret_cast<std::uintptr_t>(low + bytes) & ~std::uintptr_t{15};
  auto* const frame = reinterpret_cast<void**>(top) - 9;
  frame[2] = reinterpret_cast<void*>(entry);  // r13
  frame[3] = argument;                        // r12
  frame[5] = nullptr;                         // rbp: a debugger's walk ends here
  frame[6] = reinterpret_cast<void*>(metalsvd_start_fiber);
  stack_pointer_ = frame;
}

void Fiber::switch_between(Fiber& from, Fiber& to) { metalsvd_switch_stack(&from.stack_pointer_, to.stack_pointer_); }

#endif

std::byte* StackPool::stack(std::size_t index) {
  static const auto guard = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  while (stacks_.size() <= index) {
    void* const mapping =
        mmap(nullptr, guard + stack_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    auto* const low = static_cast<std::byte*>(mapping) + guard;
    if (mprotect(low, stack_bytes, PROT_READ | PROT_WRITE) != 0) {
      munmap(mapping, guard + stack_bytes);
      throw std::bad_alloc();
    }
    stacks_.push_back(low);
  }
  return stacks_[index];
}

StackPool::~StackPool() {
  const auto guard = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (std::byte* low : stacks_) munmap(low - guard, guard + stack_bytes);
}

}  // namespace metalsvd::emulator
