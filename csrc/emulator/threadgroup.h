// One threadgroup: its threads are fibers on one OS thread. A thread runs until it waits for others, at a barrier or in
// a SIMD operation, or returns; the next one is chosen by Options::order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "controls.h"
#include "fiber.h"
#include "kernel_interface.h"

namespace metalsvd::emulator {

class MemoryChecker;

// What a kernel did wrong. The dispatch is abandoned, the process and the emulator go on.
struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Dispatch {
  const char* library = nullptr;
  const Kernel* kernel = nullptr;
  void* const* buffers = nullptr;  // by [[buffer(n)]]
  Size3 threadgroups;              // in the grid
  Size3 threads;                   // in a threadgroup
  Options options;
  MemoryChecker* checker = nullptr;  // null: the kernel is not instrumented
};

// What the counters count.
struct Work {
  std::uint64_t threadgroups = 0, threads = 0, barriers = 0, simd_operations = 0, multiply_adds = 0;
  // Of the threadgroup that did the most; the last two of one SIMD-group and of one thread, on average.
  std::uint64_t critical_barriers = 0, critical_simd_operations = 0, critical_multiply_adds = 0;
};

struct Tile {
  const char* name = nullptr;
  std::size_t offset = 0, bytes = 0;  // in the arena
  Site site;                          // of its declaration
};

class Threadgroup {
 public:
  static constexpr unsigned max_tiles = 64;
  static constexpr std::size_t red_zone = 256;  // unused bytes between tiles, where an index out of bounds shows
  static constexpr std::size_t arena_bytes = max_threadgroup_memory + (max_tiles + 1) * red_zone;

  Threadgroup();

  // Run all threads of the threadgroup at this position of the grid to their end. Throws KernelError.
  void run(const Dispatch& dispatch, Size3 position);

  Work work() const { return work_; }
  void reset_work() { work_ = {}; }
  const std::byte* arena() const { return arena_->bytes; }

  // The threadgroup that the calling OS thread is running, or null.
  static Threadgroup* running();

  // For the running thread.
  void barrier(unsigned memory, Site site);
  void simd_operation(const SimdOperation& operation, void* value, std::uint32_t argument, Site site);
  void simdgroup_barrier(unsigned memory, Site site);
  void* tile(unsigned index, const char* name, std::size_t bytes, std::size_t alignment, Site site);
  void count_multiply_add() { ++work_.multiply_adds; }
  unsigned thread_index() const { return current_->position.index_in_threadgroup; }
  const std::byte* thread_stack() const { return current_->stack; }
  MemoryChecker& checker() const { return *dispatch_->checker; }

  // Give up this threadgroup for a reason that the memory checker or a signal handler found. Does not return.
  [[noreturn]] void abandon_for_memory();
  [[noreturn]] void abandon_for_signal(int signal, const void* address, const void* instruction);

 private:
  enum class State : std::uint8_t { ready, at_barrier, in_simd_operation, returned };
  enum class Failure { none, divergence, tiles, lane_argument, memory, signal };

  struct Thread {
    ThreadPosition position;
    Fiber* fiber = nullptr;  // null before its first turn and after its last
    std::byte* stack = nullptr;
    State state = State::ready;
    Site site;                                 // where it waits
    const SimdOperation* operation = nullptr;  // that it waits in
  };

  struct SimdGroup {
    std::array<SimdSlot, simd_width> slots;
    std::uint32_t ready = 0;  // one bit a lane
    unsigned arrived = 0;     // lanes waiting in the operation
  };

  struct alignas(64) Arena {
    std::byte bytes[arena_bytes];
  };

  void prepare(const Dispatch& dispatch, Size3 position);
  void place_threads();
  void count_critical(const Work& before);
  Thread* take_next();
  unsigned choose(std::uint32_t candidates);
  void start(Thread& thread);
  void wait();
  static void run_threads(void* self);
  void complete(SimdGroup& group, unsigned number);
  [[noreturn]] void abandon(Failure failure);
  std::string describe_failure() const;
  std::string describe_waiting() const;
  std::string describe_tiles() const;
  std::string describe_signal() const;

  const Dispatch* dispatch_ = nullptr;
  Size3 position_;
  unsigned thread_count_ = 0;
  std::vector<Thread> threads_;
  std::vector<SimdGroup> simdgroups_;
  std::uint32_t ready_simdgroups_ = 0;  // one bit each: has a ready lane
  Thread* current_ = nullptr;
  std::uint64_t random_ = 0;

  unsigned at_barrier_ = 0;
  Site barrier_site_;  // of the first thread to arrive
  unsigned barrier_memory_ = 0;
  bool barriers_differ_ = false;
  unsigned returned_ = 0;

  std::unique_ptr<Arena> arena_;
  std::array<Tile, max_tiles> tiles_;
  std::size_t tile_bytes_ = 0;  // of all tiles, as Metal counts them
  std::size_t arena_used_ = 0;

  StackPool stacks_;
  std::unique_ptr<Fiber[]> fibers_;
  std::vector<unsigned> idle_fibers_;
  Fiber main_;

  Failure failure_ = Failure::none;
  int signal_ = 0;
  const void* signal_address_ = nullptr;
  const void* signal_instruction_ = nullptr;
  Work work_;
};

}  // namespace metalsvd::emulator
