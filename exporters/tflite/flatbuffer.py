"""TensorFlow Lite files as trees of objects, to be read, changed and written again."""

from __future__ import annotations

import copy
import mmap
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.reading import LARGEST_NOTE
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.core import Array

_MOST_METADATA = 1000
_NAME = 4  # where a table of metadata says where its name is

FILE_IDENTIFIER = b"TFL3"  # of every TensorFlow Lite file, at offset 4


def schema() -> Any:
    """The generated classes of the format."""
    import ai_edge_litert.schema_py_generated as classes

    return classes


def unpack(content: bytes) -> Any:
    """The file as a tree of objects, with the data of all buffers inside."""
    flat = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content))
    for buffer in flat.buffers:
        if buffer.offset > 1:  # the quantizer appends data behind the tree and notes where
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return flat


def data_of(buffer: Any, content: bytes | mmap.mmap) -> Array:
    """The data of a buffer of `Model`, inside of the tree or behind it.

    Raises:
        ValueError: it should lie where the file does not go.
    """
    if buffer.Offset() > 1:  # as `unpack`
        return np.frombuffer(content, np.uint8, buffer.Size(), buffer.Offset())
    inside = buffer.DataAsNumpy()
    return inside if isinstance(inside, np.ndarray) else np.zeros(0, np.uint8)


def metadata_of(path: Path, file: BufferedReader, name: bytes) -> str | None:
    """The text of a metadata buffer, which alone is read.

    Args:
        path: of the file, for messages.

    Raises:
        InputError: it is of another format, or the text is too long.
    """
    if file.peek(8)[4:8] != FILE_IDENTIFIER:
        raise other_format(path)
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    model = schema().Model.GetRootAs(data)
    if (count := model.MetadataLength()) > _MOST_METADATA:
        raise InputError(f"{path} has {count:,} entries of metadata: expected a network")
    for i in range(count):
        entry = model.Metadata(i)
        place = entry._tab.Offset(_NAME)
        if not place or entry._tab.VectorLen(place) != len(name) or entry.Name() != name:
            continue
        buffer = model.Buffers(entry.Buffer())
        size = buffer.Size() if buffer.Offset() > 1 else buffer.DataLength()
        if size > LARGEST_NOTE:
            raise InputError(
                f"{path} has a contract of {size:,} bytes inside: expected at most {LARGEST_NOTE:,}"
            )
        return bytes(data_of(buffer, data)).decode()
    return None


def other_format(path: Path) -> InputError:
    """What a file is told that does not begin as this format does."""
    return InputError(f"{path} is no TensorFlow Lite file: bytes 4 to 7 are not 'TFL3'")


def pack(flat: Any) -> bytes:
    """The file of a tree. Equal vectors of numbers are stored once, outside of buffers.

    Most are the zero points of weights and biases: eight bytes of zeros for each channel, twice.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]  # the package is untyped
        def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802 - its name
            if x.dtype == np.uint8:  # data of buffers
                return int(super().CreateNumpyVector(x))
            key = (x.dtype.str, x.tobytes())
            if key not in known:
                known[key] = super().CreateNumpyVector(x)
            return known[key]

    known: dict[tuple[str, bytes], int] = {}
    for graph in flat.subgraphs:
        for tensor in graph.tensors:
            if tensor.quantization is not None and tensor.quantization.zeroPoint is not None:
                tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint, np.int64)
    # Large enough from the start: it grows by copying all that is there.
    weights = sum(len(b.data) + 32 for b in flat.buffers if b.data is not None)
    builder = Builder(min(weights + 2**16, Builder.MAX_BUFFER_SIZE))
    builder.Finish(flat.Pack(builder), FILE_IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def operator_kind(flat: Any, operator: Any) -> str:
    """Name of an operator's type, such as ``CONV_2D``."""
    code = flat.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)  # the old field holds one byte
    kinds = vars(schema().BuiltinOperator)
    return str(next(name for name, value in kinds.items() if value == number))


def constant(flat: Any, index: int) -> bool:
    """Whether the values of a tensor lie in the file."""
    data = flat.buffers[flat.subgraphs[0].tensors[index].buffer].data
    return data is not None and bool(len(data))


def module_path(name: str) -> str:
    """Dotted path of the module that computes a tensor, from the name that it has in the file.

    edgekit's own converter names tensors by that path, with a number behind ``#``. In files of
    litert-torch a name is ``package.Class_attribute/package.Class_attribute/...;number``; of
    operators that were fused it holds several, the last of which is the first to compute.
    """
    own = [part for part in name.split(";") if "/" in part]
    if not own:
        return name.strip(";").partition("#")[0]
    path = [part.rpartition(".")[2].partition("_")[2] for part in own[-1].split("/")]
    return ".".join(part for part in path if part not in ("", "wrapped"))


def set_batch(flat: Any, batch: int) -> None:
    """Makes output shapes that are written into the file, and begin with 1, begin with ``batch``.

    Inputs are left to the interpreter, which works out all other shapes from them.
    """
    for operator in flat.subgraphs[0].operators:
        for shape in _written_shapes(flat, operator):
            if len(shape) > 1 and shape[0] == 1:
                shape[0] = batch
        written = getattr(operator.builtinOptions, "newShape", None)
        if written is not None and len(written) > 1 and written[0] == 1:
            operator.builtinOptions.newShape = [batch, *written[1:]]


def _written_shapes(flat: Any, operator: Any) -> Iterator[Array]:
    """The constant that gives an operator's output shape, open to changes."""
    place = {"RESHAPE": 1, "SLICE": 2}.get(operator_kind(flat, operator))
    if place is None or len(operator.inputs) <= place:
        return
    index = operator.inputs[place]
    if constant(flat, index):
        buffer = flat.buffers[flat.subgraphs[0].tensors[index].buffer]
        buffer.data = np.array(buffer.data, np.uint8)  # what was read from a file is read-only
        yield buffer.data.view(np.int32)


def cut(flat: Any, operators: Sequence[Any]) -> tuple[bytes, list[int], list[int]]:
    """Operators of a file as a file of their own.

    Args:
        operators: of the first subgraph, in order.

    Returns:
        The file; the tensors of ``flat`` that are its inputs, and those that are its outputs.
    """
    graph, source = schema().SubGraphT(), flat.subgraphs[0]
    graph.tensors, graph.operators = [], []
    buffers = [schema().BufferT()]
    numbers: dict[int, int] = {}

    def number(index: int) -> int:
        if index >= 0 and index not in numbers:
            tensor = copy.copy(source.tensors[index])
            if constant(flat, index):
                buffers.append(flat.buffers[tensor.buffer])
            tensor.buffer = len(buffers) - 1 if constant(flat, index) else 0
            numbers[index] = len(graph.tensors)
            graph.tensors.append(tensor)
        return numbers.get(index, -1)

    for operator in operators:
        own = copy.copy(operator)
        own.inputs = [number(i) for i in operator.inputs]
        own.outputs = [number(i) for i in operator.outputs]
        graph.operators.append(own)
    made = [i for operator in operators for i in operator.outputs]
    used = dict.fromkeys(i for operator in operators for i in operator.inputs if i >= 0)
    inputs = [i for i in used if i not in made and not constant(flat, i)]
    outputs = [i for i in made if i not in used]
    graph.inputs, graph.outputs = [numbers[i] for i in inputs], [numbers[i] for i in outputs]
    model = schema().ModelT()
    model.version, model.description = 3, "edgekit"
    model.operatorCodes, model.buffers, model.subgraphs = flat.operatorCodes, buffers, [graph]
    return pack(model), inputs, outputs


def drop_unread(flat: Any) -> None:
    """Takes tensors that no operator has any more out of the file, and their values."""
    (graph,) = flat.subgraphs
    read = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs) if i >= 0}
    read |= {int(i) for i in (*graph.inputs, *graph.outputs)}
    numbers = {-1: -1, **{old: new for new, old in enumerate(sorted(read))}}
    graph.tensors = [graph.tensors[i] for i in sorted(read)]
    for operator in graph.operators:
        operator.inputs = [numbers[int(i)] for i in operator.inputs]
        operator.outputs = [numbers[int(i)] for i in operator.outputs]
    graph.inputs = [numbers[int(i)] for i in graph.inputs]
    graph.outputs = [numbers[int(i)] for i in graph.outputs]
    for signature in flat.signatureDefs or []:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = numbers[int(entry.tensorIndex)]
    used = sorted({0, *(t.buffer for t in graph.tensors), *(m.buffer for m in flat.metadata or [])})
    places = {old: new for new, old in enumerate(used)}
    flat.buffers = [flat.buffers[i] for i in used]
    for holder in (*graph.tensors, *(flat.metadata or [])):
        holder.buffer = places[holder.buffer]
