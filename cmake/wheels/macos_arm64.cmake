# Cross-compiles for macOS on Apple silicon with zig (PyPI's ziglang), which brings clang, the headers of macOS and libc++,
# and a linker that signs. From the environment: ZIG, the compiler, and LIBCXX_STUB, a libc++.1.tbd to link against.
# Environment rather than cache, because CMake reads this file again for each of its own small tests.
foreach(name ZIG LIBCXX_STUB)
  if(NOT EXISTS "$ENV{${name}}")
    message(FATAL_ERROR "${CMAKE_CURRENT_LIST_FILE}: the environment variable ${name} names no file ('$ENV{${name}}')")
  endif()
endforeach()

set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_OSX_DEPLOYMENT_TARGET 14.0 CACHE STRING "")
# zig has its own SDK and is told its architecture: CMake shall look for neither.
set(CMAKE_OSX_SYSROOT "" CACHE STRING "")
set(CMAKE_OSX_ARCHITECTURES "" CACHE STRING "")
set(CMAKE_CXX_COMPILER $ENV{ZIG} c++ -target aarch64-macos.${CMAKE_OSX_DEPLOYMENT_TARGET})
# `delete` without a size, as Apple's clang compiles it: that one macOS is known to have (macos_symbols.json).
set(CMAKE_CXX_FLAGS_INIT -fno-sized-deallocation)
# Link the libc++ of macOS, which torch uses too: left alone zig links a static one, whose exceptions torch would not catch.
# Not a flag of the compiler, which would leave out the headers too.
set(CMAKE_SHARED_LINKER_FLAGS_INIT -nostdlib++)
set(CMAKE_EXE_LINKER_FLAGS_INIT -nostdlib++)
set(CMAKE_CXX_STANDARD_LIBRARIES "\"$ENV{LIBCXX_STUB}\"")

# Neither is needed, and both would break the signature that the linker made.
set(CMAKE_INSTALL_NAME_TOOL /bin/true)
set(CMAKE_STRIP /bin/true)
# `@rpath/libmetalsvd.dylib`, from the start.
set(CMAKE_BUILD_WITH_INSTALL_NAME_DIR ON)
