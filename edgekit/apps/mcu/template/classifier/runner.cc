#include "runner.h"

#include "model.h"
#include "operators.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

#ifdef ESP_PLATFORM
#include "esp_attr.h"
#endif

// Where the arena lies: EXT_RAM_BSS_ATTR puts it into the external memory of an ESP32, for example.
#ifndef CLASSIFIER_ARENA_ATTRIBUTE
#define CLASSIFIER_ARENA_ATTRIBUTE
#endif

namespace classifier {

namespace {

alignas(16) CLASSIFIER_ARENA_ATTRIBUTE uint8_t arena[kArenaBytes];
tflite::MicroInterpreter* interpreter = nullptr;
float real[kScoreCount];

using Resolver = tflite::MicroMutableOpResolver<CLASSIFIER_OPERATORS>;

bool add_operators(Resolver& resolver) {
  using namespace tflite;
#define ADD(name, number, kernel, parser) \
  if (resolver.Add##name() != kTfLiteOk) return false;
  CLASSIFIER_EACH_OPERATOR(ADD)
#undef ADD
  return true;
}

}  // namespace

Status begin() {
  using namespace tflite;
  if (interpreter != nullptr) return Status::ok;
  static Resolver resolver;
  static bool added = add_operators(resolver);
  if (!added) return Status::operators;
  static MicroInterpreter made(GetModel(kModel), resolver, arena, kArenaBytes);
  if (made.AllocateTensors() != kTfLiteOk) return Status::arena;
  if (made.input(0)->bytes != kInputBytes || made.output(0)->bytes != kScoreCount) {
    return Status::model;
  }
  interpreter = &made;
  return Status::ok;
}

size_t arena_used() { return interpreter == nullptr ? 0 : interpreter->arena_used_bytes(); }

uint8_t* input() {
  return interpreter == nullptr ? nullptr
                                : reinterpret_cast<uint8_t*>(interpreter->input(0)->data.raw);
}

Status invoke() {
  using namespace tflite;
  if (interpreter == nullptr) return Status::not_begun;
  if (interpreter->Invoke() != kTfLiteOk) return Status::failed;
  const auto* made = reinterpret_cast<const int8_t*>(interpreter->output(0)->data.raw);
  for (int i = 0; i < kScoreCount; ++i) {
    real[i] = (float(made[i]) - float(kOutputZeroPoint)) * kOutputScale;
  }
  return Status::ok;
}

const float* scores() { return real; }

}  // namespace classifier
