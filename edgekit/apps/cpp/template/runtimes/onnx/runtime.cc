// Runs the model in ONNX Runtime, by the C interface of version 1.12 or later.
//
// That interface is a table of functions, each of which keeps its place in all versions; those that
// are used stand here with theirs, so that no headers are needed.
#include "runtime.h"

#include <cstring>
#include <string>

extern "C" {
struct OrtApiBase {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version)();
};
const OrtApiBase* OrtGetApiBase();
}

namespace classifier {

namespace {

using Handle = void*;

constexpr uint32_t kVersion = 12;
constexpr int kErrorsOnly = 3, kArena = 1, kDefaultMemory = 0;

enum Place : size_t {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kDisableTelemetry = 6,
  kCreateSession = 7,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetLogSeverity = 22,
  kSetIntraThreads = 24,
  kSetInterThreads = 25,
  kGetInputName = 36,
  kGetOutputName = 37,
  kCreateTensor = 49,
  kGetTensorData = 51,
  kGetTypeAndShape = 65,
  kCountElements = 64,
  kCreateCpuMemory = 69,
  kFreeMemory = 76,
  kGetAllocator = 78,
  kReleaseEnv = 92,
  kReleaseStatus = 93,
  kReleaseMemoryInfo = 94,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseTypeAndShape = 99,
  kReleaseSessionOptions = 100,
};

const void* const* api() {
  static const void* const* const found = OrtGetApiBase()->get_api(kVersion);
  if (found == nullptr) throw RuntimeError("ONNX Runtime is too old: expected 1.12 or later");
  return found;
}

void release(Place place, Handle handle) {
  if (handle != nullptr) reinterpret_cast<void (*)(Handle)>(const_cast<void*>(api()[place]))(handle);
}

// Calls a function that gives a status; the text of what went wrong, empty where nothing did.
template <typename... Arguments>
std::string call(Place place, Arguments... arguments) {
  const auto function = reinterpret_cast<Handle (*)(Arguments...)>(const_cast<void*>(api()[place]));
  const Handle status = function(arguments...);
  if (status == nullptr) return "";
  const auto message =
      reinterpret_cast<const char* (*)(Handle)>(const_cast<void*>(api()[kGetErrorMessage]));
  const std::string text = message(status);
  release(kReleaseStatus, status);
  return text.empty() ? "it does not say why" : text;
}

void check(const std::string& wrong, const std::string& what) {
  if (!wrong.empty()) throw RuntimeError(what + ": " + wrong);
}

int number_of(Type type) { return type == Type::float32 ? 1 : type == Type::uint8 ? 2 : 3; }

class OnnxRuntime : public Runtime {
 public:
  OnnxRuntime(const std::string& path, const Model& model, int threads) : model_(model) {
    try {
      load(path, threads, path + " cannot be loaded");
    } catch (...) {
      clear();
      throw;
    }
  }

  ~OnnxRuntime() override { clear(); }

  void run(const void* input, void* output) override {
    const std::string running = "the model cannot be run";
    Handle given = nullptr, made = nullptr;
    check(call(kCreateTensor, memory_, const_cast<void*>(input), bytes_of(model_.input),
               model_.input.shape.data(), model_.input.shape.size(), number_of(model_.input.type),
               &given),
          running);
    const char* input_name = input_name_.c_str();
    const char* output_name = output_name_.c_str();
    std::string wrong = call(kRun, session_, Handle{}, &input_name, &given, size_t{1}, &output_name,
                             size_t{1}, &made);
    release(kReleaseValue, given);
    if (wrong.empty()) wrong = copy(made, output);
    release(kReleaseValue, made);
    check(wrong, running);
  }

 private:
  void load(const std::string& path, int threads, const std::string& loading) {
    check(call(kCreateEnv, kErrorsOnly, "classifier", &environment_), loading);
    check(call(kDisableTelemetry, environment_), loading);
    check(call(kCreateSessionOptions, &options_), loading);
    check(call(kSetLogSeverity, options_, kErrorsOnly), loading);
    check(call(kSetIntraThreads, options_, threads), loading);
    check(call(kSetInterThreads, options_, 1), loading);
    check(call(kCreateSession, environment_, path.c_str(), options_, &session_), loading);
    check(call(kCreateCpuMemory, kArena, kDefaultMemory, &memory_), loading);
    input_name_ = name(kGetInputName, loading);
    output_name_ = name(kGetOutputName, loading);
  }

  std::string name(Place place, const std::string& loading) {
    Handle allocator = nullptr;
    char* text = nullptr;
    check(call(kGetAllocator, &allocator), loading);
    check(call(place, session_, size_t{0}, allocator, &text), loading);
    const std::string found = text;
    call(kFreeMemory, allocator, text);
    return found;
  }

  // Copies a value; gives what went wrong.
  std::string copy(Handle value, void* to) const {
    Handle about = nullptr;
    size_t count = 0;
    void* from = nullptr;
    std::string wrong = call(kGetTypeAndShape, value, &about);
    if (wrong.empty()) wrong = call(kCountElements, about, &count);
    release(kReleaseTypeAndShape, about);
    if (wrong.empty()) wrong = call(kGetTensorData, value, &from);
    if (!wrong.empty()) return wrong;
    const size_t bytes = count * (model_.output.type == Type::float32 ? sizeof(float) : 1);
    if (bytes != bytes_of(model_.output)) return "its output has another size than model.cc says";
    std::memcpy(to, from, bytes);
    return "";
  }

  void clear() {
    release(kReleaseMemoryInfo, memory_);
    release(kReleaseSession, session_);
    release(kReleaseSessionOptions, options_);
    release(kReleaseEnv, environment_);
  }

  const Model& model_;
  Handle environment_ = nullptr, options_ = nullptr, session_ = nullptr, memory_ = nullptr;
  std::string input_name_, output_name_;
};

}  // namespace

std::unique_ptr<Runtime> load_runtime(const std::string& path, const Model& model, int threads) {
  return std::make_unique<OnnxRuntime>(path, model, threads);
}

}  // namespace classifier
