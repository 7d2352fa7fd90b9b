"""Boxes that networks start from: SSD's, cells of a grid, and those that fit a set of boxes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from edgekit.boxes.overlap import iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATIOS = (2.0, 3.0)
"""Aspect ratios beside 1, each also turned; SSDLite has both on every map (arXiv:1801.04381)."""


def ssd_scales(maps: int, least: float = 0.2, most: float = 0.95) -> tuple[float, ...]:
    """Sizes of anchors by map, as shares of the image: evenly spaced (arXiv:1512.02325, eq. 4).

    The paper goes from 0.2 to 0.9, SSDLite to 0.95.
    """
    if maps == 1:
        return (least,)
    return tuple(least + (most - least) * k / (maps - 1) for k in range(maps))


def ssd_anchors(
    size: tuple[int, int],
    grids: Sequence[tuple[int, int]],
    scales: Sequence[float] = (),
    ratios: Sequence[Sequence[float]] = (),
    *,
    steps: Sequence[int] = (),
    clip: bool = True,
) -> NDArray[np.float32]:
    """Anchors of SSD, as published and as torchvision's ``DefaultBoxGenerator`` makes them.

    Each cell has two square ones, of its map's scale and of the geometric mean of that and the
    next one's, and for each ratio one wide and one tall, of the area of the first.

    Args:
        size: height and width of the image in pixels.
        grids: height and width of each map in cells, the finest first.
        scales: shares of the image by map, and one more for the next of the last, 1 without.
            `ssd_scales` if empty.
        ratios: by map, beside 1; `RATIOS` on each if empty.
        steps: pixels between cells, by map; the image over the cells if empty.
        clip: whether no side is longer than the image.

    Returns:
        Corners in pixels of the image, (anchors, 4), which may lie outside of it in part: map after
        map, in each row after row, in each cell as said above.
    """
    scales = tuple(scales) or ssd_scales(len(grids))
    if len(scales) == len(grids):
        scales = (*scales, 1.0)
    ratios = ratios or (RATIOS,) * len(grids)
    assert len(scales) - 1 == len(grids) == len(ratios), "a scale and ratios for each map"
    height, width = size
    found: list[Any] = []
    for k, (rows, columns) in enumerate(grids):
        scale = scales[k]
        between = math.sqrt(scale * scales[k + 1])
        shapes = [(scale, scale), (between, between)]
        for ratio in ratios[k]:
            wide, tall = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            shapes += [(wide, tall), (tall, wide)]
        half = np.array(shapes, np.float64) / 2
        if clip:
            half = np.minimum(half, 0.5)
        across, down = (width / steps[k], height / steps[k]) if steps else (columns, rows)
        y, x = np.meshgrid(
            (np.arange(rows) + 0.5) / down, (np.arange(columns) + 0.5) / across, indexing="ij"
        )
        middles = np.stack([x.ravel(), y.ravel()], axis=1)[:, None, :]
        found.append(np.concatenate([middles - half, middles + half], axis=2).reshape(-1, 4))
    corners: NDArray[np.float64] = np.concatenate(found) * [width, height, width, height]
    return corners.astype(np.float32)


def grid_points(grids: Sequence[tuple[int, int]], strides: Sequence[int]) -> NDArray[np.float32]:
    """Where heads without anchors predict from: the middle of each cell, and its stride.

    Args:
        grids: height and width of each map in cells.
        strides: pixels of the image by cell, one a map.

    Returns:
        x, y and stride in pixels, (cells, 3): map after map, in each row after row.
    """
    found: list[Any] = []
    for (rows, columns), stride in zip(grids, strides):
        y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
        step = np.full(x.size, stride)
        found.append(np.stack([x.ravel() * stride, y.ravel() * stride, step], axis=1))
    return np.concatenate(found).astype(np.float32)


def kmeans_anchors(
    sides: NDArray[Any], count: int, *, seed: int = 0, rounds: int = 300
) -> NDArray[np.float32]:
    """Anchors that fit a set of boxes, by k-means with 1 - IoU as distance (arXiv:1612.08242).

    Boxes and anchors are compared as if they had one middle. A cluster's anchor is the mean of its
    boxes; one that has none left begins anew at the box that fits worst.

    Args:
        sides: width and height of boxes, (n, 2), above 0.
        count: anchors; there are at least as many different boxes.
        seed: of the first anchors, which are boxes far from each other (k-means++).

    Returns:
        Width and height, (count, 2), the smallest area first.
    """
    sides = np.asarray(sides, np.float64)
    assert len(np.unique(sides, axis=0)) >= count > 0, "fewer boxes than anchors"
    rng = np.random.default_rng(seed)
    centres = sides[rng.integers(len(sides)), None]
    while len(centres) < count:
        far = (1 - _fit(sides, centres).max(axis=1)) ** 2
        centres = np.concatenate([centres, sides[rng.choice(len(sides), 1, p=far / far.sum())]])
    for _ in range(rounds):
        fit = _fit(sides, centres)
        nearest = fit.argmax(axis=1)
        moved = centres.copy()
        for k in range(count):
            own = sides[nearest == k]
            moved[k] = own.mean(axis=0) if len(own) else sides[fit.max(axis=1).argmin()]
        if np.array_equal(moved, centres):
            break
        centres = moved
    order = np.argsort(centres.prod(axis=1), kind="stable")
    return centres[order].astype(np.float32)


def _fit(sides: NDArray[Any], centres: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of boxes with one corner in common, (n, count)."""
    return iou(*(np.concatenate([np.zeros_like(one), one], axis=1) for one in (sides, centres)))
