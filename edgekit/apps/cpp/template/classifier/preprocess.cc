#include "preprocess.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "resample.h"

// Needs -ffp-contract=off, as geometry.cc does.

namespace classifier {

namespace {

// Transparency and grey, before anything is resampled.
Image with_channels(const Image& image, const Preprocessing& how) {
  if (how.alpha == Alpha::keep) return image;
  Image found(image.width, image.height, how.grey ? 1 : 3);
  const int behind = how.alpha == Alpha::white ? 255 : 0;
  const uint8_t* from = image.data.data();
  const uint8_t* end = from + image.data.size();
  for (uint8_t* to = found.data.data(); from != end; from += 4, to += found.channels) {
    const int opacity = how.alpha == Alpha::drop ? 255 : from[3];
    const int base = behind * (255 - opacity) + 127;
    const int red = (from[0] * opacity + base) / 255;
    const int green = (from[1] * opacity + base) / 255;
    const int blue = (from[2] * opacity + base) / 255;
    if (how.grey) {
      to[0] = grey_of(red, green, blue);
    } else {
      to[0] = static_cast<uint8_t>(red);
      to[1] = static_cast<uint8_t>(green);
      to[2] = static_cast<uint8_t>(blue);
    }
  }
  return found;
}

}  // namespace

Image finished_pixels(const Image& image, const Preprocessing& how) {
  const auto [box, size, top, left, whole] = placed(image.height, image.width, how);
  if (whole.height < size.height || whole.width < size.width) {
    throw ImageError("the image is " + std::to_string(whole.width) + " x " +
                     std::to_string(whole.height) + " px where the network takes " +
                     std::to_string(size.width) + " x " + std::to_string(size.height) +
                     ": give a larger one");
  }
  Image shown = resample(with_channels(image, how), size, box, how.interpolation);
  const auto [tall, wide] = how.crop;
  if (size.height == tall && size.width == wide) return shown;
  Image found(wide, tall, shown.channels);
  std::fill(found.data.begin(), found.data.end(), static_cast<uint8_t>(how.pad));
  const size_t count = size_t(size.width) * shown.channels;
  for (int y = 0; y < size.height; ++y) {
    std::memcpy(&found.data[(size_t(top + y) * wide + left) * shown.channels],
                &shown.data[y * count], count);
  }
  return found;
}

std::vector<float> values(const Image& pixels, const Preprocessing& how) {
  const size_t channels = pixels.channels, area = pixels.data.size() / channels;
  std::vector<float> found(pixels.data.size());
  const bool planes = how.layout == Layout::nchw;
  for (size_t c = 0; c < channels; ++c) {
    const float scale = float(how.scale), mean = float(how.mean[c]), std = float(how.std[c]);
    std::array<float, 256> table;  // what becomes of the values of this channel
    for (int v = 0; v < 256; ++v) {
      float value = static_cast<float>(v) * scale;
      value -= mean;
      table[v] = value / std;
    }
    const size_t source = how.blue_first && c < 3 ? 2 - c : c;
    for (size_t i = 0; i < area; ++i) {
      found[planes ? c * area + i : i * channels + c] = table[pixels.data[i * channels + source]];
    }
  }
  return found;
}

}  // namespace classifier
