#include "wire.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>

namespace edgekit {

namespace {

constexpr size_t kMostLineBytes = size_t{1} << 24;
constexpr size_t kMostArrayBytes = size_t{1} << 31;
constexpr size_t kMostArrays = 4096;
constexpr size_t kMostAxes = 32;
constexpr size_t kChunk = size_t{1} << 20;

// Throws TimedOut: the time is up, whether nothing comes or it comes without end.
void await_some(int source, std::optional<double> end_s) {
  while (end_s && poll_all({{source, POLLIN}}, *end_s - clock_s()).empty()) {
    if (clock_s() >= *end_s) throw TimedOut();
  }
}

void check_time(std::optional<double> end_s) {
  if (end_s && clock_s() > *end_s) throw TimedOut();
}

size_t read_some(int source, void* into, size_t most) {
  while (true) {
    const ssize_t count = ::read(source, into, most);
    if (count > 0) return static_cast<size_t>(count);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      poll_all({{source, POLLIN}}, std::nullopt);
      continue;
    }
    throw Closed();
  }
}

// Throws Malformed.
Array described(const Json& about) {
  if (about.items().size() != 2) throw Malformed("expected type and shape");
  Array found;
  found.kind = about.items()[0].string();
  size_t size = item_bytes(found.kind);
  if (size == 0 || about.items()[1].items().size() > kMostAxes) throw Malformed("no such array");
  for (const Json& length : about.items()[1].items()) {
    const int64_t axis = length.integer();
    if (axis < 0) throw Malformed("no such shape");
    found.shape.push_back(axis);
    if (axis == 0) {
      size = 0;
    } else if (size > kMostArrayBytes / static_cast<size_t>(axis)) {
      throw Malformed("too large");
    } else {
      size *= static_cast<size_t>(axis);
    }
  }
  found.bytes.reserve(0);
  return found;
}

size_t size_of(const Array& array) {
  size_t size = item_bytes(array.kind);
  for (const int64_t axis : array.shape) size *= static_cast<size_t>(axis);
  return size;
}

}  // namespace

double clock_s() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::map<int, short> poll_all(const std::map<int, short>& descriptors, std::optional<double> limit_s) {
  std::vector<pollfd> waiting;
  for (const auto& [number, events] : descriptors) waiting.push_back({number, events, 0});
  int milliseconds = -1;
  if (limit_s) milliseconds = static_cast<int>(std::ceil(1e3 * std::clamp(*limit_s, 0.0, 1e6)));
  std::map<int, short> found;
  if (::poll(waiting.data(), waiting.size(), milliseconds) > 0) {
    for (const pollfd& one : waiting) {
      if (one.revents != 0) found[one.fd] = one.revents;
    }
  }
  return found;
}

size_t item_bytes(const std::string& kind) {
  if (kind.size() != 3 || std::strchr("<|", kind[0]) == nullptr ||
      std::strchr("biuf", kind[1]) == nullptr) {
    return 0;
  }
  const size_t size = static_cast<size_t>(kind[2] - '0');
  return size == 1 || size == 2 || size == 4 || size == 8 ? size : 0;
}

void Wire::write_all(const void* content, size_t size, std::optional<double> end_s) {
  const char* left = static_cast<const char*>(content);
  while (size > 0) {
    const ssize_t count = ::write(sink_, left, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      std::map<int, short> waiting{{sink_, POLLOUT}};
      if (watched_ >= 0) waiting[watched_] = 0;
      std::optional<double> left_s;
      if (end_s) left_s = *end_s - clock_s();
      const auto ready = poll_all(waiting, left_s);
      if (watched_ >= 0 && ready.count(watched_)) throw Closed();
      if (ready.empty()) check_time(end_s);
      continue;
    }
    if (count <= 0) throw Closed();
    left += count;
    size -= static_cast<size_t>(count);
  }
}

void Wire::send(const Message& message, std::optional<double> limit_s) {
  std::optional<double> end_s;
  if (limit_s) end_s = clock_s() + *limit_s;
  Json document = message.document;
  if (!message.arrays.empty()) {
    Json about = Json::array();
    for (const Array& array : message.arrays) {
      Json one = Json::array();
      one.push(array.kind);
      one.push(Json(array.shape));
      about.push(std::move(one));
    }
    document.set("arrays", std::move(about));
  }
  const std::string line = to_text(document) + "\n";
  write_all(line.data(), line.size(), end_s);
  for (const Array& array : message.arrays) write_all(array.bytes.data(), array.bytes.size(), end_s);
}

Message Wire::receive(std::optional<double> limit_s) {
  std::optional<double> end_s;
  if (limit_s) end_s = clock_s() + *limit_s;
  Message message;
  try {
    message.document = parse_json(line(end_s));
    const Json& about = message.document["arrays"];
    if (message.document.kind() != Json::Kind::Object) throw Malformed("expected an object");
    if (!about.is_null()) {
      if (about.items().size() > kMostArrays) throw Malformed("too many arrays");
      for (const Json& one : about.items()) message.arrays.push_back(described(one));
    }
  } catch (const Malformed&) {
    throw Closed();
  }
  size_t total = 0;
  for (Array& array : message.arrays) {
    total += size_of(array);
    if (total > kMostArrayBytes) throw Closed();
    array.bytes = exactly(size_of(array), end_s);
  }
  return message;
}

std::string Wire::line(std::optional<double> end_s) {
  size_t searched = 0;
  while (true) {
    const size_t end = pending_.find('\n', searched);
    if (end != std::string::npos) {
      std::string found = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return found;
    }
    searched = pending_.size();
    if (searched > kMostLineBytes) throw Closed();
    if (searched > 0) check_time(end_s);
    await_some(source_, end_s);
    std::string more(size_t{1} << 16, '\0');
    more.resize(read_some(source_, more.data(), more.size()));
    pending_ += more;
  }
}

std::vector<uint8_t> Wire::exactly(size_t size, std::optional<double> end_s) {
  const size_t known = std::min(size, pending_.size());
  std::vector<uint8_t> found(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(known));
  pending_.erase(0, known);
  size_t have = known;
  while (have < size) {
    // As bytes come: a length alone takes no memory.
    if (found.size() == have) found.resize(std::min(size, have + std::max(kChunk, have / 2)));
    await_some(source_, end_s);
    have += read_some(source_, found.data() + have, found.size() - have);
    if (have < size) check_time(end_s);
  }
  found.resize(size);
  return found;
}

}  // namespace edgekit
