// Says what images show:
//
//   classifier::Classifier classifier("model");
//   for (const auto& label : classifier.classify(classifier.read("photo.jpg"))) {
//     std::cout << label.name() << " " << label.probability << "\n";
//   }
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "decode.h"
#include "image.h"
#include "model.h"
#include "runtime.h"

namespace classifier {

// A network that says what images show. It is loaded once and used again and again, by one thread
// at a time.
class Classifier {
 public:
  // `folder` holds the model's files. Throws RuntimeError.
  explicit Classifier(const std::string& folder, int threads = 1);

  // Pixels of an image file, in RGBA. Throws ImageError.
  Image read(const std::string& path) const;

  // The likeliest classes of an image in RGBA, the likeliest one first. Throws ImageError.
  std::vector<Label> classify(const Image& image, size_t most = 5);

  // The steps of `classify`: an image as the network takes it, the network's output (one number a
  // class), and what it means.
  std::vector<float> prepare(const Image& image) const;
  std::vector<double> scores(const std::vector<float>& prepared);
  std::vector<Label> labels(const std::vector<double>& scores, size_t most = 5) const;

 private:
  const Model& model_;
  std::unique_ptr<Runtime> runtime_;
};

}  // namespace classifier
