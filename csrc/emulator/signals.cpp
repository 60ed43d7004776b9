#include "signals.h"

#include <ucontext.h>

#include <array>

#include "threadgroup.h"

namespace metalsvd::emulator {

namespace {

constexpr std::array handled = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
std::array<struct sigaction, handled.size()> previous;

const void* instruction_pointer(const void* context) {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return reinterpret_cast<const void*>(machine.gregs[REG_RIP]);
#else
  return reinterpret_cast<const void*>(machine.pc);
#endif
}

void handle(int signal, siginfo_t* info, void* context) {
  Threadgroup* const running = Threadgroup::running();
  if (running) running->abandon_for_signal(signal, info->si_addr, instruction_pointer(context));
  for (std::size_t i = 0; i < handled.size(); ++i) {
    if (handled[i] == signal)
      sigaction(signal, &previous[i], nullptr);  // the instruction faults again, under the old handler
  }
}

}  // namespace

SignalHandlers::SignalHandlers() {
  struct sigaction action = {};
  action.sa_sigaction = handle;
  // The handler leaves by a fiber switch and never returns: the signal must not stay blocked.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (std::size_t i = 0; i < handled.size(); ++i) sigaction(handled[i], &action, &previous[i]);
}

SignalHandlers::~SignalHandlers() {
  for (std::size_t i = 0; i < handled.size(); ++i) sigaction(handled[i], &previous[i], nullptr);
}

SignalStack::SignalStack() {
  constexpr std::size_t bytes = 64 * 1024;
  memory_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
  stack_t stack = {};
  stack.ss_sp = memory_.get();
  stack.ss_size = bytes;
  sigaltstack(&stack, &previous_);
}

SignalStack::~SignalStack() { sigaltstack(&previous_, nullptr); }

}  // namespace metalsvd::emulator
