"""Inputs of bytes, in the forms that kernels are fast for.

Kernels take numbers in the direction in which they lie, and subtract three numbers of a pixel one
by one: MobileNetV3-Small at 224 px took 1.10 times as long in float32 and 1.21 times in int8 as
with an input of floats. With rows of pixels side by side it is 1.01 times
(docs/measurements/baked.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from exporters.tflite.flatbuffer import constant, drop_unread, operator_kind, pack, schema, unpack

MOST_CHANNELS = 4
"""Of an image."""


def with_fast_bytes(content: bytes) -> bytes:
    """The same file, where bytes become floats or other integers at its beginning in a fast way."""
    flat = unpack(content)
    (graph,) = flat.subgraphs
    kinds = schema().TensorType
    casts = [
        one
        for one in graph.operators
        if operator_kind(flat, one) == "CAST" and _type(flat, one.inputs[0]) == kinds.UINT8
    ]
    if not casts:
        return content
    for cast in casts:
        _quantize_bytes(flat, cast)
    for begin in list(graph.operators):
        kind = operator_kind(flat, begin)
        if kind in ("CAST", "QUANTIZE") and _type(flat, begin.inputs[0]) == kinds.UINT8:
            _take_rows(flat, begin)
    drop_unread(flat)
    return pack(flat)


def _type(flat: Any, index: int) -> Any:
    return flat.subgraphs[0].tensors[index].type


def _readers(flat: Any, index: int) -> list[Any]:
    return [one for one in flat.subgraphs[0].operators if index in one.inputs]


def _quantize_bytes(flat: Any, cast: Any) -> None:
    """Makes integers of bytes without floats between, where that is done: bytes have the scale 1,
    which gives the same.
    """
    graph, s = flat.subgraphs[0], schema()
    (source,), (made,) = cast.inputs, cast.outputs
    readers = _readers(flat, made)
    direct = [
        one
        for one in readers
        if operator_kind(flat, one) == "QUANTIZE"
        and _type(flat, one.outputs[0]) == s.TensorType.INT8
    ]
    if not direct:
        return
    for one in direct:
        one.inputs = [source]
    table = s.QuantizationParametersT()
    table.scale, table.zeroPoint = np.ones(1, np.float32), np.zeros(1, np.int64)
    graph.tensors[source].quantization = table
    if len(direct) == len(readers) and made not in graph.outputs:
        graph.operators.remove(cast)


def _take_rows(flat: Any, begin: Any) -> None:
    """Lets what changes the values of an image's channels see rows instead of pixels.

    Args:
        begin: what makes floats or integers of the bytes.
    """
    graph = flat.subgraphs[0]
    (source,), (made,) = begin.inputs, begin.outputs
    shape = [int(n) for n in graph.tensors[source].shape]
    if len(shape) != 4 or shape[-1] > MOST_CHANNELS or [*graph.tensors[made].shape] != shape:
        return
    steps: list[Any] = []
    last = made
    while True:
        readers = _readers(flat, last)
        if last in graph.outputs or len(readers) != 1 or not _by_channel(flat, readers[0], last):
            break
        steps.append(readers[0])
        last = readers[0].outputs[0]
    if not steps:
        return
    row = [shape[0], shape[1], shape[2] * shape[3]]
    rows = _like(flat, source, row)
    first = _reshape(flat, source, rows, row)
    begin.inputs, begin.outputs = [rows], [_like(flat, made, row)]
    before = begin.outputs[0]
    for step in steps:
        values = _values(flat, step.inputs[1])
        step.inputs = [before, _constant(flat, step.inputs[1], np.tile(values, shape[2]))]
        step.outputs = [_like(flat, step.outputs[0], row)]
        before = step.outputs[0]
    place = graph.operators.index(begin)
    graph.operators.insert(place, first)
    place = graph.operators.index(steps[-1])
    graph.operators.insert(place + 1, _reshape(flat, before, last, shape))


def _by_channel(flat: Any, operator: Any, index: int) -> bool:
    """Whether an operator subtracts or multiplies a known number of each channel."""
    if operator_kind(flat, operator) not in ("SUB", "MUL") or operator.inputs[0] != index:
        return False
    tensors, other = flat.subgraphs[0].tensors, operator.inputs[1]
    channels = int(tensors[index].shape[-1])
    sizes = [int(n) for n in tensors[other].shape]
    return (
        constant(flat, other)
        and bool(sizes)
        and sizes[-1] == channels == int(np.prod(sizes))
        and [*tensors[operator.outputs[0]].shape] == [*tensors[index].shape]
    )


def _values(flat: Any, index: int) -> Any:
    tensor = flat.subgraphs[0].tensors[index]
    width = {schema().TensorType.FLOAT32: np.float32, schema().TensorType.INT16: np.int16}
    kind = width.get(tensor.type, np.int8)
    return np.frombuffer(bytes(flat.buffers[tensor.buffer].data), kind)


def _like(flat: Any, index: int, shape: Sequence[int]) -> int:
    """A new tensor of the type and scale of another one."""
    graph = flat.subgraphs[0]
    tensor = copy.copy(graph.tensors[index])
    tensor.shape, tensor.shapeSignature, tensor.buffer = list(shape), None, 0
    tensor.name = tensor.name + b"#rows"
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _constant(flat: Any, index: int, values: Any) -> int:
    """A new constant in place of another one."""
    made = _like(flat, index, values.shape)
    buffer = schema().BufferT()
    buffer.data = np.ascontiguousarray(values).view(np.uint8)
    flat.buffers.append(buffer)
    flat.subgraphs[0].tensors[made].buffer = len(flat.buffers) - 1
    return made


def _reshape(flat: Any, source: int, made: int, shape: Sequence[int]) -> Any:
    s, graph = schema(), flat.subgraphs[0]
    codes = [max(one.builtinCode, one.deprecatedBuiltinCode) for one in flat.operatorCodes]
    if s.BuiltinOperator.RESHAPE not in codes:
        code = s.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = s.BuiltinOperator.RESHAPE
        code.version = 1
        flat.operatorCodes.append(code)
        codes.append(code.builtinCode)
    sizes = s.TensorT()
    sizes.name = graph.tensors[made].name + b"#shape"
    sizes.shape, sizes.type, sizes.hasRank = [len(shape)], s.TensorType.INT32, True
    buffer = s.BufferT()
    buffer.data = np.array(shape, np.int32).view(np.uint8)
    flat.buffers.append(buffer)
    sizes.buffer = len(flat.buffers) - 1
    graph.tensors.append(sizes)
    operator = s.OperatorT()
    operator.opcodeIndex = codes.index(s.BuiltinOperator.RESHAPE)
    operator.inputs, operator.outputs = [source, len(graph.tensors) - 1], [made]
    operator.builtinOptionsType = s.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = s.ReshapeOptionsT()
    operator.builtinOptions.newShape = list(shape)
    return operator
