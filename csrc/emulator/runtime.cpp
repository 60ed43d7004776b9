#include "runtime.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>

#include "controls.h"
#include "counting.h"
#include "failure_text.h"
#include "memory_checks.h"
#include "scheduler.h"

namespace metalsvd::emulator {

namespace {

// By the files' static constructors, before anything else runs.
std::vector<TranslatedLibrary>& registered_libraries() {
  static std::vector<TranslatedLibrary> all;
  return all;
}

// The GPU, which does one thing at a time.
std::recursive_mutex& gpu() {
  static std::recursive_mutex mutex;
  // fork() waits for the GPU to be idle; its child, whose thread is another than the one that locked, gets a new mutex.
  [[maybe_unused]] static const int registered =
      pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { new (&mutex) std::recursive_mutex; });
  return mutex;
}

thread_local unsigned open_command_blocks = 0;
thread_local const KernelFunction* encoding = nullptr;  // between start_encoding and dispatch

const Kernel* find_kernel(const TranslatedLibrary& library, const std::string& name) {
  for (std::size_t i = 0; i < library.kernel_count; ++i) {
    if (library.kernels[i]->name == name) return library.kernels[i];
  }
  return nullptr;
}

// The first line in which two texts differ, to tell a stale build from a foreign text.
std::string first_difference(const std::string& given, const std::string& known) {
  const auto [a, b] = std::mismatch(given.begin(), given.end(), known.begin(), known.end());
  return "line " + std::to_string(1 + std::count(given.begin(), a, '\n'));
}

MemoryChecker& memory_checker() {
  static MemoryChecker checker;
  return checker;
}

}  // namespace

Registration::Registration(const TranslatedLibrary& library) { registered_libraries().push_back(library); }

Library::Library(const std::string& source) {
  const std::lock_guard lock(gpu());
  for (const TranslatedLibrary& library : registered_libraries()) {
    if (source == library.source) (library.is_checked ? checked_ : plain_) = &library;
  }
  if (plain_) return;
  std::string what = "emulated GPU: this Metal text is not one of those translated when the emulator was built:";
  for (const TranslatedLibrary& library : registered_libraries()) {
    if (!library.is_checked)
      what += std::string("\n  '") + library.name + "' differs from it at " + first_difference(source, library.source);
  }
  throw std::runtime_error(what + "\nRebuild the emulator and the library together.");
}

KernelFunction& Library::function(const std::string& name) {
  const std::lock_guard lock(gpu());
  std::unique_ptr<KernelFunction>& function = functions_[name];
  if (function) return *function;
  const Kernel* const plain = find_kernel(*plain_, name);
  if (!plain) {
    std::string what = "emulated GPU: no kernel '" + name + "' in library '" + plain_->name + "', which has";
    for (std::size_t i = 0; i < plain_->kernel_count; ++i)
      what += std::string(i ? ", " : " ") + plain_->kernels[i]->name;
    functions_.erase(name);
    throw std::runtime_error(what);
  }
  function = std::make_unique<KernelFunction>(*this, *plain, checked_ ? find_kernel(*checked_, name) : nullptr);
  return *function;
}

KernelFunction::KernelFunction(const Library& library, const Kernel& plain, const Kernel* checked)
    : library_(library), plain_(plain), checked_(checked) {}

void KernelFunction::fail(const std::string& what) const {
  throw std::runtime_error("emulated GPU: kernel '" + std::string(plain_.name) + "': " + what);
}

void KernelFunction::start_encoding() {
  const std::lock_guard lock(gpu());
  if (open_command_blocks == 0) fail("start_encoding outside of a command block");
  if (encoding)
    fail("start_encoding while kernel '" + std::string(encoding->name()) + "' is encoded but not dispatched");
  encoding = this;
  arguments_.clear();
}

void KernelFunction::require_encoding(const char* call) const {
  if (encoding != this) fail(std::string(call) + " without start_encoding before it in this command block");
}

const Parameter& KernelFunction::parameter(unsigned index, const char*& name) const {
  for (std::size_t i = 0; i < plain_.parameter_count; ++i) {
    name = plain_.parameter_names[i];
    if (plain_.parameters[i].buffer == static_cast<int>(index)) return plain_.parameters[i];
  }
  fail("there is no [[buffer(" + std::to_string(index) + ")]]");
}

void KernelFunction::set_buffer(unsigned index, const Buffer& buffer) {
  const std::lock_guard lock(gpu());
  require_encoding("an argument");
  const char* name = nullptr;
  const Parameter& expected = parameter(index, name);
  const std::string argument = "argument " + std::to_string(index) + " ('" + name + "')";
  if (reinterpret_cast<std::uintptr_t>(buffer.data) % expected.alignment != 0) {
    fail(argument + " is at an address that is not a multiple of " + std::to_string(expected.alignment) +
         ", as its type demands");
  }
  if (static_cast<std::size_t>(buffer.block + buffer.block_bytes - buffer.data) < expected.bytes) {
    fail(argument + " is shorter than the " + std::to_string(expected.bytes) + " bytes that it refers to");
  }
  arguments_[index] = {buffer, 0};
}

void KernelFunction::set_integer(unsigned index, std::int64_t value) {
  const std::lock_guard lock(gpu());
  require_encoding("an argument");
  const char* name = nullptr;
  const Parameter& expected = parameter(index, name);
  if (!expected.is_const || expected.bytes > sizeof(value) || expected.alignment > alignof(std::int64_t)) {
    fail("argument " + std::to_string(index) + " ('" + name +
         "') cannot be an integer: an integer is 8 bytes of constant memory");
  }
  arguments_[index] = {std::nullopt, value};
}

void KernelFunction::check_size(Size3 grid, Size3 group) const {
  const auto text = [](Size3 size) { return to_string(size); };
  const std::uint64_t threads = group.product();
  if (grid.product() == 0) fail("the grid " + text(grid) + " is empty");
  if (threads == 0) fail("the threadgroup " + text(group) + " is empty");
  const unsigned limit = std::min(plain_.max_threads, max_threads_per_threadgroup);
  if (threads > limit)
    fail("a threadgroup of " + std::to_string(threads) + " threads, but the limit is " + std::to_string(limit));
  if (threads % simd_width != 0)
    fail("a threadgroup of " + std::to_string(threads) + " threads is not made of whole SIMD-groups of 32");
  if (grid.x % group.x || grid.y % group.y || grid.z % group.z) {
    fail("threadgroups of " + text(group) + " threads do not divide the grid of " + text(grid));
  }
}

// The address of each argument, by index. Those of integers stay valid until the next start_encoding.
std::vector<void*> KernelFunction::bind() {
  std::vector<void*> buffers(max_buffers, nullptr);
  for (std::size_t i = 0; i < plain_.parameter_count; ++i) {
    const int index = plain_.parameters[i].buffer;
    if (index < 0) continue;
    const auto bound = arguments_.find(static_cast<unsigned>(index));
    if (bound == arguments_.end())
      fail("argument " + std::to_string(index) + " ('" + plain_.parameter_names[i] + "') is not set");
    Argument& argument = bound->second;
    buffers[static_cast<std::size_t>(index)] =
        argument.buffer ? static_cast<void*>(argument.buffer->data) : &argument.integer;
  }
  return buffers;
}

std::vector<BoundMemory> KernelFunction::bound_memory() const {
  std::vector<BoundMemory> memory;
  for (const auto& [index, argument] : arguments_) {
    const char* name = nullptr;
    const bool is_const = parameter(index, name).is_const;
    const auto* const integer = reinterpret_cast<const std::byte*>(&argument.integer);
    const std::byte* const data = argument.buffer ? argument.buffer->block : integer;
    const std::size_t bytes = argument.buffer ? argument.buffer->block_bytes : sizeof(argument.integer);
    memory.push_back({data, bytes, static_cast<int>(index), name, is_const, argument.buffer.has_value()});
  }
  return memory;
}

const Kernel& KernelFunction::kernel_to_run(bool check_memory) const {
  if (!check_memory) return plain_;
  if (!checked_) fail("this build has no instrumented kernels to check memory with");
  return *checked_;
}

void KernelFunction::dispatch(Size3 grid, Size3 group) {
  const std::lock_guard lock(gpu());
  require_encoding("dispatch");
  encoding = nullptr;
  check_size(grid, group);
  const std::vector<void*> buffers = bind();
  const Options chosen = options();
  Dispatch dispatch;
  dispatch.library = library_.name();
  dispatch.kernel = &kernel_to_run(chosen.check_memory);
  dispatch.buffers = buffers.data();
  dispatch.threadgroups = {grid.x / group.x, grid.y / group.y, grid.z / group.z};
  dispatch.threads = group;
  dispatch.options = chosen;

  Counters done = {.dispatches = 1};
  MemoryChecker* const checker = chosen.check_memory ? &memory_checker() : nullptr;
  dispatch.checker = checker;
  if (checker)
    checker->begin_dispatch(bound_memory(), checked_arena(), reinterpret_cast<const void*>(dispatch.kernel->run));
  const Work work = run_dispatch(dispatch);
  done.threadgroups = work.threadgroups;
  done.threads = work.threads;
  done.barriers = work.barriers;
  done.simd_operations = work.simd_operations;
  done.critical_barriers = work.critical_barriers;
  done.critical_simd_operations = work.critical_simd_operations;
  if (checker) {
    done.bytes_read = checker->bytes_read();
    done.bytes_written = checker->bytes_written();
    done.multiply_adds = work.multiply_adds;
    done.critical_multiply_adds = work.critical_multiply_adds;
  }
  count(done);
}

void run_command_block(const std::function<void()>& encode) {
  const std::lock_guard lock(gpu());
  struct Block {
    Block() { ++open_command_blocks; }
    ~Block() {
      --open_command_blocks;
      encoding = nullptr;
    }
  } block;
  encode();
  if (encoding)
    throw std::runtime_error("emulated GPU: kernel '" + std::string(encoding->name()) +
                             "' was encoded but not dispatched");
}

}  // namespace metalsvd::emulator
