"""The converter: a network of PyTorch in, a TensorFlow Lite file out."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgekit.core import Example
from edgekit.errors import ModelError
from exporters.tflite import (
    convolutions,
    elementwise,
    gathering,
    normalisations,
    pools,
    recurrent,
    resizing,
    shapes,
)
from exporters.tflite.channels import Channels, whole
from exporters.tflite.graph import Graph, write
from exporters.tflite.layout import NHWC, Value, plain
from exporters.tflite.lowering import OPERATORS, Forms, Lowering, Operand
from exporters.tflite.tracing import Program, UntraceableError, export, trace
from exporters.tflite.translation import lower

if TYPE_CHECKING:
    from torch import Tensor, nn

SIGNATURE = "serving_default"  # the name that the runtimes look for first

# Offsets of the format are 32 bits, signed.
_LARGEST_BYTES = 2**31 - 2**20

# What fills the table of operators.
TABLES = (convolutions, elementwise, gathering, normalisations, pools, recurrent, resizing, shapes)


def convert(
    model: nn.Module, example: Example, forms: Forms | None = None, *, half: bool = False
) -> bytes:
    """Writes a network as a TensorFlow Lite file.

    Args:
        model: in eval mode.
        example: inputs, and the names that the file gives to inputs and outputs.
        forms: which of several equal forms to write.
        half: whether to store float weights in 16 bits.

    Returns:
        The file; images are NHWC.

    Raises:
        ModelError: PyTorch cannot export the network, it has operators that are not in the
            table, or its weights are too many for the format.
    """
    weights = sum(p.numel() * (2 if half else 4) for p in model.parameters())
    if weights > _LARGEST_BYTES:
        raise ModelError(
            f"the weights take {weights / 2**30:.1f} GiB: a TensorFlow Lite file holds at most "
            "2 GiB; store them in 16 bits, or choose another target"
        )
    refused = []
    for program in _programs(model, example.tensors):
        try:
            return assemble(program, example, forms or Forms(), half=half)
        except ModelError as error:
            refused.append(error)
    raise refused[0 if len(refused) == 1 else -2]  # what the network's own operator is called


def _programs(model: nn.Module, example: tuple[Tensor, ...]) -> Iterator[Program]:
    """What the network computes, as told the quicker way, where that can, and the surer one.

    At last with operators that PyTorch itself makes of others, where the table lacks those. Each is
    told by a copy: code may keep what it computed while it was told.
    """
    with contextlib.suppress(UntraceableError):
        yield trace(copy.deepcopy(model), example)
    yield export(copy.deepcopy(model), example)
    with contextlib.suppress(ModelError):
        yield export(copy.deepcopy(model), example, kept=OPERATORS)


def assemble(program: Program, example: Example, forms: Forms, *, half: bool = False) -> bytes:
    """Writes what a network computes as a TensorFlow Lite file.

    Raises:
        ModelError: it has operators that are not in the table, or an output that is no result.
    """
    graph = Graph()
    inputs: dict[str, int] = {}
    known: dict[str, Operand] = {**program.constants}
    for name, spec in zip(program.inputs, example.interface.inputs, strict=True):
        order = NHWC if spec.layout == "NCHW" else range(len(spec.shape))
        tensor = graph.tensor([spec.shape[i] for i in order], spec.name, spec.dtype)
        inputs[spec.name] = tensor
        known[name] = Value(tensor, plain(spec.shape, order))
    lowering = Lowering(graph, forms)
    outputs: dict[str, int] = {}
    results, names = lower(program.nodes, known, lowering), example.names[1]
    if len(results) != len(names):
        raise ModelError(f"the network gives {len(results)} outputs: expected {', '.join(names)}")
    for name, found in zip(names, results, strict=True):
        lowering.name = name
        tensor = _output(lowering, found, name)
        if tensor in (*inputs.values(), *outputs.values()):  # each has a name of its own
            shape = graph.tensors[tensor].shape
            sizes = lowering.constant(np.array(shape, np.int32))
            tensor = lowering.emit("RESHAPE", [tensor, sizes], shape, newShape=list(shape))
        outputs[name] = tensor
    return write(graph, inputs, outputs, SIGNATURE, half=half)


def _output(lowering: Lowering, operand: Operand, name: str) -> int:
    """The tensor of an output, whose axes are those of the network."""
    value = whole(lowering, operand) if isinstance(operand, Channels) else operand
    if not isinstance(value, Value):
        raise ModelError(
            f"output '{name}' is the same for all inputs: a file of a network that computes it "
            f"would hold a constant; leave it out"
        )
    return lowering.stored(value, range(len(value.shape)))
