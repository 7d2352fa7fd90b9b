"""Where the windows of convolutions and pools begin and end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporters.tflite.flatbuffer import schema
from exporters.tflite.layout import Value
from exporters.tflite.lowering import Lowering

LOWEST = np.float32(np.finfo(np.float32).min)
"""Around images whose largest pixels are looked for."""


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
    two are equal where the side in front is. Zeros that the network put around the image itself
    count as well, so that TensorFlow's padding written in PyTorch is SAME again.

    Args:
        out: height and width of the result.
        kernel: height and width, dilation included.
        fill: what to pad with if not zero.
    """
    tensor = low.stored(image)
    source, around = _within(low, tensor) if fill is None else (tensor, (0, 0))
    sides = low.graph.tensors[source].shape[1:3]
    total = [(o - 1) * s + k - i for o, s, k, i in zip(out, stride, kernel, sides, strict=True)]
    front = [p + a for p, a in zip(padding, around, strict=True)]
    behind = [max(0, t - p) for t, p in zip(total, front, strict=True)]
    modes = schema().Padding
    if not any(front) and not any(behind):
        return source, modes.VALID
    same = all(
        o == -(-i // s) and max(t, 0) // 2 == p
        for o, i, s, t, p in zip(out, sides, stride, total, front, strict=True)
    )
    if same:
        return source, modes.SAME
    held = low.graph.tensors[tensor].shape[1:3]
    reach = [(o - 1) * s + k for o, s, k in zip(out, stride, kernel, strict=True)]
    if not any(padding) and all(r <= i for r, i in zip(reach, held, strict=True)):
        return tensor, modes.VALID  # others may read it, too
    amounts = [(0, 0), *zip(front, behind, strict=True), (0, 0)]
    return pad(low, source, amounts, fill), modes.VALID


def _within(low: Lowering, tensor: int) -> tuple[int, tuple[int, int]]:
    """What lies within zeros that the network itself put around an image, and how many in front."""
    node = low.graph.producer(tensor)
    if node is None or node.kind != "PAD":
        return tensor, (0, 0)
    source, places = node.inputs
    amounts = low.graph.tensors[places].data
    if amounts is None or amounts.shape != (4, 2) or amounts[[0, 3]].any():
        return tensor, (0, 0)
    return source, (int(amounts[1, 0]), int(amounts[2, 0]))


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
    # The quantizer wants it of the rank of what it pads.
    value = low.constant(np.full((1,) * len(shape), fill, np.float32))
    return low.emit("PADV2", [tensor, places, value], padded)
