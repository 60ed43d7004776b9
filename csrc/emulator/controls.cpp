#include "controls.h"

#include <mutex>

#include "counting.h"

namespace metalsvd::emulator {

namespace {

std::mutex mutex;
Options current_options;
Counters current_counters;

}  // namespace

Options options() {
  const std::lock_guard lock(mutex);
  return current_options;
}

void set_options(const Options& options) {
  const std::lock_guard lock(mutex);
  current_options = options;
}

Counters counters() {
  const std::lock_guard lock(mutex);
  return current_counters;
}

void reset_counters() {
  const std::lock_guard lock(mutex);
  current_counters = {};
}

void count(const Counters& done) {
  const std::lock_guard lock(mutex);
  current_counters.dispatches += done.dispatches;
  current_counters.threadgroups += done.threadgroups;
  current_counters.threads += done.threads;
  current_counters.barriers += done.barriers;
  current_counters.simd_operations += done.simd_operations;
  current_counters.bytes_read += done.bytes_read;
  current_counters.bytes_written += done.bytes_written;
  current_counters.host_waits += done.host_waits;
  current_counters.multiply_adds += done.multiply_adds;
  current_counters.critical_barriers += done.critical_barriers;
  current_counters.critical_simd_operations += done.critical_simd_operations;
  current_counters.critical_multiply_adds += done.critical_multiply_adds;
}

void count_host_wait() { count({.host_waits = 1}); }

}  // namespace metalsvd::emulator
