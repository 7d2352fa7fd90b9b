// What the device is and how it is doing, from files of the Linux kernel.
//
// The same facts as edgekit/agent/{kernel,hardware,environment,thermal,placing,watching,presence}.py.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "json.h"

namespace edgekit {

std::optional<std::string> file_text(const std::string& path, size_t most = size_t{1} << 20);
std::vector<std::string> names_in(const std::string& folder);

// See `edgekit.agent.hardware.described`.
Json described(const std::string& root);

// Facts that stay, and facts that change; see `edgekit.agent.environment`.
Json machine(const std::string& root);
Json moment(const std::string& root);

// Sets of cores for so many threads; see `edgekit.agent.placing.placements`.
std::vector<std::vector<int>> placements(int threads);

// Keeps all threads of this process on some cores; none for wherever the system likes.
void place_on(const std::vector<int>& cores);

// Makes this thread, and those it starts, take denormal numbers for 0; gives whether it was done.
bool flush_denormals();

std::optional<double> status_mib(const std::string& key);
void forget_peak();
long involuntary_switches();

// Lets measurements on one device know of each other; see `edgekit.agent.presence.Presence`.
class Presence {
 public:
  explicit Presence(const std::string& folder);
  ~Presence();
  Presence(const Presence&) = delete;

  void look();
  bool met() const { return met_; }
  const std::string& why_not() const { return why_not_; }

 private:
  std::string folder_, name_, why_not_;
  int file_ = -1;
  bool met_ = false;
};

// See `edgekit.agent.watching.Watch`.
class Watch {
 public:
  Watch(std::function<std::vector<int>()> own, const std::string& presence);

  void start();
  void look(bool now);
  Json stop();
  bool met() const { return presence_.met(); }
  const std::string& why_not() const { return presence_.why_not(); }

 private:
  struct Usage {
    double busy_s, steal_s, clock_s;
  };
  static std::optional<Usage> usage();
  static double own_seconds(const std::vector<int>& pids);

  Presence presence_;
  std::function<std::vector<int>()> own_;
  std::optional<Usage> before_;
  double own_s_ = 0, looked_s_ = 0;
  std::vector<double> mhz_, celsius_;
  std::optional<bool> throttled_;
  std::optional<double> throttles_;
};

}  // namespace edgekit
