# The emulated Apple GPU: a Python extension of its own, which may use ATen and pybind11. It holds every Metal library twice,
# plain and instrumented: -fsanitize=thread makes the compiler report each memory access to our own checks (no sanitizer
# runtime is linked).
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
find_package(pybind11 CONFIG QUIET)
if(NOT pybind11_FOUND)
  execute_process(COMMAND ${Python_EXECUTABLE} -m pybind11 --cmakedir
    OUTPUT_VARIABLE pybind11_DIR OUTPUT_STRIP_TRAILING_WHITESPACE)
  find_package(pybind11 CONFIG REQUIRED)
endif()

pybind11_add_module(_emulator MODULE NO_EXTRAS
  csrc/emulator/controls.cpp
  csrc/emulator/device.cpp
  csrc/emulator/failure_text.cpp
  csrc/emulator/fiber.cpp
  csrc/emulator/memory.cpp
  csrc/emulator/memory_checks.cpp
  csrc/emulator/module.cpp
  csrc/emulator/operators.cpp
  csrc/emulator/runtime.cpp
  csrc/emulator/sanitizer_hooks.cpp
  csrc/emulator/scheduler.cpp
  csrc/emulator/shim.cpp
  csrc/emulator/signals.cpp
  csrc/emulator/threadgroup.cpp
  csrc/emulator/threadgroup_failure.cpp)
find_package(Threads REQUIRED)
target_compile_options(_emulator PRIVATE -iquote ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(_emulator PRIVATE metalsvd_options torch_cpu c10 Threads::Threads ${CMAKE_DL_LIBS})
set_target_properties(_emulator PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/../torch/lib")

foreach(metal_file ${METALSVD_METAL_FILES})
  translate_metal(${metal_file} host cpp cpp)
  get_filename_component(name ${metal_file} NAME_WE)
  foreach(flavour plain checked)
    add_library(kernels_${name}_${flavour} OBJECT ${cpp})
    # Tiles are shared out as in Metal, under several types; a product and a sum are fused only where fma() says so.
    # Line numbers (-g1) are what the memory checks report.
    target_compile_options(kernels_${name}_${flavour} PRIVATE
      -O2 -g1 -fdebug-prefix-map=${CMAKE_CURRENT_BINARY_DIR}=. -fno-strict-aliasing -ffp-contract=off
      -iquote ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(_emulator PRIVATE kernels_${name}_${flavour})
  endforeach()
  target_compile_options(kernels_${name}_checked PRIVATE -fsanitize=thread)
  target_compile_definitions(kernels_${name}_checked PRIVATE METALSVD_CHECK_MEMORY)
endforeach()
install(TARGETS _emulator LIBRARY DESTINATION metalsvd)
