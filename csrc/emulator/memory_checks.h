// The memory check: every access of an instrumented kernel is compared with the bounds of what the dispatch may touch,
// and with the accesses of other threads that no barrier orders before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernel_interface.h"
#include "threadgroup.h"

namespace metalsvd::emulator {

// Memory that an argument of the kernel gives access to.
struct BoundMemory {
  const std::byte* data;
  std::size_t bytes;
  int index;         // of [[buffer(n)]]
  const char* name;  // of the parameter
  bool is_const;     // the kernel has promised to read only
  bool is_counted;   // among the bytes of device memory: not an integer, which travels with the command
};

// One access, packed: when, by whom, atomically or not, and by which instruction. Zero: none.
class Access {
 public:
  static constexpr int clock_bits = 28, thread_bits = 10, code_bits = 25;

  Access() = default;
  Access(std::uint64_t clock, unsigned thread, bool atomic, std::size_t code_offset)
      : packed_(clock << 36 | std::uint64_t{thread} << 26 | std::uint64_t{atomic} << 25 | code_offset) {}
  std::uint64_t clock() const { return packed_ >> 36; }
  unsigned thread() const { return packed_ >> 26 & ((1u << thread_bits) - 1); }
  unsigned simdgroup() const { return thread() / simd_width; }
  bool is_atomic() const { return packed_ >> 25 & 1; }
  std::size_t code_offset() const { return packed_ & ((std::size_t{1} << code_bits) - 1); }
  bool none() const { return packed_ == 0; }

 private:
  std::uint64_t packed_ = 0;
};

// As few accesses as show every race with a later one: two of the running threadgroup, of different SIMD-groups if
// there are such, else of different threads that no simdgroup_barrier separates; and one of the threadgroups that ran
// before.
struct AccessSet {
  Access latest, other, foreign;
};

// What is remembered of two bytes of memory.
struct Granule {
  Access write;
  AccessSet reads;
};

// Granules of a stretch of memory; pages that nobody touches cost nothing.
class Shadow {
 public:
  static constexpr std::size_t granule_bytes = 2;

  explicit Shadow(std::size_t bytes);
  ~Shadow();
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;
  Granule& at(std::size_t offset) { return granules_[offset / granule_bytes]; }

 private:
  std::size_t mapped_bytes_;
  Granule* granules_;
};

class MemoryChecker {
 public:
  MemoryChecker();

  // Before a dispatch: what it may touch. code is any function of the instrumented library. Shadows stay until the next
  // one.
  void begin_dispatch(std::span<const BoundMemory> memory, const std::byte* arena, const void* code);
  void begin_threadgroup(Size3 position);
  void add_tile(const Tile& tile);
  void threadgroup_barrier(unsigned memory);
  void simdgroup_barrier(unsigned simdgroup, unsigned memory);

  enum class Kind { read, write, atomic_read, atomic_write };
  // Of the running thread. Abandons the threadgroup if the access is wrong.
  void check(const void* address, std::size_t bytes, Kind kind, const void* return_address);

  std::string describe_violation() const;
  std::uint64_t bytes_read() const { return bytes_read_; }
  std::uint64_t bytes_written() const { return bytes_written_; }

 private:
  enum class Space { device, threadgroup };

  // A block of memory that one or more arguments point into.
  struct Block {
    const std::byte* begin;
    const std::byte* end;
    bool is_const;
    bool is_counted;
    std::shared_ptr<Shadow> shadow;  // of memory that the kernel may write
  };

  // The clock counts barriers. An access is ordered before the running thread's if it is older than these.
  struct Order {
    std::uint64_t threadgroup = 0;                                           // the last threadgroup_barrier
    std::uint64_t simdgroup[max_threads_per_threadgroup / simd_width] = {};  // the last simdgroup_barrier of each
    std::uint64_t forgotten = 0;  // older accesses mean nothing: another dispatch, or an earlier threadgroup's tiles
  };

  struct Accessed {
    const std::byte* address = nullptr;
    std::size_t bytes = 0;
    Kind kind = Kind::read;
    bool writes = false;
    Access now;
  };

  struct Violation {
    const char* what = "";  // "race", ...
    Accessed access;
    Access previous;  // of a race
    bool previous_writes = false;
  };

  void add_block(const BoundMemory& bound);
  const Block* find_block(const std::byte* address, std::size_t bytes);
  void check_races(Shadow& shadow, std::size_t offset, Space space, const Accessed& access);
  void check_granule(Granule& granule, const std::byte* key, Space space, const Accessed& access);
  Access unordered(const AccessSet& set, Space space, Access now, bool also_atomic) const;
  bool is_ordered(Access past, Space space, Access now) const;
  void remember(AccessSet& set, Space space, Access now) const;
  void start_anew_when_clock_is_late();
  [[noreturn]] void out_of_bounds(const Accessed& access);
  [[noreturn]] void report(const Violation& violation);
  std::string describe_place(const std::byte* address) const;
  std::string describe_previous() const;

  std::vector<BoundMemory> memory_;
  std::vector<Block> blocks_;
  std::size_t last_block_ = 0;
  std::vector<Tile> tiles_;
  std::vector<std::uint8_t> is_tile_;  // by byte of the arena
  std::unique_ptr<Shadow> arena_shadow_;
  const std::byte* arena_ = nullptr;
  std::unordered_map<const std::byte*, AccessSet> atomic_writes_;  // by granule: few memory is ever accessed atomically

  std::uint64_t clock_ = 1;
  std::uint64_t threadgroup_start_ = 1;
  Order orders_[2];  // by Space
  std::vector<std::pair<std::uint64_t, Size3>> threadgroup_starts_;

  const std::byte* code_begin_ = nullptr;
  const std::byte* code_end_ = nullptr;
  std::uint64_t bytes_read_ = 0, bytes_written_ = 0;
  Violation violation_;
};

}  // namespace metalsvd::emulator
