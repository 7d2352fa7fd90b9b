"""What the outputs of a classifier mean, and the probabilities that they stand for.

====================  =================================================================
``logits``            any numbers: softmax makes probabilities of several columns, the
                      logistic function makes one of a single column
``probabilities``     several columns of 0 to 1 that sum to 1, as behind a softmax
``sigmoid``           columns of 0 to 1 behind a logistic function: each is a
                      probability by itself
====================  =================================================================

One column tells two classes apart: its probability is that of the second one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import CLASSIFY, SCORES, scores_fit
from edgekit.errors import UsageError

_SUM_WITHIN = 1e-2  # what float16 and integers leave of a sum of 1


def kind_of(scores: NDArray[Any], strained: Callable[[], NDArray[Any]] | None = None) -> str:
    """What outputs are, of `SCORES`; logits, where nothing tells.

    Args:
        scores: (n, columns) of several images.
        strained: gives those of `edgekit.models.strain.strained`. Logits, above all a single
            column of them, may lie between 0 and 1 by chance, and do not stay there.
    """
    kind, several = _by_looks(scores), scores.shape[1] > 1
    if kind == "logits":
        return kind
    other = scores if strained is None else strained()
    moved = not np.array_equal(other, scores[: len(other)])
    other = other[np.isfinite(other).all(axis=1)]  # exponentials of such numbers may overflow
    looks = kind if len(other) == 0 else _by_looks(other)
    if looks == "logits":
        return looks
    if several and "sigmoid" in (kind, looks):
        # Numbers without a common sum are known for probabilities by their bounds alone.
        return "sigmoid" if moved and len(other) else "logits"
    return kind


def _by_looks(scores: NDArray[Any]) -> str:
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        return "logits"
    of_sum_1 = np.abs(scores.sum(axis=1) - 1).max() < _SUM_WITHIN
    return "probabilities" if scores.shape[1] > 1 and of_sum_1 else "sigmoid"


def each_by_itself(kind: str, columns: int) -> bool:
    """Whether outputs are probabilities of several classes that do not exclude each other."""
    return kind == "sigmoid" and columns > 1


def check_kind(kind: str, columns: int, what: str) -> None:
    """Refuses a meaning that so many outputs cannot have.

    Raises:
        UsageError: as said.
    """
    if kind not in SCORES:
        raise UsageError(f"--scores {kind}: expected one of {', '.join(SCORES)}")
    if not scores_fit(kind, columns):
        raise UsageError(
            f"--scores {kind}: '{what}' has {columns} output: expected logits or sigmoid"
        )


def check_goes(kind: str | None, what: str, task: str) -> None:
    """Refuses a meaning of scores, where outputs are none.

    Args:
        kind: what somebody says that they are.
        what: has the outputs, for the message.

    Raises:
        UsageError: as said.
    """
    if kind is not None and task != CLASSIFY:
        raise UsageError(f"--scores goes with scores of classes: '{what}' is of the task {task}")


def probabilities(scores: NDArray[Any], kind: str) -> NDArray[np.float64]:
    """Probabilities (n, classes) of outputs (n, columns); two classes for one column.

    Rows sum to 1 but for those of several columns of `sigmoid`, which stay as they are.
    """
    values: NDArray[np.float64] = scores.astype(np.float64)
    if values.shape[1] == 1:
        if kind == "logits":
            values = 0.5 * (1 + np.tanh(values / 2))
        return np.concatenate([1 - values, values], axis=1)
    if kind != "logits":
        return values
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def likeliest(scores: NDArray[Any], kind: str) -> NDArray[np.intp]:
    """The class that each row of outputs is of; one column goes by its threshold."""
    if scores.shape[1] == 1:
        return (scores[:, 0] > (0 if kind == "logits" else 0.5)).astype(np.intp)
    found: NDArray[np.intp] = scores.argmax(1)
    return found


def class_names(labels: tuple[str, ...] | None, columns: int) -> tuple[str, ...] | None:
    """A name for each class; the only name of one column is that of the second class."""
    if labels is None or columns > 1 or len(labels) != 1:
        return labels
    return f"not {labels[0]}", labels[0]
