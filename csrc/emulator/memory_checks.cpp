#include "memory_checks.h"

#include <link.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

#include "failure_text.h"

namespace metalsvd::emulator {

Shadow::Shadow(std::size_t bytes) : mapped_bytes_((bytes / granule_bytes + 2) * sizeof(Granule)) {
  void* const mapping =
      mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  granules_ = static_cast<Granule*>(mapping);  // zero is no access
}

Shadow::~Shadow() { munmap(granules_, mapped_bytes_); }

MemoryChecker::MemoryChecker()
    : is_tile_(Threadgroup::arena_bytes), arena_shadow_(std::make_unique<Shadow>(Threadgroup::arena_bytes)) {}

namespace {

struct CodeRange {
  std::uintptr_t inside = 0;
  std::uintptr_t begin = 0, end = 0;
};

// The loaded library that holds an address: from its first to its last byte.
CodeRange library_of(const void* address) {
  CodeRange range{reinterpret_cast<std::uintptr_t>(address)};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& found = *static_cast<CodeRange*>(data);
        std::uintptr_t begin = UINTPTR_MAX, end = 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD) continue;
          begin = std::min(begin, info->dlpi_addr + segment.p_vaddr);
          end = std::max(end, info->dlpi_addr + segment.p_vaddr + segment.p_memsz);
        }
        if (found.inside < begin || found.inside >= end) return 0;
        found.begin = begin;
        found.end = end;
        return 1;
      },
      &range);
  return range;
}

}  // namespace

void MemoryChecker::begin_dispatch(std::span<const BoundMemory> memory, const std::byte* arena, const void* code) {
  const CodeRange library = library_of(code);
  code_begin_ = reinterpret_cast<const std::byte*>(library.begin);
  code_end_ = reinterpret_cast<const std::byte*>(library.end);
  if ((library.end - library.begin) >> Access::code_bits)
    throw std::runtime_error("emulated GPU: this library is too large to check memory in");
  memory_.assign(memory.begin(), memory.end());
  arena_ = arena;
  last_block_ = 0;
  bytes_read_ = bytes_written_ = 0;
  atomic_writes_.clear();
  threadgroup_starts_.clear();
  start_anew_when_clock_is_late();
  ++clock_;
  orders_[0].forgotten = orders_[1].forgotten = clock_;

  const std::vector<Block> previous = std::exchange(blocks_, {});
  for (const BoundMemory& bound : memory_) add_block(bound);
  for (Block& block : blocks_) {
    if (block.is_const) continue;
    // The memory of the last dispatch is often that of this one: its accesses are forgotten by their clock.
    const auto same = std::find_if(previous.begin(), previous.end(),
                                   [&](const Block& b) { return b.begin == block.begin && b.end == block.end; });
    const bool usable = same != previous.end() && same->shadow;
    block.shadow = usable ? same->shadow : std::make_shared<Shadow>(static_cast<std::size_t>(block.end - block.begin));
  }
}

// The clock must not outgrow an Access: from half of its range on, a dispatch begins with empty shadows. One that
// counts the other half, 2^27 barriers, would take minutes for one threadgroup.
void MemoryChecker::start_anew_when_clock_is_late() {
  if (clock_ >> (Access::clock_bits - 1) == 0) return;
  clock_ = 1;
  blocks_.clear();
  arena_shadow_ = std::make_unique<Shadow>(Threadgroup::arena_bytes);
}

// Arguments that point into one block share it; the block is writable if one of them is.
void MemoryChecker::add_block(const BoundMemory& bound) {
  Block added{bound.data, bound.data + bound.bytes, bound.is_const, bound.is_counted, nullptr};
  for (auto block = blocks_.begin(); block != blocks_.end();) {
    if (block->begin < added.end && added.begin < block->end) {
      added = {std::min(added.begin, block->begin), std::max(added.end, block->end), added.is_const && block->is_const,
               true, nullptr};
      block = blocks_.erase(block);
    } else {
      ++block;
    }
  }
  blocks_.push_back(added);
}

void MemoryChecker::begin_threadgroup(Size3 position) {
  ++clock_;
  threadgroup_start_ = clock_;
  threadgroup_starts_.emplace_back(clock_, position);
  Order& tiles = orders_[static_cast<int>(Space::threadgroup)];
  tiles.forgotten = clock_;
  for (Order& order : orders_) {
    order.threadgroup = clock_;
    std::fill(std::begin(order.simdgroup), std::end(order.simdgroup), clock_);
  }
  tiles_.clear();
  std::fill(is_tile_.begin(), is_tile_.end(), std::uint8_t{0});
}

void MemoryChecker::add_tile(const Tile& tile) {
  tiles_.push_back(tile);
  std::fill_n(is_tile_.begin() + static_cast<std::ptrdiff_t>(tile.offset), tile.bytes, std::uint8_t{1});
}

void MemoryChecker::threadgroup_barrier(unsigned memory) {
  ++clock_;
  if (memory & memory_of_device) orders_[static_cast<int>(Space::device)].threadgroup = clock_;
  if (memory & memory_of_threadgroup) orders_[static_cast<int>(Space::threadgroup)].threadgroup = clock_;
}

void MemoryChecker::simdgroup_barrier(unsigned simdgroup, unsigned memory) {
  ++clock_;
  if (memory & memory_of_device) orders_[static_cast<int>(Space::device)].simdgroup[simdgroup] = clock_;
  if (memory & memory_of_threadgroup) orders_[static_cast<int>(Space::threadgroup)].simdgroup[simdgroup] = clock_;
}

// Bounds

const MemoryChecker::Block* MemoryChecker::find_block(const std::byte* address, std::size_t bytes) {
  const auto holds = [&](const Block& block) { return address >= block.begin && address + bytes <= block.end; };
  if (last_block_ < blocks_.size() && holds(blocks_[last_block_])) return &blocks_[last_block_];
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (holds(blocks_[i])) return &blocks_[last_block_ = i];
  }
  return nullptr;
}

void MemoryChecker::check(const void* accessed, std::size_t bytes, Kind kind, const void* return_address) {
  const auto* const address = static_cast<const std::byte*>(accessed);
  const Threadgroup& running = *Threadgroup::running();
  if (static_cast<std::size_t>(address - running.thread_stack()) < StackPool::stack_bytes)
    return;  // the thread's own variables
  const Access now(clock_, running.thread_index(), kind == Kind::atomic_read || kind == Kind::atomic_write,
                   static_cast<std::size_t>(static_cast<const std::byte*>(return_address) - code_begin_));
  const bool writes = kind == Kind::write || kind == Kind::atomic_write;
  const Accessed access{address, bytes, kind, writes, now};

  const auto arena_offset = static_cast<std::size_t>(address - arena_);
  if (arena_offset < Threadgroup::arena_bytes) {
    if (!is_tile_[arena_offset] || arena_offset + bytes > is_tile_.size() || !is_tile_[arena_offset + bytes - 1])
      out_of_bounds(access);
    check_races(*arena_shadow_, arena_offset, Space::threadgroup, access);
  } else if (const Block* const block = find_block(address, bytes)) {
    if (writes && block->is_const) report({"write to memory that the kernel only reads", access, {}, false});
    if (block->is_counted) (writes ? bytes_written_ : bytes_read_) += bytes;
    if (block->shadow)
      check_races(*block->shadow, static_cast<std::size_t>(address - block->begin), Space::device, access);
  } else if (address >= code_begin_ && address + bytes <= code_end_) {  // tables of constants
    if (writes) report({"write to constant memory", access, {}, false});
  } else {
    out_of_bounds(access);
  }
}

void MemoryChecker::out_of_bounds(const Accessed& access) { report({"out of bounds", access, {}, false}); }

void MemoryChecker::report(const Violation& violation) {
  violation_ = violation;
  Threadgroup::running()->abandon_for_memory();
}

// Races

void MemoryChecker::check_races(Shadow& shadow, std::size_t offset, Space space, const Accessed& access) {
  const std::size_t first = offset & ~(Shadow::granule_bytes - 1);
  for (std::size_t at = first; at < offset + access.bytes; at += Shadow::granule_bytes) {
    Granule& granule = shadow.at(at);
    const std::byte* const key = access.address - offset + at;
    check_granule(granule, key, space, access);
  }
}

void MemoryChecker::check_granule(Granule& granule, const std::byte* key, Space space, const Accessed& access) {
  const Access now = access.now;
  const bool atomic = now.is_atomic();
  AccessSet* atomics = nullptr;
  if (access.kind == Kind::atomic_write) {
    atomics = &atomic_writes_[key];
  } else if (!atomic_writes_.empty()) {
    const auto found = atomic_writes_.find(key);
    if (found != atomic_writes_.end()) atomics = &found->second;
  }

  if (!is_ordered(granule.write, space, now)) report({"race", access, granule.write, true});
  if (atomics && !atomic) {
    const Access race = unordered(*atomics, space, now, true);
    if (!race.none()) report({"race", access, race, true});
  }
  if (access.writes) {
    const Access race = unordered(granule.reads, space, now, !atomic);
    if (!race.none()) report({"race", access, race, false});
  }

  if (access.kind == Kind::atomic_write) {
    remember(*atomics, space, now);
  } else if (access.writes) {
    // Whatever is ordered before a later access by way of this write needs no memory of its own.
    granule = {now, {}};
    if (atomics) *atomics = {};
  } else {
    remember(granule.reads, space, now);
  }
}

bool MemoryChecker::is_ordered(Access past, Space space, Access now) const {
  const Order& order = orders_[static_cast<int>(space)];
  if (past.clock() < order.forgotten) return true;
  if (past.clock() < threadgroup_start_) return false;  // by another threadgroup, which no barrier reaches
  if (past.clock() < order.threadgroup || past.thread() == now.thread()) return true;
  return past.simdgroup() == now.simdgroup() && past.clock() < order.simdgroup[now.simdgroup()];
}

// An access of the set that races with now, or none.
Access MemoryChecker::unordered(const AccessSet& set, Space space, Access now, bool also_atomic) const {
  for (const Access past : {set.latest, set.other, set.foreign}) {
    if (!past.none() && (also_atomic || !past.is_atomic()) && !is_ordered(past, space, now)) return past;
  }
  return {};
}

// Add now, keeping what shows every race with a later write of any thread (see AccessSet).
void MemoryChecker::remember(AccessSet& set, Space space, Access now) const {
  const Order& order = orders_[static_cast<int>(space)];
  const Access latest = set.latest, other = set.other;
  if (latest.clock() < order.threadgroup || latest.none()) {
    if (latest.clock() >= order.forgotten && latest.clock() < threadgroup_start_) set.foreign = latest;
    set = {now, {}, set.foreign};
    return;
  }
  const std::uint64_t simdgroup_start = order.simdgroup[now.simdgroup()];
  const bool covered =
      latest.thread() == now.thread() || (latest.simdgroup() == now.simdgroup() && latest.clock() < simdgroup_start);
  set.latest = now;
  if (covered) {  // now takes the place of latest, and of other too where a simdgroup_barrier lies between
    if (!other.none() && other.simdgroup() == now.simdgroup() && other.clock() < simdgroup_start) set.other = {};
  } else if (latest.simdgroup() != now.simdgroup() || other.none() || other.simdgroup() == now.simdgroup()) {
    set.other = latest;
  }
}

// Words

namespace {

std::string bytes_text(std::size_t bytes) { return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes"); }

const char* verb(MemoryChecker::Kind kind) {
  switch (kind) {
    case MemoryChecker::Kind::read: return "reads";
    case MemoryChecker::Kind::write: return "writes";
    case MemoryChecker::Kind::atomic_read: return "reads atomically";
    case MemoryChecker::Kind::atomic_write: return "writes atomically";
  }
  return "";
}

// Where an address lies as seen from [begin, begin + bytes), and how far outside.
struct Place {
  std::size_t distance;
  std::string text;
};

Place place(const std::byte* address, const std::byte* begin, std::size_t bytes, const std::string& name) {
  const std::string whole = "the " + bytes_text(bytes) + " of " + name;
  if (address < begin) {
    const auto distance = static_cast<std::size_t>(begin - address);
    return {distance, bytes_text(distance) + " before " + whole};
  }
  const auto offset = static_cast<std::size_t>(address - begin);
  if (offset < bytes) return {0, "byte " + std::to_string(offset) + " of " + whole};
  const std::string far = offset == bytes ? "just" : bytes_text(offset - bytes);
  return {offset - bytes + 1, far + " past the end of " + whole};
}

}  // namespace

// Seen from the tile or argument next to it.
std::string MemoryChecker::describe_place(const std::byte* address) const {
  Place nearest{SIZE_MAX, "an unknown place"};
  const auto consider = [&](const std::byte* begin, std::size_t bytes, const std::string& name) {
    Place seen = place(address, begin, bytes, name);
    if (seen.distance < nearest.distance) nearest = std::move(seen);
  };
  if (static_cast<std::size_t>(address - arena_) < Threadgroup::arena_bytes) {
    for (const Tile& tile : tiles_) consider(arena_ + tile.offset, tile.bytes, std::string("tile '") + tile.name + "'");
  } else {
    for (const BoundMemory& bound : memory_) {
      consider(bound.data, bound.bytes, "argument " + std::to_string(bound.index) + " ('" + bound.name + "')");
    }
  }
  return nearest.text;
}

std::string MemoryChecker::describe_violation() const {
  const Accessed& access = violation_.access;
  std::string text = std::string(violation_.what) + ":\n  thread " + std::to_string(access.now.thread()) + ' ' +
                     verb(access.kind) + ' ' + bytes_text(access.bytes) + ", " + describe_place(access.address) +
                     ", at " + source_line(code_begin_ + access.now.code_offset());
  if (!violation_.previous.none()) text += describe_previous();
  return text;
}

std::string MemoryChecker::describe_previous() const {
  const Access previous = violation_.previous;
  std::string text = "\n  thread " + std::to_string(previous.thread());
  if (previous.clock() < threadgroup_start_) {
    const auto after = std::upper_bound(threadgroup_starts_.begin(), threadgroup_starts_.end(), previous.clock(),
                                        [](std::uint64_t clock, const auto& start) { return clock < start.first; });
    text += " of threadgroup " + to_string(std::prev(after)->second);
  }
  text += violation_.previous_writes ? " wrote it" : " read it";
  if (previous.is_atomic()) text += " atomically";
  return text + " at " + source_line(code_begin_ + previous.code_offset()) + ", and no barrier orders the two";
}

}  // namespace metalsvd::emulator
