"""Integers in OpenVINO IR: NNCF's quantizer, and an interface of integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import Scheme, silent_import
from edgekit.errors import ModelError
from exporters._openvino_biases import correct_biases
from exporters._openvino_core import compiled, signal_stack_kept

if TYPE_CHECKING:
    from edgekit.core import Array

RANGES = ("minmax", "percentile")
"""Ways of NNCF to find the range of a tensor."""

PERCENTILE = 1e-4
"""Share of values that ``percentile`` cuts off on each side."""


@signal_stack_kept()
def quantize(graph: Any, scheme: Scheme, images: Sequence[Sequence[Array]]) -> Any:
    """The network with weights and activations of 8 bits.

    Args:
        graph: of float32, whose nodes have module paths in their names.
        images: inputs that the ranges come from, an array for each input.

    Raises:
        ModelError: no layer of the network could be quantized.
    """
    nncf = silent_import("nncf")
    nncf.set_log_level(40)
    names = [port.get_any_name() for port in graph.inputs]
    feeds = [dict(zip(names, one, strict=True)) for one in images]
    kept = [
        op.get_friendly_name()
        for op in graph.get_ordered_ops()
        if _belongs(op.get_friendly_name(), scheme.float_layers)
        or _multiplies_from_left(op)
        or _averages_padding(op)
        or _divides(op)
    ]
    ignored = nncf.IgnoredScope(names=kept) if kept else None
    fast = scheme.forms.get("bias", "fast") == "fast"
    narrow = scheme.forms.get("weights") == "7bit"
    quantized = nncf.quantize(
        graph,
        nncf.Dataset(feeds),
        subset_size=len(images),
        preset=nncf.QuantizationPreset(scheme.forms.get("activations", "mixed")),
        fast_bias_correction=False,
        ignored_scope=ignored,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE if narrow else nncf.OverflowFix.FIRST_LAYER,
            activations_range_estimator_params=_estimator(scheme.calibration or "minmax"),
            disable_bias_correction=fast,
        ),
    )
    if fast:
        correct_biases(graph, quantized, images)
    # What NNCF leaves in float for the sake of accuracy, squeeze-excite most of all, need not be
    # stored in 32 bits.
    quantized = nncf.compress_weights(
        quantized, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=ignored
    )
    if not any(op.get_type_name() == "FakeQuantize" for op in quantized.get_ordered_ops()):
        ends = ("Constant", "Parameter", "Result")
        kinds = sorted({op.get_type_name() for op in graph.get_ordered_ops()}.difference(ends))
        raise ModelError(
            f"the network has no layer that NNCF knows how to quantize: it has {', '.join(kinds)}"
        )
    _share_ranges(quantized)
    for i, op in enumerate(quantized.get_ordered_ops()):
        if op.get_type_name() == "Constant" and "/fq_" in op.get_friendly_name():
            op.set_friendly_name(f"c{i}")  # else names take more bytes than some layers' weights
    return quantized


def _share_ranges(graph: Any) -> None:
    """Lets roundings whose ranges have equal ends have the same constants.

    Else the four of each take up to a tenth of a small network's file.
    """
    known: dict[tuple[object, ...], Any] = {}
    for op in graph.get_ordered_ops():
        if op.get_type_name() != "FakeQuantize":
            continue
        for i in range(1, 5):
            node = op.input_value(i).get_node()
            if node.get_type_name() == "Constant":
                key = (node.data.dtype.str, node.data.shape, node.data.tobytes())
                op.input(i).replace_source_output(known.setdefault(key, op.input_value(i)))


def _estimator(ranges: str) -> Any:
    nncf = silent_import("nncf.quantization.range_estimator")
    collector, of_images = nncf.StatisticsCollectorParameters, nncf.AggregatorType
    statistics = nncf.StatisticsType
    if ranges == "percentile":
        # Of each image; the widest image counts, as the mean of extremes cuts off too much.
        cut = {"quantile_outlier_prob": PERCENTILE}
        low = collector(statistics.QUANTILE, of_images.MIN, **cut)
        high = collector(statistics.QUANTILE, of_images.MAX, **cut)
    else:
        low = collector(statistics.MIN, of_images.MIN)
        high = collector(statistics.MAX, of_images.MAX)
    return nncf.RangeEstimatorParameters(min=low, max=high)


def _multiplies_from_left(op: Any) -> bool:
    """Whether an operator is a product of matrices whose left one is constant.

    NNCF gives each of its rows a scale, which OpenVINO cannot compile. With the factors exchanged
    and both transposed it can, and takes as long as in float or longer (196 tokens to 384 of 512
    channels: 1.10 times as long).
    """
    if op.get_type_name() != "MatMul":
        return False
    left, right = (op.input_value(i).get_node().get_type_name() for i in (0, 1))
    return bool(left == "Constant" and right != "Constant")


def _averages_padding(op: Any) -> bool:
    """Whether an average pooling counts the zeros around its image.

    With integers whose zero is not 0, OpenVINO 2026.4 puts zeros of integers there: 9.1 dB where a
    network has 25.7 with the same roundings in float.
    """
    if op.get_type_name() != "AvgPool":
        return False
    attributes = op.get_attributes()
    return bool(
        not attributes["exclude-pad"] and any((*attributes["pads_begin"], *attributes["pads_end"]))
    )


def _divides(op: Any) -> bool:
    """Whether an operator divides by what it computed, as norms of vectors do.

    NNCF rounds the divisor to 8 bits, of which many are 0 where some are large.
    """
    if op.get_type_name() != "Divide":
        return False
    return bool(op.input_value(1).get_node().get_type_name() != "Constant")


def _belongs(name: str, layers: Sequence[str]) -> bool:
    """Whether a node called ``__module.path.of.it/aten::kind/Kind`` belongs to one of modules."""
    scope = name.partition("/")[0].removeprefix("__module.")
    return any(scope == layer or scope.startswith(f"{layer}.") for layer in layers)


def with_integer_interface(
    graph: Any, images: Sequence[Sequence[Array]]
) -> tuple[Any, dict[str, Any]]:
    """The same network with 8-bit integers in and out, and what they stand for.

    Inputs and outputs that are integers already stay as they are.

    Args:
        graph: quantized.
        images: inputs that the ranges of inputs and outputs come from.

    Returns:
        A new graph, and scale and zero point by name.
    """
    ov, ops = silent_import("openvino"), silent_import("openvino.opset13")
    network = compiled(ov, graph, {"INFERENCE_PRECISION_HINT": "f32"})
    found = [list(network(list(one)).values()) for one in images]
    notes, parameters, results = {}, [], []
    for i, old in enumerate(graph.get_parameters()):
        name = old.output(0).get_any_name()
        if old.get_output_element_type(0).get_type_name() != "f32":
            parameters.append(old)
            continue
        notes[name] = _affine(np.concatenate([one[i].reshape(-1) for one in images]))
        image = ops.parameter(list(old.get_output_shape(0)), np.int8, name)
        scale, zero = notes[name]
        shifted = ops.subtract(ops.convert(image, "f32"), np.float32(zero))
        real = ops.multiply(shifted, np.float32(scale))
        old.output(0).get_tensor().set_names(set())
        for target in list(old.output(0).get_target_inputs()):
            target.replace_source_output(real.output(0))
        image.output(0).get_tensor().set_names({name})
        parameters.append(image)
    for i, result in enumerate(graph.get_results()):
        source = result.input_value(0)
        if source.get_element_type().get_type_name() != "f32":
            results.append(result)
            continue
        name = source.get_any_name()
        notes[name] = _affine(np.concatenate([one[i].reshape(-1) for one in found]))
        source.get_tensor().set_names(set())
        scale, zero = notes[name]
        steps = ops.add(ops.divide(source, np.float32(scale)), np.float32(zero))
        rounded = ops.round(steps, "half_to_even")
        narrow = ops.convert(ops.clamp(rounded, -128.0, 127.0), "i8")
        narrow.set_friendly_name(name)
        narrow.output(0).get_tensor().set_names({name})
        results.append(ops.result(narrow.output(0)))
    return ov.Model(results, parameters, "main"), notes


def _affine(values: Array) -> tuple[float, int]:
    """Scale and zero point with which 8 signed bits hold all values."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = float(np.float32((high - low) / 255)) or 1.0
    return scale, round(-128 - low / scale)
