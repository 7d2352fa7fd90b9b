"""Built-in scenes of handwritten digits, with boxes and masks: made on access, nothing is stored.

Each is 160 x 160 px. On a ground of two colours with noise and with strokes, rings and bars that
are no digits lie one to five digits of `edgekit.data.digits`, made larger: 32 to 72 px high, of
any colour that stands out. Scenes of a split have the digits of that split only.

Random numbers are raw ones of a generator whose stream is fixed, and all that is made of them is
made with integers. So every machine makes the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Boxes, ImageSource
from edgekit.data.cutting import located
from edgekit.data.digits import DigitsSource
from edgekit.data.digits import open_source as open_digits

SIDE = 160
"""Height and width of a scene in pixels."""

MOST_HIDDEN = 0.2
"""Largest share of a digit's ink that others may cover. A digit that would cover more is put
elsewhere, and left out where there is no place; so all that is seen has a box."""

_SIZES = {"train": 2000, "validation": 300, "test": 500}
_SEED = 8160
_MOST_DIGITS = 5
_HEIGHTS = (32, 73)  # from, and up to but not
_TRIES = 6  # places for a digit
_CLUTTER = 7  # at most
_LEAST_CONTRAST = 70  # of brightness, of 255, between ink and ground
_CELLS = 8  # of a digit, along each side
_BITS = 7  # behind the point of a weight of a cell
_INK = 128  # opacity from which on a pixel belongs to a digit, of 255
_SHARPER = np.array([min(255, max(0, 2 * level - 96)) for level in range(256)], np.uint8)


class _Scene(NamedTuple):
    """A finished scene."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    corners: NDArray[np.float32]
    classes: NDArray[np.int64]


class DigitScenes:
    """Scenes as a `BoxSource` and a `MaskSource`.

    A box is around all of a digit's ink, covered or not. A mask has the class of the digit that is
    seen, and 0 where there is none.

    Args:
        digits: what they are made of.
    """

    def __init__(self, digits: DigitsSource) -> None:
        self.name = "digit-scenes"
        self.classes = digits.classes
        self.mask_classes = ("background", *digits.classes)
        self.flippable = False
        self.keeps_test = True
        self.splits: tuple[str, ...] = (*_SIZES, "all")
        self._digits = digits

    def size(self, split: str) -> int:
        """Number of scenes in a split."""
        return sum(_SIZES.values()) if split == "all" else _SIZES[split]

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        """One scene, shape (160, 160, 3)."""
        return self._scene(split, index).pixels.copy()

    def boxes(self, split: str, index: int) -> Boxes:
        """Its digits, from the lowest to the uppermost."""
        scene = self._scene(split, index)
        crowd = np.zeros(len(scene.classes), bool)
        return Boxes(scene.corners.copy(), scene.classes.copy(), (SIDE, SIDE), crowd)

    def mask(self, split: str, index: int) -> NDArray[np.uint8]:
        """The digit of each pixel, shape (160, 160), of `mask_classes`."""
        return self._scene(split, index).mask.copy()

    def _scene(self, split: str, index: int) -> _Scene:
        split, index = located(_SIZES, split, index)
        draw = _numbers(split, index)
        pixels = _ground(draw)
        for _ in range(next(draw) % (_CLUTTER + 1)):
            _add_clutter(pixels, draw)
        digits: list[_Digit] = []
        for _ in range(1 + next(draw) % _MOST_DIGITS):
            self._add_digit(pixels, digits, draw, split)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for digit in digits:
            mask[digit.window][digit.ink] = digit.kind + 1
        corners = np.array([digit.box for digit in digits], np.float32).reshape(-1, 4)
        return _Scene(pixels, mask, corners, np.array([d.kind for d in digits], np.int64))

    def _add_digit(
        self, pixels: NDArray[np.uint8], digits: list[_Digit], draw: Iterator[int], split: str
    ) -> None:
        which = next(draw) % self._digits.size(split)
        height = _between(draw, *_HEIGHTS)
        width = height * _between(draw, 75, 111) // 100
        opacity = _larger(self._digits.image(split, which)[..., 0], height, width)
        lean = _between(draw, -height // 6, height // 6 + 1)
        opacity = _leaning(_SHARPER[opacity], lean)
        ink = opacity >= _INK
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        opacity, ink = opacity[part], ink[part]
        tall, wide = ink.shape
        for _ in range(_TRIES):
            top, left = next(draw) % (SIDE - tall + 1), next(draw) % (SIDE - wide + 1)
            place = _Digit(self._digits.label(split, which), top, left, ink)
            if all(_left_over(digit, [*digits[i + 1 :], place]) for i, digit in enumerate(digits)):
                break
        else:
            return
        digits.append(place)
        region = pixels[place.window]
        colour = _standing_out(region, draw)
        cover = opacity[..., np.newaxis].astype(np.int32)
        region[:] = (region * (255 - cover) + colour * cover + 127) // 255


class _Digit(NamedTuple):
    """A digit in its place; ``ink`` says which pixels of the window are its own."""

    kind: int
    top: int
    left: int
    ink: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        height, width = self.ink.shape
        return self.left, self.top, self.left + width, self.top + height

    @property
    def window(self) -> tuple[slice, slice]:
        left, top, right, bottom = self.box
        return slice(top, bottom), slice(left, right)


def _left_over(digit: _Digit, above: list[_Digit]) -> bool:
    """Whether enough of a digit is seen below others."""
    seen = None
    left, top, right, bottom = digit.box
    for other in above:
        x0, y0, x1, y1 = other.box
        x0, y0, x1, y1 = max(left, x0), max(top, y0), min(right, x1), min(bottom, y1)
        if x0 < x1 and y0 < y1:
            if seen is None:
                seen = digit.ink.copy()
            covered = other.ink[y0 - other.top : y1 - other.top, x0 - other.left : x1 - other.left]
            seen[y0 - top : y1 - top, x0 - left : x1 - left] &= ~covered
    return seen is None or int(seen.sum()) >= (1 - MOST_HIDDEN) * int(digit.ink.sum())


def _numbers(split: str, index: int) -> Iterator[int]:
    """Random numbers below 2 ** 32."""
    generator = np.random.PCG64([_SEED, tuple(_SIZES).index(split), index])
    while True:
        yield from (generator.random_raw(64) >> np.uint64(32)).tolist()


def _between(draw: Iterator[int], start: int, stop: int) -> int:
    return start + next(draw) % (stop - start)


def _colour(draw: Iterator[int]) -> NDArray[np.int32]:
    return np.array([next(draw) % 256 for _ in range(3)], np.int32)


def _ground(draw: Iterator[int]) -> NDArray[np.uint8]:
    """A slope between two colours that are not far apart, and noise in coarse and fine grains."""
    first = _colour(draw)
    second = np.clip(first + [_between(draw, -50, 51) for _ in range(3)], 0, 255)
    along, across = _between(draw, -16, 17), _between(draw, -16, 17)
    ramp = np.arange(SIDE, dtype=np.int32)
    slope = ramp[:, np.newaxis] * along + ramp * across
    slope -= slope.min()
    share = (slope * 256 // max(1, int(slope.max()))).astype(np.uint16)[..., np.newaxis]
    pixels = first.astype(np.uint16) * (256 - share)  # 16 bits hold 255 * 256
    pixels += second.astype(np.uint16) * share
    pixels >>= 8
    noise = np.random.PCG64([_SEED, next(draw)])
    fine = noise.random_raw(SIDE * SIDE // 8).astype("<u8").view(np.uint8).reshape(SIDE, SIDE)
    coarse = noise.random_raw(_CELLS).astype("<u8").view(np.uint8).reshape(_CELLS, _CELLS)
    strength, swell = _between(draw, 4, 40), _between(draw, 0, 48)
    grain = (fine.astype(np.int16) - 128) * np.int16(strength) >> 8
    grain += (_larger(coarse, SIDE, SIDE).astype(np.int16) - 128) * np.int16(swell) >> 8
    found = pixels.view(np.int16)
    found += grain[..., np.newaxis]
    return np.clip(found, 0, 255, out=found).astype(np.uint8)


def _add_clutter(pixels: NDArray[np.uint8], draw: Iterator[int]) -> None:
    """Paints one thing that is no digit."""
    tall, wide = _between(draw, 12, 64), _between(draw, 12, 64)
    top, left = next(draw) % (SIDE - tall), next(draw) % (SIDE - wide)
    rows = np.arange(tall, dtype=np.int64)[:, np.newaxis]
    columns = np.arange(wide, dtype=np.int64)
    thick = _between(draw, 2, 7)
    kind = next(draw) % 4
    if kind == 0:  # a stroke from corner to corner
        if next(draw) % 2:
            rows = tall - 1 - rows
        far = abs(rows * wide - columns * tall)
        inside = 4 * far * far <= thick * thick * (tall * tall + wide * wide)
    elif kind == 1:  # a ring that is far from round, or a disc
        ys, xs = (2 * rows - tall) * wide, (2 * columns - wide) * tall
        far, whole = ys * ys + xs * xs, (tall * wide) ** 2
        inside = far <= whole
        if next(draw) % 2:
            inside &= far * min(tall, wide) >= whole * max(0, min(tall, wide) - 4 * thick)
    elif kind == 2:  # a frame
        near = (rows < thick) | (rows >= tall - thick)
        inside = near | (columns < thick) | (columns >= wide - thick)
    else:  # bars
        period = _between(draw, 3, 7) * thick
        inside = (rows + columns * _between(draw, -1, 2)) % period < thick
    pixels[top : top + tall, left : left + wide][inside] = _colour(draw)


def _standing_out(region: NDArray[np.uint8], draw: Iterator[int]) -> NDArray[np.int32]:
    """A colour whose brightness differs enough from that of a part of the scene."""
    there = _brightness(region.reshape(-1, 3).sum(0, dtype=np.int64)) * 3 // region.size
    colour = _colour(draw)
    here = _brightness(colour)
    lighter = there < 128 if abs(here - there) < _LEAST_CONTRAST else here > there
    target = there + _LEAST_CONTRAST if lighter else there - _LEAST_CONTRAST
    if lighter and here < target:  # towards white, or black, as far as it takes
        colour = colour + (255 - colour) * (target - here) // max(1, 255 - here)
    elif not lighter and here > target:
        colour = colour * target // max(1, here)
    return np.clip(colour, 0, 255)


def _brightness(colour: NDArray[np.signedinteger]) -> int:
    """Of red, green and blue, in shares of Rec. 601."""
    return (77 * int(colour[0]) + 150 * int(colour[1]) + 29 * int(colour[2])) >> 8


def _larger(cells: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Values in between those of 8 x 8 cells, in steps of integers."""
    rows, columns = _weights(height), _weights(width)
    found: NDArray[np.int32] = rows @ cells.astype(np.int32) @ columns.T
    return (found >> (2 * _BITS)).astype(np.uint8)


@functools.cache
def _weights(count: int) -> NDArray[np.int32]:
    """How much of each cell is in each of so many pixels, (count, 8); linear, and 0 outside."""
    one = 1 << _BITS
    found = np.zeros((count, _CELLS), np.int32)
    for i in range(count):
        place = ((2 * i + 1) * _CELLS * one // count - one) // 2  # of the pixel, in cells
        cell, share = place >> _BITS, place & (one - 1)
        if cell >= 0:
            found[i, cell] = one - share
        if cell + 1 < _CELLS:
            found[i, cell + 1] = share
    return found


def _leaning(opacity: NDArray[np.uint8], lean: int) -> NDArray[np.uint8]:
    """The same, its upper edge so many pixels to the right of its lower one."""
    height, width = opacity.shape
    found = np.zeros((height, width + abs(lean)), np.uint8)
    shift = (height - 1 - np.arange(height)) * lean // max(1, height - 1)
    shift -= shift.min()
    rows = np.arange(height)[:, np.newaxis]
    found[rows, np.arange(width) + shift[:, np.newaxis]] = opacity
    return found


def open_source() -> ImageSource:
    """Opens the scenes.

    Raises:
        UnavailableError: scikit-learn, which has the digits, is not installed.
    """
    digits = open_digits()
    assert isinstance(digits, DigitsSource)
    return DigitScenes(digits)
