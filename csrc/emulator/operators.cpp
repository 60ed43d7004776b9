// The operators of PyTorch on the emulated Apple GPU. Memory is unified, so an operator lends its device tensors to the
// CPU kernel as CPU tensors over the same storage, and takes the results back as device tensors. The few operators that
// create device tensors or meet the host are written out; all others take the fallback. Operators that a library
// registers for the device itself never come here.

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/op_registration/adaption.h>
#include <ATen/core/stack.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <torch/library.h>

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "controls.h"
#include "device.h"

namespace metalsvd::emulator {
namespace {

using c10::DispatchKey;
using c10::DispatchKeySet;

// ---- What a Mac refuses ---------------------------------------------------------------------------------------------

constexpr std::size_t most_dimensions = 16;  // of a tensor on MPS

// With the exception and the words of a Mac. Some versions let complex128 reach the device and fail at its first use.
void refuse_wide(c10::ScalarType dtype) {
  TORCH_CHECK_TYPE(dtype != c10::ScalarType::Double,
                   "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
                   "Please use float32 instead.");
  TORCH_CHECK_TYPE(dtype != c10::ScalarType::ComplexDouble, "Trying to convert ", dtype,
                   " to the MPS backend but it does not have support for that dtype.");
}

void refuse_layout(c10::Layout layout) {
  TORCH_CHECK_NOT_IMPLEMENTED(layout == c10::Layout::Strided, "only strided tensors are supported on MPS");
}

// Indexing takes its indices, and indexed assignment its values, from the host too; other operators only scalars.
bool may_mix_devices(const c10::OperatorHandle& op) { return op.schema().name().find("index") != std::string::npos; }

void require_one_device(const c10::OperatorHandle& op, const at::Tensor& tensor, const std::string& argument) {
  if (!tensor.defined() || tensor.is_mps() || tensor.dim() == 0 || may_mix_devices(op)) return;
  c10::impl::common_device_check_failure(emulated_device(), tensor, op.schema().name().c_str(), argument.c_str());
}

// ---- Lending device tensors to CPU kernels --------------------------------------------------------------------------

// Flags that say how to read the memory of a tensor; both sides of a loan carry the same ones.
constexpr DispatchKeySet all_reading_flags({DispatchKey::Conjugate, DispatchKey::Negative, DispatchKey::ZeroTensor});

DispatchKeySet reading_flags(const at::Tensor& tensor) { return tensor.key_set() & all_reading_flags; }

// A tensor over the storage, with everything else as in the model.
at::Tensor rehoused(const at::Tensor& model, c10::Storage storage, DispatchKey key) {
  at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), DispatchKeySet(key) | reading_flags(model), model.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(model.sizes(), model.strides(), model.storage_offset());
  return tensor;
}

// The same for a view. It keeps the base's keys, by which autograd tells inference tensors from others.
at::Tensor view_of(const at::Tensor& base, const at::Tensor& model) {
  at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(base.storage()), (base.key_set() - all_reading_flags) | reading_flags(model),
      model.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(model.sizes(), model.strides(), model.storage_offset());
  return tensor;
}

// The loans of one operator call. Tensors that share a storage share the lent one too, and a tensor lent twice is one
// tensor, so that a kernel sees overlaps and identities as they are.
class Loans {
 public:
  at::Tensor lend(const at::Tensor& tensor);
  c10::Storage lend(const c10::Storage& storage);

  // The device tensor for what a CPU kernel returned: the one it was lent, a view of one, or a new one.
  at::Tensor take_back(const at::Tensor& tensor);

  // Gives the lent tensors' owners the sizes and storages that the kernel may have given the loans (out=, resize_).
  void settle();

 private:
  template <typename Thing>
  struct Loan {
    Thing device;
    Thing host;
  };

  const c10::Storage& device_storage(const c10::Storage& host);

  std::vector<Loan<at::Tensor>> tensors_;
  std::vector<Loan<c10::Storage>> storages_;
};

bool is_same(const c10::Storage& a, const c10::Storage& b) {
  return a.unsafeGetStorageImpl() == b.unsafeGetStorageImpl();
}

c10::Storage Loans::lend(const c10::Storage& storage) {
  if (storage.device_type() != c10::DeviceType::MPS) return storage;
  for (const auto& loan : storages_) {
    if (is_same(loan.device, storage)) return loan.host;
  }
  c10::DataPtr data(storage.mutable_data(), c10::Device(c10::DeviceType::CPU));
  c10::Storage host(c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(data), c10::GetAllocator(c10::kCPU),
                    /*resizable=*/true);
  storages_.push_back({storage, host});
  return host;
}

at::Tensor Loans::lend(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  for (const auto& loan : tensors_) {
    if (loan.device.is_same(tensor)) return loan.host;
  }
  at::Tensor host = tensor;
  if (tensor.is_mps()) {
    refuse_layout(tensor.layout());
    host = rehoused(tensor, lend(tensor.storage()), DispatchKey::CPU);
  }
  tensors_.push_back({tensor, host});
  return host;
}

void move_bytes(const c10::Storage& from, const c10::Storage& to) {
  const std::size_t bytes = from.nbytes();
  const bool is_only_promised = from.data() == nullptr;  // a ZeroTensor has a size and no memory
  c10::DataPtr data = device_allocator()->allocate(is_only_promised ? 0 : bytes);
  if (!is_only_promised && bytes != 0) std::memcpy(data.get(), from.data(), bytes);
  to.set_data_ptr_noswap(std::move(data));
  to.set_nbytes(bytes);
}

const c10::Storage& Loans::device_storage(const c10::Storage& host) {
  for (const auto& loan : storages_) {
    if (is_same(loan.host, host)) return loan.device;
  }
  c10::Storage fresh(c10::Storage::use_byte_size_t(), 0, device_allocator(), /*resizable=*/true);
  move_bytes(host, fresh);
  storages_.push_back({fresh, host});
  return storages_.back().device;
}

at::Tensor Loans::take_back(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  for (const auto& loan : tensors_) {
    if (loan.host.is_same(tensor)) return loan.device;
  }
  refuse_layout(tensor.layout());
  for (const auto& loan : tensors_) {
    if (loan.device.is_mps() && is_same(loan.host.storage(), tensor.storage())) return view_of(loan.device, tensor);
  }
  refuse_wide(tensor.scalar_type());
  return rehoused(tensor, device_storage(tensor.storage()), DispatchKey::MPS);
}

bool has_same_geometry(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.strides() == b.strides() && a.storage_offset() == b.storage_offset();
}

void Loans::settle() {
  for (const auto& loan : storages_) {
    if (loan.device.data() != loan.host.data()) move_bytes(loan.host, loan.device);
  }
  for (const auto& loan : tensors_) {
    if (!loan.device.is_mps()) continue;
    const c10::Storage storage = device_storage(loan.host.storage());
    c10::TensorImpl* impl = loan.device.unsafeGetTensorImpl();
    if (!is_same(storage, loan.device.storage())) impl->set_storage_keep_dtype(storage);
    if (!has_same_geometry(loan.device, loan.host)) {
      impl->set_sizes_and_strides(loan.host.sizes(), loan.host.strides(), loan.host.storage_offset());
    }
  }
}

// ---- The fallback ---------------------------------------------------------------------------------------------------

// Converts every tensor inside a value, lists included, and leaves other values as they are.
template <typename Convert>
c10::IValue with_tensors(const c10::IValue& value, const Convert& convert) {
  if (value.isTensor()) return convert(value.toTensor());
  if (value.isTensorList()) {
    c10::List<at::Tensor> converted;
    for (const at::Tensor& tensor : value.toTensorVector()) converted.push_back(convert(tensor));
    return converted;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> converted;
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
      converted.push_back(tensor.has_value() ? std::optional(convert(*tensor)) : std::nullopt);
    }
    return converted;
  }
  return value;
}

c10::IValue lend_argument(const c10::OperatorHandle& op, const c10::Argument& argument, const c10::IValue& value,
                          Loans& loans) {
  if (value.isDevice()) {
    return value.toDevice().is_mps() ? c10::Device(c10::DeviceType::CPU) : value.toDevice();
  }
  if (value.isStorage()) return loans.lend(value.toStorage());
  if (value.isGenerator()) return host_generator(value.toGenerator());
  // None means the default generator, and here that must be the device's own, not the CPU's.
  if (value.isNone() && argument.name() == "generator") return host_generator(std::nullopt);
  return with_tensors(value, [&](const at::Tensor& tensor) {
    require_one_device(op, tensor, argument.name());
    return loans.lend(tensor);
  });
}

// Only PyTorch's own operators: a library's operator that has no kernel for the device must fail as it would on a Mac.
void require_host_kernel(const c10::OperatorHandle& op) {
  const std::optional<std::string_view> space = op.schema().getNamespace();
  const bool is_of_torch = space == "aten" || space == "prims";
  TORCH_CHECK_NOT_IMPLEMENTED(is_of_torch && op.hasComputedKernelForDispatchKey(DispatchKey::CPU), "The operator '",
                              op.schema().operator_name(), "' is not currently implemented for the MPS device.");
}

void run_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  require_host_kernel(op);
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const std::vector<c10::Argument>& arguments = op.schema().arguments();
  const std::size_t first_argument = stack->size() - arguments.size();
  Loans loans;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    c10::IValue& value = (*stack)[first_argument + i];
    value = lend_argument(op, arguments[i], value, loans);
  }
  op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
  loans.settle();
  for (std::size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
    (*stack)[i] = with_tensors((*stack)[i], [&](const at::Tensor& tensor) { return loans.take_back(tensor); });
  }
}

// ---- Operators that create device tensors ---------------------------------------------------------------------------

void check_factory(c10::ScalarType dtype, std::optional<c10::Layout> layout, std::optional<bool> pin_memory) {
  refuse_wide(dtype);
  refuse_layout(c10::layout_or_default(layout));
  TORCH_CHECK(!pin_memory.value_or(false), "Only dense CPU tensors can be pinned");
}

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout> layout,
                 std::optional<c10::Device>, std::optional<bool> pin_memory,
                 std::optional<c10::MemoryFormat> memory_format) {
  TORCH_CHECK(size.size() <= most_dimensions, "MPS supports tensors with dimensions <= 16, but got ", size.size(), ".");
  const c10::ScalarType chosen = c10::dtype_or_default(dtype);
  check_factory(chosen, layout, pin_memory);
  return at::detail::empty_generic(size, device_allocator(), DispatchKeySet(DispatchKey::MPS), chosen, memory_format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                         std::optional<c10::Layout> layout, std::optional<c10::Device>,
                         std::optional<bool> pin_memory) {
  const c10::ScalarType chosen = c10::dtype_or_default(dtype);
  check_factory(chosen, layout, pin_memory);
  return at::detail::empty_strided_generic(size, stride, device_allocator(), DispatchKeySet(DispatchKey::MPS), chosen);
}

// ---- Operators between device and host ------------------------------------------------------------------------------

at::Tensor& copy_into(at::Tensor& target, const at::Tensor& source, bool non_blocking) {
  if (target.is_same(source)) return target;
  if (source._is_zerotensor()) return target.zero_();
  const bool is_to_host = source.is_mps() && target.is_cpu();
  // A Mac converts on the device and copies then, so the wide types cannot be had in one step.
  if (is_to_host && target.dtype() != source.dtype()) refuse_wide(target.scalar_type());
  if (is_to_host && !non_blocking) count_host_wait();

  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  Loans loans;
  loans.lend(target).copy_(loans.lend(source));
  return target;
}

at::Tensor copy_from(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  at::Tensor into = target;
  return copy_into(into, source, non_blocking);
}

at::Tensor copy_from_and_resize(const at::Tensor& source, const at::Tensor& target) {
  if (target.sizes() != source.sizes()) target.resize_(source.sizes());
  return copy_from(source, target, /*non_blocking=*/false);
}

c10::Scalar local_scalar(const at::Tensor& tensor) {
  count_host_wait();
  Loans loans;
  return at::_local_scalar_dense(loans.lend(tensor));
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, MPS, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("copy_", &copy_into);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar);
}

TORCH_LIBRARY_IMPL(_, MPS, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>()); }

}  // namespace metalsvd::emulator
