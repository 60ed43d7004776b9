/* A Metal runtime that runs nothing and keeps what it is asked for: the functions of torch's shim_mps.h that the operator
   library calls. A library's handle is its text, a function's the kernel's name. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static struct Asked {
  const char* source;
  char* kernel;
} asked[4096];
static int count;

int recording_count() { return count; }
const char* recording_source(int i) { return asked[i].source; }
const char* recording_kernel(int i) { return asked[i].kernel; }

/* What the library asks the emulator, whose tensors these are. */
bool recording_wide_lanes;
bool metalsvd_emulator_has_wide_lanes() { return recording_wide_lanes; }

int aoti_torch_mps_create_shader_library(const char* source, const char** library) {
  *library = source;
  return 0;
}

int aoti_torch_mps_get_kernel_function(const char* library, const char* kernel, char** function) {
  if (count == sizeof(asked) / sizeof(asked[0])) return 1;
  *function = strdup(kernel);
  asked[count].source = library;
  asked[count++].kernel = *function;
  return 0;
}

int aoti_torch_mps_start_encoding(void* function) { return 0; }
int aoti_torch_mps_set_arg_tensor(void* function, unsigned index, void* tensor) { return 0; }
int aoti_torch_mps_set_arg_int(void* function, unsigned index, long long value) { return 0; }
int aoti_torch_mps_dispatch_array_with_group_size(void* function, const void* grid, size_t grid_size, const void* group,
                                                  size_t group_size) {
  return 0;
}

int aoti_torch_mps_run_command_block(void* function, void (*encode)(void*, void*), void* data) {
  encode(function, data);
  return 0;
}
