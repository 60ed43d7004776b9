# Finds the headers and libraries of the torch that the extension will run with, without making torch a build requirement:
# a bare `torch` there would pull gigabytes of CUDA. Looked for in TORCH_DIR, then in the Python that builds, then in that
# Python outside pip's build isolation (-I). Defines torch_cpu, torch_python_libraries and TORCH_INCLUDE_DIRS.
set(find_torch "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')")

set(TORCH_DIR "$ENV{TORCH_DIR}" CACHE PATH "The installed torch package (the folder that holds include/ and lib/)")
foreach(isolation "" "-I")
  if(NOT TORCH_DIR)
    execute_process(COMMAND ${Python_EXECUTABLE} ${isolation} -c "${find_torch}"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    set(TORCH_DIR "${found}" CACHE PATH "" FORCE)
  endif()
endforeach()
if(NOT EXISTS "${TORCH_DIR}/include/torch/csrc/stable/library.h")
  message(FATAL_ERROR
    "metalsvd needs torch >= 2.10 installed before it is built (found: '${TORCH_DIR}'). "
    "Install torch first, or name its folder with TORCH_DIR.")
endif()
message(STATUS "torch: ${TORCH_DIR}")

set(TORCH_INCLUDE_DIRS "${TORCH_DIR}/include" "${TORCH_DIR}/include/torch/csrc/api/include")
foreach(library torch_cpu torch_python c10)
  add_library(${library} SHARED IMPORTED)
  set_target_properties(${library} PROPERTIES
    IMPORTED_LOCATION "${TORCH_DIR}/lib/${CMAKE_SHARED_LIBRARY_PREFIX}${library}${CMAKE_SHARED_LIBRARY_SUFFIX}")
endforeach()
