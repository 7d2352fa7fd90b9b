"""Non-maximum suppression at the end of an ONNX file.

Candidates are sorted, and the operator sees their ranks in place of scores: it leaves open which of
two equal scores counts as higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import BARE, SUPPRESSED, Suppression
from exporters._suppression import LEAST, PREFIX, THIN, far

if TYPE_CHECKING:
    from onnx import ModelProto


class _Nodes:
    """Appends nodes and constants."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._count = 0

    def constant(self, values: Any) -> str:
        """Name of a constant."""
        from onnx import numpy_helper

        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def numbers(self, *values: int) -> str:
        """Name of a constant vector of int64."""
        return self.constant(np.array(values, np.int64))

    def add(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str] = (), **given: Any
    ) -> str:
        """Name of the first output of a node.

        Args:
            outputs: their names; a new one by default.
        """
        from onnx import helper

        names = list(outputs) or [self._name()]
        label = f"{PREFIX}{kind}_{len(self._graph.node)}"
        self._graph.node.append(helper.make_node(kind, list(inputs), names, name=label, **given))
        return names[0]

    def _name(self) -> str:
        self._count += 1
        return f"{PREFIX}{self._count}"


def suppress(proto: ModelProto, about: Suppression) -> None:
    """Adds it; see `edgekit.core.Suppressing`."""
    from onnx import TensorProto, helper

    graph = proto.graph
    anchors = {v.name: v.type.tensor_type.shape.dim[1].dim_value for v in graph.output}["boxes"]
    _rename(graph, {name: f"{PREFIX}{name}" for name in BARE})
    count, most = min(about.candidates, anchors * about.classes), about.max_detections
    to = _Nodes(graph)
    zero, classes = to.constant(np.float32(0)), to.numbers(about.classes)
    # The surest pairs of box and class, the highest score first.
    flat = to.add("Reshape", [f"{PREFIX}scores", to.numbers(-1)])
    values, places = f"{PREFIX}values", f"{PREFIX}places"
    to.add("TopK", [flat, to.numbers(count)], [values, places], axis=0, largest=1, sorted=1)
    of_box = to.add("Div", [places, classes])
    of_class = to.add("Sub", [places, to.add("Mul", [of_box, classes])])
    table = to.add("Reshape", [f"{PREFIX}boxes", to.numbers(-1, 4)])
    corners = to.add("Gather", [table, of_box], axis=0)
    least = to.constant(np.float32(max(about.score_threshold, LEAST)))
    counts = to.add("GreaterOrEqual", [values, least])
    ranks = to.constant(np.arange(count, 0, -1, dtype=np.float32))
    rank = to.add("Where", [counts, ranks, zero])
    # Each class by itself, (1, classes, candidates).
    every = to.constant(np.arange(about.classes, dtype=np.int64)[:, None])
    own = to.add("Where", [to.add("Equal", [of_class, every]), rank, zero])
    halves = [f"{PREFIX}first", f"{PREFIX}last"]
    to.add("Split", [corners], halves, axis=1, num_outputs=2)
    sides = to.add("Sub", halves[::-1])
    shorter = to.add("ReduceMin", [sides, to.numbers(1)], keepdims=1)
    flat_ones = to.add("Less", [shorter, to.constant(np.float32(THIN))])
    areas = to.add("Where", [flat_ones, to.constant(far(count)), corners])
    kept = to.add(
        "NonMaxSuppression",
        [
            to.add("Reshape", [areas, to.numbers(1, count, 4)]),
            to.add("Reshape", [own, to.numbers(1, about.classes, count)]),
            to.numbers(most),
            to.constant(np.array([about.nms_iou], np.float32)),
            to.constant(np.array([0.5], np.float32)),
        ],
    )
    # The best of all classes together, in places of fixed number.
    index = to.add("Gather", [kept, to.constant(np.int64(2))], axis=1)
    taken = to.add("Gather", [rank, index], axis=0)
    empty = to.constant(np.zeros(max(count, most), np.float32))
    chosen = to.add("ScatterElements", [empty, index, taken], axis=0)
    best, at = f"{PREFIX}best", f"{PREFIX}at"
    to.add("TopK", [chosen, to.numbers(most)], [best, at], axis=0, largest=1, sorted=1)
    there = to.add("Greater", [best, zero])
    at = to.add("Min", [at, to.numbers(count - 1)])

    def column(values: str) -> str:
        found = to.add("Where", [there, to.add("Gather", [values, at], axis=0), zero])
        return to.add("Reshape", [found, to.numbers(1, most)])

    standing = to.add("Reshape", [there, to.numbers(most, 1)])
    found = to.add("Where", [standing, to.add("Gather", [corners, at], axis=0), zero])
    floats = TensorProto.FLOAT
    made = {
        "boxes": to.add("Reshape", [found, to.numbers(1, most, 4)]),
        "scores": column(values),
        "classes": column(to.add("Cast", [of_class], to=floats)),
        "count": to.add(
            "ReduceSum", [to.add("Cast", [there], to=floats), to.numbers(0)], keepdims=1
        ),
    }
    shapes = {"boxes": (1, most, 4), "scores": (1, most), "classes": (1, most), "count": (1,)}
    del graph.output[:]
    for name in SUPPRESSED:
        to.add("Identity", [made[name]], [name])
        kind = helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])
        graph.output.append(kind)
        bare = [v for v in graph.value_info if v.name == name]
        for old in bare:  # of what had the name before
            graph.value_info.remove(old)


def unsuppress(proto: ModelProto) -> None:
    """Takes it out again.

    Raises:
        LookupError: there is none.
    """
    from onnx import TensorProto, helper

    graph = proto.graph
    made = {name for node in graph.node for name in node.output}
    for name in BARE:
        if f"{PREFIX}{name}" not in made:
            raise LookupError(name)
    nodes = [node for node in graph.node if not node.name.startswith(PREFIX)]
    tensors = [one for one in graph.initializer if not one.name.startswith(PREFIX)]
    del graph.node[:], graph.initializer[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)
    _rename(graph, {f"{PREFIX}{name}": name for name in BARE})
    for name in BARE:  # whose sizes the runtime finds by itself
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
    for value in graph.value_info:
        value.name = names.get(value.name, value.name)
