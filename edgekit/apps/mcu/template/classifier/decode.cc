#include "decode.h"

#include <algorithm>
#include <cmath>

namespace classifier {

namespace {

// Puts a class among the likeliest ones; of equal ones the first stays first, and what is no number
// comes last.
int insert(Label* labels, int found, int most, int index, double probability) {
  const auto rank = [](double p) { return std::isnan(p) ? -INFINITY : p; };
  int place = found;
  while (place > 0 && rank(labels[place - 1].probability) < rank(probability)) --place;
  if (place >= most) return found;
  found = std::min(found + 1, most);
  std::move_backward(labels + place, labels + found - 1, labels + found);
  const bool named = index < kLabelCount;
  labels[place] = {index, named ? kLabels[index] : std::string_view(), probability};
  return found;
}

}  // namespace

int decode(const float* scores, int count, Scores kind, Label* labels, int most) {
  if (count < 1 || most < 1) return 0;
  int found = 0;
  if (count == 1) {
    const double score = scores[0];
    const double second = kind == Scores::logits ? 0.5 * (1 + std::tanh(score / 2)) : score;
    found = insert(labels, found, most, 0, 1 - second);
    return insert(labels, found, most, 1, second);
  }
  const double top = *std::max_element(scores, scores + count);
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += std::exp(double(scores[i]) - top);
  for (int i = 0; i < count; ++i) {
    const double share = kind == Scores::logits ? std::exp(double(scores[i]) - top) / sum : scores[i];
    found = insert(labels, found, most, i, share);
  }
  return found;
}

}  // namespace classifier
