"""Files for hardware that has nothing but integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.names import shown
from edgekit.errors import InputError
from exporters.tflite.flatbuffer import schema, unpack
from exporters.tflite.runtime import content_of, parsing

EXPORTED = "--target tflite --precision int8 --io int8"
"""Options of ``edgekit export`` that write such files."""


def check_integers(path: Path, device: str) -> None:
    """Refuses a file that takes or gives floats.

    Args:
        device: that it is meant for.

    Raises:
        InputError: it does, or is no file of this format; with the line that exports one.
    """
    with parsing(path):
        flat = unpack(content_of(path))
        types, graph = schema().TensorType, flat.subgraphs[0]
        floats = (types.FLOAT32, types.FLOAT16, types.FLOAT64)
        given, got = names_of_ends(flat)
        ends = zip((*graph.inputs, *graph.outputs), (*given, *got), strict=True)
        found = [name for i, name in ends if graph.tensors[i].type in floats]
    if found:
        raise InputError(
            f"{path}: {' and '.join(shown(name) for name in found[:3])} "
            f"{'hold' if len(found) > 1 else 'holds'} floats, and device '{device}' takes files "
            f"with integers at both ends: 'edgekit export MODEL {EXPORTED}'"
        )


def names_of_ends(flat: Any) -> tuple[list[str], list[str]]:
    """Names of the inputs and outputs of a file."""
    graph = flat.subgraphs[0]
    given, got = (
        [(graph.tensors[i].name or b"").decode(errors="replace") for i in tensors]
        for tensors in (graph.inputs, graph.outputs)
    )
    return given, got
