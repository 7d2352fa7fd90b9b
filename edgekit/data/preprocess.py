"""From an image to a network's input, as a `Preprocessing` record says.

Training, verification, evaluation and prediction all go through `prepare`, or through its two
halves: `resize_and_crop` (integers, can be cached) and `normalize`. NumPy and Pillow only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.core import ImageSource, Preprocessing
from edgekit.errors import ContractError, DataError, UsageError

# Pillow's filters widen when they shrink an image (antialiasing); "area" is the plain mean.
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}

MAX_SIDE = 16_384
"""Largest side that a contract may ask for, so that a damaged one cannot exhaust memory."""

SAMPLED_IMAGES = 32
"""Images whose size is looked at to tell photographs from small images."""


def prepare(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Makes a network's input from one image.

    Args:
        image: 8-bit RGB, shape (height, width, 3).

    Returns:
        Shape (3, crop, crop) for NCHW, (crop, crop, 3) for NHWC; no batch axis.

    Raises:
        DataError: the image cannot meet the preprocessing.
        ContractError: no image could; see `check`.
    """
    return normalize(resize_and_crop(image, preprocessing), preprocessing)


def resize_and_crop(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The integer half of `prepare`: geometry, still RGB.

    The longer side of the resized image is rounded half up, the crop starts at
    ``(side - crop) // 2``. Only what the crop shows is resampled, so that memory stays bounded
    for any aspect ratio; neighbouring pixels still count where the filter reaches them.

    Args:
        image: 8-bit RGB, shape (height, width, 3).

    Returns:
        Shape (crop, crop, 3), freshly owned.

    Raises:
        DataError: the image, or the image after resizing, is smaller than the crop.
        ContractError: see `check`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise DataError(
            f"image of shape {image.shape} and type {image.dtype}: "
            "expected uint8 of shape (height, width, 3), none of them 0"
        )
    height, width = image.shape[:2]
    resize, crop = preprocessing.resize, preprocessing.crop
    short = min(height, width) if resize is None else resize
    if short < crop:
        after = "" if resize is None else f" after resizing its shorter side to {resize} px"
        raise DataError(
            f"image of {width} x {height} px{after} is smaller than the crop of {crop} x {crop} "
            "px: give a larger image, or a preprocessing that resizes to at least the crop"
        )
    check(preprocessing)
    if resize is None:
        top, left = (height - crop) // 2, (width - crop) // 2
        return image[top : top + crop, left : left + crop].copy()
    top, bottom = crop_edges(height, min(height, width), resize, crop)
    left, right = crop_edges(width, min(height, width), resize, crop)
    resample = _FILTERS[preprocessing.interpolation]
    picture = Image.fromarray(np.ascontiguousarray(image))
    # Pillow rounds between its two passes and orders them as it likes. Rows first, always, is
    # what it does for a whole image, so this equals resizing all of it and cropping then.
    rows = picture.resize((crop, height), resample, (left, 0, right, height), reducing_gap=None)
    done = rows.resize((crop, crop), resample, (0, top, crop, bottom), reducing_gap=None)
    return np.array(done)


def normalize(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """The float half of `prepare`: channel order, ``(value * scale - mean) / std``, layout.

    Every step is done in float32 and in this order; mean and std are in the order of
    ``channel_order``.

    Args:
        pixels: one image or a batch, 8-bit RGB, shape (..., height, width, 3).

    Returns:
        Shape (..., 3, height, width) for NCHW, (..., height, width, 3) for NHWC; contiguous.

    Raises:
        ContractError: see `check`.
    """
    check(preprocessing)
    if preprocessing.channel_order == "BGR":
        pixels = pixels[..., ::-1]
    *batch, height, width, _ = pixels.shape
    first = preprocessing.layout == "NCHW"
    found = np.empty((*batch, *((3, height, width) if first else (height, width, 3))), np.float32)
    # Channel by channel: three times as fast as with rows of three numbers.
    for i in range(3):
        values = pixels[..., i].astype(np.float32)
        values *= np.float32(preprocessing.scale)
        values -= np.float32(preprocessing.mean[i])
        values /= np.float32(preprocessing.std[i])
        found[(..., i, slice(None), slice(None)) if first else (..., i)] = values
    return found


def check(preprocessing: Preprocessing) -> None:
    """Checks that a preprocessing can be carried out.

    Raises:
        ContractError: a value is impossible; the message names its field.
    """
    p = preprocessing
    _require(0 < p.crop <= MAX_SIDE, "crop", p.crop, f"1 to {MAX_SIDE} px")
    if p.resize is not None:
        _require(
            p.crop <= p.resize <= MAX_SIDE,
            "resize",
            p.resize,
            f"null or from the crop ({p.crop} px) to {MAX_SIDE} px",
        )
    _require(p.channel_order in ("RGB", "BGR"), "channel_order", p.channel_order, "RGB or BGR")
    _require(p.layout in ("NCHW", "NHWC"), "layout", p.layout, "NCHW or NHWC")
    _require(p.interpolation in _FILTERS, "interpolation", p.interpolation, " or ".join(_FILTERS))
    _require(
        _is_float32(p.scale) and np.float32(p.scale) != 0, "scale", p.scale, "finite and not 0"
    )
    _require(
        len(p.mean) == 3 and all(map(_is_float32, p.mean)), "mean", p.mean, "three finite numbers"
    )
    _require(
        len(p.std) == 3 and all(_is_float32(s) and np.float32(s) > 0 for s in p.std),
        "std",
        p.std,
        "three finite numbers above 0",
    )
    # In the steps of `normalize`, each of which must stay within float32.
    _require(_is_float32(255 * p.scale), "scale", p.scale, "a number that leaves pixels finite")
    shifted = [(v * p.scale - m, s) for v in (0, 255) for m, s in zip(p.mean, p.std, strict=True)]
    _require(
        all(_is_float32(x) for x, _ in shifted), "mean", p.mean, "numbers that leave pixels finite"
    )
    _require(
        all(_is_float32(x / s) for x, s in shifted),
        "std",
        p.std,
        "numbers that leave pixels finite",
    )


def default(resolution: int) -> Preprocessing:
    """Preprocessing for photographs: the middle 7/8 of the shorter side, ImageNet statistics.

    Source: the evaluation of ImageNet networks since AlexNet, 256 px resized and 224 px cropped.

    Args:
        resolution: side of the network's input in pixels.

    Raises:
        UsageError: the resolution is not positive or far too large.
    """
    _check_resolution(resolution)
    resize = min(_photo_side(resolution), MAX_SIDE)
    return Preprocessing(resize=resize, crop=resolution)


def for_source(source: ImageSource, resolution: int) -> Preprocessing:
    """The preprocessing that suits a source's images.

    Photographs get `default`; images that are too small for it are scaled straight to the
    resolution, since cropping would cut off what little they show.

    Args:
        resolution: side of the network's input in pixels.

    Raises:
        UsageError: the resolution is not positive or far too large.
        DataError: the source has no images, or one cannot be decoded.
    """
    _check_resolution(resolution)
    split = "train" if "train" in source.splits else "all"
    count = source.size(split) if split in source.splits else 0
    if count == 0:
        raise DataError(f"data source '{source.name}' has no images")
    indices = np.linspace(0, count - 1, min(count, SAMPLED_IMAGES)).round().astype(int)
    shorts = [min(source.image(split, int(index)).shape[:2]) for index in indices]
    if np.median(shorts) >= resolution / 0.875:
        return default(resolution)
    return Preprocessing(resize=resolution, crop=resolution)


def crop_edges(side: int, short: int, resize: int, crop: int) -> tuple[float, float]:
    """The crop's two edges along one axis, in pixels of the original image."""
    resized = (2 * side * resize + short) // (2 * short)
    offset = (resized - crop) // 2
    return offset * side / resized, (offset + crop) * side / resized


def _photo_side(resolution: int) -> int:
    """``resolution / 0.875``, rounded; it is never halfway between two integers."""
    return round(resolution / 0.875)


def _check_resolution(resolution: int) -> None:
    if not 0 < resolution <= MAX_SIDE:
        raise UsageError(f"resolution {resolution}: expected 1 to {MAX_SIDE} px")


def _is_float32(value: float) -> bool:
    """Whether a number is finite, also once it is stored as float32."""
    return math.isfinite(value) and abs(value) <= float(np.finfo(np.float32).max)


def _require(condition: bool, field: str, value: object, expected: str) -> None:
    if not condition:
        raise ContractError(
            f"preprocessing field '{field}' is {value!r}: expected {expected}; "
            "correct the contract or export again"
        )
