# The Metal libraries: one text each (a .metal file with its headers flattened in), embedded into the operator library and,
# from that same text, translated for the emulator and for CUDA. Defines METALSVD_EMBEDDED_KERNELS and translate_metal().
set(METALSVD_METAL_FILES
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/block.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/cholesky.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/reflectors.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/skeleton.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/simdgroup.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/simdgroup_apart.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/simdgroup_recover.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/tall.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/thread.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/threadgroup.metal
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/whole.metal)

set(METALSVD_EMBEDDED_KERNELS ${CMAKE_CURRENT_BINARY_DIR}/shader_libraries.cpp)
add_custom_command(
  OUTPUT ${METALSVD_EMBEDDED_KERNELS}
  COMMAND ${Python_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/cmake/embed_metal.py
    --output ${METALSVD_EMBEDDED_KERNELS} --depfile ${METALSVD_EMBEDDED_KERNELS}.d ${METALSVD_METAL_FILES}
  DEPENDS ${METALSVD_METAL_FILES}
    ${CMAKE_CURRENT_SOURCE_DIR}/cmake/embed_metal.py
    ${CMAKE_CURRENT_SOURCE_DIR}/cmake/metal_source.py
  DEPFILE ${METALSVD_EMBEDDED_KERNELS}.d
  VERBATIM)
set_source_files_properties(${METALSVD_EMBEDDED_KERNELS} PROPERTIES INCLUDE_DIRECTORIES ${CMAKE_CURRENT_SOURCE_DIR}/csrc)

# Translates a .metal file into a dialect, "host" or "cuda", and names the result in `output`.
function(translate_metal metal_file dialect extension output)
  get_filename_component(name ${metal_file} NAME_WE)
  set(translated ${CMAKE_CURRENT_BINARY_DIR}/translated_${name}.${extension})
  add_custom_command(
    OUTPUT ${translated}
    COMMAND ${Python_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/cmake/translate_metal.py ${metal_file}
      --dialect ${dialect} --root ${CMAKE_CURRENT_SOURCE_DIR}/kernels --output ${translated} --depfile ${translated}.d
    DEPENDS ${metal_file}
      ${CMAKE_CURRENT_SOURCE_DIR}/cmake/translate_metal.py
      ${CMAKE_CURRENT_SOURCE_DIR}/cmake/metal_syntax.py
      ${CMAKE_CURRENT_SOURCE_DIR}/cmake/metal_source.py
    DEPFILE ${translated}.d
    VERBATIM)
  set(${output} ${translated} PARENT_SCOPE)
endfunction()
