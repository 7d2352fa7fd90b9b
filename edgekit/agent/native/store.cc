#include "store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>

#include "system.h"
#include "wire.h"

namespace edgekit {

namespace {

constexpr int64_t kMostBytes = int64_t{2} << 30;
constexpr int64_t kMostFileBytes = int64_t{1} << 33;
constexpr size_t kMostFiles = 256, kLongestName = 120;
constexpr int kClaimTries = 4;
constexpr unsigned kClaimPauseUs = 100'000;
const char kClaimant[] = "edgekit-", kClaim[] = ".claim";
const char kLock[] = ".lock";
const char kPart[] = ".part";

constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

uint32_t turned(uint32_t value, int by) { return value >> by | value << (32 - by); }

void check_key(const std::string& key) {
  if (key.size() != 64 || key.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw usage("a digest of files has 64 hexadecimal digits");
  }
}

// A name is that of a file, whatever it holds: no path, and nothing that the store itself makes.
void check_name(const std::string& name) {
  const bool odd = name.empty() || name.size() > kLongestName || name[0] == '.' ||
                   std::any_of(name.begin(), name.end(), [](unsigned char c) {
                     return c < 0x20 || c == 0x7F || c == '/' || c == '\\';
                   });
  if (odd) throw usage("'" + name.substr(0, 40) + "' cannot be the name of a file on the device: rename it");
}

int64_t size_of(const std::string& path) {
  struct stat about {};
  return lstat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode) ? about.st_size : -1;
}

int64_t bytes_in(const std::string& folder) {
  int64_t total = 0;
  for (const std::string& name : names_in(folder)) total += std::max<int64_t>(0, size_of(folder + "/" + name));
  return total;
}

double used_s(const std::string& folder) {
  struct stat about {};
  return stat(folder.c_str(), &about) == 0 ? static_cast<double>(about.st_mtime) : 0;
}

int64_t free_bytes(const std::string& folder) {
  struct statvfs about {};
  if (statvfs(folder.c_str(), &about) != 0) return 0;
  return static_cast<int64_t>(about.f_bavail) * static_cast<int64_t>(about.f_frsize);
}

std::string random_name() {
  std::random_device random;
  char name[32];
  std::snprintf(name, sizeof name, "%08x%08x", random(), random());
  return name;
}

}  // namespace

void Sha256::block(const uint8_t* bytes) {
  uint32_t words[64];
  for (int i = 0; i < 16; ++i) {
    words[i] = static_cast<uint32_t>(bytes[4 * i]) << 24 | static_cast<uint32_t>(bytes[4 * i + 1]) << 16 |
               static_cast<uint32_t>(bytes[4 * i + 2]) << 8 | bytes[4 * i + 3];
  }
  for (int i = 16; i < 64; ++i) {
    const uint32_t a = words[i - 15], b = words[i - 2];
    words[i] = words[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + words[i - 7] +
               (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
  }
  std::array<uint32_t, 8> s = state_;
  for (int i = 0; i < 64; ++i) {
    const uint32_t one = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) +
                         ((s[4] & s[5]) ^ (~s[4] & s[6])) + kRounds[i] + words[i];
    const uint32_t two = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) +
                         ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    s = {one + two, s[0], s[1], s[2], s[3] + one, s[4], s[5], s[6]};
  }
  for (size_t i = 0; i < 8; ++i) state_[i] += s[i];
}

void Sha256::add(const uint8_t* bytes, size_t size) {
  size_t held = total_ % 64;
  total_ += size;
  if (held > 0) {
    const size_t taken = std::min(size, 64 - held);
    std::memcpy(rest_.data() + held, bytes, taken);
    bytes += taken;
    size -= taken;
    if (held + taken < 64) return;
    block(rest_.data());
  }
  for (; size >= 64; bytes += 64, size -= 64) block(bytes);
  std::memcpy(rest_.data(), bytes, size);
}

std::string Sha256::hexadecimal() {
  const uint64_t bits = total_ * 8;
  const uint8_t begin = 0x80, zero = 0;
  add(&begin, 1);
  while (total_ % 64 != 56) add(&zero, 1);
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  add(length, 8);
  std::string found;
  char word[9];
  for (const uint32_t part : state_) {
    std::snprintf(word, sizeof word, "%08x", part);
    found += word;
  }
  return found;
}

std::string digest_of(const std::vector<std::string>& paths) {
  Sha256 total;
  std::vector<uint8_t> block(size_t{1} << 18);
  for (const std::string& path : paths) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw input_error(path + " is gone: expected it to stay while it is measured");
    ssize_t count = 0;
    while ((count = read(file, block.data(), block.size())) > 0) total.add(block.data(), static_cast<size_t>(count));
    close(file);
    if (count < 0) throw input_error(path + " cannot be read: " + std::strerror(errno));
  }
  return total.hexadecimal();
}

void make_folders(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      throw unavailable("there is no folder for files on the device: " + part + ": " + std::strerror(errno));
    }
    if (at == std::string::npos) return;
  }
}

Store::~Store() { forget_locks(); }

Json Store::place(const std::string& key, const Json& files) {
  check_key(key);
  if (files.items().size() > kMostFiles) throw usage("too many files in one place");
  for (const Json& file : files.items()) {
    if (file.items().size() != 3) throw usage("of a file, expected name, size and digest");
    check_name(file.items()[0].string());
    const int64_t size = file.items()[1].integer();
    if (size < 0 || size > kMostFileBytes) throw usage("no such size of a file");
    check_key(file.items()[2].string());
  }
  make_folders(folder_);
  lock(key);
  Json paths = Json::array(), sizes = Json::array();
  int64_t needed = 0;
  for (const Json& file : files.items()) {
    const std::string& name = file.items()[0].string();
    const int64_t size = file.items()[1].integer();
    const int64_t there = have(key, name, size, file.items()[2].string());
    needed += size - there;
    paths.push(folder_ + "/" + key + "/" + name);
    sizes.push(there);
  }
  if (needed > 0) make_room(needed);
  utimensat(AT_FDCWD, (folder_ + "/" + key).c_str(), nullptr, 0);
  Json found = Json::object();
  found.set("paths", std::move(paths));
  found.set("have", std::move(sizes));
  return found;
}

Json Store::put(const std::string& key, const std::string& name, int64_t size, const std::string& digest,
                int64_t offset, const std::vector<uint8_t>& content) {
  check_name(name);
  if (locks_.count(key) == 0) throw usage("nothing was placed there");
  const std::string path = folder_ + "/" + key + "/" + name, part = path + kPart;
  const auto answer = [](int64_t bytes) {
    Json found = Json::object();
    found.set("have", bytes);
    return found;
  };
  const int file = open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) no_room(errno, size - offset);
  const int64_t end = lseek(file, 0, SEEK_END);
  if (end != offset) {
    close(file);
    return answer(end);
  }
  int error = 0;
  for (size_t done = 0; done < content.size() && error == 0;) {
    const ssize_t count = write(file, content.data() + done, content.size() - done);
    if (count > 0) {
      done += static_cast<size_t>(count);
    } else if (errno != EINTR) {
      error = count == 0 ? ENOSPC : errno;
    }
  }
  const int64_t there = offset + static_cast<int64_t>(content.size());
  // Else a device that loses its power keeps a name alone.
  if (error == 0 && there >= size && fsync(file) != 0) error = errno;
  close(file);
  if (error != 0) no_room(error, size - offset);
  if (there < size) return answer(there);
  if (there > size || digest_of({part}) != digest) {
    unlink(part.c_str());
    return answer(0);
  }
  if (rename(part.c_str(), path.c_str()) != 0) no_room(errno, 0);
  whole_.emplace(key, name);
  return answer(size);
}

void Store::release(const std::string& key) {
  const auto found = locks_.find(key);
  if (found == locks_.end()) return;
  close(found->second);
  locks_.erase(found);
  for (auto each = whole_.begin(); each != whole_.end();) each = each->first == key ? whole_.erase(each) : ++each;
}

void Store::forget_locks() {
  for (const auto& [key, file] : locks_) close(file);
  locks_.clear();
}

// How many bytes of a file are there; all of them only where they are the right ones.
int64_t Store::have(const std::string& key, const std::string& name, int64_t size, const std::string& digest) {
  const std::string path = folder_ + "/" + key + "/" + name, part = path + kPart;
  if (size_of(path) == size) {
    if (whole_.count({key, name}) != 0) return size;
    if (digest_of({path}) == digest) {
      whole_.emplace(key, name);
      return size;
    }
  }
  const int64_t begun = size_of(part);
  if (begun >= 0 && begun < size) return begun;
  unlink(part.c_str());
  unlink(path.c_str());
  return 0;
}

void Store::lock(const std::string& key) {
  if (locks_.count(key) != 0) return;
  const std::string folder = folder_ + "/" + key, path = folder + "/" + kLock;
  for (int i = 0; i < 10; ++i) {
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) no_room(errno, 0);
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 && errno == ENOENT) continue;  // it was deleted between the two
    if (file < 0) no_room(errno, 0);
    struct stat one {}, other {};
    if (flock(file, LOCK_SH) == 0 && stat(path.c_str(), &one) == 0 && fstat(file, &other) == 0 &&
        one.st_ino == other.st_ino && one.st_dev == other.st_dev) {
      locks_[key] = file;
      return;
    }
    close(file);
  }
  throw unavailable(folder + " is deleted again and again: expected it to stay");
}

// Deletes what was not used for longest, until the store keeps its bound and the files fit.
void Store::make_room(int64_t needed) {
  std::vector<std::pair<double, std::string>> folders;
  int64_t total = 0;
  for (const std::string& name : names_in(folder_)) {
    if (name.size() != 64) continue;
    total += bytes_in(folder_ + "/" + name);
    if (locks_.count(name) == 0) folders.emplace_back(used_s(folder_ + "/" + name), name);
  }
  std::sort(folders.begin(), folders.end());
  for (const auto& [when, name] : folders) {
    if (total + needed <= kMostBytes && needed < free_bytes(folder_)) return;
    const int64_t size = bytes_in(folder_ + "/" + name);
    if (remove(folder_ + "/" + name)) total -= size;
  }
  if (needed >= free_bytes(folder_)) no_room(ENOSPC, needed);
}

// Deletes a folder that nobody uses; gives whether it has.
bool Store::remove(const std::string& folder) {
  const int file = open((folder + "/" + kLock).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return false;
  const bool free = flock(file, LOCK_EX | LOCK_NB) == 0;
  if (free) {
    for (const std::string& name : names_in(folder)) unlink((folder + "/" + name).c_str());
    rmdir(folder.c_str());
  }
  close(file);
  return free;
}

void Store::no_room(int error, int64_t needed) const {
  if (error != ENOSPC && error != EDQUOT) {
    throw unavailable("files cannot be written on the device: " + folder_ + ": " + std::strerror(error));
  }
  throw unavailable("the disk of the device is full: " + folder_ + " has " +
                    std::to_string(free_bytes(folder_) >> 20) + " MiB left and " +
                    std::to_string((needed + (1 << 20) - 1) >> 20) + " MiB are needed; make room there");
}

std::string claims_folder(const std::string& own) {
  const char* named = std::getenv("EDGEKIT_CLAIMS");
  if (named != nullptr && named[0] == '/') return named;
  // For whom a folder is chosen must not matter: TMPDIR is often one's own.
  for (const char* folder : {"/run/lock", "/tmp"}) {
    struct stat about {};
    const bool shared = stat(folder, &about) == 0 && S_ISDIR(about.st_mode) && (about.st_mode & S_ISVTX) != 0;
    if (shared && (about.st_mode & 03) == 03) return folder;
  }
  return own;
}

namespace {

// Who else uses the device so that a claim does not go together with it, in words; else nothing.
std::string other_claim(const std::string& folder, const std::string& token, bool alone) {
  for (const std::string& name : names_in(folder)) {
    const std::string path = folder + "/" + name;
    const size_t end = sizeof kClaim - 1;
    if (name.compare(0, sizeof kClaimant - 1, kClaimant) != 0 || name.size() < end ||
        name.compare(name.size() - end, end, kClaim) != 0) {
      continue;
    }
    // Through the lock that many can have: those who look do not take each other for its owner.
    const int file = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) continue;
    struct stat status {};
    const bool regular = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
    const bool left = regular && flock(file, LOCK_SH | LOCK_NB) == 0;
    if (left) unlink(path.c_str());
    std::string text(4096, '\0');
    const ssize_t count = regular && !left ? read(file, text.data(), text.size()) : 0;
    close(file);
    if (!regular || left) continue;
    text.resize(count > 0 ? static_cast<size_t>(count) : 0);
    // What stands there is for people, and is not believed beyond that.
    Json about = Json::object();
    try {
      about = parse_json(text);
    } catch (const Malformed&) {
    }
    const auto text_in = [&](const char* key) {
      return about[key].kind() == Json::Kind::String ? about[key].string() : std::string();
    };
    const bool measures = about["alone"].kind() != Json::Kind::Bool || about["alone"].boolean();
    if ((!text_in("token").empty() && text_in("token") == token) || (!alone && !measures)) continue;
    const Json& since = about["since_s"];
    const bool counts = since.kind() == Json::Kind::Integer || since.kind() == Json::Kind::Number;
    const double now_s = clock_s(), begun_s = counts ? since.number() : now_s;
    const double minutes = begun_s >= 0 && begun_s <= now_s ? (now_s - begun_s) / 60 : 0;
    const std::string owner = text_in("owner").substr(0, 200);
    return (owner.empty() ? "somebody" : owner) + (measures ? " measures" : " runs files") + " there since " +
           std::to_string(std::lround(minutes)) + " minutes";
  }
  return "";
}

}  // namespace

Claim::Claim(const std::string& folder, const std::string& token, const std::string& owner, bool alone)
    : alone_(alone) {
  make_folders(folder);
  Json about = Json::object();
  about.set("token", token);
  about.set("owner", owner.substr(0, 200));
  about.set("since_s", clock_s());
  about.set("alone", alone);
  const std::string text = to_text(about);
  std::string other;
  // Two that come at the same moment see each other and both step back.
  for (int i = 0; i < kClaimTries; ++i) {
    announce(folder, text);
    other = other_claim(folder, token, alone);
    if (other.empty()) return;
    close_file();
    usleep(std::random_device()() % kClaimPauseUs);
  }
  throw unavailable(other + ": wait until that is done");
}

// Makes the file, which bears its name only once it is locked: nobody takes it for left.
void Claim::announce(const std::string& folder, const std::string& text) {
  const std::string name = kClaimant + std::to_string(getpid()) + "-" + random_name() + kClaim;
  path_ = folder + "/." + name + ".new";
  file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  bool noted = file_ >= 0 && fchmod(file_, 0644) == 0;
  errno = noted ? ENOSPC : errno;
  noted = noted && write(file_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  noted = noted && flock(file_, LOCK_EX | LOCK_NB) == 0;
  noted = noted && rename(path_.c_str(), (folder + "/" + name).c_str()) == 0;
  if (noted) {
    path_ = folder + "/" + name;
    return;
  }
  const std::string why = std::strerror(errno);
  if (file_ >= 0) close_file();
  throw unavailable("it cannot be noted on the device that it is in use: " + folder + ": " + why +
                    "; make room there, or let it be written to");
}

void Claim::forget_lock() {
  if (file_ >= 0) close(file_);
  file_ = -1;
}

void Claim::close_file() {
  if (file_ < 0) return;
  unlink(path_.c_str());
  close(file_);
  file_ = -1;
}

}  // namespace edgekit
