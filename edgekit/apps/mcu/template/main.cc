// Says what the picture in picture.cc shows, which is one of the golden images.
#include <chrono>
#include <cstdio>

#include "classifier.h"
#include "picture.h"

namespace {

using Clock = std::chrono::steady_clock;
using classifier::Status;

double ms(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

// Names come from the training data: on a terminal no byte of them may be more than a sign.
void print_name(const classifier::Label& label) {
  if (label.label.empty()) std::printf("class %d", label.index);
  for (const char sign : label.label) {
    const auto byte = static_cast<unsigned char>(sign);
    std::printf(byte >= 0x20 && byte < 0x7F ? "%c" : "\\x%02x", byte);
  }
}

Status show() {
  Status status = classifier::begin();
  if (status != Status::ok) return status;
  std::printf("arena: %u of %u bytes; preparing frames: %u bytes\n",
              unsigned(classifier::arena_used()), unsigned(classifier::kArenaBytes),
              unsigned(classifier::prepare_bytes()));
  const auto begin = Clock::now();
  status = classifier::prepare(kPicture, classifier::input());
  if (status != Status::ok) return status;
  const auto middle = Clock::now();
  status = classifier::invoke();
  if (status != Status::ok) return status;
  const auto end = Clock::now();
  classifier::Label labels[5];
  const int count = classifier::decode(classifier::scores(), classifier::kScoreCount,
                                       classifier::kScores, labels, 5);
  std::printf("%.1f + %.1f ms: preparing + network\n", ms(begin, middle), ms(middle, end));
  for (int i = 0; i < count; ++i) {
    std::printf("  %6.2f%%  ", 100 * labels[i].probability);
    print_name(labels[i]);
    std::printf("\n");
  }
  std::printf(labels[0].index == kPictureClass ? "as expected\n" : "class %d was expected\n",
              kPictureClass);
  return status;
}

int run() {
  const Status status = show();
  if (status != Status::ok) std::printf("%s\n", classifier::message(status));
  return status == Status::ok ? 0 : 1;
}

}  // namespace

#ifdef ESP_PLATFORM
extern "C" void app_main() { run(); }
#elif defined(CLASSIFIER_HOST)
extern "C" int edge_main(int, char**) { return run(); }
#else
int main() { return run(); }
#endif
