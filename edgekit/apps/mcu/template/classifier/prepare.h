// Makes the network's input from a camera's frame, as the contract says: in integers, row by row, in
// memory of a size that is known when the program is built.
#pragma once

#include <cstddef>
#include <cstdint>

#include "status.h"

namespace classifier {

// Pixels of three bytes: red, green and blue.
struct Frame {
  const uint8_t* data;
  int width, height;
  size_t stride;  // bytes from a row to the one below it
};

// Writes the network's input: `kInputBytes` of them.
Status prepare(const Frame& frame, uint8_t* input);

// Bytes of memory that this takes; they grow with kMaxSide.
size_t prepare_bytes();

}  // namespace classifier
