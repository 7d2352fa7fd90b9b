// What the outputs of a classifier mean.
#pragma once

#include <string>
#include <vector>

#include "model.h"

namespace classifier {

// A class, its name where it has one, and how sure the network is, from 0 to 1.
struct Label {
  int index;
  std::string label;  // empty without a name
  double probability;

  // The class as people call it.
  std::string name() const { return label.empty() ? "class " + std::to_string(index) : label; }
};

// Probabilities of all classes; a single score tells two classes apart.
std::vector<double> probabilities(const std::vector<double>& scores, Scores kind);

// The likeliest classes, the likeliest one first.
std::vector<Label> decode(const std::vector<double>& scores, const Model& model, size_t most = 5);

}  // namespace classifier
