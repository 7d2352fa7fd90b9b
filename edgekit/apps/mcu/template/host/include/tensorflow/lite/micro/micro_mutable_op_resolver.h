// For the host alone; see micro_interpreter.h. It has those functions of TensorFlow Lite Micro's own
// class that add the operators of this model.
#pragma once

#include <cstring>

#include "operators.h"
#include "tensorflow/lite/micro/micro_interpreter.h"

namespace tflite {
inline namespace micro {

#define DECLARE(name, number, kernel, parser) \
  TFLMRegistration kernel();                  \
  TfLiteStatus parser(const Operator*, BuiltinDataAllocator*, void**);
CLASSIFIER_EACH_OPERATOR(DECLARE)
#undef DECLARE

template <unsigned kMost>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  const TFLMRegistration* FindOp(BuiltinOperator number) const override {
    const Added* found = find(number);
    return found == nullptr ? nullptr : &found->kernel;
  }
  const TFLMRegistration* FindOp(const char*) const override { return nullptr; }
  Parser GetOpDataParser(BuiltinOperator number) const override {
    const Added* found = find(number);
    return found == nullptr ? nullptr : found->parser;
  }

#define ADD(name, number, kernel, parser) \
  TfLiteStatus Add##name() { return add(number, kernel(), parser); }
  CLASSIFIER_EACH_OPERATOR(ADD)
#undef ADD

 private:
  struct Added {
    int32_t number;
    TFLMRegistration kernel;
    Parser parser;
  };

  const Added* find(int32_t number) const {
    for (unsigned i = 0; i < count_; ++i) {
      if (added_[i].number == number) return &added_[i];
    }
    return nullptr;
  }

  TfLiteStatus add(int32_t number, const TFLMRegistration& kernel, Parser parser) {
    if (count_ == kMost || find(number) != nullptr) return kTfLiteError;
    added_[count_] = {number, kernel, parser};
    added_[count_++].kernel.builtin_code = number;
    return kTfLiteOk;
  }

  Added added_[kMost];
  unsigned count_ = 0;
};

}  // namespace micro
}  // namespace tflite
