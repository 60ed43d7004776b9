// The namespace of everything that is translated for CUDA, and the mark of its functions.
#pragma once

#define METALSVD_JOIN_(a, b) a##b
#define METALSVD_JOIN(a, b) METALSVD_JOIN_(a, b)
#define METALSVD_TRANSLATED METALSVD_JOIN(METALSVD_LIBRARY, _cuda)

#define METAL_FUNC __device__ __forceinline__
