// What the outputs of a classifier mean.

/**
 * Probabilities of all classes.
 *
 * scores: the network's output, one number a class; a single number tells two classes apart.
 * kind: `scores` of the contract: logits, probabilities or sigmoid.
 */
export function probabilities(scores, kind) {
  const all = Array.from(scores);
  if (all.length === 1) {
    const second = kind === "logits" ? 0.5 * (1 + Math.tanh(all[0] / 2)) : all[0];
    return [1 - second, second];
  }
  if (kind !== "logits") return all;
  const most = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const shares = all.map((score) => Math.exp(score - most));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / sum);
}

/** The likeliest classes, the likeliest one first: {index, label, name, probability}. */
export function decode(scores, contract, most = 5) {
  const shares = probabilities(scores, contract.scores ?? "logits");
  let labels = contract.labels;
  if (labels?.length === 1 && shares.length === 2) labels = [`not ${labels[0]}`, labels[0]];
  const order = shares.map((_, index) => index).sort((a, b) => shares[b] - shares[a] || a - b);
  return order.slice(0, most).map((index) => {
    const label = labels ? labels[index] : null;
    return { index, label, name: label || `class ${index}`, probability: shares[index] };
  });
}
