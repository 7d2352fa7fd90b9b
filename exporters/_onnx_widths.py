"""Channels of ONNX networks: which tensors share theirs, and widths that fill whole vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

VECTOR = 16
"""Channels of a vector. ONNX Runtime's depthwise kernel of integers takes 127 microseconds for 88
channels at 28 x 28 px, and 41 for 96 of them at stride 2."""

# What works on each channel by itself, so that more channels change nothing for the others.
_BY_CHANNEL = {
    "Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Mul", "Add", "Identity",
    "GlobalAveragePool", "AveragePool", "MaxPool",
}  # fmt: skip


def pad_depthwise(proto: ModelProto) -> None:
    """Gives depthwise convolutions multiples of `VECTOR` channels, by weights that are zero.

    What the new channels hold is multiplied by zeros in the convolution that reads them, so the
    network computes the same. Channels that anything else sees, such as a concatenation or the
    classifier, stay as they are.
    """
    from onnx import numpy_helper

    known = {tensor.name: tensor for tensor in proto.graph.initializer}
    groups = _Groups(proto, known)
    for width, convolutions in groups.to_pad():
        extra = -width % VECTOR
        for node, axis in convolutions:
            for name, at in ((node.input[1], axis), *((n, 0) for n in node.input[2:] if axis == 0)):
                values = numpy_helper.to_array(known[name])
                pads = [(0, extra if i == at else 0) for i in range(values.ndim)]
                known[name].CopyFrom(numpy_helper.from_array(np.pad(values, pads), name))
            for attribute in node.attribute:
                if attribute.name == "group" and attribute.i > 1:
                    attribute.i = width + extra
    del proto.graph.value_info[:]


class _Groups:
    """Tensors that have the same channels, as a union of what operators tie together."""

    def __init__(self, proto: ModelProto, known: dict[str, Any]) -> None:
        self._parent: dict[str, str] = {}
        ends = (*proto.graph.input, *proto.graph.output)
        self._fixed: set[str] = {value.name for value in ends}
        self._convolutions: list[NodeProto] = []
        self._known = known
        read: dict[str, int] = {}
        for node in proto.graph.node:
            for name in node.input:
                read[name] = read.get(name, 0) + 1
        for node in proto.graph.node:
            values = [name for name in node.input if name and name not in known]
            constants = [known[name] for name in node.input if name in known]
            if node.op_type == "Conv":
                self._convolution(node, shared=any(read[t.name] > 1 for t in constants))
            elif node.op_type in _BY_CHANNEL and all(np.prod(t.dims) == 1 for t in constants):
                for name in (*values, *node.output):
                    self._join(node.output[0], name)
            else:
                self._fixed.update((*values, *node.output))

    def _convolution(self, node: NodeProto, shared: bool) -> None:
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        weight = self._known.get(node.input[1])
        x, y = node.input[0], node.output[0]
        depthwise = weight is not None and list(weight.dims[:2]) == [group, 1] and group > 1
        if weight is None or shared or (group > 1 and not depthwise):
            self._fixed.update((x, y))
        elif depthwise:
            self._join(x, y)
        self._convolutions.append(node)

    def _find(self, name: str) -> str:
        while self._parent.setdefault(name, name) != name:
            name = self._parent[name]
        return name

    def _join(self, one: str, other: str) -> None:
        self._parent[self._find(one)] = self._find(other)

    def to_pad(self) -> Iterator[tuple[int, list[tuple[NodeProto, int]]]]:
        """Width and convolutions of each group to pad, with the axis of the weights."""
        fixed = {self._find(name) for name in self._fixed}
        members: dict[str, list[tuple[NodeProto, int]]] = {}
        widths: dict[str, int] = {}
        for node in self._convolutions:
            weight = self._known.get(node.input[1])
            if weight is None:
                continue
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            given, made = self._find(node.input[0]), self._find(node.output[0])
            members.setdefault(made, []).append((node, 0))
            if group > 1:
                widths[made] = int(group)
            else:
                members.setdefault(given, []).append((node, 1))
        for name, width in widths.items():
            if name not in fixed and width % VECTOR:
                yield width, members[name]
