"""From pixels of an image to those of a network's input, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.preprocessing import Preprocessing, pair
from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """Which part of an image is shown where in the finished one, in pixels.

    Attributes:
        box: left, top, right and bottom edge of the part of the image.
        height: of the part in the finished image.
        width: of the same.
        top: rows of the finished image above it.
        left: columns of the finished image beside it.
    """

    box: tuple[float, float, float, float]
    height: int
    width: int
    top: int = 0
    left: int = 0

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """A point of the finished image in pixels of the image; not limited to its edges."""
        left, top, right, bottom = self.box
        return (
            left + (x - self.left) * (right - left) / self.width,
            top + (y - self.top) * (bottom - top) / self.height,
        )


def geometry(height: int, width: int, preprocessing: Preprocessing) -> Geometry:
    """Where an image goes; ``docs/preprocessing.md`` has the rules in words.

    All sizes are rounded half up in integers.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        preprocessing: one that can be carried out; see `edgekit.data.preprocess.check`.

    Raises:
        DataError: the image, or the image after resizing, is smaller than the crop.
    """
    p = preprocessing
    tall, wide = p.size
    if p.fit == "letterbox":
        by_height = tall * width <= wide * height
        part, whole = (tall, height) if by_height else (wide, width)
        new_height, new_width = (
            max(1, in_proportion(side, part, whole)) for side in (height, width)
        )
        box = (0.0, 0.0, float(width), float(height))
        return Geometry(
            box, new_height, new_width, (tall - new_height) // 2, (wide - new_width) // 2
        )
    if p.resize is None and p.fit == "crop":
        new_height, new_width, after = height, width, ""
    else:
        least_height, least_width = pair(p.crop if p.resize is None else p.resize)
        new_height, new_width = least_height, least_width
        after = f" after resizing to {new_width} x {new_height} px"
        if p.fit == "crop":
            by_height = least_height * width >= least_width * height
            part, whole = (least_height, height) if by_height else (least_width, width)
            new_height, new_width = (in_proportion(side, part, whole) for side in (height, width))
            if least_height == least_width:
                after = f" after resizing its shorter side to {p.resize} px"
    if min(new_height - tall, new_width - wide) < 0:
        raise DataError(
            f"image of {width} x {height} px{after} is smaller than the crop of {wide} x {tall} "
            f"px: give a larger image, or a preprocessing that resizes to at least the crop"
        )
    top, bottom = crop_edges(height, new_height, tall)
    left, right = crop_edges(width, new_width, wide)
    return Geometry((left, top, right, bottom), tall, wide)


def in_proportion(side: int, part: int, whole: int) -> int:
    """``side * part / whole``, rounded half up."""
    return (2 * side * part + whole) // (2 * whole)


def crop_edges(side: int, resized: int, crop: int) -> tuple[float, float]:
    """The edges of the middle along one axis, in pixels of the image before it is resized."""
    offset = (resized - crop) // 2
    return offset * side / resized, (offset + crop) * side / resized


def to_frame(
    corners: NDArray[Any], size: tuple[int, int], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Boxes in pixels of an image, as they lie in the network's input; not clipped to it.

    Args:
        corners: (..., 4).
        size: height and width of the image.

    Raises:
        DataError: the image is too small for the preprocessing.
    """
    scale, offset = _line(size, preprocessing)
    found: NDArray[np.float32] = (corners * scale + offset).astype(np.float32)
    return found


def to_image(
    corners: NDArray[Any], size: tuple[int, int], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Boxes in the network's input, in pixels of the image; not clipped to it.

    Args:
        corners: (..., 4).
        size: height and width of the image.

    Raises:
        DataError: the image is too small for the preprocessing.
    """
    scale, offset = _line(size, preprocessing)
    found: NDArray[np.float32] = ((corners - offset) / scale).astype(np.float32)
    return found


def _line(
    size: tuple[int, int], preprocessing: Preprocessing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and offset from image to frame, of x, y, x, y."""
    place = geometry(size[0], size[1], preprocessing)
    left, top, right, bottom = place.box
    across, down = place.width / (right - left), place.height / (bottom - top)
    scale = np.array([across, down] * 2)
    return scale, np.array([place.left, place.top] * 2) - scale * np.array([left, top] * 2)
