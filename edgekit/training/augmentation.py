"""Changes of images that take their boxes or masks along.

Images are sampled at whole places of their own pixels, as `edgekit.training.images.augment` does:
so boxes and masks go exactly where the pixels go, and a seed gives the same on every machine. What
lies outside an image becomes grey, since a repeated edge would repeat half an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.core import IGNORE
from edgekit.data.truths import Truth
from edgekit.training.images import augment

GREY = 114
"""Of what lies outside an image."""

ZOOM = (0.8, 1.25)
"""Pixels of the image per pixel of the changed one: below 1 a part is enlarged. Wider ones
are slow to learn: of SSDLite-MobileNetV3-Small on digit-scenes mAP on validation images is 35.4 %
after 15 epochs with this (rate 4e-3), 28 % without any move, and 32.4 % after 20 with 0.6 to 1.5
and shifts of 0.2 (both at 2e-3)."""

MASK_ZOOM = (0.6, 1.5)
"""The same of images with masks: each of their pixels has much to teach."""

SHIFT = 0.125
"""Largest shift as a share of the side."""

LIGHT, CONTRAST = 0.2, 0.25
"""Largest change of brightness, as a share of white, and of contrast."""

SEEN, HARDLY_SEEN = 0.4, 0.1
"""Share of a box that has to be left for the object to be learned; below the second one it is gone,
and between them it is neither right nor wrong."""

_LEAST_PX = 2.0


@dataclass(frozen=True, slots=True)
class Moves:
    """Where the pixels of changed images come from.

    Attributes:
        zoom, shift, flip: of each image; the shift is (2, n), down and to the right.
        size: height and width of the images.
    """

    zoom: NDArray[np.float64]
    shift: NDArray[np.int64]
    flip: NDArray[np.bool_]
    size: tuple[int, int]

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns that pixels are taken from, (n, side); there may be none such."""
        found = []
        for side, shift in zip(self.size, self.shift, strict=True):
            offsets = np.arange(side) - (side - 1) / 2
            whole = np.rint(offsets * self.zoom[:, None] + (side - 1) / 2).astype(np.int64)
            found.append(whole + shift[:, None])
        rows, columns = found
        return rows, np.where(self.flip[:, None], columns[:, ::-1], columns)

    def corners(self, corners: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where corners (n, K, 4) in pixels go to; they may lie outside."""
        moved = corners.astype(np.float64)
        for axis in (0, 1):  # x, y
            side, shift = self.size[1 - axis], self.shift[1 - axis][:, None, None]
            centre = side / 2
            edges = moved[..., axis::2]
            moved[..., axis::2] = (edges - centre - shift) / self.zoom[:, None, None] + centre
        x = moved[..., 0::2]
        mirrored = self.size[1] - x[..., ::-1]
        moved[..., 0::2] = np.where(self.flip[:, None, None], mirrored, x)
        return moved.astype(np.float32)


def moves(
    count: int,
    size: tuple[int, int],
    seed: Sequence[int],
    zooms: tuple[float, float] = ZOOM,
    *,
    flip: bool,
    crop: bool,
) -> Moves:
    """Draws moves for so many images.

    Args:
        seed: everything that the choices depend on, such as seed, epoch and step.
        zooms: the smallest and the largest.
    """
    rng = np.random.default_rng(seed)
    reaches = [round(side * SHIFT) if crop else 0 for side in size]
    shift = np.stack([rng.integers(-reach, reach + 1, count) for reach in reaches])
    low, high = np.log(zooms) if crop else (0.0, 0.0)
    zoom = np.exp(rng.uniform(low, high, count))
    mirrored = rng.random(count) < (0.5 if flip else 0.0)
    return Moves(zoom, shift, mirrored, size)


def augmented(
    truth: Truth | None,
    pixels: Tensor,
    labels: Tensor,
    seed: Sequence[int],
    *,
    flip: bool,
    crop: bool,
) -> tuple[Tensor, Tensor]:
    """Changed images and what is right of them.

    Args:
        truth: makes the labels; ``None`` where there are none.
        pixels: 8-bit, (N, height, width, channels).
        seed: everything that the choices depend on.
        flip: mirror half of them.
        crop: shift and zoom them, and change light and contrast of those with boxes or masks.
    """
    needs = "" if truth is None else truth.needs
    if needs == "boxes":
        return augment_boxes(pixels, labels, seed, flip=flip, crop=crop)
    if needs == "masks":
        return augment_masks(pixels, labels, seed, flip=flip, crop=crop)
    return augment(pixels, seed, flip=flip, crop=crop), labels


def augment_boxes(
    pixels: Tensor, labels: Tensor, seed: Sequence[int], *, flip: bool, crop: bool
) -> tuple[Tensor, Tensor]:
    """Mirrors, shifts and zooms images with their boxes, and changes light and contrast.

    Args:
        pixels: 8-bit, (N, height, width, channels).
        labels: float32 (N, K, 6), as `edgekit.data.truths.BoxTruth` stacks them.
        seed: everything that the choices depend on.
        crop: shift, zoom and change colours.
    """
    if not flip and not crop:
        return pixels, labels
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    drawn = moves(len(pixels), size, seed, flip=flip, crop=crop)
    pixels, _ = _moved(pixels, drawn)
    if crop:
        pixels = _coloured(pixels, seed)
    rows = labels.cpu().numpy().copy()
    whole = drawn.corners(rows[..., :4])
    limits = np.array([size[1], size[0], size[1], size[0]], np.float32)
    cut = np.clip(whole, 0, limits)
    sides, left = whole[..., 2:] - whole[..., :2], cut[..., 2:] - cut[..., :2]
    share = left.clip(0).prod(-1) / np.maximum(sides.prod(-1), 1e-6)
    gone = (rows[..., 4] < 0) | (share < HARDLY_SEEN) | (left.min(-1) < _LEAST_PX)
    rows[..., :4] = np.where(gone[..., None], 0, cut)
    rows[..., 4] = np.where(gone, -1, rows[..., 4])
    rows[..., 5] = np.where(gone, 0, np.maximum(rows[..., 5], share < SEEN))
    return pixels, torch.from_numpy(rows).to(labels.device)


def augment_masks(
    pixels: Tensor,
    labels: Tensor,
    seed: Sequence[int],
    zooms: tuple[float, float] = MASK_ZOOM,
    *,
    flip: bool,
    crop: bool,
) -> tuple[Tensor, Tensor]:
    """The same for images and their masks.

    Args:
        labels: 8-bit, (N, height, width); what lies outside an image becomes `IGNORE`.
        zooms: the smallest and the largest.
    """
    if not flip and not crop:
        return pixels, labels
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    drawn = moves(len(pixels), size, seed, zooms, flip=flip, crop=crop)
    pixels, taken = _moved(pixels, drawn)
    if crop:
        pixels = _coloured(pixels, seed)
    where, inside = taken
    return pixels, torch.where(inside, labels[where], torch.full_like(labels[:1], IGNORE))


def _moved(pixels: Tensor, drawn: Moves) -> tuple[Tensor, tuple[Any, Tensor]]:
    """Changed images; what they were taken by, and which of their pixels are of the image."""
    n, (height, width) = len(pixels), drawn.size
    rows, columns = drawn.places()
    inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = torch.from_numpy(inside_rows[:, :, None] & inside_columns[:, None, :])
    inside = inside.to(pixels.device)
    where = (
        torch.arange(n, device=pixels.device).view(n, 1, 1),
        torch.from_numpy(rows.clip(0, height - 1)).view(n, height, 1).to(pixels.device),
        torch.from_numpy(columns.clip(0, width - 1)).view(n, 1, width).to(pixels.device),
    )
    outside = torch.full_like(pixels[:1, :1, :1], GREY)
    return torch.where(inside[..., None], pixels[where], outside), (where, inside)


def _coloured(pixels: Tensor, seed: Sequence[int]) -> Tensor:
    """Images with other light and contrast."""
    rng = np.random.default_rng((*seed, 1))
    shape = (len(pixels), 1, 1, 1)
    light = torch.from_numpy(rng.uniform(-LIGHT, LIGHT, shape) * 255).to(pixels.device)
    contrast = torch.from_numpy(rng.uniform(1 - CONTRAST, 1 + CONTRAST, shape)).to(pixels.device)
    values = (pixels.float() - 127.5) * contrast.float() + 127.5 + light.float()
    return values.round().clamp(0, 255).to(torch.uint8)
