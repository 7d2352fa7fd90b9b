"""Mean average precision that searches go by: quick enough to be asked often.

It is COCO's, over overlaps from 0.5 to 0.95 and 101 recalls; what people are told comes from the
field's own code (`edgekit.tasks.detect`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit import boxes

OVERLAPS = np.arange(50, 100, 5) / 100
"""From which on a box is right; COCO's figure is the mean over these."""

RECALLS = np.linspace(0, 1, 101)

LEAST_SCORE, SUPPRESSED, MOST = 0.02, 0.5, 100
"""Of boxes that count, see `edgekit.boxes.select`. Lower scores add next to nothing."""


class FoundBoxes:
    """How many objects are found, and how well, of images that come in parts.

    Args:
        parts: boxes and scores of rows of outputs.
        loss: of rows and labels, in eval mode.
    """

    def __init__(
        self,
        parts: Callable[[Tensor], tuple[Tensor, Tensor]],
        loss: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        self._parts, self._of = parts, loss
        self._sum, self._count = 0.0, 0
        self._objects: dict[int, int] = {}
        self._scores: dict[int, list[NDArray[np.float64]]] = {}
        self._right: dict[int, list[NDArray[np.float64]]] = {}

    def update(self, outputs: Tensor, labels: Tensor, wanted: Tensor | None) -> None:
        """See `edgekit.tasks.objectives.Tally`."""
        # Image by image: a batch's loss depends on how many objects its other images have.
        each = zip(*(torch.split(one, 1) for one in (outputs.detach(), labels)), strict=True)
        self._sum += sum(float(self._of(*one)) for one in each)
        self._count += len(outputs)
        corners, scores = (one.detach().cpu().numpy() for one in self._parts(outputs))
        for own, sure, rows in zip(corners, scores, labels.cpu().numpy(), strict=True):
            self._note(own, sure, rows[rows[:, 4] >= 0])

    def _note(
        self, corners: NDArray[np.float32], scores: NDArray[np.float32], rows: NDArray[np.float32]
    ) -> None:
        found = boxes.select(
            corners, scores, score_threshold=LEAST_SCORE, overlap=SUPPRESSED, most=MOST
        )
        for kind in np.union1d(found.classes, rows[:, 4].astype(int)).tolist():
            own, there = found.classes == kind, rows[rows[:, 4] == kind]
            there = there[np.argsort(there[:, 5], kind="stable")]  # crowds come last
            crowd = there[:, 5] > 0
            self._objects[kind] = self._objects.get(kind, 0) + int((~crowd).sum())
            right = _right(found.corners[own], there[:, :4], crowd)
            self._scores.setdefault(kind, []).append(found.scores[own].astype(np.float64))
            self._right.setdefault(kind, []).append(right)

    def precisions(self) -> NDArray[np.float64]:
        """Mean over classes by overlap of `OVERLAPS`; nothing to find is found."""
        every = [
            _precision(np.concatenate(self._scores[kind]), np.concatenate(self._right[kind]), n)
            for kind, n in self._objects.items()
            if n
        ]
        return np.mean(every, axis=0) if every else np.ones(len(OVERLAPS))

    @property
    def figure(self) -> float:
        """Mean over overlaps."""
        return float(self.precisions().mean())

    @property
    def loss(self) -> float:
        """Mean over images."""
        return self._sum / self._count


def _right(
    found: NDArray[np.float32], there: NDArray[np.float32], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Of each box, the surest first, 1 where it is right, 0 where not, NaN where it counts not.

    Returns:
        By overlap of `OVERLAPS`, (n, overlaps).
    """
    right = np.zeros((len(found), len(OVERLAPS)))
    if not len(found) or not len(there):
        return right
    overlap = boxes.iou(found, there).astype(np.float64)
    shared, area = boxes.shared_area(found, there[crowd]), boxes.area(found)[:, None]
    overlap[:, crowd] = shared / np.maximum(area, 1e-9)
    free = np.ones((len(OVERLAPS), len(there)), bool)
    places = np.arange(len(OVERLAPS))
    for i, own in enumerate(overlap):
        # Rounding must not decide at an overlap of exactly one half.
        fits = free & (own >= OVERLAPS[:, None] - 1e-9)
        objects = np.where(fits & ~crowd, own, -1.0)
        best = objects.argmax(1)
        hit = objects[places, best] >= 0
        right[i] = np.where(hit, 1.0, np.where((fits & crowd).any(1), np.nan, 0.0))
        free[places[hit], best[hit]] = False
    return right


def _precision(
    scores: NDArray[np.float64], right: NDArray[np.float64], objects: int
) -> NDArray[np.float64]:
    """Average precision of a class, (overlaps,)."""
    order = np.argsort(-scores, kind="stable")
    found = np.zeros(len(OVERLAPS))
    for place, column in enumerate(right[order].T):
        counted = column[~np.isnan(column)]
        hits = counted.cumsum()
        if not len(hits):
            continue
        precision = hits / np.arange(1, len(hits) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(hits / objects, RECALLS, side="left")
        found[place] = np.where(
            reached < len(hits), precision[np.minimum(reached, len(hits) - 1)], 0.0
        ).mean()
    return found
