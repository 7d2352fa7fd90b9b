// Files in their runtimes, whose libraries are loaded when they are needed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "json.h"
#include "wire.h"

namespace edgekit {

// An input or output; see `edgekit.core.TensorSpec`.
struct Tensor {
  std::string name;
  std::string dtype;  // NumPy's name, such as "float32"
  std::string layout;
  std::vector<int64_t> shape;  // -1 for what the file leaves open
  std::vector<std::string> names;  // of sizes that have one, else empty
  std::optional<double> scale;
  std::optional<int64_t> zero_point;

  Json json() const;
};

// NumPy's short word for a type, such as "<f4" for "float32"; empty where it has no numbers.
std::string kind_of(const std::string& dtype);
size_t bytes_of(const std::vector<int64_t>& shape, const std::string& dtype);

// A file as the one that asks describes it; see `edgekit.agent.files.File`.
struct Subject {
  explicit Subject(const Json& request);

  std::string path, name, runtime;
  std::vector<std::string> files;
  std::optional<int> threads;
  std::optional<int64_t> batch;
  bool shapes_given = false;
  std::map<std::string, std::vector<int64_t>> shapes;
  std::optional<std::string> inputs;
  double allowed_mib = 0, allowed_s = 0;

  // Messages call files as the one that asks does.
  std::string renamed(std::string text) const;
};

// Replaces what a file leaves open in the shapes of its inputs. Throws Failure.
void close_shapes(const Subject& subject, std::vector<Tensor>& inputs);

// What a file is timed with: noise, or what it was given. Throws Failure.
std::vector<Array> inputs_of(const Subject& subject, const std::vector<Tensor>& tensors);

// A file that was loaded.
class Loaded {
 public:
  virtual ~Loaded() = default;
  const std::vector<Tensor>& inputs() const { return inputs_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }
  virtual void set(const std::vector<Array>& values) = 0;
  virtual void invoke() = 0;
  virtual std::vector<Array> results() = 0;

 protected:
  // Throws Failure where arrays are not those of the inputs.
  void check(const std::vector<Array>& values) const;
  std::vector<Tensor> inputs_, outputs_;
};

// A runtime whose library is loaded.
class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual std::unique_ptr<Loaded> load(const Subject& subject) = 0;
};

// Libraries that were given, the paths and what to call each, such as its digest.
struct Library {
  std::string path, label;
};

// Loads libraries, those that others need first, and finds the runtime of a file among them.
std::unique_ptr<Runtime> runtime_for(const Subject& subject, const std::vector<Library>& libraries);

// Distributions that stand for the libraries, and their versions.
Json versions(const std::vector<Library>& libraries);

// Each null where a library is another one.
std::unique_ptr<Runtime> litert(void* library);
std::unique_ptr<Runtime> onnxruntime(void* library);
std::string onnxruntime_version(void* library);

constexpr char kLitert[] = "ai-edge-litert", kOnnxruntime[] = "onnxruntime";

}  // namespace edgekit
