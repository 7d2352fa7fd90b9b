"""Generated images: a small labelled source for tests, and noise for untrained networks.

Both are made on demand from seeds, so nothing is stored and nothing depends on the order of
access.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.core import ImageSource
from edgekit.data.cutting import located

_SIDE = 40
_SIZES = {"train": 64, "validation": 16, "test": 16}
# Colour and shape both tell the class, so that a network learns it within a few steps.
_COLOURS = {
    "circle": (210, 60, 60),
    "cross": (60, 190, 70),
    "square": (70, 90, 220),
    "triangle": (215, 195, 50),
}
_SHAPE_SEED = 40
_NOISE_SEED = 41
_NOISE_CELLS = (1, 2, 4, 8, 16, 32)


class SyntheticSource:
    """Four kinds of coloured shapes on a dark, noisy ground, 40 x 40 px, as an `ImageSource`."""

    def __init__(self) -> None:
        self.name = "synthetic"
        self.classes = tuple(_COLOURS)
        self.flippable = True
        self.keeps_test = True
        self.splits = (*_SIZES, "all")

    def size(self, split: str) -> int:
        """Number of images in a split."""
        return sum(_SIZES.values()) if split == "all" else _SIZES[split]

    def label(self, split: str, index: int) -> int:
        """Label of one image; labels alternate, so that every split holds each equally often."""
        return located(_SIZES, split, index)[1] % len(self.classes)

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        """One image, shape (40, 40, 3)."""
        split, index = located(_SIZES, split, index)
        kind = self.classes[index % len(self.classes)]
        rng = np.random.default_rng([_SHAPE_SEED, tuple(_SIZES).index(split), index])
        ground = rng.uniform(10, 60, 3)
        colour = np.asarray(_COLOURS[kind]) + rng.uniform(-25, 25, 3)
        mask = _mask(kind, rng.uniform(8, 13), rng.uniform(15, 25, 2))
        pixels = np.where(mask[:, :, np.newaxis], colour, ground)
        pixels += rng.normal(0, 12, pixels.shape)
        return _to_uint8(pixels)


def open_source() -> ImageSource:
    """Opens the generated shapes."""
    return SyntheticSource()


def noise_images(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random images that differ strongly from each other, to check untrained networks with.

    White noise will not do: all of it looks alike to a network that pools over the whole image.
    Each of these is a sum of random grids from coarse to fine with amplitudes of its own, with
    a random contrast, brightness and tint. Image ``i`` does not depend on ``count``.

    Args:
        size: height and width in pixels.
        seed: not negative.

    Returns:
        Shape (count, size, size, 3).
    """
    images = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        images[index] = _noise_image(size, np.random.default_rng([_NOISE_SEED, seed, index]))
    return images


def _noise_image(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    cells = [n for n in _NOISE_CELLS if n <= size]
    amplitudes = rng.exponential(size=len(_NOISE_CELLS) + 1).astype(np.float32)
    # All grids side by side, for one product instead of one each.
    grids = np.zeros((3, sum(cells), sum(cells)), np.float32)
    begin = 0
    for n, amplitude in zip(cells, amplitudes, strict=False):
        place = slice(begin, begin + n)
        grids[:, place, place] = amplitude * rng.standard_normal((3, n, n), np.float32)
        begin += n
    finer = _finer(tuple(cells), size)
    total = finer @ grids @ finer.T
    finest = rng.integers(0, 256, (3, size, size), np.uint8).astype(np.float32)
    finest -= np.float32(127.5)
    finest *= amplitudes[-1] / np.float32(127.5)
    total += finest
    total *= np.float32(rng.uniform(20, 90) / (total.std() + 1e-6))
    total += (rng.uniform(50, 205) + rng.uniform(-50, 50, (3, 1, 1))).astype(np.float32)
    return _to_uint8(total.transpose(1, 2, 0))


@functools.cache
def _finer(cells: tuple[int, ...], size: int) -> NDArray[np.float32]:
    """What bicubic interpolation makes of rows of so many numbers: shape (size, sum of cells)."""
    return np.concatenate(
        [
            np.asarray(
                Image.fromarray(np.eye(n, dtype=np.float32)).resize(
                    (n, size), Image.Resampling.BICUBIC
                )
            )
            for n in cells
        ],
        axis=1,
    )


def _mask(kind: str, radius: float, centre: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels of a shape, all of them symmetric about the vertical axis."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] - centre[:, np.newaxis, np.newaxis]
    inside: NDArray[np.bool_] = np.maximum(abs(x), abs(y)) <= radius
    if kind == "circle":
        inside = np.hypot(x, y) <= radius
    elif kind == "cross":
        inside &= np.minimum(abs(x), abs(y)) <= radius / 3
    elif kind == "triangle":
        inside &= 2 * abs(x) <= y + radius
    return inside


def _to_uint8(pixels: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = np.clip(np.floor(pixels + 0.5), 0, 255).astype(np.uint8)
    return found
