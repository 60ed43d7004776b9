// What a threadgroup says when it is given up.
#include <csignal>
#include <map>
#include <tuple>

#include "failure_text.h"
#include "memory_checks.h"
#include "threadgroup.h"

namespace metalsvd::emulator {

std::string Threadgroup::describe_failure() const {
  std::string what;
  switch (failure_) {
    case Failure::none: break;
    case Failure::divergence: what = describe_waiting(); break;
    case Failure::tiles: what = describe_tiles(); break;
    case Failure::lane_argument:
      what = std::string(current_->operation->name) + " at " + to_string(current_->site) +
             ": the lane argument must be below 32" +
             (current_->operation->argument == LaneArgument::uniform ? " and the same in every lane" : "");
      break;
    case Failure::memory: what = dispatch_->checker->describe_violation(); break;
    case Failure::signal: what = describe_signal(); break;
  }
  return "emulated GPU: kernel '" + std::string(dispatch_->kernel->name) + "' (library '" + dispatch_->library +
         "'), threadgroup " + to_string(position_) + ": " + what;
}

// Who waits where, in the order of the threads: at least two lines, or nobody would still wait.
std::string Threadgroup::describe_waiting() const {
  using Place = std::tuple<State, std::string, std::string>;  // state, operation, line
  std::map<Place, std::vector<unsigned>> waiting;
  bool in_simd_operation = false;
  for (const Thread& thread : threads_) {
    const bool in_simd = thread.state == State::in_simd_operation, waits = in_simd || thread.state == State::at_barrier;
    in_simd_operation |= in_simd;
    const Place place{thread.state, in_simd ? thread.operation->name : "threadgroup_barrier",
                      waits ? to_string(thread.site) : ""};
    waiting[place].push_back(thread.position.index_in_threadgroup);
  }
  std::string text = in_simd_operation ? "SIMD operation not performed by all lanes together:" : "barrier divergence:";
  for (const auto& [place, threads] : waiting) {
    const auto& [state, operation, line] = place;
    text += "\n  " + thread_list(threads);
    const bool one = threads.size() == 1;
    if (state == State::returned) {
      text += one ? " has returned" : " have returned";
    } else if (state == State::ready) {
      text += one ? " is elsewhere" : " are elsewhere";
    } else {
      text += (one ? " waits in " : " wait in ") + operation + " at " + line;
    }
  }
  return text;
}

std::string Threadgroup::describe_tiles() const {
  if (tile_bytes_ <= max_threadgroup_memory)
    return "more than " + std::to_string(max_tiles) + " threadgroup declarations in one library";
  std::string text = "threadgroup memory of " + std::to_string(tile_bytes_) + " bytes, but a threadgroup has " +
                     std::to_string(max_threadgroup_memory) + ":";
  for (const Tile& tile : tiles_) {
    if (tile.bytes > 0)
      text +=
          "\n  '" + std::string(tile.name) + "' of " + std::to_string(tile.bytes) + " bytes at " + to_string(tile.site);
  }
  return text;
}

std::string Threadgroup::describe_signal() const {
  const auto* const address = static_cast<const std::byte*>(signal_address_);
  const std::string thread = "thread " + std::to_string(thread_index());
  const std::string line = source_line(static_cast<const char*>(signal_instruction_) + 1);
  if (signal_ == SIGFPE) return thread + " divides an integer by zero at " + line;
  if (signal_ == SIGILL) return thread + " reaches an impossible place at " + line;
  if (address < current_->stack && current_->stack - address <= 4096) {
    return thread + " uses more than " + std::to_string(StackPool::stack_bytes) + " bytes of its own memory at " + line;
  }
  return thread + " accesses memory that does not exist at " + line + " (the memory check tells more)";
}

}  // namespace metalsvd::emulator
