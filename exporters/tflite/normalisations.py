"""Operators that look at several numbers to scale each: normalisations and shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporters.tflite.elementwise import binary
from exporters.tflite.layout import Layout, Value, plain
from exporters.tflite.lowering import Lowering, Operand, canonical, operator
from exporters.tflite.pools import mean, sum_


@operator("softmax.int", "_softmax.default", "_safe_softmax.default")
def softmax(low: Lowering, x: Value, dim: int, **how: Operand) -> Value:
    """Shares along a dimension."""
    del how
    order = _last(len(x.shape), dim)
    return low.compute("SOFTMAX", [low.stored(x, order)], order=order, beta=1.0)


@operator("log_softmax.int", "_log_softmax.default")
def log_softmax(low: Lowering, x: Value, dim: int, **how: Operand) -> Value:
    """Logarithms of shares along a dimension."""
    del how
    order = _last(len(x.shape), dim)
    return low.compute("LOG_SOFTMAX", [low.stored(x, order)], order=order)


def _last(rank: int, dim: int) -> tuple[int, ...]:
    """The order of dimensions with one behind all others."""
    return (*(i for i in range(rank) if i != dim % rank), dim % rank)


@operator("batch_norm.default")
def batch_norm(
    low: Lowering,
    x: Value,
    weight: Operand,
    bias: Operand,
    running_mean: Operand,
    running_var: Operand,
    eps: float,
    **how: Operand,
) -> Operand:
    """A factor and a summand for each channel; those behind convolutions are folded before."""
    if how.get("training"):
        raise low.refuse("a batch norm with training=True")
    factor = 1 / np.sqrt(running_var.astype(np.float64) + eps)
    factor = factor if weight is None else factor * weight
    summand = -running_mean * factor + (0 if bias is None else bias)
    shape = [-1 if i == 1 else 1 for i in range(len(x.shape))]
    scaled = binary(low, "MUL", x, factor.astype(np.float32).reshape(shape))
    return binary(low, "ADD", scaled, summand.astype(np.float32).reshape(shape))


@operator("native_batch_norm.default", "_native_batch_norm_legit_no_training.default")
def native_batch_norm(low: Lowering, **how: Operand) -> list[Operand]:
    """`batch_norm`, and what training needs besides."""
    return [batch_norm(low, **how), None, None]


@operator("layer_norm.default")
def layer_norm(
    low: Lowering,
    x: Value,
    normalized_shape: Sequence[int],
    weight: Operand,
    bias: Operand,
    eps: float,
    **how: Operand,
) -> Operand:
    """Mean 0 and variance 1 over the last dimensions, then a factor and a summand."""
    del how
    rank = len(x.shape)
    axes = range(rank - len(normalized_shape), rank)
    order = canonical(rank)
    places = sorted(order.index(i) for i in axes)
    tensor = _standardised(low, low.stored(x), places, eps)
    normed: Operand = Value(tensor, plain(x.shape, order))
    if weight is not None:
        normed = binary(low, "MUL", normed, weight)
    return normed if bias is None else binary(low, "ADD", normed, bias)


def _standardised(low: Lowering, tensor: int, axes: Sequence[int], eps: float) -> int:
    """Mean 0 and variance 1 over dimensions of a tensor, as they lie."""
    centred, _, _ = _centred(low, tensor, axes)
    return _of_size_one(low, centred, axes, eps)


def _centred(low: Lowering, tensor: int, axes: Sequence[int]) -> tuple[int, list[int], int]:
    """Without its mean over dimensions; the shape of that, and the tensor that names them."""
    shape = low.graph.tensors[tensor].shape
    kept = [1 if i in axes else size for i, size in enumerate(shape)]
    places = low.constant(np.array(axes, np.int32))
    middle = low.emit("MEAN", [tensor, places], kept, keepDims=True)
    return low.emit("SUB", [tensor, middle], shape), kept, places


def _of_size_one(low: Lowering, tensor: int, axes: Sequence[int], eps: float) -> int:
    """With mean square 1 over dimensions."""
    shape = low.graph.tensors[tensor].shape
    kept = [1 if i in axes else size for i, size in enumerate(shape)]
    places = low.constant(np.array(axes, np.int32))
    squared = low.emit("MUL", [tensor, tensor], shape)
    size = low.emit("MEAN", [squared, places], kept, keepDims=True)
    shifted = low.emit("ADD", [size, low.constant(np.array(eps, np.float32))], kept)
    return low.emit("MUL", [tensor, low.emit("RSQRT", [shifted], kept)], shape)


@operator("native_layer_norm.default")
def native_layer_norm(low: Lowering, **how: Operand) -> list[Operand]:
    """`layer_norm`, and what training needs besides."""
    return [layer_norm(low, **how), None, None]


@operator("group_norm.default")
def group_norm(
    low: Lowering,
    x: Value,
    num_groups: int,
    weight: Operand,
    bias: Operand,
    eps: float,
    **how: Operand,
) -> Operand:
    """Mean 0 and variance 1 over groups of channels and all pixels."""
    del how
    batch, channels, *sides = x.shape
    pieces = (batch, num_groups, channels // num_groups, int(np.prod(sides)))
    layout = x.layout.reshaped(pieces)
    if layout is None:
        x = Value(low.stored(x), plain(x.shape, canonical(len(x.shape))))
        layout = x.layout.reshaped(pieces)
    assert layout is not None
    order = (0, 3, 1, 2)  # as they lie in an image
    tensor = _standardised(low, low.stored(Value(x.tensor, layout), order), (1, 3), eps)
    shaped = plain(pieces, order).reshaped(x.shape)
    assert shaped is not None
    normed: Operand = Value(tensor, shaped)
    ones = [1] * len(sides)
    if weight is not None:
        normed = binary(low, "MUL", normed, weight.reshape(-1, *ones))
    return normed if bias is None else binary(low, "ADD", normed, bias.reshape(-1, *ones))


@operator("native_group_norm.default")
def native_group_norm(
    low: Lowering, x: Value, weight: Operand, bias: Operand, group: int, eps: float, **how: Operand
) -> list[Operand]:
    """`group_norm`, and what training needs besides."""
    del how
    return [group_norm(low, x, group, weight, bias, eps), None, None]


@operator("instance_norm.default")
def instance_norm(
    low: Lowering,
    x: Value,
    weight: Operand,
    bias: Operand,
    running_mean: Operand,
    running_var: Operand,
    use_input_stats: bool,
    eps: float,
    **how: Operand,
) -> Operand:
    """Mean 0 and variance 1 over all pixels of each channel, or over what training saw of them."""
    del how
    if use_input_stats:
        return group_norm(low, x, x.shape[1], weight, bias, eps)
    return batch_norm(low, x, weight, bias, running_mean, running_var, eps)


@operator("rms_norm.default")
def rms_norm(
    low: Lowering, x: Value, normalized_shape: Sequence[int], weight: Operand, eps: float | None
) -> Operand:
    """Mean of squares 1 over the last dimensions, then a factor."""
    rank = len(x.shape)
    order = canonical(rank)
    places = [order.index(i) for i in range(rank - len(normalized_shape), rank)]
    eps = float(np.finfo(np.float32).eps) if eps is None else eps
    tensor = _of_size_one(low, low.stored(x), sorted(places), eps)
    found: Operand = Value(tensor, plain(x.shape, order))
    return found if weight is None else binary(low, "MUL", found, weight)


@operator("_fused_rms_norm.default")
def fused_rms_norm(low: Lowering, **how: Operand) -> list[Operand]:
    """`rms_norm`, and what training needs besides."""
    return [rms_norm(low, **how), None]


@operator("var.correction", "std.correction")
def variance(
    low: Lowering,
    x: Value,
    dim: Sequence[int] | None,
    correction: float | None,
    keepdim: bool,
) -> Value:
    """Mean square of what differs from the mean, or its root; over all dimensions if ``None``."""
    assert low.node is not None
    rank = len(x.shape)
    dims = sorted({d % rank for d in (dim or range(rank))})
    count = int(np.prod([x.shape[d] for d in dims]))
    order = canonical(rank)
    centred, kept, places = _centred(low, low.stored(x), sorted(order.index(d) for d in dims))
    with low.in_float_only():  # squares have twice the digits
        squares = low.emit("MUL", [centred, centred], low.graph.tensors[centred].shape)
        spread = low.emit("MEAN", [squares, places], kept, keepDims=True)
        rest = count - (1 if correction is None else correction)
        if rest != count:
            with np.errstate(divide="ignore"):
                factor = np.float32(count) / np.float32(max(0, rest))
            spread = low.emit("MUL", [spread, low.constant(np.asarray(factor))], kept)
        if str(low.node.target).removeprefix("aten.").startswith("std"):
            spread = low.emit("SQRT", [spread], kept)
    sizes = [1 if i in dims else size for i, size in enumerate(x.shape)]
    layout = plain(sizes, order)
    if not keepdim:
        left = tuple(d for i, d in enumerate(layout.dimensions) if i not in dims)
        layout = Layout(left, layout.memory)
    return Value(spread, layout)


@operator("var_mean.correction", "std_mean.correction")
def variance_and_mean(
    low: Lowering,
    x: Value,
    dim: Sequence[int] | None,
    correction: float | None,
    keepdim: bool,
) -> list[Operand]:
    """`variance`, and the mean."""
    return [variance(low, x, dim, correction, keepdim), mean(low, x, dim or (), keepdim, None)]


@operator("linalg_vector_norm.default")
def vector_norm(
    low: Lowering, x: Value, p: float, dim: Sequence[int], keepdim: bool, dtype: Operand
) -> Operand:
    """Root of the sum of squares."""
    if p != 2:
        raise low.refuse(f"a norm of order {p:g}")
    shape = low.graph.tensors[x.tensor].shape
    with low.in_float_only():  # squares have twice the digits
        squares = Value(low.emit("MUL", [x.tensor, x.tensor], shape), x.layout)
        return low.unary("SQRT", sum_(low, squares, dim, keepdim, dtype))
