#include "classifier.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <system_error>

#include "preprocess.h"

namespace classifier {

namespace {

// Real values as the file takes them, which may be integers with a scale.
template <typename T>
void store(const std::vector<float>& values, const Tensor& tensor, uint8_t* to) {
  const float scale = tensor.scale ? float(*tensor.scale) : 1.0f;
  const float zero_point = static_cast<float>(tensor.zero_point);
  for (size_t i = 0; i < values.size(); ++i) {
    const float step = std::nearbyint(values[i] / scale) + zero_point;
    const float most = std::numeric_limits<T>::max(), least = std::numeric_limits<T>::min();
    const T stored = static_cast<T>(std::clamp(step, least, most));
    std::memcpy(to + i, &stored, 1);
  }
}

// What the file computed, as real values.
template <typename T>
double real(const uint8_t* from, size_t i, const Tensor& tensor) {
  T stored;
  std::memcpy(&stored, from + i * sizeof(T), sizeof(T));
  if (!tensor.scale) return static_cast<double>(stored);
  const float steps = static_cast<float>(stored) - static_cast<float>(tensor.zero_point);
  return static_cast<double>(steps * static_cast<float>(*tensor.scale));
}

// The model's file. Runtimes crash on damaged ones, so what is cut short is not given to them.
std::string checked(const std::string& folder, const Model& model) {
  const auto path = std::filesystem::path(folder) / model.file;
  std::error_code none;
  if (std::filesystem::file_size(path, none) != model.bytes || none) {
    throw RuntimeError(path.string() + (none ? " cannot be read: " + none.message()
                                             : " is damaged, or another model than model.cc says"));
  }
  return path.string();
}

size_t count_of(const Tensor& tensor) {
  size_t count = 1;
  for (const int64_t side : tensor.shape) count *= static_cast<size_t>(side);
  return count;
}

}  // namespace

size_t bytes_of(const Tensor& tensor) {
  return count_of(tensor) * (tensor.type == Type::float32 ? sizeof(float) : 1);
}

Classifier::Classifier(const std::string& folder, int threads)
    : model_(model()), runtime_(load_runtime(checked(folder, model_), model_, threads)) {}

Image Classifier::read(const std::string& path) const {
  return read_image(path, model_.preprocessing.upright);
}

std::vector<Label> Classifier::classify(const Image& image, size_t most) {
  return labels(scores(prepare(image)), most);
}

std::vector<float> Classifier::prepare(const Image& image) const {
  return values(finished_pixels(image, model_.preprocessing), model_.preprocessing);
}

std::vector<double> Classifier::scores(const std::vector<float>& prepared) {
  std::vector<uint8_t> given(bytes_of(model_.input)), made(bytes_of(model_.output));
  if (prepared.size() != count_of(model_.input)) throw RuntimeError("the input has another size");
  switch (model_.input.type) {
    case Type::float32: std::memcpy(given.data(), prepared.data(), given.size()); break;
    case Type::uint8: store<uint8_t>(prepared, model_.input, given.data()); break;
    case Type::int8: store<int8_t>(prepared, model_.input, given.data()); break;
  }
  runtime_->run(given.data(), made.data());
  std::vector<double> found(count_of(model_.output));
  for (size_t i = 0; i < found.size(); ++i) {
    switch (model_.output.type) {
      case Type::float32: found[i] = real<float>(made.data(), i, model_.output); break;
      case Type::uint8: found[i] = real<uint8_t>(made.data(), i, model_.output); break;
      case Type::int8: found[i] = real<int8_t>(made.data(), i, model_.output); break;
    }
  }
  return found;
}

std::vector<Label> Classifier::labels(const std::vector<double>& scores, size_t most) const {
  return decode(scores, model_, most);
}

}  // namespace classifier
