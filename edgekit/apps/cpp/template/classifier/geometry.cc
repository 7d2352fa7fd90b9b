#include "geometry.h"

#include <algorithm>
#include <cmath>

// The order of all steps matters, and that products and sums are rounded one by one: this file
// needs -ffp-contract=off.

namespace classifier {

namespace {

// side * part / whole, rounded half up.
int in_proportion(int side, int part, int whole) {
  return static_cast<int>((2 * int64_t(side) * part + whole) / (2 * int64_t(whole)));
}

// Edges of the middle along one axis, in pixels of the image before it is resized.
void middle(int side, int resized, int crop, double& first, double& last) {
  const int64_t offset = (resized - crop) / 2;
  first = static_cast<double>(offset * side) / resized;
  last = static_cast<double>((offset + crop) * side) / resized;
}

Placement letterboxed(int height, int width, const Size& crop) {
  const bool by_height = int64_t(crop.height) * width <= int64_t(crop.width) * height;
  const int part = by_height ? crop.height : crop.width, whole = by_height ? height : width;
  const Size size{std::max(1, in_proportion(height, part, whole)),
                  std::max(1, in_proportion(width, part, whole))};
  const Box all{0, 0, double(width), double(height)};
  return {all, size, (crop.height - size.height) / 2, (crop.width - size.width) / 2, size};
}

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

}  // namespace

Placement placed(int height, int width, const Geometry& how) {
  if (how.fit == Fit::letterbox) return letterboxed(height, width, how.crop);
  Size whole{height, width};
  if (how.fit == Fit::stretch) {
    whole = how.resize.value_or(how.crop);
  } else if (how.resize) {
    const Size least = *how.resize;
    const bool by_height = int64_t(least.height) * width >= int64_t(least.width) * height;
    const int part = by_height ? least.height : least.width, of = by_height ? height : width;
    whole = {in_proportion(height, part, of), in_proportion(width, part, of)};
  }
  Placement found{{}, how.crop, 0, 0, whole};
  if (whole.height < how.crop.height || whole.width < how.crop.width) return found;
  middle(height, whole.height, how.crop.height, found.box.top, found.box.bottom);
  middle(width, whole.width, how.crop.width, found.box.left, found.box.right);
  return found;
}

Taps::Taps(int size, int count, double first, double last, Interpolation filter)
    : size_(size), filter_(filter), same_(first == 0 && last == size && count == size) {
  // Edges, and their distance, are rounded to float; all else is double.
  const float upper = static_cast<float>(first), lower = static_cast<float>(last);
  start_ = upper;
  step_ = static_cast<double>(lower - upper) / count;
  place_ = start_ + step_ * 0.5;
}

int Taps::most() const {
  if (same_ || filter_ == Interpolation::nearest) return 1;
  return std::min(size_, static_cast<int>(2 * reach_of(filter_) * std::max(step_, 1.0)) + 2);
}

int Taps::next(int32_t* weights, int& begin) {
  const int k = k_++;
  if (same_ || filter_ == Interpolation::nearest) {
    begin = same_ ? k : std::min(static_cast<int>(place_), size_ - 1);
    place_ += step_;  // added up: a product has other last bits
    *weights = 1 << kPrecisionBits;
    return 1;
  }
  // A filter widens where it shrinks an image, and narrows nowhere.
  const double centre = start_ + (k + 0.5) * step_, stretch = std::max(step_, 1.0);
  const double reach = reach_of(filter_) * stretch;
  const double per_pixel = 1.0 / stretch;
  begin = std::max(static_cast<int>(centre - reach + 0.5), 0);
  const int end = std::min(static_cast<int>(centre + reach + 0.5), size_);
  const auto share = [&](int i) { return weight_of(filter_, (i - centre + 0.5) * per_pixel); };
  double total = 0;
  for (int i = begin; i < end; ++i) total += share(i);
  for (int i = begin; i < end; ++i) {
    *weights++ = half_away_from_zero(share(i) / total * (1 << kPrecisionBits));
  }
  return end - begin;
}

}  // namespace classifier
