// Runs the model in OpenVINO.
#include "runtime.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>

#include <openvino/openvino.hpp>

namespace classifier {

namespace {

// OpenVINO would multiply tiles where the processor has them, with which small networks of integers
// are slower at one image. It reads this variable when it loads its first model.
void avoid_tiles() {
  std::ifstream about("/proc/cpuinfo");
  for (std::string word; about >> word;) {
    if (word != "amx_tile") continue;
    setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI", 0);
    return;
  }
}

class OpenVino : public Runtime {
 public:
  OpenVino(const std::string& path, const Model& model, int threads)
      : output_bytes_(bytes_of(model.output)) {
    request_ = compiled(path, threads).create_infer_request();
    const ov::Shape shape(model.input.shape.begin(), model.input.shape.end());
    input_ = ov::Tensor(request_.get_compiled_model().input().get_element_type(), shape);
    if (input_.get_byte_size() != bytes_of(model.input)) {
      throw RuntimeError(path + " has another input than model.cc says");
    }
    request_.set_input_tensor(input_);
  }

  void run(const void* input, void* output) override {
    try {
      std::memcpy(input_.data(), input, input_.get_byte_size());
      request_.infer();
      const ov::Tensor made = request_.get_output_tensor(0);
      if (made.get_byte_size() != output_bytes_) {
        throw RuntimeError("the model has another output than model.cc says");
      }
      std::memcpy(output, made.data(), output_bytes_);
    } catch (const ov::Exception& error) {
      throw RuntimeError(std::string("the model cannot be run: ") + error.what());
    }
  }

 private:
  ov::CompiledModel compiled(const std::string& path, int threads) {
    ov::AnyMap settings = {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                           ov::inference_num_threads(threads),
                           ov::hint::inference_precision(ov::element::f32)};
#ifdef __aarch64__
    try {
      return core_.compile_model(path, "CPU", settings);
    } catch (const ov::Exception&) {
      // There are no kernels of integers for Arm without dot products; in float it computes the same.
      settings["LP_TRANSFORMS_MODE"] = "OFF";
    }
#endif
    return core_.compile_model(path, "CPU", settings);
  }

  ov::Core core_;
  ov::InferRequest request_;
  ov::Tensor input_;
  size_t output_bytes_;
};

}  // namespace

std::unique_ptr<Runtime> load_runtime(const std::string& path, const Model& model, int threads) {
  avoid_tiles();
  try {
    return std::make_unique<OpenVino>(path, model, threads);
  } catch (const ov::Exception& error) {
    throw RuntimeError(path + " cannot be loaded: " + error.what());
  }
}

}  // namespace classifier
