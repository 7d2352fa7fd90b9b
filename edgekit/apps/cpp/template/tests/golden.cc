// Runs the app on the images in `golden`, and holds what it gives against what is known:
//
//   golden_test pixels|scores|labels|processor GOLDEN MODEL
//
// A failure of `pixels` is one of decoding or resizing, `scores` of the runtime or the model, `labels`
// of what the outputs are taken for, `processor` of a model that was written for another kind of
// processor: its scores are somewhat other ones here.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>

#include "checks.h"
#include "classifier.h"
#include "preprocess.h"

namespace {

using classifier::Classifier;
using classifier::Image;

// Finished pixels as they are kept: a PNG file with the network's channels.
Image kept_pixels(const std::string& path) {
  const auto& how = classifier::model().preprocessing;
  const Image all = classifier::read_image(path, false);
  Image found(all.width, all.height, how.grey ? 1 : how.alpha == classifier::Alpha::keep ? 4 : 3);
  for (size_t i = 0; i < found.data.size(); ++i) {
    found.data[i] = all.data[i / found.channels * 4 + i % found.channels];
  }
  return found;
}

void test_pixels(const std::string& folder) {
  for (const auto& image : golden_images()) {
    const char* name = image.file.c_str();
    const auto& how = classifier::model().preprocessing;
    const Image read = classifier::read_image(folder + "/" + image.file, how.upright);
    const Image found = classifier::finished_pixels(read, how);
    const Image expected = kept_pixels(folder + "/" + image.pixels);
    if (found.data.size() != expected.data.size() || found.width != expected.width) {
      expect(false, "%s: %d x %d px, expected %d x %d", name, found.width, found.height,
             expected.width, expected.height);
      continue;
    }
    double most = 0, sum = 0;
    for (size_t i = 0; i < found.data.size(); ++i) {
      const double off = std::abs(int(found.data[i]) - int(expected.data[i]));
      most = std::max(most, off);
      sum += off;
    }
    const double mean = sum / double(found.data.size());
    expect(most <= image.most_off_one, "%s: a pixel is off by %g: at most %g", name, most,
           image.most_off_one);
    expect(mean <= image.most_off_mean, "%s: pixels are off by %.2f: at most %g", name, mean,
           image.most_off_mean);
  }
  for (const std::string& content : {std::string(), std::string("no image"),
                                     std::string("\x89PNG\r\n\x1a\n"), std::string("\xff\xd8\xff")}) {
    try {
      classifier::decode_image({content.begin(), content.end()}, true);
      expect(false, "what is no image was taken for one");
    } catch (const classifier::ImageError&) {
    }
  }
}

void test_scores(const std::string& folder, const std::string& model) {
  Classifier classifier(model);
  for (const auto& image : golden_images()) {
    const Image pixels = kept_pixels(folder + "/" + image.pixels);
    const auto found = classifier.scores(
        classifier::values(pixels, classifier::model().preprocessing));
    expect_scores(image, found);
  }
}

void test_labels() {
  for (const auto& image : golden_images()) {
    const char* name = image.file.c_str();
    for (const auto& scores : image.scores) {
      if (scores.of != "file") continue;
      const auto found = classifier::decode(scores.values, classifier::model(), image.labels.size());
      expect(found.size() == image.labels.size(), "%s: %zu labels", name, found.size());
      for (size_t i = 0; i < std::min(found.size(), image.labels.size()); ++i) {
        const auto& known = image.labels[i];
        expect(found[i].index == known.index && found[i].label == known.label,
               "%s: class %d, expected %d", name, found[i].index, known.index);
        expect(std::fabs(found[i].probability - known.probability) < 1e-6,
               "%s: probability %g, expected %g", name, found[i].probability, known.probability);
      }
    }
  }
  for (const auto& vector : score_vectors()) {
    const auto found = classifier::probabilities(vector.scores, vector.kind);
    expect(found.size() == vector.probabilities.size(), "a vector of scores: %zu probabilities",
           found.size());
    for (size_t i = 0; i < std::min(found.size(), vector.probabilities.size()); ++i) {
      expect(std::fabs(found[i] - vector.probabilities[i]) < 1e-9,
             "a vector of scores: probability %g, expected %g", found[i], vector.probabilities[i]);
    }
  }
}

// The kind of this processor.
std::string processor() {
#if defined(__aarch64__) || defined(__arm__)
  return "arm";
#else
  std::ifstream about("/proc/cpuinfo");
  for (std::string word; about >> word;) {
    if (word == "avx_vnni" || word == "avx512_vnni") return "x86-vnni";
  }
  return "x86";
#endif
}

void test_processor() {
  const auto written = processors();
  std::string names;
  for (const auto& name : written) names += (names.empty() ? "" : ", ") + name;
  expect(written.empty() || std::find(written.begin(), written.end(), processor()) != written.end(),
         "the model was written for %s, and this is %s: export it for this processor, with --isa",
         names.c_str(), processor().c_str());
}

}  // namespace

int main(int count, char** words) {
  if (count != 4) {
    std::fprintf(stderr, "usage: golden_test pixels|scores|labels|processor GOLDEN MODEL\n");
    return 2;
  }
  const std::string name = words[1];
  try {
    if (name == "pixels") test_pixels(words[2]);
    if (name == "scores") test_scores(words[2], words[3]);
    if (name == "labels") test_labels();
    if (name == "processor") test_processor();
  } catch (const std::exception& error) {
    expect(false, "%s", error.what());
  }
  std::printf("%s: %d failures\n", name.c_str(), failures);
  return failures == 0 ? 0 : 1;
}
