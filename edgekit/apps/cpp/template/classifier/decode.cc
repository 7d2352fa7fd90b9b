#include "decode.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace classifier {

std::vector<double> probabilities(const std::vector<double>& scores, Scores kind) {
  if (scores.size() == 1) {
    const bool logits = kind == Scores::logits;
    const double second = logits ? 0.5 * (1 + std::tanh(scores[0] / 2)) : scores[0];
    return {1 - second, second};
  }
  if (kind != Scores::logits || scores.empty()) return scores;
  const double most = *std::max_element(scores.begin(), scores.end());
  std::vector<double> shares;
  for (const double score : scores) shares.push_back(std::exp(score - most));
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= sum;
  return shares;
}

std::vector<Label> decode(const std::vector<double>& scores, const Model& model, size_t most) {
  const std::vector<double> shares = probabilities(scores, model.scores);
  std::vector<std::string> names = model.labels;
  if (names.size() == 1 && shares.size() == 2) names = {"not " + names[0], names[0]};
  std::vector<int> order(shares.size());
  std::iota(order.begin(), order.end(), 0);
  // What is no number comes last.
  const auto rank = [&](int i) { return std::isnan(shares[i]) ? -INFINITY : shares[i]; };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return rank(a) > rank(b); });
  order.resize(std::min(most, order.size()));
  std::vector<Label> found;
  for (const int i : order) {
    found.push_back({i, size_t(i) < names.size() ? names[i] : "", shares[i]});
  }
  return found;
}

}  // namespace classifier
