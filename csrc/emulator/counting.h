// What the runtime adds to the counters of controls.h.
#pragma once

#include "controls.h"

namespace metalsvd::emulator {

void count(const Counters& done);

}  // namespace metalsvd::emulator
