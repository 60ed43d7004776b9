// What torch.profiler shows of the inside of an operator.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

namespace metalsvd {

// A range of this OS thread, by name, from construction to destruction; where nobody profiles, an allocation. Nothing
// that goes wrong here is worth a computation: errors are ignored.
class ProfilerRange {
 public:
  explicit ProfilerRange(const char* name) { aoti_record_function_start(name, nullptr, nullptr, 0, &range_); }
  ~ProfilerRange() {
    if (range_ != nullptr) aoti_record_function_end(range_);
  }
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;

 private:
  AtenRecordFunctionHandle range_ = nullptr;
};

}  // namespace metalsvd
