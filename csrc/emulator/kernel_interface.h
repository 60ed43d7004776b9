// What a translated kernel and the emulator know of each other: the kernel finds its threads' positions, its
// threadgroup memory, barriers and SIMD operations here; the emulator finds the kernel through its Registration.
#pragma once

#include <cstddef>
#include <cstdint>

namespace metalsvd::emulator {

inline constexpr unsigned simd_width = 32;
inline constexpr unsigned max_threads_per_threadgroup = 1024;     // of every Apple GPU since the A11
inline constexpr std::size_t max_threadgroup_memory = 32 * 1024;  // likewise
inline constexpr unsigned max_buffers = 31;                       // [[buffer(0)]] to [[buffer(30)]]
inline constexpr unsigned memory_of_device = 1,
                          memory_of_threadgroup = 2;  // what a barrier orders, as in metal::mem_flags

// A line of kernel text.
struct Site {
  const char* file = nullptr;
  unsigned line = 0;
};

struct Size3 {
  std::uint32_t x = 1, y = 1, z = 1;
  constexpr std::uint64_t product() const { return std::uint64_t{x} * y * z; }
};

// What a kernel's position parameters are filled from.
struct ThreadPosition {
  Size3 in_grid, in_threadgroup, threadgroup_in_grid;
  Size3 threads_per_threadgroup, threadgroups_per_grid, threads_per_grid;
  std::uint32_t index_in_threadgroup = 0, lane = 0, simdgroup = 0, simdgroups = 0;
};

// One lane's part in a SIMD operation: its value, replaced by its result, and a lane number where the operation takes
// one.
struct SimdSlot {
  alignas(16) unsigned char value[16];
  std::uint32_t argument;
};

// What Metal asks of the lane number that an operation takes.
enum class LaneArgument { none, any, uniform };  // uniform: the same in every lane

struct SimdOperation {
  const char* name;
  void (*combine)(
      SimdSlot* slots);  // called once, when all 32 lanes have brought their values; null: nothing to compute
  LaneArgument argument;
  unsigned bytes;  // of a value: 4, 8 or 16, padded
};

// Called by the running thread of a kernel.
void threadgroup_barrier(unsigned memory, Site site);
void simdgroup_barrier(unsigned memory, Site site);
void simd_operation(const SimdOperation& operation, void* value, std::uint32_t argument, Site site);
void count_multiply_add();  // by instrumented kernels only
void* threadgroup_tile(unsigned index, const char* name, std::size_t bytes, std::size_t alignment, Site site);

struct Parameter {
  int buffer;             // [[buffer(n)]], or -1: a position
  bool is_const;          // the kernel only reads it
  std::size_t alignment;  // that its address must have
  std::size_t bytes;      // that must be there: of a reference's type; 0 for a pointer
};

struct Kernel {
  const char* name;
  void (*run)(const ThreadPosition& position, void* const* buffers);
  const Parameter* parameters;
  const char* const* parameter_names;
  std::size_t parameter_count;
  unsigned max_threads;
};

struct TranslatedLibrary {
  const char* name;
  const char* source;  // the text it was translated from
  const Kernel* const* kernels;
  std::size_t kernel_count;
  bool is_checked;  // its memory accesses are instrumented
};

// A static object of every translated file.
struct Registration {
  explicit Registration(const TranslatedLibrary& library);
};

}  // namespace metalsvd::emulator
