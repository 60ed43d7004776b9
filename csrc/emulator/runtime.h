// The Metal runtime of the emulated GPU: libraries of kernels, the binding of their arguments, dispatches. Every
// function throws std::runtime_error with a text for the user. It knows nothing of torch; shim.cpp does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel_interface.h"

namespace metalsvd::emulator {

// Device memory as an argument: where the kernel's pointer starts, and the block that it points into.
struct Buffer {
  std::byte* data;
  const std::byte* block;
  std::size_t block_bytes;
};

struct BoundMemory;
class Library;

// A kernel and the arguments encoded for its next dispatch. Owned by its library, one for each name.
class KernelFunction {
 public:
  KernelFunction(const Library& library, const Kernel& plain, const Kernel* checked);

  // In this order, inside run_command_block: start_encoding, each argument, dispatch.
  void start_encoding();
  void set_buffer(unsigned index, const Buffer& buffer);
  void set_integer(unsigned index, std::int64_t value);
  void dispatch(Size3 grid, Size3 group);  // both in threads

  const char* name() const { return plain_.name; }
  unsigned max_threads() const { return plain_.max_threads; }

 private:
  struct Argument {
    std::optional<Buffer> buffer;
    std::int64_t integer = 0;
  };

  void require_encoding(const char* call) const;
  const Parameter& parameter(unsigned index, const char*& name) const;
  void check_size(Size3 grid, Size3 group) const;
  std::vector<void*> bind();
  std::vector<BoundMemory> bound_memory() const;
  [[noreturn]] void fail(const std::string& what) const;
  const Kernel& kernel_to_run(bool check_memory) const;

  const Library& library_;
  const Kernel& plain_;
  const Kernel* const checked_;  // null: built without
  std::map<unsigned, Argument> arguments_;
};

class Library {
 public:
  // The library that was translated from exactly this text.
  explicit Library(const std::string& source);

  KernelFunction& function(const std::string& name);
  const char* name() const { return plain_->name; }

 private:
  const TranslatedLibrary* plain_ = nullptr;
  const TranslatedLibrary* checked_ = nullptr;
  std::map<std::string, std::unique_ptr<KernelFunction>> functions_;
};

// Run the callback, in which commands are encoded. One command block of the process runs at a time.
void run_command_block(const std::function<void()>& encode);

}  // namespace metalsvd::emulator
