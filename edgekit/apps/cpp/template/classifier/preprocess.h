// Makes a network's input from pixels, as the contract says.
#pragma once

#include "image.h"
#include "model.h"

namespace classifier {

// An image in the network's size: transparency, grey and size, all of it in integers. `image` is
// in RGBA; the result has the network's channels, RGB where these are colours. Throws ImageError.
Image finished_pixels(const Image& image, const Preprocessing& how);

// Finished pixels as the network takes them: scale, mean, standard deviation and axes.
std::vector<float> values(const Image& pixels, const Preprocessing& how);

}  // namespace classifier
