#include "classifier.h"

namespace classifier {

Status classify(const Frame& frame, Label* labels, int most, int* count) {
  *count = 0;
  if (input() == nullptr) return Status::not_begun;
  Status status = prepare(frame, input());
  if (status == Status::ok) status = invoke();
  if (status == Status::ok) *count = decode(scores(), kScoreCount, kScores, labels, most);
  return status;
}

const char* message(Status status) {
  switch (status) {
    case Status::ok: return "ok";
    case Status::no_frame: return "the frame has no pixels";
    case Status::small: return "the frame is too small for the network";
    case Status::large: return "the frame is too large: build with a larger CLASSIFIER_MAX_SIDE";
    case Status::operators: return "the interpreter lacks an operator of the model";
    case Status::arena: return "the arena is too small: build with a larger CLASSIFIER_ARENA_BYTES";
    case Status::model: return "the model has another input or output than model.h says";
    case Status::failed: return "an operator of the model failed";
    case Status::not_begun: return "begin() was not called, or did not succeed";
  }
  return "unknown";
}

}  // namespace classifier
