// ONNX Runtime by its C interface, of libonnxruntime.so 1.12 or later.
//
// That interface is a table of functions, each of which keeps its place in all versions; those that
// are used stand here with theirs.
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "runtime.h"

namespace edgekit {

namespace {

using Handle = void*;

struct Base {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version)();
};

constexpr uint32_t kVersion = 12;
constexpr size_t kMostTensors = 256;
constexpr int kQuiet = 3, kArena = 1, kDefaultMemory = 0;

enum Place : size_t {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kDisableTelemetry = 6,
  kCreateSession = 7,
  kCreateSessionOptions = 10,
  kSetLogSeverity = 22,
  kSetIntraThreads = 24,
  kSetInterThreads = 25,
  kCountInputs = 30,
  kCountOutputs = 31,
  kGetInputType = 33,
  kGetOutputType = 34,
  kGetInputName = 36,
  kGetOutputName = 37,
  kCreateTensor = 49,
  kGetTensorData = 51,
  kCastToTensor = 55,
  kGetElementType = 60,
  kCountAxes = 61,
  kGetAxes = 62,
  kGetAxisNames = 63,
  kGetTypeAndShape = 65,
  kCreateCpuMemory = 69,
  kFreeMemory = 76,
  kGetAllocator = 78,
  kReleaseEnv = 92,
  kReleaseStatus = 93,
  kReleaseMemoryInfo = 94,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseTypeInfo = 98,
  kReleaseTypeAndShape = 99,
  kReleaseSessionOptions = 100,
  kGetMetadata = 111,
  kLookUpMetadata = 116,
  kReleaseMetadata = 118,
  kRunWithBinding = 133,
  kCreateBinding = 134,
  kReleaseBinding = 135,
  kBindInput = 136,
  kBindOutputToDevice = 138,
  kGetBoundOutputs = 140,
};

// See exporters/_onnx_runner.py.
constexpr char kScales[] = "edgekit.quantization";

std::string type_name(int element) {
  switch (element) {
    case 1: return "float32";
    case 2: return "uint8";
    case 3: return "int8";
    case 4: return "uint16";
    case 5: return "int16";
    case 6: return "int32";
    case 7: return "int64";
    case 8: return "string";
    case 9: return "bool";
    case 10: return "float16";
    case 11: return "float64";
    case 12: return "uint32";
    case 13: return "uint64";
    case 14: return "complex64";
    case 15: return "complex128";
    case 16: return "bfloat16";
    default: return "type " + std::to_string(element);
  }
}

int type_number(const std::string& name) {
  for (int element = 1; element <= 16; ++element) {
    if (type_name(element) == name) return element;
  }
  return 0;
}

class Api {
 public:
  explicit Api(void* library) {
    const auto base = reinterpret_cast<const Base* (*)()>(dlsym(library, "OrtGetApiBase"));
    base_ = base == nullptr ? nullptr : base();
    table_ = base_ == nullptr ? nullptr : base_->get_api(kVersion);
    if (table_ == nullptr) throw unavailable("libonnxruntime.so is too old: expected ONNX Runtime 1.12 or later");
  }

  std::string version() const { return base_->get_version(); }

  // Calls a function that gives a status; the text of what went wrong, empty where nothing did.
  template <typename... Arguments>
  std::string call(Place place, Arguments... arguments) const {
    const auto function = reinterpret_cast<Handle (*)(Arguments...)>(const_cast<void*>(table_[place]));
    Handle status = function(arguments...);
    if (status == nullptr) return "";
    const auto message = reinterpret_cast<const char* (*)(Handle)>(const_cast<void*>(table_[kGetErrorMessage]));
    std::string text = message(status);
    release(kReleaseStatus, status);
    return text.empty() ? "it does not say why" : text;
  }

  void release(Place place, Handle handle) const {
    if (handle != nullptr) reinterpret_cast<void (*)(Handle)>(const_cast<void*>(table_[place]))(handle);
  }

 private:
  const Base* base_ = nullptr;
  const void* const* table_ = nullptr;
};

class OnnxFile : public Loaded {
 public:
  OnnxFile(const Api& api, const Subject& subject) : api_(api), subject_(subject) {
    loading(api_.call(kCreateEnv, kQuiet, "edgekit", &environment_));
    loading(api_.call(kDisableTelemetry, environment_));
    open_session();
    loading(api_.call(kGetAllocator, &allocator_));
    loading(api_.call(kCreateCpuMemory, kArena, kDefaultMemory, &memory_));
    describe(true, inputs_);
    describe(false, outputs_);
    find_scales();
    const std::vector<Tensor> written = inputs_;
    close_shapes(subject, inputs_);
    close_outputs(written);
    loading(api_.call(kCreateBinding, session_, &binding_));
    for (const Tensor& output : outputs_) {
      // Made by the first run, and kept.
      loading(api_.call(kBindOutputToDevice, binding_, output.name.c_str(), memory_));
    }
  }

  ~OnnxFile() override {
    api_.release(kReleaseBinding, binding_);
    for (Handle value : values_) api_.release(kReleaseValue, value);
    api_.release(kReleaseMemoryInfo, memory_);
    api_.release(kReleaseSession, session_);
    api_.release(kReleaseEnv, environment_);
  }

  void set(const std::vector<Array>& values) override {
    check(values);
    for (Handle value : values_) api_.release(kReleaseValue, value);
    values_.clear();
    arrays_ = values;
    for (size_t i = 0; i < arrays_.size(); ++i) {
      Array& array = arrays_[i];
      Handle value = nullptr;
      if (array.bytes.empty()) array.bytes.reserve(1);
      running(api_.call(kCreateTensor, memory_, static_cast<void*>(array.bytes.data()),
                        array.bytes.size(), static_cast<const int64_t*>(array.shape.data()), array.shape.size(),
                        type_number(inputs_[i].dtype), &value));
      values_.push_back(value);
      running(api_.call(kBindInput, binding_, inputs_[i].name.c_str(), value));
    }
  }

  void invoke() override { running(api_.call(kRunWithBinding, session_, Handle{}, binding_)); }

  std::vector<Array> results() override {
    Handle* values = nullptr;
    size_t count = 0;
    running(api_.call(kGetBoundOutputs, binding_, allocator_, &values, &count));
    std::vector<Array> found;
    std::string wrong;
    for (size_t i = 0; i < count; ++i) {
      if (wrong.empty()) wrong = read(values[i], found);
      api_.release(kReleaseValue, values[i]);
    }
    api_.call(kFreeMemory, allocator_, values);
    running(wrong);
    return found;
  }

 private:
  void loading(const std::string& wrong) const {
    if (!wrong.empty()) throw input_error(subject_.name + " cannot be loaded by ONNX Runtime: " + first_line(wrong));
  }

  void running(const std::string& wrong) const {
    if (!wrong.empty()) throw input_error(subject_.name + " cannot be run by ONNX Runtime: " + first_line(wrong));
  }

  static std::string first_line(const std::string& text) { return text.substr(0, std::min<size_t>(text.find('\n'), 500)); }

  void open_session() {
    Handle options = nullptr;
    loading(api_.call(kCreateSessionOptions, &options));
    std::string wrong = api_.call(kSetLogSeverity, options, kQuiet);
    if (wrong.empty()) wrong = api_.call(kSetInterThreads, options, 1);
    if (wrong.empty() && subject_.threads) wrong = api_.call(kSetIntraThreads, options, *subject_.threads);
    if (wrong.empty()) {
      wrong = api_.call(kCreateSession, environment_, subject_.path.c_str(),
                        options, &session_);
    }
    api_.release(kReleaseSessionOptions, options);
    loading(wrong);
  }

  void describe(bool input, std::vector<Tensor>& tensors) {
    size_t count = 0;
    loading(api_.call(input ? kCountInputs : kCountOutputs, session_, &count));
    if (count > kMostTensors) throw input_error(subject_.name + " has more than 256 inputs or outputs");
    for (size_t i = 0; i < count; ++i) {
      Tensor found;
      char* name = nullptr;
      loading(api_.call(input ? kGetInputName : kGetOutputName, session_, i, allocator_, &name));
      found.name = name;
      loading(api_.call(kFreeMemory, allocator_, name));
      Handle info = nullptr;
      loading(api_.call(input ? kGetInputType : kGetOutputType, session_, i, &info));
      Handle tensor = nullptr;  // belongs to the other one
      std::string wrong = api_.call(kCastToTensor, info, &tensor);
      if (wrong.empty() && tensor != nullptr) wrong = read_shape(tensor, found);
      api_.release(kReleaseTypeInfo, info);
      loading(wrong);
      if (tensor == nullptr) found.dtype = "no tensor";
      found.layout = input ? "NCHW" : "NC";
      tensors.push_back(std::move(found));
    }
  }

  std::string read_shape(Handle about, Tensor& found) const {
    int element = 0;
    size_t axes = 0;
    std::string wrong = api_.call(kGetElementType, about, &element);
    if (wrong.empty()) wrong = api_.call(kCountAxes, about, &axes);
    if (wrong.empty() && axes > 32) wrong = "a tensor has more than 32 axes";
    if (!wrong.empty()) return wrong;
    found.dtype = type_name(element);
    found.shape.assign(axes, 0);
    wrong = api_.call(kGetAxes, about, found.shape.data(), axes);
    std::vector<const char*> names(axes, nullptr);
    if (wrong.empty()) wrong = api_.call(kGetAxisNames, about, names.data(), axes);
    if (!wrong.empty()) return wrong;
    for (size_t i = 0; i < axes; ++i) {
      found.names.emplace_back(names[i] == nullptr ? "" : names[i]);
      if (found.shape[i] < 0) found.shape[i] = -1;
    }
    return "";
  }

  // An integer interface has scale and zero point noted in the file.
  void find_scales() {
    Handle metadata = nullptr;
    loading(api_.call(kGetMetadata, session_, &metadata));
    char* text = nullptr;
    const std::string wrong = api_.call(kLookUpMetadata, metadata, allocator_, kScales, &text);
    const std::string notes = wrong.empty() && text != nullptr ? text : "";
    if (text != nullptr) api_.call(kFreeMemory, allocator_, text);
    api_.release(kReleaseMetadata, metadata);
    if (notes.empty()) return;
    try {
      const Json found = parse_json(notes);
      for (auto* tensors : {&inputs_, &outputs_}) {
        for (Tensor& tensor : *tensors) {
          const Json& pair = found[tensor.name];
          if (pair.is_null()) continue;
          if (pair.items().size() != 2) throw Malformed("expected scale and zero point");
          tensor.scale = pair.items()[0].number();
          tensor.zero_point = pair.items()[1].integer();
        }
      }
    } catch (const Malformed&) {
      throw input_error(subject_.name + " is damaged: its note '" + kScales + "' cannot be read");
    }
  }

  // A size that has a name is the same wherever it stands.
  void close_outputs(const std::vector<Tensor>& written) {
    std::map<std::string, int64_t> named;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      for (size_t axis = 0; axis < written[i].names.size(); ++axis) {
        if (!written[i].names[axis].empty()) named[written[i].names[axis]] = inputs_[i].shape[axis];
      }
    }
    for (Tensor& output : outputs_) {
      for (size_t axis = 0; axis < output.shape.size(); ++axis) {
        const auto known = named.find(output.names[axis]);
        if (output.shape[axis] < 1) output.shape[axis] = known == named.end() ? -1 : known->second;
      }
    }
  }

  // Copies a value; gives what went wrong.
  std::string read(Handle value, std::vector<Array>& found) const {
    Handle about = nullptr;
    std::string wrong = api_.call(kGetTypeAndShape, value, &about);
    if (!wrong.empty()) return wrong;
    Tensor tensor;
    wrong = read_shape(about, tensor);
    api_.release(kReleaseTypeAndShape, about);
    if (!wrong.empty()) return wrong;
    Array array{kind_of(tensor.dtype), tensor.shape, {}};
    if (array.kind.empty()) return "it gives " + tensor.dtype + ": expected numbers";
    void* memory = nullptr;
    wrong = api_.call(kGetTensorData, value, &memory);
    if (!wrong.empty()) return wrong;
    const size_t size = bytes_of(tensor.shape, tensor.dtype);
    if (size > 0) array.bytes.assign(static_cast<uint8_t*>(memory), static_cast<uint8_t*>(memory) + size);
    found.push_back(std::move(array));
    return "";
  }

  const Api& api_;
  const Subject& subject_;
  Handle environment_ = nullptr, session_ = nullptr, allocator_ = nullptr, memory_ = nullptr, binding_ = nullptr;
  std::vector<Handle> values_;
  std::vector<Array> arrays_;
};

class OnnxRuntime : public Runtime {
 public:
  explicit OnnxRuntime(void* library) : api_(library) {}

  std::unique_ptr<Loaded> load(const Subject& subject) override { return std::make_unique<OnnxFile>(api_, subject); }

 private:
  Api api_;
};

}  // namespace

std::unique_ptr<Runtime> onnxruntime(void* library) {
  if (dlsym(library, "OrtGetApiBase") == nullptr) return nullptr;
  return std::make_unique<OnnxRuntime>(library);
}

std::string onnxruntime_version(void* library) {
  return dlsym(library, "OrtGetApiBase") == nullptr ? "" : Api(library).version();
}

}  // namespace edgekit
