#include "scheduler.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <thread>

#include "flush_denormals.h"
#include "signals.h"

namespace metalsvd::emulator {

namespace {

// Stacks and threadgroup memory of each OS thread, kept for the next dispatch. The first is the caller's.
std::vector<std::unique_ptr<Threadgroup>>& executors() {
  static std::vector<std::unique_ptr<Threadgroup>> all;
  return all;
}

Threadgroup& executor(std::size_t index) {
  auto& all = executors();
  while (all.size() <= index) all.push_back(std::make_unique<Threadgroup>());
  return *all[index];
}

// Which threadgroup is run as the i-th.
class Sequence {
 public:
  Sequence(const Options& options, std::uint64_t count) : order_(options.order), count_(count) {
    if (order_ != Order::random) return;
    shuffled_.resize(count);
    std::iota(shuffled_.begin(), shuffled_.end(), 0u);
    std::shuffle(shuffled_.begin(), shuffled_.end(), std::mt19937_64(options.seed));
  }

  std::uint64_t operator[](std::uint64_t i) const {
    if (order_ == Order::random) return shuffled_[i];
    return order_ == Order::reverse ? count_ - 1 - i : i;
  }

 private:
  Order order_;
  std::uint64_t count_;
  std::vector<std::uint64_t> shuffled_;
};

// One dispatch on its way: OS threads take threadgroups from it until none is left or one went wrong.
class Grid {
 public:
  explicit Grid(const Dispatch& dispatch)
      : dispatch_(dispatch), count_(dispatch.threadgroups.product()), sequence_(dispatch.options, count_) {}

  void work(Threadgroup& threadgroup) noexcept {
    std::optional<FlushDenormals> flush;
    if (!dispatch_.options.keep_denormals) flush.emplace();
    const SignalStack signal_stack;
    try {
      for (std::uint64_t i; !failed_ && (i = next_++) < count_;) threadgroup.run(dispatch_, position(sequence_[i]));
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }

  void rethrow_error() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  Size3 position(std::uint64_t number) const {
    const Size3 size = dispatch_.threadgroups;
    return {static_cast<std::uint32_t>(number % size.x), static_cast<std::uint32_t>(number / size.x % size.y),
            static_cast<std::uint32_t>(number / size.x / size.y)};
  }

  const Dispatch& dispatch_;
  const std::uint64_t count_;
  const Sequence sequence_;
  std::atomic<std::uint64_t> next_ = 0;
  std::atomic<bool> failed_ = false;
  std::exception_ptr error_;  // read when all OS threads have joined
};

}  // namespace

Work run_dispatch(const Dispatch& dispatch) {
  const std::size_t cores = dispatch.checker ? 1 : std::max(1u, std::thread::hardware_concurrency());
  const std::size_t workers = std::min<std::uint64_t>(cores, dispatch.threadgroups.product());
  for (std::size_t i = 0; i < workers; ++i) executor(i).reset_work();
  Grid grid(dispatch);
  {
    const SignalHandlers handlers;
    // OS threads live for one dispatch only: nothing is left to be cleaned up at exit or missed after a fork.
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < workers; ++i) threads.emplace_back([&grid, i] { grid.work(executor(i)); });
    grid.work(executor(0));
  }
  grid.rethrow_error();
  Work total;
  for (std::size_t i = 0; i < workers; ++i) {
    const Work work = executor(i).work();
    total.threadgroups += work.threadgroups;
    total.threads += work.threads;
    total.barriers += work.barriers;
    total.simd_operations += work.simd_operations;
    total.multiply_adds += work.multiply_adds;
    total.critical_barriers = std::max(total.critical_barriers, work.critical_barriers);
    total.critical_simd_operations = std::max(total.critical_simd_operations, work.critical_simd_operations);
    total.critical_multiply_adds = std::max(total.critical_multiply_adds, work.critical_multiply_adds);
  }
  return total;
}

const std::byte* checked_arena() { return executor(0).arena(); }

}  // namespace metalsvd::emulator
