#include "preprocess.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "resample.h"

// Needs -ffp-contract=off, as resample.cc does.

namespace classifier {

namespace {

// side * part / whole, rounded half up.
int in_proportion(int side, int part, int whole) {
  return static_cast<int>((2 * int64_t(side) * part + whole) / (2 * int64_t(whole)));
}

// Edges of the middle along one axis, in pixels of the image before it is resized.
void middle(int side, int resized, int crop, double& first, double& last) {
  const int64_t offset = (resized - crop) / 2;
  first = static_cast<double>(offset * side) / resized;
  last = static_cast<double>((offset + crop) * side) / resized;
}

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
      to[0] = static_cast<uint8_t>((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16);
    } else {
      to[0] = static_cast<uint8_t>(red);
      to[1] = static_cast<uint8_t>(green);
      to[2] = static_cast<uint8_t>(blue);
    }
  }
  return found;
}

Image letterboxed(const Image& image, const Preprocessing& how) {
  const auto [tall, wide] = how.crop;
  const int height = image.height, width = image.width;
  const bool by_height = int64_t(tall) * width <= int64_t(wide) * height;
  const int part = by_height ? tall : wide, whole = by_height ? height : width;
  const Size size{std::max(1, in_proportion(height, part, whole)),
                  std::max(1, in_proportion(width, part, whole))};
  const Box all{0, 0, double(width), double(height)};
  const Image shown = resample(with_channels(image, how), size, all, how.interpolation);
  Image found(wide, tall, shown.channels);
  std::fill(found.data.begin(), found.data.end(), static_cast<uint8_t>(how.pad));
  const size_t top = (tall - size.height) / 2, left = (wide - size.width) / 2;
  const size_t count = size_t(size.width) * shown.channels;
  for (int y = 0; y < size.height; ++y) {
    std::memcpy(&found.data[((top + y) * wide + left) * shown.channels], &shown.data[y * count],
                count);
  }
  return found;
}

}  // namespace

Image finished_pixels(const Image& image, const Preprocessing& how) {
  if (how.fit == Fit::letterbox) return letterboxed(image, how);
  const int height = image.height, width = image.width;
  Size whole{height, width};
  if (how.fit == Fit::stretch) {
    whole = how.resize.value_or(how.crop);
  } else if (how.resize) {
    const auto [least_height, least_width] = *how.resize;
    const bool by_height = int64_t(least_height) * width >= int64_t(least_width) * height;
    const int part = by_height ? least_height : least_width, of = by_height ? height : width;
    whole = {in_proportion(height, part, of), in_proportion(width, part, of)};
  }
  if (whole.height < how.crop.height || whole.width < how.crop.width) {
    throw ImageError("the image is " + std::to_string(whole.width) + " x " +
                     std::to_string(whole.height) + " px where the network takes " +
                     std::to_string(how.crop.width) + " x " + std::to_string(how.crop.height) +
                     ": give a larger one");
  }
  Box box{};
  middle(height, whole.height, how.crop.height, box.top, box.bottom);
  middle(width, whole.width, how.crop.width, box.left, box.right);
  return resample(with_channels(image, how), how.crop, box, how.interpolation);
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
