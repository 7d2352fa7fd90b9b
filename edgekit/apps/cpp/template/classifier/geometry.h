// Where an image goes in the network's input, and what each of its pixels is made of. Needs no
// memory but its caller's, and throws nothing.
#pragma once

#include <cstdint>
#include <optional>

namespace classifier {

struct Size {
  int height, width;
};

enum class Fit { crop, stretch, letterbox };
enum class Interpolation { nearest, bilinear, bicubic, area };

// How an image gets the network's size.
struct Geometry {
  Fit fit;
  std::optional<Size> resize;
  Size crop;
  int pad;  // value of all channels around an image that is letterboxed
  Interpolation interpolation;
};

// Edges of a part of an image, in pixels; they may lie inside pixels.
struct Box {
  double left, top, right, bottom;
};

struct Placement {
  Box box;         // the part that is shown
  Size size;       // of that part in the network's input
  int top, left;   // where it begins there
  Size whole;      // of the whole image as it is resized; smaller than `size`: it cannot be shown
};

// Where an image goes that is so many pixels high and wide.
Placement placed(int height, int width, const Geometry& how);

// What pixels along one axis are made of, one after the other.
class Taps {
 public:
  // `count` pixels between two edges of `size` ones.
  Taps(int size, int count, double first, double last, Interpolation filter);

  // Room that the weights of a pixel need.
  int most() const;

  // The next one is made of pixels from `begin` on, each times its weight; gives how many.
  int next(int32_t* weights, int& begin);

 private:
  const int size_;
  const Interpolation filter_;
  const bool same_;
  double start_, step_, place_;
  int k_ = 0;
};

constexpr int kPrecisionBits = 22;                    // behind the point of a weight
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);  // a sum of products begins with it

// The pixel of a sum of products.
inline uint8_t value_of(int32_t total) {
  const int32_t value = total >> kPrecisionBits;
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// The grey of a colour.
inline uint8_t grey_of(int red, int green, int blue) {
  return static_cast<uint8_t>((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16);
}

}  // namespace classifier
