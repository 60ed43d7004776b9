// The namespace of everything that is translated. It is the translated library's own, around the kernels' text too, so
// that no name of std or of the C library can be meant by mistake, and so that the plain and the instrumented kernels
// link into one binary.
#pragma once

#include "csrc/emulator/kernel_interface.h"

#define METALSVD_JOIN_(a, b) a##b
#define METALSVD_JOIN(a, b) METALSVD_JOIN_(a, b)
#ifdef METALSVD_CHECK_MEMORY
#define METALSVD_TRANSLATED METALSVD_JOIN(METALSVD_LIBRARY, _checked)
#define METALSVD_IS_CHECKED true
#else
#define METALSVD_TRANSLATED METALSVD_JOIN(METALSVD_LIBRARY, _plain)
#define METALSVD_IS_CHECKED false
#endif

// Inlined always, so that a memory access inside is reported at the kernel's own line.
#define METAL_FUNC [[gnu::always_inline]] inline
