"""LiteRT's interpreter, and files that it cannot take.

The interpreter is that of the package ai-edge-litert, or of tflite-runtime, as it was called
before, which goes on for Pythons and systems that the other one is not built for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import Shapes, TensorSpec, reason, silent_import
from edgekit.core.reading import read_bytes
from edgekit.errors import InputError
from exporters._inputs import closed, fixed_batch, needing, number_of, paired, type_name
from exporters.tflite.flatbuffer import (
    FILE_IDENTIFIER,
    data_of,
    other_format,
    pack,
    schema,
    set_batch,
    unpack,
)

if TYPE_CHECKING:
    from edgekit.core import Array


_PACKAGE = "ai_edge_litert"
SCHEMA = "ai-edge-litert"
"""The package with the classes of the format, which are for changing and cutting files."""


def interpreters() -> Any:
    """The module of the interpreter.

    Raises:
        ModuleNotFoundError: neither package is installed.
    """
    try:
        return silent_import(f"{_PACKAGE}.interpreter")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != _PACKAGE:
            raise
        try:
            return silent_import("tflite_runtime.interpreter")
        except ModuleNotFoundError:
            raise error from None


class TfliteRunner:
    """An interpreter with its tensors allocated."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._inputs = [detail["index"] for detail in interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference."""
        self.prepare(inputs)()
        return self.outputs()

    def prepare(self, inputs: Sequence[Array]) -> Callable[[], None]:
        """Copies inputs into the interpreter; each call is an ``invoke``."""
        for index, value in paired(self._inputs, inputs):
            self._interpreter.set_tensor(index, value)
        invoke: Callable[[], None] = self._interpreter.invoke
        return invoke

    def outputs(self) -> list[Array]:
        """Copies of the interpreter's output tensors."""
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs of the interpreter."""
        return (
            tuple(_tensor_spec(d, "NHWC") for d in self._interpreter.get_input_details()),
            tuple(_tensor_spec(d, "NC") for d in self._interpreter.get_output_details()),
        )


def _tensor_spec(detail: Any, layout: str) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    quantized = scale != 0
    return TensorSpec(
        detail["name"],
        tuple(int(n) for n in detail["shape"]),
        type_name(np.dtype(detail["dtype"])),
        layout,
        float(scale) if quantized else None,
        int(zero_point) if quantized else None,
    )


def interpreter_of(
    path: Path,
    content: bytes | None = None,
    *,
    batch: int | None = None,
    shapes: Shapes | None = None,
    **options: Any,
) -> Any:
    """An interpreter with its tensors allocated.

    Args:
        path: of the file, for messages only where there is ``content``.
        batch: first size of inputs for which the file leaves it open; ``None`` stands for 1.
        shapes: see `edgekit.core.Target.open`.

    Raises:
        InputError: the runtime cannot load the file, or the file leaves other sizes open.
    """
    source = {"model_path": str(path)} if content is None else {"model_content": content}
    try:
        interpreter = interpreters().Interpreter(**source, **options)
        details = interpreter.get_input_details()
        inputs = [(detail["name"], _sizes(detail)) for detail in details]
        found = closed(path, inputs, batch, shapes, _remedy)
        for detail, shape in zip(details, found):
            if shape != tuple(detail["shape"]):
                interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} cannot be loaded by LiteRT: {reason(error)}") from error
    return interpreter


def keeping_tensors() -> dict[str, Any]:
    """Options of an interpreter with its own kernels, which keep every tensor."""
    return {
        "experimental_preserve_all_tensors": True,
        "experimental_op_resolver_type": (
            interpreters().OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    }


def _remedy(name: str, sizes: str) -> str:
    return f"convert the network again, with an input '{name}' of fixed sizes, such as {sizes}"


def _sizes(detail: Any) -> tuple[int, ...]:
    """The sizes of a tensor, -1 for those that the file leaves open.

    The interpreter has a 1 in their place, and old files have no signature of shapes.
    """
    shape, signature = detail["shape"], detail["shape_signature"]
    return tuple(int(n) for n in (signature if len(signature) == len(shape) else shape))


def takes_any_batch(interpreter: Any) -> bool:
    """Whether the file leaves the batch open for one of its inputs."""
    sizes = [n for detail in interpreter.get_input_details() for n in _sizes(detail)[:1]]
    return any(number_of(size) is None for size in sizes)


def batched(path: Path, batch: int, threads: int | None) -> Any:
    """An interpreter of a file that is written for another number of images per inference."""
    what = f"a batch of {batch}, which its layers are not written for,"
    with needing(SCHEMA, path, what), parsing(path):
        flat = unpack(content_of(path))
        set_batch(flat, batch)
        content = pack(flat)
    try:
        interpreter = interpreters().Interpreter(model_content=content, num_threads=threads)
        for detail in interpreter.get_input_details():
            interpreter.resize_tensor_input(detail["index"], [batch, *detail["shape"][1:]])
        interpreter.allocate_tensors()
        interpreter.invoke()
        shapes = [
            interpreter.get_tensor(d["index"]).shape for d in interpreter.get_output_details()
        ]
    except (ValueError, RuntimeError) as error:
        raise fixed_batch(path, batch) from error
    if any(shape[:1] != (batch,) for shape in shapes):
        raise fixed_batch(path, batch)
    return interpreter


def content_of(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: it is of another format.
    """
    content = read_bytes(path)
    if content[4:8] != FILE_IDENTIFIER:
        raise other_format(path)
    return content


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Offsets in a damaged file point anywhere, and the generated readers follow them."""
    try:
        yield
    except (struct.error, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as e:
        raise InputError(f"{path} is damaged: it is no complete TensorFlow Lite file") from e


def computed_tensors(content: bytes) -> set[int]:
    """Indices of the file's tensors whose values do not lie in it; kernels add others of theirs."""
    model = schema().Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    return {
        i
        for i in range(graph.TensorsLength())
        if len(data_of(model.Buffers(graph.Tensors(i).Buffer()), content)) == 0
    }
