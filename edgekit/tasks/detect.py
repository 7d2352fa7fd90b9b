"""Which objects are where in an image: boxes, and a score for each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit import boxes
from edgekit.boxes import Selected
from edgekit.core import Agreement, Parameter
from edgekit.data.truths import BOX_TRUTH
from edgekit.errors import ModelError
from edgekit.tasks import Aim, Described, Frame, Prediction, class_named, classes, drawing
from edgekit.tasks.raw import OutputsOfClasses, output_of, told, with_meaning

if TYPE_CHECKING:
    from edgekit.core import ImageSource, Pixels
    from edgekit.models.model import Model
    from edgekit.tasks.detect_figures import FoundObjects
    from edgekit.tasks.objectives import Objective

DEFAULTS = {"score_threshold": 0.3, "nms_iou": 0.5, "max_detections": 100}
"""Of the task's parameters: least score of what is told to people and apps, overlap from where on
two boxes of a class are one object, and boxes of an image at most (COCO's number)."""

COUNTED = 0.01
"""Least score of what figures count. They go by the order of scores, so that boxes of low ones
only add; below this one they no longer show in a mean over 101 places."""

SAME = 0.5
"""Least overlap of two boxes that are of the same object."""


@dataclass(frozen=True, slots=True)
class Detection:
    """An object.

    Attributes:
        box: left, upper, right and lower edge in pixels of the image.
        index: of its class.
        probability: how sure the network is, from 0 to 1.
    """

    box: tuple[float, float, float, float]
    index: int
    label: str | None
    probability: float

    @property
    def name(self) -> str:
        """The class as people call it."""
        return self.label or f"class {self.index}"


@dataclass(frozen=True, slots=True)
class Detections(Prediction):
    """The objects of one image, the surest first."""

    boxes: tuple[Detection, ...]


class Detect(OutputsOfClasses):
    """The task of networks with boxes and a score of each class for each.

    Outputs are ``boxes`` (anchors, 4), corners in pixels of the network's input, and ``scores``
    (anchors, classes), from 0 to 1. Where suppression is part of the network, a third one,
    ``classes`` (anchors), has one class for each box, and ``scores`` one number.

    Args:
        described: its parameters may have those of `DEFAULTS`.
    """

    name = "detect"
    headline, title, labelled, truth = "map", "mAP", True, BOX_TRUTH

    def __init__(self, described: Described) -> None:
        super().__init__(described)
        self._boxes = output_of(described.interface, "boxes")
        self._scores = output_of(described.interface, "scores")
        self._of = output_of(described.interface, "classes")
        self._set = settings(described.parameters, described.source)

    def check_meaning(self) -> None:
        """Refuses outputs that are no boxes with scores."""
        if self._boxes is None or self._scores is None:
            self._refuse()
        assert self._boxes is not None
        assert self._scores is not None
        count = self._boxes.shape[-2] if len(self._boxes.shape) > 1 else 0
        whole = (1, count) if self._of is not None else (1, count, self._scores.shape[-1])
        if self._boxes.shape != (1, count, 4) or self._scores.shape != whole:
            self._refuse()

    def _refuse(self) -> None:
        raise ModelError(
            f"'{self._source}' gives {told(self._interface)}: a network of the task {self.name} "
            f"gives 'boxes' (1, n, 4) in pixels of its input and 'scores' (1, n, classes) from 0 "
            f"to 1; name its outputs so, or open it with --task tensors"
        )

    @property
    def _classes(self) -> int:
        """Classes that the network tells apart; of a network that gives one a box, as named."""
        if self._of is not None:
            return len(self._labels or ())
        assert self._scores is not None
        return int(self._scores.shape[-1])

    @property
    def threshold(self) -> float:
        """Least score of what is told to people and apps."""
        return self._set["score_threshold"]

    def objects(self, row: NDArray[Any], least: float | None = None) -> Selected:
        """Boxes of one image behind suppression, in pixels of the network's input.

        Args:
            row: outputs for the image, (numbers,).
            least: score; that of the network's parameters by default.
        """
        assert self._boxes is not None
        assert self._scores is not None
        columns = self._interface.columns
        corners = row[columns[self._boxes.name]].reshape(-1, 4)
        scores = row[columns[self._scores.name]].reshape(len(corners), -1)
        threshold = self._set["score_threshold"] if least is None else least
        most = int(self._set["max_detections"])
        if self._of is None:
            return boxes.select(
                corners, scores,
                score_threshold=threshold, overlap=self._set["nms_iou"], most=most,
            )  # fmt: skip
        own = scores[:, 0]
        # What is left of a fixed number of boxes has no score.
        kept = np.flatnonzero((own >= threshold) & (own > 0))
        kept = kept[np.argsort(-own[kept], kind="stable")][:most]
        of = row[columns[self._of.name]][kept].round().astype(np.intp)
        return Selected(corners[kept], of, own[kept])

    def metric(self, source: ImageSource) -> FoundObjects:
        """Mean average precision as COCO defines it.

        Raises:
            DataError: a class of the source is none of the network's.
        """
        from edgekit.tasks.detect_figures import FoundObjects

        return FoundObjects(self, self._outputs_of(source), self._names(source))

    def decode(self, rows: NDArray[Any], image: str, frame: Frame, most: int) -> Detections:
        """Objects whose score is at least the threshold, within the image.

        Args:
            most: is of no matter: an image has as many objects as it has.
        """
        found = self.objects(rows[0])
        corners = boxes.to_image(found.corners, frame.size, frame.preprocessing)
        corners = boxes.clip(corners, frame.size)
        objects = (
            Detection(
                (float(x0), float(y0), float(x1), float(y1)),
                int(index),
                classes.name_of(self._labels, int(index)),
                float(score),
            )
            for (x0, y0, x1, y1), index, score in zip(
                corners, found.classes, found.scores, strict=True
            )
            if x1 > x0 and y1 > y0
        )
        return Detections(image, tuple(objects))

    def aim(self, rows: NDArray[Any], frame: Frame, wanted: str | None) -> Aim:
        """The highest score, of all boxes or of those of one class.

        Raises:
            UnknownNameError: there is no such class.
        """
        assert self._boxes is not None
        assert self._scores is not None
        columns = self._interface.columns
        corners = rows[0, columns[self._boxes.name]].reshape(-1, 4)
        scores = rows[0, columns[self._scores.name]].reshape(len(corners), -1)
        of = None if self._of is None else rows[0, columns[self._of.name]].round()
        among = scores
        index = None if wanted is None else class_named(wanted, self._labels, self._classes)
        if index is not None:
            here = np.arange(self._classes) == index if of is None else (of == index)[:, None]
            among = np.where(here, scores, -1.0)
        place, column = divmod(int(among.argmax()), scores.shape[1])
        if index is None:
            index = column if of is None else int(of[place])
        weights = np.zeros(rows.shape[1], np.float32)
        weights[columns[self._scores.name].start + place * scores.shape[1] + column] = 1
        found = boxes.to_image(corners[place], frame.size, frame.preprocessing)
        x0, y0, x1, y1 = map(float, boxes.clip(found, frame.size))
        label, score = classes.name_of(self._labels, index), float(scores[place, column])
        return Aim(weights, index, label, score, (x0, y0, x1, y1))

    def shown(self, prediction: Detections) -> list[str]:
        """The image, and a line for each object."""
        lines = [prediction.image]
        for one in prediction.boxes:
            x0, y0, x1, y1 = one.box
            place = f"{x0:.0f}, {y0:.0f} to {x1:.0f}, {y1:.0f} px"
            lines.append(f"  {one.probability:7.2%}  {one.name:30.30}  {place}")
        if not prediction.boxes:
            lines.append(f"  nothing with a score of {self._set['score_threshold']:g} or more")
        return lines

    def draw(self, pixels: Pixels, prediction: Detections) -> Pixels:
        """The image with a frame around each object."""
        return drawing.framed(
            pixels,
            [one.box for one in prediction.boxes],
            [f"{one.name} {one.probability:.0%}" for one in prediction.boxes],
            [one.index for one in prediction.boxes],
        )

    def objective(self, model: Model) -> Objective:
        """The loss of the network's head; see `edgekit.tasks.box_losses`.

        Raises:
            ModelError: it has none that edgekit knows what to learn from.
        """
        from edgekit.tasks.box_losses import objective_of

        return objective_of(model.module, self._classes, model.source)

    def agreement(
        self, reference: NDArray[Any], outputs: NDArray[Any], precision: str
    ) -> Agreement:
        """Signal to noise of each output, and the share of images with the same objects."""
        found = super().agreement(reference, outputs, precision)
        if self._boxes is None or self._scores is None:
            return found
        alike = float(self.decided_alike(reference, outputs).mean())
        return with_meaning(found, "objects", alike, precision)

    def decided_alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the same objects are found.

        Each object of one has one of the other of the same class that overlaps by `SAME`. One
        whose score is within a twentieth of the threshold may be missing: rounding decides there.
        """
        if self._boxes is None or self._scores is None:
            return np.ones(len(a), bool)
        pairs = zip(map(self._known, a), map(self._known, b), strict=True)
        return np.array([self._covers(x, y) and self._covers(y, x) for x, y in pairs], bool)

    def _known(self, row: NDArray[Any]) -> Selected:
        return self.objects(np.nan_to_num(row), 0.95 * self._set["score_threshold"])

    def _covers(self, a: Selected, b: Selected) -> bool:
        """Whether ``b`` has each object of ``a`` that is above the threshold."""
        sure = a.scores >= self._set["score_threshold"] / 0.95
        return bool(_shared(a, b)[sure].any(axis=1).all())

    def followed(self, reference: NDArray[Any], outputs: NDArray[Any]) -> float:
        """Objects that both find, over the mean of those that either finds; see `SAME`.

        Where the network finds none, it is as of tensors.
        """
        both = either = 0
        for a, b in zip(map(self._known, reference), map(self._known, outputs), strict=True):
            same = _shared(a, b)
            both += int(same.any(axis=1).sum()) + int(same.any(axis=0).sum())
            either += len(a.scores) + len(b.scores)
        return both / either if either else super().followed(reference, outputs)


def _shared(a: Selected, b: Selected) -> NDArray[np.bool_]:
    """Which objects of both are the same, (a, b)."""
    found: NDArray[np.bool_] = boxes.iou(a.corners, b.corners) >= SAME
    found &= a.classes[:, None] == b.classes[None, :]
    return found


def settings(parameters: Any, source: str) -> dict[str, float]:
    """The task's parameters of a network, with `DEFAULTS` for others.

    Raises:
        ModelError: one cannot be.
    """
    found: dict[str, float] = {}
    for name, default in DEFAULTS.items():
        value: Parameter = parameters.get(name, default)
        least, most = (1, 10_000) if name == "max_detections" else (0, 1)
        if isinstance(value, str | tuple | bool) or not least <= value <= most:
            raise ModelError(
                f"parameter '{name}' of '{source}' is {value!r}: expected a number from {least} "
                f"to {most}"
            )
        found[name] = value
    return found
