"""What losses have to know of a detection head; plain data, which goes to other processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class AnchorCoding:
    """Boxes as differences from anchors.

    Attributes:
        anchors: x and y of the centre, width and height in pixels, (anchors, 4).
        background: whether scores are a softmax, whose first logit in training is that of nothing.
    """

    anchors: NDArray[Any] = field(compare=False)
    background: bool


@dataclass(frozen=True, slots=True)
class CellCoding:
    """Boxes of the cells of grids.

    Attributes:
        cells: x and y of the middle of the cell, its stride, width and height of the prior of
            each box, in pixels, (boxes, 5).
        aligned: whether the boxes that answer for an object are those that find it best already
            (V8); else one box of the cell that its centre lies in does.
        priors: whether that is the one whose prior has the most similar sides (V2, V3); else the
            one that overlaps most (V1).
        objectness: whether scores are products with a probability that there is anything, whose
            logit comes first in training.
        overlap: whether that probability is to be the overlap with the object; else 1.
        softmax: whether classes exclude each other.
        ignored: overlap from which on a box that does not answer for an object is not told that
            there is nothing.
        size: height and width of the image in pixels.
    """

    cells: NDArray[Any] = field(compare=False)
    aligned: bool
    priors: bool
    objectness: bool
    overlap: bool
    softmax: bool
    ignored: float
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RegionCoding:
    """Boxes of regions, and in training those of the anchors that regions come from behind them.

    Attributes:
        regions: of an image.
        anchors: corners in pixels, (anchors, 4); none where regions are given.
        each: boxes of a region: one, or as many as classes, each with a score of its own class
            only.
    """

    regions: int
    anchors: NDArray[Any] = field(compare=False)
    each: int = 1


Coding = AnchorCoding | CellCoding
