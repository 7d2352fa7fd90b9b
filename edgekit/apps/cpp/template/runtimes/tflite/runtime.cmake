# LiteRT: libLiteRt.so of the package for Python, or one that was built from source. It comes without
# headers; runtime.cc declares what it calls.
find_runtime_dir(ai_edge_litert)
find_library(EDGE_RUNTIME_LIBRARY LiteRt PATHS "${EDGE_RUNTIME_DIR}" PATH_SUFFIXES lib
             NO_CMAKE_FIND_ROOT_PATH)
if(NOT EDGE_RUNTIME_LIBRARY)
  message(FATAL_ERROR "There is no libLiteRt.so in EDGE_RUNTIME_DIR (${EDGE_RUNTIME_DIR}); see README.md")
endif()
add_library(edge_runtime SHARED IMPORTED GLOBAL)
set_target_properties(edge_runtime PROPERTIES IMPORTED_LOCATION "${EDGE_RUNTIME_LIBRARY}"
                      IMPORTED_SONAME libLiteRt.so)
set(EDGE_RUNTIME_FILE "${EDGE_RUNTIME_LIBRARY}")
set(EDGE_RUNTIME_NAME libLiteRt.so)
