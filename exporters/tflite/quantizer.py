"""Integers in TensorFlow Lite files, by ai-edge-quantizer."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import Scheme
from edgekit.errors import ModelError
from exporters.tflite.converter import SIGNATURE
from exporters.tflite.flatbuffer import constant, operator_kind, pack, schema, unpack
from exporters.tflite.lowering import is_narrow
from exporters.tflite.rescaling import merge_factors

if TYPE_CHECKING:
    from edgekit.core import Array

PERCENTILE = 0.01
"""Percent of values that ``percentile`` cuts off on each side of every image."""

# What is taken of a tensor for one image, and what of all images. Never the mean: a mean of
# extremes cuts off what squeeze-excite reacts to, and costs 8 dB (docs/quantize.md).
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

_BITS = {"int8": 8, "int16": 16}


def quantize(content: bytes, scheme: Scheme, images: Sequence[Array]) -> bytes:
    """The network with weights and activations of the scheme's types.

    Args:
        content: a file of float32, whose tensors are called after modules.
        images: inputs that the ranges come from; none for a scheme without calibration.

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
    stem = _stem(flat) if scheme.forms.get("stem") == "narrow" else []
    for pattern in (*map(_tensors_of, scheme.float_layers), *map(_tensor, stem)):
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
        ranges = worker.calibrate({SIGNATURE: [{"image": images[0]}]})
        if not ranges:
            raise nothing
        for name, low, high in _found(content, images, scheme.calibration):
            if name in ranges:  # else it stays in float
                for key, value in (("min", low), ("max", high)):
                    ranges[name][key] = np.full_like(ranges[name][key], value)
    try:
        found = worker.quantize(ranges).quantized_model
    except RuntimeError as error:
        raise ModelError(f"ai-edge-quantizer: {error}") from error
    if found is None or not _has_integers(bytes(found)):
        raise nothing
    flat = unpack(bytes(found))
    merge_factors(flat)
    if scheme.interface == "int8":
        if stem:
            _take_integers(flat, images)
        _check_ends(flat)
    _name_output(flat)
    return pack(flat)


def _stem(flat: Any) -> list[str]:
    """Names of the tensors of few channels at the beginning, which depend on no others."""
    (graph,) = flat.subgraphs
    begun, names = {int(i) for i in graph.inputs}, []
    for operator in graph.operators:
        given = [int(i) for i in operator.inputs if i >= 0 and not constant(flat, i)]
        made = [graph.tensors[i] for i in operator.outputs]
        if begun.issuperset(given) and all(is_narrow(tensor.shape) for tensor in made):
            begun.update(int(i) for i in operator.outputs)
            names += [tensor.name.decode() for tensor in made]
    return names


def _take_integers(flat: Any, images: Sequence[Array]) -> None:
    """Gives a file whose first layers are in float an input of integers."""
    (graph,) = flat.subgraphs
    (index,) = graph.inputs
    if _scaled(graph.tensors[index]):
        return
    low = min(0.0, *(float(image.min()) for image in images))
    high = max(0.0, *(float(image.max()) for image in images))
    image, table = copy.copy(graph.tensors[index]), schema().QuantizationParametersT()
    scale = np.float32((high - low) / 255)
    table.scale = np.array([scale])
    table.zeroPoint = np.array([round(-128 - low / float(scale))], np.int64)
    image.type, image.quantization = schema().TensorType.INT8, table
    graph.tensors[index].name = b"image#real"
    graph.tensors.append(image)
    widening = schema().OperatorT()
    widening.inputs, widening.outputs = [len(graph.tensors) - 1], [index]
    kind = schema().BuiltinOperator.DEQUANTIZE
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in flat.operatorCodes]
    if kind not in codes:
        code = schema().OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 2
        flat.operatorCodes.append(code)
        codes.append(kind)
    widening.opcodeIndex = codes.index(kind)
    graph.operators.insert(0, widening)
    graph.inputs = [len(graph.tensors) - 1]
    for signature in flat.signatureDefs or []:
        signature.inputs[0].tensorIndex = len(graph.tensors) - 1


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


def _check_ends(flat: Any) -> None:
    """Refuses a file whose input or output is no integer with a scale."""
    (graph,) = flat.subgraphs
    for what, (index,) in (("input", graph.inputs), ("output", graph.outputs)):
        if not _scaled(graph.tensors[index]):
            raise ModelError(
                f"the layer at the {what} stays in float, so that no integers can go in and out: "
                f"take it out of --float-layers, or leave --io int8 out"
            )


def _name_output(flat: Any) -> None:
    """Gives the output its name again, where a conversion to float was put behind it."""
    (graph,) = flat.subgraphs
    (output,) = graph.outputs
    if graph.tensors[output].name != b"scores":
        for tensor in graph.tensors:
            if tensor.name == b"scores":
                tensor.name = b"scores#integers"
        graph.tensors[output].name = b"scores"


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


def _found(content: bytes, images: Sequence[Array], how: str) -> list[tuple[str, float, float]]:
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
    (given,) = interpreter.get_input_details()
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    of_one, of_low, of_high = _STATISTICS[how]
    found = []
    for image in images:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        found.append([of_one(image), *(of_one(interpreter.get_tensor(i)) for i in outputs)])
    lows, highs = np.moveaxis(np.array(found), 2, 0)
    return list(zip(names, of_low(lows, axis=0), of_high(highs, axis=0), strict=True))
