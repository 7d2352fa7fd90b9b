"""Mean average precision of detections, as COCO defines and pycocotools computes it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit import boxes
from edgekit.boxes import Selected
from edgekit.tasks.details import Confusion, Details, OfClass, confusion, interval, weights_of

if TYPE_CHECKING:
    from edgekit.tasks.detect import Detect

EVERYTHING = 1e10
"""Area that no box has: figures are of all sizes."""

NOTHING = "(nothing)"


@dataclass(frozen=True, slots=True)
class _Image:
    """What is there, and what was found."""

    corners: NDArray[np.float32]
    classes: NDArray[np.intp]
    crowd: NDArray[np.bool_]
    found: Selected


class FoundObjects:
    """``map`` over overlaps of 0.5 to 0.95, ``map50`` at 0.5, and what each class has.

    It keeps detections, not outputs.

    Args:
        task: finds objects in outputs.
        outputs: for each class of the labels the class that stands for it.
        names: of the network's classes.
    """

    def __init__(self, task: Detect, outputs: Sequence[int], names: Sequence[str]) -> None:
        self._task, self._names = task, tuple(names)
        self._outputs = np.array(outputs, np.intp)
        self._images: list[_Image] = []
        self._evaluated: tuple[int, Any] | None = None

    def update(self, rows: NDArray[Any], labels: NDArray[Any]) -> None:
        """Takes outputs (n, numbers) and boxes (n, objects, 6) as `BoxTruth` stacks them."""
        from edgekit.tasks.detect import COUNTED

        for row, label in zip(rows, labels, strict=True):
            there = label[label[:, 4] >= 0]
            found = self._task.objects(row, COUNTED)
            known = found.classes < len(self._names)  # those of a network without names may be any
            self._images.append(
                _Image(
                    there[:, :4].astype(np.float32),
                    self._outputs[there[:, 4].astype(np.intp)],
                    there[:, 5] > 0,
                    Selected(found.corners[known], found.classes[known], found.scores[known]),
                )
            )

    def figures(self) -> dict[str, float | None]:
        """``map`` and ``map50``; ``None`` where no image has an object."""
        precision = self._precision()
        return {"map": _mean(precision), "map50": _mean(precision[:1])}

    def ci95(self) -> tuple[float, float] | None:
        """That of ``map``, by bootstrap over images."""
        evaluated = self._evaluation()
        if evaluated is None:
            return None
        by_class = [_Curve(evaluated, i, len(self._images)) for i in range(len(self._names))]
        known = [curve for curve in by_class if curve.there.any()]
        values = [
            [curve.average_precision(weights) for curve in known]
            for weights in weights_of(len(self._images))
        ]
        with np.errstate(invalid="ignore"):
            table = np.array(values, np.float64)
        kept = table[np.isfinite(table).any(axis=1)]
        return interval(np.nanmean(kept, axis=1)) if len(kept) else None

    def details(self) -> Details:
        """Average precision of each class, and what is taken for what.

        In the matrix objects and detections of at least the network's threshold are matched by
        their overlap alone, the surest first; see `edgekit.tasks.detect.SAME`.
        """
        precision, counts = self._precision(), self._counts()
        there = counts[:-1].sum(axis=1)
        per_class = []
        for i, name in enumerate(self._names):
            own = precision[:, :, i] if precision.size else precision
            said = int(counts[:, i].sum())
            figures = {
                "ap": _mean(own),
                "ap50": _mean(own[:1]),
                "recall": float(counts[i, i] / there[i]) if there[i] else None,
                "precision": float(counts[i, i] / said) if said else None,
            }
            per_class.append(OfClass(name, int(there[i]), figures))
        names = (*self._names, NOTHING)
        matrix: Confusion | None = confusion(names, names, counts)
        return Details(tuple(per_class), matrix)

    def _precision(self) -> NDArray[np.float64]:
        """By overlap, recall and class; -1 where there is no object of a class."""
        evaluated = self._evaluation()
        if evaluated is None:
            return np.zeros((0, 0, 0))
        found: NDArray[np.float64] = evaluated.eval["precision"][:, :, :, 0, 0]
        return found

    def _evaluation(self) -> Any:
        """A `COCOeval` that has done its work; ``None`` without objects."""
        if self._evaluated is None or self._evaluated[0] != len(self._images):
            self._evaluated = len(self._images), self._evaluate()
        return self._evaluated[1]

    def _evaluate(self) -> Any:
        if not any((~image.crowd).any() for image in self._images):
            return None
        from pycocotools.cocoeval import COCOeval

        number = iter(range(1, 1 << 62))  # an object 0 would count as none
        right = [
            _annotation(next(number), i, image.corners[k], image.classes[k], crowd=image.crowd[k])
            for i, image in enumerate(self._images)
            for k in range(len(image.classes))
        ]
        found = [
            _annotation(
                next(number), i, image.found.corners[k], image.found.classes[k],
                score=image.found.scores[k],
            )
            for i, image in enumerate(self._images)
            for k in range(len(image.found.classes))
        ]  # fmt: skip
        ids = range(len(self._images)), range(len(self._names))
        evaluation = COCOeval(_Annotations(right, *ids), _Annotations(found, *ids), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, EVERYTHING]], ["all"]
        evaluation.params.maxDets = [100]
        with contextlib.redirect_stdout(io.StringIO()):  # it tells its steps
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation

    def _counts(self) -> NDArray[np.int64]:
        """What is taken for what, (classes + 1, classes + 1); the last ones are nothing."""
        from edgekit.tasks.detect import SAME

        nothing = len(self._names)
        counts = np.zeros((nothing + 1, nothing + 1), np.int64)
        for image in self._images:
            sure = image.found.scores >= self._task.threshold
            corners, said = image.found.corners[sure], image.found.classes[sure]
            shared = boxes.iou(corners, image.corners)
            free = ~image.crowd
            for i, index in enumerate(said):
                row = np.where(free, shared[i], 0)
                best = int(row.argmax()) if len(row) else 0
                if len(row) and row[best] >= SAME:
                    free[best] = False
                    counts[image.classes[best], index] += 1
                elif not _in_a_crowd(corners[i], image):
                    counts[nothing, index] += 1
            np.add.at(counts[:, nothing], image.classes[free], 1)
        return counts


def _in_a_crowd(corners: NDArray[Any], image: _Image) -> bool:
    """Whether half of a box lies in a crowd, so that it is neither right nor wrong."""
    inside = boxes.shared_area(corners[None], image.corners[image.crowd])
    return bool((inside >= 0.5 * boxes.area(corners)).any())


class _Annotations:
    """What pycocotools asks of its ``COCO``: boxes of images by their numbers."""

    def __init__(
        self, annotations: Sequence[dict[str, Any]], images: Iterable[int], classes: Iterable[int]
    ) -> None:
        self._annotations, self._images, self._classes = annotations, [*images], [*classes]

    def getImgIds(self) -> list[int]:  # noqa: N802
        return self._images

    def getCatIds(self) -> list[int]:  # noqa: N802
        return self._classes

    def getAnnIds(self, imgIds: Any = (), catIds: Any = ()) -> range:  # noqa: N802, N803
        return range(len(self._annotations))

    def loadAnns(self, ids: Sequence[int]) -> list[dict[str, Any]]:  # noqa: N802
        return [self._annotations[i] for i in ids]


def _annotation(
    number: int,
    image: int,
    corners: NDArray[Any],
    index: Any,
    *,
    crowd: Any = False,
    score: Any = 0,
) -> dict[str, Any]:
    """A box as COCO writes it."""
    x0, y0, x1, y1 = (float(edge) for edge in corners)
    return {
        "id": number,
        "image_id": image,
        "category_id": int(index),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": max(0.0, x1 - x0) * max(0.0, y1 - y0),
        "iscrowd": int(crowd),
        "score": float(score),
    }


class _Curve:
    """Precision over recall of one class, for images that count several times, or not at all.

    As `COCOeval.accumulate` does it, which has no weights.

    Attributes:
        there: objects by image.
    """

    def __init__(self, evaluated: Any, index: int, images: int) -> None:
        self._recalls = np.asarray(evaluated.params.recThrs)
        self.there = np.zeros(images, np.int64)
        scores, of, matched, ignored = [], [], [], []
        for i, one in enumerate(evaluated.evalImgs[index * images : (index + 1) * images]):
            if one is None:
                continue
            self.there[i] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
            scores.append(one["dtScores"])
            of.append(np.full(len(one["dtScores"]), i))
            matched.append(one["dtMatches"] > 0)
            ignored.append(one["dtIgnore"])
        overlaps = len(evaluated.params.iouThrs)
        empty = np.zeros((overlaps, 0), bool)
        order = np.argsort(-np.concatenate([[], *scores]), kind="mergesort")
        self._of = np.concatenate([np.zeros(0, np.intp), *of])[order]
        right = np.concatenate([empty, *matched], axis=1)[:, order]
        counts = ~np.concatenate([empty, *ignored], axis=1).astype(bool)[:, order]
        self._right, self._wrong = right & counts, ~right & counts
        last = np.flatnonzero(self._right.any(axis=0))
        until = last[-1] + 1 if len(last) else 0  # what is wrong behind the last right one is idle
        self._right, self._wrong = self._right[:, :until], self._wrong[:, :until]
        self._of = self._of[:until]

    def average_precision(self, weights: NDArray[np.int64]) -> float:
        """The mean over overlaps and recalls; not a number where there is no object.

        Args:
            weights: of the images.
        """
        there = int(weights @ self.there)
        if there == 0:
            return float("nan")
        own = weights[self._of].astype(np.float64)
        right, wrong = np.cumsum(self._right * own, axis=1), np.cumsum(self._wrong * own, axis=1)
        precision = right / np.maximum(right + wrong, np.finfo(np.float64).tiny)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        total = 0.0
        for line, recall in zip(best, right / there, strict=True):
            places = np.searchsorted(recall, self._recalls, side="left")
            total += float(line[places[places < len(line)]].sum())
        return total / (len(best) * len(self._recalls))


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Of what is known."""
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else None
