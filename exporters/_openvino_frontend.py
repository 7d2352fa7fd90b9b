"""PyTorch networks as graphs of OpenVINO: operators and shapes that its own frontend gets wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import silent_import
from exporters._calls import ARGUMENTS, rewritten

if TYPE_CHECKING:
    from torch import Tensor, nn


def converted(model: nn.Module, example: tuple[Tensor, ...]) -> Any:
    """The graph of a network, in float32.

    Args:
        model: in eval mode.
        example: inputs, one an argument; the graph takes their shapes.
    """
    import torch

    ov, frontend = silent_import("openvino"), silent_import("openvino.frontend.pytorch")
    decoder = silent_import("openvino.frontend.pytorch.ts_decoder").TorchScriptPythonDecoder
    rules = {
        "aten::softplus": _softplus,
        "aten::vdot": _vdot,
        "aten::slice_scatter": _slice_scatter,
        "aten::select_scatter": _select_scatter,
    }
    # Traced once only: what a second trace would check, an export's verification does. Without
    # gradients, as autograd refuses some changes in place that compute what they should.
    with rewritten(ARGUMENTS), torch.no_grad():
        once = {"check_trace": False}
        if _writes_to_parts(model, example):
            model = torch.export.export(model, example).run_decompositions({}).module()
            model.__dict__["eval"] = lambda: model  # such a network refuses to be put into a mode
        graph = ov.convert_model(
            decoder(model, example_input=example, trace_kwargs=once),
            example_input=example,
            input=[list(tensor.shape) for tensor in example],
            extension=[frontend.ConversionExtension(name, rule) for name, rule in rules.items()],
        )
    _write_padding_apart(graph)
    return graph


def _writes_to_parts(model: nn.Module, example: tuple[Tensor, ...]) -> bool:
    """Whether a network changes a tensor in place by another name of it, as a slice or a chunk.

    OpenVINO follows few of these; PyTorch writes the network without any.
    """
    from torch.overrides import TorchFunctionMode

    found = []

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = getattr(func, "__name__", "").partition(".")[0]
            if args and _IN_PLACE.fullmatch(name) and getattr(args[0], "_base", None) is not None:
                found.append(name)
            return func(*args, **(kwargs or {}))

    with Watch():
        model(*(tensor.clone() for tensor in example))
    return bool(found)


# Names of functions that write to their first argument: add_, __iadd__.
_IN_PLACE = re.compile(
    r"\w*[a-z0-9]_|__i(add|sub|mul|truediv|floordiv|mod|pow|and|or|xor)__|__setitem__"
)


def _vdot(context: Any) -> list[Any]:
    """The sum of the products of two vectors; such stand in spectral norms."""
    ops = silent_import("openvino.opset13")

    product = ops.multiply(context.get_input(0), context.get_input(1))
    axes = ops.constant(np.array([0], np.int64))
    return list(ops.reduce_sum(product, axes, keep_dims=False).outputs())


def _softplus(context: Any) -> list[Any]:
    """``log(1 + exp(beta x)) / beta``, and ``x`` beyond a threshold of ``beta x``.

    OpenVINO's own rule leaves both numbers out without a word.
    """
    ops = silent_import("openvino.opset13")

    value = context.get_input(0)
    beta, threshold = (context.get_values_from_const_input(i, None, None) for i in (1, 2))
    factor = np.float32(1 if beta is None else beta)
    bound = np.float32(20 if threshold is None else threshold)
    scaled = ops.multiply(value, ops.constant(factor)) if factor != 1 else value
    smooth = ops.softplus(scaled)
    if factor != 1:
        smooth = ops.multiply(smooth, ops.constant(np.float32(1 / factor)))
    if bound < _SOFTPLUS_IS_LINEAR:
        smooth = ops.select(ops.greater(scaled, ops.constant(bound)), value, smooth)
    return list(smooth.outputs())


_SOFTPLUS_IS_LINEAR = 17.0
"""From here on float32 cannot tell log(1 + exp(x)) from x."""


def _slice_scatter(context: Any) -> list[Any]:
    """A tensor of which one slice is another's: what is left of a change in place."""
    count = context.get_input_size()
    given = [context.get_values_from_const_input(i, None, None) for i in range(2, count)]
    axis, start, stop, step = (None if v is None else int(v) for v in given)
    size = context.get_input(0).get_partial_shape()[axis or 0].get_length()
    places = range(size)[slice(start, stop, step)]
    return _updated(context, context.get_input(1), np.array(places, np.int64), axis or 0)


def _select_scatter(context: Any) -> list[Any]:
    """The same for one place of an axis."""
    ops = silent_import("openvino.opset13")

    axis, place = (int(context.get_values_from_const_input(i, None, None)) for i in (2, 3))
    rank = context.get_input(0).get_partial_shape().rank.get_length()
    size = context.get_input(0).get_partial_shape()[axis].get_length()
    part = ops.unsqueeze(context.get_input(1), ops.constant(np.array([axis % rank], np.int64)))
    return _updated(context, part.output(0), np.array([place % size], np.int64), axis)


def _updated(context: Any, part: Any, places: Any, axis: int) -> list[Any]:
    ops = silent_import("openvino.opset13")

    along = ops.constant(np.array(axis, np.int64))
    made = ops.scatter_update(context.get_input(0), ops.constant(places), part, along)
    return list(made.outputs())


def _write_padding_apart(graph: Any) -> None:
    """Convolutions of one pixel with stride and padding take every n-th pixel beforehand.

    OpenVINO hands the stride of a convolution of one pixel on to the layers in front of it, as if
    there were no padding around what these give. It makes padding part of a convolution wherever it
    stands in front of one, too.
    """
    for op in graph.get_ordered_ops():
        kind = op.get_type_name()
        if kind not in ("Convolution", "GroupConvolution"):
            continue
        attributes, spatial = op.get_attributes(), len(op.get_output_shape(0)) - 2
        weights = list(op.input_value(1).get_shape())
        padded = any((*attributes["pads_begin"], *attributes["pads_end"]))
        if weights[-spatial:] == [1] * spatial and padded and max(attributes["strides"]) > 1:
            _take_pixels(op, kind, attributes, spatial)
    graph.validate_nodes_and_infer_types()


def _take_pixels(op: Any, kind: str, attributes: Any, spatial: int) -> None:
    """Replaces a convolution of one pixel by one without stride, of the pixels that it sees."""
    ops = silent_import("openvino.opset13")

    sizes, made = list(op.input_value(0).get_shape())[2:], list(op.get_output_shape(0))[2:]
    firsts, stops, before, after = [], [], [], []
    for size, count, step, pad in zip(
        sizes, made, attributes["strides"], attributes["pads_begin"], strict=True
    ):
        lead = -(-pad // step)  # outputs that see padding only, before the image
        first = lead * step - pad
        taken = min(len(range(first, size, step)), count - lead)
        firsts.append(first)
        stops.append(first + max(0, taken - 1) * step + 1)
        before.append(lead)
        after.append(count - lead - taken)
    if min(count - b - a for count, b, a in zip(made, before, after, strict=True)) < 1:
        return  # no output sees the image at all
    axes = list(range(2, 2 + spatial))
    pixels = ops.slice(op.input_value(0), firsts, stops, list(attributes["strides"]), axes)
    make = ops.convolution if kind == "Convolution" else ops.group_convolution
    ones = [1] * spatial
    written = make(pixels, op.input_value(1), ones, before, after, ones)
    written.set_friendly_name(op.get_friendly_name())
    for target in list(op.output(0).get_target_inputs()):
        target.replace_source_output(written.output(0))


def shift_before_turns(graph: Any) -> None:
    """What is added to an input whose axes are turned is added before the turn.

    OpenVINO computes convolutions with channels last. Where nothing stands between the turn of an
    input that has its channels last already and the first convolution, it takes both turns away.
    Not for graphs that become integers: MobileNetV3-Small agreed by 25.5 dB, and by 27.8 without.
    """
    ops = silent_import("openvino.opset13")

    for op in graph.get_ordered_ops():
        if op.get_type_name() != "Add":
            continue
        sides = [op.input_value(i) for i in (0, 1)]
        kinds = [side.get_node().get_type_name() for side in sides]
        if sorted(kinds) != ["Constant", "Transpose"]:
            continue
        by, turned = (sides[kinds.index(kind)].get_node() for kind in ("Constant", "Transpose"))
        order = turned.input_value(1).get_node()
        shape = list(by.get_output_shape(0))
        if (
            not _is_input(turned.input_value(0))
            or order.get_type_name() != "Constant"
            or len(turned.output(0).get_target_inputs()) > 1
            or len(shape) != len(order.data)
            or list(op.get_output_shape(0)) != list(turned.get_output_shape(0))
        ):
            continue
        back = np.ascontiguousarray(by.data.transpose(np.argsort(order.data)))
        added = ops.add(turned.input_value(0), ops.constant(back))
        written = ops.transpose(added, turned.input_value(1))
        written.set_friendly_name(op.get_friendly_name())
        for target in list(op.output(0).get_target_inputs()):
            target.replace_source_output(written.output(0))
    graph.validate_nodes_and_infer_types()


def _is_input(port: Any) -> bool:
    """Whether a value is an input of the graph, but for its type."""
    node = port.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Parameter")
