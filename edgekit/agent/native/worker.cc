// The same as edgekit/agent/worker.py, which tells why.
#include "worker.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <random>

#include "reference.h"
#include "store.h"
#include "system.h"

namespace edgekit {

const char kRunnerVersion[] = "1";

namespace {

constexpr size_t kLargestGapBytes = 4'000'000;
constexpr double kCoreMib = 16;  // the stacks of two threads
constexpr int64_t kMostRuns = 1 << 22;
constexpr double kMostBurstS = 3600;
// See edgekit/agent/parts.py.
constexpr int kRounds = 15, kFewRounds = 5, kPartWarmUp = 4;
constexpr double kPartBlockS = 0.006, kSlowPartS = 0.05;
constexpr int64_t kMostPartRuns = 12, kMostBetween = 1 << 30;
constexpr size_t kCacheLine = 64;
const char kReference[] = "edgekit.agent.reference:Reference";

const char* const kNoMemory[] = {"bad_alloc",       "bad allocation",     "out of memory",
                                 "allocate memory", "failed to allocate", "std::length"};

std::vector<double> timed(const std::function<void()>& run, int64_t runs) {
  std::vector<double> ticks{clock_s()};
  ticks.reserve(static_cast<size_t>(runs) + 1);
  for (int64_t i = 0; i < runs; ++i) {
    run();
    ticks.push_back(clock_s());
  }
  std::vector<double> found;
  for (size_t i = 1; i < ticks.size(); ++i) found.push_back(1e3 * (ticks[i] - ticks[i - 1]));
  return found;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Holds this process to what a file, which may be anybody's, is allowed.
void bound(const Subject& subject) {
  const double cores = static_cast<double>(std::max(1L, sysconf(_SC_NPROCESSORS_CONF)));
  rlimit limit{};
  if (getrlimit(RLIMIT_DATA, &limit) == 0) {
    const double mib = status_mib("VmData").value_or(0) + subject.allowed_mib + kCoreMib * cores;
    limit.rlim_cur = static_cast<rlim_t>(mib * 1048576);
    setrlimit(RLIMIT_DATA, &limit);
  }
  rusage used{};
  if (getrlimit(RLIMIT_CPU, &limit) == 0 && getrusage(RUSAGE_SELF, &used) == 0) {
    const double so_far_s = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec);
    limit.rlim_cur = static_cast<rlim_t>(so_far_s + subject.allowed_s) + 1;
    signal(SIGXCPU, SIG_DFL);
    setrlimit(RLIMIT_CPU, &limit);
  }
  limit = {0, 0};
  setrlimit(RLIMIT_CORE, &limit);
}

void lift_processor_time() {
  rlimit limit{};
  if (getrlimit(RLIMIT_CPU, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_CPU, &limit);
  }
}

std::string too_much(const Subject& subject) {
  char mib[32];
  std::snprintf(mib, sizeof mib, "%.0f", subject.allowed_mib);
  return subject.name + " needs too much memory for its size: " + subject.runtime + " may take " + mib +
         " MiB for it; allow more with EDGEKIT_RUNTIME_MIB";
}

// A file and the commands on it, or the reference network alone.
class Worker {
 public:
  Worker(Runtime* runtime, Json versions) : runtime_(runtime), versions_(std::move(versions)) {}

  Message answer(const Json& request, std::vector<Array>& arrays) {
    const std::string& what = request["do"].string();
    if (what == "open") return {open(request), {}};
    if (what == "reload") return {reload(request), {}};
    if (what == "tensors") return {tensors(request), {}};
    if (what == "run") return run(arrays);
    if (what == "state") {
      Json found = Json::object();
      found.set("state", state());
      return {std::move(found), {}};
    }
    if (what == "block") return {block(request["runs"].integer(), request["reference"].integer()), {}};
    if (what == "burst") return {burst(request["seconds"].number()), {}};
    if (what == "memory") {
      Json found = Json::object();
      const auto peak = status_mib("VmHWM");
      found.set("peak_rss_mib", peak ? Json(*peak) : Json());
      found.set("peak_gpu_mib", Json());
      return {std::move(found), {}};
    }
    if (what == "operators") throw lacks("profiler of operators");
    if (what == "activations") throw lacks("way to show what flows between layers");
    if (what == "part") return {part(request), {}};
    throw usage("the native runner knows no such command: it is of another version");
  }

  std::string renamed(const std::string& text) const { return subject_ ? subject_->renamed(text) : text; }

  // What went wrong, with memory as the cause where that is.
  std::string explained(const std::string& text) const {
    std::string small = text;
    std::transform(small.begin(), small.end(), small.begin(), [](unsigned char c) { return std::tolower(c); });
    for (const char* sign : kNoMemory) {
      if (subject_ && small.find(sign) != std::string::npos) return too_much(*subject_);
    }
    return renamed(text);
  }

  std::string no_memory() const { return subject_ ? too_much(*subject_) : "there is not enough memory"; }

 private:
  Json open(const Json& request) {
    const bool flushed = begin(request);
    Json size, digest, tools = Json::object();
    std::string called = "reference network";
    if (subject_) {
      int64_t bytes = 0;
      for (const std::string& file : subject_->files) {
        struct stat about {};
        if (stat(file.c_str(), &about) == 0) bytes += about.st_size;
      }
      size = bytes;
      digest = digest_of(subject_->files);
      called = subject_->runtime;
    }
    tools.set("native-runner", kRunnerVersion);
    for (const auto& [name, version] : versions_.members()) {
      tools.set(name, version);
      called += " " + version.string();
    }
    forget_peak();
    const auto idle = status_mib("VmRSS");
    Json found = load();
    found.set("idle_rss_mib", idle ? Json(*idle) : Json());
    found.set("runtime", called);
    found.set("tools", std::move(tools));
    found.set("input", input_);
    found.set("inputs", Json(names_));
    found.set("size_bytes", std::move(size));
    found.set("sha256", std::move(digest));
    found.set("denormals_flushed", flushed);
    found.set("timer_overhead_ns", 1e6 * median(timed([] {}, 1000)));
    return found;
  }

  Json reload(const Json& request) {
    begin(request);
    std::random_device random;
    // An artifact that is loaded anew should lie elsewhere in memory.
    gap_.reset(static_cast<char*>(std::malloc(1 + random() % kLargestGapBytes)));
    return load();
  }

  // Makes this process one that only measures; gives whether denormals are flushed.
  bool begin(const Json& request) {
    std::vector<int> cores;
    for (const Json& core : request["cores"].items()) cores.push_back(static_cast<int>(core.integer()));
    place_on(cores);
    const bool flushed = flush_denormals();
    reference_.run();  // the memory that it takes is not that of the file
    take(request["subject"]);
    return flushed;
  }

  void take(const Json& subject) {
    loaded_.reset();
    subject_.reset();
    if (subject["loader"].string() != kReference) subject_ = std::make_unique<Subject>(subject);
  }

  // Times loading and the first inference; making an input is in neither.
  Json load() {
    Json found = Json::object();
    found.set("state", state());
    double load_ms = 0;
    if (subject_) {
      load_file(load_ms);
      loaded_->set(inputs_of(*subject_, loaded_->inputs()));
      input_.clear();
      names_.clear();
      for (const Tensor& tensor : loaded_->inputs()) {
        std::string sizes;
        for (const int64_t axis : tensor.shape) sizes += (sizes.empty() ? "" : "x") + std::to_string(axis);
        input_ += (input_.empty() ? "" : ", ") + sizes + " " + tensor.dtype;
        names_.push_back(tensor.name);
      }
      once_ = [this] { loaded_->invoke(); };
    } else {
      once_ = [this] { reference_.run(); };
    }
    const double first_ms = timed(once_, 1)[0];
    lift_processor_time();
    found.set("load_ms", load_ms);
    found.set("first_ms", first_ms);
    found.set("pid", static_cast<int>(getpid()));
    return found;
  }

  void load_file(double& load_ms) {
    bound(*subject_);
    const double begin_s = clock_s();
    loaded_ = runtime_->load(*subject_);
    load_ms = 1e3 * (clock_s() - begin_s);
  }

  Json tensors(const Json& request) {
    take(request["subject"]);
    if (!subject_) throw usage("the reference network takes no inputs");
    double load_ms = 0;
    load_file(load_ms);
    first_ = true;
    Json found = Json::object();
    for (const auto& [key, specs] : {std::pair{"inputs", &loaded_->inputs()}, std::pair{"outputs", &loaded_->outputs()}}) {
      Json list = Json::array();
      for (const Tensor& tensor : *specs) list.push(tensor.json());
      found.set(key, std::move(list));
    }
    found.set("pid", static_cast<int>(getpid()));
    return found;
  }

  Message run(std::vector<Array>& arrays) {
    if (!loaded_) throw usage("nothing is loaded");
    loaded_->set(arrays);
    loaded_->invoke();
    Message found{Json::object(), loaded_->results()};
    if (first_) lift_processor_time();  // later runs do what this one did
    first_ = false;
    return found;
  }

  // What changes when one of the files does.
  Json state() const {
    if (!subject_) return Json();
    Json found = Json::array();
    for (const std::string& file : subject_->files) {
      struct stat about {};
      if (stat(file.c_str(), &about) != 0) throw input_error(file + " is gone: expected it to stay while it is measured");
      Json one = Json::array();
      one.push(about.st_dev);
      one.push(about.st_ino);
      one.push(static_cast<int64_t>(about.st_size));
      one.push(static_cast<int64_t>(about.st_mtim.tv_sec) * 1'000'000'000 + about.st_mtim.tv_nsec);
      found.push(std::move(one));
    }
    return found;
  }

  Json block(int64_t runs, int64_t reference) {
    if (!once_) throw usage("nothing is loaded");
    if (runs < 0 || runs > kMostRuns || reference < 0 || reference > kMostRuns) throw usage("no such number of runs");
    const long before = involuntary_switches();
    const double begin_s = clock_s();
    Json samples(timed(once_, runs));
    Json beside(timed([this] { reference_.run(); }, reference));
    Json found = Json::object();
    found.set("begin_s", begin_s);
    found.set("samples_ms", std::move(samples));
    found.set("reference_ms", std::move(beside));
    found.set("involuntary_switches", involuntary_switches() - before);
    return found;
  }

  Json burst(double seconds) {
    if (!once_) throw usage("nothing is loaded");
    if (!(seconds >= 0 && seconds <= kMostBurstS)) throw usage("no such time");
    const double begin_s = clock_s();
    double now_s = begin_s;
    int64_t inferences = 0;
    for (; now_s - begin_s < seconds; now_s = clock_s(), ++inferences) once_();
    Json found = Json::object();
    found.set("begin_s", begin_s);
    found.set("end_s", now_s);
    found.set("inferences", inferences);
    return found;
  }

  // Times a file against one that stays loaded; see edgekit/agent/parts.py.
  Json part(const Json& request) {
    if (!beside_) {
      const int64_t between = request["between"].integer();
      if (between < 0 || between > kMostBetween) throw usage("no such number of bytes");
      beside_subject_ = std::make_unique<Subject>(request["beside"]);
      beside_ = runtime_->load(*beside_subject_);
      beside_->set(inputs_of(*beside_subject_, beside_->inputs()));
      others_.assign(static_cast<size_t>(between) / sizeof(double), 1.0);
    }
    take(request["subject"]);
    if (!subject_) throw usage("the reference network is no part");
    loaded_ = runtime_->load(*subject_);
    loaded_->set(inputs_of(*subject_, loaded_->inputs()));
    const auto [own_ms, reference_ms] =
        ratio([this] { loaded_->invoke(); }, [this] { beside_->invoke(); }, !request["whole"].boolean());
    Json found = Json::object();
    found.set("own_ms", own_ms);
    found.set("reference_ms", reference_ms);
    found.set("pid", static_cast<int>(getpid()));
    return found;
  }

  // Milliseconds of both, from blocks in turns.
  std::pair<double, double> ratio(const std::function<void()>& own, const std::function<void()>& reference,
                                  bool between) {
    const std::function<void()>* const calls[] = {&own, &reference};
    int64_t runs[2];
    double once_s[2];
    for (int i = 0; i < 2; ++i) {
      timed(*calls[i], kPartWarmUp);
      once_s[i] = std::max(timed(*calls[i], 1)[0] / 1e3, 1e-6);
      runs[i] = std::max<int64_t>(3, std::llround(kPartBlockS / once_s[i]));
    }
    const bool slow = once_s[0] > kSlowPartS, reads = between && !others_.empty();
    if (reads) runs[0] = std::min(runs[0], kMostPartRuns);
    if (slow) runs[0] = 1;
    std::vector<double> ratios, references;
    for (int i = 0; i < (slow ? kFewRounds : kRounds); ++i) {
      double found[2];
      for (int j = 0; j < 2; ++j) {
        // The reference tells the speed of the machine, and stays in the caches for that.
        const int which = (i + j) % 2;
        found[which] = block_of(*calls[which], runs[which], reads && which == 0);
      }
      ratios.push_back(found[0] / found[1]);
      references.push_back(found[1]);
    }
    const double reference_ms = median(references);
    return {median(ratios) * reference_ms, reference_ms};
  }

  // The lower quartile of a block, whose first runs fill caches.
  double block_of(const std::function<void()>& call, int64_t runs, bool reads) {
    std::vector<double> times;
    for (int64_t i = 0; i < runs + 2; ++i) {
      if (reads) {
        for (size_t at = 0; at < others_.size(); at += kCacheLine / sizeof(double)) read_ = read_ + others_[at];
      }
      const double taken = timed(call, 1)[0];
      if (i >= 2) times.push_back(taken);
    }
    std::sort(times.begin(), times.end());
    const double place = 0.25 * static_cast<double>(times.size() - 1);
    const auto low = static_cast<size_t>(place);
    const size_t high = std::min(low + 1, times.size() - 1);
    return times[low] + (place - static_cast<double>(low)) * (times[high] - times[low]);
  }

  struct Freeing {
    void operator()(char* block) const { std::free(block); }
  };

  Runtime* runtime_;
  Json versions_;
  std::unique_ptr<Subject> subject_;  // none for the reference network
  std::unique_ptr<Loaded> loaded_;
  std::unique_ptr<Subject> beside_subject_;
  std::unique_ptr<Loaded> beside_;  // what parts are timed against
  std::vector<double> others_;  // what is read between two runs of a part
  volatile double read_ = 0;
  std::unique_ptr<char, Freeing> gap_;
  Reference reference_;
  std::function<void()> once_;
  std::string input_;
  std::vector<std::string> names_;
  bool first_ = false;
};

bool loads(const Json& request) {
  const Json& what = request["do"];
  return what.kind() == Json::Kind::String && (what.string() == "reload" || what.string() == "tensors");
}

// Answers requests until one needs a new process: that one. Throws Closed.
Message serve_loaded(Worker& worker, Wire& wire, Message message) {
  while (true) {
    Message answer;
    try {
      answer = worker.answer(message.document, message.arrays);
    } catch (const Failure& failure) {
      answer = refusal({failure.kind, failure.kind == "InputError" ? worker.explained(failure.message)
                                                                   : worker.renamed(failure.message)});
    } catch (const Malformed& error) {
      answer = refusal(usage(std::string("the native runner takes no such arguments: ") + error.what()));
    } catch (const std::bad_alloc&) {
      answer = refusal(input_error(worker.no_memory()));
    } catch (const std::length_error&) {
      answer = refusal(input_error(worker.no_memory()));
    }
    wire.send(answer);
    message = wire.receive();
    if (loads(message.document)) return message;
  }
}

// Lets a child answer a request and those that follow; gives the one that needs another.
std::optional<Message> fork_for(Wire& wire, Message message, Runtime* runtime, const Json& known) {
  int ends[2];
  if (pipe(ends) != 0) throw Closed();
  const int own = getpid();
  const int child = fork();
  if (child < 0) throw Closed();
  if (child == 0) {
    close(ends[0]);
    die_with(own);
    try {
      Worker worker(runtime, known);
      Message left = serve_loaded(worker, wire, std::move(message));
      Wire(ends[0], ends[1]).send(left);
    } catch (const Closed&) {
    }
    // Runtimes that crash while they are torn down have done their work.
    _exit(0);
  }
  close(ends[1]);
  std::optional<Message> left;
  try {
    left = Wire(ends[0], -1).receive();
  } catch (const Closed&) {
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  const int code = exit_code(status);
  if (code < 0) {  // this process ends as its child did
    signal(-code, SIG_DFL);
    kill(getpid(), -code);
  }
  if (code != 0) _exit(code < 0 ? 1 : code);
  return left;
}

}  // namespace

void die_with(int parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it was too late
}

int exit_code(int status) { return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status); }

Message refusal(const Failure& failure) {
  Message answer;
  answer.document.set("error", failure.kind);
  answer.document.set("message", failure.message);
  return answer;
}

void serve_files(Wire& wire, const std::vector<Library>& libraries) {
  std::unique_ptr<Runtime> runtime;
  Json known = Json::object();
  while (true) {
    const Message message = wire.receive();
    try {
      const Json& subject = message.document["subject"];
      if (message.document["do"].string() != "import") throw usage("a slot imports first");
      if (subject["loader"].string() != kReference) {
        const Subject file(subject);
        runtime = runtime_for(file, libraries);
        // The version of this runtime alone belongs to the file.
        const Json all = versions(libraries);
        const std::string& name = file.path.compare(file.path.size() - 5, 5, ".onnx") == 0 ? kOnnxruntime : kLitert;
        known.set(name, all[name]);
      }
      break;
    } catch (const Failure& failure) {
      wire.send(refusal(failure));
    } catch (const Malformed& error) {
      wire.send(refusal(usage(std::string("the native runner takes no such arguments: ") + error.what())));
    }
  }
  wire.send({});
  std::optional<Message> message = wire.receive();
  while (message) message = fork_for(wire, std::move(*message), runtime.get(), known);
}

void serve_no_meter(Wire& wire) {
  while (true) {
    const Message message = wire.receive();
    const Json& what = message.document["do"];
    if (what.kind() == Json::Kind::String && what.string() == "discover") {
      Json found = Json::object(), reasons = Json::array();
      reasons.push("the native runner reads none; a Python on the device does");
      found.set("meter", Json());
      found.set("reasons", std::move(reasons));
      wire.send({std::move(found), {}});
    } else {
      wire.send(refusal(lacks("meters of energy")));
    }
  }
}

}  // namespace edgekit
