"""The resampling of 8-bit images in NumPy: a reference that an app can be written after.

edgekit itself resamples with Pillow (see `edgekit.data.preprocess`); this gives the same integers.
It is written to be ported line by line, not to be fast. ``docs/preprocessing.md`` explains the
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PRECISION_BITS = 22
"""Bits behind the point of a weight. With 8 bits of a pixel that leaves two of 32, for sums that
overshoot and for the sign."""


class Filter(NamedTuple):
    """A filter and how far it reaches.

    Attributes:
        reach: distance in pixels beyond which ``weight`` is 0.
        weight: of a pixel at a signed distance.
    """

    reach: float
    weight: Callable[[float], float]


def _area(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _bicubic(x: float) -> float:
    """Keys' cubic with a = -0.5 (IEEE Transactions ASSP 29(6), 1981, equation 15)."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


FILTERS = {
    "area": Filter(0.5, _area),
    "bilinear": Filter(1.0, _bilinear),
    "bicubic": Filter(2.0, _bicubic),
}


def resample(
    image: NDArray[np.uint8],
    height: int,
    width: int,
    box: tuple[float, float, float, float] | None = None,
    interpolation: str = "bilinear",
) -> NDArray[np.uint8]:
    """Resamples a part of an image: its width first, then its height.

    Args:
        image: shape (rows, columns) or (rows, columns, channels), which do not mix.
        height: of the result, pixels.
        width: of the result, pixels.
        box: left, top, right and bottom edge of the part, in pixels; all of it by default.
            Edges may lie inside pixels. Pixels outside count where the filter reaches them.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``area``.

    Returns:
        Shape (height, width) or (height, width, channels).
    """
    left, top, right, bottom = box or (0, 0, image.shape[1], image.shape[0])
    narrow = resample_rows(image.swapaxes(0, 1), width, left, right, interpolation)
    return resample_rows(narrow.swapaxes(0, 1), height, top, bottom, interpolation)


def resample_rows(
    image: NDArray[np.uint8], count: int, first: float, last: float, interpolation: str
) -> NDArray[np.uint8]:
    """One pass: so many rows in the place of those between two edges.

    Args:
        image: shape (rows, ...).
        count: rows of the result.
        first: upper edge, in rows.
        last: lower edge, in rows.

    Returns:
        Shape (count, ...).
    """
    rows = len(image)
    if (first, last) == (0, rows) and count == rows:
        return image.copy()
    if interpolation == "nearest":
        return image[nearest_rows(rows, count, first, last)]
    found = np.empty((count, *image.shape[1:]), np.uint8)
    for row in range(count):
        begin, weights = row_weights(rows, count, first, last, FILTERS[interpolation], row)
        total = np.full(image.shape[1:], 1 << (PRECISION_BITS - 1), np.int32)  # a half
        for source, weight in enumerate(weights, begin):
            total += image[source].astype(np.int32) * np.int32(weight)
        found[row] = np.clip(total >> PRECISION_BITS, 0, 255)
    return found


def row_weights(
    rows: int, count: int, first: float, last: float, filter_: Filter, row: int
) -> tuple[int, list[int]]:
    """Which rows make one row of the result, and how much of each.

    Args:
        rows: of the image.
        count: rows of the result.
        first: upper edge, in rows.
        last: lower edge, in rows.
        row: of the result.

    Returns:
        The first of those rows, and the weights from there on, each times 2 to the power of
        `PRECISION_BITS`.
    """
    start, step = _start_and_step(count, first, last)
    stretch = max(step, 1.0)  # a filter widens where it shrinks an image, and narrows nowhere
    reach = filter_.reach * stretch
    centre = start + (row + 0.5) * step
    begin = max(int(centre - reach + 0.5), 0)
    end = min(int(centre + reach + 0.5), rows)
    per_pixel = 1.0 / stretch
    shares = [filter_.weight((source - centre + 0.5) * per_pixel) for source in range(begin, end)]
    total = 0.0
    for share in shares:  # one after the other: `sum` has other last bits
        total += share
    return begin, [_half_away_from_zero(share / total * 2**PRECISION_BITS) for share in shares]


def nearest_rows(rows: int, count: int, first: float, last: float) -> list[int]:
    """Which row of an image stands for each row of the result; see `row_weights`."""
    start, step = _start_and_step(count, first, last)
    place = start + step * 0.5
    found = []
    for _ in range(count):
        found.append(min(int(place), rows - 1))
        place += step  # added up: a product has other last bits
    return found


def _start_and_step(count: int, first: float, last: float) -> tuple[float, float]:
    """The upper edge and the height of a row of the result, in rows of the image.

    Pillow keeps edges, and their distance, in float32; all else is float64.
    """
    upper, lower = np.float32(first), np.float32(last)
    return float(upper), float(lower - upper) / count


def _half_away_from_zero(x: float) -> int:
    return math.floor(x + 0.5) if x >= 0 else math.ceil(x - 0.5)
