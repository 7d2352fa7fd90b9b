# Builds for arm64 Linux on another machine: cmake -DCMAKE_TOOLCHAIN_FILE=arm64.cmake; see README.md.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
# Programs are those of this machine; libraries and headers are not.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
# Headers that differ by machine are in a folder of their own.
foreach(root ${CMAKE_FIND_ROOT_PATH})
  string(APPEND CMAKE_CXX_FLAGS_INIT " -isystem \"${root}/usr/include/aarch64-linux-gnu\"")
endforeach()
