// For the host alone: what the library in the package tflite-micro for Python (version
// 0.dev20261023182759, Linux on x86-64) has of the interpreter, as far as it is used here. On a
// device TensorFlow Lite Micro's own header is used.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/schema/schema_generated.h"

namespace tflite {
inline namespace micro {

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

struct TfLiteTensor {
  struct {
    int type;
    void* details;
  } quantization;
  struct {
    float scale;
    int32_t zero_point;
  } params;
  union {
    char* raw;
  } data;
  void* dims;
  size_t bytes;
};

class BuiltinDataAllocator;
enum class MemoryPlannerType { kGreedy };
class MicroAllocator {
 public:
  static MicroAllocator* Create(uint8_t* arena, size_t bytes, MemoryPlannerType);
  size_t used_bytes() const;
};
class MicroProfilerInterface;
class MicroResourceVariables;

// Functions of an operator.
struct TFLMRegistration {
  void* init;
  void* free;
  void* prepare;
  void* invoke;
  void* reset;
  int32_t builtin_code;
  const char* custom_name;
};

class MicroOpResolver {
 public:
  using Parser = TfLiteStatus (*)(const Operator*, BuiltinDataAllocator*, void**);
  virtual const TFLMRegistration* FindOp(BuiltinOperator) const = 0;
  virtual const TFLMRegistration* FindOp(const char*) const = 0;
  virtual Parser GetOpDataParser(BuiltinOperator) const = 0;
  virtual ~MicroOpResolver() {}
};

class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver&, MicroAllocator*,
                   MicroResourceVariables* = nullptr, MicroProfilerInterface* = nullptr);
  // As the library's own constructor for an arena does it, but that is not told the allocator.
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, uint8_t* arena, size_t bytes)
      : MicroInterpreter(model, resolver,
                         allocator_ = MicroAllocator::Create(arena, bytes, MemoryPlannerType::kGreedy)) {}
  ~MicroInterpreter();
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteTensor* input(size_t);
  TfLiteTensor* output(size_t);
  size_t arena_used_bytes() const { return allocator_->used_bytes(); }

 private:
  inline static MicroAllocator* allocator_ = nullptr;  // of the only interpreter there is
  alignas(16) unsigned char memory_[4096];  // more than it needs
};

}  // namespace micro
}  // namespace tflite
