#include "memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <shared_mutex>

namespace metalsvd::emulator {
namespace {

constexpr std::byte guard_value{0xA5};
constexpr int fresh_value = 0xFF;
// Larger blocks are left as the system gives them, page by page when they are touched: a test of large strides needs
// their addresses, not the memory.
constexpr std::size_t most_filled_bytes = std::size_t{1} << 30;

struct Blocks {
  std::shared_mutex mutex;
  std::map<std::uintptr_t, std::size_t> bytes_at;  // address of the data -> size
  std::size_t live = 0;
  std::size_t peak = 0;
  std::size_t limit = 0;
  std::size_t damaged = 0;
};

// Never destroyed: tensors held by static objects are released after this file's own statics would be gone.
Blocks& blocks() {
  static auto* instance = new Blocks;
  return *instance;
}

bool is_intact(const std::byte* guard) {
  return std::all_of(guard, guard + guard_bytes, [](std::byte value) { return value == guard_value; });
}

}  // namespace

std::byte* allocate_block(std::size_t bytes) {
  const std::size_t wanted = bytes + 2 * guard_bytes;
  if (wanted < bytes || wanted > SIZE_MAX - block_alignment) throw std::bad_alloc();
  const std::size_t rounded = (wanted + block_alignment - 1) / block_alignment * block_alignment;

  Blocks& all = blocks();
  const std::unique_lock lock(all.mutex);
  if (all.limit != 0 && (bytes > all.limit || all.live > all.limit - bytes)) throw std::bad_alloc();
  auto* raw = static_cast<std::byte*>(std::aligned_alloc(block_alignment, rounded));
  if (raw == nullptr) throw std::bad_alloc();
  std::byte* data = raw + guard_bytes;
  std::memset(raw, static_cast<int>(guard_value), guard_bytes);
  if (bytes <= most_filled_bytes) std::memset(data, fresh_value, bytes);
  std::memset(data + bytes, static_cast<int>(guard_value), guard_bytes);

  all.bytes_at.emplace(reinterpret_cast<std::uintptr_t>(data), bytes);
  all.live += bytes;
  all.peak = std::max(all.peak, all.live);
  return data;
}

void release_block(std::byte* data) noexcept {
  if (data == nullptr) return;
  Blocks& all = blocks();
  const std::unique_lock lock(all.mutex);
  const auto block = all.bytes_at.find(reinterpret_cast<std::uintptr_t>(data));
  if (block == all.bytes_at.end()) return;
  const std::size_t bytes = block->second;
  if (!is_intact(data - guard_bytes) || !is_intact(data + bytes)) {
    ++all.damaged;
    std::fprintf(stderr, "metalsvd emulator: a block of %zu bytes at %p was written out of bounds\n", bytes,
                 static_cast<void*>(data));
  }
  all.live -= bytes;
  all.bytes_at.erase(block);
  std::free(data - guard_bytes);
}

std::optional<Allocation> find_allocation(const void* address) {
  Blocks& all = blocks();
  const std::shared_lock lock(all.mutex);
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  auto next = all.bytes_at.upper_bound(wanted);
  if (next == all.bytes_at.begin()) return std::nullopt;
  const auto [data, bytes] = *std::prev(next);
  if (wanted - data >= bytes) return std::nullopt;
  return Allocation{reinterpret_cast<std::byte*>(data), bytes};
}

std::size_t live_bytes() {
  Blocks& all = blocks();
  const std::shared_lock lock(all.mutex);
  return all.live;
}

std::size_t peak_bytes() {
  Blocks& all = blocks();
  const std::shared_lock lock(all.mutex);
  return all.peak;
}

void reset_peak_bytes() {
  Blocks& all = blocks();
  const std::unique_lock lock(all.mutex);
  all.peak = all.live;
}

std::size_t damaged_blocks() {
  Blocks& all = blocks();
  const std::shared_lock lock(all.mutex);
  return all.damaged;
}

void set_memory_limit(std::size_t bytes) {
  Blocks& all = blocks();
  const std::unique_lock lock(all.mutex);
  all.limit = bytes;
}

std::size_t physical_memory_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
}

}  // namespace metalsvd::emulator
