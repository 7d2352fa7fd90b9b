"""Pools and reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from exporters.tflite.flatbuffer import schema
from exporters.tflite.layout import Layout, Value
from exporters.tflite.lowering import Lowering, Operand, canonical, operator
from exporters.tflite.padding import LOWEST, pad, padded, pair


@operator("max_pool2d_with_indices.default")
def max_pool2d_with_indices(low: Lowering, **how: Operand) -> list[Operand]:
    """`max_pool2d`, and where, which nothing here may ask for."""
    return [max_pool2d(low, **how), None]


@operator("max_pool2d.default")
def max_pool2d(
    low: Lowering,
    x: Value,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Value:
    """The largest of each window."""
    del ceil_mode  # the shape of the result tells
    if pair(dilation) != (1, 1):
        raise low.refuse(f"a pooling with dilation {list(dilation)}")
    kernel, stride = pair(kernel_size), pair(stride or kernel_size)
    producer = low.graph.producer(x.tensor)
    positive = producer is not None and producer.kind in ("RELU", "RELU6")
    fill = None if positive else LOWEST
    tensor, mode = padded(low, x, low.shape[2:], kernel, stride, pair(padding), fill)
    return low.compute("MAX_POOL_2D", [tensor], **window(kernel, stride, mode))


def window(kernel: Sequence[int], stride: Sequence[int], mode: int) -> dict[str, Any]:
    """Options of a pooling."""
    return {
        "padding": mode,
        "filterHeight": kernel[0],
        "filterWidth": kernel[1],
        "strideH": stride[0],
        "strideW": stride[1],
    }


@operator("avg_pool2d.default")
def avg_pool2d(
    low: Lowering,
    x: Value,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Value:
    """The mean of each window."""
    del ceil_mode
    kernel, stride = pair(kernel_size), pair(stride or kernel_size)
    padding = pair(padding)
    sides, out = x.shape[2:], low.shape[2:]
    # What each window's sum is divided by, here and in the operator.
    divisors = np.ones((1, 1))
    for size, o, k, s, p in zip(sides, out, kernel, stride, padding, strict=True):
        begin = np.arange(o) * s - p
        low_end, high_end = (-p, size + p) if count_include_pad else (0, size)
        length = np.minimum(begin + k, high_end) - np.maximum(begin, low_end)
        divisors = divisors * (length[:, None] if divisors.shape == (1, 1) else length[None, :])
    divisors = divisors.reshape(out)
    if divisor_override:
        divisors = np.full(out, divisor_override)
    total = [(o - 1) * s + k - i for o, s, k, i in zip(out, stride, kernel, sides, strict=True)]
    amounts = [(p, max(0, t - p)) for p, t in zip(padding, total, strict=True)]
    tensor = low.stored(x)
    if any(map(any, amounts)):
        tensor = pad(low, tensor, [(0, 0), *amounts, (0, 0)])
    found = low.compute(
        "AVERAGE_POOL_2D", [tensor], **window(kernel, stride, schema().Padding.VALID)
    )
    scale = (kernel[0] * kernel[1] / divisors).astype(np.float32)
    if np.all(scale == 1):
        return found
    factor = low.constant(scale[None, :, :, None])
    return low.compute("MUL", [found.tensor, factor])


@operator("adaptive_max_pool2d.default")
def adaptive_max_pool2d(low: Lowering, x: Value, output_size: Sequence[int]) -> list[Operand]:
    """The largest of windows that tile the image, and where, which nothing here may ask for."""
    del output_size
    sides, out = x.shape[2:], low.shape[2:]
    if any(i % o for i, o in zip(sides, out, strict=True)):
        raise low.refuse(f"a pooling of {sides[0]}x{sides[1]} pixels to {out[0]}x{out[1]}")
    kernel = [i // o for i, o in zip(sides, out, strict=True)]
    options = window(kernel, kernel, schema().Padding.VALID)
    return [low.compute("MAX_POOL_2D", [low.stored(x)], **options), None]


@operator("mean.dim")
def mean(low: Lowering, x: Value, dim: Sequence[int], keepdim: bool, dtype: Operand) -> Value:
    """The mean over some dimensions."""
    del dtype
    return _reduced(low, "MEAN", x, dim, keepdim)


def _reduced(
    low: Lowering, kind: str, x: Value, dim: Sequence[int] | int | None, keepdim: bool
) -> Value:
    rank = len(x.shape)
    dims = [dim] if isinstance(dim, int) else list(dim or range(rank))
    dims = sorted({d % rank for d in dims})
    tensor = low.stored(x)
    if kind == "MEAN" and rank == 4 and dims == [2, 3] and low.forms.mean == "pool":
        options = window(x.shape[2:], (1, 1), schema().Padding.VALID)
        value = low.compute("AVERAGE_POOL_2D", [tensor], (*x.shape[:2], 1, 1), **options)
        dimensions = value.layout.dimensions[: 4 if keepdim else 2]
        return Value(value.tensor, Layout(dimensions, value.layout.memory))
    order = canonical(rank)
    axes = low.constant(np.array(sorted(order.index(d) for d in dims), np.int32))
    if keepdim:
        kept = tuple(1 if i in dims else size for i, size in enumerate(x.shape))
        return low.compute(kind, [tensor, axes], kept, keepDims=True)
    left = [i for i in range(rank) if i not in dims]
    places = [left.index(i) for i in order if i in left]
    return low.compute(kind, [tensor, axes], [x.shape[i] for i in left], places, keepDims=False)


@operator("sum.dim_IntList")
def sum_(low: Lowering, x: Value, dim: Sequence[int], keepdim: bool, dtype: Operand) -> Value:
    """The sum over some dimensions."""
    del dtype
    return _reduced(low, "SUM", x, dim, keepdim)


@operator("amax.default")
def amax(low: Lowering, x: Value, dim: Sequence[int], keepdim: bool) -> Value:
    """The largest over some dimensions."""
    return _reduced(low, "REDUCE_MAX", x, dim, keepdim)


@operator("max.dim")
def largest(low: Lowering, x: Value, dim: int, keepdim: bool) -> list[Operand]:
    """`amax` over one dimension, and where it is, which nothing here may ask for."""
    return [amax(low, x, [dim], keepdim), None]
