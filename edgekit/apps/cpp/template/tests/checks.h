// What is expected, and how far scores may be off.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "golden.h"

inline int failures = 0;

template <typename... Arguments>
void expect(bool holds, const char* format, Arguments... arguments) {
  if (holds) return;
  ++failures;
  std::printf(format, arguments...);
  std::printf("\n");
}

// Power of the spread of what is expected over that of the difference.
inline double signal_to_noise_db(const std::vector<double>& found,
                                 const std::vector<double>& expected) {
  double mean = 0, spread = 0, noise = 0;
  for (const double value : expected) mean += value / double(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    spread += (expected[i] - mean) * (expected[i] - mean);
    noise += (found[i] - expected[i]) * (found[i] - expected[i]);
  }
  const double count = double(expected.size());
  return 10 * std::log10(std::max(spread / count, 1e-30) / std::max(noise / count, 1e-30));
}

inline void expect_scores(const GoldenImage& image, const std::vector<double>& found) {
  for (const auto& [of, least, expected] : image.scores) {
    const char* name = image.file.c_str();
    if (found.size() != expected.size()) {
      expect(false, "%s: %zu scores, expected %zu", name, found.size(), expected.size());
    } else if (expected.size() == 1) {  // one number has no spread: it is compared as it is
      const double off = std::fabs(found[0] - expected[0]);
      expect(off <= 0.02 * std::max(1.0, std::fabs(expected[0])), "%s: the score is off by %g",
             name, off);
    } else {
      const double decibels = signal_to_noise_db(found, expected);
      expect(decibels >= least, "%s: %.1f dB to the scores of the %s: at least %g", name, decibels,
             of.c_str(), least);
    }
  }
}
