// Runs the app on the frames in `golden`, and holds what it gives against what is known:
//
//   python host/run.py build/libgolden_test.so pixels|scores|labels GOLDEN
//
// A failure of `pixels` is one of resizing, `scores` of the interpreter, the model or the values that
// pixels become, `labels` of what the outputs are taken for.
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "checks.h"
#include "classifier.h"

namespace {

using classifier::Frame;
using classifier::Status;

struct Image {
  int width = 0, height = 0, channels = 0;
  std::vector<uint8_t> data;
};

// A PPM or PGM file as edgekit writes it.
Image read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int most = 0;
  Image found;
  file >> kind >> found.width >> found.height >> most;
  found.channels = kind == "P5" ? 1 : 3;
  file.get();
  found.data.resize(size_t(found.width) * found.height * found.channels);
  file.read(reinterpret_cast<char*>(found.data.data()), std::streamsize(found.data.size()));
  expect(bool(file) && most == 255, "%s cannot be read", path.c_str());
  return found;
}

Frame frame_of(const Image& image) {
  return {image.data.data(), image.width, image.height, size_t(image.width) * image.channels};
}

// Finished pixels as the network takes them.
std::vector<uint8_t> input_of(const Image& pixels) {
  using namespace classifier;
  std::vector<uint8_t> found(pixels.data.size());
  const size_t channels = pixels.channels, area = pixels.data.size() / channels;
  for (size_t i = 0; i < area; ++i) {
    for (size_t c = 0; c < channels; ++c) {
      const uint8_t value = pixels.data[i * channels + (kBlueFirst ? channels - 1 - c : c)];
      found[kPlanes ? c * area + i : i * channels + c] = kInputOf[c][value];
    }
  }
  return found;
}

void test_pixels(const std::string& folder) {
  // Once more in the end: what is kept of a size must not spoil another one.
  for (int turn = 0; turn < 2; ++turn) {
    for (const auto& image : golden_images()) {
      const char* name = image.file.c_str();
      const auto expected = input_of(read(folder + "/pixels/" + image.file + ".ppm"));
      expect(expected.size() == classifier::kInputBytes, "%s: %zu bytes", name, expected.size());
      std::vector<uint8_t> found(classifier::kInputBytes);
      const Image read_frame = read(folder + "/frames/" + image.file + ".ppm");
      const Status status = classifier::prepare(frame_of(read_frame), found.data());
      expect(status == Status::ok, "%s: %s", name, classifier::message(status));
      size_t off = 0;
      for (size_t i = 0; i < expected.size(); ++i) off += found[i] != expected[i];
      expect(off == 0, "%s: %zu of %zu values are other ones", name, off, expected.size());
    }
  }
  const uint8_t pixel[3] = {};
  uint8_t none = 0;
  const int longest = classifier::kMaxSide + 1;
  for (const auto& [frame, expected] :
       {std::pair{Frame{nullptr, 8, 8, 24}, Status::no_frame},
        std::pair{Frame{pixel, 0, 0, 0}, Status::no_frame},
        std::pair{Frame{pixel, longest, 1, 3}, Status::large},
        std::pair{Frame{pixel, 1, longest, 3}, Status::large}}) {
    expect(classifier::prepare(frame, &none) == expected, "%d x %d px", frame.width, frame.height);
  }
}

void test_scores(const std::string& folder) {
  expect(classifier::invoke() == Status::not_begun, "it runs before it has begun");
  const Status begun = classifier::begin();
  expect(begun == Status::ok, "%s", classifier::message(begun));
  if (begun != Status::ok) return;
  const size_t used = classifier::arena_used();
  expect(used > 0 && used <= classifier::kArenaBytes, "the arena: %zu bytes", used);
  for (const auto& image : golden_images()) {
    const auto pixels = input_of(read(folder + "/pixels/" + image.file + ".ppm"));
    std::copy(pixels.begin(), pixels.end(), classifier::input());
    const Status status = classifier::invoke();
    expect(status == Status::ok, "%s: %s", image.file.c_str(), classifier::message(status));
    const float* scores = classifier::scores();
    expect_scores(image, {scores, scores + classifier::kScoreCount});
  }
}

std::vector<classifier::Label> decoded(const std::vector<double>& scores, classifier::Scores kind,
                                       size_t most) {
  const std::vector<float> given(scores.begin(), scores.end());
  std::vector<classifier::Label> found(most);
  found.resize(classifier::decode(given.data(), int(given.size()), kind, found.data(), int(most)));
  return found;
}

void test_labels() {
  for (const auto& image : golden_images()) {
    const char* name = image.file.c_str();
    for (const auto& scores : image.scores) {
      if (scores.of != "file") continue;
      const auto found = decoded(scores.values, classifier::kScores, image.labels.size());
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
    const size_t count = vector.probabilities.size();
    const auto found = decoded(vector.scores, vector.kind, count);
    expect(found.size() == count, "a vector of scores: %zu probabilities", found.size());
    for (const auto& label : found) {
      const double known = vector.probabilities[label.index];
      expect(std::fabs(label.probability - known) < 1e-6,
             "a vector of scores: probability %g, expected %g", label.probability, known);
    }
  }
}

}  // namespace

extern "C" int edge_main(int count, char** words) {
  if (count != 3) {
    std::fprintf(stderr, "usage: golden_test pixels|scores|labels GOLDEN\n");
    return 2;
  }
  const std::string name = words[1];
  if (name == "pixels") test_pixels(words[2]);
  if (name == "scores") test_scores(words[2]);
  if (name == "labels") test_labels();
  std::printf("%s: %d failures\n", name.c_str(), failures);
  std::fflush(stdout);
  return failures == 0 ? 0 : 1;
}
