"""A TensorFlow Lite graph that is being built, and how it becomes a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite.flatbuffer import pack, schema

if TYPE_CHECKING:
    from edgekit.core import Array

# Kinds whose options are not called as they are.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "CONCATENATION": "ConcatenationOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "PADV2": "PadV2Options",
}
# Kinds that can apply an activation to what they compute.
_FUSING = {
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "ADD",
    "SUB",
    "MUL",
    "DIV",
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "TRANSPOSE_CONV",
}
# Kinds whose result is of the type of their input.
_MOVING = ("RESHAPE", "TRANSPOSE")
# Kinds that runtimes take in a later version of their definition only, for what is written here.
_VERSIONS = {"BROADCAST_TO": 2, "TRANSPOSE_CONV": 3, "RESIZE_BILINEAR": 3}


@dataclass(slots=True)
class Node:
    """An operator of the file.

    Attributes:
        kind: its name in the format.
        options: fields of its options table.
    """

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any]


@dataclass(slots=True)
class TensorEntry:
    """A tensor of the file.

    Attributes:
        data: of a constant.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: Array | None = None


@dataclass(slots=True)
class Graph:
    """Tensors and operators, in the order in which they are computed."""

    tensors: list[TensorEntry] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    _constants: dict[tuple[object, ...], int] = field(default_factory=dict)

    def tensor(self, shape: Sequence[int], name: str, dtype: str = "float32") -> int:
        """A new tensor that some operator computes, or an input."""
        self.tensors.append(TensorEntry(name, tuple(shape), dtype))
        return len(self.tensors) - 1

    def constant(self, values: Array, name: str) -> int:
        """A tensor whose values lie in the file; equal ones are one."""
        values = np.ascontiguousarray(values)
        key = (values.dtype.str, values.shape, hashlib.sha256(values.data).digest())
        if key not in self._constants:
            self.tensors.append(TensorEntry(name, values.shape, values.dtype.name, values))
            self._constants[key] = len(self.tensors) - 1
        return self._constants[key]

    def emit(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        name: str,
        **options: Any,
    ) -> int:
        """Appends an operator with one output; gives that."""
        return self.emit_several(kind, inputs, [shape], name, **options)[0]

    def emit_several(
        self,
        kind: str,
        inputs: Sequence[int],
        shapes: Sequence[Sequence[int]],
        name: str,
        **options: Any,
    ) -> list[int]:
        """Appends an operator; gives its outputs."""
        names = [name] if len(shapes) == 1 else [f"{name}:{i}" for i in range(len(shapes))]
        dtype = self.tensors[inputs[0]].dtype if kind in _MOVING else "float32"
        outputs = [self.tensor(s, n, dtype) for s, n in zip(shapes, names, strict=True)]
        self.nodes.append(Node(kind, list(inputs), outputs, dict(options)))
        return outputs

    def producer(self, index: int) -> Node | None:
        """The operator that computes a tensor; it is mostly one of the last."""
        return next((node for node in reversed(self.nodes) if index in node.outputs), None)


def fuse_activations(graph: Graph, outputs: Sequence[int]) -> None:
    """Makes activations part of the operators before them, where nothing else reads those."""
    readers: dict[int, int] = {}
    for node in graph.nodes:
        for index in node.inputs:
            readers[index] = readers.get(index, 0) + 1
    made = {index: node for node in graph.nodes for index in node.outputs}
    kept = []
    for node in graph.nodes:
        before = made.get(node.inputs[0]) if node.kind in ("RELU", "RELU6") else None
        if (
            before is None
            or before.kind not in _FUSING
            or before.options.get("fusedActivationFunction", 0)
            or readers[node.inputs[0]] != 1
            or node.inputs[0] in outputs
        ):
            kept.append(node)
            continue
        before.options["fusedActivationFunction"] = getattr(
            schema().ActivationFunctionType, node.kind
        )
        # The name of what computes tells more than that of its activation.
        graph.tensors[node.outputs[0]].name = graph.tensors[before.outputs[0]].name
        before.outputs = node.outputs
        made[node.outputs[0]] = before
    graph.nodes = kept


def drop_unread(graph: Graph, outputs: Sequence[int]) -> None:
    """Leaves out operators that nothing needs."""
    needed = set(outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            whole = node.kind != "SPLIT" or needed.issuperset(node.outputs)
            kept.extend([node] if whole else _parts(graph, node, needed))
    graph.nodes = kept[::-1]


def _parts(graph: Graph, node: Node, needed: set[int]) -> list[Node]:
    """A split of which not all is read, as slices: runtimes give what is not read no memory.

    Whoever looks at all tensors, as the quantizer does, fails on such a one.
    """
    axis, source = node.inputs
    place = graph.tensors[axis].data
    assert place is not None
    at = int(place.reshape(-1)[0])
    parts, begin = [], [0] * len(graph.tensors[source].shape)
    for output in node.outputs:
        entry = graph.tensors[output]
        if output in needed:
            where = [graph.constant(np.array(x, np.int32), f"{entry.name}#constant")
                     for x in (begin, entry.shape)]  # fmt: skip
            parts.append(Node("SLICE", [source, *where], [output], {}))
        begin[at] += entry.shape[at]
    return parts


def write(
    graph: Graph,
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    signature: str,
    *,
    half: bool = False,
) -> bytes:
    """The file.

    Args:
        inputs: tensors by the names of the signature.
        half: whether to store float weights in 16 bits.
    """
    drop_unread(graph, list(outputs.values()))
    fuse_activations(graph, list(outputs.values()))
    for name, index in outputs.items():
        graph.tensors[index].name = name
    if half:
        _halve(graph)
    return _Packer(graph, {*inputs.values(), *outputs.values()}).pack(inputs, outputs, signature)


# Kinds whose second input is weights; kernels widen those when they are loaded.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def _halve(graph: Graph) -> None:
    """Stores weights in 16 bits, and widens them where the file is loaded."""
    widening: dict[int, Node] = {}
    for node in graph.nodes:
        index = node.inputs[1] if node.kind in _WEIGHTED else -1
        entry = graph.tensors[index]
        if index < 0 or entry.data is None:
            continue
        if index not in widening:
            with np.errstate(over="ignore"):  # the verification finds what became infinite
                narrow = entry.data.astype(np.float16)
            source = graph.constant(narrow, f"{entry.name}.float16")
            wide = graph.tensor(entry.shape, entry.name)
            widening[index] = Node("DEQUANTIZE", [source], [wide], {})
        node.inputs[1] = widening[index].outputs[0]
    graph.nodes = [*widening.values(), *graph.nodes]


class _Packer:
    """Numbers what the graph uses, and makes the objects of the format.

    Args:
        ends: tensors whose names are those that people feed and read: they are kept.
    """

    def __init__(self, graph: Graph, ends: set[int]) -> None:
        self._graph, self._s, self._ends = graph, schema(), ends
        self._numbers: dict[int, int] = {}
        self._codes: dict[str, int] = {}
        self.model = self._s.ModelT()
        self.model.version, self.model.description = 3, "edgekit"
        self.model.buffers = [self._s.BufferT()]
        self.model.operatorCodes = []
        self.subgraph = self._s.SubGraphT()
        self.subgraph.tensors, self.subgraph.operators = [], []
        self._names: set[str] = {graph.tensors[index].name for index in ends}

    def pack(self, inputs: Mapping[str, int], outputs: Mapping[str, int], signature: str) -> bytes:
        s = self._s
        self.subgraph.inputs = [self._number(i) for i in inputs.values()]
        for node in self._graph.nodes:
            self.subgraph.operators.append(self._operator(node))
        self.subgraph.outputs = [self._number(i) for i in outputs.values()]
        self.subgraph.name = "main"
        self.model.subgraphs = [self.subgraph]
        entry = s.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = signature, 0
        entry.inputs = [self._named(n, i) for n, i in inputs.items()]
        entry.outputs = [self._named(n, i) for n, i in outputs.items()]
        self.model.signatureDefs = [entry]
        return pack(self.model)

    def _named(self, name: str, index: int) -> Any:
        entry = self._s.TensorMapT()
        entry.name, entry.tensorIndex = name, self._numbers[index]
        return entry

    def _operator(self, node: Node) -> Any:
        operator = self._s.OperatorT()
        operator.opcodeIndex = self._code(node.kind)
        operator.inputs = [self._number(i) for i in node.inputs]
        operator.outputs = [self._number(i) for i in node.outputs]
        name = _OPTIONS.get(node.kind) or _camel(node.kind) + "Options"
        table = getattr(self._s, name + "T", None)
        if table is not None:
            operator.builtinOptionsType = getattr(self._s.BuiltinOptions, name)
            operator.builtinOptions = table()
            for key, value in node.options.items():
                if not hasattr(operator.builtinOptions, key):
                    raise AttributeError(f"{name} has no field {key}")
                setattr(operator.builtinOptions, key, value)
        return operator

    def _code(self, kind: str) -> int:
        if kind not in self._codes:
            code = self._s.OperatorCodeT()
            code.builtinCode = getattr(self._s.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = _VERSIONS.get(kind, 1)
            self._codes[kind] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(code)
        return self._codes[kind]

    def _number(self, index: int) -> int:
        if index < 0:
            return -1
        if index not in self._numbers:
            self._numbers[index] = len(self.subgraph.tensors)
            entry = self._graph.tensors[index]
            name = entry.name if index in self._ends else self._unique(entry.name)
            self.subgraph.tensors.append(self._tensor(entry, name))
        return self._numbers[index]

    def _tensor(self, entry: TensorEntry, name: str) -> Any:
        tensor = self._s.TensorT()
        tensor.name = name
        tensor.shape = list(entry.shape)
        tensor.type = getattr(self._s.TensorType, entry.dtype.upper())
        tensor.hasRank = True
        tensor.buffer = 0
        if entry.data is not None:
            buffer = self._s.BufferT()
            buffer.data = entry.data.reshape(-1).view(np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        return tensor

    def _unique(self, name: str) -> str:
        unique, number = name, 1
        while unique in self._names:
            number += 1
            unique = f"{name}#{number}"
        self._names.add(unique)
        return unique


def _camel(kind: str) -> str:
    return "".join(part.capitalize() for part in kind.split("_"))
