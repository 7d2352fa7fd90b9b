"""How well distances of embeddings tell classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.tasks.details import Details, OfClass, confusion
from edgekit.tasks.shares import share_interval

if TYPE_CHECKING:
    from edgekit.tasks.embed import Embed

PAIRS = 20_000
"""Pairs of images of one class that verification looks at, at most, and as many of two classes."""

FOLDS = 10
"""Of verification: the threshold of each part of the pairs is that of the others, as the protocol
of Labeled Faces in the Wild has it."""

FALSE_ALARMS = (0.001, 0.01, 0.1)
"""Shares of pairs of two classes that are taken for one, at which the others are told."""

_CHUNK = 1024


class Neighbourhoods:
    """``recall_at_1``, ``accuracy`` and ``auc``.

    ``recall_at_1`` is the share of images whose nearest other image is of the same class; images
    that are the only one of theirs are left out. ``accuracy`` is the share of pairs that are told
    apart by a threshold of the distance, the network's or one from other pairs, half of them of one
    class; ``auc`` the area under the ROC of the same pairs.

    Args:
        task: makes embeddings of outputs.
        names: of the classes of the labels.
    """

    def __init__(self, task: Embed, names: Sequence[str]) -> None:
        self._task, self._names = task, tuple(names)
        self._embeddings: list[NDArray[np.float32]] = []
        self._labels: list[NDArray[np.int64]] = []

    def update(self, rows: NDArray[Any], labels: NDArray[Any]) -> None:
        """Takes outputs (n, numbers) and classes (n,)."""
        self._embeddings.append(self._task.embeddings(rows))
        self._labels.append(np.asarray(labels, np.int64))

    def figures(self) -> dict[str, float | None]:
        """See the class; ``None`` where no two images are of one class, or all are."""
        right, _ = self._nearest()
        found: dict[str, float | None] = {
            "recall_at_1": float(right.mean()) if len(right) else None,
            "accuracy": None,
            "auc": None,
        }
        pairs = self._pairs()
        if pairs is not None:
            from sklearn.metrics import roc_auc_score

            same, distances = pairs
            found["accuracy"] = self._accuracy(same, distances)
            found["auc"] = float(roc_auc_score(same, -distances))
        return found

    def ci95(self) -> tuple[float, float] | None:
        """That of a share of images."""
        right, _ = self._nearest()
        return share_interval(float(right.mean()), len(right)) if len(right) else None

    def details(self) -> Details:
        """Recall of each class, for which others are taken, and the ROC at some places.

        ``threshold`` is the distance at which most pairs are told right.
        """
        _, (truth, found) = self._nearest()
        count = len(self._names)
        counts = np.zeros((count, count), np.int64)
        np.add.at(counts, (truth, found), 1)
        per_class = [
            OfClass(
                name,
                int(counts[i].sum()),
                {"recall_at_1": float(counts[i, i] / counts[i].sum()) if counts[i].any() else None},
            )
            for i, name in enumerate(self._names)
        ]
        values: dict[str, float] = {}
        pairs = self._pairs()
        if pairs is not None:
            from sklearn.metrics import roc_curve

            same, distances = pairs
            false, true, _ = roc_curve(same, -distances)
            for share in FALSE_ALARMS:
                values[f"true_at_false_{share:g}"] = float(np.interp(share, false, true))
            values["threshold"] = _best(same, distances)
        return Details(tuple(per_class), confusion(self._names, self._names, counts), values)

    def _nearest(
        self,
    ) -> tuple[NDArray[np.bool_], tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Of each image that has another of its class whether the nearest is one, and both."""
        embeddings, labels = self._all()
        found = np.zeros(len(labels), np.int64)
        for start in range(0, len(labels), _CHUNK):
            part = slice(start, min(len(labels), start + _CHUNK))
            cosines = embeddings[part] @ embeddings.T
            cosines[np.arange(part.stop - start), np.arange(start, part.stop)] = -np.inf
            found[part] = labels[cosines.argmax(axis=1)] if len(labels) > 1 else -1
        several = np.bincount(labels, minlength=1)[labels] > 1
        truth, found = labels[several], found[several]
        return truth == found, (truth, found)

    def _all(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if not self._labels:
            return np.zeros((0, 1), np.float32), np.zeros(0, np.int64)
        return np.concatenate(self._embeddings), np.concatenate(self._labels)

    def _pairs(self) -> tuple[NDArray[np.bool_], NDArray[np.float64]] | None:
        """Pairs of images drawn with a fixed seed, half of one class, and their distances."""
        embeddings, labels = self._all()
        by_class = [np.flatnonzero(labels == k) for k in np.unique(labels)]
        if len(by_class) < 2 or max(map(len, by_class)) < 2:
            return None
        rng = np.random.default_rng(0)
        several = np.concatenate([own for own in by_class if len(own) > 1])
        every = sum(len(own) * (len(own) - 1) // 2 for own in by_class)
        count = min(PAIRS, every)
        if every <= PAIRS:
            rows = [own[np.stack(np.triu_indices(len(own), 1))] for own in by_class]
            first, second = np.concatenate(rows, axis=1)
        else:
            first = rng.choice(several, count)
            places = {int(i): own for own in by_class for i in own}
            second = np.array([_other(places[int(i)], int(i), rng) for i in first])
        a, b = rng.integers(0, len(labels), (2, 20 * count + 100))
        apart = np.flatnonzero(labels[a] != labels[b])[:count]
        first = np.concatenate([first, a[apart]])
        second = np.concatenate([second, b[apart]])
        products = np.einsum("ij,ij->i", embeddings[first], embeddings[second])
        distances = 1 - products.astype(np.float64)
        return np.arange(len(first)) < count, distances

    def _accuracy(self, same: NDArray[np.bool_], distances: NDArray[np.float64]) -> float:
        """Share of pairs that a threshold tells right."""
        if self._task.distance is not None:
            return _right(same, distances, self._task.distance)
        fold = np.random.default_rng(1).permutation(len(same)) % FOLDS
        shares = [
            _right(
                same[fold == k], distances[fold == k], _best(same[fold != k], distances[fold != k])
            )
            for k in range(FOLDS)
            if (fold == k).any() and (fold != k).any()
        ]
        return float(np.mean(shares))


def _other(own: NDArray[np.intp], index: int, rng: np.random.Generator) -> int:
    """Another one of a class, of at least two."""
    found = int(own[rng.integers(len(own) - 1)])
    return int(own[-1]) if found == index else found


def _right(same: NDArray[np.bool_], distances: NDArray[np.float64], threshold: float) -> float:
    return float(np.mean((distances < threshold) == same))


def _best(same: NDArray[np.bool_], distances: NDArray[np.float64]) -> float:
    """The threshold at which most pairs are told right, in the middle between two distances."""
    order = np.argsort(distances, kind="stable")
    ranked, own = distances[order], same[order]
    # Pairs before place k are taken for the same class.
    hits = np.concatenate([[0], np.cumsum(own)]) + np.concatenate(
        [[int((~own).sum())], (~own).sum() - np.cumsum(~own)]
    )
    edges = np.concatenate([[ranked[0]], (ranked[1:] + ranked[:-1]) / 2, [ranked[-1] + 1e-6]])
    return float(edges[hits.argmax()])
