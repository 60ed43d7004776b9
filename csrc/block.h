// The launches of method `block`: load, rounds of sweeps, finish.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include "launch.h"
#include "matrices.h"
#include "plan.h"

namespace metalsvd {

// Factors A as planned, step by step, with a workspace of its own. `number_type` is what the kernels compute with.
void launch_block(const Plan& plan, const Matrices& A, const Outputs& outputs,
                  torch::headeronly::ScalarType number_type, LaunchStep launch_step);

}  // namespace metalsvd
