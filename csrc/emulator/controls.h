// What the emulated Apple GPU lets its owner set and read. Shared by the Metal runtime (which obeys and counts), the
// device (which counts waits of the host) and the Python module (which shows both).
#pragma once

#include <cstdint>

namespace metalsvd::emulator {

// The order in which the runnable threads of a threadgroup, and the threadgroups of a grid, are given their turn.
enum class Order { forward, reverse, random };

struct Options {
  Order order = Order::forward;
  std::uint64_t seed = 0;       // of Order::random
  bool check_memory = false;    // run the instrumented kernels: races, bounds and bytes of device memory
  bool keep_denormals = false;  // which Apple GPUs flush to zero, CUDA does not
  bool wide_lanes = false;      // a lane has registers for more than 128 words, as on CUDA
};

struct Counters {
  std::uint64_t dispatches = 0;
  std::uint64_t threadgroups = 0;
  std::uint64_t threads = 0;
  std::uint64_t barriers = 0;         // threadgroup_barrier, one per threadgroup that passes it
  std::uint64_t simd_operations = 0;  // one per SIMD-group that performs it
  std::uint64_t bytes_read = 0;       // device memory, counted only under Options::check_memory
  std::uint64_t bytes_written = 0;    // likewise
  std::uint64_t host_waits = 0;       // copies to the host, item(), synchronize()
  std::uint64_t multiply_adds = 0;    // fma() of floats, counted only under Options::check_memory
  // What must be done one after the other: summed over the dispatches, of the threadgroup that did the most.
  std::uint64_t critical_barriers = 0;
  std::uint64_t critical_simd_operations = 0;  // of one SIMD-group
  std::uint64_t critical_multiply_adds = 0;    // of one thread
};

Options options();
void set_options(const Options& options);

Counters counters();
void reset_counters();
void count_host_wait();

}  // namespace metalsvd::emulator
