// What belongs to the images in `golden`; golden/golden.cc has the same numbers as golden.json.
#pragma once

#include <string>
#include <vector>

#include "model.h"

struct GoldenScores {
  std::string of;  // "file" or "network"
  double least_db;
  std::vector<double> values;
};

struct GoldenLabel {
  int index;
  std::string label;
  double probability;
};

struct GoldenImage {
  std::string file, pixels;         // names in `golden`
  double most_off_one, most_off_mean;  // of 255
  std::vector<GoldenScores> scores;
  std::vector<GoldenLabel> labels;
};

struct Vector {
  classifier::Scores kind;
  std::vector<double> scores, probabilities;
};

std::vector<std::string> processors();  // that the model was written for; none for all
std::vector<GoldenImage> golden_images();
std::vector<Vector> score_vectors();
