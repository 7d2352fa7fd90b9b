// Prepares images as the app in C++ does: `prepare CASES OUT`.
//
// CASES has a line for each image: its path, and the fields of Preprocessing as numbers. OUT becomes
// the numbers of all, one after the other; standard output gets their counts, or what was refused.
#include <fstream>
#include <iostream>
#include <sstream>

#include "image.h"
#include "preprocess.h"

using namespace classifier;

template <typename T>
T choice(std::istream& from) {
  int number = 0;
  from >> number;
  return static_cast<T>(number);
}

Size size(std::istream& from) {
  Size found{};
  from >> found.height >> found.width;
  return found;
}

int main(int, char** words) {
  std::ifstream cases(words[1]);
  std::ofstream out(words[2], std::ios::binary);
  std::string line, path;
  while (std::getline(cases, line)) {
    std::istringstream from(line);
    Preprocessing how{};
    from >> path;
    how.fit = choice<Fit>(from);
    const Size resize = size(from);
    if (resize.height > 0) how.resize = resize;
    how.crop = size(from);
    from >> how.pad;
    how.interpolation = choice<Interpolation>(from);
    from >> how.upright;
    how.alpha = choice<Alpha>(from);
    from >> how.grey >> how.blue_first >> how.scale;
    how.layout = choice<Layout>(from);
    const int channels = how.grey ? 1 : how.alpha == Alpha::keep ? 4 : 3;
    for (auto* all : {&how.mean, &how.std}) {
      all->resize(channels);
      for (double& value : *all) from >> value;
    }
    try {
      const auto found = values(finished_pixels(read_image(path, how.upright), how), how);
      out.write(reinterpret_cast<const char*>(found.data()), found.size() * sizeof(float));
      std::cout << found.size() << "\n";
    } catch (const ImageError& error) {
      std::cout << error.what() << "\n";
    }
  }
}
