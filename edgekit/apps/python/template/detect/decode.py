"""What the outputs of a detector mean: which boxes stay, and where in the image they are."""

from typing import NamedTuple, Optional

import numpy as np

from .preprocess import placed
from .suppress import select

DEFAULTS = {"score_threshold": 0.3, "nms_iou": 0.5, "max_detections": 100}
"""Where the contract says nothing else: least score of an object, overlap from where on two boxes
of a class are one object, and objects of an image at most."""


class Detection(NamedTuple):
    """An object: left, upper, right and lower edge in pixels of the image, its class, that class's
    name where it has one, and how sure the network is, from 0 to 1.
    """

    box: tuple[float, float, float, float]
    index: int
    label: Optional[str]
    probability: float

    @property
    def name(self):
        """The class as people call it."""
        return self.label or f"class {self.index}"


def decode(outputs, contract, size):
    """The objects in an image, the surest first: a list of ``Detection``.

    Args:
        outputs: ``boxes`` (n, 4) in pixels of the network's input and ``scores`` (n, classes); or,
            where the network itself chose among boxes, ``scores`` (n) and ``classes`` (n).
        size: height and width of the image.
    """
    settings = {**DEFAULTS, **contract["parameters"]}
    corners, scores = outputs["boxes"], outputs["scores"]
    least, most = settings["score_threshold"], int(settings["max_detections"])
    if "classes" in outputs:
        kept = np.flatnonzero((scores >= least) & (scores > 0))
        kept = kept[np.argsort(-scores[kept], kind="stable")][:most]
        corners, scores = corners[kept], scores[kept]
        classes = np.rint(outputs["classes"][kept]).astype(int)
    else:
        corners, classes, scores = select(
            corners, scores, score_threshold=least, overlap=settings["nms_iou"], most=most
        )
    corners = in_image(corners, size, contract["preprocessing"])
    names = contract["labels"] or ()
    return [
        Detection(
            tuple(map(float, box)), int(i), names[i] if i < len(names) else None, float(score)
        )
        for box, i, score in zip(corners, classes, scores)
        if box[2] > box[0] and box[3] > box[1]
    ]


def in_image(corners, size, how):
    """Boxes of the network's input in pixels of the image, cut at its edges.

    Args:
        corners: (n, 4).
        size: height and width of the image.
        how: ``preprocessing`` of the contract.
    """
    (left, top, right, bottom), (tall, wide), (row, column) = placed(size, how)
    across, down = wide / (right - left), tall / (bottom - top)
    scale = np.array([across, down] * 2)
    offset = np.array([column, row] * 2) - scale * np.array([left, top] * 2)
    found = ((corners - offset) / scale).astype(np.float32)
    height, width = size
    return np.clip(found, np.float32(0), np.array([width, height] * 2, np.float32))
