"""How much boxes overlap.

Boxes are rows of x0, y0, x1, y1: left, upper, right and lower edge, so that a width is x1 - x0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def area(corners: NDArray[Any]) -> NDArray[Any]:
    """Areas of boxes (..., 4), of shape (...); 0 where the edges are the wrong way round."""
    sides = np.maximum(corners[..., 2:] - corners[..., :2], 0)
    found: NDArray[Any] = sides[..., 0] * sides[..., 1]
    return found


def shared_area(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Area that each box of ``a`` (n, 4) has in common with each of ``b`` (m, 4), (n, m)."""
    x0, y0, x1, y1 = (a[:, i, None] for i in range(4))
    left, top, right, bottom = (b[None, :, i] for i in range(4))
    width = np.minimum(x1, right)
    width -= np.maximum(x0, left)
    height = np.minimum(y1, bottom)
    height -= np.maximum(y0, top)
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    found: NDArray[Any] = width
    return found


def iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of each box of ``a`` (n, 4) with each of ``b`` (m, 4).

    Returns:
        (n, m), from 0 to 1; 0 for two boxes without area, where others say not a number.
    """
    a, b = _floats(a), _floats(b)
    inter = shared_area(a, b)
    union = area(a)[:, None] + area(b)[None, :]
    union -= inter
    found: NDArray[Any] = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return found


def _floats(corners: NDArray[Any]) -> NDArray[Any]:
    """Integers would wrap, or be divided without a remainder."""
    corners = np.asarray(corners)
    return corners if corners.dtype.kind == "f" else corners.astype(np.float64)
