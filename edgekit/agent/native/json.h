// JSON documents of a message: read with bounds, written in ASCII.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace edgekit {

// Text that is no JSON, or deeper than any message is.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Json {
 public:
  enum class Kind { Null, Bool, Integer, Number, String, Array, Object };
  using Items = std::vector<Json>;
  using Members = std::vector<std::pair<std::string, Json>>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool value) : kind_(Kind::Bool), integer_(value) {}
  Json(int value) : kind_(Kind::Integer), integer_(value) {}
  Json(unsigned value) : kind_(Kind::Integer), integer_(value) {}
  Json(long value) : kind_(Kind::Integer), integer_(value) {}
  Json(long long value) : kind_(Kind::Integer), integer_(value) {}
  Json(unsigned long value) : kind_(Kind::Integer), integer_(static_cast<int64_t>(value)) {}
  Json(unsigned long long value) : kind_(Kind::Integer), integer_(static_cast<int64_t>(value)) {}
  Json(double value) : kind_(Kind::Number), number_(value) {}
  Json(const char* value) : kind_(Kind::String), string_(value) {}
  Json(std::string value) : kind_(Kind::String), string_(std::move(value)) {}
  Json(Items value) : kind_(Kind::Array), items_(std::move(value)) {}
  Json(Members value) : kind_(Kind::Object), members_(std::move(value)) {}
  template <typename T>
  explicit Json(const std::vector<T>& values) : kind_(Kind::Array) {
    for (const T& value : values) items_.emplace_back(value);
  }

  static Json object() { return Json(Members{}); }
  static Json array() { return Json(Items{}); }

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::Null; }

  // Each throws Malformed where the value is of another kind.
  bool boolean() const;
  int64_t integer() const;
  double number() const;
  const std::string& string() const;
  const Items& items() const;
  const Members& members() const;

  // A member; null where there is none.
  const Json& operator[](const std::string& key) const;
  bool has(const std::string& key) const { return find(key) != nullptr; }

  void set(std::string key, Json value);
  void push(Json value) { items_.push_back(std::move(value)); }

 private:
  const Json* find(const std::string& key) const;

  Kind kind_ = Kind::Null;
  int64_t integer_ = 0;
  double number_ = 0;
  std::string string_;
  Items items_;
  Members members_;
};

// Throws Malformed.
Json parse_json(const std::string& text);

// Numbers that JSON has no words for become null; bytes that are no UTF-8 a replacement sign.
std::string to_text(const Json& value);

}  // namespace edgekit
