// For the host alone: what the library in the package tflite-micro for Python has of models. On a
// device TensorFlow Lite Micro's own header is used.
#pragma once

#include <cstdint>
#include <cstring>

namespace tflite {

class Model;
struct Operator;
enum BuiltinOperator : int32_t;

// A file begins with the place of its table.
inline const Model* GetModel(const void* file) {
  uint32_t place;
  std::memcpy(&place, file, sizeof place);
  return reinterpret_cast<const Model*>(static_cast<const uint8_t*>(file) + place);
}

}  // namespace tflite
