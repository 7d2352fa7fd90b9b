"""Intersection over union of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import IGNORE
from edgekit.tasks.details import Details, OfClass, confusion, interval, weights_of

if TYPE_CHECKING:
    from edgekit.tasks.segment import Segment


class Overlaps:
    """``miou``, the mean over classes, and ``pixel_accuracy``, the share of pixels that are right.

    Pixels are counted over all images; a class that is neither there nor found has no part in the
    mean. It keeps counts, not masks.

    Args:
        task: makes masks of outputs.
        outputs: for each class of the labels the class that stands for it.
        names: of the network's classes.
    """

    def __init__(self, task: Segment, outputs: Sequence[int], names: Sequence[str]) -> None:
        self._task, self._names = task, tuple(names)
        self._of_label = np.full(IGNORE + 1, IGNORE, np.uint8)
        self._of_label[: len(outputs)] = outputs
        self._counts = np.zeros((len(names), len(names)), np.int64)
        self._images: list[NDArray[np.int64]] = []

    def update(self, rows: NDArray[Any], labels: NDArray[Any]) -> None:
        """Takes outputs (n, numbers) and masks (n, height, width) as `MaskTruth` stacks them."""
        count = len(self._names)
        for row, label in zip(rows, labels, strict=True):
            mask = _of_size(self._task.masks(row[None])[0], label.shape)
            right = self._of_label[label]
            known = right != IGNORE
            pairs = right[known].astype(np.intp) * count + np.minimum(mask[known], count - 1)
            counts = np.bincount(pairs, minlength=count**2).reshape(count, count)
            self._counts += counts
            self._images.append(np.stack([np.diag(counts), counts.sum(0), counts.sum(1)]))

    def figures(self) -> dict[str, float | None]:
        """``miou`` and ``pixel_accuracy``; ``None`` where no pixel has a class."""
        total = int(self._counts.sum())
        if total == 0:
            return {"miou": None, "pixel_accuracy": None}
        return {
            "miou": float(np.nanmean(self._by_class())),
            "pixel_accuracy": float(np.trace(self._counts) / total),
        }

    def _by_class(self) -> NDArray[np.float64]:
        own = np.diag(self._counts), self._counts.sum(0), self._counts.sum(1)
        return _ratio(np.stack(own))

    def ci95(self) -> tuple[float, float] | None:
        """That of ``miou``, by bootstrap over images."""
        if not self._counts.any():
            return None
        every = np.stack(self._images)
        weights = weights_of(len(every))
        sums = np.einsum("ri,ikc->rkc", weights, every)
        ratios = np.stack([_ratio(one) for one in sums])
        kept = ratios[np.isfinite(ratios).any(axis=1)]
        return interval(np.nanmean(kept, axis=1))

    def details(self) -> Details:
        """The intersection over union of each class, and which is taken for which, in pixels."""
        ratios, right = self._by_class(), self._counts.sum(1)
        found, own = self._counts.sum(0), np.diag(self._counts)
        per_class = [
            OfClass(
                name,
                int(right[i]),
                {
                    "iou": None if np.isnan(ratios[i]) else float(ratios[i]),
                    "recall": float(own[i] / right[i]) if right[i] else None,
                    "precision": float(own[i] / found[i]) if found[i] else None,
                },
            )
            for i, name in enumerate(self._names)
        ]
        return Details(tuple(per_class), confusion(self._names, self._names, self._counts))


def _ratio(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of classes, from both, found and right (3, classes)."""
    union = counts[1] + counts[2] - counts[0]
    empty = np.full(len(union), np.nan)
    found: NDArray[np.float64] = np.divide(counts[0], union, out=empty, where=union > 0)
    return found


def _of_size(mask: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """A mask of another size, each pixel that of the nearest one."""
    if mask.shape == size:
        return mask
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(size, mask.shape, strict=True)
    )
    found: NDArray[np.uint8] = mask[rows[:, None], columns[None, :]]
    return found
