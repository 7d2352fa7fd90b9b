#include "prepare.h"

#include <algorithm>
#include <cstring>

#include "model.h"

namespace classifier {

namespace {

constexpr Size kCrop = kGeometry.crop;
constexpr int kColours = 3;
constexpr size_t kRowBytes = size_t(kCrop.width) * kChannels;

constexpr int reach() {
  return kGeometry.interpolation == Interpolation::bicubic ? 2 : 1;
}

// Weights of `count` pixels that are made of at most kMaxSide ones.
constexpr size_t weights_of(int count) {
  return 2 * size_t(reach()) * std::max(kMaxSide, count) + 2 * size_t(count);
}

// How many rows a row can be made of. A letterboxed frame may shrink by half as much again where
// its short side is rounded to a pixel.
constexpr int most_rows() {
  const int least = std::min(kCrop.height, kCrop.width);
  const int shrinks = (kMaxSide * 3 / 2 + least - 1) / least;
  return std::min(kMaxSide, 2 * reach() * std::max(shrinks, 1) + 2);
}

// What the pixels along one axis are made of.
template <int kCount>
struct Axis {
  int begins[kCount], counts[kCount];
  int32_t weights[weights_of(kCount)];

  bool fill(int size, int count, double first, double last) {
    Taps taps(size, count, first, last, kGeometry.interpolation);
    int32_t* place = weights;
    for (int k = 0; k < count; ++k) {
      if (place + taps.most() > weights + weights_of(kCount)) return false;
      counts[k] = taps.next(place, begins[k]);
      place += counts[k];
    }
    return true;
  }
};

Axis<kCrop.width> across;
Axis<kCrop.height> down;
Placement place;
int frame_height = 0, frame_width = 0;  // for which they were computed

// Rows of the frame in the network's width; row y is at y modulo their number.
uint8_t narrow[most_rows()][kRowBytes];

// Computes all that depends on the frame's size alone; it is kept for the next frame.
Status plan(int height, int width) {
  if (height < 1 || width < 1) return Status::no_frame;
  if (height == frame_height && width == frame_width) return Status::ok;
  if (height > kMaxSide || width > kMaxSide) return Status::large;
  frame_height = frame_width = 0;
  place = placed(height, width, kGeometry);
  if (place.whole.height < place.size.height || place.whole.width < place.size.width) {
    return Status::small;
  }
  const Box& box = place.box;
  if (!across.fill(width, place.size.width, box.left, box.right) ||
      !down.fill(height, place.size.height, box.top, box.bottom)) {
    return Status::large;
  }
  for (int k = 0; k < place.size.height; ++k) {
    if (down.counts[k] > most_rows()) return Status::large;
  }
  frame_height = height;
  frame_width = width;
  return Status::ok;
}

// A row of the frame in the network's width and channels.
void narrow_row(const uint8_t* row, uint8_t* to) {
  const int32_t* weights = across.weights;
  for (int k = 0; k < place.size.width; ++k) {
    const int count = across.counts[k];
    const uint8_t* pixel = row + size_t(across.begins[k]) * kColours;
    int32_t totals[kChannels];
    for (int32_t& total : totals) total = kHalf;
    for (int i = 0; i < count; ++i, pixel += kColours) {
      if constexpr (kChannels == 1) {
        totals[0] += grey_of(pixel[0], pixel[1], pixel[2]) * weights[i];
      } else {
        for (int c = 0; c < kChannels; ++c) totals[c] += pixel[c] * weights[i];
      }
    }
    weights += count;
    for (const int32_t total : totals) *to++ = value_of(total);
  }
}

// Puts a finished pixel where the network has it.
void put(uint8_t* input, int y, int x, int c, uint8_t value) {
  const int to = kBlueFirst ? kChannels - 1 - c : c;
  const size_t area = size_t(kCrop.height) * kCrop.width, at = size_t(y) * kCrop.width + x;
  input[kPlanes ? to * area + at : at * kChannels + to] = kInputOf[to][value];
}

void pad(uint8_t* input) {
  for (int y = 0; y < kCrop.height; ++y) {
    for (int x = 0; x < kCrop.width; ++x) {
      for (int c = 0; c < kChannels; ++c) put(input, y, x, c, uint8_t(kGeometry.pad));
    }
  }
}

}  // namespace

size_t prepare_bytes() { return sizeof across + sizeof down + sizeof place + sizeof narrow; }

Status prepare(const Frame& frame, uint8_t* input) {
  if (frame.data == nullptr) return Status::no_frame;
  const Status status = plan(frame.height, frame.width);
  if (status != Status::ok) return status;
  if (place.size.height != kCrop.height || place.size.width != kCrop.width) pad(input);
  const size_t count = size_t(place.size.width) * kChannels;
  const int32_t* weights = down.weights;
  int done = 0;  // rows of the frame above this one are narrow, or of no use
  for (int k = 0; k < place.size.height; ++k) {
    const int begin = down.begins[k], end = begin + down.counts[k];
    for (done = std::max(done, begin); done < end; ++done) {
      narrow_row(frame.data + size_t(done) * frame.stride, narrow[done % most_rows()]);
    }
    for (size_t i = 0; i < count; ++i) {
      int32_t total = kHalf;
      for (int y = begin; y < end; ++y) total += narrow[y % most_rows()][i] * weights[y - begin];
      put(input, place.top + k, place.left + int(i / kChannels), int(i % kChannels),
          value_of(total));
    }
    weights += down.counts[k];
  }
  return Status::ok;
}

}  // namespace classifier
