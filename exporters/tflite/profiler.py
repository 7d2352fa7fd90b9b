"""Operator times of LiteRT: each operator cut out of the file and timed by itself.

The interpreter of ai-edge-litert has no profiler that Python can reach, and the one in its C
library numbers XNNPACK's kernels without naming them, in records whose layout differs between
versions. So operators are cut out, with the constants and inputs they have in the network, and
run by the same kernels. Their sum is 0.93 (MobileNetV3-Small), 1.00 (MobileNetV2) and 0.94
(ShuffleNetV2) of the whole network at 224 px with one thread and ai-edge-litert 2.3.0.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from edgekit.core import OperatorTime
from edgekit.errors import UnavailableError
from exporters._inputs import paired
from exporters.tflite.flatbuffer import constant, cut, module_path, operator_kind, pack, schema
from exporters.tflite.runtime import keeping_tensors

if TYPE_CHECKING:
    from edgekit.core import Array

Open = Callable[..., Any]
"""Makes an interpreter with tensors allocated: (content, **options)."""

WARM_UP = 3
OVERHEAD_CALLS = 8  # in each round, spread over it
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass
class _Piece:
    """Operators that XNNPACK runs as one kernel.

    Attributes:
        samples_ms: of every timed call.
    """

    kind: str
    name: str
    operators: list[Any]
    interpreter: Any = None
    samples_ms: list[float] = field(default_factory=list)

    def load(
        self, content: bytes, inputs: Sequence[Array], open_: Open, threads: int | None
    ) -> None:
        """Makes it ready to be called."""
        self.interpreter = open_(content, num_threads=threads)
        for detail, value in paired(self.interpreter.get_input_details(), inputs):
            self.interpreter.set_tensor(detail["index"], value)

    def call(self) -> float:
        """Time of one inference, in ms, right behind another one.

        All other pieces have run since its last call, and have evicted it from the caches further
        than the rest of the network would: they hold more memory than the network does.
        """
        self.interpreter.invoke()
        begin = time.perf_counter_ns()
        self.interpreter.invoke()
        return (time.perf_counter_ns() - begin) / 1e6


def time_operators(
    flat: Any, inputs: Sequence[Array], open_: Open, threads: int | None, runs: int
) -> tuple[OperatorTime, ...]:
    """Times the operators of a file; `edgekit.core.Profilable.operators` tells more."""
    pieces = _pieces(flat)
    for index, value in paired(flat.subgraphs[0].inputs, inputs):
        _fix_shape(flat, index, value)
    recorded = _record(flat, inputs, open_)
    for index, value in recorded.items():
        _fix_shape(flat, index, value)
    for piece in pieces:
        content, needed, _ = cut(flat, piece.operators)
        piece.load(content, [recorded[i] for i in needed], open_, threads)
    calls = _empties(open_, threads)
    sequence = list(pieces)
    for number, call in enumerate(calls):
        sequence.insert(number * len(sequence) // len(calls), call)
    for run in range(-WARM_UP, runs):
        for piece in sequence:
            taken = piece.call()
            if run >= 0:
                piece.samples_ms.append(taken)
    overhead = statistics.median(taken for call in calls for taken in call.samples_ms)
    return tuple(
        OperatorTime(p.name, p.kind, max(0.0, statistics.median(p.samples_ms) - overhead))
        for p in pieces
    )


def _fix_shape(flat: Any, index: int, value: Array) -> None:
    """Writes into the file what shape a tensor has, which it may leave open, or tell for 1 image.

    A piece that is cut out gets its inputs' shapes from nowhere else.
    """
    tensor = flat.subgraphs[0].tensors[index]
    tensor.shape, tensor.shapeSignature = list(value.shape), None


def _pieces(flat: Any) -> list[_Piece]:
    """The operators of a file, in order, together with what XNNPACK runs along with them.

    It widens stored weights when it loads a file, and lets a convolution pad its own input.
    """
    graph = flat.subgraphs[0]
    readers = Counter(i for operator in graph.operators for i in set(operator.inputs))
    absorbed: dict[int, list[Any]] = {}
    pieces = []
    for operator in graph.operators:
        kind = operator_kind(flat, operator)
        if not len(operator.outputs):
            raise UnavailableError(
                f"{kind} gives no output, it changes what the interpreter keeps between operators"
            )
        output = operator.outputs[0]
        data = [i for i in operator.inputs if i >= 0]
        before = [one for i in data for one in absorbed.get(i, ())]
        widens = all(constant(flat, i) or _stored(flat, absorbed.get(i)) for i in data)
        pads = kind == "PAD" and readers[output] == 1 and _pads_convolution(flat, output)
        if widens or pads:
            absorbed[output] = [*before, operator]
        else:
            name = module_path(graph.tensors[output].name.decode())
            pieces.append(_Piece(kind, name or kind, [*before, operator]))
    return pieces


def _stored(flat: Any, operators: list[Any] | None) -> bool:
    """Whether operators only unpack what lies in the file."""
    return operators is not None and all(
        operator_kind(flat, operator) == "DEQUANTIZE" for operator in operators
    )


def _pads_convolution(flat: Any, tensor: int) -> bool:
    return any(
        operator.inputs[0] == tensor and operator_kind(flat, operator) in CONVOLUTIONS
        for operator in flat.subgraphs[0].operators
    )


def _record(flat: Any, inputs: Sequence[Array], open_: Open) -> dict[int, Array]:
    """Values of all tensors in an inference of the whole network."""
    interpreter = open_(pack(flat), **keeping_tensors())
    for detail, value in paired(interpreter.get_input_details(), inputs):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    made = [i for operator in flat.subgraphs[0].operators for i in operator.outputs]
    return {i: interpreter.get_tensor(i) for i in [*flat.subgraphs[0].inputs, *made]}


def _empties(open_: Open, threads: int | None) -> list[_Piece]:
    """Networks that only add four numbers: what they take is the overhead of a call.

    Several, as their memory is one of the things that it depends on.
    """
    classes = schema()
    model, graph = classes.ModelT(), classes.SubGraphT()
    code, add = classes.OperatorCodeT(), classes.OperatorT()
    code.version, code.builtinCode = 1, classes.BuiltinOperator.ADD
    add.inputs, add.outputs = [0, 0], [1]
    add.builtinOptionsType = classes.BuiltinOptions.AddOptions
    add.builtinOptions = classes.AddOptionsT()
    graph.tensors = [classes.TensorT(), classes.TensorT()]
    for tensor in graph.tensors:
        tensor.shape, tensor.type = [1, 4], classes.TensorType.FLOAT32
    graph.operators, graph.inputs, graph.outputs = [add], [0], [1]
    model.version, model.description = 3, "edgekit"
    model.operatorCodes, model.buffers, model.subgraphs = [code], [classes.BufferT()], [graph]
    pieces = [_Piece("ADD", "overhead", []) for _ in range(OVERHEAD_CALLS)]
    for piece in pieces:
        piece.load(pack(model), [np.ones((1, 4), np.float32)], open_, threads)
    return pieces
