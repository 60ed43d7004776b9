// The launches of method `block`: load, rounds of sweeps, finish.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <vector>

#include "launch.h"
#include "matrices.h"
#include "plan.h"

namespace metalsvd {

// Every launch that factors A as planned, with the workspace they share. `number_type` is what the kernels compute
// with.
std::vector<Step> block_steps(const Plan& plan, const Matrices& A, const Outputs& outputs,
                              torch::headeronly::ScalarType number_type);

}  // namespace metalsvd
