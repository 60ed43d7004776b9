// A kernel that reads where no memory is, overflows its stack or divides an integer by zero ends its dispatch, not the
// process.
#pragma once

#include <csignal>
#include <cstddef>
#include <memory>

namespace metalsvd::emulator {

// While it lives, faults of running kernels abandon their threadgroup; faults elsewhere go to whoever handled them
// before.
class SignalHandlers {
 public:
  SignalHandlers();
  ~SignalHandlers();
  SignalHandlers(const SignalHandlers&) = delete;
  SignalHandlers& operator=(const SignalHandlers&) = delete;
};

// A stack for this OS thread's signal handlers, since a fiber's own may be what overflowed.
class SignalStack {
 public:
  SignalStack();
  ~SignalStack();
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  std::unique_ptr<std::byte[]> memory_;
  stack_t previous_ = {};
};

}  // namespace metalsvd::emulator
