// Says what a camera's frames show:
//
//   classifier::begin();
//   classifier::Label labels[5];
//   int count = 0;
//   if (classifier::classify(frame, labels, 5, &count) == classifier::Status::ok) ...
//
// One thread at a time may call it. All memory is static; nothing is thrown.
#pragma once

#include "decode.h"
#include "model.h"
#include "prepare.h"
#include "runner.h"
#include "status.h"

namespace classifier {

// The likeliest classes of a frame, the likeliest one first; `count` becomes how many.
Status classify(const Frame& frame, Label* labels, int most, int* count);

}  // namespace classifier
