// A C entry to the emulator's runtime, for tests that need no torch.
#include <cstring>
#include <exception>
#include <string>

#include "csrc/emulator/controls.h"
#include "csrc/emulator/runtime.h"

namespace {

using namespace metalsvd::emulator;

std::string last_error;

// One argument as ctypes passes it: memory where data is not null, else an integer.
struct TestArgument {
  unsigned index;
  void* data;
  std::size_t bytes;
  std::int64_t integer;
};

template <class Action>
int guarded(Action action) {
  try {
    action();
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
    return 1;
  }
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

const char* test_last_error() { return last_error.c_str(); }

void test_options(int order, std::uint64_t seed, int check_memory, int keep_denormals) {
  set_options({static_cast<Order>(order), seed, check_memory != 0, keep_denormals != 0});
}

// Those of controls.h, in their order.
void test_counters(std::uint64_t* values) {
  const Counters seen = counters();
  std::memcpy(values, &seen, sizeof(seen));
  reset_counters();
}

int test_run(const char* source, const char* kernel, const TestArgument* arguments, std::size_t count,
             const std::uint32_t* grid, const std::uint32_t* group) {
  return guarded([&] {
    Library library(source);
    KernelFunction& function = library.function(kernel);
    run_command_block([&] {
      function.start_encoding();
      for (std::size_t i = 0; i < count; ++i) {
        const TestArgument& argument = arguments[i];
        auto* const data = static_cast<std::byte*>(argument.data);
        if (data) {
          function.set_buffer(argument.index, {data, data, argument.bytes});
        } else {
          function.set_integer(argument.index, argument.integer);
        }
      }
      function.dispatch({grid[0], grid[1], grid[2]}, {group[0], group[1], group[2]});
    });
  });
}

}  // extern "C"
#pragma GCC visibility pop
