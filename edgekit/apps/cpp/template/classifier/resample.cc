#include "resample.h"

#include <algorithm>
#include <cmath>

// The order of all steps matters, and that products and sums are rounded one by one: this file
// needs -ffp-contract=off.

namespace classifier {

namespace {

constexpr int kPrecisionBits = 22;  // behind the point of a weight

// What one row (or column) of the result is made of: rows from `begin` on, each times its weight.
struct Tap {
  int begin;
  std::vector<int32_t> weights;
};

double reach_of(Interpolation filter) {
  return filter == Interpolation::area ? 0.5 : filter == Interpolation::bilinear ? 1.0 : 2.0;
}

double weight_of(Interpolation filter, double x) {
  if (filter == Interpolation::area) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
  x = std::fabs(x);
  if (filter == Interpolation::bilinear) return std::max(0.0, 1.0 - x);
  // Keys' cubic with a = -0.5 (IEEE Transactions ASSP 29(6), 1981, equation 15).
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0.0;
}

int32_t half_away_from_zero(double x) {
  return static_cast<int32_t>(x >= 0 ? std::floor(x + 0.5) : std::ceil(x - 0.5));
}

Tap filtered(int size, Interpolation filter, double centre, double stretch) {
  const double reach = reach_of(filter) * stretch;
  const double per_pixel = 1.0 / stretch;
  const int begin = std::max(static_cast<int>(centre - reach + 0.5), 0);
  const int end = std::min(static_cast<int>(centre + reach + 0.5), size);
  std::vector<double> shares;
  double total = 0;
  for (int i = begin; i < end; ++i) {
    shares.push_back(weight_of(filter, (i - centre + 0.5) * per_pixel));
    total += shares.back();
  }
  Tap tap{begin, {}};
  for (const double share : shares) {
    tap.weights.push_back(half_away_from_zero(share / total * (1 << kPrecisionBits)));
  }
  return tap;
}

// What each of `count` values is made of, between two edges of `size` pixels.
std::vector<Tap> taps_of(int size, int count, double first, double last, Interpolation filter) {
  const bool same = first == 0 && last == size && count == size;
  // Edges, and their distance, are rounded to float; all else is double.
  const float upper = static_cast<float>(first), lower = static_cast<float>(last);
  const double start = upper;
  const double step = static_cast<double>(lower - upper) / count;
  double place = start + step * 0.5;
  std::vector<Tap> taps;
  for (int k = 0; k < count; ++k) {
    if (same) {
      taps.push_back({k, {1 << kPrecisionBits}});
    } else if (filter == Interpolation::nearest) {
      taps.push_back({std::min(static_cast<int>(place), size - 1), {1 << kPrecisionBits}});
      place += step;  // added up: a product has other last bits
    } else {
      // A filter widens where it shrinks an image, and narrows nowhere.
      taps.push_back(filtered(size, filter, start + (k + 0.5) * step, std::max(step, 1.0)));
    }
  }
  return taps;
}

uint8_t value_of(int32_t total) {
  return static_cast<uint8_t>(std::clamp(total >> kPrecisionBits, 0, 255));
}

}  // namespace

Image resample(const Image& image, Size size, const Box& box, Interpolation interpolation) {
  const auto across = taps_of(image.width, size.width, box.left, box.right, interpolation);
  const auto down = taps_of(image.height, size.height, box.top, box.bottom, interpolation);
  constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);
  const int channels = image.channels;
  // Rows that no row of the result is made of need not become narrow.
  int from = image.height, to = 0;
  for (const Tap& tap : down) {
    from = std::min(from, tap.begin);
    to = std::max(to, tap.begin + static_cast<int>(tap.weights.size()));
  }
  Image narrow(size.width, std::max(to - from, 0), channels);
  uint8_t* place = narrow.data.data();
  for (int y = from; y < to; ++y) {
    const uint8_t* row = &image.data[size_t(y) * image.width * channels];
    for (const Tap& tap : across) {
      for (int c = 0; c < channels; ++c) {
        const uint8_t* pixel = row + size_t(tap.begin) * channels + c;
        int32_t total = kHalf;
        for (const int32_t weight : tap.weights) {
          total += *pixel * weight;
          pixel += channels;
        }
        *place++ = value_of(total);
      }
    }
  }
  Image found(size.width, size.height, channels);
  const size_t count = size_t(size.width) * channels;
  std::vector<int32_t> totals(count);
  place = found.data.data();
  for (const Tap& tap : down) {
    std::fill(totals.begin(), totals.end(), kHalf);
    const uint8_t* value = &narrow.data[(tap.begin - from) * count];
    for (const int32_t weight : tap.weights) {
      for (size_t i = 0; i < count; ++i) totals[i] += *value++ * weight;
    }
    for (const int32_t total : totals) *place++ = value_of(total);
  }
  return found;
}

}  // namespace classifier
