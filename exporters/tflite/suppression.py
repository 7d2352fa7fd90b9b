"""Non-maximum suppression at the end of a TensorFlow Lite file.

The operator of the format knows no classes, so that there is one for each. Candidates are sorted,
and it sees their ranks in place of scores: it leaves open which of two equal scores counts as
higher. (The other way, the custom operator of TensorFlow's detectors, decodes boxes once more from
anchors, fails on boxes without area and orders equal scores as it likes.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.core import BARE, SUPPRESSED, Suppression
from exporters._suppression import LEAST, PREFIX, THIN, far
from exporters.tflite.flatbuffer import drop_unread, schema


class _Operators:
    """Appends operators, tensors and constants to a file."""

    def __init__(self, flat: Any) -> None:
        self._flat, self._s = flat, schema()
        (self._graph,) = flat.subgraphs
        self._codes = {
            max(one.builtinCode, one.deprecatedBuiltinCode): i
            for i, one in enumerate(flat.operatorCodes)
            if one.version in (0, 1)
        }

    def tensor(self, shape: Sequence[int], dtype: str, name: str = "") -> int:
        """A new tensor."""
        made = self._s.TensorT()
        made.name = name or f"{PREFIX}{len(self._graph.tensors)}"
        made.shape, made.hasRank = list(shape), True
        made.type = getattr(self._s.TensorType, dtype.upper())
        made.buffer = 0
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def constant(self, values: Any, dtype: type = np.int32) -> int:
        """A tensor whose values lie in the file."""
        array: Any = np.ascontiguousarray(np.asarray(values, dtype))
        made = self.tensor(np.shape(values), array.dtype.name)
        buffer = self._s.BufferT()
        buffer.data = array.reshape(-1).view(np.uint8)
        self._flat.buffers.append(buffer)
        self._graph.tensors[made].buffer = len(self._flat.buffers) - 1
        return made

    def add(
        self,
        kind: str,
        inputs: Sequence[int],
        *outputs: tuple[Sequence[int], str],
        options: str = "",
        **fields: Any,
    ) -> list[int]:
        """An operator; gives its outputs.

        Args:
            outputs: shape and type of each.
            options: name of its table of options.
        """
        made = self._s.OperatorT()
        made.opcodeIndex = self._code(getattr(self._s.BuiltinOperator, kind))
        made.inputs = list(inputs)
        made.outputs = [self.tensor(shape, dtype) for shape, dtype in outputs]
        if options:
            made.builtinOptionsType = getattr(self._s.BuiltinOptions, options)
            made.builtinOptions = getattr(self._s, f"{options}T")()
            for name, value in fields.items():
                setattr(made.builtinOptions, name, value)
        self._graph.operators.append(made)
        return list(made.outputs)

    def reshaped(self, index: int, shape: Sequence[int], dtype: str = "float32") -> int:
        """A tensor in another shape."""
        given = [index, self.constant(shape)]
        (made,) = self.add(
            "RESHAPE", given, (shape, dtype), options="ReshapeOptions", newShape=list(shape)
        )
        return made

    def gathered(self, values: int, indices: int, shape: Sequence[int], dtype: str) -> int:
        """Rows of a tensor."""
        return self.add("GATHER", [values, indices], (shape, dtype), options="GatherOptions")[0]

    def _code(self, number: int) -> int:
        if number not in self._codes:
            code = self._s.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
            code.version = 1
            self._flat.operatorCodes.append(code)
            self._codes[number] = len(self._flat.operatorCodes) - 1
        return self._codes[number]


def suppress(flat: Any, about: Suppression) -> None:
    """Adds it; see `edgekit.core.Suppressing`."""
    (graph,) = flat.subgraphs
    boxes, scores = (_named(graph, name) for name in BARE)
    anchors = int(graph.tensors[boxes].shape[1])
    for index, name in ((boxes, "boxes"), (scores, "scores")):
        graph.tensors[index].name = f"{PREFIX}{name}"
    count, most = min(about.candidates, anchors * about.classes), about.max_detections
    classes, to = about.classes, _Operators(flat)
    zero = to.constant(0.0, np.float32)
    # The surest pairs of box and class, the highest score first.
    flat_scores = to.reshaped(scores, [anchors * classes])
    values, places = to.add(
        "TOPK_V2", [flat_scores, to.constant(count)], ([count], "float32"), ([count], "int32"),
        options="TopKV2Options",
    )  # fmt: skip
    divisor = to.constant(classes)
    (of_box,) = to.add("FLOOR_DIV", [places, divisor], ([count], "int32"))
    (of_class,) = to.add("FLOOR_MOD", [places, divisor], ([count], "int32"))
    corners = to.gathered(to.reshaped(boxes, [anchors, 4]), of_box, [count, 4], "float32")
    (counts,) = to.add(
        "GREATER_EQUAL", [values, to.constant(max(about.score_threshold, LEAST), np.float32)],
        ([count], "bool"),
    )  # fmt: skip
    ranks = to.constant(np.arange(count, 0, -1), np.float32)
    (rank,) = to.add("SELECT_V2", [counts, ranks, zero], ([count], "float32"))
    # Each class by itself.
    bound = to.constant(min(most, count))
    # The operator takes an overlap that equals the bound as too much.
    overlap = to.constant(np.nextafter(np.float32(about.nms_iou), np.float32(2)), np.float32)
    half, sigma, parts = to.constant(0.5, np.float32), zero, []
    areas = _with_areas(to, corners, count)
    for number in range(classes):
        own = rank
        if classes > 1:
            (same,) = to.add("EQUAL", [of_class, to.constant(number)], ([count], "bool"))
            (own,) = to.add("SELECT_V2", [same, rank, zero], ([count], "float32"))
        if about.nms_iou >= 1:  # nothing overlaps by more
            parts.append(own)
            continue
        found = to.add(
            "NON_MAX_SUPPRESSION_V5", [areas, own, bound, overlap, half, sigma],
            ([min(most, count)], "int32"), ([min(most, count)], "float32"), ([], "int32"),
        )  # fmt: skip
        parts.append(found[1])
    # The best of all classes together; ranks tell which they are.
    parts.append(to.constant(np.zeros(most), np.float32))
    length = sum(int(graph.tensors[part].shape[0]) for part in parts)
    (some,) = to.add(
        "CONCATENATION", parts, ([length], "float32"),
        options="ConcatenationOptions",
    )  # fmt: skip
    best, _ = to.add(
        "TOPK_V2", [some, to.constant(most)], ([most], "float32"), ([most], "int32"),
        options="TopKV2Options",
    )  # fmt: skip
    (there,) = to.add("GREATER", [best, zero], ([most], "bool"))
    (place,) = to.add(
        "SUB", [to.constant(float(count), np.float32), best], ([most], "float32"),
        options="SubOptions",
    )  # fmt: skip
    last = to.constant(float(count - 1), np.float32)
    (nearest,) = to.add("MINIMUM", [place, last], ([most], "float32"))
    (at,) = to.add("CAST", [nearest], ([most], "int32"), options="CastOptions")

    def column(values: int) -> int:
        found = to.gathered(values, at, [most], "float32")
        (shown,) = to.add("SELECT_V2", [there, found, zero], ([most], "float32"))
        return to.reshaped(shown, [1, most])

    (named,) = to.add("CAST", [of_class], ([count], "float32"), options="CastOptions")
    standing = to.reshaped(there, [most, 1], "bool")
    placed = to.gathered(corners, at, [most, 4], "float32")
    (shown,) = to.add("SELECT_V2", [standing, placed, zero], ([most, 4], "float32"))
    (ones,) = to.add("CAST", [there], ([most], "float32"), options="CastOptions")
    (total,) = to.add(
        "SUM", [ones, to.constant([0])], ([1], "float32"), options="ReducerOptions", keepDims=True
    )
    made = (to.reshaped(shown, [1, most, 4]), column(values), column(named), total)
    _set_outputs(flat, dict(zip(SUPPRESSED, made, strict=True)))


def _with_areas(to: _Operators, corners: int, count: int) -> int:
    """The same boxes, where those without area lie far away: they overlap nothing.

    The operator knows a box that it has taken already by how it overlaps itself, and takes one
    without area again and again.
    """
    first, last = (
        to.add(
            "SLICE", [corners, to.constant([0, begin]), to.constant([count, 2])],
            ([count, 2], "float32"), options="SliceOptions",
        )[0]
        for begin in (0, 2)
    )  # fmt: skip
    (sides,) = to.add("SUB", [last, first], ([count, 2], "float32"), options="SubOptions")
    (shorter,) = to.add(
        "REDUCE_MIN", [sides, to.constant([1])], ([count, 1], "float32"),
        options="ReducerOptions", keepDims=True,
    )  # fmt: skip
    thin = to.constant(THIN, np.float32)
    (flat,) = to.add("LESS", [shorter, thin], ([count, 1], "bool"))
    places = to.constant(far(count), np.float32)
    return to.add("SELECT_V2", [flat, places, corners], ([count, 4], "float32"))[0]


def unsuppress(flat: Any) -> bool:
    """Takes it out again, and tells whether there was any."""
    (graph,) = flat.subgraphs
    there = {_name(tensor) for tensor in graph.tensors}
    if not there >= {f"{PREFIX}{name}" for name in BARE}:
        return False
    # What was there before stands before it, and gives the outputs of old.
    bare = {name: _named(graph, f"{PREFIX}{name}") for name in BARE}
    first = next(i for i, op in enumerate(graph.operators) if _added(graph, op, bare))
    graph.operators = graph.operators[:first]
    _set_outputs(flat, bare)
    drop_unread(flat)
    return True


def _added(graph: Any, operator: Any, bare: dict[str, int]) -> bool:
    index = int(operator.outputs[0])
    return index not in bare.values() and _name(graph.tensors[index]).startswith(PREFIX)


def _set_outputs(flat: Any, outputs: dict[str, int]) -> None:
    """Makes tensors the outputs of a file, by names."""
    (graph,) = flat.subgraphs
    for name, index in outputs.items():
        graph.tensors[index].name = name
    graph.outputs = list(outputs.values())
    for signature in flat.signatureDefs or []:
        entries = []
        for name, index in outputs.items():
            entry = schema().TensorMapT()
            entry.name, entry.tensorIndex = name, index
            entries.append(entry)
        signature.outputs = entries


def _name(tensor: Any) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name


def _named(graph: Any, name: str) -> int:
    return next(i for i, tensor in enumerate(graph.tensors) if _name(tensor) == name)
