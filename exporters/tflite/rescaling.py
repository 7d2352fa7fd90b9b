"""Products with a constant that a file of integers need not compute: its scales say the same."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from exporters.tflite.flatbuffer import constant, drop_unread, operator_kind, schema

# What a factor of their input goes through, as the integers stay the same.
_THROUGH = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "RESHAPE")
# What takes a factor of its input into the scale of its weights.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclasses.dataclass
class _Change:
    """Factors of scales by tensor, as far as they are known."""

    factors: dict[int, float] = dataclasses.field(default_factory=dict)
    weights: dict[int, float] = dataclasses.field(default_factory=dict)


def merge_factors(flat: Any) -> int:
    """Takes products with one number out of a file of integers; gives how many.

    A h-swish is ``x * relu6(x + 3) / 6``. Without the division all integers behind it are the
    same, and stand for six times as much, up to the next layer with weights, which then stand for
    a sixth. A product whose output reaches anything else, such as a sum, stays.
    """
    (graph,) = flat.subgraphs
    merged = 0
    totals: dict[str, float] = {}
    for product in list(graph.operators):
        factor = _factor(flat, product)
        if factor is None:
            continue
        source, (output,) = _given(flat, product), product.outputs
        if not _same_integers(graph.tensors[source], graph.tensors[output], factor):
            continue
        change = _Change({output: 1 / factor})
        if not _follow(flat, output, change):
            continue
        for index, by in change.factors.items():
            _scale(graph.tensors[index], by)
            name = graph.tensors[index].name.decode()
            totals[name] = totals.get(name, 1.0) / by
        for index, by in change.weights.items():
            _scale(graph.tensors[index], by)
        # What is left of the product: shown as what the network has there.
        totals[graph.tensors[source].name.decode()] = factor
        graph.operators.remove(product)
        for operator in graph.operators:
            operator.inputs = [source if i == output else i for i in operator.inputs]
        merged += 1
    if merged:
        drop_unread(flat)
        _note(flat, {t.name.decode() for t in graph.tensors}, totals)
    return merged


KEY = "edgekit.factors"
"""Of what a file says about tensors that stand for a multiple of what the network has there."""


def factors_of(flat: Any) -> dict[str, float]:
    """By name of a tensor what makes the network's numbers of its own."""
    for entry in flat.metadata or []:
        if entry.name == KEY.encode():
            found = json.loads(bytes(flat.buffers[entry.buffer].data))
            return {name: float(by) for by, names in found.items() for name in names}
    return {}


def _note(flat: Any, there: Collection[str], factors: Mapping[str, float]) -> None:
    names: dict[str, list[str]] = {}
    for name, by in factors.items():
        if name in there:
            names.setdefault(f"{by:.6g}", []).append(name)
    text = json.dumps(names, separators=(",", ":"))
    entry, buffer = schema().MetadataT(), schema().BufferT()
    buffer.data = np.frombuffer(text.encode(), np.uint8)
    flat.buffers.append(buffer)
    entry.name, entry.buffer = KEY.encode(), len(flat.buffers) - 1
    flat.metadata = [*(flat.metadata or []), entry]


def _factor(flat: Any, operator: Any) -> float | None:
    """The number that a product multiplies by; ``None`` if it is another operator."""
    if operator_kind(flat, operator) != "MUL" or operator.builtinOptions.fusedActivationFunction:
        return None
    known = [i for i in operator.inputs if constant(flat, i)]
    if len(known) != 1:
        return None
    tensor = flat.subgraphs[0].tensors[known[0]]
    scales = _scales(tensor)
    data = flat.buffers[tensor.buffer].data
    if tensor.type != schema().TensorType.INT8 or scales is None or len(data) != 1:
        return None
    value = (float(np.asarray(data).view(np.int8)[0]) - _zero(tensor)) * float(scales[0])
    return value if value > 0 else None


def _given(flat: Any, operator: Any) -> int:
    return int(next(i for i in operator.inputs if not constant(flat, i)))


def _same_integers(source: Any, output: Any, factor: float) -> bool:
    """Whether a product gives the integers that it takes."""
    one, other = _scales(source), _scales(output)
    return (
        one is not None
        and other is not None
        and len(one) == len(other) == 1
        and source.type == output.type
        and _zero(source) == _zero(output)
        and abs(float(one[0]) * factor / float(other[0]) - 1) < 1e-3
    )


def _follow(flat: Any, start: int, change: _Change) -> bool:
    """Finds the scales that change with that of a tensor; whether they all can."""
    (graph,) = flat.subgraphs
    if start in graph.outputs:
        return False
    uses = Counter(int(i) for operator in graph.operators for i in operator.inputs)
    for operator in graph.operators:  # in the order in which they are computed
        by = [change.factors[i] for i in map(int, operator.inputs) if i in change.factors]
        if not by:
            continue
        kind = operator_kind(flat, operator)
        if kind in _THROUGH and not _clamps(operator):
            (output,) = operator.outputs
            if output in graph.outputs or _scales(graph.tensors[output]) is None:
                return False
            change.factors[int(output)] = float(np.prod(by))
        elif kind in _WEIGHTED and int(operator.inputs[0]) in change.factors:
            weights = int(operator.inputs[1])
            if uses[weights] != 1 or _scales(graph.tensors[weights]) is None:
                return False
            change.weights[weights] = 1 / by[0]
        else:
            return False
    return True


def _clamps(operator: Any) -> bool:
    """Whether an activation is part of an operator: its bounds would have to move, too."""
    return bool(getattr(operator.builtinOptions, "fusedActivationFunction", 0))


def _scales(tensor: Any) -> Any:
    return None if tensor.quantization is None else tensor.quantization.scale


def _zero(tensor: Any) -> int:
    zeros = tensor.quantization.zeroPoint
    return 0 if zeros is None or not len(zeros) else int(zeros[0])


def _scale(tensor: Any, by: float) -> None:
    # A new table: the quantizer lets tensors share theirs.
    table = schema().QuantizationParametersT()
    table.__dict__.update(vars(tensor.quantization))
    table.scale = (np.asarray(tensor.quantization.scale, np.float64) * by).astype(np.float32)
    tensor.quantization = table
