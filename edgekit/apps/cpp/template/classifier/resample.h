// Resamples images of 8 bits in integers, exactly as edgekit does.
#pragma once

#include "image.h"
#include "model.h"

namespace classifier {

// Edges of a part of an image, in pixels; they may lie inside pixels.
struct Box {
  double left, top, right, bottom;
};

// A part of an image in another size: its width first, then its height. Pixels outside count where
// the filter reaches them.
Image resample(const Image& image, Size size, const Box& box, Interpolation interpolation);

}  // namespace classifier
