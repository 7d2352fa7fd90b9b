"""Which class each pixel of an image is of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.boxes import geometry
from edgekit.core import IGNORE, Agreement
from edgekit.core.names import shown
from edgekit.core.plain import APART
from edgekit.data.truths import MASK_TRUTH
from edgekit.errors import DataError, ModelError
from edgekit.tasks import Aim, Described, Frame, Prediction, class_named, classes, drawing
from edgekit.tasks.raw import OutputsOfClasses, output_of, told, with_meaning

if TYPE_CHECKING:
    from edgekit.core import ImageSource, Pixels
    from edgekit.models.model import Model
    from edgekit.tasks.objectives import Objective
    from edgekit.tasks.segment_figures import Overlaps

LEAST_ALIKE = {"fp32": 0.999, "fp16": 0.99}
"""Least share of pixels of one class, by precision, as of any output of integers: along the edges
of what is there two classes are near to each other, and rounding decides."""


@dataclass(frozen=True, slots=True)
class Area:
    """A class, and the share of the image that it has, from 0 to 1."""

    index: int
    label: str | None
    share: float

    @property
    def name(self) -> str:
        """The class as people call it."""
        return self.label or f"class {self.index}"


@dataclass(frozen=True, slots=True)
class Segmentation(Prediction):
    """What an image consists of, the largest first.

    Attributes:
        mask: a class for each pixel of the image, (height, width); `edgekit.core.IGNORE` where
            the network saw nothing of it. It is no part of JSON data.
    """

    classes: tuple[Area, ...]
    mask: NDArray[np.uint8] | None = field(default=None, compare=False, metadata=APART)


class Segment(OutputsOfClasses):
    """The task of networks with a score of each class for each pixel.

    The output ``scores`` is (classes, height, width), the highest one wins; a single class is there
    where its score is above 0. Instead there may be ``classes`` (height, width), whole numbers.

    Args:
        described: of its parameters none counts.
    """

    name = "segment"
    headline, title, labelled, truth = "miou", "mean IoU", True, MASK_TRUTH

    def __init__(self, described: Described) -> None:
        super().__init__(described)
        self._scores = output_of(described.interface, "scores")
        self._of = output_of(described.interface, "classes")

    def check_meaning(self) -> None:
        """Refuses outputs that are no masks."""
        of_scores = self._scores is not None and len(self._scores.shape) == 4
        of_classes = self._of is not None and len(self._of.shape) == 3
        if not (of_scores or of_classes):
            raise ModelError(
                f"'{self._source}' gives {told(self._interface)}: a network of the task "
                f"{self.name} gives 'scores' (1, classes, height, width); name its output so, or "
                f"open it with --task tensors"
            )

    @property
    def _classes(self) -> int:
        if self._scores is None:
            return len(self._labels or ())
        return max(2, self._scores.shape[1])

    def masks(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """The class of each pixel of the network's output, (n, height, width).

        Args:
            rows: (n, numbers).
        """
        if self._of is not None and len(self._of.shape) == 3:
            own = rows[:, self._interface.columns[self._of.name]]
            said = own.reshape(len(rows), *self._of.shape[1:]).round()
            found: NDArray[np.uint8] = np.clip(said, 0, IGNORE).astype(np.uint8)
            return found
        assert self._scores is not None
        own = rows[:, self._interface.columns[self._scores.name]]
        scores = own.reshape(len(rows), *self._scores.shape[1:])
        if scores.shape[1] == 1:
            found = (scores[:, 0] > 0).astype(np.uint8)
        else:
            found = scores.argmax(axis=1).astype(np.uint8)
        return found

    def metric(self, source: ImageSource) -> Overlaps:
        """Mean intersection over union.

        Raises:
            DataError: a class of the source is none of the network's.
        """
        from edgekit.tasks.segment_figures import Overlaps

        return Overlaps(self, self._outputs_of(source), self._names(source))

    def decode(self, rows: NDArray[Any], image: str, frame: Frame, most: int) -> Segmentation:
        """The largest classes, and the mask in pixels of the image."""
        mask = in_image(self.masks(rows)[0], frame)
        seen = mask[mask != IGNORE]
        values, counts = np.unique(seen, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:most]
        areas = (
            Area(int(values[i]), classes.name_of(self._labels, int(values[i])),
                 float(counts[i] / len(seen)))
            for i in order
        )  # fmt: skip
        return Segmentation(image, tuple(areas), mask)

    def aim(self, rows: NDArray[Any], frame: Frame, wanted: str | None) -> Aim:
        """The mean score of a class over its pixels, or over all where it has none.

        By default it is the class with most pixels.

        Raises:
            UnknownNameError: there is no such class.
            ModelError: there are no scores, only classes.
        """
        if self._scores is None:
            raise ModelError(
                f"'{self._source}' gives the class of each pixel without a score, which nothing "
                f"can be said about: expected 'scores' (1, classes, height, width)"
            )
        mask = self.masks(rows)[0]
        index = int(np.bincount(mask.ravel()).argmax())
        if wanted is not None:
            index = class_named(wanted, self._labels, self._classes)
        own = mask == index if (mask == index).any() else np.ones_like(mask, bool)
        share = np.zeros(self._scores.shape[1:], np.float32)
        # A single column speaks for the second class, and against the first one.
        single = len(share) == 1
        share[0 if single else index][own] = (-1 if single and index == 0 else 1) / own.sum()
        weights = np.zeros(rows.shape[1], np.float32)
        weights[self._interface.columns[self._scores.name]] = share.ravel()
        return Aim(weights, index, classes.name_of(self._labels, index), None)

    def shown(self, prediction: Segmentation) -> list[str]:
        """The image, and a line with a bar for each class."""
        lines = [prediction.image]
        for one in prediction.classes:
            bar = "█" * round(one.share * 30)
            lines.append(f"  {one.share:7.2%}  {one.name:20.40}  {bar}".rstrip())
        return lines

    def draw(self, pixels: Pixels, prediction: Segmentation) -> Pixels:
        """The image under the colours of its classes, and what each stands for."""
        assert prediction.mask is not None, "a prediction from a file has no mask"
        return drawing.coloured(
            pixels,
            prediction.mask,
            [f"{one.share:.1%}  {one.name}" for one in prediction.classes],
            [one.index for one in prediction.classes],
        )

    def labels_for(self, source: ImageSource) -> tuple[str, ...]:
        """See `OutputsOfClasses`.

        Raises:
            DataError: there is nothing to tell apart.
        """
        names = self.truth.classes(source)
        if len(names) < 2:
            raise DataError(
                f"the masks of '{source.name}' have one class, '{shown(names[0])}': expected two "
                f"or more to tell apart; add one, such as 'background'"
            )
        return super().labels_for(source)

    def objective(self, model: Model) -> Objective:
        """Masks, by scores of several classes.

        Raises:
            ModelError: the network gives none.
        """
        from edgekit.tasks.mask_losses import OfMasks

        if self._scores is None or len(self._scores.shape) != 4 or self._scores.shape[1] < 2:
            raise ModelError(
                f"'{model.source}' gives {told(self._interface)}: only 'scores' (1, classes, "
                f"height, width) of two classes or more can be learned"
            )
        _, count, height, width = self._scores.shape
        return OfMasks(count, (height, width))

    def agreement(
        self, reference: NDArray[Any], outputs: NDArray[Any], precision: str
    ) -> Agreement:
        """Signal to noise, and the share of pixels of the same class."""
        found = super().agreement(reference, outputs, precision)
        if self._scores is None or len(self._scores.shape) != 4:
            return found  # classes are integers, which are compared so already
        alike = self.followed(reference, outputs)
        return with_meaning(found, "pixels", alike, precision, LEAST_ALIKE)

    def decided_alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether nearly all pixels are of the same class."""
        found: NDArray[np.bool_] = self._alike(a, b) >= LEAST_ALIKE["fp32"]
        return found

    def followed(self, reference: NDArray[Any], outputs: NDArray[Any]) -> float:
        """Share of pixels of the same class."""
        return float(self._alike(reference, outputs).mean())

    def _alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
        """Share of pixels of the same class by image, (n,)."""
        same = [
            np.mean(self.masks(np.nan_to_num(x[None])) == self.masks(np.nan_to_num(y[None])))
            for x, y in zip(a, b, strict=True)
        ]
        return np.array(same, np.float64)


def in_image(mask: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """A mask of a network's input, of any size, in pixels of the image that it was made of.

    Returns:
        (height, width) of the image; each pixel has the class of where its middle lies.
    """
    height, width = frame.size
    place = geometry(height, width, frame.preprocessing)
    left, top, right, bottom = place.box
    tall, wide = frame.preprocessing.size
    axes = (
        (height, top, bottom, place.top, place.height, tall, mask.shape[0]),
        (width, left, right, place.left, place.width, wide, mask.shape[1]),
    )
    places = []
    for side, first, last, offset, seen_of, whole, cells in axes:
        at = offset + (np.arange(side) + 0.5 - first) * seen_of / (last - first)
        found = np.floor(at * cells / whole).astype(np.intp)
        places.append((np.clip(found, 0, cells - 1), (at >= 0) & (at < whole)))
    (rows, tall_seen), (columns, wide_seen) = places
    seen = tall_seen[:, None] & wide_seen[None, :]
    return np.where(seen, mask[rows[:, None], columns[None, :]], np.uint8(IGNORE))
