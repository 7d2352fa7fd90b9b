"""Images whose channels lie in several tensors.

Concatenating, shuffling and splitting channels says only where each of them lies; nothing moves
before an operator needs them side by side. A convolution takes them in any order then, since its
weights can follow. ShuffleNetV2, whose units pass half of their channels on untouched, has no
shuffle left at all, and copies each of its channels where it is used and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporters.tflite.layout import NHWC, Value, plain

if TYPE_CHECKING:
    from edgekit.core import Array
    from exporters.tflite.lowering import Lowering


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """An image in pieces.

    Attributes:
        tensors: of each channel; shape that of the dimensions between batch and height, which are
            one, or several while channels are shuffled. The tensors are NHWC.
        places: of each channel in its tensor.
        name: of the module that put the channels together.
    """

    batch: int
    tensors: Array
    places: Array
    sides: tuple[int, ...]
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes as PyTorch sees them."""
        return (self.batch, *self.tensors.shape, *self.sides)

    def reshaped(self, shape: Sequence[int]) -> Channels | None:
        """With other dimensions of channels; ``None`` if more than those change."""
        between = tuple(shape[1:-2])
        if (shape[0], *shape[-2:]) != (self.batch, *self.sides) or not between:
            return None
        return self._with(self.tensors.reshape(between), self.places.reshape(between))

    def permuted(self, order: Sequence[int]) -> Channels | None:
        """With dimensions of channels in another order; ``None`` if others move."""
        rank = len(order)
        if (order[0], *order[-2:]) != (0, rank - 2, rank - 1):
            return None
        axes = [i - 1 for i in order[1:-2]]
        return self._with(self.tensors.transpose(axes), self.places.transpose(axes))

    def part(self, dim: int, where: slice | int) -> Channels | None:
        """Some of the channels; ``None`` if the dimension is not one of theirs, or the last."""
        dim %= len(self.shape)
        if not 1 <= dim <= self.tensors.ndim or (isinstance(where, int) and self.tensors.ndim == 1):
            return None
        index = (*[slice(None)] * (dim - 1), where)
        return self._with(self.tensors[index], self.places[index])

    def _with(self, tensors: Array, places: Array) -> Channels:
        return dataclasses.replace(self, tensors=tensors, places=places)


def of_value(low: Lowering, value: Value) -> Channels:
    """An image of four dimensions, all channels of which lie in one tensor."""
    batch, channels, *sides = value.shape
    tensor = low.stored(value)
    places = np.arange(channels)
    return Channels(batch, np.full(channels, tensor), places, tuple(sides), low.name)


def packed(low: Lowering, image: Channels) -> tuple[int, NDArray[np.int64]]:
    """A tensor of all channels, in an order that takes few copies.

    Returns:
        The tensor, NHWC, and where each channel lies in it, shape as `Channels.tensors`.
    """
    tensors, places = image.tensors.reshape(-1), image.places.reshape(-1)
    _, firsts = np.unique(tensors, return_index=True)
    turn = {int(tensors[first]): i for i, first in enumerate(sorted(firsts))}
    order = np.lexsort((places, np.array([turn[int(tensor)] for tensor in tensors])))
    pieces = [
        (int(tensors[run[0]]), int(places[run[0]]), len(run))
        for run in np.split(order, _breaks(tensors[order], places[order]))
    ]
    positions = np.empty(len(order), np.int64)
    positions[order] = np.arange(len(order))
    return _side_by_side(low, image, pieces), positions.reshape(image.tensors.shape)


def _breaks(tensors: Array, places: Array) -> Array:
    """Where what follows does not lie behind what goes before."""
    return 1 + np.flatnonzero((np.diff(tensors) != 0) | (np.diff(places) != 1))


def _side_by_side(low: Lowering, image: Channels, pieces: Sequence[tuple[int, int, int]]) -> int:
    """Runs of channels, each (tensor, first, number), in one tensor; made once."""
    key = ("channels", *pieces)
    if key not in low.made:
        shape = (image.batch, *image.sides)
        parts = []
        for tensor, begin, size in pieces:
            if size < low.graph.tensors[tensor].shape[-1]:
                begins = low.constant(np.array((0, 0, 0, begin), np.int32))
                sizes = low.constant(np.array((*shape, size), np.int32))
                inputs = [tensor, begins, sizes]
                tensor = low.graph.emit("SLICE", inputs, (*shape, size), image.name)
            parts.append(tensor)
        if len(parts) > 1:
            whole = (*shape, sum(size for *_, size in pieces))
            parts = [low.graph.emit("CONCATENATION", parts, whole, image.name, axis=3)]
        low.made[key] = parts[0]
    return low.made[key]


def whole(low: Lowering, image: Channels) -> Value:
    """The image in one tensor, its channels in their order."""
    tensor, positions = packed(low, image)
    count = positions.size
    shape = (image.batch, count, *image.sides)
    layout = plain(shape, NHWC)
    flat = positions.reshape(-1)
    groups = _interleaved(flat)
    if groups > 1:
        torn = layout.reshaped((image.batch, groups, count // groups, *image.sides))
        assert torn is not None
        layout_ = torn.permuted((0, 2, 1, 3, 4)).reshaped(shape)
        assert layout_ is not None
        layout = layout_
    elif groups == 0:
        where = low.constant(flat.astype(np.int32))
        nhwc = [shape[i] for i in NHWC]
        tensor = low.graph.emit("GATHER", [tensor, where], nhwc, image.name, axis=3)
    shaped = layout.reshaped(image.shape)
    assert shaped is not None
    return Value(tensor, shaped)


def _interleaved(positions: Array) -> int:
    """How many groups are interleaved by an order; 1 if it is none, 0 if it is another one."""
    if np.array_equal(positions, np.arange(len(positions))):
        return 1
    groups = len(positions) // max(1, int(positions[1]))
    if len(positions) % groups == 0:
        torn = np.arange(len(positions)).reshape(groups, -1)
        if np.array_equal(positions, torn.T.reshape(-1)):
            return groups
    return 0
