// What the outputs of a classifier mean.
#pragma once

#include <string_view>

#include "model.h"

namespace classifier {

// A class, its name where it has one, and how sure the network is, from 0 to 1.
struct Label {
  int index;
  std::string_view label;  // in UTF-8; empty without a name
  double probability;
};

// Writes the likeliest of so many classes, at most `most` and the likeliest one first; gives how
// many. A single score tells two classes apart.
int decode(const float* scores, int count, Scores kind, Label* labels, int most);

}  // namespace classifier
