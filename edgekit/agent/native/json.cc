#include "json.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace edgekit {

namespace {

constexpr int kDeepest = 64;
constexpr uint32_t kReplacement = 0xFFFD;

const Json kNull;

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

// The next sign of a text, and where the one behind it begins.
uint32_t next_code(const std::string& text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at++);
  if (first < 0x80) return first;
  const int more = first >= 0xF0 && first < 0xF5 ? 3 : first >= 0xE0 ? 2 : first >= 0xC2 ? 1 : 0;
  if (more == 0 || first >= 0xF5 || at + more > text.size()) return kReplacement;
  uint32_t code = first & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return kReplacement;
    code = code << 6 | (byte(at + i) & 0x3F);
  }
  static const uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
  if (code < kLeast[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    return kReplacement;
  }
  at += more;
  return code;
}

class Reader {
 public:
  explicit Reader(const std::string& text) : text_(text) {}

  Json document() {
    Json found = value(0);
    skip_space();
    if (at_ != text_.size()) fail();
    return found;
  }

 private:
  [[noreturn]] void fail() const {
    throw Malformed("no JSON at byte " + std::to_string(at_));
  }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r' || text_[at_] == '\n')) {
      ++at_;
    }
  }

  char peek() {
    skip_space();
    if (at_ >= text_.size()) fail();
    return text_[at_];
  }

  void expect(char sign) {
    if (peek() != sign) fail();
    ++at_;
  }

  Json word(const char* text, Json value) {
    const std::string expected = text;
    if (text_.compare(at_, expected.size(), expected) != 0) fail();
    at_ += expected.size();
    return value;
  }

  Json value(int depth) {
    if (depth > kDeepest) fail();
    switch (peek()) {
      case '{': return members(depth);
      case '[': return items(depth);
      case '"': return Json(string());
      case 't': return word("true", Json(true));
      case 'f': return word("false", Json(false));
      case 'n': return word("null", Json());
      default: return number();
    }
  }

  Json members(int depth) {
    Json found = Json::object();
    expect('{');
    if (peek() == '}') {
      ++at_;
      return found;
    }
    while (true) {
      if (peek() != '"') fail();
      std::string key = string();
      expect(':');
      found.set(std::move(key), value(depth + 1));
      if (peek() == '}') break;
      expect(',');
    }
    ++at_;
    return found;
  }

  Json items(int depth) {
    Json found = Json::array();
    expect('[');
    if (peek() == ']') {
      ++at_;
      return found;
    }
    while (true) {
      found.push(value(depth + 1));
      if (peek() == ']') break;
      expect(',');
    }
    ++at_;
    return found;
  }

  Json number() {
    const size_t begin = at_;
    bool whole = true;
    if (at_ < text_.size() && text_[at_] == '-') ++at_;
    while (at_ < text_.size()) {
      const char sign = text_[at_];
      if (sign == '.' || sign == 'e' || sign == 'E' || sign == '+' || sign == '-') {
        whole = false;
      } else if (sign < '0' || sign > '9') {
        break;
      }
      ++at_;
    }
    const std::string word = text_.substr(begin, at_ - begin);
    if (word.empty() || word.size() > 400 || word == "-") fail();
    char* end = nullptr;
    if (whole && word.size() <= 18) {
      const long long found = std::strtoll(word.c_str(), &end, 10);
      if (*end != '\0') fail();
      return Json(found);
    }
    const double found = std::strtod(word.c_str(), &end);
    if (*end != '\0') fail();
    return Json(found);
  }

  uint32_t hexadecimal() {
    if (at_ + 4 > text_.size()) fail();
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const char sign = text_[at_++];
      const int digit = sign >= '0' && sign <= '9'   ? sign - '0'
                        : sign >= 'a' && sign <= 'f' ? sign - 'a' + 10
                        : sign >= 'A' && sign <= 'F' ? sign - 'A' + 10
                                                     : -1;
      if (digit < 0) fail();
      code = code << 4 | static_cast<uint32_t>(digit);
    }
    return code;
  }

  std::string string() {
    std::string found;
    expect('"');
    while (true) {
      if (at_ >= text_.size()) fail();
      const char sign = text_[at_++];
      if (sign == '"') return found;
      if (static_cast<unsigned char>(sign) < 0x20) fail();
      if (sign != '\\') {
        found += sign;
        continue;
      }
      if (at_ >= text_.size()) fail();
      switch (text_[at_++]) {
        case '"': found += '"'; break;
        case '\\': found += '\\'; break;
        case '/': found += '/'; break;
        case 'b': found += '\b'; break;
        case 'f': found += '\f'; break;
        case 'n': found += '\n'; break;
        case 'r': found += '\r'; break;
        case 't': found += '\t'; break;
        case 'u': append_utf8(found, escaped()); break;
        default: fail();
      }
    }
  }

  uint32_t escaped() {
    const uint32_t code = hexadecimal();
    if (code < 0xD800 || code >= 0xE000) return code;
    if (code < 0xDC00 && text_.compare(at_, 2, "\\u") == 0) {
      const size_t before = at_;
      at_ += 2;
      const uint32_t low = hexadecimal();
      if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      at_ = before;
    }
    return kReplacement;
  }

  const std::string& text_;
  size_t at_ = 0;
};

void write_string(std::string& out, const std::string& text) {
  out += '"';
  char word[16];
  for (size_t at = 0; at < text.size();) {
    const uint32_t code = next_code(text, at);
    if (code == '"' || code == '\\') {
      out += '\\';
      out += static_cast<char>(code);
    } else if (code >= 0x20 && code < 0x7F) {
      out += static_cast<char>(code);
    } else if (code < 0x10000) {
      std::snprintf(word, sizeof word, "\\u%04x", static_cast<unsigned>(code));
      out += word;
    } else {
      const uint32_t rest = code - 0x10000;
      std::snprintf(word, sizeof word, "\\u%04x\\u%04x", static_cast<unsigned>(0xD800 + (rest >> 10)),
                    static_cast<unsigned>(0xDC00 + (rest & 0x3FF)));
      out += word;
    }
  }
  out += '"';
}

void write(std::string& out, const Json& value) {
  char word[40];
  switch (value.kind()) {
    case Json::Kind::Null: out += "null"; return;
    case Json::Kind::Bool: out += value.boolean() ? "true" : "false"; return;
    case Json::Kind::Integer: out += std::to_string(value.integer()); return;
    case Json::Kind::Number:
      if (!std::isfinite(value.number())) {
        out += "null";
        return;
      }
      std::snprintf(word, sizeof word, "%.17g", value.number());
      out += word;
      // Else what reads it would take it for another kind of number.
      if (std::string(word).find_first_of(".e") == std::string::npos) out += ".0";
      return;
    case Json::Kind::String: write_string(out, value.string()); return;
    case Json::Kind::Array: {
      out += '[';
      bool first = true;
      for (const Json& item : value.items()) {
        if (!first) out += ", ";
        first = false;
        write(out, item);
      }
      out += ']';
      return;
    }
    case Json::Kind::Object: {
      out += '{';
      bool first = true;
      for (const auto& [key, member] : value.members()) {
        if (!first) out += ", ";
        first = false;
        write_string(out, key);
        out += ": ";
        write(out, member);
      }
      out += '}';
      return;
    }
  }
}

}  // namespace

bool Json::boolean() const {
  if (kind_ != Kind::Bool) throw Malformed("expected true or false");
  return integer_ != 0;
}

int64_t Json::integer() const {
  if (kind_ != Kind::Integer) throw Malformed("expected a whole number");
  return integer_;
}

double Json::number() const {
  if (kind_ == Kind::Integer) return static_cast<double>(integer_);
  if (kind_ != Kind::Number) throw Malformed("expected a number");
  return number_;
}

const std::string& Json::string() const {
  if (kind_ != Kind::String) throw Malformed("expected a text");
  return string_;
}

const Json::Items& Json::items() const {
  if (kind_ != Kind::Array) throw Malformed("expected a list");
  return items_;
}

const Json::Members& Json::members() const {
  if (kind_ != Kind::Object) throw Malformed("expected an object");
  return members_;
}

const Json* Json::find(const std::string& key) const {
  for (const auto& [name, member] : members_) {
    if (name == key) return &member;
  }
  return nullptr;
}

const Json& Json::operator[](const std::string& key) const {
  const Json* found = find(key);
  return found == nullptr ? kNull : *found;
}

void Json::set(std::string key, Json value) {
  if (kind_ == Kind::Null) kind_ = Kind::Object;
  for (auto& [name, member] : members_) {
    if (name == key) {
      member = std::move(value);
      return;
    }
  }
  members_.emplace_back(std::move(key), std::move(value));
}

Json parse_json(const std::string& text) { return Reader(text).document(); }

std::string to_text(const Json& value) {
  std::string out;
  write(out, value);
  return out;
}

}  // namespace edgekit
