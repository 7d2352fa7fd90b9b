"""Images in other sizes: pixels between pixels, and means of windows of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from exporters.tflite.convolutions import along
from exporters.tflite.flatbuffer import schema
from exporters.tflite.layout import Value
from exporters.tflite.lowering import Lowering, axis_of, operator
from exporters.tflite.pools import mean, window

if TYPE_CHECKING:
    from edgekit.core import Array


def resample(low: Lowering, x: Value, down: Array, across: Array) -> Value:
    """Sums of pixels in both directions, by shares (pixels of the result, pixels)."""
    if not _is_identity(across):
        x = along(low, x, (0, 2, 1, 3), across)
    if not _is_identity(down):
        x = along(low, x, (0, 1, 3, 2), down)
    return x


def _is_identity(shares: Array) -> bool:
    return shares.shape[0] == shares.shape[1] and np.array_equal(shares, np.eye(len(shares)))


@operator("upsample_nearest2d.vec", "upsample_nearest2d.default")
def upsample_nearest2d(
    low: Lowering,
    x: Value,
    output_size: Sequence[int] | None,
    scale_factors: Sequence[float] | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Value:
    """The pixels at ``floor(i / factor)``."""
    del output_size  # the shape of the result tells
    return _nearest(low, x, scale_factors or (scales_h, scales_w), centred=False)


@operator("_upsample_nearest_exact2d.vec", "_upsample_nearest_exact2d.default")
def upsample_nearest_exact2d(
    low: Lowering,
    x: Value,
    output_size: Sequence[int] | None,
    scale_factors: Sequence[float] | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Value:
    """The pixels at ``floor((i + 0.5) / factor)``."""
    del output_size
    return _nearest(low, x, scale_factors or (scales_h, scales_w), centred=True)


def _nearest(low: Lowering, x: Value, factors: Sequence[float | None], *, centred: bool) -> Value:
    own, asked = [], []
    for before, after, factor in zip(x.shape[2:], low.shape[2:], factors, strict=True):
        places = np.arange(after, dtype=np.float32) + np.float32(0.5 if centred else 0)
        step = np.float32(1 / factor if factor else before / after)
        asked.append(np.minimum(np.floor(places * step), before - 1).astype(np.int32))
        own.append(np.floor(places * np.float32(before / after)).astype(np.int32))
    if all(map(np.array_equal, own, asked)):
        sizes = low.constant(np.array(low.shape[2:], np.int32))
        inputs = [low.stored(x), sizes]
        return low.compute("RESIZE_NEAREST_NEIGHBOR", inputs, halfPixelCenters=centred)
    # The operator knows both sizes only, PyTorch goes by the factor where one was given.
    shape = list(x.shape)
    for dim, where in zip((2, 3), asked, strict=True):
        shape[dim] = len(where)
        inputs = [low.stored(x), low.constant(where)]
        x = low.compute("GATHER", inputs, shape, axis=axis_of(dim, 4))
    return x


@operator("upsample_bilinear2d.vec", "upsample_bilinear2d.default")
def upsample_bilinear2d(
    low: Lowering,
    x: Value,
    output_size: Sequence[int] | None,
    align_corners: bool,
    scale_factors: Sequence[float] | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Value:
    """Pixels between pixels."""
    del output_size
    factors = scale_factors or (scales_h, scales_w)
    sides = list(zip(x.shape[2:], low.shape[2:], factors, strict=True))
    # The operator knows both sizes only, as above.
    if align_corners or all(not f or round(f * before, 6) == after for before, after, f in sides):
        sizes = low.constant(np.array(low.shape[2:], np.int32))
        return low.compute(
            "RESIZE_BILINEAR",
            [low.stored(x), sizes],
            alignCorners=align_corners,
            halfPixelCenters=not align_corners,
        )
    return resample(low, x, *(_bilinear(before, after, f) for before, after, f in sides))


def _bilinear(before: int, after: int, factor: float | None) -> Array:
    """Shares of pixels in those of another size, centres of pixels at halves."""
    places = (np.arange(after) + 0.5) / (factor or after / before) - 0.5
    places = np.maximum(places, 0)
    first = np.minimum(np.floor(places).astype(int), before - 1)
    second = np.minimum(first + 1, before - 1)
    rest = np.minimum(places - first, 1.0)
    shares = np.zeros((after, before))
    np.add.at(shares, (np.arange(after), first), 1 - rest)
    np.add.at(shares, (np.arange(after), second), rest)
    return shares.astype(np.float32)


@operator("upsample_bicubic2d.vec", "upsample_bicubic2d.default")
def upsample_bicubic2d(
    low: Lowering,
    x: Value,
    output_size: Sequence[int] | None,
    align_corners: bool,
    scale_factors: Sequence[float] | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Value:
    """Sums of four pixels in each direction. The format has no such operator."""
    del output_size
    factors = scale_factors or (scales_h, scales_w)
    sides = zip(x.shape[2:], low.shape[2:], factors, strict=True)
    return resample(low, x, *(_bicubic(i, o, f, align_corners) for i, o, f in sides))


def _bicubic(before: int, after: int, factor: float | None, align_corners: bool) -> Array:
    """Shares of pixels in those of another size, by the kernel of Keys (1981)."""
    if align_corners:
        places = np.arange(after) * ((before - 1) / (after - 1) if after > 1 else 0.0)
    else:
        places = (np.arange(after) + 0.5) / (factor or after / before) - 0.5
    first = np.floor(places).astype(int)
    sharpness = -0.75  # as PyTorch has it
    shares = np.zeros((after, before))
    for i in range(-1, 3):
        t = np.abs(places - first - i)
        near = ((sharpness + 2) * t - (sharpness + 3)) * t * t + 1
        far = sharpness * (((t - 5) * t + 8) * t - 4)
        where = np.clip(first + i, 0, before - 1)
        np.add.at(shares, (np.arange(after), where), np.where(t <= 1, near, far))
    return shares.astype(np.float32)


@operator("adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def adaptive_avg_pool2d(low: Lowering, x: Value, output_size: Sequence[int]) -> Value:
    """Means of windows that tile the image."""
    del output_size
    sides, out = x.shape[2:], low.shape[2:]
    if tuple(sides) == tuple(out):
        return x
    if tuple(out) == (1, 1):
        return mean(low, x, [2, 3], True, None)
    if any(i % o for i, o in zip(sides, out, strict=True)):
        return resample(low, x, _windows(sides[0], out[0]), _windows(sides[1], out[1]))
    kernel = [i // o for i, o in zip(sides, out, strict=True)]
    options = window(kernel, kernel, schema().Padding.VALID)
    return low.compute("AVERAGE_POOL_2D", [low.stored(x)], **options)


def _windows(size: int, count: int) -> Array:
    """Shares of ``size`` pixels in the means of ``count`` windows, as PyTorch lays them."""
    shares = np.zeros((count, size), np.float32)
    for i in range(count):
        begin, end = i * size // count, -(-(i + 1) * size // count)
        shares[i, begin:end] = 1 / (end - begin)
    return shares
