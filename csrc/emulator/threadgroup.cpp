#include "threadgroup.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "memory_checks.h"

namespace metalsvd::emulator {

namespace {

thread_local Threadgroup* running_threadgroup = nullptr;

bool same(const Site& a, const Site& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::size_t round_up(std::size_t value, std::size_t step) { return (value + step - 1) / step * step; }

// Copies of a fixed size are single moves; anything else would cost more than the rest of the operation.
void copy_value(void* to, const void* from, unsigned bytes) {
  if (bytes == 4) {
    std::memcpy(to, from, 4);
  } else if (bytes == 8) {
    std::memcpy(to, from, 8);
  } else if (bytes == 16) {
    std::memcpy(to, from, 16);
  }
}

constexpr SimdOperation simdgroup_barrier_operation{"simdgroup_barrier", nullptr, LaneArgument::none, 0};

}  // namespace

Threadgroup* Threadgroup::running() { return running_threadgroup; }

Threadgroup::Threadgroup()
    : arena_(std::make_unique_for_overwrite<Arena>()),
      fibers_(std::make_unique<Fiber[]>(max_threads_per_threadgroup)) {}

void Threadgroup::run(const Dispatch& dispatch, Size3 position) {
  prepare(dispatch, position);
  const Work before = work_;
  if (dispatch.checker) dispatch.checker->begin_threadgroup(position);
  running_threadgroup = this;
  current_ = take_next();
  start(*current_);
  Fiber::switch_between(main_, *current_->fiber);
  running_threadgroup = nullptr;
  if (failure_ == Failure::none && returned_ < thread_count_) failure_ = Failure::divergence;
  if (failure_ != Failure::none) throw KernelError(describe_failure());
  ++work_.threadgroups;
  work_.threads += thread_count_;
  count_critical(before);
}

void Threadgroup::count_critical(const Work& before) {
  const auto raise = [](std::uint64_t& most, std::uint64_t done) { most = std::max(most, done); };
  raise(work_.critical_barriers, work_.barriers - before.barriers);
  raise(work_.critical_simd_operations, (work_.simd_operations - before.simd_operations) / simdgroups_.size());
  raise(work_.critical_multiply_adds, (work_.multiply_adds - before.multiply_adds) / thread_count_);
}

void Threadgroup::prepare(const Dispatch& dispatch, Size3 position) {
  dispatch_ = &dispatch;
  position_ = position;
  thread_count_ = static_cast<unsigned>(dispatch.threads.product());
  place_threads();
  simdgroups_.resize(thread_count_ / simd_width);
  for (SimdGroup& group : simdgroups_) {
    group.ready = ~0u;
    group.arrived = 0;
  }
  ready_simdgroups_ = ~0u >> (32 - simdgroups_.size());
  const std::uint64_t number =
      position.x + dispatch.threadgroups.x * (position.y + std::uint64_t{dispatch.threadgroups.y} * position.z);
  random_ = (dispatch.options.seed ^ number * 0x9E3779B97F4A7C15u) | 1;
  current_ = nullptr;
  at_barrier_ = returned_ = 0;
  tiles_.fill({});
  tile_bytes_ = 0;
  arena_used_ = red_zone;
  idle_fibers_.clear();
  for (unsigned i = thread_count_; i-- > 0;) idle_fibers_.push_back(i);
  failure_ = Failure::none;
}

void Threadgroup::place_threads() {
  const Size3 size = dispatch_->threads;
  threads_.resize(thread_count_);
  unsigned index = 0;
  for (std::uint32_t z = 0; z < size.z; ++z) {
    for (std::uint32_t y = 0; y < size.y; ++y) {
      for (std::uint32_t x = 0; x < size.x; ++x, ++index) {
        Thread& thread = threads_[index];
        thread.fiber = nullptr;
        thread.state = State::ready;
        ThreadPosition& place = thread.position;
        place.in_threadgroup = {x, y, z};
        place.in_grid = {position_.x * size.x + x, position_.y * size.y + y, position_.z * size.z + z};
        place.threadgroup_in_grid = position_;
        place.threads_per_threadgroup = size;
        place.threadgroups_per_grid = dispatch_->threadgroups;
        place.threads_per_grid = {dispatch_->threadgroups.x * size.x, dispatch_->threadgroups.y * size.y,
                                  dispatch_->threadgroups.z * size.z};
        place.index_in_threadgroup = index;
        place.lane = index % simd_width;
        place.simdgroup = index / simd_width;
        place.simdgroups = thread_count_ / simd_width;
      }
    }
  }
}

// One of the set bits, by Options::order.
unsigned Threadgroup::choose(std::uint32_t candidates) {
  switch (dispatch_->options.order) {
    case Order::forward: return static_cast<unsigned>(std::countr_zero(candidates));
    case Order::reverse: return 31u - static_cast<unsigned>(std::countl_zero(candidates));
    case Order::random: break;
  }
  random_ ^= random_ << 13, random_ ^= random_ >> 7, random_ ^= random_ << 17;
  for (auto skip = (random_ >> 32) % static_cast<unsigned>(std::popcount(candidates)); skip > 0; --skip)
    candidates &= candidates - 1;
  return static_cast<unsigned>(std::countr_zero(candidates));
}

// The thread whose turn it is, no longer counted as ready; null if all wait or have returned. Unless the order is
// random, a SIMD-group goes on until none of its lanes is ready.
Threadgroup::Thread* Threadgroup::take_next() {
  if (ready_simdgroups_ == 0) return nullptr;
  const unsigned last = current_ ? current_->position.simdgroup : 0;
  const bool stay = dispatch_->options.order != Order::random && current_ && (ready_simdgroups_ >> last & 1);
  const unsigned number = stay ? last : choose(ready_simdgroups_);
  SimdGroup& group = simdgroups_[number];
  const unsigned lane = choose(group.ready);
  group.ready &= ~(1u << lane);
  if (group.ready == 0) ready_simdgroups_ &= ~(1u << number);
  return &threads_[number * simd_width + lane];
}

void Threadgroup::start(Thread& thread) {
  const unsigned number = idle_fibers_.back();
  idle_fibers_.pop_back();
  thread.fiber = &fibers_[number];
  thread.stack = stacks_.stack(number);
  // Stack tops a cache line apart from their neighbours', or all would compete for the same few lines of the cache.
  const std::size_t offset = number % 64 * 64;
  thread.fiber->prepare(thread.stack, StackPool::stack_bytes - offset, run_threads, this);
}

// Called by the current thread, whose state says what it waits for: run others until its turn comes again.
void Threadgroup::wait() {
  Thread* const self = current_;
  Thread* const next = take_next();
  if (!next) abandon(Failure::divergence);
  if (next == self) return;
  if (!next->fiber) start(*next);
  current_ = next;
  Fiber::switch_between(*self->fiber, *next->fiber);
}

// The body of a fiber: one thread after the other, as long as the next in turn has not begun elsewhere.
void Threadgroup::run_threads(void* argument) {
  Threadgroup& self = *static_cast<Threadgroup*>(argument);
  for (;;) {
    self.dispatch_->kernel->run(self.current_->position, self.dispatch_->buffers);
    Thread& finished = *self.current_;
    finished.state = State::returned;
    ++self.returned_;
    Thread* const next = self.take_next();
    if (!next) Fiber::switch_between(*finished.fiber, self.main_);
    self.current_ = next;
    if (next->fiber) {
      self.idle_fibers_.push_back(static_cast<unsigned>(finished.fiber - self.fibers_.get()));
      Fiber::switch_between(*finished.fiber, *next->fiber);
    }
    next->fiber = finished.fiber;
    next->stack = finished.stack;
  }
}

void Threadgroup::barrier(unsigned memory, Site site) {
  Thread& self = *current_;
  self.state = State::at_barrier;
  self.site = site;
  if (at_barrier_++ == 0) {
    barrier_site_ = site;
    barrier_memory_ = memory;
    barriers_differ_ = false;
  } else {
    barrier_memory_ &= memory;
    barriers_differ_ |= !same(barrier_site_, site);
  }
  if (at_barrier_ == thread_count_) {
    if (barriers_differ_) abandon(Failure::divergence);
    at_barrier_ = 0;
    for (Thread& thread : threads_) thread.state = State::ready;
    for (SimdGroup& group : simdgroups_) group.ready = ~0u;
    ready_simdgroups_ = ~0u >> (32 - simdgroups_.size());
    ++work_.barriers;
    if (dispatch_->checker) dispatch_->checker->threadgroup_barrier(barrier_memory_);
  }
  wait();
}

void Threadgroup::simd_operation(const SimdOperation& operation, void* value, std::uint32_t argument, Site site) {
  Thread& self = *current_;
  const unsigned number = self.position.simdgroup;
  SimdGroup& group = simdgroups_[number];
  SimdSlot& slot = group.slots[self.position.lane];
  copy_value(slot.value, value, operation.bytes);
  slot.argument = argument;
  self.state = State::in_simd_operation;
  self.site = site;
  self.operation = &operation;
  if (++group.arrived == simd_width) complete(group, number);
  wait();
  copy_value(value, slot.value, operation.bytes);
}

void Threadgroup::complete(SimdGroup& group, unsigned number) {
  Thread* const lanes = &threads_[number * simd_width];
  const SimdOperation& operation = *lanes[0].operation;
  for (unsigned i = 0; i < simd_width; ++i) {
    if (lanes[i].operation != &operation || !same(lanes[i].site, lanes[0].site)) abandon(Failure::divergence);
    const std::uint32_t argument = group.slots[i].argument;
    if (operation.argument != LaneArgument::none && argument >= simd_width) abandon(Failure::lane_argument);
    if (operation.argument == LaneArgument::uniform && argument != group.slots[0].argument)
      abandon(Failure::lane_argument);
  }
  for (unsigned i = 0; i < simd_width; ++i) lanes[i].state = State::ready;
  if (operation.combine) operation.combine(group.slots.data());
  group.arrived = 0;
  group.ready = ~0u;
  ready_simdgroups_ |= 1u << number;
  ++work_.simd_operations;
  if (dispatch_->checker && &operation == &simdgroup_barrier_operation) {
    dispatch_->checker->simdgroup_barrier(number, group.slots[0].argument);
  }
}

void Threadgroup::simdgroup_barrier(unsigned memory, Site site) {
  simd_operation(simdgroup_barrier_operation, nullptr, memory, site);
}

void* Threadgroup::tile(unsigned index, const char* name, std::size_t bytes, std::size_t alignment, Site site) {
  if (index >= max_tiles) abandon(Failure::tiles);
  Tile& tile = tiles_[index];
  if (tile.bytes == 0) {
    tile = {name, round_up(arena_used_, alignment), bytes, site};
    tile_bytes_ = round_up(tile_bytes_, alignment) + bytes;
    if (tile_bytes_ > max_threadgroup_memory) abandon(Failure::tiles);
    arena_used_ = round_up(tile.offset + bytes, 16) + red_zone;
    std::memset(arena_->bytes + tile.offset, 0xFF, bytes);  // not a number, in every floating-point type
    if (dispatch_->checker) dispatch_->checker->add_tile(tile);
  }
  return arena_->bytes + tile.offset;
}

void Threadgroup::abandon(Failure failure) {
  failure_ = failure;
  Fiber dropped;
  Fiber::switch_between(dropped, main_);
  __builtin_unreachable();
}

void Threadgroup::abandon_for_memory() { abandon(Failure::memory); }

void Threadgroup::abandon_for_signal(int signal, const void* address, const void* instruction) {
  signal_ = signal;
  signal_address_ = address;
  signal_instruction_ = instruction;
  abandon(Failure::signal);
}

// The functions that a translated kernel calls.

void threadgroup_barrier(unsigned memory, Site site) { running_threadgroup->barrier(memory, site); }

void count_multiply_add() { running_threadgroup->count_multiply_add(); }

void simdgroup_barrier(unsigned memory, Site site) { running_threadgroup->simdgroup_barrier(memory, site); }

void simd_operation(const SimdOperation& operation, void* value, std::uint32_t argument, Site site) {
  running_threadgroup->simd_operation(operation, value, argument, site);
}

void* threadgroup_tile(unsigned index, const char* name, std::size_t bytes, std::size_t alignment, Site site) {
  return running_threadgroup->tile(index, name, bytes, alignment, site);
}

}  // namespace metalsvd::emulator
