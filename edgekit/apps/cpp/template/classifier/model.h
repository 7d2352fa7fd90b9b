// What the contract says of the model; `model.cc` is written from it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "geometry.h"

namespace classifier {

enum class Alpha { black, white, drop, keep };
enum class Layout { nchw, nhwc };
enum class Type { float32, uint8, int8 };
enum class Scores { logits, probabilities, sigmoid };

// How an image becomes the network's input.
struct Preprocessing : Geometry {
  bool upright;  // turned as its EXIF orientation says
  Alpha alpha;   // what transparency becomes
  bool grey;
  bool blue_first;
  double scale;  // value = (v * scale - mean) / std, in this order, each rounded to float
  std::vector<double> mean, std;  // one for each channel
  Layout layout;
};

// The network's input or output.
struct Tensor {
  Type type;
  std::vector<int64_t> shape;  // the batch first
  // Of integers that stand for real numbers: (integer - zero point) * scale.
  std::optional<double> scale;
  int64_t zero_point;
};

struct Model {
  std::string file;  // its name in the folder of models
  uint64_t bytes;    // of that file
  Preprocessing preprocessing;
  Tensor input, output;
  Scores scores;                    // what outputs are
  std::vector<std::string> labels;  // in UTF-8; empty where classes have no names
};

const Model& model();

}  // namespace classifier
