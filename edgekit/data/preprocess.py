"""From an image to a network's input, as a `Preprocessing` record says.

Training, verification, evaluation and prediction all go through `prepare`, or through its two
halves: `resize_and_crop` (integers, can be cached) and `normalize`. NumPy and Pillow only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.boxes import Geometry, frames
from edgekit.core import CLASSIFY, ImageSource, Preprocessing, Side
from edgekit.core.interface import OF_WHOLE_IMAGES
from edgekit.core.preprocessing import (
    ALPHAS,
    CHANNEL_ORDERS,
    FITS,
    LAYOUTS,
    ORIENTATIONS,
    pair,
)
from edgekit.data.channels import grey, without_alpha
from edgekit.errors import ContractError, DataError, UsageError

# Pillow's filters widen when they shrink an image (antialiasing); "area" is the plain mean.
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}

BLUE_FIRST = {"BGR": [2, 1, 0], "BGRA": [2, 1, 0, 3]}
"""Channels of RGB or RGBA in another order, which `normalize` puts them in."""

_COUNTS = {1: "one finite number", 3: "three finite numbers", 4: "four finite numbers"}

MAX_SIDE = 16_384
"""Largest side that a contract may ask for, so that a damaged one cannot exhaust memory."""

SAMPLED_IMAGES = 32
"""Images whose size is looked at to tell photographs from small images."""


def prepare(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Makes a network's input from one image.

    Args:
        image: 8-bit RGB or RGBA, shape (height, width, 3 or 4).

    Returns:
        Shape (channels, height, width) for NCHW, (height, width, channels) for NHWC; no batch
        axis.

    Raises:
        DataError: the image cannot meet the preprocessing.
        ContractError: no image could; see `check`.
    """
    return normalize(resize_and_crop(image, preprocessing), preprocessing)


def resize_and_crop(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The integer half of `prepare`: transparency, grey, and geometry.

    Only what is shown is resampled, so that memory stays bounded for any aspect ratio;
    neighbouring pixels still count where the filter reaches them.

    Args:
        image: 8-bit RGB or RGBA, shape (height, width, 3 or 4), upright where it is to be.

    Returns:
        Shape (height, width, channels) of the finished image, freshly owned; the order of colours
        is still RGB.

    Raises:
        DataError: the image, or the image after resizing, is smaller than the crop.
        ContractError: see `check`.
    """
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"image of shape {image.shape} and type {image.dtype}: "
            "expected uint8 of shape (height, width, 3), or 4 with transparency, none of them 0"
        )
    p = preprocessing
    place = geometry(image.shape[0], image.shape[1], p)
    pixels = _with_channels(image, p)
    if p.resize is None and p.fit == "crop":
        left, top, right, bottom = map(int, place.box)
        return pixels[top:bottom, left:right].copy()
    shown = _resampled(pixels, place, _FILTERS[p.interpolation])
    if p.fit != "letterbox":
        return shown
    found = np.full((*p.size, p.channels), p.pad, np.uint8)
    found[place.top : place.top + place.height, place.left : place.left + place.width] = shown
    return found


def place_mask(
    mask: NDArray[np.uint8], preprocessing: Preprocessing, outside: int
) -> NDArray[np.uint8]:
    """The geometry of `resize_and_crop` for numbers that do not mix: nearest pixels are taken.

    Args:
        mask: shape (height, width).
        outside: value around a letterboxed image.

    Returns:
        Shape (height, width) of the finished image, freshly owned.

    Raises:
        DataError: as for the image.
        ContractError: see `check`.
    """
    p = preprocessing
    place = geometry(mask.shape[0], mask.shape[1], p)
    if p.resize is None and p.fit == "crop":
        left, top, right, bottom = map(int, place.box)
        return mask[top:bottom, left:right].copy()
    found = np.full(p.size, outside, np.uint8)
    shown = _resampled(mask[..., np.newaxis], place, Image.Resampling.NEAREST)[..., 0]
    found[place.top : place.top + place.height, place.left : place.left + place.width] = shown
    return found


def geometry(height: int, width: int, preprocessing: Preprocessing) -> Geometry:
    """See `edgekit.boxes.frames.geometry`.

    Raises:
        DataError: the image, or the image after resizing, is smaller than the crop.
        ContractError: see `check`.
    """
    if min(preprocessing.size) < 1:
        check(preprocessing)
    place = frames.geometry(height, width, preprocessing)
    check(preprocessing)
    return place


def _with_channels(image: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    """Transparency and grey as the record says, before anything is resampled."""
    if p.alpha == "keep":
        if image.shape[2] == 4:
            return image
        return np.concatenate([image, np.full((*image.shape[:2], 1), 255, np.uint8)], axis=2)
    if image.shape[2] == 4:
        image = without_alpha(image, p.alpha)
    return grey(image) if p.channels == 1 else image


def _resampled(
    pixels: NDArray[np.uint8], place: Geometry, resample: Image.Resampling
) -> NDArray[np.uint8]:
    """The shown part; see `edgekit.data.resampling.resample`."""
    height, channels = len(pixels), pixels.shape[2]
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    if channels == 4:  # else Pillow multiplies colours by the opacity, resamples and divides
        picture = Image.merge("RGBX", picture.split())
    left, top, right, bottom = place.box
    # Pillow rounds between its two passes and orders them as it likes. The width first, always,
    # is what it does for a whole image, so this equals resizing all of it and cropping then.
    narrow = picture.resize(
        (place.width, height), resample, (left, 0, right, height), reducing_gap=None
    )
    done = narrow.resize(
        (place.width, place.height), resample, (0, top, place.width, bottom), reducing_gap=None
    )
    found = np.array(done)
    return found[..., np.newaxis] if channels == 1 else found


def normalize(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """The float half of `prepare`: channel order, ``(value * scale - mean) / std``, layout.

    Every step is done in float32 and in this order; mean and std are in the order of
    ``channel_order``.

    Args:
        pixels: one image or a batch as of `resize_and_crop`, shape (..., height, width, channels).

    Returns:
        Shape (..., channels, height, width) for NCHW, (..., height, width, channels) for NHWC;
        contiguous.

    Raises:
        ContractError: see `check`.
    """
    p = preprocessing
    check(p)
    if p.channel_order in BLUE_FIRST:
        pixels = pixels[..., BLUE_FIRST[p.channel_order]]
    *batch, height, width, count = pixels.shape
    first = p.layout == "NCHW"
    shape = (count, height, width) if first else (height, width, count)
    found = np.empty((*batch, *shape), np.float32)
    # Channel by channel: three times as fast as with rows of three numbers.
    for i in range(count):
        values = pixels[..., i].astype(np.float32)
        values *= np.float32(p.scale)
        values -= np.float32(p.mean[i])
        values /= np.float32(p.std[i])
        found[(..., i, slice(None), slice(None)) if first else (..., i)] = values
    return found


def pixels_of(images: NDArray[np.float32], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The pixels that `normalize` made images of.

    Args:
        images: as `normalize` gives them; in between the values of pixels, they are rounded.

    Returns:
        Shape (..., height, width, channels), colours as RGB.
    """
    p = preprocessing
    last = np.moveaxis(images, -3, -1) if p.layout == "NCHW" else images
    values = (last.astype(np.float64) * np.asarray(p.std) + np.asarray(p.mean)) / p.scale
    if p.channel_order in BLUE_FIRST:
        values = values[..., BLUE_FIRST[p.channel_order]]
    found: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(found)


class Impossible(NamedTuple):
    """A field that cannot be carried out."""

    field: str
    value: object
    expected: str


def check(preprocessing: Preprocessing) -> None:
    """Checks that a preprocessing can be carried out.

    Raises:
        ContractError: a value is impossible; the message names its field.
    """
    wrong = impossible(preprocessing)
    if wrong is not None:
        raise ContractError(
            f"preprocessing field '{wrong.field}' is {wrong.value!r}: expected {wrong.expected}; "
            "correct the contract or export again"
        )


def impossible(preprocessing: Preprocessing) -> Impossible | None:
    """The first field that cannot be carried out; ``None`` where all can."""
    p = preprocessing
    for possible, field, expected in (*_words(p), *_sizes(p)):
        if not possible:
            return Impossible(field, getattr(p, field), expected)
    for possible, field, expected in _values(p):
        if not possible:
            return Impossible(field, getattr(p, field), expected)
    return None


Rule = tuple[bool, str, str]
"""Whether it holds, the field that it is about, and what is expected."""


def _words(p: Preprocessing) -> Iterator[Rule]:
    alphas = ("keep",) if p.channels == 4 else tuple(a for a in ALPHAS if a != "keep")
    for field, known in (
        ("fit", FITS),
        ("channel_order", CHANNEL_ORDERS),
        ("exif", ORIENTATIONS),
        ("layout", LAYOUTS),
        ("interpolation", tuple(_FILTERS)),
    ):
        yield getattr(p, field) in known, field, " or ".join(known)
    yield p.alpha in alphas, "alpha", f"{' or '.join(alphas)} with {p.channel_order}"


def _sizes(p: Preprocessing) -> Iterator[Rule]:
    tall, wide = p.size
    yield all(0 < side <= MAX_SIDE for side in p.size), "crop", f"1 to {MAX_SIDE} px"
    if p.fit == "letterbox":
        yield p.resize is None, "resize", "null for the fit letterbox"
    elif p.resize is not None:
        new_tall, new_wide = pair(p.resize)
        crop = tall if tall == wide else f"{tall} x {wide}"
        inside = tall <= new_tall <= MAX_SIDE and wide <= new_wide <= MAX_SIDE
        yield inside, "resize", f"null or from the crop ({crop} px) to {MAX_SIDE} px"
    yield 0 <= p.pad <= 255, "pad", "0 to 255"


def _values(p: Preprocessing) -> Iterator[Rule]:
    """In the steps of `normalize`, each of which must stay within float32."""
    yield _is_float32(p.scale) and np.float32(p.scale) != 0, "scale", "finite and not 0"
    numbers = _COUNTS[p.channels]
    yield len(p.mean) == p.channels and all(map(_is_float32, p.mean)), "mean", numbers
    positive = all(_is_float32(s) and np.float32(s) > 0 for s in p.std)
    yield len(p.std) == p.channels and positive, "std", f"{numbers} above 0"
    yield _is_float32(255 * p.scale), "scale", "a number that leaves pixels finite"
    shifted = [(v * p.scale - m, s) for v in (0, 255) for m, s in zip(p.mean, p.std, strict=True)]
    finite = "numbers that leave pixels finite"
    yield all(_is_float32(x) for x, _ in shifted), "mean", finite
    yield all(_is_float32(x / s) for x, s in shifted), "std", finite


def default(size: Side) -> Preprocessing:
    """Preprocessing for photographs: the middle 7/8 of the shorter side, ImageNet statistics.

    Source: the evaluation of ImageNet networks since AlexNet, 256 px resized and 224 px cropped.

    Args:
        size: side of the network's input in pixels, or (height, width).

    Raises:
        UsageError: it is not positive or far too large.
    """
    height, width = _checked(size)
    return Preprocessing((_photo_side(height), _photo_side(width)), size)


def for_source(source: ImageSource, size: Side, task: str = CLASSIFY) -> Preprocessing:
    """The preprocessing that suits a source's images.

    Photographs get `default`; images that are too small for it are scaled straight to the
    size, since cropping would cut off what little they show. For `OF_WHOLE_IMAGES` all are shown
    whole, whatever their proportions; see `whole`.

    Args:
        size: side of the network's input in pixels, or (height, width).
        task: of the network.

    Raises:
        UsageError: the size is not positive or far too large.
        DataError: the source has no images, or one cannot be decoded.
    """
    height, width = _checked(size)
    if task in OF_WHOLE_IMAGES:
        return whole(size)
    split = "train" if "train" in source.splits else "all"
    count = source.size(split) if split in source.splits else 0
    if count == 0:
        raise DataError(f"data source '{source.name}' has no images")
    indices = np.linspace(0, count - 1, min(count, SAMPLED_IMAGES)).round().astype(int)
    sizes = [source.image(split, int(index)).shape[:2] for index in indices]
    # The side that is shorter beside that of the input, times both sides of the input.
    shorter = [min(tall * width, wide * height) for tall, wide in sizes]
    if 7 * np.median(shorter) >= 8 * height * width:
        return default(size)
    return Preprocessing(resize=size, crop=size)


def whole(size: Side) -> Preprocessing:
    """Images that are stretched to the size, as SSD has them (arXiv:1512.02325).

    Args:
        size: side of the network's input in pixels, or (height, width).

    Raises:
        UsageError: it is not positive or far too large.
    """
    _checked(size)
    return Preprocessing(resize=None, crop=size, fit="stretch")


def of_channels(preprocessing: Preprocessing, channels: int) -> Preprocessing:
    """The same for images of 1 (grey), 3 or 4 channels (with transparency as the last one).

    Grey has the mean of the statistics of colours; transparency stays between 0 and 1.
    """
    if channels == 1:
        grey_mean, grey_std = (sum(preprocessing.mean) / 3,), (sum(preprocessing.std) / 3,)
        return dataclasses.replace(preprocessing, channel_order="L", mean=grey_mean, std=grey_std)
    if channels == 4:
        return dataclasses.replace(
            preprocessing,
            channel_order="RGBA",
            alpha="keep",
            mean=(*preprocessing.mean, 0.0),
            std=(*preprocessing.std, 1.0),
        )
    return preprocessing


def _photo_side(side: int) -> int:
    """``side / 0.875``, rounded; it is never halfway between two integers."""
    return min(round(side / 0.875), MAX_SIDE)


def _checked(size: Side) -> tuple[int, int]:
    for side in pair(size):
        if not 0 < side <= MAX_SIDE:
            raise UsageError(f"resolution {side}: expected 1 to {MAX_SIDE} px")
    return pair(size)


def _is_float32(value: float) -> bool:
    """Whether a number is finite, also once it is stored as float32."""
    return math.isfinite(value) and abs(value) <= float(np.finfo(np.float32).max)
