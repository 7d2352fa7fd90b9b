# OpenVINO: headers, libraries and CMake files of the package for Python, or of an archive of its
# releases.
find_runtime_dir(openvino)
find_package(OpenVINO REQUIRED COMPONENTS Runtime NO_CMAKE_FIND_ROOT_PATH
             PATHS "${EDGE_RUNTIME_DIR}" PATH_SUFFIXES cmake runtime/cmake)
add_library(edge_runtime INTERFACE)
target_link_libraries(edge_runtime INTERFACE openvino::runtime)
# It is several files: the program finds them where they are; README.md says which to ship.
set(EDGE_RUNTIME_FILE)
set(EDGE_RUNTIME_NAME)
