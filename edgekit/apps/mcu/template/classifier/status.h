// What may go wrong. Nothing here throws.
#pragma once

#include <cstdint>

namespace classifier {

enum class Status : uint8_t {
  ok,
  no_frame,    // it has no pixels
  small,       // the frame is smaller than the part of it that the network takes
  large,       // a side is longer than kMaxSide
  operators,   // the interpreter lacks an operator
  arena,       // kArenaBytes are too few
  model,       // input or output have another size than model.h says
  failed,      // an operator failed
  not_begun,   // begin() was not called, or did not succeed
};

// The same in words.
const char* message(Status status);

}  // namespace classifier
