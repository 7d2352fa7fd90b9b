"""How programs add operators to the interpreter of TensorFlow Lite Micro, and their names there."""

from __future__ import annotations

from pathlib import Path

from edgekit.core import EmbeddedOperator
from edgekit.core.names import shown
from edgekit.errors import InputError
from exporters.tflite.flatbuffer import schema, unpack
from exporters.tflite.runtime import content_of, parsing

_NAMES = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
"""Those that do not follow from the operator's name."""

_PARSERS = {
    "AVERAGE_POOL_2D": "Pool",
    "CUMSUM": "Cumsum",
    "L2_POOL_2D": "Pool",
    "MAX_POOL_2D": "Pool",
    "MEAN": "Reducer",
    "REDUCE_ALL": "Reducer",
    "REDUCE_MAX": "Reducer",
    "REDUCE_MIN": "Reducer",
    "SUM": "Reducer",
}
"""The same, which otherwise have that of the function."""


def operators_of(path: Path) -> tuple[EmbeddedOperator, ...]:
    """The operators of a file, each once.

    Raises:
        InputError: it is damaged, or has operators of somebody's own.
    """
    with parsing(path):
        flat = unpack(content_of(path))
        codes = {op.opcodeIndex for graph in flat.subgraphs for op in graph.operators or ()}
        found = [flat.operatorCodes[index] for index in sorted(codes)]
    builtin = schema().BuiltinOperator
    names = {value: name for name, value in vars(builtin).items() if isinstance(value, int)}
    numbers = dict.fromkeys(max(code.builtinCode, code.deprecatedBuiltinCode) for code in found)
    if builtin.CUSTOM in numbers:
        own = {(code.customCode or b"").decode(errors="replace") for code in found} - {""}
        told = ", ".join(shown(name) for name in sorted(own))
        raise InputError(f"{path} has operators that are not built in: {told}")
    return tuple(operator_of(names[number], number) for number in numbers)


def operator_of(name: str, number: int) -> EmbeddedOperator:
    """An operator by its name and number in the files' format."""
    words = "".join(word[:1] + word[1:].lower() for word in name.split("_"))
    # Dimensions are in capitals: Conv2D.
    spelt = _NAMES.get(name, words.replace("2d", "2D").replace("3d", "3D"))
    return EmbeddedOperator(spelt, number, f"Register_{name}", f"Parse{_PARSERS.get(name, spelt)}")
