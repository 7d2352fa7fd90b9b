"""Operators that move numbers, or only say that they lie elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporters.tflite.channels import Channels, of_value, whole
from exporters.tflite.layout import Layout, Value, plain
from exporters.tflite.lowering import Lowering, Operand, axis_of, canonical, operator

_FLOAT32, _UINT8 = 0, 3  # codes of `TensorType`


@operator(
    "dropout.default",
    "dropout_.default",
    "feature_dropout.default",
    "contiguous.default",
    "clone.default",
    "detach.default",
    "detach_.default",
    "alias.default",
    "lift_fresh_copy.default",
    channels=True,
)
def identity(low: Lowering, x: Operand, train: bool = False, **how: Operand) -> Operand:
    """Nothing, in inference."""
    if train and how.get("p"):
        raise low.refuse("a dropout with train=True")
    return x


@operator("to.dtype", "_to_copy.default", channels=True)
def typed(low: Lowering, x: Value | Channels, **how: Operand) -> Value | Channels:
    """Floats of bytes; nothing to floats."""
    del how  # there is one type of results
    if isinstance(x, Channels) or low.graph.tensors[x.tensor].dtype == "float32":
        return x
    found: Value = low.unary("CAST", x, inDataType=_UINT8, outDataType=_FLOAT32)
    return found


@operator(
    "view.default",
    "reshape.default",
    "_unsafe_view.default",
    "flatten.using_ints",
    "unflatten.int",
    "reshape_as.default",
    "view_as.default",
    "unsqueeze.default",
    "squeeze.default",
    "squeeze.dim",
    "squeeze.dims",
    channels=True,
)
def reshape(low: Lowering, x: Value | Channels, **how: Operand) -> Value | Channels:
    """The same numbers in other dimensions."""
    del how  # the shape of the result tells
    if isinstance(x, Channels):
        return x.reshaped(low.shape) or reshape(low, whole(low, x))
    layout = x.layout.reshaped(low.shape)
    if layout is not None:
        return Value(x.tensor, layout)
    # In one row: tensors of more than eight dimensions are none of the format's.
    count = int(np.prod(x.shape))
    row = x.layout.reshaped((count,))
    flat = plain((count,), (0,)).reshaped(low.shape)
    assert row is not None
    assert flat is not None
    return Value(low.stored(Value(x.tensor, row), (0,)), flat)


@operator("_reshape_alias.default")
def reshape_alias(low: Lowering, x: Value, size: Sequence[int], stride: Sequence[int]) -> Operand:
    """`reshape`, where the numbers lie as in a new tensor."""
    if tuple(stride) != tuple(int(np.prod(size[i + 1 :])) for i in range(len(size))):
        raise low.refuse(f"_reshape_alias with stride {list(stride)}")
    return reshape(low, x)


@operator("permute.default", channels=True)
def permute(low: Lowering, x: Value | Channels, dims: Sequence[int]) -> Value | Channels:
    """Dimensions in another order."""
    order = [d % len(dims) for d in dims]
    if isinstance(x, Channels):
        return x.permuted(order) or permute(low, whole(low, x), order)
    return Value(x.tensor, x.layout.permuted(order))


@operator("transpose.int", channels=True)
def transpose(low: Lowering, x: Value | Channels, dim0: int, dim1: int) -> Value | Channels:
    """Two dimensions in each other's place."""
    order = list(range(len(x.shape)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permute(low, x, order)


@operator("t.default", "numpy_T.default")
def t(low: Lowering, x: Value) -> Operand:
    """Dimensions the other way round."""
    return permute(low, x, list(range(len(x.shape)))[::-1])


@operator("expand.default", "expand_as.default")
def expand(low: Lowering, x: Value, **how: Operand) -> Value:
    """Dimensions of 1 repeated."""
    del how
    if x.shape == low.shape:
        return x
    x = low.value(x)
    rank = len(low.shape)
    missing = rank - len(x.shape)
    layout = Layout(((),) * missing + x.layout.dimensions, x.layout.memory)
    value = Value(x.tensor, layout)
    order = canonical(rank)
    sizes = low.constant(np.array([low.shape[i] for i in order], np.int32))
    return low.compute("BROADCAST_TO", [low.stored(value, order), sizes])


@operator("cat.default", "concat.default", channels=True)
def cat(low: Lowering, tensors: Sequence[Operand], dim: int) -> Value | Channels:
    """Several, one behind the other along a dimension."""
    rank = len(low.shape)
    if rank == 4 and dim % rank == 1 and all(isinstance(t, Value | Channels) for t in tensors):
        parts = [_in_pieces(low, t) for t in tensors if 0 not in t.shape]
        places = np.concatenate([part.places for part in parts])
        found = np.concatenate([part.tensors for part in parts])
        return Channels(low.shape[0], found, places, low.shape[2:], low.name)
    tensors = [whole(low, t) if isinstance(t, Channels) else t for t in tensors]
    order = canonical(rank)
    stored = [low.stored(t, order) for t in tensors if 0 not in t.shape]
    return low.compute("CONCATENATION", stored, axis=axis_of(dim, rank))


@operator("stack.default")
def stack(low: Lowering, tensors: Sequence[Operand], dim: int) -> Value:
    """Several, along a new dimension."""
    rank = len(low.shape)
    dim %= rank
    order = canonical(rank)
    parts = []
    for value in tensors:
        value = low.value(value)
        shape = (*value.shape[:dim], 1, *value.shape[dim:])
        layout = value.layout.reshaped(shape)
        assert layout is not None
        parts.append(low.stored(Value(value.tensor, layout), order))
    return low.compute("CONCATENATION", parts, axis=axis_of(dim, rank))


def _part(low: Lowering, value: Value, dim: int, begin: int, size: int) -> Value:
    rank = len(value.shape)
    order = canonical(rank)
    begins, sizes = [0] * rank, [value.shape[i] for i in order]
    begins[axis_of(dim, rank)], sizes[axis_of(dim, rank)] = begin, size
    shape = [size if i == dim % rank else n for i, n in enumerate(value.shape)]
    inputs = [low.stored(value), *(low.constant(np.array(x, np.int32)) for x in (begins, sizes))]
    return low.compute("SLICE", inputs, shape)


def _in_pieces(low: Lowering, x: Value | Channels) -> Channels:
    return of_value(low, x) if isinstance(x, Value) else x


def _channels(low: Lowering, x: Value | Channels, dim: int, where: slice | int) -> Channels | None:
    """Some channels of an image, where they can stay where they are."""
    if isinstance(x, Value) and (len(x.shape), dim % len(x.shape)) != (4, 1):
        return None
    return _in_pieces(low, x).part(dim, where)


def _together(low: Lowering, x: Value | Channels) -> Value:
    return whole(low, x) if isinstance(x, Channels) else x


@operator("unbind.int", channels=True)
def unbind(low: Lowering, x: Value | Channels, dim: int) -> list[Operand]:
    """All places along a dimension, which is gone then."""
    return [select(low, x, dim, i) for i in range(x.shape[dim])]


@operator("chunk.default", "split.Tensor", "split_with_sizes.default", "split.sizes", channels=True)
def split(low: Lowering, x: Value | Channels, dim: int, **how: Operand) -> list[Operand]:
    """Parts along a dimension."""
    assert low.node is not None
    shapes = [tuple(part.shape) for part in low.node.meta["val"]]
    sizes = [shape[dim] for shape in shapes]
    ends = np.cumsum(sizes).tolist()
    kept = [_channels(low, x, dim, slice(e - s, e)) for s, e in zip(sizes, ends, strict=True)]
    if all(part is not None for part in kept):
        return kept
    x = _together(low, x)
    rank = len(x.shape)
    if len(set(sizes)) == 1:
        order = canonical(rank)
        axis = low.constant(np.array(axis_of(dim, rank), np.int32))
        stored = [tuple(shape[i] for i in order) for shape in shapes]
        tensors = low.graph.emit_several(
            "SPLIT", [axis, low.stored(x)], stored, low.name, numSplits=len(sizes)
        )
        return [Value(t, plain(s, order)) for t, s in zip(tensors, shapes, strict=True)]
    return [_part(low, x, dim, e - s, s) for s, e in zip(sizes, ends, strict=True)]


def _without(layout: Layout, dimension: int) -> Layout:
    kept = tuple(d for i, d in enumerate(layout.dimensions) if i != dimension)
    return Layout(kept, layout.memory)


@operator("select.int", channels=True)
def select(low: Lowering, x: Value | Channels, dim: int, index: int) -> Operand:
    """One place along a dimension, which is gone then."""
    kept = x.part(dim, index % x.shape[dim]) if isinstance(x, Channels) else None
    if kept is not None:
        return kept
    x = _together(low, x)
    part = _part(low, x, dim, index % x.shape[dim], 1)
    return Value(part.tensor, _without(part.layout, dim % len(x.shape)))


@operator("slice.Tensor", channels=True)
def slice_(
    low: Lowering, x: Value | Channels, dim: int, start: int | None, end: int | None, step: int
) -> Operand:
    """A range along a dimension."""
    size = x.shape[dim]
    begin, stop, step = slice(start, end, step).indices(size)
    if (begin, stop, step) == (0, size, 1):
        return x
    kept = _channels(low, x, dim, slice(begin, stop, step))
    if kept is not None:
        return kept
    x = _together(low, x)
    if step == 1:
        return _part(low, x, dim, begin, stop - begin)
    rank = len(x.shape)
    order = canonical(rank)
    axis = axis_of(dim, rank)
    begins, ends, steps = [0] * rank, [x.shape[i] for i in order], [1] * rank
    begins[axis], ends[axis], steps[axis] = begin, stop, step
    extra = [low.constant(np.array(x, np.int32)) for x in (begins, ends, steps)]
    return low.compute("STRIDED_SLICE", [low.stored(x), *extra])


@operator("roll.default")
def roll(low: Lowering, x: Value, shifts: Sequence[int] | int, dims: Sequence[int]) -> Operand:
    """What leaves at one end of a dimension comes in at the other."""
    if not dims:  # as if all lay in one row
        with low.giving([int(np.prod(x.shape))]):
            flat = roll(low, _together(low, reshape(low, x)), shifts, [0])
        return reshape(low, flat)
    for shift, dim in zip([shifts] if isinstance(shifts, int) else shifts, dims, strict=True):
        size = x.shape[dim]
        first = size - shift % size
        if first < size:
            parts = [_part(low, x, dim, first, size - first), _part(low, x, dim, 0, first)]
            x = _together(low, cat(low, parts, dim))
    return x


@operator("slice_scatter.default")
def slice_scatter(
    low: Lowering,
    x: Value,
    src: Operand,
    dim: int,
    start: int | None,
    end: int | None,
    step: int,
) -> Operand:
    """The same but for a range along a dimension, which is ``src``."""
    size = x.shape[dim]
    begin, stop, step = slice(start, end, step).indices(size)
    if step != 1:
        raise low.refuse(f"slice_scatter with step {step}")
    x = low.value(x)
    parts = [
        *([_part(low, x, dim, 0, begin)] if begin else []),
        src,
        *([_part(low, x, dim, stop, size - stop)] if stop < size else []),
    ]
    return cat(low, parts, dim)


@operator("copy.default", "copy_.default")
def copy(low: Lowering, x: Value, src: Operand, non_blocking: bool = False) -> Operand:
    """The numbers of ``src`` in the shape of ``x``."""
    del non_blocking
    if src.shape == x.shape:
        return src
    return expand(low, src) if isinstance(src, Value) else np.broadcast_to(src, x.shape)


@operator("repeat.default")
def repeat(low: Lowering, x: Value, repeats: Sequence[int]) -> Value:
    """Itself again and again along dimensions."""
    rank = len(repeats)
    missing = rank - len(x.shape)
    layout = Layout(((),) * missing + x.layout.dimensions, x.layout.memory)
    order = canonical(rank)
    times = low.constant(np.array([repeats[i] for i in order], np.int32))
    return low.compute("TILE", [low.stored(Value(x.tensor, layout), order), times])


@operator("constant_pad_nd.default", "pad.default")
def pad(
    low: Lowering,
    x: Value,
    pad: Sequence[int],
    value: float | None = None,
    mode: str = "constant",
) -> Operand:
    """More numbers around; negative amounts take some away."""
    rank = len(x.shape)
    amounts = [(0, 0)] * rank
    for i in range(len(pad) // 2):
        amounts[rank - 1 - i] = (pad[2 * i], pad[2 * i + 1])
    for dim, (before, behind) in enumerate(amounts):
        if before < 0 or behind < 0:
            begin, size = max(0, -before), x.shape[dim]
            x = _part(low, x, dim, begin, size + min(before, 0) + min(behind, 0))
    order = canonical(rank)
    places = np.array([[max(0, x) for x in amounts[i]] for i in order], np.int32)
    if not places.any():
        return x
    inputs = [low.stored(x), low.constant(places)]
    if mode == "constant" and not value:
        return low.compute("PAD", inputs)
    if mode == "constant":
        return low.compute(
            "PADV2", [*inputs, low.constant(np.full((1,) * rank, value, np.float32))]
        )
    if mode != "reflect":
        raise low.refuse(f"pad with mode {mode}")
    return low.compute("MIRROR_PAD", inputs, mode=0)


@operator("reflection_pad2d.default")
def reflection_pad2d(low: Lowering, x: Value, padding: Sequence[int]) -> Operand:
    """The pixels next to an edge once more, the other way round."""
    return pad(low, x, padding, mode="reflect")


@operator("channel_shuffle.default", "native_channel_shuffle.default", channels=True)
def channel_shuffle(low: Lowering, x: Value | Channels, groups: int) -> Value | Channels:
    """Channels of all groups in turn."""
    batch, channels, *sides = x.shape
    pieces, order = (batch, groups, channels // groups, *sides), (0, 2, 1, 3, 4)
    if isinstance(x, Channels):
        torn = x.reshaped(pieces)
        turned = torn.permuted(order) if torn else None
        found = turned.reshaped(low.shape) if turned else None
        assert found is not None
        return found
    return _rearranged(low, x, pieces, order)


@operator("pixel_shuffle.default")
def pixel_shuffle(low: Lowering, x: Value, upscale_factor: int) -> Value:
    """Channels to pixels: (n, c, r, r, h, w) to (n, c, h, r, w, r)."""
    batch, channels, height, width = x.shape
    r = upscale_factor
    pieces = (batch, channels // r**2, r, r, height, width)
    return _rearranged(low, x, pieces, (0, 1, 4, 2, 5, 3))


@operator("pixel_unshuffle.default")
def pixel_unshuffle(low: Lowering, x: Value, downscale_factor: int) -> Value:
    """Pixels to channels: (n, c, h, r, w, r) to (n, c, r, r, h, w)."""
    batch, channels, height, width = x.shape
    r = downscale_factor
    pieces = (batch, channels, height // r, r, width // r, r)
    return _rearranged(low, x, pieces, (0, 1, 3, 5, 2, 4))


def _rearranged(low: Lowering, x: Value, pieces: Sequence[int], order: Sequence[int]) -> Value:
    """Dimensions torn into pieces, those brought into another order, and joined again."""
    layout = x.layout.reshaped(pieces)
    if layout is None:
        x = Value(low.stored(x), plain(x.shape, canonical(len(x.shape))))
        layout = x.layout.reshaped(pieces)
    assert layout is not None
    joined = layout.permuted(order).reshaped(low.shape)
    assert joined is not None
    return Value(x.tensor, joined)
