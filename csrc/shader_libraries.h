// The text of every Metal library, flattened at build time (cmake/embed_metal.py) and compiled by the Metal runtime at
// the first call.
#pragma once

#include <cstddef>

namespace metalsvd {

struct ShaderLibrary {
  const char* name;    // "threadgroup" for kernels/threadgroup.metal
  const char* source;  // its text, headers included
};

extern const ShaderLibrary shader_libraries[];
extern const std::size_t shader_library_count;

}  // namespace metalsvd
