// The emulated Apple GPU as a torch device: its memory, its random numbers, its guard and the hooks behind torch.mps.
// Everything registers itself when the library is loaded. Operators run at once, so streams and events are formal.

#include "device.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/MPSHooksInterface.h>
#include <c10/core/GeneratorImpl.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "controls.h"
#include "memory.h"

namespace metalsvd::emulator {
namespace {

// ---- Memory ---------------------------------------------------------------------------------------------------------

void release_data(void* data) { release_block(static_cast<std::byte*>(data)); }

class DeviceAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, emulated_device()};
    try {
      std::byte* data = allocate_block(bytes);
      return {data, data, &release_data, emulated_device()};
    } catch (const std::bad_alloc&) {
      TORCH_CHECK(false, "MPS backend out of memory (MPS allocated: ", live_bytes(), " bytes). Tried to allocate ",
                  bytes, " bytes on the emulated device.");
    }
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release_data; }

  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    std::memcpy(target, source, bytes);
  }
};

// ---- Random numbers -------------------------------------------------------------------------------------------------

// A CPU generator under the name of the device. Same seed, same numbers as on the CPU: a Mac's numbers are others.
class DeviceGenerator final : public c10::GeneratorImpl {
 public:
  explicit DeviceGenerator(at::Generator host)
      : GeneratorImpl(emulated_device(), c10::DispatchKeySet(c10::DispatchKey::MPS)), host_(std::move(host)) {}

  static c10::DeviceType device_type() { return c10::DeviceType::MPS; }
  const at::Generator& host() const { return host_; }

  void set_current_seed(std::uint64_t seed) override { host_.set_current_seed(seed); }
  void set_offset(std::uint64_t offset) override { host_.set_offset(offset); }
  std::uint64_t get_offset() const override { return host_.get_offset(); }
  std::uint64_t current_seed() const override { return host_.current_seed(); }
  std::uint64_t seed() override { return host_.seed(); }
  void set_state(const c10::TensorImpl& state) override { host_.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return host_.unsafeGetGeneratorImpl()->get_state(); }

 private:
  DeviceGenerator* clone_impl() const override { return new DeviceGenerator(host_.clone()); }

  mutable at::Generator host_;  // reading a seed is not const in torch
};

at::Generator make_device_generator() { return at::make_generator<DeviceGenerator>(at::detail::createCPUGenerator()); }

const at::Generator& default_generator() {
  static auto* generator = new at::Generator(make_device_generator());  // outlives every static tensor
  return *generator;
}

// ---- Events ---------------------------------------------------------------------------------------------------------

using Clock = std::chrono::steady_clock;

double milliseconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - start).count();
}

// The events of torch.mps.event: a number for each, and the moment at which it was last recorded.
class EventPool {
 public:
  std::uint32_t acquire() {
    const std::lock_guard lock(mutex_);
    moments_[++last_] = Clock::now();
    return last_;
  }
  void release(std::uint32_t event) {
    const std::lock_guard lock(mutex_);
    moments_.erase(event);
  }
  void record(std::uint32_t event) {
    const std::lock_guard lock(mutex_);
    moments_[event] = Clock::now();
  }
  double elapsed(std::uint32_t start, std::uint32_t end) {
    const std::lock_guard lock(mutex_);
    return milliseconds_between(moments_.at(start), moments_.at(end));
  }

 private:
  std::mutex mutex_;
  std::map<std::uint32_t, Clock::time_point> moments_;
  std::uint32_t last_ = 0;
};

EventPool& events() {
  static auto* pool = new EventPool;
  return *pool;
}

// ---- The guard ------------------------------------------------------------------------------------------------------

// Autograd starts one thread for each device that the registered guards report, so backward needs this too.
struct DeviceGuard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = c10::DeviceType::MPS;

  DeviceGuard() = default;
  explicit DeviceGuard(c10::DeviceType) {}

  c10::DeviceType type() const override { return static_type; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Device getDevice() const override { return emulated_device(); }
  void setDevice(c10::Device wanted) const override { check(wanted); }
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Device exchangeDevice(c10::Device wanted) const override {
    check(wanted);
    return emulated_device();
  }

  c10::Stream getStream(c10::Device) const override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const override { return stream(); }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { count_host_wait(); }
  void synchronizeDevice(c10::DeviceIndex) const override { count_host_wait(); }

  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    if (*event == nullptr) *event = new Clock::time_point;
    *static_cast<Clock::time_point*>(*event) = Clock::now();
  }
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override {
    delete static_cast<Clock::time_point*>(event);
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override { count_host_wait(); }
  double elapsedTime(void* start, void* end, c10::DeviceIndex) const override {
    return milliseconds_between(*static_cast<Clock::time_point*>(start), *static_cast<Clock::time_point*>(end));
  }

  c10::DeviceCapability getDeviceCapability(c10::Device) const override {
    c10::DeviceCapability capability;
    capability.capability_data.supported_scalar_types.has_Double = 0;
    capability.capability_data.supported_scalar_types.has_ComplexDouble = 0;
    return capability;
  }

 private:
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, emulated_device()); }
  static void check(c10::Device wanted) {
    TORCH_CHECK(wanted.is_mps(), "Expected a MPS device, but got ", wanted);
    TORCH_CHECK(wanted.index() <= 0, "Expected the MPS device 0, but got ", wanted);
  }
};

// ---- The hooks behind torch.mps -------------------------------------------------------------------------------------

// torch looks this class up by its name, and only once: see emulator.py.
struct MPSHooks final : at::MPSHooksInterface {
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasMPS() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::Device getDeviceFromPtr(void*) const override { return emulated_device(); }

  // The oldest system that still gets everything asked of torch 2.10 and later.
  bool isOnMacOSorNewer(unsigned major, unsigned minor) const override {
    return std::pair(major, minor) <= std::pair(15U, 0U);
  }

  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return make_device_generator(); }

  void deviceSynchronize() const override { count_host_wait(); }
  void commitStream() const override {}

  at::Allocator* getMPSDeviceAllocator() const override { return device_allocator(); }
  at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetAllocator(c10::kCPU); }
  void emptyCache() const override {}
  std::size_t getCurrentAllocatedMemory() const override { return live_bytes(); }
  std::size_t getDriverAllocatedMemory() const override { return live_bytes(); }
  std::size_t getRecommendedMaxMemory() const override { return physical_memory_bytes(); }
  void setMemoryFraction(double ratio) const override {
    const double bytes = ratio * static_cast<double>(physical_memory_bytes());
    set_memory_limit(ratio > 0 ? std::max<std::size_t>(1, static_cast<std::size_t>(bytes)) : 0);
  }

  void profilerStartTrace(const std::string&, bool) const override {}
  void profilerStopTrace() const override {}

  std::uint32_t acquireEvent(bool) const override { return events().acquire(); }
  void releaseEvent(std::uint32_t event) const override { events().release(event); }
  void recordEvent(std::uint32_t event) const override { events().record(event); }
  void waitForEvent(std::uint32_t) const override {}
  bool queryEvent(std::uint32_t) const override { return true; }
  void synchronizeEvent(std::uint32_t) const override { count_host_wait(); }
  double elapsedTimeOfEvents(std::uint32_t start, std::uint32_t end) const override {
    return events().elapsed(start, end);
  }
};

using at::MPSHooksRegistry;
using at::RegistererMPSHooksRegistry;

REGISTER_ALLOCATOR(c10::DeviceType::MPS, device_allocator())
C10_REGISTER_GUARD_IMPL(MPS, DeviceGuard)
REGISTER_MPS_HOOKS(MPSHooks)

}  // namespace

c10::Allocator* device_allocator() {
  static auto* allocator = new DeviceAllocator;
  return allocator;
}

at::Generator host_generator(const std::optional<at::Generator>& generator) {
  const at::Generator& chosen = generator.has_value() && generator->defined() ? *generator : default_generator();
  const auto* ours = dynamic_cast<const DeviceGenerator*>(chosen.unsafeGetGeneratorImpl());
  TORCH_CHECK(ours != nullptr, "Expected a 'mps' device type for generator but found '", chosen.device().type(), "'");
  return ours->host();
}

}  // namespace metalsvd::emulator
