"""What opens ONNX files, wherever they are to run: it needs NumPy and ONNX Runtime.

The package `onnx` changes files and reads their graphs. It is imported where that has to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core import OperatorTime, Runner, Shapes, silent_import
from edgekit.errors import InputError
from exporters._inputs import needing
from exporters._onnx_operators import time_operators
from exporters._onnx_runner import OnnxRunner, batched, rebatched

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgekit.core import Array


class OnnxOpener:
    """Files in ONNX Runtime; see `edgekit.core.Target`."""

    def environment(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def start(self) -> None:
        """Imports ONNX Runtime."""
        silent_import("onnxruntime")

    def open(
        self,
        path: Path,
        threads: int | None = None,
        *,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> Runner:
        """Loads the file into ONNX Runtime's CPU provider."""
        runner = OnnxRunner(path, threads, batch=batch, shapes=shapes)
        if batch is None or shapes:
            return runner
        content = None if runner.takes_any_batch else _rebatched(path, batch)
        return batched(path, threads, batch, content)

    def activations(self, path: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Array]]:
        """Runs the file with every float tensor as an output."""
        with needing("onnx", path, "showing what flows between its layers"):
            import onnx

            proto = onnx.shape_inference.infer_shapes(read(path))
        known = {v.name: v for v in proto.graph.value_info}
        extra = [
            known[name]
            for node in proto.graph.node
            for name in node.output
            if name in known and known[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        ]
        proto.graph.output.extend(extra)
        runner = OnnxRunner(path, None, proto.SerializeToString())
        names = [value.name for value in proto.graph.output]
        yield from zip(names, runner.run(inputs))

    def operators(
        self,
        path: Path,
        inputs: Sequence[Array],
        *,
        threads: int | None,
        runs: int,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> tuple[OperatorTime, ...]:
        """Times operators with ONNX Runtime's profiler."""
        with needing("onnx", path, "timing its operators"):
            proto, content = read(path), None
            if batch is not None and not shapes and not OnnxRunner(path, threads).takes_any_batch:
                content = rebatched(proto, path, batch)
            return time_operators(proto, path, content, inputs, threads, runs)


def _rebatched(path: Path, batch: int) -> bytes:
    with needing("onnx", path, f"a batch of {batch}, which its layers are not written for,"):
        return rebatched(read(path), path, batch)


def read(path: Path) -> ModelProto:
    """A file without the external data of its tensors, which stays where it is.

    Raises:
        InputError: it is none.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise InputError(f"{path} is no ONNX file, or is damaged") from error
    if not proto.graph.node:  # no bytes at all are a valid message, too
        raise InputError(f"{path} is no ONNX file, or is damaged: it holds no network")
    return proto


OPENER = OnnxOpener()
