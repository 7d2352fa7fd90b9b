// Messages between the runner and the one that asks: a JSON document a line, and arrays behind it.
//
// The same as edgekit/agent/wire.py. No length is believed: memory is taken as bytes come.
#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "json.h"

namespace edgekit {

// Version of what is asked and answered.
constexpr int kProtocol = 1;

// The other end has gone, or speaks another language.
struct Closed : std::exception {};

struct TimedOut : std::exception {};

// What is said to the one that asks.
struct Failure : std::exception {
  Failure(std::string kind, std::string message)
      : kind(std::move(kind)), message(std::move(message)) {}
  const char* what() const noexcept override { return message.c_str(); }
  std::string kind;
  std::string message;
};

inline Failure usage(std::string message) { return {"UsageError", std::move(message)}; }
inline Failure unavailable(std::string message) { return {"UnavailableError", std::move(message)}; }
inline Failure input_error(std::string message) { return {"InputError", std::move(message)}; }

// What the runner leaves to an agent in Python.
inline Failure lacks(const std::string& what) {
  return unavailable("the native runner has no " + what +
                     "; a Python on the device has (on a phone, Termux brings one)");
}

struct Array {
  std::string kind;  // as NumPy writes it, such as "<f4"
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
};

struct Message {
  Json document = Json::object();
  std::vector<Array> arrays;
};

class Wire {
 public:
  // watched: descriptor whose end ends this conversation, too, where it waits to write.
  Wire(int source, int sink, int watched = -1) : source_(source), sink_(sink), watched_(watched) {}

  int source() const { return source_; }
  int sink() const { return sink_; }

  // Throws Closed; TimedOut where nobody has read it in time and the sink does not block.
  void send(const Message& message, std::optional<double> limit_s = std::nullopt);

  // Throws Closed; TimedOut where none has come in time.
  Message receive(std::optional<double> limit_s = std::nullopt);

 private:
  std::string line(std::optional<double> end_s);
  std::vector<uint8_t> exactly(size_t size, std::optional<double> end_s);
  void write_all(const void* content, size_t size, std::optional<double> end_s);

  int source_, sink_, watched_;
  std::string pending_;
};

// Seconds of the clock that all times are told in.
double clock_s();

// Waits for one of some descriptors; gives what came to pass, nothing where the time is up.
std::map<int, short> poll_all(const std::map<int, short>& descriptors, std::optional<double> limit_s);

// Bytes of a number of an array; 0 where there are no such numbers.
size_t item_bytes(const std::string& kind);

}  // namespace edgekit
