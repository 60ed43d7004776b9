// Spreads the threadgroups of a dispatch over the machine's cores.
#pragma once

#include "threadgroup.h"

namespace metalsvd::emulator {

// Run the whole grid and return what was done. Throws KernelError for the first threadgroup found wrong; the rest is
// dropped. One dispatch at a time.
Work run_dispatch(const Dispatch& dispatch);

// The arena of the threadgroup that runs a dispatch under a memory checker, which runs on the calling OS thread alone.
const std::byte* checked_arena();

}  // namespace metalsvd::emulator
