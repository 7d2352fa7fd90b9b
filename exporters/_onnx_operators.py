"""Operator times of ONNX Runtime, from its profiler, with the names of the nodes in the file."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import OperatorTime, silent_import
from edgekit.errors import UnavailableError
from exporters._inputs import paired
from exporters._onnx_runner import open_session

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from edgekit.core import Array

WARM_UP = 3
KERNEL = "_kernel_time"

# Operators of the network that shows what the profiler itself takes: per operator 4 to 5
# microseconds on an x86 server, a fifth of MobileNetV3-Small's time.
PROBES = 12


def time_operators(
    proto: ModelProto,
    path: Path,
    content: bytes | None,
    inputs: Sequence[Array],
    threads: int | None,
    runs: int,
) -> tuple[OperatorTime, ...]:
    """Times the operators of a file; `edgekit.core.Profilable.operators` tells more.

    What the profiler writes down about an operator counts to its time, so that is measured on
    operators that do next to nothing, and taken off.

    Args:
        proto: the network.
        path: of the file that it comes from.
        content: the network's bytes, where they are not those of the file.
    """
    import onnx

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        optimized = folder / "optimized.onnx"
        session = open_session(
            path,
            threads,
            content,
            enable_profiling=True,
            profile_file_prefix=str(folder / "file"),
            optimized_model_filepath=str(optimized),
        )
        probe = open_session(
            path,
            threads,
            _probe().SerializeToString(),
            enable_profiling=True,
            profile_file_prefix=str(folder / "probe"),
        )
        for _ in range(WARM_UP + runs):
            _infer(session, inputs)
        for _ in range(WARM_UP + runs):
            _infer(probe, [np.ones((1, 4), np.float32)])
        kernels, empty = _kernels(session, runs), _kernels(probe, runs)
        names = _names(proto, onnx.load(optimized, load_external_data=False))
    overhead = statistics.median(ms for _, _, ms in empty)
    return tuple(
        OperatorTime(names.get(name, name), kind, max(0.0, ms - overhead))
        for name, kind, ms in kernels
    )


def _infer(session: Any, inputs: Sequence[Array]) -> None:
    names = [value.name for value in session.get_inputs()]
    session.run(None, dict(paired(names, inputs)))


def _probe() -> ModelProto:
    """Operators in a row that cannot be left out, and take well under a microsecond each."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Sigmoid", [f"x{i}"], [f"x{i + 1}"]) for i in range(PROBES)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])
        for name in ("x0", f"x{PROBES}")
    ]
    graph = helper.make_graph(nodes, "probe", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _kernels(session: Any, runs: int) -> list[tuple[str, str, float]]:
    """Name, kind and median time in ms of each operator, by the session's profile."""
    events = json.loads(Path(session.end_profiling()).read_bytes())
    kernels = _outermost([e for e in events if e["cat"] == "Node" and e["name"].endswith(KERNEL)])
    count, rest = divmod(len(kernels), WARM_UP + runs)
    first = [e["name"] for e in kernels[:count]]
    if rest or not count or [e["name"] for e in kernels] != first * (WARM_UP + runs):
        raise UnavailableError(
            f"ONNX Runtime's profiler tells of {len(kernels)} operators in {WARM_UP + runs} "
            f"inferences: expected the same in each, so this file has no operator times"
        )
    found = []
    for i in range(count):
        same = kernels[i::count]
        ms = statistics.median(e["dur"] for e in same[WARM_UP:]) / 1000
        found.append((same[0]["name"][: -len(KERNEL)], same[0]["args"]["op_name"], ms))
    return found


def _outermost(kernels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events without those of operators in the bodies of others, whose time is in theirs."""
    holders = [e for e in kernels if e["args"]["op_name"] in ("If", "Loop", "Scan")]
    return [
        e
        for e in kernels
        if not any(
            e is not h
            and e["tid"] == h["tid"]
            and h["ts"] <= e["ts"]
            and e["ts"] + e["dur"] <= h["ts"] + h["dur"]
            for h in holders
        )
    ]


def _names(proto: ModelProto, optimized: ModelProto) -> dict[str, str]:
    """For each node that ONNX Runtime made, the node of the file that it stands for.

    Its blocked convolutions are named after what they compute, activation included; what changes
    the layout is named after what it is needed for.
    """
    known = {node.name for node in proto.graph.node}
    maker = {value: node for node in proto.graph.node for value in node.output}
    names: dict[str, str] = {}
    made: dict[str, str] = {}
    waiting = []
    for node in optimized.graph.node:
        if node.name in known:
            names[node.name] = node.name
        elif node.op_type.startswith("Reorder"):
            waiting.append(node)
        else:
            value = re.sub(r"(_nchwc)?(_token_\d+)?$", "", node.name)
            names[node.name] = _source(maker, value, node.op_type) or node.name
        made.update(dict.fromkeys(node.output, names.get(node.name, node.name)))
    readers = {value: node.name for node in optimized.graph.node for value in node.input}
    for node in waiting:
        # Into the blocked layout for its reader, out of it for the one that wrote.
        other = (
            readers.get(node.output[0], "")
            if node.op_type == "ReorderInput"
            else next((n.name for n in optimized.graph.node if node.input[0] in n.output), "")
        )
        names[node.name] = f"{names.get(other, other)}/{node.op_type}"
    return names


def _source(maker: dict[str, NodeProto], value: str, kind: str) -> str | None:
    """The node of a kind that a value comes from, through what can be fused with it."""
    node = maker.get(value)
    while node is not None and node.op_type != kind:
        node = next((maker[name] for name in node.input if name in maker), None)
    return node.name if node is not None else None


# They copy values, or are conversions between kinds of numbers.
_MOVING = {
    "Cast", "Concat", "DequantizeLinear", "Flatten", "Gather", "Identity", "Pad", "QuantizeLinear",
    "ReorderInput", "ReorderOutput", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
}  # fmt: skip


def float_operators(path: Path) -> tuple[str, ...]:
    """Kinds of what ONNX Runtime computes in float once it has joined conversions and operators."""
    import onnx

    onnxruntime = silent_import("onnxruntime")
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        optimized = Path(folder) / "optimized.onnx"
        level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        open_session(
            path, 1, optimized_model_filepath=str(optimized), graph_optimization_level=level
        )
        graph = onnx.load(str(optimized), load_external_data=False).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in graph.input}
    floats = {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT}
    given = set(kinds) - floats  # bytes of images, and what only moves them
    found = []
    for node in graph.node:
        takes = any(name in floats for name in node.input)
        moves = bool(node.input) and given.issuperset(node.input[:1])
        if moves and node.op_type in ("Gather", "Transpose"):
            given.update(node.output)
        makes = node.op_type == "DequantizeLinear" or (moves and node.op_type == "Cast")
        if makes or (takes and not node.op_type.startswith(("Quantize", "DynamicQuantize"))):
            floats.update(node.output)
        if takes and node.op_type not in _MOVING:
            found.append(node.op_type)
    return tuple(found)
