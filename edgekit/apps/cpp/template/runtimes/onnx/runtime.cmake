# ONNX Runtime: the library of the package for Python, or of an archive of its releases. runtime.cc
# declares what it calls, so that no headers are needed.
find_runtime_dir(onnxruntime)
file(GLOB EDGE_RUNTIME_LIBRARY "${EDGE_RUNTIME_DIR}/capi/libonnxruntime.so*"
     "${EDGE_RUNTIME_DIR}/lib/libonnxruntime.so*" "${EDGE_RUNTIME_DIR}/libonnxruntime.so*")
if(NOT EDGE_RUNTIME_LIBRARY)
  message(FATAL_ERROR "There is no libonnxruntime.so in EDGE_RUNTIME_DIR (${EDGE_RUNTIME_DIR}); see README.md")
endif()
list(GET EDGE_RUNTIME_LIBRARY 0 EDGE_RUNTIME_LIBRARY)
add_library(edge_runtime SHARED IMPORTED GLOBAL)
set_target_properties(edge_runtime PROPERTIES IMPORTED_LOCATION "${EDGE_RUNTIME_LIBRARY}"
                      IMPORTED_SONAME libonnxruntime.so.1)
set(EDGE_RUNTIME_FILE "${EDGE_RUNTIME_LIBRARY}")
set(EDGE_RUNTIME_NAME libonnxruntime.so.1)  # which the program looks for
