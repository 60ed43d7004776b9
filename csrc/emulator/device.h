// What the operators need to know of the emulated device.
#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/Allocator.h>
#include <c10/core/Device.h>

#include <optional>

namespace metalsvd::emulator {

// PyTorch knows one Apple GPU, so there is one here.
inline c10::Device emulated_device() { return {c10::DeviceType::MPS, 0}; }

c10::Allocator* device_allocator();

// The CPU generator inside a generator of the device; of the device's default one where none is given.
at::Generator host_generator(const std::optional<at::Generator>& generator);

}  // namespace metalsvd::emulator
