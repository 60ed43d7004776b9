# The CUDA backend: the same Metal libraries, translated and compiled ahead of time by nvcc into the operator library.
# AUTO builds it where there are nvcc and a CUDA build of torch. ON needs nvcc only: compiled beside a torch without CUDA
# it cannot run, but a kernel that breaks it is seen.
set(METALSVD_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set_property(CACHE METALSVD_CUDA PROPERTY STRINGS AUTO ON OFF)

set(build_cuda ${METALSVD_CUDA})
if(METALSVD_CUDA STREQUAL "AUTO")
  set(build_cuda OFF)
  if(EXISTS "${TORCH_DIR}/lib/libtorch_cuda.so")
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      set(build_cuda ON)
    endif()
  endif()
endif()
message(STATUS "CUDA backend: ${build_cuda}")
if(NOT build_cuda)
  return()
endif()

# Machine code for the A100 and the H100, which runs on their relatives too, and PTX for what comes after them.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set_target_properties(metalsvd PROPERTIES
  CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}"
  CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
  CUDA_RUNTIME_LIBRARY Static)

# nvcc lists what #line names among the files that its output depends on. Where there is no such file below the build
# folder, a build tool takes that for a change, and compiles all kernels each time.
file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR}/kernels ${CMAKE_CURRENT_BINARY_DIR}/kernels SYMBOLIC)
foreach(metal_file ${METALSVD_METAL_FILES} ${CMAKE_CURRENT_SOURCE_DIR}/kernels/cuda/threadgroup_large.metal)
  translate_metal(${metal_file} cuda cu source)
  target_sources(metalsvd PRIVATE ${source})
endforeach()
target_sources(metalsvd PRIVATE csrc/backends/cuda.cpp csrc/backends/cuda_replay.cpp)
target_compile_definitions(metalsvd PRIVATE METALSVD_CUDA)
# What decides within a graph calls the device's runtime, which has to be linked for the device.
add_library(metalsvd_condition STATIC csrc/backends/cuda_condition.cu)
set_target_properties(metalsvd_condition PROPERTIES
  CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}"
  CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
  CUDA_RUNTIME_LIBRARY Static
  CUDA_SEPARABLE_COMPILATION ON CUDA_RESOLVE_DEVICE_SYMBOLS ON POSITION_INDEPENDENT_CODE ON)
target_link_libraries(metalsvd PRIVATE metalsvd_condition)
target_include_directories(metalsvd PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:${CMAKE_CURRENT_SOURCE_DIR}>)
# As the emulator computes: rounded correctly, a product and a sum fused only where fma() says so. Denormal numbers stay,
# unlike on an Apple GPU: with -ftz=false even a negation takes them for zero, and matrices of denormal numbers, which are
# scaled before anything is computed, can be conjugated before they are scaled. The translated text uses constexpr
# functions of the standard library.
target_compile_options(metalsvd PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false -ftz=false -prec-div=true -prec-sqrt=true --expt-relaxed-constexpr>)
target_link_libraries(metalsvd PRIVATE CUDA::cudart_static)
