"""Biases of quantized layers in OpenVINO graphs: rounded weights must not move a layer's mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import silent_import
from exporters._openvino_core import compiled

if TYPE_CHECKING:
    from edgekit.core import Array


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer of a quantized graph.

    Attributes:
        product: its convolution or product of matrices.
        rounding: that of its input.
        add: the operator that adds the bias, and which of its inputs that is.
    """

    product: Any
    rounding: Any
    add: Any
    bias: int

    @property
    def axis(self) -> int:
        """Of the channels, in what it gives."""
        rank = len(self.product.get_output_shape(0))
        return rank - 1 if self.product.get_type_name() == "MatMul" else 1


def correct_biases(graph: Any, quantized: Any, images: Sequence[Sequence[Array]]) -> None:
    """Moves each bias by what rounding moves the mean of its channel, over images and places.

    Each layer is looked at by itself, on what the float network gives it. NNCF's fast correction
    feeds it a constant image of its input's means instead. A layer that sees some places only, as a
    convolution with stride on a small map, gives another mean than that without any rounding:
    MobileNetV1@0.25 on digits at 32 px had 7.6 dB with it and 12.7 dB with none.

    Args:
        graph: of float32, of which ``quantized`` has the names.
        quantized: is changed.
        images: inputs to take the means over, an array for each.
    """
    layers = list(_layers(quantized))
    if not layers:
        return
    for layer, shift in zip(layers, _shifts(graph, layers, images), strict=True):
        old = layer.add.input_value(layer.bias).get_node()
        shape = [1] * len(layer.add.get_output_shape(0))
        shape[layer.axis] = len(shift)
        moved = (old.data + shift.reshape(shape)).astype(np.float32)
        constant = silent_import("openvino.opset13").constant(moved)
        constant.set_friendly_name(old.get_friendly_name())
        layer.add.input(layer.bias).replace_source_output(constant.output(0))


def _layers(quantized: Any) -> Iterator[_Layer]:
    """Layers with rounded inputs and weights, and a bias of their own."""
    for op in quantized.get_ordered_ops():
        if op.get_type_name() not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        rounding, weights = (op.input_value(i).get_node() for i in (0, 1))
        readers = list(op.output(0).get_target_inputs())
        if rounding.get_type_name() != "FakeQuantize" or len(readers) != 1:
            continue
        if weights.get_type_name() not in ("Multiply", "FakeQuantize"):
            continue
        add = readers[0].get_node()
        if add.get_type_name() != "Add":
            continue
        bias = 1 - readers[0].get_index()
        given = add.input_value(bias).get_node()
        layer = _Layer(op, rounding, add, bias)
        channels = op.get_output_shape(0)[layer.axis]
        if given.get_type_name() == "Constant" and given.data.size in (1, channels):
            yield layer


def _shifts(graph: Any, layers: Sequence[_Layer], images: Sequence[Sequence[Array]]) -> list[Array]:
    """How much less than the float layer's each channel's mean is, by layer.

    One graph gives the inputs of all layers, a second one has the layers themselves: OpenVINO
    2026.4 cannot compile some layers in two forms behind a group norm and a pixel shuffle.
    """
    ov, ops = silent_import("openvino"), silent_import("openvino.opset13")
    probe = graph.clone()
    by_name = {op.get_friendly_name(): op for op in probe.get_ordered_ops()}
    own = [by_name[layer.product.get_friendly_name()] for layer in layers]
    given = [op.input_value(0) for op in own]
    exact = _constants([op.input_value(1) for op in own])
    rounded = _constants([layer.product.input_value(1) for layer in layers])
    inputs, differences = [], []
    for layer, op, port, *weights in zip(layers, own, given, exact, rounded, strict=True):
        value = ops.parameter(list(port.get_shape()), np.float32)
        limits = [layer.rounding.input_value(i).get_node().data for i in range(1, 5)]
        levels = layer.rounding.get_attributes()["levels"]
        seen = ops.fake_quantize(value, *map(ops.constant, limits), levels)
        before, after = (
            _alike(op, one, ops.constant(weight))
            for one, weight in zip((value, seen), weights, strict=True)
        )
        others = [i for i in range(len(op.get_output_shape(0))) if i != layer.axis]
        difference = ops.subtract(before, after)
        differences.append(ops.reduce_mean(difference, ops.constant(others), keep_dims=False))
        inputs.append(value)
    floats = {"INFERENCE_PRECISION_HINT": "f32"}
    results = [ops.result(port) for port in given]
    before_layers = compiled(ov, ov.Model(results, probe.get_parameters(), "inputs"), floats)
    results = [ops.result(difference) for difference in differences]
    means = compiled(ov, ov.Model(results, inputs, "means"), floats)
    sums = [np.zeros(difference.get_output_shape(0)) for difference in differences]
    for image in images:
        values = before_layers(list(image))
        found = means([values[i] for i in range(len(layers))])
        for i, total in enumerate(sums):
            total += found[i]
    return [total / len(images) for total in sums]


def _constants(ports: Sequence[Any]) -> list[Array]:
    """Values of what depends on no input."""
    ov, ops = silent_import("openvino"), silent_import("openvino.opset13")
    model = ov.Model([ops.result(port) for port in ports], [], "constants")
    found = compiled(ov, model, {})([])
    return [np.array(found[i]) for i in range(len(ports))]


def _alike(op: Any, value: Any, weights: Any) -> Any:
    """The same operator on something else."""
    ops = silent_import("openvino.opset13")
    attributes = op.get_attributes()
    if op.get_type_name() == "MatMul":
        return ops.matmul(value, weights, attributes["transpose_a"], attributes["transpose_b"])
    make = ops.convolution if op.get_type_name() == "Convolution" else ops.group_convolution
    return make(
        value, weights, attributes["strides"], attributes["pads_begin"], attributes["pads_end"],
        attributes["dilations"], attributes["auto_pad"],
    )  # fmt: skip
