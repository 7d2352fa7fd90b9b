"""Biases of a file of integers: each fits, since the scale of its channel's weights says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters._biases import MOST, smallest_scales
from exporters.tflite.flatbuffer import constant, drop_unread, operator_kind, schema

if TYPE_CHECKING:
    from edgekit.core import Array

_MOST = {"INT32": MOST, "INT64": 2**38}
"""Steps of a bias by its type. Kernels of 16-bit activations add in 64 bits and scale 48 of them,
accelerators have 40."""

_DTYPES = {"INT32": np.int32, "INT64": np.int64}

# Where operators with weights have input, weights and bias.
_PLACES = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}

_LARGEST = 127  # of a weight in 8 bits, which are symmetric
_SMALLEST_SCALE = 1e-9 / _LARGEST  # of weights that are all zero, as the quantizer has it


@dataclasses.dataclass(frozen=True, slots=True)
class _Layer:
    """An operator with weights, and what those were in float.

    Attributes:
        input_scale: of the integers that it takes.
    """

    operator: Any
    place: int
    weights: Array
    bias: Array
    input_scale: float
    kind: str

    @property
    def floor(self) -> Array:
        """Smallest scale of each channel's weights."""
        return smallest_scales(self.bias, self.input_scale, _MOST[self.kind])


def fit_biases(flat: Any, source: Any) -> int:
    """Raises scales of weights where a bias would saturate; gives the number of such layers.

    Args:
        flat: the file of integers; it is changed.
        source: the file of float that it was made of.
    """
    layers: dict[int, list[_Layer]] = {}
    for layer in _layers(flat, source):
        weights = int(layer.operator.inputs[1])
        layers.setdefault(weights, []).append(layer)
    changed = 0
    for weights, users in layers.items():
        tensor = flat.subgraphs[0].tensors[weights]
        old = np.asarray(tensor.quantization.scale, np.float64)
        floor = np.max([layer.floor for layer in users], axis=0)
        floor = floor.max(keepdims=True) if len(old) == 1 else floor
        # The least squared error of zeros is a scale of zero.
        scale = np.maximum(np.maximum(old, floor), _SMALLEST_SCALE).astype(np.float32)
        if np.all(scale <= old):
            continue
        _set_weights(flat, weights, users[0].weights, scale)
        for layer in users:
            _set_bias(flat, layer, scale)
        changed += len(users)
    if changed:
        drop_unread(flat)
    return changed


def _layers(flat: Any, source: Any) -> Iterator[_Layer]:
    """Layers of integers whose bias is one, too; both files have them in the same order."""
    (graph,), (exact,) = flat.subgraphs, source.subgraphs
    pairs = zip(_weighted(flat), _weighted(source), strict=True)
    for (kind, operator), (_, original) in pairs:
        at_input, at_weights, at_bias = _PLACES[kind]
        if len(operator.inputs) <= at_bias or operator.inputs[at_bias] < 0:
            continue
        taken, weights, bias = (
            graph.tensors[operator.inputs[i]] for i in (at_input, at_weights, at_bias)
        )
        type_ = next((n for n in _MOST if getattr(schema().TensorType, n) == bias.type), None)
        if type_ is None or weights.type != schema().TensorType.INT8:
            continue
        if not constant(source, original.inputs[at_weights]):
            continue
        yield _Layer(
            operator,
            at_bias,
            _values(source, exact.tensors[original.inputs[at_weights]]),
            _values(source, exact.tensors[original.inputs[at_bias]]),
            float(taken.quantization.scale[0]),
            type_,
        )


def _weighted(flat: Any) -> Iterator[tuple[str, Any]]:
    for operator in flat.subgraphs[0].operators:
        kind = operator_kind(flat, operator)
        if kind in _PLACES:
            yield kind, operator


def _values(flat: Any, tensor: Any) -> Array:
    data = np.asarray(flat.buffers[tensor.buffer].data, np.uint8)
    return data.view(np.float32).reshape(tensor.shape)


def _set_weights(flat: Any, index: int, values: Any, scale: Any) -> None:
    tensor = flat.subgraphs[0].tensors[index]
    shape = [1] * values.ndim
    if len(scale) > 1:
        shape[tensor.quantization.quantizedDimension] = len(scale)
    steps = np.rint(values / scale.reshape(shape)).clip(-_LARGEST, _LARGEST).astype(np.int8)
    _put(flat, tensor, steps, scale)


def _set_bias(flat: Any, layer: _Layer, scale: Any) -> None:
    """Gives a layer a bias of its own, as others may share the one it had."""
    (graph,) = flat.subgraphs
    own = schema().TensorT()
    own.__dict__.update(vars(graph.tensors[layer.operator.inputs[layer.place]]))
    steps = (layer.input_scale * scale).astype(np.float32)
    values = np.rint(layer.bias.astype(np.float64) / steps).astype(_DTYPES[layer.kind])
    _put(flat, own, values, steps)
    graph.tensors.append(own)
    layer.operator.inputs = [
        len(graph.tensors) - 1 if place == layer.place else i
        for place, i in enumerate(layer.operator.inputs)
    ]


def _put(flat: Any, tensor: Any, values: Any, scale: Any) -> None:
    """Gives a tensor other values and scales, in a buffer and a table that nothing shares."""
    table, buffer = schema().QuantizationParametersT(), schema().BufferT()
    table.__dict__.update(vars(tensor.quantization))
    table.scale = scale
    table.zeroPoint = np.zeros(len(scale), np.int64)
    buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    flat.buffers.append(buffer)
    tensor.quantization, tensor.buffer = table, len(flat.buffers) - 1
