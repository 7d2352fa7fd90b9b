// Runs the model in LiteRT, by the C interface of libLiteRt.so 2.2 or later.
//
// The library comes without headers; what is declared here is what it exports.
#include "runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

extern "C" {
typedef int LiteRtStatus;  // 0 is success
typedef void* LiteRtHandle;
struct LiteRtLayout {
  uint32_t rank_and_flags;  // the rank in 7 bits, and whether there are strides
  int32_t sizes[8];
  uint32_t strides[8];
};
struct LiteRtTensorType {
  int32_t element;
  LiteRtLayout layout;
};
struct LiteRtEnvironmentOption {
  int tag;
  struct {
    int type;
    int64_t number;
  } value;
};
LiteRtStatus LiteRtCreateEnvironment(int, const LiteRtEnvironmentOption*, LiteRtHandle*);
void LiteRtDestroyEnvironment(LiteRtHandle);
LiteRtStatus LiteRtCreateModelFromFile(LiteRtHandle environment, const char*, LiteRtHandle*);
void LiteRtDestroyModel(LiteRtHandle);
LiteRtStatus LiteRtGetModelSignature(LiteRtHandle, size_t, LiteRtHandle*);
LiteRtStatus LiteRtGetSignatureInputTensorByIndex(LiteRtHandle, size_t, LiteRtHandle*);
LiteRtStatus LiteRtGetSignatureOutputTensorByIndex(LiteRtHandle, size_t, LiteRtHandle*);
LiteRtStatus LiteRtGetRankedTensorType(LiteRtHandle, LiteRtTensorType*);
LiteRtStatus LiteRtCreateOptions(LiteRtHandle*);
void LiteRtDestroyOptions(LiteRtHandle);
LiteRtStatus LiteRtSetOptionsHardwareAccelerators(LiteRtHandle, int);
LiteRtStatus LiteRtCreateOpaqueOptions(const char*, void*, void (*)(void*), LiteRtHandle*);
LiteRtStatus LiteRtAddOpaqueOptions(LiteRtHandle, LiteRtHandle);
LiteRtStatus LiteRtCreateCompiledModel(LiteRtHandle, LiteRtHandle, LiteRtHandle, LiteRtHandle*);
void LiteRtDestroyCompiledModel(LiteRtHandle);
LiteRtStatus LiteRtCompiledModelResizeInputTensor(LiteRtHandle, size_t, size_t, const int*, size_t);
LiteRtStatus LiteRtGetCompiledModelInputBufferRequirements(LiteRtHandle, size_t, size_t, LiteRtHandle*);
LiteRtStatus LiteRtGetCompiledModelOutputBufferRequirements(LiteRtHandle, size_t, size_t, LiteRtHandle*);
LiteRtStatus LiteRtGetTensorBufferRequirementsBufferSize(LiteRtHandle, size_t*);
LiteRtStatus LiteRtCreateTensorBufferFromHostMemory(const LiteRtTensorType*, void*, size_t, void (*)(void*),
                                                    LiteRtHandle*);
void LiteRtDestroyTensorBuffer(LiteRtHandle);
LiteRtStatus LiteRtRunCompiledModel(LiteRtHandle, size_t, size_t, LiteRtHandle*, size_t, LiteRtHandle*);
}

namespace classifier {

namespace {

constexpr int kOnCpu = 1, kErrorsOnly = 3;
constexpr int kAccelerators = 24, kLeastSeverity = 25, kNumber = 2;  // tags and type of options
constexpr size_t kAlignment = 64;

void check(LiteRtStatus status, const std::string& what) {
  if (status != 0) throw RuntimeError(what + ": LiteRT gives status " + std::to_string(status));
}

// Memory that the runtime reads the input from, or writes the output to.
struct Buffer {
  LiteRtHandle handle = nullptr;
  void* memory = nullptr;

  ~Buffer() {
    if (handle != nullptr) LiteRtDestroyTensorBuffer(handle);
    std::free(memory);
  }
};

class LiteRt : public Runtime {
 public:
  LiteRt(const std::string& path, const Model& model, int threads)
      : input_bytes_(bytes_of(model.input)), output_bytes_(bytes_of(model.output)) {
    const std::string loading = path + " cannot be loaded";
    // Other libraries, for accelerators, are not looked for.
    const LiteRtEnvironmentOption options[] = {{kAccelerators, {kNumber, kOnCpu}},
                                               {kLeastSeverity, {kNumber, kErrorsOnly}}};
    check(LiteRtCreateEnvironment(2, options, &environment_), loading);
    check(LiteRtCreateModelFromFile(environment_, path.c_str(), &model_), loading);
    compile(threads, loading);
    LiteRtHandle signature = nullptr, tensor = nullptr, needs = nullptr;
    check(LiteRtGetModelSignature(model_, 0, &signature), loading);
    LiteRtTensorType type{};
    check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), loading);
    check(LiteRtGetRankedTensorType(tensor, &type), loading);
    if (set_sizes(type, model.input)) {  // the batch may be any number
      const std::vector<int> sizes(model.input.shape.begin(), model.input.shape.end());
      check(LiteRtCompiledModelResizeInputTensor(compiled_, 0, 0, sizes.data(), sizes.size()), loading);
    }
    check(LiteRtGetCompiledModelInputBufferRequirements(compiled_, 0, 0, &needs), loading);
    make(input_, type, input_bytes_, needs, loading);
    check(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor), loading);
    check(LiteRtGetRankedTensorType(tensor, &type), loading);
    set_sizes(type, model.output);
    check(LiteRtGetCompiledModelOutputBufferRequirements(compiled_, 0, 0, &needs), loading);
    make(output_, type, output_bytes_, needs, loading);
  }

  ~LiteRt() override {
    if (compiled_ != nullptr) LiteRtDestroyCompiledModel(compiled_);
    if (model_ != nullptr) LiteRtDestroyModel(model_);
    if (environment_ != nullptr) LiteRtDestroyEnvironment(environment_);
  }

  void run(const void* input, void* output) override {
    std::memcpy(input_.memory, input, input_bytes_);
    check(LiteRtRunCompiledModel(compiled_, 0, 1, &input_.handle, 1, &output_.handle),
          "the model cannot be run");
    std::memcpy(output, output_.memory, output_bytes_);
  }

 private:
  void compile(int threads, const std::string& loading) {
    LiteRtHandle options = nullptr, own = nullptr;
    check(LiteRtCreateOptions(&options), loading);
    const std::string text = "num_threads = " + std::to_string(threads) + "\n";
    LiteRtStatus status = LiteRtSetOptionsHardwareAccelerators(options, kOnCpu);
    if (status == 0) {
      status = LiteRtCreateOpaqueOptions("xnnpack", strdup(text.c_str()), std::free, &own);
    }
    if (status == 0) status = LiteRtAddOpaqueOptions(options, own);
    if (status == 0) status = LiteRtCreateCompiledModel(environment_, model_, options, &compiled_);
    LiteRtDestroyOptions(options);
    check(status, loading);
  }

  // Gives a type the sizes of a batch of one; whether it had others.
  static bool set_sizes(LiteRtTensorType& type, const Tensor& tensor) {
    bool changed = false;
    const size_t rank = type.layout.rank_and_flags & 0x7F;
    if (rank != tensor.shape.size()) throw RuntimeError("the model is another than model.cc says");
    for (size_t axis = 0; axis < rank; ++axis) {
      const auto side = static_cast<int32_t>(tensor.shape[axis]);
      changed = changed || type.layout.sizes[axis] != side;
      type.layout.sizes[axis] = side;
    }
    return changed;
  }

  static void make(Buffer& buffer, const LiteRtTensorType& type, size_t bytes, LiteRtHandle needs,
                   const std::string& loading) {
    size_t needed = 0;
    check(LiteRtGetTensorBufferRequirementsBufferSize(needs, &needed), loading);
    needed = (std::max({needed, bytes, size_t{1}}) + kAlignment - 1) / kAlignment * kAlignment;
    // XNNPACK reads a little beyond the end.
    if (posix_memalign(&buffer.memory, kAlignment, needed + kAlignment) != 0) throw std::bad_alloc();
    std::memset(buffer.memory, 0, needed + kAlignment);
    check(LiteRtCreateTensorBufferFromHostMemory(&type, buffer.memory, needed, nullptr, &buffer.handle),
          loading);
  }

  LiteRtHandle environment_ = nullptr, model_ = nullptr, compiled_ = nullptr;
  size_t input_bytes_, output_bytes_;
  Buffer input_, output_;
};

}  // namespace

std::unique_ptr<Runtime> load_runtime(const std::string& path, const Model& model, int threads) {
  return std::make_unique<LiteRt>(path, model, threads);
}

}  // namespace classifier
