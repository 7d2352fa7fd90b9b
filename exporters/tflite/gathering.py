"""Operators that read numbers at places that are known: indices, and windows one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from exporters.tflite.convolutions import conv2d
from exporters.tflite.layout import Value, plain
from exporters.tflite.lowering import Lowering, Operand, axis_of, canonical, operator
from exporters.tflite.padding import pad, pair

if TYPE_CHECKING:
    from edgekit.core import Array

INT64 = 4
"""Of the format's types."""


@operator("index_select.default")
def index_select(low: Lowering, x: Value, dim: int, index: Array) -> Value:
    """Places along a dimension, in any order."""
    return _gathered(low, x, dim, index.reshape(-1))


def _gathered(low: Lowering, x: Value, dim: int, where: Array) -> Value:
    """Places along a dimension; it lies as images do."""
    rank = len(x.shape)
    dim %= rank
    shape = [len(where) if i == dim else size for i, size in enumerate(x.shape)]
    inputs = [low.stored(x), low.constant(where % x.shape[dim])]
    return low.compute("GATHER", inputs, shape, axis=axis_of(dim, rank))


@operator("index.Tensor")
def index(low: Lowering, x: Value, indices: Sequence[Array | None]) -> Value:
    """``x[indices]``: places that several dimensions name together."""
    named = {i: one for i, one in enumerate(_places(indices)) if one is not None}
    dims = list(named)
    where = np.broadcast_arrays(*(one % x.shape[d] for d, one in named.items()))
    if len(dims) == 1 and where[0].ndim == 1:
        return _gathered(low, x, dims[0], where[0])
    # NumPy's rule: dimensions that are apart come out in front.
    together = dims == list(range(dims[0], dims[-1] + 1))
    first = dims[0] if together else 0
    rest = [i for i in range(len(x.shape)) if i not in dims]
    order = (*rest[:first], *dims, *rest[first:])
    sizes = [x.shape[d] for d in dims]
    count = int(np.prod(sizes))
    row = [x.shape[i] for i in rest[:first]] + [count] + [x.shape[i] for i in rest[first:]]
    tensor = low.reshape(low.stored(x, order), row)
    flat = np.ravel_multi_index(where, sizes).astype(np.int32)
    row[first] = flat.size
    tensor = low.emit("GATHER", [tensor, low.constant(flat.reshape(-1))], row, axis=first)
    layout = plain(row, range(len(row))).reshaped(low.shape)
    assert layout is not None
    return Value(tensor, layout)


@operator("embedding.default")
def embedding(low: Lowering, weight: Array, indices: Value, **_: object) -> Value:
    """Rows of a table, by their numbers."""
    rows = low.stored(indices, range(len(indices.shape)))
    shape = low.shape
    table = low.constant(weight)
    tensor = low.emit("GATHER", [table, rows], shape, axis=0)
    return Value(tensor, plain(shape, range(len(shape))))


@operator("argmax.default")
def argmax(low: Lowering, x: Value, dim: int | None, keepdim: bool) -> Value:
    """Where the largest number of a dimension is."""
    return _place_of(low, "ARG_MAX", x, dim, keepdim)


@operator("argmin.default")
def argmin(low: Lowering, x: Value, dim: int | None, keepdim: bool) -> Value:
    """Where the smallest number of a dimension is."""
    return _place_of(low, "ARG_MIN", x, dim, keepdim)


def _place_of(low: Lowering, kind: str, x: Value, dim: int | None, keepdim: bool) -> Value:
    if dim is None:
        raise low.refuse(f"the operator {kind.lower().replace('_', '')} over all dimensions")
    rank = len(x.shape)
    dim %= rank
    axis = low.constant(np.array(axis_of(dim, rank), np.int32))
    order = [i for i in canonical(rank) if i != dim]
    shape = [x.shape[i] for i in order]
    tensor = low.emit(kind, [low.stored(x), axis], shape, outputType=INT64)
    low.graph.tensors[tensor].dtype = "int64"
    left = [i - (i > dim) for i in order]
    value = Value(tensor, plain([x.shape[i] for i in sorted(order)], left))
    if not keepdim:
        return value
    layout = value.layout.reshaped(low.shape)
    assert layout is not None
    return Value(tensor, layout)


def _places(indices: Sequence[Array | None]) -> list[Array | None]:
    """Integers for each dimension; a mask becomes one array for each of its own."""
    places: list[Array | None] = []
    for one in indices:
        if one is None:
            places.append(None)
        elif one.dtype == bool:
            places.extend(np.nonzero(one))
        else:
            places.append(one.astype(np.int32))
    return places


@operator("unfold.default")
def unfold(low: Lowering, x: Value, dimension: int, size: int, step: int) -> Value:
    """Windows along a dimension; what is in each is a new dimension, the last."""
    rank = len(x.shape)
    dimension %= rank
    count = low.shape[dimension]
    where = np.arange(count)[:, None] * step + np.arange(size)
    gathered = x
    if not np.array_equal(where.reshape(-1), np.arange(x.shape[dimension])):
        gathered = _gathered(low, x, dimension, where.reshape(-1).astype(np.int32))
    torn = gathered.layout.reshaped((*x.shape[:dimension], count, size, *x.shape[dimension + 1 :]))
    if torn is None:
        gathered = Value(low.stored(gathered), plain(gathered.shape, canonical(rank)))
        torn = gathered.layout.reshaped(
            (*x.shape[:dimension], count, size, *x.shape[dimension + 1 :])
        )
    assert torn is not None
    order = [i for i in range(rank + 1) if i != dimension + 1]
    return Value(gathered.tensor, torn.permuted((*order, dimension + 1)))


@operator("im2col.default")
def im2col(
    low: Lowering,
    x: Value,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Value:
    """Pixels of all windows, (n, channels * pixels of a window, windows).

    A convolution with a one for each pixel of a window: what runtimes are quick at.
    """
    kernel, wide, step, around = map(pair, (kernel_size, dilation, stride, padding))
    batch, channels = x.shape[:2]
    size = kernel[0] * kernel[1]
    ones = np.tile(np.eye(size, dtype=np.float32), (channels, 1)).reshape(-1, 1, *kernel)
    sides = [
        (i + 2 * p - (k - 1) * d - 1) // s + 1
        for i, p, k, d, s in zip(x.shape[2:], around, kernel, wide, step, strict=True)
    ]
    with low.giving((batch, channels * size, *sides)):
        outputs = conv2d(low, x, ones, None, step, around, wide, channels)
    assert isinstance(outputs, Value)
    flat = outputs.layout.reshaped(low.shape)
    assert flat is not None
    return Value(outputs.tensor, flat)


@operator("col2im.default")
def col2im(
    low: Lowering,
    x: Value,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Operand:
    """Windows laid over one another and added: the other way round than `im2col`.

    The format's transposed convolution would mix all channels. Here each pixel of the windows is an
    image of its own, spread by the stride and moved to its place.
    """
    kernel, wide, step, around = map(pair, (kernel_size, dilation, stride, padding))
    size = kernel[0] * kernel[1]
    batch, channels = x.shape[0], x.shape[1] // size
    height, width = pair(output_size)
    counts = [
        (o + 2 * p - (k - 1) * d - 1) // s + 1
        for o, p, k, d, s in zip((height, width), around, kernel, wide, step, strict=True)
    ]
    flat = low.stored(x, range(len(x.shape)))
    torn = plain((batch, channels, *kernel, *counts), range(6))
    parts = Value(low.reshape(flat, (batch, channels * size, *counts)), torn)
    order = (2, 3, 0, 4, 5, 1)  # pixels of a window first
    stored = low.reshape(low.stored(parts, order), (size, batch * counts[0], counts[1], channels))
    total: int | None = None
    for i in range(size):
        begin = [i // kernel[1] * wide[0], i % kernel[1] * wide[1]]
        piece = _plane(low, stored, i, (batch, *counts, channels))
        piece = _spread(low, piece, step)
        places = [b - p for b, p in zip(begin, around, strict=True)]
        moved = _moved(low, piece, places, (height, width))
        if total is not None and moved is not None:
            moved = low.emit("ADD", [total, moved], (batch, height, width, channels))
        total = total if moved is None else moved
    assert total is not None
    return Value(total, plain((batch, channels, height, width), canonical(4)))


def _plane(low: Lowering, tensor: int, place: int, shape: Sequence[int]) -> int:
    """One place of the first dimension, in a shape."""
    full = low.graph.tensors[tensor].shape
    begin = low.constant(np.array((place, 0, 0, 0), np.int32))
    size = low.constant(np.array((1, *full[1:]), np.int32))
    return low.reshape(low.emit("SLICE", [tensor, begin, size], (1, *full[1:])), shape)


def _spread(low: Lowering, tensor: int, step: Sequence[int]) -> int:
    """An image with zeros behind each pixel, so that they lie a stride apart."""
    batch, height, width, channels = low.graph.tensors[tensor].shape
    if step[0] > 1:
        rows = low.reshape(tensor, (batch * height, 1, width * channels))
        rows = pad(low, rows, [(0, 0), (0, step[0] - 1), (0, 0)])
        height *= step[0]
        tensor = low.reshape(rows, (batch, height, width, channels))
    if step[1] > 1:
        pixels = low.reshape(tensor, (batch * height * width, 1, channels))
        pixels = pad(low, pixels, [(0, 0), (0, step[1] - 1), (0, 0)])
        width *= step[1]
        tensor = low.reshape(pixels, (batch, height, width, channels))
    return tensor


def _moved(low: Lowering, tensor: int, begin: Sequence[int], sides: Sequence[int]) -> int | None:
    """An image at a place in another one, what lies beyond cut off and zeros around.

    ``None`` where all of it lies beyond.
    """
    batch, *own, channels = low.graph.tensors[tensor].shape
    first = [max(0, -b) for b in begin]
    kept = [min(o, s - b) - f for o, s, b, f in zip(own, sides, begin, first, strict=True)]
    if min(kept) <= 0:
        return None
    if kept != own:
        begins = low.constant(np.array((0, *first, 0), np.int32))
        sizes = low.constant(np.array((batch, *kept, channels), np.int32))
        tensor = low.emit("SLICE", [tensor, begins, sizes], (batch, *kept, channels))
    amounts = [(max(0, b), s - max(0, b) - k) for b, s, k in zip(begin, sides, kept, strict=True)]
    if not any(map(any, amounts)):
        return tensor
    return pad(low, tensor, [(0, 0), *amounts, (0, 0)])
