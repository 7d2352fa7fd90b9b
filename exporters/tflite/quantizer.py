"""Integers in TensorFlow Lite files, by ai-edge-quantizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import Scheme, reason_with_layer
from edgekit.errors import ModelError
from exporters._ends import joined_behind
from exporters.tflite.biases import fit_biases
from exporters.tflite.converter import SIGNATURE
from exporters.tflite.flatbuffer import constant, operator_kind, pack, schema, unpack
from exporters.tflite.lowering import FLOAT, STEMS, is_narrow
from exporters.tflite.padding import LOWEST
from exporters.tflite.rescaling import merge_factors

if TYPE_CHECKING:
    from edgekit.core import Array

PERCENTILE = 0.01
"""Percent of values that ``percentile`` cuts off on each side of every image."""

# What is taken of a tensor for one image, and what of all images. Never the mean: a mean of
# extremes cuts off what squeeze-excite reacts to, and costs 8 dB.
_STATISTICS: dict[str, tuple[Callable[[Array], Any], Callable[..., Any], Callable[..., Any]]] = {
    "minmax": (lambda values: (values.min(), values.max()), np.min, np.max),
    "percentile": (
        lambda values: np.percentile(values, [PERCENTILE, 100 - PERCENTILE]),
        np.min,
        np.max,
    ),
}
_STATISTICS["mse"] = _STATISTICS["minmax"]  # of activations; see `_add_static`
RANGES = tuple(_STATISTICS)
"""Ways to find the range of a tensor."""

NARROWEST = 1 << 18
"""How much narrower than the widest number of a network the range of a tensor may be, at most."""

_FLOAT_TENSORS = rf"{FLOAT}(#\d+)?(;|$)"

_BITS = {"int8": 8, "int16": 16}


def quantize(content: bytes, scheme: Scheme, images: Sequence[Sequence[Array]]) -> bytes:
    """The network with weights and activations of the scheme's types.

    Args:
        content: a file of float32, whose tensors are called after modules.
        images: inputs that the ranges come from, an array for each input of the file; none for a
            scheme without calibration.

    Raises:
        ModelError: no layer of the network could be quantized.
    """
    from ai_edge_quantizer import algorithm_manager, quantizer, recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName

    every, keep = TFLOperationName.ALL_SUPPORTED, algorithm_manager.AlgorithmName.NO_QUANTIZE
    recipe = recipe_manager.RecipeManager()
    if scheme.calibration is None:
        recipe.add_dynamic_config(".*", every, _BITS[scheme.weights])
    else:
        _add_static(recipe, scheme)
    flat = unpack(content)
    ends = {one: _names(flat, one) for one in ("inputs", "outputs")}
    stem = stem_of(flat, scheme.forms.get("stem"))
    layers = map(_tensors_of, scheme.float_layers)
    joined = joined_ends(flat) if scheme.interface == "float" else []
    for pattern in (*layers, *map(_tensor, [*stem, *joined]), _FLOAT_TENSORS):
        recipe.add_quantization_config(pattern, every, algorithm_key=keep)
    if scheme.interface == "float" and scheme.calibration is not None:
        for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            recipe.add_quantization_config(".*", end, algorithm_key=keep)
    worker = quantizer.Quantizer(content, recipe.get_quantization_recipe())
    kinds = sorted({operator_kind(flat, operator) for operator in flat.subgraphs[0].operators})
    nothing = ModelError(
        f"the network has no layer that ai-edge-quantizer knows: it has {', '.join(kinds)}"
    )
    ranges: dict[str, Any] = {}
    if scheme.calibration is not None:
        first = dict(zip(_names(flat, "inputs"), images[0], strict=True))
        ranges = worker.calibrate({SIGNATURE: [first]})
        if not ranges:
            raise nothing
        found = _found(content, images, scheme.calibration)
        least = max((abs(v) for _, *ends in found for v in ends), default=0.0) / NARROWEST
        for name, low, high in found:
            if high - low < least:  # LiteRT ends the process on outputs of too small a scale
                high = low + least
            if name in ranges:  # else it stays in float
                if not np.isfinite([low, high]).all():  # LiteRT crashes on such a scale
                    raise ModelError(
                        f"what '{name}' computes is not finite for an image that calibrates, and "
                        f"integers have no number for that: bound it, or keep its layer in float "
                        f"with --float-layers"
                    )
                for key, value in (("min", low), ("max", high)):
                    ranges[name][key] = np.full_like(ranges[name][key], value)
    try:
        found = worker.quantize(ranges).quantized_model
    except Exception as error:  # whatever an operator that it does not foresee makes of it
        raise ModelError(
            f"ai-edge-quantizer cannot write this network in {scheme.precision}: "
            f"{reason_with_layer(error)}; "
            "name the layer in --float-layers, or take another precision"
        ) from error
    if found is None or not _has_integers(bytes(found)):
        raise nothing
    flat = unpack(bytes(found))
    fit_biases(flat, unpack(content))
    merge_factors(flat)
    if scheme.interface == "int8":
        _scale_unread(flat, images)
        _check_ends(flat, ends)
    _name_ends(flat, ends)
    return pack(flat)


_JOINING = ("CONCATENATION", "PACK")
_WEIGHTY = (
    "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED",
    "MAX_POOL_2D", "MEAN", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
)  # fmt: skip
"""What pays in integers: it has weights or works on whole maps."""


def joined_ends(flat: Any) -> list[str]:
    """Names of what outputs are made of behind the last layers, where they are joined of parts.

    Parts may be of other units, such as boxes in pixels and scores from 0 to 1, or of other ranges,
    as maps of several strides, for which one scale has no room; and what makes pixels of shares of
    anchors would round them to whole pixels. All of it stays in float, which costs next to nothing.
    """
    (graph,) = flat.subgraphs
    operators = list(graph.operators)
    kinds = [operator_kind(flat, operator) for operator in operators]
    maker = {int(i): at for at, operator in enumerate(operators) for i in operator.outputs}
    layers = joined_behind(
        [[maker[int(i)] for i in one.inputs if int(i) in maker] for one in operators],
        [maker[int(i)] for i in graph.outputs if int(i) in maker],
        weighty=[kind in _WEIGHTY for kind in kinds],
        joining=[kind in _JOINING for kind in kinds],
    )
    return [graph.tensors[i].name.decode() for at in layers for i in operators[at].outputs]


_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D")


def stem_of(flat: Any, form: str | None) -> list[str]:
    """Names of the tensors of few channels at the beginning, which depend on no others.

    There are none where that would be all, or most of the weights: then the file would be one of
    float under another name.

    Args:
        form: see `exporters.tflite.lowering.Forms.stem`.
    """
    (graph,) = flat.subgraphs
    most = STEMS.get(form or "", 0)
    begun, names, kinds = {int(i) for i in graph.inputs}, [], set()
    weights = {True: 0, False: 0}
    for operator in graph.operators:
        kind = operator_kind(flat, operator)
        given = [int(i) for i in operator.inputs if i >= 0 and not constant(flat, i)]
        made = [graph.tensors[i] for i in operator.outputs]
        narrow = begun.issuperset(given) and all(is_narrow(tensor.shape, most) for tensor in made)
        if narrow:
            begun.update(int(i) for i in operator.outputs)
            names += [tensor.name.decode() for tensor in made]
            kinds.add(kind)
        if len(operator.inputs) > 1 and constant(flat, operator.inputs[1]):
            weights[narrow] += int(np.prod(graph.tensors[operator.inputs[1]].shape))
    return names if kinds.intersection(_WEIGHTED) and weights[True] < weights[False] else []


def _add_static(recipe: Any, scheme: Scheme) -> None:
    """Integers for all operators; with ``mse`` weights at the scale of least squared error.

    The quantizer knows that scale for 8 bits, and for operators with weights only.
    """
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName as Kind

    bits = (_BITS[scheme.activations], _BITS[scheme.weights])
    recipe.add_static_config(".*", Kind.ALL_SUPPORTED, *bits)
    if scheme.calibration == "mse":
        for kind in (Kind.CONV_2D, Kind.DEPTHWISE_CONV_2D, Kind.FULLY_CONNECTED):
            recipe.add_static_config(".*", kind, *bits, algorithm_key=AlgorithmName.MSE)


def _scale_unread(flat: Any, images: Sequence[Sequence[Array]]) -> None:
    """Makes integers of inputs that nothing reads, and that no layer has made so.

    Args:
        images: inputs that the ranges come from.
    """
    (graph,) = flat.subgraphs
    read = {int(i) for operator in graph.operators for i in operator.inputs}
    read.update(map(int, graph.outputs))
    kinds = schema().TensorType
    for place, index in enumerate(map(int, graph.inputs)):
        tensor = graph.tensors[index]
        if index in read or tensor.type != kinds.FLOAT32:
            continue
        low, high = (end([end(one[place]) for one in images]) for end in (np.min, np.max))
        low, high = min(0.0, float(low)), max(0.0, float(high))
        scale = (high - low) / 255 or 1.0
        table = schema().QuantizationParametersT()
        table.scale = np.asarray([scale], np.float32)
        table.zeroPoint = np.asarray([round(-128 - low / scale)], np.int64)
        tensor.type, tensor.quantization = kinds.INT8, table


def _check_ends(flat: Any, ends: Mapping[str, Sequence[str]]) -> None:
    """Refuses a file whose input or output is no integer with a scale.

    Args:
        ends: names of ``inputs`` and ``outputs``.
    """
    (graph,) = flat.subgraphs
    for what, name, index in (
        (end, name, int(index))
        for end, names in ends.items()
        for name, index in zip(names, getattr(graph, end), strict=True)
    ):
        tensor = graph.tensors[index]
        if tensor.type == schema().TensorType.FLOAT32:
            raise ModelError(
                f"the layer at the {what[:-1]} '{name}' stays in float, so that no integers can "
                f"go in and out: take it out of --float-layers, or leave --io int8 out"
            )


def _names(flat: Any, ends: str) -> list[str]:
    """Names of the ``inputs`` or ``outputs`` of a file."""
    (graph,) = flat.subgraphs
    return [graph.tensors[int(i)].name.decode() for i in getattr(graph, ends)]


def _name_ends(flat: Any, names: Mapping[str, Sequence[str]]) -> None:
    """Gives inputs and outputs their names again, where a conversion was put beside them."""
    (graph,) = flat.subgraphs
    for ends, wanted in names.items():
        for index, name in zip(getattr(graph, ends), wanted, strict=True):
            if graph.tensors[int(index)].name.decode() == name:
                continue
            for tensor in graph.tensors:
                if tensor.name.decode() == name:
                    tensor.name = f"{name}#integers".encode()
            graph.tensors[int(index)].name = name.encode()


def _has_integers(content: bytes) -> bool:
    """Whether an operator other than conversions takes integers with a scale."""
    flat = unpack(content)
    tensors = flat.subgraphs[0].tensors
    return any(
        operator_kind(flat, operator) not in ("QUANTIZE", "DEQUANTIZE")
        and any(i >= 0 and _scaled(tensors[i]) for i in operator.inputs)
        for operator in flat.subgraphs[0].operators
    )


# They copy values, or are conversions between kinds of numbers.
_MOVING = {
    "CONCATENATION", "DEQUANTIZE", "EXPAND_DIMS", "GATHER", "PAD", "PADV2", "QUANTIZE", "RESHAPE",
    "SLICE", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE",
}  # fmt: skip


def float_operators(flat: Any) -> tuple[str, ...]:
    """Kinds of what a file computes in float."""
    float32 = schema().TensorType.FLOAT32
    (graph,) = flat.subgraphs
    return tuple(
        operator_kind(flat, operator)
        for operator in graph.operators
        if operator_kind(flat, operator) not in _MOVING
        and any(
            i >= 0 and graph.tensors[i].type == float32 and not constant(flat, i)
            for i in operator.inputs
        )
    )


def _scaled(tensor: Any) -> bool:
    """Whether a tensor of a file has a scale."""
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _tensors_of(layer: str) -> str:
    """A pattern of the tensors that a module computes."""
    return rf"(^|;){re.escape(layer)}([.#/;]|$)"


def _tensor(name: str) -> str:
    """A pattern of one tensor."""
    return rf"(^|;){re.escape(name)}(;|$)"


def _found(
    content: bytes, images: Sequence[Sequence[Array]], how: str
) -> list[tuple[str, float, float]]:
    """Name, smallest and largest value of each tensor that is computed.

    The quantizer has a calibration of its own, which runs reference kernels and knows nothing but
    a moving average. Here every tensor is an output of the file, and the fast kernels compute it.
    """
    from ai_edge_litert.interpreter import Interpreter

    flat = unpack(content)
    graph = flat.subgraphs[0]
    computed = sorted({int(i) for operator in graph.operators for i in operator.outputs})
    graph.outputs = computed
    flat.signatureDefs = []
    names = [graph.tensors[i].name.decode() for i in (*graph.inputs, *computed)]
    interpreter = Interpreter(model_content=pack(flat))
    interpreter.allocate_tensors()
    inputs = [detail["index"] for detail in interpreter.get_input_details()]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    of_one, of_low, of_high = _STATISTICS[how]
    found = []
    for image in images:
        for index, values in zip(inputs, image, strict=True):
            interpreter.set_tensor(index, values)
        interpreter.invoke()
        tensors = (_numbers(interpreter.get_tensor(i)) for i in outputs)
        found.append([of_one(values) for values in (*image, *tensors)])
    lows, highs = np.moveaxis(np.array(found), 2, 0)
    return list(zip(names, of_low(lows, axis=0), of_high(highs, axis=0), strict=True))


def _numbers(values: Array) -> Array:
    """Values without what stands around an image so that no pooling takes it for the largest."""
    kept = values[values > LOWEST] if values.size and values.min() <= LOWEST else values
    return kept if kept.size else np.zeros(1, np.float32)
