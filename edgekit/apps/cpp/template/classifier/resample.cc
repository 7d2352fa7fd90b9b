#include "resample.h"

#include <algorithm>

namespace classifier {

namespace {

// What one row (or column) of the result is made of: rows from `begin` on, each times its weight.
struct Tap {
  int begin;
  std::vector<int32_t> weights;
};

// What each of `count` values is made of, between two edges of `size` pixels.
std::vector<Tap> taps_of(int size, int count, double first, double last, Interpolation filter) {
  Taps found(size, count, first, last, filter);
  std::vector<Tap> taps(count);
  for (Tap& tap : taps) {
    tap.weights.resize(found.most());
    tap.weights.resize(found.next(tap.weights.data(), tap.begin));
  }
  return taps;
}

}  // namespace

Image resample(const Image& image, Size size, const Box& box, Interpolation interpolation) {
  const auto across = taps_of(image.width, size.width, box.left, box.right, interpolation);
  const auto down = taps_of(image.height, size.height, box.top, box.bottom, interpolation);
  const int channels = image.channels;
  // Rows that no row of the result is made of need not become narrow.
  int from = image.height, to = 0;
  for (const Tap& tap : down) {
    from = std::min(from, tap.begin);
    to = std::max(to, tap.begin + static_cast<int>(tap.weights.size()));
  }
  Image narrow(size.width, std::max(to - from, 0), channels);
  uint8_t* place = narrow.data.data();
  for (int y = from; y < to; ++y) {
    const uint8_t* row = &image.data[size_t(y) * image.width * channels];
    for (const Tap& tap : across) {
      for (int c = 0; c < channels; ++c) {
        const uint8_t* pixel = row + size_t(tap.begin) * channels + c;
        int32_t total = kHalf;
        for (const int32_t weight : tap.weights) {
          total += *pixel * weight;
          pixel += channels;
        }
        *place++ = value_of(total);
      }
    }
  }
  Image found(size.width, size.height, channels);
  const size_t count = size_t(size.width) * channels;
  std::vector<int32_t> totals(count);
  place = found.data.data();
  for (const Tap& tap : down) {
    std::fill(totals.begin(), totals.end(), kHalf);
    const uint8_t* value = &narrow.data[(tap.begin - from) * count];
    for (const int32_t weight : tap.weights) {
      for (size_t i = 0; i < count; ++i) totals[i] += *value++ * weight;
    }
    for (const int32_t total : totals) *place++ = value_of(total);
  }
  return found;
}

}  // namespace classifier
