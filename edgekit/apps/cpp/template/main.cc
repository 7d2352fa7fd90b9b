// classify IMAGE...: what images show.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "classifier.h"

namespace {

constexpr char kUsage[] =
    "usage: classify [--top N] [--threads N] [--model FOLDER] [--json] IMAGE...\n";

struct Asked {
  size_t top = 5;
  int threads = 1;
  bool json = false;
  std::string model;
  std::vector<std::string> images;
};

// What lies beside this program.
std::string beside(const char* name) {
  std::error_code none;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", none);
  return (self.parent_path() / name).string();
}

int number_of(const char* word) {
  char* end = nullptr;
  const long found = std::strtol(word, &end, 10);
  return *word != '\0' && *end == '\0' && found > 0 && found < 1'000'000 ? int(found) : 0;
}

bool read_words(int count, char** words, Asked& asked) {
  bool options = true;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (!options || word.size() < 2 || word[0] != '-') {
      asked.images.push_back(word);
    } else if (word == "--") {
      options = false;
    } else if (word == "--json") {
      asked.json = true;
    } else if (i + 1 == count) {
      return false;
    } else if (word == "--model") {
      asked.model = words[++i];
    } else if (word == "--top" || word == "--threads") {
      const int number = number_of(words[++i]);
      if (number == 0) return false;
      if (word == "--top") {
        asked.top = size_t(number);
      } else {
        asked.threads = number;
      }
    } else {
      return false;
    }
  }
  return !asked.images.empty();
}

// The next sign of a text in UTF-8, and where the one behind it begins; a byte that is none stands
// for itself, as a sign that cannot be shown.
uint32_t next_sign(const std::string& text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at++);
  if (first < 0x80) return first;
  const size_t more = first >= 0xF0 && first < 0xF5 ? 3 : first >= 0xE0 ? 2 : first >= 0xC2 ? 1 : 0;
  if (more == 0 || first >= 0xF5 || at + more > text.size()) return 0xD800 + first;
  uint32_t sign = first & (0x3F >> more);
  for (size_t i = 0; i < more; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0xD800 + first;
    sign = sign << 6 | (byte(at + i) & 0x3F);
  }
  at += more;
  return sign;
}

// Signs that move the cursor, turn the direction of the text, or are not to be seen.
bool is_hidden(uint32_t sign) {
  return sign < 0x20 || (sign >= 0x7F && sign < 0xA0) || sign == 0xAD || sign == 0x61C ||
         (sign >= 0x200B && sign <= 0x200F) || (sign >= 0x2028 && sign <= 0x202E) ||
         (sign >= 0x2060 && sign <= 0x206F) || (sign >= 0xD800 && sign < 0xF900) ||
         sign == 0xFEFF || sign >= 0xE0000;
}

// A name on one line, whatever is in it.
std::string printable(const std::string& name) {
  std::string found;
  for (size_t at = 0; at < name.size();) {
    const size_t begin = at;
    const uint32_t sign = next_sign(name, at);
    if (is_hidden(sign)) {
      char word[16];
      std::snprintf(word, sizeof word, "\\u%04x", unsigned(sign));
      found += word;
    } else {
      found += name.substr(begin, at - begin);
    }
  }
  return found;
}

std::string json(const std::string& text) {
  std::string found = "\"";
  char word[16];
  for (size_t at = 0; at < text.size();) {
    const uint32_t sign = next_sign(text, at);
    if (sign == '"' || sign == '\\') {
      found += {'\\', char(sign)};
    } else if (sign >= 0x20 && sign < 0x7F) {
      found += char(sign);
    } else if (sign < 0x10000) {
      std::snprintf(word, sizeof word, "\\u%04x", unsigned(sign));
      found += word;
    } else {
      const unsigned rest = sign - 0x10000;
      std::snprintf(word, sizeof word, "\\u%04x\\u%04x", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
      found += word;
    }
  }
  return found + "\"";
}

using Clock = std::chrono::steady_clock;

double ms(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

void print_json(const std::string& image, const std::vector<classifier::Label>& labels, double time) {
  std::printf("{\"image\": %s, \"labels\": [", json(image).c_str());
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto& [index, label, probability] = labels[i];
    std::printf("%s{\"index\": %d, \"label\": %s, \"probability\": ", i == 0 ? "" : ", ", index,
                classifier::model().labels.empty() ? "null" : json(label).c_str());
    std::printf(std::isfinite(probability) ? "%.17g}" : "null}", probability);
  }
  std::printf("], \"ms\": %.4f}\n", time);
}

void show(classifier::Classifier& classifier, const std::string& image, const Asked& asked) {
  const auto begin = Clock::now();
  const auto prepared = classifier.prepare(classifier.read(image));
  const auto middle = Clock::now();
  const auto scores = classifier.scores(prepared);
  const auto end = Clock::now();
  const auto labels = classifier.labels(scores, asked.top);
  if (asked.json) return print_json(image, labels, ms(middle, end));
  std::printf("%s  (%.1f + %.1f ms: preparing + network)\n", printable(image).c_str(),
              ms(begin, middle), ms(middle, end));
  for (const auto& label : labels) {
    const int bar = std::isfinite(label.probability) ? int(std::lround(30 * label.probability)) : 0;
    std::printf("  %6.2f%%  %-30s  %s\n", 100 * label.probability, printable(label.name()).c_str(),
                std::string(size_t(std::clamp(bar, 0, 30)), '#').c_str());
  }
}

}  // namespace

int main(int count, char** words) {
  Asked asked;
  asked.model = beside("model");
  if (count == 2 && std::strcmp(words[1], "--help") == 0) {
    std::printf("%s", kUsage);
    return 0;
  }
  if (!read_words(count, words, asked)) {
    std::fprintf(stderr, "%s", kUsage);
    return 2;
  }
  bool failed = false;
  try {
    classifier::Classifier classifier(asked.model, asked.threads);
    for (const auto& image : asked.images) {
      try {
        show(classifier, image, asked);
      } catch (const classifier::ImageError& error) {
        std::fprintf(stderr, "%s: %s\n", printable(image).c_str(), error.what());
        failed = true;
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return failed ? 3 : 0;
}
