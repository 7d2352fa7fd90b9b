"""The converter: a network of PyTorch in, a TensorFlow Lite file out."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

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
from exporters.tflite.lowering import OPERATORS, Forms, Lowering, lower
from exporters.tflite.tracing import Program, UntraceableError, export, trace

if TYPE_CHECKING:
    from torch import Tensor, nn

SIGNATURE = "serving_default"  # the name that the runtimes look for first

# Offsets of the format are 32 bits, signed.
_LARGEST_BYTES = 2**31 - 2**20

# What fills the table of operators.
TABLES = (convolutions, elementwise, gathering, normalisations, pools, recurrent, resizing, shapes)


def convert(
    model: nn.Module, example: Tensor, forms: Forms | None = None, *, half: bool = False
) -> bytes:
    """Writes a network as a TensorFlow Lite file.

    Args:
        model: in eval mode; takes an NCHW image, gives class scores.
        example: an image of the exported shape, NCHW.
        forms: which of several equal forms to write.
        half: whether to store float weights in 16 bits.

    Returns:
        The file: NHWC ``image`` to ``scores``.

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
    for program in _programs(model, example):
        try:
            return assemble(program, example.shape, forms or Forms(), half=half)
        except ModelError as error:
            refused.append(error)
    raise refused[0 if len(refused) == 1 else -2]  # what the network's own operator is called


def _programs(model: nn.Module, example: Tensor) -> Iterator[Program]:
    """What the network computes, as told the quicker way, where that can, and the surer one.

    At last with operators that PyTorch itself makes of others, where the table lacks those. Each is
    told by a copy: code may keep what it computed while it was told.
    """
    with contextlib.suppress(UntraceableError):
        yield trace(copy.deepcopy(model), example)
    yield export(copy.deepcopy(model), example)
    with contextlib.suppress(ModelError):
        yield export(copy.deepcopy(model), example, kept=OPERATORS)


def assemble(
    program: Program, shape: tuple[int, ...], forms: Forms, *, half: bool = False
) -> bytes:
    """Writes what a network computes as a TensorFlow Lite file.

    Args:
        shape: of its image, NCHW.

    Raises:
        ModelError: it has operators that are not in the table, or several outputs.
    """
    graph = Graph()
    tensor = graph.tensor([shape[i] for i in NHWC], "image")
    image = Value(tensor, plain(shape, NHWC))
    known = {**program.constants, **dict.fromkeys(program.images, image)}
    lowering = Lowering(graph, forms)
    outputs = lower(program.nodes, known, lowering)
    if len(outputs) != 1 or not isinstance(outputs[0], Value | Channels):
        raise ModelError(f"the network gives {len(outputs)} outputs: expected one, its scores")
    lowering.name = "scores"
    (found,) = outputs
    value = whole(lowering, found) if isinstance(found, Channels) else found
    scores = lowering.stored(value, range(len(value.shape)))
    return write(graph, {"image": tensor}, {"scores": scores}, SIGNATURE, half=half)
