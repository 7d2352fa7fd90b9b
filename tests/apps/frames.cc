// Prepares frames as the app for microcontrollers does: `frames FRAMES OUT`.
//
// FRAMES has the width and the height of each as two bytes, and its pixels, one after the other. OUT
// becomes the network's input of each, behind a byte that says what became of it.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include "model.h"
#include "prepare.h"

using namespace classifier;

int main(int, char** words) {
  std::ifstream from(words[1], std::ios::binary);
  std::ofstream out(words[2], std::ios::binary);
  const std::vector<char> all{std::istreambuf_iterator<char>(from), {}};
  std::vector<uint8_t> input(kInputBytes);
  for (size_t at = 0; at < all.size();) {
    const auto* data = reinterpret_cast<const uint8_t*>(&all[at]);
    const int width = data[0], height = data[1];
    const size_t stride = 3 * size_t(width) + 1;  // rows may lie apart
    const Status status = prepare({data + 2, width, height, stride}, input.data());
    out.put(static_cast<char>(status));
    out.write(reinterpret_cast<const char*>(input.data()), std::streamsize(input.size()));
    at += 2 + stride * height;
  }
}
