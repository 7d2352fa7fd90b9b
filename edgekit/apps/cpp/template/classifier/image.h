// Decodes image files to pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace classifier {

// A phone's 50 megapixels; a few kilobytes can stand for any number of pixels.
constexpr uint64_t kMaxPixels = 51'000'000;

// An image that cannot be used; the message says why.
class ImageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Pixels of 8 bits: rows of pixels, channels of a pixel side by side.
struct Image {
  int width = 0, height = 0, channels = 0;
  std::vector<uint8_t> data;

  Image() = default;
  Image(int width, int height, int channels)
      : width(width), height(height), channels(channels), data(size_t(width) * height * channels) {}
};

// A PNG or JPEG file in RGBA; colours are not multiplied by the opacity. `upright` turns it as its
// EXIF orientation says. Throws ImageError.
Image read_image(const std::string& path, bool upright);

// The same of the bytes of a file.
Image decode_image(const std::vector<uint8_t>& bytes, bool upright);

// The image turned by an EXIF orientation, 1 (as it is) to 8.
Image turned(Image image, int orientation);

}  // namespace classifier
