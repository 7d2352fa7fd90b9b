#include "system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifdef __ANDROID__
#include <sys/system_properties.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "wire.h"

namespace edgekit {

namespace {

// What kernels of inference runtimes choose by, as /proc/cpuinfo names it.
const char* const kIsa[] = {
    "avx2",     "fma",     "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "neon", "asimd",   "asimdhp",     "asimddp",     "i8mm",
    "bf16",     "sve",     "sve2", "sme",
};

// Linux, arch/arm64/include/asm/cputype.h: part numbers of implementer 0x41, Arm.
const std::map<long, const char*> kArmParts = {
    {0xD03, "Cortex-A53"},  {0xD04, "Cortex-A35"},  {0xD05, "Cortex-A55"},   {0xD07, "Cortex-A57"},
    {0xD08, "Cortex-A72"},  {0xD09, "Cortex-A73"},  {0xD0A, "Cortex-A75"},   {0xD0B, "Cortex-A76"},
    {0xD0C, "Neoverse-N1"}, {0xD0D, "Cortex-A77"},  {0xD40, "Neoverse-V1"},  {0xD41, "Cortex-A78"},
    {0xD42, "Cortex-A78AE"}, {0xD44, "Cortex-X1"},  {0xD46, "Cortex-A510"},  {0xD47, "Cortex-A710"},
    {0xD48, "Cortex-X2"},   {0xD49, "Neoverse-N2"}, {0xD4D, "Cortex-A715"},  {0xD4E, "Cortex-X3"},
    {0xD4F, "Neoverse-V2"}, {0xD80, "Cortex-A520"}, {0xD81, "Cortex-A720"},  {0xD82, "Cortex-X4"},
};

// Cores this much slower than the fastest are another kind: the small ones of a phone.
constexpr double kSameKind = 0.95;
constexpr double kLookEveryS = 0.5;

using Section = std::map<std::string, std::string>;

std::string trimmed(const std::string& text) {
  const auto space = [](char sign) { return sign == '\0' || std::isspace(static_cast<unsigned char>(sign)); };
  auto begin = std::find_if_not(text.begin(), text.end(), space);
  auto end = std::find_if_not(text.rbegin(), std::make_reverse_iterator(begin), space).base();
  return {begin, end};
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> found;
  for (std::string word; stream >> word;) found.push_back(word);
  return found;
}

std::optional<double> number_in(const std::string& path) {
  const auto text = file_text(path);
  if (!text || text->empty()) return std::nullopt;
  char* end = nullptr;
  const double found = std::strtod(text->c_str(), &end);
  if (*end != '\0' || !std::isfinite(found)) return std::nullopt;
  return found;
}

std::vector<std::string> core_folders(const std::string& root) {
  const std::string folder = root + "/sys/devices/system/cpu";
  std::vector<std::string> found;
  for (const std::string& name : names_in(folder)) {
    if (name.size() > 3 && name.compare(0, 3, "cpu") == 0 && std::isdigit(static_cast<unsigned char>(name[3]))) {
      found.push_back(folder + "/" + name);
    }
  }
  return found;
}

std::optional<double> max_mhz(const std::string& root, const std::string& file) {
  std::optional<double> most;
  for (const std::string& core : core_folders(root)) {
    if (const auto khz = number_in(core + "/cpufreq/" + file)) most = std::max(most.value_or(0), *khz);
  }
  if (most) *most /= 1000;
  return most;
}

std::vector<int> affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> found;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) found.push_back(core);
    }
  }
  return found;
}

// Processors that the control groups of this process allow it (cgroup v2, cpu.max).
std::optional<double> quota(const std::string& root) {
  std::istringstream lines(file_text(root + "/proc/self/cgroup").value_or(""));
  std::string group;
  bool found_group = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, 3, "0::") == 0) {
      group = line.substr(3);
      found_group = true;
      break;
    }
  }
  if (!found_group) return std::nullopt;
  std::optional<double> least;
  while (true) {
    const auto fields = words_of(file_text(root + "/sys/fs/cgroup" + group + "/cpu.max").value_or(""));
    if (fields.size() == 2 && std::atof(fields[1].c_str()) > 0 && std::isdigit(static_cast<unsigned char>(fields[0][0]))) {
      const double share = std::atof(fields[0].c_str()) / std::atof(fields[1].c_str());
      least = std::min(least.value_or(share), share);
    }
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos || group.size() <= 1) return least;
    group.resize(slash);  // each bounds those below
  }
}

int usable_cores(const std::string& root) {
  const int cores = std::max<int>(1, static_cast<int>(affinity().size()));
  const auto most = quota(root);
  return most ? std::max(1, std::min(cores, static_cast<int>(*most))) : cores;
}

std::vector<Section> processors(const std::string& root) {
  std::vector<Section> sections(1);
  std::istringstream lines(file_text(root + "/proc/cpuinfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = trimmed(line.substr(0, colon));
    if (key == "processor") sections.emplace_back();
    sections.back()[key] = trimmed(line.substr(colon + 1));
  }
  sections.erase(std::remove_if(sections.begin(), sections.end(),
                                [](const Section& one) { return one.count("processor") == 0; }),
                 sections.end());
  return sections;
}

std::string board(const std::string& root) {
  if (const auto model = file_text(root + "/proc/device-tree/model"); model && !model->empty()) return *model;
#ifdef __ANDROID__
  std::string found;
  for (const char* name : {"ro.soc.manufacturer", "ro.soc.model"}) {
    char value[PROP_VALUE_MAX] = "";
    if (__system_property_get(name, value) > 0) found += (found.empty() ? "" : " ") + std::string(value);
  }
  return found;
#else
  return "";
#endif
}

bool emulated(const std::string& root);

std::optional<std::string> processor_name(const std::string& root) {
  const auto found = processors(root);
  std::vector<std::pair<std::string, int>> counts;
  bool arm = false;
  for (const Section& one : found) {
    const auto value = [&](const char* key) {
      const auto at = one.find(key);
      return at == one.end() ? std::string() : at->second;
    };
    arm = arm || one.count("CPU implementer") != 0;
    std::string name;
    for (const std::string& word : words_of(value("model name"))) name += (name.empty() ? "" : " ") + word;
    if (value("CPU implementer") == "0x41") {
      const long part = std::strtol(value("CPU part").c_str(), nullptr, 16);
      const auto known = kArmParts.find(part);
      char text[32];
      std::snprintf(text, sizeof text, "Arm part 0x%lx", part);
      name = known == kArmParts.end() ? text : known->second;
    }
    if (name.empty()) continue;
    const auto same = std::find_if(counts.begin(), counts.end(), [&](const auto& each) { return each.first == name; });
    if (same == counts.end()) {
      counts.emplace_back(name, 1);
    } else {
      ++same->second;
    }
  }
  std::string cores;
  for (const auto& [name, count] : counts) {
    cores += (cores.empty() ? "" : " + ") + (arm ? std::to_string(count) + "x " : "") + name;
  }
  if (arm) {
    const std::string where = board(root);
    if (!where.empty()) cores = where + (cores.empty() ? "" : ", ") + cores;
  }
  if (cores.empty()) return std::nullopt;
  return emulated(root) ? cores + " (emulated)" : cores;
}

std::string machine_name() {
  utsname about{};
  uname(&about);
  return about.machine;
}

std::string family(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* x86 : {"x86", "x86_64", "amd64", "i686", "i386"}) {
    if (name == x86) return "x86";
  }
  return name.compare(0, 3, "arm") == 0 || name.compare(0, 5, "aarch") == 0 ? "arm" : name;
}

// What imitates one process shows it another name of the machine, and not another kernel.
bool emulated(const std::string& root) {
  std::string kernel = file_text(root + "/proc/sys/kernel/arch").value_or("");
  if (kernel.empty()) {
    // "cpu:type:aarch64:feature:,0001" on Arm, "cpu:type:x86,ven0002fam0019" on x86.
    const std::string alias = file_text(root + "/sys/devices/system/cpu/modalias").value_or("");
    const size_t at = alias.find("type:");
    if (at == std::string::npos) return false;
    kernel = alias.substr(at + 5);
    kernel = kernel.substr(0, kernel.find_first_of(":,"));
  }
  return !kernel.empty() && family(kernel) != family(machine_name());
}

Json optional(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::optional<double> celsius(const std::string& root) {
  const std::string folder = root + "/sys/class/thermal";
  std::optional<double> most;
  for (const std::string& name : names_in(folder)) {
    if (name.compare(0, 12, "thermal_zone") != 0) continue;
    if (const auto found = number_in(folder + "/" + name + "/temp")) {
      most = std::max(most.value_or(*found / 1000), *found / 1000);
    }
  }
  return most;
}

std::optional<bool> throttled(const std::string& root) {
  std::optional<bool> found;
  // Of the Raspberry Pi's firmware: under-voltage, frequency capped, throttled, soft limit.
  if (const auto firmware = file_text(root + "/sys/devices/platform/soc/soc:firmware/get_throttled")) {
    char* end = nullptr;
    const long bits = std::strtol(firmware->c_str(), &end, 16);
    if (!firmware->empty() && *end == '\0') found = (bits & 0xF) != 0;
  }
  const std::string folder = root + "/sys/class/thermal";
  for (const std::string& name : names_in(folder)) {
    if (name.compare(0, 14, "cooling_device") != 0) continue;
    std::string kind = file_text(folder + "/" + name + "/type").value_or("");
    std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) { return std::tolower(c); });
    const auto state = number_in(folder + "/" + name + "/cur_state");
    const bool cools = kind.compare(0, 9, "processor") == 0 || kind.compare(0, 3, "cpu") == 0 ||
                       kind.compare(0, 15, "thermal-cpufreq") == 0;
    if (state && cools) found = found.value_or(false) || *state > 0;
  }
  return found;
}

std::optional<double> throttle_count(const std::string& root) {
  std::optional<double> total;
  for (const std::string& core : core_folders(root)) {
    if (const auto found = number_in(core + "/thermal_throttle/core_throttle_count")) {
      total = total.value_or(0) + *found;
    }
  }
  return total;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double rounded(double value, double places) { return std::round(value * places) / places; }

}  // namespace

std::optional<std::string> file_text(const std::string& path, size_t most) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return std::nullopt;
  std::string found;
  char block[4096];
  ssize_t count = 0;
  while (found.size() < most && (count = read(file, block, sizeof block)) > 0) {
    found.append(block, static_cast<size_t>(count));
  }
  close(file);
  if (count < 0) return std::nullopt;
  return trimmed(found);
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> found;
  if (DIR* opened = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(opened)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") found.push_back(name);
    }
    closedir(opened);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Json described(const std::string& root) {
  const auto found = processors(root);
  std::set<std::string> flags;
  std::set<std::pair<std::string, std::string>> places;
  for (const Section& one : found) {
    for (const char* key : {"flags", "Features"}) {
      const auto at = one.find(key);
      if (at == one.end()) continue;
      for (const std::string& word : words_of(at->second)) flags.insert(word);
    }
    const auto value = [&](const char* key, const std::string& other) {
      const auto at = one.find(key);
      return at == one.end() ? other : at->second;
    };
    places.emplace(value("physical id", ""), value("core id", "processor " + one.at("processor")));
  }
  Json isa = Json::array();
  for (const char* name : kIsa) {
    if (flags.count(name)) isa.push(name);
  }
  const int cores = found.empty() ? static_cast<int>(sysconf(_SC_NPROCESSORS_CONF)) : static_cast<int>(places.size());
  const int usable = usable_cores(root);
  Json about = Json::object();
  const auto soc = processor_name(root);
  about.set("soc", soc ? Json(*soc) : Json());
  about.set("isa", std::move(isa));
  about.set("cores", cores);
  about.set("max_mhz", optional(max_mhz(root, "cpuinfo_max_freq")));
  Json ram;
  std::istringstream lines(file_text(root + "/proc/meminfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, 9, "MemTotal:") == 0) ram = std::atoll(line.c_str() + 9) / 1024;
  }
  about.set("ram_mib", std::move(ram));
  about.set("threads", std::max(1, std::min(cores, usable)));
  about.set("machine", machine_name());
  about.set("emulated", emulated(root));
  about.set("usable_cores", usable);
  return about;
}

Json machine(const std::string& root) {
  utsname about{};
  uname(&about);
  Json found = Json::object();
  found.set("system", std::string(about.sysname) + "-" + about.release + "-" + about.machine);
  found.set("cpu", processor_name(root).value_or(about.machine));
  found.set("cores", usable_cores(root));
  const auto governor = file_text(root + "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  found.set("governor", governor ? Json(*governor) : Json());
  if (emulated(root)) found.set("emulated", true);
  return found;
}

Json moment(const std::string& root) {
  Json found = Json::object();
  found.set("max_mhz", optional(max_mhz(root, "scaling_cur_freq")));
  found.set("max_celsius", optional(celsius(root)));
  const auto load = words_of(file_text(root + "/proc/loadavg").value_or(""));
  found.set("load_1m", load.empty() ? Json() : Json(rounded(std::atof(load[0].c_str()), 100)));
  return found;
}

std::vector<std::vector<int>> placements(int threads) {
  const std::vector<int> usable = affinity();
  if (usable.empty() || threads < 1) return {};
  const std::string cpus = "/sys/devices/system/cpu/cpu";
  std::map<int, double> speeds;
  double fastest = 0;
  for (const int core : usable) {
    const std::string folder = cpus + std::to_string(core);
    auto speed = number_in(folder + "/cpu_capacity");
    if (!speed) speed = number_in(folder + "/cpufreq/cpuinfo_max_freq");
    speeds[core] = speed.value_or(0);
    fastest = std::max(fastest, speeds[core]);
  }
  std::vector<int> fast, physical;
  std::set<std::string> seen;
  for (const int core : usable) {
    if (speeds[core] < kSameKind * fastest) continue;
    fast.push_back(core);
    const auto siblings = file_text(cpus + std::to_string(core) + "/topology/thread_siblings_list");
    if (seen.insert(siblings.value_or(std::to_string(core))).second) physical.push_back(core);
  }
  const size_t wanted = static_cast<size_t>(threads);
  const std::vector<int>& pool = physical.size() >= wanted ? physical : fast.size() >= wanted ? fast : usable;
  if (wanted >= pool.size()) return {pool};
  std::vector<std::vector<int>> found;
  for (size_t i = 0; i < pool.size(); ++i) {
    std::vector<int> set;
    for (size_t j = 0; j < wanted; ++j) set.push_back(pool[(i + j) % pool.size()]);
    std::sort(set.begin(), set.end());
    found.push_back(std::move(set));
  }
  return found;
}

void place_on(const std::vector<int>& cores) {
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) {
    if (core >= 0 && core < CPU_SETSIZE) CPU_SET(core, &set);
  }
  for (const std::string& thread : names_in("/proc/self/task")) {
    sched_setaffinity(std::atoi(thread.c_str()), sizeof set, &set);
  }
}

bool flush_denormals() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // MXCSR, Intel SDM volume 1, 10.2.3
  return true;
#elif defined(__aarch64__)
  uint64_t control = 0;  // FPCR.FZ, Arm ARM C5.2.8
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | uint64_t{1} << 24));
  return true;
#else
  return false;
#endif
}

std::optional<double> status_mib(const std::string& key) {
  std::istringstream lines(file_text("/proc/self/status").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, key.size() + 1, key + ":") == 0) return std::atof(line.c_str() + key.size() + 1) / 1024;
  }
  return std::nullopt;
}

void forget_peak() {
  const int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);  // proc(5)
  if (file < 0) return;
  [[maybe_unused]] const ssize_t done = write(file, "5", 1);
  close(file);
}

long involuntary_switches() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return used.ru_nivcsw;
}

Presence::Presence(const std::string& folder) : folder_(folder) {
  std::random_device random;
  char name[64];
  std::snprintf(name, sizeof name, "%d-%08x%08x.lock", static_cast<int>(getpid()), random(), random());
  name_ = name;
  mkdir(folder.c_str(), 0700);
  struct stat about {};
  const std::string hidden = folder + "/." + name_ + ".new", path = folder + "/" + name_;
  const auto fail = [&](const char* why) { why_not_ = folder + ": " + why; };
  if (lstat(folder.c_str(), &about) != 0) {
    fail(std::strerror(errno));
    return;
  }
  if (!S_ISDIR(about.st_mode) || about.st_uid != geteuid() || (about.st_mode & 022) != 0) {
    fail("others may write to this folder");
    return;
  }
  // The file bears its name only once it is locked: nobody takes it for left.
  file_ = open(hidden.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file_ < 0) {
    fail(std::strerror(errno));
    return;
  }
  if (flock(file_, LOCK_EX | LOCK_NB) != 0 || rename(hidden.c_str(), path.c_str()) != 0) {
    fail(std::strerror(errno));
    unlink(hidden.c_str());
    close(file_);
    file_ = -1;
  }
}

Presence::~Presence() {
  if (file_ < 0) return;
  unlink((folder_ + "/" + name_).c_str());
  close(file_);
}

void Presence::look() {
  if (file_ < 0) return;
  for (const std::string& name : names_in(folder_)) {
    if (name == name_ || name.size() < 5 || name.compare(name.size() - 5, 5, ".lock") != 0) continue;
    const std::string path = folder_ + "/" + name;
    const int file = open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) continue;
    if (flock(file, LOCK_EX | LOCK_NB) == 0) {
      struct stat one {}, other {};  // of one that was killed
      if (lstat(path.c_str(), &one) == 0 && fstat(file, &other) == 0 && one.st_ino == other.st_ino) {
        unlink(path.c_str());
      }
    } else if (errno == EWOULDBLOCK) {
      met_ = true;
    }
    close(file);
  }
}

Watch::Watch(std::function<std::vector<int>()> own, const std::string& presence)
    : presence_(presence), own_(std::move(own)) {}

std::optional<Watch::Usage> Watch::usage() {
  const auto text = file_text("/proc/stat");
  if (!text) return std::nullopt;
  const auto fields = words_of(text->substr(0, text->find('\n')));
  if (fields.size() < 9) return std::nullopt;
  double values[8];
  for (int i = 0; i < 8; ++i) values[i] = std::atof(fields[static_cast<size_t>(i) + 1].c_str());
  const double tick_s = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
  return Usage{(values[0] + values[1] + values[2] + values[5] + values[6]) * tick_s, values[7] * tick_s,
               edgekit::clock_s()};
}

double Watch::own_seconds(const std::vector<int>& pids) {
  double ticks = 0;
  for (const int pid : pids) {
    const auto text = file_text("/proc/" + std::to_string(pid) + "/stat");
    if (!text) continue;
    const size_t bracket = text->rfind(')');  // the name in brackets may hold spaces
    if (bracket == std::string::npos) continue;
    const auto fields = words_of(text->substr(bracket + 1));
    for (size_t i = 11; i < 15 && i < fields.size(); ++i) ticks += std::atof(fields[i].c_str());
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void Watch::start() {
  before_ = usage();
  own_s_ = own_seconds(own_());
  throttles_ = throttle_count("");
  look(true);
}

void Watch::look(bool now) {
  const double clock = clock_s();
  if (!now && clock - looked_s_ < kLookEveryS) return;
  looked_s_ = clock;
  presence_.look();
  if (const auto mhz = max_mhz("", "scaling_cur_freq")) mhz_.push_back(*mhz);
  if (const auto degrees = celsius("")) celsius_.push_back(*degrees);
  if (const auto slowed = throttled("")) throttled_ = throttled_.value_or(false) || *slowed;
}

Json Watch::stop() {
  look(true);
  const auto now = usage();
  const double own_s = own_seconds(own_()) - own_s_;
  Json found = machine("");
  const Json changing = moment("");
  for (const auto& [key, value] : changing.members()) found.set(key, value);
  if (before_ && now) {
    const double seconds = std::max(now->clock_s - before_->clock_s, 1e-9);
    const double others_s = now->busy_s - before_->busy_s - own_s;
    found.set("other_cores_busy", rounded(std::max(0.0, others_s / seconds), 1e3));
    found.set("steal_cores", rounded((now->steal_s - before_->steal_s) / seconds, 1e4));
  }
  if (!celsius_.empty()) {
    found.set("start_celsius", celsius_.front());
    found.set("end_celsius", celsius_.back());
    found.set("max_celsius", *std::max_element(celsius_.begin(), celsius_.end()));
  }
  if (const auto throttles = throttle_count(""); throttles && throttles_) {
    throttled_ = throttled_.value_or(false) || *throttles > *throttles_;
  }
  if (throttled_) found.set("throttled", *throttled_);
  if (!mhz_.empty()) {
    const auto third = static_cast<std::ptrdiff_t>(std::max<size_t>(1, mhz_.size() / 3));
    found.set("start_mhz", median({mhz_.begin(), mhz_.begin() + third}));
    found.set("end_mhz", median({mhz_.end() - third, mhz_.end()}));
  }
  return found;
}

}  // namespace edgekit
