"""What opens TensorFlow Lite files, wherever they are to run: it needs NumPy and an interpreter.

The classes of the format are imported where a file has to be changed or cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import OperatorTime, Runner, Shapes
from exporters._inputs import needing, numbers_only
from exporters.tflite.flatbuffer import set_batch, unpack
from exporters.tflite.profiler import time_operators
from exporters.tflite.rescaling import factors_of
from exporters.tflite.runtime import (
    SCHEMA,
    TfliteRunner,
    batched,
    computed_tensors,
    content_of,
    interpreter_of,
    interpreters,
    keeping_tensors,
    parsing,
    takes_any_batch,
)

if TYPE_CHECKING:
    from edgekit.core import Array


class TfliteOpener:
    """Files in LiteRT; see `edgekit.core.Target`."""

    def environment(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def start(self) -> None:
        """Imports LiteRT's interpreter."""
        interpreters()

    def open(
        self,
        path: Path,
        threads: int | None = None,
        *,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> Runner:
        """Loads the file into LiteRT's interpreter with its XNNPACK kernels."""
        interpreter = interpreter_of(path, batch=batch, shapes=shapes, num_threads=threads)
        if batch is not None and not shapes and not takes_any_batch(interpreter):
            interpreter = batched(path, batch, threads)
        runner = TfliteRunner(interpreter)
        numbers_only(path, runner.tensors()[0])
        return runner

    def activations(self, path: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Array]]:
        """Runs the file with the interpreter's own kernels, which keep every tensor."""
        interpreter = interpreter_of(path, **keeping_tensors())
        TfliteRunner(interpreter).run(inputs)
        content = content_of(path)
        with needing(SCHEMA, path, "showing what flows between its layers"):
            computed, factors = computed_tensors(content), factors_of(unpack(content))
        for tensor in interpreter.get_tensor_details():
            scale, zero = tensor["quantization"]
            if tensor["index"] not in computed or not (scale or tensor["dtype"] is np.float32):
                continue
            values = interpreter.get_tensor(tensor["index"])
            if scale:
                scale *= factors.get(tensor["name"], 1.0)
                values = (values.astype(np.float32) - zero) * np.float32(scale)
            yield tensor["name"], values

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
        """Times operators one by one; `edgekit.core.Profilable.operators` tells more."""
        # A file that does not run has no operator times.
        interpreter = interpreter_of(path, shapes=shapes)
        with needing(SCHEMA, path, "timing its operators"), parsing(path):
            flat = unpack(content_of(path))
        if batch is not None and not shapes and not takes_any_batch(interpreter):
            set_batch(flat, batch)

        def open_(content: bytes, **options: Any) -> Any:
            return interpreter_of(path, content, **options)

        return time_operators(flat, inputs, open_, threads, runs)


OPENER = TfliteOpener()
