"""What the outputs of a classifier mean."""

from typing import NamedTuple, Optional

import numpy as np


class Label(NamedTuple):
    """A class, its name where it has one, and how sure the network is, from 0 to 1."""

    index: int
    label: Optional[str]
    probability: float

    @property
    def name(self):
        """The class as people call it."""
        return self.label or f"class {self.index}"


def probabilities(scores, kind):
    """Probabilities of all classes.

    Args:
        scores: the network's output, one number a class; a single number tells two classes apart.
        kind: ``scores`` of the contract: ``logits``, ``probabilities`` or ``sigmoid``.
    """
    scores = np.asarray(scores, np.float64).reshape(-1)
    if scores.size == 1:
        second = 0.5 * (1 + np.tanh(scores / 2)) if kind == "logits" else scores
        return np.concatenate([1 - second, second])
    if kind != "logits":
        return scores
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def decode(scores, contract, most=5):
    """The likeliest classes, the likeliest one first: a list of ``Label``."""
    shares = probabilities(scores, contract["scores"])
    labels = contract["labels"]
    if labels is not None and len(labels) == 1 and shares.size == 2:
        labels = [f"not {labels[0]}", labels[0]]
    order = np.argsort(-shares, kind="stable")[:most]
    return [Label(int(i), labels[i] if labels else None, float(shares[i])) for i in order]
