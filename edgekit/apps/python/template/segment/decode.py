"""What the outputs of a segmenter mean: a class for each pixel of the image."""

from typing import Any, NamedTuple, Optional

import numpy as np

from .preprocess import placed

UNSEEN = 255
"""In a mask: pixels that the network saw nothing of."""


class Area(NamedTuple):
    """A class, its name where it has one, and its share of what was seen, from 0 to 1."""

    index: int
    label: Optional[str]
    share: float

    @property
    def name(self):
        """The class as people call it."""
        return self.label or f"class {self.index}"


class Segmentation(NamedTuple):
    """A class for each pixel, uint8 (height, width), and the areas of all, the largest first."""

    mask: Any
    classes: list[Area]


def classes_of(outputs):
    """The class of each cell of the network's output, (height, width).

    Args:
        outputs: ``scores`` (classes, height, width), of which a single one is there where it is
            above 0; or ``classes`` (height, width).
    """
    if "classes" in outputs:
        return np.clip(np.rint(outputs["classes"]), 0, UNSEEN).astype(np.uint8)
    scores = outputs["scores"]
    return (scores[0] > 0 if len(scores) == 1 else scores.argmax(axis=0)).astype(np.uint8)


def decode(cells, contract, size):
    """What an image consists of.

    Args:
        cells: see ``classes_of``.
        size: height and width of the image.
    """
    mask = in_image(cells, size, contract["preprocessing"])
    values, counts = np.unique(mask[mask != UNSEEN], return_counts=True)
    names = contract["labels"] or ()
    classes = [
        Area(int(i), names[i] if i < len(names) else None, float(count / counts.sum()))
        for i, count in zip(values, counts)
    ]
    return Segmentation(mask, sorted(classes, key=lambda area: -area.share))


def in_image(cells, size, how):
    """A mask in pixels of the image: each has the class of where its middle lies.

    Args:
        cells: (height, width), of any size; they cover the network's input.
        size: height and width of the image.
        how: ``preprocessing`` of the contract.
    """
    (left, top, right, bottom), (tall, wide), (row, column) = placed(size, how)
    crop = how["crop"]
    whole = (crop, crop) if isinstance(crop, int) else crop
    places = []
    for side, first, last, offset, shown, full, count in (
        (size[0], top, bottom, row, tall, whole[0], cells.shape[0]),
        (size[1], left, right, column, wide, whole[1], cells.shape[1]),
    ):
        at = offset + (np.arange(side) + 0.5 - first) * shown / (last - first)
        found = np.floor(at * count / full).astype(int)
        places.append((np.clip(found, 0, count - 1), (at >= 0) & (at < full)))
    (rows, down), (columns, across) = places
    seen = down[:, None] & across[None, :]
    return np.where(seen, cells[rows[:, None], columns[None, :]], np.uint8(UNSEEN))
