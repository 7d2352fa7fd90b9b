#include "reference.h"

#include <algorithm>
#include <random>

namespace edgekit {

namespace {

constexpr int kPixels = 196, kChannels = 192, kRows = 4, kVectors = 3, kWide = 4;
using Vector = float __attribute__((vector_size(kWide * sizeof(float)), aligned(4)));

// So many sums at a time as registers hold, with those that all 64-bit processors of Arm and x86 have.
void multiply(const float* pixels, const float* weights, float* result) {
  for (int row = 0; row < kPixels; row += kRows) {
    for (int column = 0; column < kChannels; column += kVectors * kWide) {
      Vector sums[kRows][kVectors] = {};
      for (int k = 0; k < kChannels; ++k) {
        const float* const line = weights + k * kChannels + column;
        Vector parts[kVectors];
        for (int j = 0; j < kVectors; ++j) parts[j] = *reinterpret_cast<const Vector*>(line + j * kWide);
        for (int i = 0; i < kRows; ++i) {
          const float pixel = pixels[(row + i) * kChannels + k];
          for (int j = 0; j < kVectors; ++j) sums[i][j] += pixel * parts[j];
        }
      }
      for (int i = 0; i < kRows; ++i) {
        for (int j = 0; j < kVectors * kWide; ++j) {
          result[(row + i) * kChannels + column + j] = std::max(sums[i][j / kWide][j % kWide], 0.0f);
        }
      }
    }
  }
}

}  // namespace

Reference::Reference() : between_(kPixels * kChannels), result_(kPixels * kChannels) {
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  const auto fill = [&](std::vector<float>& values, size_t count, float by) {
    values.resize(count);
    std::generate(values.begin(), values.end(), [&] { return normal(random) * by; });
  };
  fill(pixels_, kPixels * kChannels, 1.0f);
  for (auto& weights : weights_) fill(weights, kChannels * kChannels, 1.0f / 14);
}

void Reference::run() {
  multiply(pixels_.data(), weights_[0].data(), between_.data());
  multiply(between_.data(), weights_[1].data(), result_.data());
}

}  // namespace edgekit
