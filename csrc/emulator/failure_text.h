// How errors name threads, positions and lines of kernel text.
#pragma once

#include <string>
#include <vector>

#include "kernel_interface.h"

namespace metalsvd::emulator {

std::string to_string(const Size3& position);  // "(1, 0, 0)"
std::string to_string(const Site& site);       // "kernels/svd.h:12"

// "thread 3", "threads 0-15, 32": of numbers in ascending order.
std::string thread_list(const std::vector<unsigned>& threads);

// The line of kernel text that was compiled to the instruction before this address, or the address where that is
// unknown.
std::string source_line(const void* return_address);

}  // namespace metalsvd::emulator
