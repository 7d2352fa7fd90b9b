"""Regions of maps in PyTorch: what two-stage detection is made of, with sizes that are known.

Plain functions of tensors without a branch on what is in them, so that a network of them is one
graph: a fixed number of regions, of which some count for nothing, in place of some number of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

ROUNDS = 16
"""Of `kept`. After so many it is that of suppression one box after the other, unless more boxes
than these stand in a row of which each one would suppress the next."""

LARGEST_GROWTH = math.log(1000 / 16)
"""Of a box against its anchor, as a logarithm; the authors' bound, which keeps exp finite."""

NO_WEIGHTS, WEIGHTS = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)
"""Of differences of boxes: none of region proposals, those of the authors' code of the second
stage."""


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each box of ``a`` (N, n, 4) with each of ``b`` (N, m, 4).

    Returns:
        (N, n, m), from 0 to 1.
    """
    one, other = a[:, :, None], b[:, None]
    corner = torch.maximum(one[..., :2], other[..., :2])
    sides = (torch.minimum(one[..., 2:], other[..., 2:]) - corner).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    union = areas(a)[:, :, None] + areas(b)[:, None] - shared
    return shared / union.clamp(min=1e-9)


def areas(corners: Tensor) -> Tensor:
    """Of boxes (..., 4), of shape (...); 0 where the edges are the wrong way round."""
    sides = (corners[..., 2:] - corners[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def kept(corners: Tensor, overlap: float, rounds: int = ROUNDS) -> Tensor:
    """Hard suppression as a fixed number of products (Zheng et al., arXiv:2005.03572).

    A box goes where it overlaps one before it that stays. All boxes are judged at once by what
    stayed in the round before: after k rounds those are right that depend on k others in a row.

    Args:
        corners: (N, n, 4), the highest score first.
        overlap: above which a box goes.

    Returns:
        1 for a box that stays, else 0; (N, n).
    """
    count = corners.shape[1]
    before = torch.ones(count, count, device=corners.device).triu(1)
    suppresses = (overlaps(corners, corners) > overlap).to(corners.dtype) * before
    stays = torch.ones_like(corners[..., 0])
    for _ in range(min(rounds, count)):
        stays = 1 - (stays[:, :, None] * suppresses).amax(1)
    return stays


def remaining(places: Tensor, stays: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """So many of some candidates, those first that stay.

    They stand in the order of their anchors: where two have nearly the same logit, rounding
    changes no place.

    Args:
        places: of the candidates among all anchors, the highest score first, (N, n).
        stays: 1 or 0 for each, (N, n).

    Returns:
        Places of those that are taken, ascending, and which of them stay, both (N, count).
    """
    # Those that go come after all that stay, the best first; whole numbers have no ties.
    ranks = places.shape[1] * stays - torch.arange(places.shape[1], device=places.device)
    taken = ranks.topk(count, 1).indices
    order = places.gather(1, taken).sort(1)
    return order.values, stays.gather(1, taken).gather(1, order.indices)


def decoded(deltas: Tensor, corners: Tensor, weights: Sequence[float]) -> Tensor:
    """Boxes of differences from others; see `edgekit.boxes.coding.decode`.

    Args:
        deltas: (..., 4).
        corners: what they are differences from, (..., 4).
        weights: what differences of x, y, width and height were multiplied with.
    """
    sides = corners[..., 2:] - corners[..., :2]
    middles = corners[..., :2] + sides / 2
    across = deltas[..., :2] / deltas.new_tensor(weights[:2])
    growth = (deltas[..., 2:] / deltas.new_tensor(weights[2:])).clamp(max=LARGEST_GROWTH)
    middles, half = middles + across * sides, growth.exp() * sides / 2
    return torch.cat((middles - half, middles + half), -1)


def clipped(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) within an image of that height and width."""
    height, width = size
    x, y = corners[..., 0::2].clamp(0, width), corners[..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)


def chosen(values: Tensor, places: Tensor) -> Tensor:
    """Rows of values (N, n, k) at places (N, m); (N, m, k)."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))


def aligned(
    maps: Tensor, corners: Tensor, size: tuple[int, int], side: int, cell: float | None = None
) -> Tensor:
    """RoIAlign (arXiv:1703.06870, section 3): the part of a map below each box, at one size.

    Each of side x side cells is the mean of 2 x 2 places, each of the four pixels around it. It is
    that of torchvision with ``sampling_ratio=2, aligned=True`` for boxes within the image.

    Args:
        maps: (N, C, h, w), of an image of ``size`` or of one that is at most a step larger.
        corners: in pixels of the image, (N, R, 4).
        size: height and width of the image that the maps are of, in pixels.
        cell: pixels of the image by one of the map, for the form that torchvision's detectors have
            (``aligned=False``): the map lies half a cell further to the left and up, boxes have
            sides of at least a cell, and there is nothing beyond the map.

    Returns:
        (N * R, C, side, side).
    """
    count, channels = corners.shape[:2][1], maps.shape[1]
    height, width = size
    steps = (torch.arange(2 * side, device=maps.device, dtype=maps.dtype) + 0.5) / (2 * side)
    sides = corners[..., 2:] - corners[..., :2]
    if cell is not None:
        sides = sides.clamp(min=cell)
    x = corners[..., 0:1] + steps * sides[..., 0:1]  # (N, R, places)
    y = corners[..., 1:2] + steps * sides[..., 1:2]
    beyond: tuple[Tensor, Tensor] | None = None
    if cell is not None:
        beyond = (x <= width).to(maps.dtype), (y <= height).to(maps.dtype)
        x, y = x + cell / 2, y + cell / 2
    x, y = 2 * x / width - 1, 2 * y / height - 1
    places = 2 * side
    grid = torch.stack(
        (
            x[:, :, None].expand(-1, -1, places, -1),
            y[..., None].expand(-1, -1, -1, places),
        ),
        -1,
    ).reshape(-1, count * places, places, 2)
    found = F.grid_sample(maps, grid, "bilinear", "border", align_corners=False)
    if beyond is not None:
        there = beyond[0][:, :, None] * beyond[1][..., None]
        found = found * there.reshape(-1, 1, count * places, places)
    means = F.avg_pool2d(found, 2)  # (N, C, R * side, side)
    parts = means.reshape(-1, channels, count, side, side).permute(0, 2, 1, 3, 4)
    return parts.reshape(-1, channels, side, side)


def covered(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width that the map of a stride covers: at least the image."""
    return -(-size[0] // stride) * stride, -(-size[1] // stride) * stride


def region_anchors(
    size: tuple[int, int], stride: int, sides: Sequence[float], ratios: Sequence[float]
) -> NDArray[np.float32]:
    """Anchors of region proposals: in each cell one of each area and ratio (arXiv:1506.01497).

    Args:
        size: height and width of the image in pixels.
        sides: of square ones, as shares of the image's shorter side.
        ratios: height over width.

    Returns:
        Corners in pixels, (anchors, 4): row after row, in each cell by area, then by ratio.
    """
    rows, columns = (-(-side // stride) for side in size)
    shapes = [
        (share * min(size) / math.sqrt(ratio), share * min(size) * math.sqrt(ratio))
        for share in sides
        for ratio in ratios
    ]
    half = np.array(shapes) / 2
    y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
    middles = np.stack((x.ravel(), y.ravel()), 1)[:, None] * stride
    corners = np.concatenate((middles - half, middles + half), -1)
    return corners.reshape(-1, 4).astype(np.float32)


def windows(size: tuple[int, int], parts: Sequence[int]) -> NDArray[np.float32]:
    """Windows over an image that overlap by half: regions where nobody gives others.

    Args:
        size: height and width of the image in pixels.
        parts: how many windows without overlap a side holds, one number a scale.

    Returns:
        Corners in pixels, (windows, 4).
    """
    height, width = size
    found = []
    for count in parts:
        starts = np.arange(2 * count - 1) / (2 * count)
        y, x = np.meshgrid(starts, starts, indexing="ij")
        corner = np.stack((x.ravel(), y.ravel()), 1)
        found.append(np.concatenate((corner, corner + 1 / count), 1))
    every: NDArray[np.float64] = np.concatenate(found) * (width, height, width, height)
    return every.astype(np.float32)
