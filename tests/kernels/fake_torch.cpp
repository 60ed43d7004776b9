// The few functions of torch's C shim that the emulator's own part of it calls, over tensors that a test makes up.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>

struct FakeTensor {
  std::int32_t device_type;
  std::int32_t element_size;  // in place of a dtype
  std::int64_t storage_offset;
  std::int64_t storage_bytes;
  void* storage;
};

namespace {

const FakeTensor& fake(AtenTensorHandle tensor) { return *reinterpret_cast<const FakeTensor*>(tensor); }

}  // namespace

extern "C" {

std::int32_t aoti_torch_device_type_mps() { return 13; }

std::size_t aoti_torch_dtype_element_size(std::int32_t dtype) { return static_cast<std::size_t>(dtype); }

AOTITorchError aoti_torch_get_device_type(AtenTensorHandle tensor, std::int32_t* result) {
  *result = fake(tensor).device_type;
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_get_dtype(AtenTensorHandle tensor, std::int32_t* result) {
  *result = fake(tensor).element_size;
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_get_storage_offset(AtenTensorHandle tensor, std::int64_t* result) {
  *result = fake(tensor).storage_offset;
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_get_storage_size(AtenTensorHandle tensor, std::int64_t* result) {
  *result = fake(tensor).storage_bytes;
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** result) {
  const FakeTensor& seen = fake(tensor);
  *result = static_cast<char*>(seen.storage) + seen.storage_offset * seen.element_size;
  return AOTI_TORCH_SUCCESS;
}

}  // extern "C"
