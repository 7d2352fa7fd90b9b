#include "runtime.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <random>

#include "store.h"

namespace edgekit {

namespace {

struct Known {
  const char *name, *kind;
};

constexpr Known kTypes[] = {
    {"float32", "<f4"}, {"float64", "<f8"}, {"float16", "<f2"}, {"int8", "|i1"},  {"uint8", "|u1"}, {"bool", "|b1"},
    {"int16", "<i2"},   {"uint16", "<u2"},  {"int32", "<i4"},   {"uint32", "<u4"}, {"int64", "<i8"}, {"uint64", "<u8"},
};

constexpr int64_t kMostTensorBytes = int64_t{1} << 31;
constexpr size_t kMostAxes = 32;

std::string text_of(const std::vector<int64_t>& shape) {
  std::string found;
  for (const int64_t size : shape) found += (found.empty() ? "" : ",") + std::to_string(size);
  return found;
}

std::string words_of(const Tensor& tensor) {
  std::string found;
  for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
    const bool named = axis < tensor.names.size() && !tensor.names[axis].empty();
    if (axis > 0) found += " x ";
    found += tensor.shape[axis] > 0 ? std::to_string(tensor.shape[axis]) : named ? tensor.names[axis] : "?";
  }
  return found;
}

uint16_t half_of(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000;
  const int exponent = static_cast<int>(bits >> 23 & 0xFF) - 112;
  if (exponent <= 0) return static_cast<uint16_t>(sign);  // noise has no use for smaller ones
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::min(exponent, 30)) << 10 | (bits >> 13 & 0x3FF));
}

template <typename T, typename Draw>
std::vector<uint8_t> filled(size_t count, Draw draw) {
  std::vector<uint8_t> bytes(count * sizeof(T));
  for (size_t i = 0; i < count; ++i) {
    const T value = static_cast<T>(draw());
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

// A fixed input; what it shows makes no difference to the time. See edgekit/agent/inputs.py.
Array noise_of(const Tensor& tensor, const std::string& where) {
  Array found{kind_of(tensor.dtype), tensor.shape, {}};
  const size_t item = item_bytes(found.kind);
  const size_t count = item == 0 ? 0 : bytes_of(tensor.shape, tensor.dtype) / item;
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  const auto between = [&](int low, int high) { return [&random, low, high] { return std::uniform_int_distribution<int>(low, high)(random); }; };
  // Numbers of words or of places: the first two are there in any case.
  const auto few = between(0, 1);
  if (tensor.dtype == "float32") found.bytes = filled<float>(count, [&] { return normal(random); });
  else if (tensor.dtype == "float64") found.bytes = filled<double>(count, [&] { return normal(random); });
  else if (tensor.dtype == "float16") found.bytes = filled<uint16_t>(count, [&] { return half_of(normal(random)); });
  else if (tensor.dtype == "int8") found.bytes = filled<int8_t>(count, between(-128, 127));
  else if (tensor.dtype == "uint8") found.bytes = filled<uint8_t>(count, between(0, 255));
  else if (tensor.dtype == "bool") found.bytes = filled<uint8_t>(count, few);
  else if (tensor.dtype == "int16") found.bytes = filled<int16_t>(count, between(-128, 255));
  else if (tensor.dtype == "uint16") found.bytes = filled<uint16_t>(count, between(0, 255));
  else if (item == 4) found.bytes = filled<uint32_t>(count, few);
  else if (item == 8) found.bytes = filled<uint64_t>(count, few);
  else throw input_error(where + ": input '" + tensor.name + "' is " + tensor.dtype + ": expected numbers");
  return found;
}

// The members of an archive that np.savez has written, which compresses none.
class Archive {
 public:
  explicit Archive(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat about {};
    if (file < 0 || fstat(file, &about) != 0 || about.st_size > kMostTensorBytes) {
      if (file >= 0) close(file);
      throw input_error("the inputs on the device cannot be read");
    }
    bytes_.resize(static_cast<size_t>(about.st_size));
    size_t have = 0;
    ssize_t count = 0;
    while (have < bytes_.size() && (count = read(file, bytes_.data() + have, bytes_.size() - have)) > 0) {
      have += static_cast<size_t>(count);
    }
    close(file);
    if (have != bytes_.size()) damaged();
  }

  Array array(const std::string& name) const {
    // The end of the list of members stands within the last 64 KiB.
    const size_t least = bytes_.size() > 65557 ? bytes_.size() - 65557 : 0;
    if (bytes_.size() < 22) damaged();
    size_t end = bytes_.size() - 22;
    while (number(end, 4) != 0x06054b50) {
      if (end == least) damaged();
      --end;
    }
    size_t at = number(end + 16, 4);
    for (size_t i = 0, members = number(end + 10, 2); i < members; ++i) {
      if (number(at, 4) != 0x02014b50) damaged();
      const size_t length = number(at + 28, 2);
      if (text(at + 46, length) == name + ".npy") {
        const size_t size = number(at + 20, 4), begin = number(at + 42, 4);
        if (number(at + 10, 2) != 0 || number(begin, 4) != 0x04034b50) damaged();
        return parsed(begin + 30 + number(begin + 26, 2) + number(begin + 28, 2), size);
      }
      at += 46 + length + number(at + 30, 2) + number(at + 32, 2);
    }
    throw input_error("the inputs on the device are fewer than the file has");
  }

 private:
  [[noreturn]] static void damaged() { throw input_error("the inputs on the device are damaged"); }

  size_t number(size_t at, size_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at) damaged();
    size_t found = 0;
    for (size_t i = 0; i < size; ++i) found |= static_cast<size_t>(bytes_[at + i]) << (8 * i);
    return found;
  }

  std::string text(size_t at, size_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at) damaged();
    return {bytes_.begin() + static_cast<std::ptrdiff_t>(at), bytes_.begin() + static_cast<std::ptrdiff_t>(at + size)};
  }

  static std::string between(const std::string& text, const std::string& before, char after) {
    const size_t at = text.find(before);
    if (at == std::string::npos) damaged();
    const size_t begin = at + before.size(), end = text.find(after, begin);
    if (end == std::string::npos) damaged();
    return text.substr(begin, end - begin);
  }

  Array parsed(size_t at, size_t size) const {
    if (text(at, 6) != "\x93NUMPY") damaged();
    const size_t head = number(at + 6, 1) == 1 ? 10 : 12, length = number(at + 8, head - 8);
    const std::string about = text(at + head, length);
    if (about.find("'fortran_order': False") == std::string::npos) damaged();
    Array found;
    found.kind = between(about, "'descr': '", '\'');
    const std::string sizes = between(about, "'shape': (", ')');
    for (size_t i = 0; i < sizes.size();) {
      const size_t comma = std::min(sizes.find(',', i), sizes.size());
      const std::string word = sizes.substr(i, comma - i);
      if (word.find_first_of("0123456789") != std::string::npos) found.shape.push_back(std::atoll(word.c_str()));
      i = comma + 1;
    }
    size_t expected = item_bytes(found.kind);
    for (const int64_t axis : found.shape) {
      if (axis < 0 || (axis > 0 && expected > static_cast<size_t>(kMostTensorBytes / axis))) damaged();
      expected *= static_cast<size_t>(axis);
    }
    const std::string content = text(at + head + length, size < head + length ? 0 : size - head - length);
    if (content.size() != expected) damaged();
    found.bytes.assign(content.begin(), content.end());
    return found;
  }

  std::vector<uint8_t> bytes_;
};

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Loads libraries for good, those that others need first.
std::vector<std::pair<void*, const Library*>> loaded(const std::vector<Library>& libraries) {
  std::vector<std::pair<void*, const Library*>> found;
  for (const Library& library : libraries) {
    void* handle = dlopen(library.path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (handle == nullptr) {
      std::string why = dlerror();
      const size_t at = why.find(library.path);
      if (at != std::string::npos) why.replace(at, library.path.size(), name_of(library.path));
      throw unavailable("the library " + name_of(library.path) + " cannot be loaded on the device: " + why);
    }
    found.emplace_back(handle, &library);
  }
  return found;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

Json Tensor::json() const {
  Json found = Json::object();
  found.set("name", name);
  found.set("shape", Json(shape));
  found.set("dtype", dtype);
  found.set("layout", layout);
  found.set("scale", scale ? Json(*scale) : Json());
  found.set("zero_point", zero_point ? Json(*zero_point) : Json());
  return found;
}

std::string kind_of(const std::string& dtype) {
  for (const Known& known : kTypes) {
    if (dtype == known.name) return known.kind;
  }
  return "";
}

size_t bytes_of(const std::vector<int64_t>& shape, const std::string& dtype) {
  int64_t size = std::max<int64_t>(1, static_cast<int64_t>(item_bytes(kind_of(dtype))));
  for (const int64_t axis : shape) {
    if (axis < 0 || (axis > 0 && size > kMostTensorBytes / axis)) throw input_error("a tensor has more than 2 GiB");
    size *= axis;
  }
  return static_cast<size_t>(size);
}

Subject::Subject(const Json& request) {
  if (request["loader"].string() != "edgekit.agent.files:File") throw lacks("way to run what is no exported file");
  const Json& about = request["arguments"];
  path = about["path"].string();
  name = about["name"].string();
  runtime = about["runtime"].string();
  for (const Json& file : about["files"].items()) files.push_back(file.string());
  if (files.empty() || files.size() > 256) throw usage("a file has one path or some");
  const Json::Items& allowed = about["allowed"].items();
  if (allowed.size() != 2) throw usage("a file is allowed memory and time");
  allowed_mib = allowed[0].number();
  allowed_s = allowed[1].number();
  if (!(allowed_mib > 0 && allowed_mib < 1e9 && allowed_s > 0 && allowed_s < 1e9)) throw usage("no such bounds");
  if (!about["threads"].is_null()) {
    const int64_t count = about["threads"].integer();
    if (count < 1 || count > 1024) throw usage("no such number of threads");
    threads = static_cast<int>(count);
  }
  if (!about["batch"].is_null()) {
    batch = about["batch"].integer();
    if (*batch < 1 || *batch > 1 << 20) throw usage("no such batch");
  }
  shapes_given = !about["shapes"].is_null();
  if (shapes_given) {
    for (const Json& pair : about["shapes"].items()) {
      if (pair.items().size() != 2 || pair.items()[1].items().size() > kMostAxes) throw usage("no such shape");
      std::vector<int64_t>& shape = shapes[pair.items()[0].string()];
      for (const Json& size : pair.items()[1].items()) {
        shape.push_back(size.integer());
        if (shape.back() < 1 || shape.back() > INT32_MAX) throw usage("no such size");
      }
    }
  }
  if (!about["inputs"].is_null()) inputs = about["inputs"].string();
}

std::string Subject::renamed(std::string text) const {
  for (const std::string& file : files) {
    const std::string called = name.substr(0, name.rfind('/') + 1) + name_of(file);
    for (size_t at = 0; !file.empty() && (at = text.find(file, at)) != std::string::npos; at += called.size()) {
      text.replace(at, file.size(), called);
    }
  }
  return text;
}

void close_shapes(const Subject& subject, std::vector<Tensor>& inputs) {
  if (subject.shapes.count("") != 0 && inputs.size() != 1) {
    throw input_error(subject.name + " has " + std::to_string(inputs.size()) +
                      " inputs: name the one that is meant, as with --input-shape NAME=" + text_of(subject.shapes.at("")));
  }
  std::map<std::string, int64_t> named;
  bool any_batch = false;
  for (Tensor& tensor : inputs) {
    if (kind_of(tensor.dtype).empty()) {
      throw input_error(subject.name + ": input '" + tensor.name + "' takes " + tensor.dtype +
                        ": expected numbers, such as float32, float16, uint8 or int64");
    }
    any_batch = any_batch || (!tensor.shape.empty() && tensor.shape[0] < 1);
    auto given = subject.shapes.find(tensor.name);
    if (given == subject.shapes.end()) given = subject.shapes.find("");
    if (given == subject.shapes.end()) continue;
    const std::vector<int64_t>& shape = given->second;
    bool fits = shape.size() == tensor.shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) fits = tensor.shape[i] < 1 || tensor.shape[i] == shape[i];
    if (!fits) {
      throw input_error(subject.name + ": --input-shape " + text_of(shape) + " does not fit input '" + tensor.name +
                        "', which is " + words_of(tensor) + ": only sizes that the file leaves open can be chosen");
    }
    for (size_t i = 0; i < shape.size() && i < tensor.names.size(); ++i) {
      if (tensor.names[i].empty()) continue;
      const auto known = named.emplace(tensor.names[i], shape[i]).first;
      if (known->second != shape[i]) {
        throw input_error(subject.name + ": --input-shape gives the size '" + tensor.names[i] + "' as " +
                          std::to_string(known->second) + " and as " + std::to_string(shape[i]) +
                          ": it is one size of the file, which takes one number");
      }
    }
  }
  for (Tensor& tensor : inputs) {
    const std::string written = words_of(tensor);
    auto given = subject.shapes.find(tensor.name);
    if (given == subject.shapes.end()) given = subject.shapes.find("");
    if (given != subject.shapes.end()) tensor.shape = given->second;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      if (tensor.shape[i] > 0) continue;
      const auto known = i < tensor.names.size() ? named.find(tensor.names[i]) : named.end();
      if (known != named.end()) {
        tensor.shape[i] = known->second;
      } else if (i == 0) {
        tensor.shape[i] = subject.batch.value_or(1);
      } else {
        throw input_error(subject.name + ": input '" + tensor.name + "' has the shape " + written +
                          "; expected numbers behind the first size, which is the batch: " +
                          (subject.shapes_given ? "give them, as with --input-shape " + tensor.name + "=1,3,224,224"
                                                : "export the network again with sizes that are fixed"));
      }
    }
    bytes_of(tensor.shape, tensor.dtype);
  }
  if (!subject.batch || !subject.shapes.empty() || any_batch) return;
  for (const Tensor& tensor : inputs) {
    if (tensor.shape.empty() || tensor.shape[0] == *subject.batch) continue;
    throw lacks("way to give a file another batch than it was exported with (" + subject.name + " takes " +
                std::to_string(tensor.shape[0]) + ")");
  }
}

std::vector<Array> inputs_of(const Subject& subject, const std::vector<Tensor>& tensors) {
  std::vector<Array> found;
  if (!subject.inputs) {
    for (const Tensor& tensor : tensors) found.push_back(noise_of(tensor, subject.name));
    return found;
  }
  const Archive archive(*subject.inputs);
  for (size_t i = 0; i < tensors.size(); ++i) found.push_back(archive.array("arr_" + std::to_string(i)));
  return found;
}

void Loaded::check(const std::vector<Array>& values) const {
  if (values.size() != inputs_.size()) {
    throw input_error("expected " + std::to_string(inputs_.size()) + " values, found " + std::to_string(values.size()));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const Tensor& tensor = inputs_[i];
    if (values[i].kind != kind_of(tensor.dtype) || values[i].shape != tensor.shape ||
        values[i].bytes.size() != bytes_of(tensor.shape, tensor.dtype)) {
      throw input_error("input '" + tensor.name + "' takes " + text_of(tensor.shape) + " of " + tensor.dtype +
                        ", found " + text_of(values[i].shape) + " of " + values[i].kind);
    }
  }
}

std::unique_ptr<Runtime> runtime_for(const Subject& subject, const std::vector<Library>& libraries) {
  const bool tflite = ends_with(subject.path, ".tflite"), onnx = ends_with(subject.path, ".onnx");
  if (!tflite && !onnx) throw lacks("runtime for " + subject.name);
  for (const auto& [handle, library] : loaded(libraries)) {
    std::unique_ptr<Runtime> found = tflite ? litert(handle) : onnxruntime(handle);
    if (found != nullptr) return found;
  }
  throw unavailable(subject.name + " needs " + (tflite ? "libLiteRt.so" : "libonnxruntime.so") +
                    " for this device: name it with 'edgekit devices add ... --library PATH'");
}

Json versions(const std::vector<Library>& libraries) {
  Json found = Json::object();
  for (const auto& [handle, library] : loaded(libraries)) {
    if (dlsym(handle, "LiteRtCreateCompiledModel") != nullptr) found.set(kLitert, library->label);
    const std::string version = onnxruntime_version(handle);
    if (!version.empty()) found.set(kOnnxruntime, version);
  }
  return found;
}

}  // namespace edgekit
