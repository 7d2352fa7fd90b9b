"""What is where in an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

IGNORE = 255
"""Pixels of a mask that count neither as right nor as wrong."""


class Boxes(NamedTuple):
    """The objects of one image.

    Attributes:
        corners: float32 (n, 4), x0, y0, x1, y1 in pixels of the image as its source decodes it;
            x1 and y1 are the right and lower edge, so that the width is x1 - x0.
        classes: int64 (n,), indices of the source's classes.
        size: height and width of that image.
        crowd: bool (n,), whether a box is around several objects that nobody told apart. A
            detection inside of it is neither right nor wrong.
    """

    corners: NDArray[Any]
    classes: NDArray[Any]
    size: tuple[int, int]
    crowd: NDArray[Any]
