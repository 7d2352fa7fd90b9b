"""Boxes as differences from anchors, as networks learn them.

Faster R-CNN (arXiv:1506.01497) and SSD (arXiv:1512.02325) code them so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARIANCES = (0.1, 0.1, 0.2, 0.2)
"""What differences are divided by: SSD's, in the authors' code (``variance`` of their prior boxes).
Faster R-CNN's box head has the same ones, its region proposals have none (1, 1, 1, 1)."""

MOST_GROWTH = math.log(1000 / 16)
"""Largest logarithm of a side over that of its anchor that `decode` takes, so that a wild network
gives no infinite box; the value of the authors' code of Faster R-CNN."""


def encode(
    corners: NDArray[Any], anchors: NDArray[Any], variances: Sequence[float] = VARIANCES
) -> NDArray[Any]:
    """Differences of boxes from anchors.

    Args:
        corners: (..., 4), with area.
        anchors: (..., 4), as many, with area.
        variances: of x, y, width and height.

    Returns:
        (..., 4): of the middle in sides of the anchor, and logarithms of the ratios of the sides,
        each over its variance.
    """
    (x, y, width, height), (ax, ay, awidth, aheight) = _middles(corners), _middles(anchors)
    deltas = (
        (x - ax) / awidth,
        (y - ay) / aheight,
        np.log(width / awidth),
        np.log(height / aheight),
    )
    return np.stack([delta / v for delta, v in zip(deltas, variances)], axis=-1)


def decode(
    deltas: NDArray[Any],
    anchors: NDArray[Any],
    variances: Sequence[float] = VARIANCES,
    *,
    most: float = MOST_GROWTH,
) -> NDArray[Any]:
    """Boxes from their differences: what `encode` undoes.

    Args:
        deltas: (..., 4).
        anchors: (..., 4), which are the same for every image where there are more deltas.
        variances: as they were encoded with.
        most: see `MOST_GROWTH`.

    Returns:
        Corners, of the shape of ``deltas``.
    """
    ax, ay, awidth, aheight = _middles(anchors)
    dx, dy, dwidth, dheight = (deltas[..., i] * v for i, v in enumerate(variances))
    x, y = dx * awidth + ax, dy * aheight + ay
    half_width = np.exp(np.minimum(dwidth, most)) * awidth / 2
    half_height = np.exp(np.minimum(dheight, most)) * aheight / 2
    return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)


def clip(corners: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Boxes within an image.

    Args:
        corners: (..., 4).
        size: height and width of the image.
    """
    height, width = size
    least = np.zeros(4, corners.dtype)
    most = np.array([width, height, width, height], corners.dtype)
    found: NDArray[Any] = np.clip(corners, least, most)
    return found


def _middles(corners: NDArray[Any]) -> tuple[Any, Any, Any, Any]:
    """Middle, width and height."""
    x0, y0, x1, y1 = (corners[..., i] for i in range(4))
    width, height = x1 - x0, y1 - y0
    return x0 + width / 2, y0 + height / 2, width, height
