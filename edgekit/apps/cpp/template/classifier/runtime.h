// What runs the model.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "model.h"

namespace classifier {

// The model cannot be loaded or run; the message says why.
class RuntimeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A loaded model; one thread at a time may use it.
class Runtime {
 public:
  virtual ~Runtime() = default;

  // Runs the network on a batch of one. Both are packed, with the types and shapes of `Model`.
  virtual void run(const void* input, void* output) = 0;
};

size_t bytes_of(const Tensor& tensor);

// Throws RuntimeError.
std::unique_ptr<Runtime> load_runtime(const std::string& path, const Model& model, int threads);

}  // namespace classifier
