"""Convolutions and products of matrices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from exporters.tflite.channels import Channels, of_value, packed, whole
from exporters.tflite.elementwise import binary, times
from exporters.tflite.flatbuffer import schema
from exporters.tflite.layout import NHWC, Layout, Value, plain
from exporters.tflite.lowering import Lowering, Operand, operator
from exporters.tflite.padding import LOWEST, pad, padded, pair


@operator("conv2d.default", "conv2d.padding", "convolution.default", channels=True)
def conv2d(
    low: Lowering,
    x: Value | Channels,
    weight: Operand,
    bias: Operand,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
    transposed: bool = False,
    output_padding: Sequence[int] = (0,),
) -> Value | Channels:
    """A convolution; weights (out, in / groups, height, width)."""
    if isinstance(x, Channels):
        if transposed or groups not in (1, x.shape[1]):
            x = whole(low, x)
        else:
            how = (stride, padding, dilation, groups)
            return _in_any_order(low, x, weight, bias, *how)
    if transposed:
        return conv_transpose2d(
            low, x, weight, bias, stride, padding, output_padding, groups, dilation
        )
    if len(x.shape) != 4:
        many = conv1d if len(x.shape) == 3 else conv3d
        return many(low, x, weight, bias, stride, padding, dilation, groups)
    out_channels, per_group, *kernel = weight.shape
    stride, dilation = pair(stride), pair(dilation)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if padding == "valid":
        before = (0, 0)
    elif padding == "same":  # PyTorch puts the odd pixel behind, too
        before = ((reach[0] - 1) // 2, (reach[1] - 1) // 2)
    else:
        before = pair(cast("Sequence[int]", padding))
    tensor, mode = padded(low, x, low.shape[2:], reach, stride, before)
    options: dict[str, Any] = {
        "padding": mode,
        "strideH": stride[0],
        "strideW": stride[1],
        "dilationHFactor": dilation[0],
        "dilationWFactor": dilation[1],
    }
    bias = np.zeros(out_channels, np.float32) if bias is None else bias
    channels = x.shape[1]
    if per_group == 1 and groups == channels:
        # (out, 1, h, w) to (1, h, w, out)
        weights = low.constant(weight.transpose(1, 2, 3, 0))
        return low.compute(
            "DEPTHWISE_CONV_2D",
            [tensor, weights, low.constant(bias)],
            depthMultiplier=out_channels // channels,
            **options,
        )
    ohwi = weight.transpose(0, 2, 3, 1)
    pixel = low.graph.tensors[tensor].shape[1:3] == (1, 1) and tuple(kernel) == (1, 1)
    if pixel and groups == 1 and low.forms.pointwise == "dense":
        return _dense_pixel(low, x, ohwi.reshape(out_channels, -1), bias)
    if groups > 1 and low.forms.grouped == "split":
        return _split_groups(low, tensor, ohwi, bias, groups, options)
    return low.compute("CONV_2D", [tensor, low.constant(ohwi), low.constant(bias)], **options)


def _in_any_order(
    low: Lowering, x: Channels, weight: Any, bias: Any, *how: Any
) -> Value | Channels:
    """A convolution of channels as they lie; where there is one for each, so does its result."""
    tensor, places = packed(low, x)
    image = Value(tensor, plain(x.shape, NHWC))
    order = np.argsort(places)
    if weight.shape[1] == len(order):  # all channels in each
        found = conv2d(low, image, weight[:, order], bias, *how)
        assert isinstance(found, Value)
        return found
    times = len(weight) // len(order)
    rows = (order[:, None] * times + np.arange(times)).reshape(-1)
    moved = conv2d(low, image, weight[rows], None if bias is None else bias[rows], *how)
    assert isinstance(moved, Value)
    found_ = of_value(low, moved)
    positions = (places[:, None] * times + np.arange(times)).reshape(-1)
    return dataclasses.replace(found_, places=positions)


def _dense_pixel(low: Lowering, image: Value, weights: Any, bias: Any) -> Value:
    return low.compute(
        "FULLY_CONNECTED",
        [low.stored(image), low.constant(weights), low.constant(bias)],
        keepNumDims=True,
    )


def _split_groups(
    low: Lowering, tensor: int, weight: Any, bias: Any, groups: int, options: dict[str, Any]
) -> Value:
    """One convolution for each group, between a split and a concatenation."""
    shape = low.graph.tensors[tensor].shape
    part = (*shape[:3], shape[3] // groups)
    axis = low.constant(np.array(3, np.int32))
    parts = low.graph.emit_several(
        "SPLIT", [axis, tensor], [part] * groups, low.name, numSplits=groups
    )
    batch, channels, height, width = low.shape
    done = [
        low.emit(
            "CONV_2D",
            [one, low.constant(w), low.constant(b)],
            (batch, height, width, channels // groups),
            **options,
        )
        for one, w, b in zip(parts, np.split(weight, groups), np.split(bias, groups), strict=True)
    ]
    return low.compute("CONCATENATION", done, axis=3)


@operator("conv1d.default", "conv1d.padding")
def conv1d(
    low: Lowering,
    x: Value,
    weight: Operand,
    bias: Operand,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> Value:
    """Of rows; weights (out, in / groups, length). It is one of images of height 1."""
    image = _shaped(x, (*x.shape[:2], 1, x.shape[2]))
    if not isinstance(padding, str):
        padding = (0, padding[0])
    with low.giving((*low.shape[:2], 1, low.shape[2])):
        strides, dilations = (1, stride[0]), (1, dilation[0])
        outputs = conv2d(low, image, weight[:, :, None], bias, strides, padding, dilations, groups)
    return _shaped(whole(low, outputs) if isinstance(outputs, Channels) else outputs, low.shape)


@operator("conv3d.default", "conv3d.padding")
def conv3d(
    low: Lowering,
    x: Value,
    weight: Operand,
    bias: Operand,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> Value:
    """Of volumes; weights (out, in / groups, depth, height, width).

    The format's own knows neither groups nor integers. This is one of images, of which there are as
    many as planes of the result, and whose channels are those of all planes that it reaches.
    """
    batch, channels, depth, *sides = x.shape
    reach = weight.shape[2]
    steps, wide = [*stride] * (4 - len(stride)), [*dilation] * (4 - len(dilation))
    rest: Sequence[int] | str = padding
    if isinstance(padding, str):
        before = wide[0] * (reach - 1) // 2 if padding == "same" else 0
    else:
        before, *rest = [*padding] * (4 - len(padding))
    planes = low.shape[2]
    behind = max(0, (planes - 1) * steps[0] + (reach - 1) * wide[0] + 1 - depth - before)
    order = (0, 2, 3, 4, 1)
    tensor = low.stored(x, order)
    if before or behind:
        tensor = pad(low, tensor, [(0, 0), (before, behind), (0, 0), (0, 0), (0, 0)])
    where = np.arange(planes)[:, None] * steps[0] + np.arange(reach) * wide[0]
    found = low.constant(where.astype(np.int32))
    shape = (batch, planes, reach, *sides, channels)
    tensor = low.emit("GATHER", [tensor, found], shape, axis=1)
    # (batch, planes, reach, height, width, channels) to images of channels of groups of planes
    per = channels // groups
    layout = plain((batch, planes, reach, *sides, channels), range(6)).reshaped(
        (batch, planes, reach, *sides, groups, per)
    )
    assert layout is not None
    image = Value(tensor, layout.permuted((0, 1, 5, 6, 2, 3, 4)))
    image = _shaped(image, (batch * planes, channels * reach, *sides))
    weights = weight.reshape(len(weight), -1, *weight.shape[3:])
    out = (batch * planes, len(weight), *low.shape[3:])
    with low.giving(out):
        done = conv2d(low, image, weights, bias, steps[1:], rest, wide[1:], groups)
    assert isinstance(done, Value)
    split = _shaped(done, (batch, planes, len(weight), *low.shape[3:]))
    return Value(split.tensor, split.layout.permuted((0, 2, 1, 3, 4)))


@operator("conv_transpose2d.input")
def conv_transpose2d(
    low: Lowering,
    x: Value,
    weight: Operand,
    bias: Operand,
    stride: Sequence[int],
    padding: Any,
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
) -> Value:
    """A transposed convolution; weights (in, out, height, width)."""
    stride, padding, extra = pair(stride), pair(padding), pair(output_padding)
    if groups != 1:
        raise low.refuse(f"a transposed convolution with groups {groups}")
    if pair(dilation) != (1, 1):
        raise low.refuse(f"a transposed convolution with dilation {list(dilation)}")
    kernel = weight.shape[2:]
    batch, channels, *sides = low.shape
    # Computed in full first: the operator crops in its own way.
    full = [(i - 1) * s + k for i, s, k in zip(x.shape[2:], stride, kernel, strict=True)]
    shape = (batch, *full, channels)
    inputs = [
        low.constant(np.array(shape, np.int32)),
        low.constant(weight.transpose(1, 2, 3, 0)),
        low.stored(x),
        low.constant(np.zeros(channels, np.float32) if bias is None else bias),
    ]
    tensor = low.emit(
        "TRANSPOSE_CONV",
        inputs,
        shape,
        padding=schema().Padding.VALID,
        strideH=stride[0],
        strideW=stride[1],
    )
    beyond = [max(0, s + p - f) for s, p, f in zip(sides, padding, full, strict=True)]
    if any(beyond) and any(extra):
        raise low.refuse(
            f"a transposed convolution with output_padding {list(output_padding)} beyond its result"
        )
    begin = low.constant(np.array((0, *padding, 0), np.int32))
    size = low.constant(np.array((batch, *sides, channels), np.int32))
    if tuple(sides) == tuple(full):
        return Value(tensor, plain(low.shape, NHWC))
    return low.compute("SLICE", [tensor, begin, size])


@operator("linear.default")
def linear(low: Lowering, x: Value, weight: Operand, bias: Operand) -> Value:
    """A fully connected layer; weights (out, in)."""
    bias = np.zeros(len(weight), np.float32) if bias is None else bias
    shape = (*x.shape[:-1], len(weight))
    features = x.layout.dimensions[-1]
    rest = x.layout.wanted(range(len(x.shape) - 1))
    inner = [atom for atom in x.layout.memory if atom in features]
    if len(inner) == len(features) and x.layout.lies((*rest, *inner)):
        # Flattened in another order than PyTorch's: the weights follow, not the activations.
        columns = weight.reshape(len(weight), *(atom.size for atom in features))
        weight = columns.transpose(0, *(1 + features.index(atom) for atom in inner))
        weight = weight.reshape(len(weight), -1)
        dimensions = (*x.layout.dimensions[:-1], tuple(inner))
        x = Value(x.tensor, Layout(dimensions, x.layout.memory))
    order = tuple(range(len(x.shape)))
    inputs = [low.stored(x, order), low.constant(weight), low.constant(bias)]
    keep = len(order) != 2
    return low.compute("FULLY_CONNECTED", inputs, shape, order, keepNumDims=keep)


def along(low: Lowering, x: Value, order: Sequence[int], weight: Operand) -> Value:
    """Products of a matrix with one dimension, the last of an order.

    A constant on the left of BATCH_MATMUL gives zeros in 8 bits and does not load in others. It
    becomes weights on the right, behind a transposition.
    """
    turned = Value(x.tensor, x.layout.permuted(order))
    found = linear(low, turned, weight, None)
    return Value(found.tensor, found.layout.permuted([*np.argsort(order)]))


@operator("addmm.default")
def addmm(
    low: Lowering, x: Operand, mat1: Operand, mat2: Operand, beta: float, alpha: float
) -> Operand:
    """``beta * input + alpha * (mat1 @ mat2)``."""
    known = not isinstance(x, Value) and not isinstance(mat2, Value)
    if known and isinstance(mat1, Value):
        bias = np.broadcast_to(beta * x, low.shape)
        if np.array_equal(bias, np.broadcast_to(bias[:1], bias.shape)):
            return linear(low, mat1, alpha * mat2.T, bias[0])
    product = matmul(low, mat1, mat2=mat2)
    return binary(low, "ADD", times(low, product, alpha), times(low, x, beta))


@operator("matmul.default", "bmm.default", "mm.default")
def matmul(low: Lowering, x: Operand, **other: Operand) -> Operand:
    """A product of matrices, the last two dimensions; those before are broadcast."""
    (right,) = other.values()
    if not isinstance(x, Value) and not isinstance(right, Value):
        return np.matmul(x, right)
    if isinstance(x, Value) and isinstance(right, Value) and 1 in (len(x.shape), len(right.shape)):
        raise low.refuse("matmul with a computed vector")
    rank = max(len(x.shape), len(right.shape))
    if not isinstance(right, Value):
        matrix = _one_matrix(right[:, None] if right.ndim == 1 else right, rank)
        if matrix is not None:
            return _shaped(linear(low, x, matrix.T, None), low.shape)
    if not isinstance(x, Value):
        matrix = _one_matrix(x[None] if x.ndim == 1 else x, rank)
        if len(right.shape) == 1 and matrix is not None:
            return _shaped(linear(low, right, matrix, None), low.shape)
        turned = (*range(len(right.shape) - 2), len(right.shape) - 1, len(right.shape) - 2)
        if matrix is not None:
            return _shaped(along(low, right, turned, matrix), low.shape)
        # The same from the other side, as `along` has it.
        columns = Value(right.tensor, right.layout.permuted(turned))
        found = _product(
            low, columns, np.swapaxes(x, -1, -2), (*low.shape[:-2], *low.shape[:-3:-1])
        )
        return Value(found.tensor, found.layout.permuted((*range(rank - 2), rank - 1, rank - 2)))
    return _product(low, x, right, low.shape)


def _one_matrix(known: Operand, rank: int) -> Operand:
    """A matrix that is the same for all; ``None`` where there are several, or ranks grow by it."""
    first = known.reshape(-1, *known.shape[-2:])[0]
    same = known.ndim <= rank and np.array_equal(known, np.broadcast_to(first, known.shape))
    return first if same and (known.ndim == 2 or rank > 2) else None


def _shaped(value: Value, shape: tuple[int, ...]) -> Value:
    """Without, or with more dimensions of 1."""
    layout = value.layout.reshaped(shape)
    assert layout is not None
    return Value(value.tensor, layout)


def _product(low: Lowering, x: Operand, right: Operand, shape: Sequence[int]) -> Value:
    stored = [low.stored(operand, range(len(operand.shape))) for operand in (x, right)]
    if isinstance(x, Value) and isinstance(right, Value):
        return low.compute("BATCH_MATMUL", stored, shape, range(len(shape)))
    with low.in_float_only():  # with several constant matrices kernels of 8 bits are wrong
        return low.compute("BATCH_MATMUL", stored, shape, range(len(shape)))


@operator("scaled_dot_product_attention.default")
def attention(
    low: Lowering,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Operand,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool = False,
) -> Value:
    """Shares of values, by how well their keys fit a query; (..., tokens, features) each."""
    for argument, given in {"dropout_p": dropout_p, "enable_gqa": enable_gqa}.items():
        if given:
            raise low.refuse(f"an attention with {argument}")
    query, key, value = low.value(query), low.value(key), low.value(value)
    rank, tokens = len(query.shape), key.shape[-2]
    order = tuple(range(rank))
    turned = (*order[:-2], rank - 1, rank - 2)
    shape = (*query.shape[:-1], tokens)
    keys = low.stored(Value(key.tensor, key.layout.permuted(turned)), order)
    fits = low.compute("BATCH_MATMUL", [low.stored(query, order), keys], shape, order)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scaled = low.compute(
        "MUL", [fits.tensor, low.constant(np.array(factor, np.float32))], shape, order
    )
    if is_causal:
        attn_mask = np.tri(shape[-2], tokens, dtype=bool)
    if attn_mask is not None:
        scaled = _masked(low, scaled, attn_mask)
    shares = low.compute("SOFTMAX", [scaled.tensor], shape, order, beta=1.0)
    return low.compute("BATCH_MATMUL", [shares.tensor, low.stored(value, order)], order=order)


def _masked(low: Lowering, fits: Value, mask: Operand) -> Value:
    """How well keys fit, with something added, or with those left out whose mask is false."""
    order = range(len(fits.shape))
    if isinstance(mask, Value):
        inputs = [fits.tensor, low.stored(mask, range(len(mask.shape)))]
        return low.compute("ADD", inputs, fits.shape, order)
    if mask.dtype != bool:
        known = low.constant(mask.astype(np.float32))
        return low.compute("ADD", [fits.tensor, known], fits.shape, order)
    if not mask.any(-1).all():
        raise low.refuse("an attention with attn_mask that leaves out all keys of a query")
    with low.in_float_only():  # so low a number leaves no digits for the others
        known = low.constant(np.where(mask, 0, LOWEST / 2).astype(np.float32))
        return low.compute("ADD", [fits.tensor, known], fits.shape, order)


@operator("_scaled_dot_product_flash_attention_for_cpu.default")
def cpu_attention(low: Lowering, **how: Operand) -> list[Operand]:
    """`attention`, and what training needs besides."""
    return [attention(low, **how), None]
