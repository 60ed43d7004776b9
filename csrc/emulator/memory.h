// The memory of the emulated Apple GPU: host memory, each block between two guard zones. Knows nothing of torch.
#pragma once

#include <cstddef>
#include <optional>

namespace metalsvd::emulator {

// What a kernel that leaves its buffer by less than this hits is seen when the block is released.
inline constexpr std::size_t guard_bytes = 256;
// Of the first byte of every block; the widest load of the CPU kernels that share this memory.
inline constexpr std::size_t block_alignment = 64;

struct Allocation {
  std::byte* data;
  std::size_t bytes;
};

// A block of NaN bytes (0xFF), so that nobody comes to rely on zeros; untouched above 1 GiB. Throws std::bad_alloc,
// also beyond the limit.
std::byte* allocate_block(std::size_t bytes);
void release_block(std::byte* data) noexcept;

// The live block that contains the address, if any. The guard zones belong to no block.
std::optional<Allocation> find_allocation(const void* address);

std::size_t live_bytes();
std::size_t peak_bytes();
void reset_peak_bytes();

// Blocks whose guard zones were found overwritten when they were released: somebody wrote out of bounds.
std::size_t damaged_blocks();

// Bytes that may be live at once; 0 lifts the limit.
void set_memory_limit(std::size_t bytes);
std::size_t physical_memory_bytes();

}  // namespace metalsvd::emulator
