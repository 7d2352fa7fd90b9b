"""Damage to the tables of TensorFlow Lite files."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (0, -1, -7, 2**31 - 1, -(2**31), 1 << 20, 65536, 3)


def _tree(path: Path) -> Any:
    from exporters.tflite.flatbuffer import unpack

    return unpack(path.read_bytes())


def _write(path: Path, flat: Any) -> None:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(flat.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def words(path: Path, rng: random.Random) -> None:
    """Words of the tables, which lie before or behind the weights, point anywhere."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 5))):
        near_end = rng.random() < 0.7
        span = min(len(content) // 4 - 2, 3000)
        at = (len(content) // 4 - 1 - rng.randrange(span) if near_end else rng.randrange(span)) * 4
        value = rng.choice((at, -at, 4, -4, len(content), 2**31 - 1, rng.getrandbits(31)))
        content[at : at + 4] = struct.pack("<i", value)
    path.write_bytes(content)


def tensor_shape(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    for tensor in rng.sample(flat.subgraphs[0].tensors, rng.choice((1, 5))):
        shape = [int(n) for n in tensor.shape] if tensor.shape is not None else [1]
        if shape:
            shape[rng.randrange(len(shape))] = rng.choice(SIZES)
        tensor.shape = rng.choice((shape, shape, shape, [], shape * 3, [1 << 16] * 4))
    _write(path, flat)


def input_shape(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    graph = flat.subgraphs[0]
    side = rng.choice(SIZES)
    tensor = graph.tensors[graph.inputs[0]]
    tensor.shape = rng.choice(([1, side, side, 3], [side, 32, 32, 3], [1, 32, 32, side], [], [3]))
    if rng.random() < 0.3:
        tensor.shapeSignature = [1, -1, -1, 3]
    _write(path, flat)


def tensor_type(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    for tensor in rng.sample(flat.subgraphs[0].tensors, rng.choice((1, 4))):
        tensor.type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 17, 18, 99, -3))
    _write(path, flat)


def tensor_buffer(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    for tensor in rng.sample(flat.subgraphs[0].tensors, rng.choice((1, 6))):
        tensor.buffer = rng.choice((0, 1, rng.randrange(len(flat.buffers)), 10**6, 2**32 - 1))
    _write(path, flat)


def operands(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    graph = flat.subgraphs[0]
    for op in rng.sample(graph.operators, rng.choice((1, 4))):
        which = [int(i) for i in (op.inputs if rng.random() < 0.6 else op.outputs)]
        place = rng.randrange(len(which))
        own = int(op.outputs[0])
        which[place] = rng.choice(
            (-1, own, len(graph.tensors), 10**6, -9, 2**31 - 1, rng.randrange(len(graph.tensors)))
        )
        changed = rng.choice((which, which, which, [], which * 20))
        if rng.random() < 0.6:
            op.inputs = changed
        else:
            op.outputs = changed
    _write(path, flat)


def opcodes(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    if rng.random() < 0.5:
        code = rng.choice(flat.operatorCodes)
        code.builtinCode = rng.choice((rng.randrange(210), 32, 119, 9999, -1))
        code.deprecatedBuiltinCode = min(127, max(0, code.builtinCode))
        code.version = rng.choice((1, 1, 0, -5, 999))
    else:
        op = rng.choice(flat.subgraphs[0].operators)
        op.opcodeIndex = rng.choice((*range(len(flat.operatorCodes)), 77, 2**31))
    _write(path, flat)


def options(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    for op in rng.sample(flat.subgraphs[0].operators, rng.choice((1, 5))):
        if op.builtinOptions is None or rng.random() < 0.2:
            op.builtinOptions, op.builtinOptionsType = None, 0
            continue
        for name, value in vars(op.builtinOptions).items():
            if isinstance(value, int) and rng.random() < 0.6:
                try:
                    setattr(op.builtinOptions, name, rng.choice((0, -1, 127, 2**31 - 1, -(2**31))))
                    op.builtinOptions.Pack(__import__("flatbuffers").Builder(64))
                except Exception:
                    setattr(op.builtinOptions, name, 0)
    _write(path, flat)


def quantization(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    having = [
        t for t in flat.subgraphs[0].tensors
        if t.quantization is not None and t.quantization.scale is not None
    ]  # fmt: skip
    for tensor in rng.sample(having, min(len(having), rng.choice((1, 6)))):
        q = tensor.quantization
        what = rng.randrange(5)
        if what == 0:
            q.scale = np.float32(rng.choice((0, -1, np.nan, np.inf, 1e38, 1e-45))) * np.ones_like(
                np.asarray(q.scale)
            )
        elif what == 1:
            q.scale = [0.1] * rng.choice((1, 2, 500))
        elif what == 2:
            q.zeroPoint = [rng.choice((-(2**63), 2**63 - 1, 300, -129))]
        elif what == 3:
            q.quantizedDimension = rng.choice((-1, 9, 2**31 - 1, 1))
        else:
            q.scale = q.zeroPoint = None
    _write(path, flat)


def graph_ends(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    graph = flat.subgraphs[0]
    count = len(graph.tensors)
    ends = rng.choice(([], [count], [-1], [0, 0], [10**6], list(range(count)), [count - 1]))
    if rng.random() < 0.5:
        graph.inputs = ends
    else:
        graph.outputs = ends
    if rng.random() < 0.4:
        flat.signatureDefs = None
    _write(path, flat)


def less(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    graph = flat.subgraphs[0]
    what = rng.choice(("subgraphs", "operators", "tensors", "buffers", "operatorCodes", "order"))
    if what == "order":
        rng.shuffle(graph.operators)
    elif what in ("operators", "tensors"):
        setattr(graph, what, rng.choice(([], None, getattr(graph, what)[: rng.randrange(9)])))
    else:
        setattr(flat, what, rng.choice(([], None, getattr(flat, what)[:1])))
    _write(path, flat)


def signatures(path: Path, rng: random.Random) -> None:
    flat = _tree(path)
    for signature in flat.signatureDefs or []:
        for entry in signature.inputs + signature.outputs:
            entry.tensorIndex = rng.choice((10**6, 2**32 - 1, 0))
        signature.subgraphIndex = rng.choice((0, 7, 2**32 - 1))
    for entry in flat.metadata or []:
        if rng.random() < 0.4:
            entry.buffer = rng.choice((10**6, 2**32 - 1, 0))
    _write(path, flat)


def weights(path: Path, rng: random.Random) -> None:
    """NaN, infinity, or bytes that are too few."""
    flat = _tree(path)
    large = [b for b in flat.buffers if b.data is not None and len(b.data) >= 64]
    for buffer in rng.sample(large, min(3, len(large))):
        data = np.array(buffer.data, np.uint8)
        if rng.random() < 0.4:
            buffer.data = data[: rng.randrange(len(data))]
        else:
            floats = data[: len(data) // 4 * 4].view(np.float32)
            floats[:] = rng.choice((np.nan, np.inf, 3e38))
            buffer.data = data
    _write(path, flat)


def outside_buffers(path: Path, rng: random.Random) -> None:
    """Buffers that lie behind the tree, where the file does not go."""
    flat = _tree(path)
    large = [b for b in flat.buffers if b.data is not None and len(b.data) >= 64]
    for buffer in rng.sample(large, min(2, len(large))):
        buffer.size = len(buffer.data)
        buffer.data = None
        buffer.offset = rng.choice((2, 10**9, 2**63, 2**64 - 4))
    _write(path, flat)


def behind(path: Path) -> None:
    """The same file with the data of all buffers behind the tree, as large ones are written."""
    flat = _tree(path)
    held = [b for b in flat.buffers if b.data is not None and len(b.data)]
    contents = [bytes(buffer.data) for buffer in held]
    for buffer in held:
        buffer.data, buffer.offset, buffer.size = None, 2**40, 2**40  # as wide as any
    _write(path, flat)
    place = -(-path.stat().st_size // 16) * 16
    for buffer, content in zip(held, contents, strict=True):
        buffer.offset, buffer.size = place, len(content)
        place += -(-len(content) // 16) * 16
    _write(path, flat)
    tree = path.read_bytes()
    with path.open("wb") as file:
        file.write(tree)
        for buffer, content in zip(held, contents, strict=True):
            file.write(bytes(buffer.offset - file.tell()) + content)


def elsewhere(path: Path, name: str | None, values: dict[str, int] | None = None) -> None:
    """Weights in a file of that name beside it.

    Args:
        values: of the fields of what says where.
    """
    from ai_edge_litert import schema_py_generated as schema

    flat = _tree(path)
    tensor = max(
        (t for t in flat.subgraphs[0].tensors if flat.buffers[t.buffer].data is not None),
        key=lambda t: len(flat.buffers[t.buffer].data),
    )
    content = bytes(flat.buffers[tensor.buffer].data)
    group, outside = schema.ExternalBufferGroupT(), schema.ExternalBufferT()
    group.name = name
    outside.id, outside.group, outside.offset, outside.length = 1, 0, 0, len(content)
    for field, value in (values or {}).items():
        setattr(outside, field, value)
    flat.externalBufferGroups, flat.externalBuffers = [group], [outside]
    tensor.externalBuffer, tensor.buffer = 1, 0
    _write(path, flat)
    path.with_name("weights.bin").write_bytes(content)


def while_loop(path: Path, rng: random.Random) -> None:
    """A loop whose condition and body are the network itself, or do not end."""
    pair = rng.choice(((1, 2), (1, 2), (1, 2), (0, 0), (1, 0), (9, 9)))
    add_loop(path, pair, at_end=rng.random() < 0.5)


def add_loop(path: Path, pair: tuple[int, int], *, at_end: bool) -> None:
    """A loop of two subgraphs by number: 0 is the network, 1 says 'go on', 2 does nothing."""
    from ai_edge_litert import schema_py_generated as schema

    flat = _tree(path)
    graph = flat.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.WHILE
    code.version = 1
    flat.operatorCodes.append(code)
    condition = schema.SubGraphT()
    state, truth = schema.TensorT(), schema.TensorT()
    state.shape, state.type, state.buffer, state.name = [1], 0, 0, "state"
    truth.shape, truth.type, truth.name = [1], schema.TensorType.BOOL, "true"
    flat.buffers.append(schema.BufferT())
    flat.buffers[-1].data = np.array([1], np.uint8)
    truth.buffer = len(flat.buffers) - 1
    condition.tensors, condition.inputs, condition.outputs = [state, truth], [0], [1]
    condition.operators = []
    body = schema.SubGraphT()
    body.tensors, body.inputs, body.outputs, body.operators = [state], [0], [0], []
    flat.subgraphs += [condition, body]
    loop = schema.OperatorT()
    loop.opcodeIndex = len(flat.operatorCodes) - 1
    loop.builtinOptionsType = schema.BuiltinOptions.WhileOptions
    loop.builtinOptions = schema.WhileOptionsT()
    loop.builtinOptions.condSubgraphIndex, loop.builtinOptions.bodySubgraphIndex = pair
    start, end = schema.TensorT(), schema.TensorT()
    start.shape, start.type, start.buffer, start.name = [1], 0, 0, "start"
    end.shape, end.type, end.buffer, end.name = [1], 0, 0, "end"
    flat.buffers.append(schema.BufferT())
    flat.buffers[-1].data = np.zeros(4, np.uint8)
    start.buffer = len(flat.buffers) - 1
    graph.tensors += [start, end]
    loop.inputs, loop.outputs = [len(graph.tensors) - 2], [len(graph.tensors) - 1]
    graph.operators.insert(len(graph.operators) if at_end else 0, loop)
    _write(path, flat)


def huge_fill(path: Path, rng: random.Random) -> None:
    """An operator that makes a tensor of any size from next to nothing."""
    fill(path, rng.choice(([30_000, 30_000], [2**31 - 1], [1 << 16] * 4, [1 << 14, 1 << 14, 8])))


def fill(path: Path, sizes: list[int]) -> None:
    """An operator that makes a tensor of a size."""
    from ai_edge_litert import schema_py_generated as schema

    flat = _tree(path)
    graph = flat.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FILL
    code.version = 1
    flat.operatorCodes.append(code)

    def tensor(shape: list[int], kind: int, data: Any) -> int:
        made = schema.TensorT()
        made.shape, made.type, made.buffer, made.name = shape, kind, 0, f"t{len(graph.tensors)}"
        if data is not None:
            flat.buffers.append(schema.BufferT())
            flat.buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(flat.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    dims = tensor([len(sizes)], schema.TensorType.INT32, np.array(sizes, np.int32))
    value = tensor([], schema.TensorType.FLOAT32, np.array(1, np.float32))
    op = schema.OperatorT()
    op.opcodeIndex = len(flat.operatorCodes) - 1
    op.inputs, op.outputs = [dims, value], [tensor([], schema.TensorType.FLOAT32, None)]
    op.builtinOptionsType = schema.BuiltinOptions.FillOptions
    op.builtinOptions = schema.FillOptionsT()
    graph.operators.insert(0, op)
    _write(path, flat)


KINDS = {
    f.__name__: f
    for f in (
        words, tensor_shape, input_shape, tensor_type, tensor_buffer, operands, opcodes, options,
        quantization, graph_ends, less, signatures, weights, outside_buffers, while_loop, huge_fill,
    )
}  # fmt: skip
