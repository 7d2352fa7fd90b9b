"""Where the windows of convolutions and pools begin and end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporters.tflite.flatbuffer import schema
from exporters.tflite.layout import Value
from exporters.tflite.lowering import Lowering


def pair(values: Sequence[int] | int) -> tuple[int, int]:
    """Height and width, of both or of one number for both."""
    if isinstance(values, int):
        return values, values
    return (values[0], values[-1])


def padded(
    low: Lowering,
    image: Value,
    out: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    fill: np.float32 | None = None,
) -> tuple[int, int]:
    """The image with what padding it needs, and the padding that is left to the operator.

    TensorFlow's SAME puts the odd pixel behind, PyTorch pads both sides and leaves it out; the
    two are equal where the side in front is.

    Args:
        out: height and width of the result.
        kernel: height and width, dilation included.
        fill: what to pad with if not zero.
    """
    sides = image.shape[2:]
    total = [(o - 1) * s + k - i for o, s, k, i in zip(out, stride, kernel, sides, strict=True)]
    behind = [max(0, t - p) for t, p in zip(total, padding, strict=True)]
    tensor = low.stored(image)
    modes = schema().Padding
    if not any(padding) and not any(behind):
        return tensor, modes.VALID
    same = all(
        o == -(-i // s) and max(t, 0) // 2 == p
        for o, i, s, t, p in zip(out, sides, stride, total, padding, strict=True)
    )
    if same:
        return tensor, modes.SAME
    amounts = [(0, 0), *zip(padding, behind, strict=True), (0, 0)]
    return pad(low, tensor, amounts, fill), modes.VALID


def pad(
    low: Lowering,
    tensor: int,
    amounts: Sequence[tuple[int, int]],
    fill: np.float32 | None = None,
) -> int:
    """A tensor with more numbers around it, zeros if nothing is said."""
    shape = low.graph.tensors[tensor].shape
    padded = [size + sum(pair) for size, pair in zip(shape, amounts, strict=True)]
    places = low.constant(np.array(amounts, np.int32))
    if fill is None:
        return low.emit("PAD", [tensor, places], padded)
    return low.emit("PADV2", [tensor, places, low.constant(np.array(fill))], padded)
