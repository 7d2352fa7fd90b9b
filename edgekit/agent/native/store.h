// Files that were sent here, found again by what is in them, and who measures.
//
// The same as edgekit/agent/{store,claim}.py.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "json.h"

namespace edgekit {

class Sha256 {
 public:
  void add(const uint8_t* bytes, size_t size);
  std::string hexadecimal();  // ends it

 private:
  void block(const uint8_t* bytes);

  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> rest_{};
  uint64_t total_ = 0;
};

// Of files in order, as `cat a b | sha256sum` gives it. Throws Failure.
std::string digest_of(const std::vector<std::string>& paths);

class Store {
 public:
  explicit Store(std::string folder) : folder_(std::move(folder)) {}
  ~Store();
  Store(const Store&) = delete;

  Json place(const std::string& key, const Json& files);
  Json put(const std::string& key, const std::string& name, int64_t size, const std::string& digest,
           int64_t offset, const std::vector<uint8_t>& content);
  void release(const std::string& key);

  // In a fork: locks end only with all copies of their descriptors.
  void forget_locks();

 private:
  int64_t have(const std::string& key, const std::string& name, int64_t size, const std::string& digest);
  void lock(const std::string& key);
  void make_room(int64_t needed);
  bool remove(const std::string& folder);
  [[noreturn]] void no_room(int error, int64_t needed) const;

  std::string folder_;
  std::map<std::string, int> locks_;
  std::set<std::pair<std::string, std::string>> whole_;
};

// Where claims are noted: where everybody may make files, and delete none but their own; else `own`.
std::string claims_folder(const std::string& own);

// Keeps others from measuring on this device, as long as it lives. Throws Failure: who does.
class Claim {
 public:
  // What is not alone runs files only: it goes together with others that do, and with none that measures.
  Claim(const std::string& folder, const std::string& token, const std::string& owner, bool alone);
  ~Claim() { close_file(); }
  Claim(const Claim&) = delete;

  bool alone() const { return alone_; }

  // In a fork: see `Store::forget_locks`.
  void forget_lock();

 private:
  void announce(const std::string& folder, const std::string& text);
  void close_file();

  bool alone_;
  std::string path_;
  int file_ = -1;
};

// Makes a folder and those above it. Throws Failure.
void make_folders(const std::string& path);

}  // namespace edgekit
