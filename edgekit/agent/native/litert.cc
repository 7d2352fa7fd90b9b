// LiteRT by its C interface, of libLiteRt.so 2.1 or later.
//
// The library comes without headers. What is declared here is what it exports; of its structures,
// the type of a tensor alone is passed by address.
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>

#include "runtime.h"

namespace edgekit {

namespace {

using Status = int;
using Handle = void*;

constexpr Status kInvalidArgument = 1;
constexpr int kOnCpu = 1, kMostRank = 8, kAlignment = 64, kPerTensor = 1;
constexpr size_t kMostTensors = 256;

struct Layout {
  uint32_t rank_and_flags;  // the rank in 7 bits, and whether there are strides
  int32_t sizes[kMostRank];
  uint32_t strides[kMostRank];

  int rank() const { return static_cast<int>(rank_and_flags & 0x7F); }
};

struct Type {
  int32_t element;
  Layout layout;
};
static_assert(sizeof(Type) == 72, "as the library has it");

struct Quantization {
  float scale;
  int64_t zero_point;
};

struct Functions {
  Status (*create_environment)(int, const void*, Handle*);
  void (*destroy_environment)(Handle);
  void (*create_model)();  // which takes an environment first, or none
  void (*destroy_model)(Handle);
  Status (*get_signature)(Handle, size_t, Handle*);
  Status (*get_subgraph)(Handle, Handle*);
  Status (*count_subgraph_inputs)(Handle, size_t*);
  Status (*get_subgraph_input)(Handle, size_t, Handle*);
  Status (*count_subgraph_outputs)(Handle, size_t*);
  Status (*get_subgraph_output)(Handle, size_t, Handle*);
  Status (*count_inputs)(Handle, size_t*);
  Status (*get_input)(Handle, size_t, Handle*);
  Status (*count_outputs)(Handle, size_t*);
  Status (*get_output)(Handle, size_t, Handle*);
  Status (*get_name)(Handle, const char**);
  Status (*get_type)(Handle, Type*);
  Status (*get_quantization_kind)(Handle, int*);
  Status (*get_quantization)(Handle, Quantization*);
  Status (*create_options)(Handle*);
  void (*destroy_options)(Handle);
  Status (*set_accelerators)(Handle, int);
  Status (*create_opaque)(const char*, void*, void (*)(void*), Handle*);
  Status (*add_opaque)(Handle, Handle);
  Status (*compile)(Handle, Handle, Handle, Handle*);
  void (*destroy_compiled)(Handle);
  Status (*resize)(Handle, size_t, size_t, const int*, size_t);
  Status (*get_input_layout)(Handle, size_t, size_t, Layout*);
  Status (*get_output_layouts)(Handle, size_t, size_t, Layout*, bool);
  Status (*get_input_needs)(Handle, size_t, size_t, Handle*);
  Status (*get_output_needs)(Handle, size_t, size_t, Handle*);
  Status (*get_needed_bytes)(Handle, size_t*);
  Status (*create_buffer)(const Type*, void*, size_t, void (*)(void*), Handle*);
  void (*destroy_buffer)(Handle);
  Status (*run)(Handle, size_t, size_t, Handle*, size_t, Handle*);
  // Of 2.1, where options of the processor were no text.
  Status (*create_cpu_options)(Handle*) = nullptr;
  Status (*find_cpu_options)(Handle, Handle*) = nullptr;
  Status (*set_cpu_threads)(Handle, int) = nullptr;
};

template <typename F>
void take(void* library, F& function, const char* name, bool needed = true) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (function == nullptr && needed) {
    throw unavailable(std::string("LiteRT's library has no ") + name + ": expected libLiteRt.so of LiteRT 2.1 or later");
  }
}

Functions functions_of(void* library) {
  Functions f;
  take(library, f.create_environment, "LiteRtCreateEnvironment");
  take(library, f.destroy_environment, "LiteRtDestroyEnvironment");
  take(library, f.create_model, "LiteRtCreateModelFromFile");
  take(library, f.destroy_model, "LiteRtDestroyModel");
  take(library, f.get_signature, "LiteRtGetModelSignature");
  take(library, f.get_subgraph, "LiteRtGetSignatureSubgraph");
  take(library, f.count_subgraph_inputs, "LiteRtGetNumSubgraphInputs");
  take(library, f.get_subgraph_input, "LiteRtGetSubgraphInput");
  take(library, f.count_subgraph_outputs, "LiteRtGetNumSubgraphOutputs");
  take(library, f.get_subgraph_output, "LiteRtGetSubgraphOutput");
  take(library, f.count_inputs, "LiteRtGetNumSignatureInputs");
  take(library, f.get_input, "LiteRtGetSignatureInputTensorByIndex");
  take(library, f.count_outputs, "LiteRtGetNumSignatureOutputs");
  take(library, f.get_output, "LiteRtGetSignatureOutputTensorByIndex");
  take(library, f.get_name, "LiteRtGetTensorName");
  take(library, f.get_type, "LiteRtGetRankedTensorType");
  take(library, f.get_quantization_kind, "LiteRtGetQuantizationTypeId");
  take(library, f.get_quantization, "LiteRtGetPerTensorQuantization");
  take(library, f.create_options, "LiteRtCreateOptions");
  take(library, f.destroy_options, "LiteRtDestroyOptions");
  take(library, f.set_accelerators, "LiteRtSetOptionsHardwareAccelerators");
  take(library, f.create_opaque, "LiteRtCreateOpaqueOptions");
  take(library, f.add_opaque, "LiteRtAddOpaqueOptions");
  take(library, f.compile, "LiteRtCreateCompiledModel");
  take(library, f.destroy_compiled, "LiteRtDestroyCompiledModel");
  take(library, f.resize, "LiteRtCompiledModelResizeInputTensor");
  take(library, f.get_input_layout, "LiteRtGetCompiledModelInputTensorLayout");
  take(library, f.get_output_layouts, "LiteRtGetCompiledModelOutputTensorLayouts");
  take(library, f.get_input_needs, "LiteRtGetCompiledModelInputBufferRequirements");
  take(library, f.get_output_needs, "LiteRtGetCompiledModelOutputBufferRequirements");
  take(library, f.get_needed_bytes, "LiteRtGetTensorBufferRequirementsBufferSize");
  take(library, f.create_buffer, "LiteRtCreateTensorBufferFromHostMemory");
  take(library, f.destroy_buffer, "LiteRtDestroyTensorBuffer");
  take(library, f.run, "LiteRtRunCompiledModel");
  take(library, f.create_cpu_options, "LiteRtCreateCpuOptions", false);
  take(library, f.find_cpu_options, "LiteRtFindCpuOptions", false);
  take(library, f.set_cpu_threads, "LiteRtSetCpuOptionsNumThread", false);
  return f;
}

std::string type_name(int32_t element) {
  switch (element) {
    case 1: return "float32";
    case 2: return "int32";
    case 3: return "uint8";
    case 4: return "int64";
    case 5: return "string";
    case 6: return "bool";
    case 7: return "int16";
    case 8: return "complex64";
    case 9: return "int8";
    case 10: return "float16";
    case 11: return "float64";
    case 12: return "complex128";
    case 13: return "uint64";
    case 16: return "uint32";
    case 17: return "uint16";
    case 18: return "int4";
    case 19: return "bfloat16";
    default: return "type " + std::to_string(element);
  }
}

std::string reason_of(Status status) {
  switch (status) {
    case 2: return "out of memory";
    case 500: return "it cannot be read";
    case 501: return "it is no TensorFlow Lite file, or is damaged";
    case 504: return "it cannot be compiled";
    default: return "LiteRT gives status " + std::to_string(status);
  }
}

class LitertFile : public Loaded {
 public:
  LitertFile(const Functions& functions, const Subject& subject) : f_(functions), subject_(subject) {
    loading(f_.create_environment(0, nullptr, &environment_));
    open_model();
    Handle signature = nullptr, subgraph = nullptr;
    loading(f_.get_signature(model_, 0, &signature));
    loading(f_.get_subgraph(signature, &subgraph));
    // Inputs and outputs stand in the order of the graph, as Python's interpreter has them.
    describe(subgraph, signature, true, inputs_, input_places_, input_types_);
    describe(subgraph, signature, false, outputs_, output_places_, output_types_);
    const std::vector<Tensor> written = inputs_;
    close_shapes(subject, inputs_);
    compile();
    for (size_t i = 0; i < inputs_.size(); ++i) resize(i, written[i].shape);
    find_output_shapes();
    for (size_t i = 0; i < inputs_.size(); ++i) make_buffer(true, i);
    for (size_t i = 0; i < outputs_.size(); ++i) make_buffer(false, i);
  }

  ~LitertFile() override {
    for (auto* buffers : {&input_buffers_, &output_buffers_}) {
      for (Handle buffer : *buffers) {
        if (buffer != nullptr) f_.destroy_buffer(buffer);
      }
    }
    if (compiled_ != nullptr) f_.destroy_compiled(compiled_);
    if (model_ != nullptr) f_.destroy_model(model_);
    if (environment_ != nullptr) f_.destroy_environment(environment_);
    for (void* block : blocks_) std::free(block);
  }

  void set(const std::vector<Array>& values) override {
    check(values);
    for (size_t i = 0; i < values.size(); ++i) {
      std::memcpy(input_memory_[i], values[i].bytes.data(), values[i].bytes.size());
    }
  }

  void invoke() override {
    const Status status = f_.run(compiled_, 0, input_buffers_.size(), input_buffers_.data(), output_buffers_.size(),
                                 output_buffers_.data());
    if (status != 0) throw input_error(subject_.name + " cannot be run by LiteRT: " + reason_of(status));
  }

  std::vector<Array> results() override {
    std::vector<Array> found;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const Tensor& tensor = outputs_[i];
      Array array{kind_of(tensor.dtype), tensor.shape, {}};
      if (array.kind.empty()) throw input_error(subject_.name + " gives " + tensor.dtype + ": expected numbers");
      const auto* memory = static_cast<const uint8_t*>(output_memory_[i]);
      array.bytes.assign(memory, memory + bytes_of(tensor.shape, tensor.dtype));
      found.push_back(std::move(array));
    }
    return found;
  }

 private:
  void loading(Status status) const {
    if (status != 0) throw input_error(subject_.name + " cannot be loaded by LiteRT: " + reason_of(status));
  }

  // Since 2.2 an environment comes first, which is not looked at; before, a file without a name is
  // an invalid argument.
  void open_model() {
    const auto with = reinterpret_cast<Status (*)(Handle, const char*, Handle*)>(f_.create_model);
    const auto without = reinterpret_cast<Status (*)(const char*, Handle*)>(f_.create_model);
    Handle none = nullptr;
    const bool takes_environment = with(nullptr, "", &none) != kInvalidArgument;
    const char* path = subject_.path.c_str();
    loading(takes_environment ? with(environment_, path, &model_) : without(path, &model_));
  }

  void describe(Handle subgraph, Handle signature, bool input, std::vector<Tensor>& tensors,
                std::vector<size_t>& places, std::vector<Type>& types) {
    size_t count = 0, named = 0;
    loading((input ? f_.count_subgraph_inputs : f_.count_subgraph_outputs)(subgraph, &count));
    loading((input ? f_.count_inputs : f_.count_outputs)(signature, &named));
    if (count > kMostTensors || named != count) {
      throw input_error(subject_.name + ": its signature does not name all inputs and outputs of its graph");
    }
    std::vector<Handle> of_signature(count);
    for (size_t i = 0; i < count; ++i) loading((input ? f_.get_input : f_.get_output)(signature, i, &of_signature[i]));
    std::vector<bool> taken(count);
    for (size_t i = 0; i < count; ++i) {
      Handle tensor = nullptr;
      loading((input ? f_.get_subgraph_input : f_.get_subgraph_output)(subgraph, i, &tensor));
      size_t place = 0;
      while (place < count && (of_signature[place] != tensor || taken[place])) ++place;
      if (place == count) throw input_error(subject_.name + ": its signature does not fit its graph");
      taken[place] = true;
      places.push_back(place);
      Type type{};
      loading(f_.get_type(tensor, &type));
      tensors.push_back(described(tensor, type, input));
      types.push_back(type);
    }
  }

  Tensor described(Handle tensor, const Type& type, bool input) const {
    Tensor found;
    const char* name = nullptr;
    if (f_.get_name(tensor, &name) == 0 && name != nullptr) found.name = name;
    found.dtype = type_name(type.element);
    found.layout = input ? "NHWC" : "NC";
    found.shape = shape_of(type.layout);
    int kind = 0;
    Quantization quantization{};
    if (f_.get_quantization_kind(tensor, &kind) == 0 && kind == kPerTensor &&
        f_.get_quantization(tensor, &quantization) == 0 && quantization.scale != 0) {
      found.scale = quantization.scale;
      found.zero_point = quantization.zero_point;
    }
    return found;
  }

  std::vector<int64_t> shape_of(const Layout& layout) const {
    if (layout.rank() > kMostRank) throw input_error(subject_.name + ": a tensor has more than 8 axes");
    std::vector<int64_t> found;
    for (int i = 0; i < layout.rank(); ++i) found.push_back(layout.sizes[i] < 0 ? -1 : layout.sizes[i]);
    return found;
  }

  void compile() {
    Handle options = nullptr, own = nullptr;
    loading(f_.create_options(&options));
    Status status = f_.set_accelerators(options, kOnCpu);
    if (status == 0 && subject_.threads) {
      const int threads = *subject_.threads;
      if (f_.create_cpu_options != nullptr && f_.find_cpu_options != nullptr && f_.set_cpu_threads != nullptr) {
        Handle cpu = nullptr;
        status = f_.create_cpu_options(&own);
        if (status == 0) status = f_.find_cpu_options(own, &cpu);
        if (status == 0) status = f_.set_cpu_threads(cpu, threads);
      } else {
        const std::string text = "num_threads = " + std::to_string(threads) + "\n";
        status = f_.create_opaque("xnnpack", strdup(text.c_str()), std::free, &own);
      }
      if (status == 0) status = f_.add_opaque(options, own);
    }
    if (status == 0) status = f_.compile(environment_, model_, options, &compiled_);
    f_.destroy_options(options);
    loading(status);
  }

  void resize(size_t i, const std::vector<int64_t>& written) {
    if (written == inputs_[i].shape) return;
    const std::vector<int> sizes(inputs_[i].shape.begin(), inputs_[i].shape.end());
    loading(f_.resize(compiled_, 0, input_places_[i], sizes.data(), sizes.size()));
    for (size_t axis = 0; axis < sizes.size(); ++axis) input_types_[i].layout.sizes[axis] = sizes[axis];
  }

  void find_output_shapes() {
    std::vector<Layout> layouts(outputs_.size());
    loading(f_.get_output_layouts(compiled_, 0, layouts.size(), layouts.data(), true));
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const Layout& layout = layouts[output_places_[i]];
      outputs_[i].shape = shape_of(layout);
      output_types_[i].layout = layout;
      for (const int64_t size : outputs_[i].shape) {
        if (size < 0) {
          throw lacks("way to run files whose outputs take their sizes from what goes in (" + subject_.name + ")");
        }
      }
    }
  }

  void make_buffer(bool input, size_t i) {
    auto& tensors = input ? inputs_ : outputs_;
    auto& buffers = input ? input_buffers_ : output_buffers_;
    auto& memory = input ? input_memory_ : output_memory_;
    const size_t place = (input ? input_places_ : output_places_)[i];
    const size_t packed = bytes_of(tensors[i].shape, tensors[i].dtype);
    size_t needed = packed;
    Handle needs = nullptr;
    if ((input ? f_.get_input_needs : f_.get_output_needs)(compiled_, 0, place, &needs) == 0) {
      size_t told = 0;
      if (f_.get_needed_bytes(needs, &told) == 0) needed = std::max(needed, told);
    }
    needed = (std::max<size_t>(needed, 1) + kAlignment - 1) / kAlignment * kAlignment;
    void* block = nullptr;
    if (posix_memalign(&block, kAlignment, needed + kAlignment) != 0) throw unavailable("there is not enough memory");
    std::memset(block, 0, needed + kAlignment);
    blocks_.push_back(block);
    memory.push_back(block);
    buffers.resize(tensors.size(), nullptr);
    loading(f_.create_buffer(&(input ? input_types_ : output_types_)[i], block, needed, nullptr, &buffers[place]));
  }

  const Functions& f_;
  const Subject& subject_;
  Handle environment_ = nullptr, model_ = nullptr, compiled_ = nullptr;
  std::vector<size_t> input_places_, output_places_;  // in the signature
  std::vector<Type> input_types_, output_types_;
  std::vector<Handle> input_buffers_, output_buffers_;  // in the order of the signature
  std::vector<void*> input_memory_, output_memory_, blocks_;
};

class Litert : public Runtime {
 public:
  explicit Litert(void* library) : functions_(functions_of(library)) {}

  std::unique_ptr<Loaded> load(const Subject& subject) override {
    return std::make_unique<LitertFile>(functions_, subject);
  }

 private:
  Functions functions_;
};

}  // namespace

std::unique_ptr<Runtime> litert(void* library) {
  if (dlsym(library, "LiteRtCreateCompiledModel") == nullptr) return nullptr;
  return std::make_unique<Litert>(library);
}

}  // namespace edgekit
