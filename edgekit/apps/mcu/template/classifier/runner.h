// Runs the model in TensorFlow Lite Micro, in an arena of a fixed size.
#pragma once

#include <cstddef>
#include <cstdint>

#include "status.h"

namespace classifier {

// Prepares the interpreter; once, before all else.
Status begin();

// Bytes of the arena that it took.
size_t arena_used();

// The network's input, `kInputBytes`; nullptr before begin(). It is to be written before each
// inference, as the interpreter uses its memory again.
uint8_t* input();

// Computes one inference.
Status invoke();

// The network's output: a score for each class, as real numbers.
const float* scores();

}  // namespace classifier
