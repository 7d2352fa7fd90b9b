// Resamples images of 8 bits in integers, exactly as edgekit does.
#pragma once

#include "geometry.h"
#include "image.h"

namespace classifier {

// A part of an image in another size: its width first, then its height. Pixels outside count where
// the filter reaches them.
Image resample(const Image& image, Size size, const Box& box, Interpolation interpolation);

}  // namespace classifier
