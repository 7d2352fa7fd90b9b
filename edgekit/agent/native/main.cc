// The native runner: an agent without a Python, on standard input and output.
//
// It speaks the protocol of edgekit/agent/supervisor.py, of which it leaves out what needs Python.
// It ends when the one that asks is gone, or has asked nothing for long.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <new>

#include "store.h"
#include "system.h"
#include "worker.h"

namespace edgekit {
namespace {

constexpr double kIdleS = 600, kLimitS = 300, kEndingS = 10, kMostLimitS = 1e6;
constexpr size_t kMostSlots = 64, kMostTurns = 1 << 16;

Json crashed(const std::string& what, int code, const std::string& told) {
  Json found = Json::object();
  found.set("error", "Crashed");
  found.set("do", what);
  found.set("code", code);
  found.set("told", told);
  return found;
}

void unblock(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags >= 0) fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
}

// A nameless file for what a slot prints.
int nameless_file(const std::string& folder) {
  std::string path = folder + "/told-XXXXXX";
  const int file = mkostemp(path.data(), O_CLOEXEC);
  if (file >= 0) unlink(path.c_str());
  return file >= 0 ? file : open("/dev/null", O_RDWR | O_CLOEXEC);
}

// A process that answers commands on its own.
struct Slot {
  int pid = -1, channel = -1, told = -1, loaded = 0;
  std::unique_ptr<Wire> wire;

  // Ends the process and those that it started; gives its exit code.
  int end() {
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
    close(channel);
    const double end_s = clock_s() + kEndingS;
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0 && clock_s() < end_s) usleep(1000);
    return exit_code(status);
  }

  // The end of what it printed; call it once the process has ended.
  std::string last_line() {
    const off_t size = lseek(told, 0, SEEK_END);
    std::string text(4000, '\0');
    const ssize_t count = pread(told, text.data(), text.size(), std::max<off_t>(0, size - 4000));
    close(told);
    text.resize(count > 0 ? static_cast<size_t>(count) : 0);
    text.resize(text.find_last_not_of(" \t\r\n\0") + 1);
    const size_t line = text.rfind('\n');
    return line == std::string::npos ? text : text.substr(line + 1);
  }
};

class Supervisor {
 public:
  Supervisor(Wire& outer, std::string folder, std::vector<Library> libraries)
      : outer_(outer), folder_(std::move(folder)), libraries_(std::move(libraries)) {}

  ~Supervisor() {
    while (!slots_.empty()) ended(slots_.begin()->first);
  }

  void serve() {
    Json greeting = Json::object();
    greeting.set("edgekit-agent", kProtocol);
    unblock(outer_.sink());  // the one that asks may read nothing
    outer_.send({greeting, {}}, kIdleS);
    while (true) {
      Message request = outer_.receive(kIdleS);
      outer_.send(answered(std::move(request)), kIdleS);
    }
  }

 private:
  Message answered(Message request) {
    try {
      const Json& asked = request.document;
      if (!asked["slot"].is_null()) return forward(asked["slot"].integer(), asked, std::move(request.arrays));
      return {command(asked["do"].string(), asked, request.arrays), {}};
    } catch (const Failure& failure) {
      return refusal(failure);
    } catch (const Malformed& error) {
      return refusal(usage(std::string("the native runner takes no such arguments: ") + error.what()));
    } catch (const std::bad_alloc&) {
      return refusal(unavailable("there is not enough memory on the device"));
    }
  }

  Json command(const std::string& what, const Json& asked, const std::vector<Array>& arrays) {
    if (what == "hello") return hello();
    if (what == "about") return about(asked);
    if (what == "placements") {
      Json found = Json::object(), places = Json::array();
      const int64_t threads = asked["threads"].integer();
      if (threads < 1 || threads > 1024) throw usage("no such number of threads");
      for (const auto& cores : placements(static_cast<int>(threads))) places.push(Json(cores));
      found.set("places", std::move(places));
      return found;
    }
    if (what == "claim") {
      const bool alone = asked["alone"].is_null() || asked["alone"].boolean();
      if (!claim_ || (alone && !claim_->alone())) {
        claim_ = std::make_unique<Claim>(claims_folder(folder_ + "/claims"), asked["token"].string(),
                                         asked["owner"].string(), alone);
      }
      return Json::object();
    }
    if (what == "place") return stored().place(asked["key"].string(), asked["files"]);
    if (what == "put") {
      static const std::vector<uint8_t> kNothing;
      return stored().put(asked["key"].string(), asked["name"].string(), asked["size"].integer(),
                          asked["digest"].string(), asked["offset"].integer(),
                          arrays.empty() ? kNothing : arrays[0].bytes);
    }
    if (what == "release") {
      stored().release(asked["key"].string());
      return Json::object();
    }
    if (what == "slot") return slot(asked);
    if (what == "end") {
      ended(asked["of"].integer());
      return Json::object();
    }
    if (what == "fate") {
      Json found = Json::object();
      auto [code, told] = ended(asked["of"].integer());
      found.set("code", code);
      found.set("told", told);
      return found;
    }
    if (what == "tell") {
      const int64_t of = asked["of"].integer();
      try {
        slot_of(of).wire->send({asked["request"], {}}, kLimitS);
      } catch (const Closed&) {  // what became of it shows in the answer
      } catch (const TimedOut&) {
        return silent(of, asked["request"]["do"].string(), kLimitS);
      }
      return Json::object();
    }
    if (what == "heard") {
      return await(asked["of"].integer(), asked["asked"].string(), limit_of(asked["within_s"])).document;
    }
    if (what == "rounds") return rounds(asked["turns"]);
    if (what == "watch") return watch(asked);
    if (what == "start") {
      watched().start();
      return Json::object();
    }
    if (what == "look") {
      watched().look(!asked["now"].is_null() && asked["now"].boolean());
      return Json::object();
    }
    if (what == "stop") {
      Json found = Json::object();
      found.set("conditions", watched().stop());
      found.set("met", watched().met());
      return found;
    }
    if (what == "conditions") {
      Json found = Json::object(), conditions = machine("");
      const Json now = moment("");
      for (const auto& [key, value] : now.members()) conditions.set(key, value);
      found.set("conditions", std::move(conditions));
      return found;
    }
    throw lacks("command '" + what.substr(0, 40) + "'");
  }

  Json hello() const {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    Json found = Json::object();
    found.set("protocol", kProtocol);
    found.set("pid", static_cast<int>(getpid()));
    found.set("runner", kRunnerVersion);
    found.set("cores", std::max(1L, sysconf(_SC_NPROCESSORS_CONF)));
    const auto boot = file_text("/proc/sys/kernel/random/boot_id");
    found.set("boot", boot ? Json(*boot) : Json());
    found.set("clock_s", clock_s());
    found.set("wall_s", static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec));
    return found;
  }

  Json about(const Json& asked) {
    std::string root = asked["root"].is_null() ? "" : asked["root"].string();
    while (!root.empty() && root.back() == '/') root.pop_back();
    Json environment = Json::object();
    for (const Json& name : asked["variables"].items()) {
      if (const char* value = std::getenv(name.string().c_str())) environment.set(name.string(), value);
    }
    Json found = Json::object();
    found.set("hardware", described(root));
    found.set("versions", versions_there(asked["packages"]));
    found.set("environment", std::move(environment));
    return found;
  }

  // Libraries start threads, or crash: a process of its own loads them.
  Json versions_there(const Json& packages) {
    Json found = Json::object();
    if (packages.items().empty() || libraries_.empty()) return found;
    const Slot asked = started([this](Wire& wire) {
      Message answer;
      try {
        answer.document.set("versions", versions(libraries_));
      } catch (const Failure& failure) {
        answer = refusal(failure);
      }
      wire.send(answer);
    });
    Slot process{asked.pid, asked.channel, asked.told, 0, std::make_unique<Wire>(asked.channel, asked.channel)};
    std::optional<Json> told;
    try {
      if (!poll_all({{process.channel, POLLIN}}, kLimitS).empty()) told = process.wire->receive(1.0).document;
    } catch (const Closed&) {
    } catch (const TimedOut&) {
    }
    const int code = process.end();
    const std::string last = process.last_line();
    if (!told) {
      throw unavailable("the libraries of the native runner crash the process that loads them (code " +
                        std::to_string(code) + ")" + (last.empty() ? "" : ": " + last));
    }
    if (told->has("error")) throw Failure((*told)["error"].string(), (*told)["message"].string());
    for (const Json& name : packages.items()) {
      if ((*told)["versions"].has(name.string())) found.set(name.string(), (*told)["versions"][name.string()]);
    }
    return found;
  }

  Slot started(const std::function<void(Wire&)>& serve) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      throw unavailable(std::string("the device makes no channel: ") + std::strerror(errno));
    }
    Slot made;
    made.told = nameless_file(folder_);
    const int own = getpid();
    made.pid = fork();
    if (made.pid < 0) {
      const std::string why = std::strerror(errno);
      close(ends[0]);
      close(ends[1]);
      close(made.told);
      throw unavailable("the device starts no process: " + why);
    }
    if (made.pid == 0) {
      die_with(own);
      setpgid(0, 0);
      for (const auto& [number, other] : slots_) close(other.channel);
      close(outer_.source());
      close(outer_.sink());
      close(ends[0]);
      if (store_) store_->forget_locks();
      if (claim_) claim_->forget_lock();
      dup2(made.told, 1);
      dup2(made.told, 2);
      int code = 0;
      try {
        Wire wire(ends[1], ends[1]);
        serve(wire);
      } catch (const Closed&) {
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        code = 1;
      }
      std::fflush(stderr);
      _exit(code);
    }
    setpgid(made.pid, made.pid);  // it does so itself, too
    close(ends[1]);
    made.channel = ends[0];
    return made;
  }

  Json slot(const Json& asked) {
    const std::string& serves = asked["serves"].string();
    if (serves != "worker" && serves != "meter") throw usage("an agent has no slot of the kind '" + serves.substr(0, 40) + "'");
    if (!asked["direct"].is_null() && asked["direct"].boolean()) throw lacks("channel of its own to a slot");
    if (slots_.size() >= kMostSlots) throw usage("too many slots");
    Slot made = started([&](Wire& wire) {
      if (serves == "worker") {
        serve_files(wire, libraries_);
      } else {
        serve_no_meter(wire);
      }
    });
    unblock(made.channel);  // it may read nothing
    made.wire = std::make_unique<Wire>(made.channel, made.channel, outer_.source());
    Json found = Json::object();
    found.set("slot", ++count_);
    found.set("pid", made.pid);
    slots_.emplace(count_, std::move(made));
    return found;
  }

  Json rounds(const Json& turns) {
    if (turns.items().size() > kMostTurns) throw usage("too many turns");
    Json blocks = Json::array();
    std::vector<int64_t> failed;
    for (const Json& turn : turns.items()) {
      if (turn.items().size() != 4) throw usage("a turn has a slot, runs, those of the reference, and seconds");
      const int64_t number = turn.items()[0].integer();
      if (std::find(failed.begin(), failed.end(), number) != failed.end()) continue;
      Json request = Json::object();
      request.set("do", "block");
      request.set("runs", turn.items()[1]);
      request.set("reference", turn.items()[2]);
      request.set("within_s", turn.items()[3]);
      Json found = forward(number, request, {}).document;
      if (found.has("error")) failed.push_back(number);
      found.set("slot", number);
      blocks.push(std::move(found));
    }
    Json found = Json::object();
    found.set("blocks", std::move(blocks));
    return found;
  }

  Json watch(const Json& asked) {
    std::vector<int> others;
    for (const Json& pid : asked["own"].items()) others.push_back(static_cast<int>(pid.integer()));
    const std::string presence = asked["folder"].is_null() ? folder_ + "/measuring" : asked["folder"].string();
    watch_.reset();
    watch_ = std::make_unique<Watch>(
        [this, others] {
          std::vector<int> pids = others;
          pids.push_back(static_cast<int>(getpid()));
          for (const auto& [number, slot] : slots_) {
            pids.push_back(slot.pid);
            if (slot.loaded > 0) pids.push_back(slot.loaded);
          }
          return pids;
        },
        presence);
    Json found = Json::object();
    found.set("why_not", watch_->why_not().empty() ? Json() : Json(watch_->why_not()));
    return found;
  }

  Watch& watched() {
    if (!watch_) throw usage("the agent was not asked to watch its device");
    return *watch_;
  }

  Store& stored() {
    if (!store_) store_ = std::make_unique<Store>(folder_ + "/files");
    return *store_;
  }

  Slot& slot_of(int64_t number) {
    const auto found = slots_.find(number);
    if (found == slots_.end()) throw usage("the agent has no slot " + std::to_string(number) + " any more");
    return found->second;
  }

  static double limit_of(const Json& within_s) {
    return within_s.is_null() ? kLimitS : std::clamp(within_s.number(), 0.0, kMostLimitS);
  }

  Message forward(int64_t number, const Json& asked, std::vector<Array> arrays) {
    Message request;
    for (const auto& [key, value] : asked.members()) {
      if (key != "slot" && key != "within_s" && key != "arrays") request.document.set(key, value);
    }
    request.arrays = std::move(arrays);
    const std::string what = asked["do"].string();
    const double limit_s = limit_of(asked["within_s"]), begun_s = clock_s();
    try {
      slot_of(number).wire->send(request, limit_s);
    } catch (const Closed&) {  // what became of it, or of the one that asks, shows in the answer
    } catch (const TimedOut&) {
      return {silent(number, what, limit_s), {}};
    }
    return await(number, what, limit_s, begun_s);
  }

  // The answer of a slot, or what became of it. Throws Closed: the one that asked is gone.
  Message await(int64_t number, const std::string& what, double limit_s,
                std::optional<double> begun_s = std::nullopt) {
    Slot& slot = slot_of(number);
    const double end_s = begun_s.value_or(clock_s()) + limit_s;
    while (clock_s() < end_s) {
      const auto ready = poll_all({{slot.channel, POLLIN}, {outer_.source(), 0}}, end_s - clock_s());
      if (ready.count(outer_.source())) throw Closed();
      if (!ready.count(slot.channel)) continue;
      try {
        Message answer = slot.wire->receive(std::max(end_s - clock_s(), 1.0));
        const Json& pid = answer.document["pid"];
        if (pid.kind() == Json::Kind::Integer) slot.loaded = static_cast<int>(pid.integer());
        return answer;
      } catch (const TimedOut&) {
        break;
      } catch (const Closed&) {
        auto [code, told] = ended(number);
        return {crashed(what, code, told), {}};
      }
    }
    return {silent(number, what, limit_s), {}};
  }

  // Ends a slot that reads or answers nothing; gives the answer that says so.
  Json silent(int64_t number, const std::string& what, double limit_s) {
    ended(number);
    Json found = Json::object();
    found.set("error", "Silent");
    found.set("do", what);
    found.set("within_s", limit_s);
    return found;
  }

  std::pair<int, std::string> ended(int64_t number) {
    const auto found = slots_.find(number);
    if (found == slots_.end()) return {0, ""};
    const int code = found->second.end();
    const std::string told = found->second.last_line();
    slots_.erase(found);
    return {code, told};
  }

  Wire& outer_;
  const std::string folder_;
  const std::vector<Library> libraries_;
  std::map<int64_t, Slot> slots_;
  int64_t count_ = 0;
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Claim> claim_;
};

}  // namespace
}  // namespace edgekit

int main(int count, char** words) {
  using namespace edgekit;
  std::string folder = ".";
  std::vector<Library> libraries;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--version") {
      std::printf("edgekit-runner %s, protocol %d\n", kRunnerVersion, kProtocol);
      return 0;
    }
    if (word == "--folder" && i + 1 < count) {
      folder = words[++i];
    } else if (word == "--library" && i + 2 < count) {
      libraries.push_back({words[i + 1], words[i + 2]});
      i += 2;
    } else {
      std::fprintf(stderr, "usage: %s [--folder FOLDER] [--library PATH LABEL]...\n", words[0]);
      return 2;
    }
  }
  // Nobody else gets to write there: what libraries print goes to files of their slots.
  const int source = fcntl(0, F_DUPFD_CLOEXEC, 3), sink = fcntl(1, F_DUPFD_CLOEXEC, 3);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (source < 0 || sink < 0 || nothing < 0) return 1;
  dup2(nothing, 0);
  dup2(2, 1);
  for (const int number : {SIGINT, SIGHUP, SIGPIPE}) signal(number, SIG_IGN);
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  try {
    make_folders(folder);
    Wire outer(source, sink);
    Supervisor(outer, folder, libraries).serve();
  } catch (const Closed&) {  // nobody asks any more
  } catch (const TimedOut&) {
  } catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 65;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
