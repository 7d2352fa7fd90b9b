"""TensorFlow Lite Micro: the interpreter of microcontrollers, run on this machine.

Its kernels are those that a microcontroller without kernels of its vendor has, to the bit. It has
no clock that would say anything of one.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import EmbeddedOperator, Runner, Shapes, Simulation, TensorSpec, silent_import
from edgekit.core.names import shown
from edgekit.errors import InputError
from exporters._inputs import fixed_batch, numbers_only, type_name
from exporters.tflite.alone import run_alone
from exporters.tflite.flatbuffer import pack, schema, unpack
from exporters.tflite.integers import EXPORTED, check_integers, names_of_ends
from exporters.tflite.micro_operators import operators_of
from exporters.tflite.runtime import TfliteRunner, content_of, interpreter_of, parsing
from exporters.tflite.target import TfliteTarget

if TYPE_CHECKING:
    from edgekit.core import Array

RUNTIME = "TensorFlow Lite Micro"

MODULE = "tflite_micro.python.tflite_micro.runtime"

ARENAS = tuple(2**n for n in (22, 25, 28, 30))
"""Bytes that are tried one after the other: 4 MiB to 1 GiB, of which only what is used is taken."""

_NO_OPERATOR = 1_000_000
_NO_SUCH = re.compile(f"builtin_code out of range: {_NO_OPERATOR}")
_LACKING = re.compile(r"Failed to get registration from op code|builtin_code out of range")
_FULL = re.compile(r"Failed to (?:resize buffer|allocate)|Requested: \d+, available")
_ALLOCATED = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_PARTS = re.compile(r"'([^']+)' used (\d+) bytes")

PARTS = {
    "TfLiteEvalTensor data": "tensors",
    "Persistent TfLiteTensor data": "tensors",
    "Persistent TfLiteTensor quantization data": "tensors",
    "TfLiteTensor variable buffer data": "variables",
    "Persistent buffer data": "kernels",
    "NodeAndRegistration struct": "operators",
}
"""What the interpreter calls what it keeps for as long as it lives, and how that is told here."""


class MicroTarget(TfliteTarget):
    """TensorFlow Lite files in the interpreter of microcontrollers."""

    runtime = RUNTIME
    engines = ("tflite-micro",)
    opener = "exporters.tflite.micro:TARGET"
    schemes = {}  # noqa: RUF012 - nothing is written for it alone

    def __init__(self) -> None:
        super().__init__()
        self.packages = ("tflite-micro",)

    def start(self) -> None:
        """Imports the interpreter."""
        silent_import(MODULE)

    def open(
        self,
        path: Path,
        threads: int | None = None,
        *,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> Runner:
        """Loads the file; the interpreter has one thread, and takes what the file says."""
        runner = MicroRunner(path)
        given, _ = runner.tensors()
        numbers_only(path, given)
        if batch is not None and any(spec.shape[:1] != (batch,) for spec in given):
            raise fixed_batch(path, batch)
        return runner


class ReferenceTarget(TfliteTarget):
    """The same files with LiteRT's plain kernels, which the interpreter's were made from.

    Those of XNNPACK, which LiteRT takes by itself, round in another way.
    """

    runtime = "LiteRT's reference kernels"
    opener = "exporters.tflite.micro:REFERENCE"

    def open(
        self,
        path: Path,
        threads: int | None = None,
        *,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> Runner:
        """Loads the file; these kernels have one thread."""
        from ai_edge_litert.interpreter import OpResolverType

        resolver = OpResolverType.BUILTIN_REF
        runner = TfliteRunner(
            interpreter_of(path, batch=batch, shapes=shapes, experimental_op_resolver_type=resolver)
        )
        numbers_only(path, runner.tensors()[0])
        return runner


class MicroRunner:
    """An interpreter with its arena.

    Raises:
        InputError: the file cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        with parsing(path):
            content = content_of(path)
            given, got = names_of_ends(unpack(content))
        self.interpreter = _opened(path, content)
        self._inputs = tuple(_specs(self.interpreter.get_input_details, given, "NHWC"))
        self._outputs = tuple(_specs(self.interpreter.get_output_details, got, "NC"))

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference."""
        self.prepare(inputs)()
        return self.outputs()

    def prepare(self, inputs: Sequence[Array]) -> Callable[[], None]:
        """Each call copies the inputs, whose memory the interpreter uses again, and computes."""

        def infer() -> None:
            for i, value in enumerate(inputs):
                self.interpreter.set_input(np.ascontiguousarray(value), i)
            self.interpreter.invoke()

        return infer

    def outputs(self) -> list[Array]:
        """Copies of the outputs."""
        return [np.array(self.interpreter.get_output(i)) for i in range(len(self._outputs))]

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs, whose names the interpreter does not keep."""
        return self._inputs, self._outputs


def _specs(
    detail_of: Callable[[int], Any], names: Sequence[str], layout: str
) -> Iterator[TensorSpec]:
    for i, name in enumerate(names):
        detail = detail_of(i)
        found = detail["quantization_parameters"]
        whole = len(found["scales"]) == 1
        yield TensorSpec(
            name,
            tuple(int(n) for n in detail["shape"]),
            type_name(np.dtype(detail["dtype"])),
            layout,
            float(found["scales"][0]) if whole else None,
            int(found["zero_points"][0]) if whole else None,
        )


def _opened(path: Path, content: bytes) -> Any:
    """An interpreter with the smallest arena of `ARENAS` that is enough.

    Raises:
        InputError: there is none, or the file needs what the interpreter lacks.
    """
    runtime = silent_import(MODULE)
    for size in ARENAS:
        with _listening() as told:
            try:
                return runtime.Interpreter.from_bytes(content, arena_size=size)
            except (RuntimeError, ValueError, MemoryError):
                pass
        text = told()
        if not _FULL.search(text):
            break
    if _LACKING.search(text) and (lacking := _lacking(content)):
        raise InputError(f"{path} needs operators that {RUNTIME} lacks: {', '.join(lacking)}")
    if _FULL.search(text):
        raise InputError(f"{path} does not fit into an arena of {ARENAS[-1] / 2**30:g} GiB")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raise InputError(
        f"{path} cannot be loaded by {RUNTIME}: {lines[0] if lines else 'it does not say why'}"
    )


def _lacking(content: bytes) -> list[str]:
    """All operators of a file that the interpreter lacks.

    It names the first one alone. So each is asked for by itself: in front of an operator that there
    cannot be, on which the interpreter stops before it prepares any.
    """
    flat, runtime, found = unpack(content), silent_import(MODULE), []
    operators = {op.opcodeIndex: op for graph in flat.subgraphs for op in graph.operators}
    nothing = copy.deepcopy(next(iter(operators.values())))
    nothing.opcodeIndex = len(flat.operatorCodes)
    code = schema().OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = _NO_OPERATOR, 0
    flat.operatorCodes.append(code)
    for index, operator in sorted(operators.items()):
        flat.subgraphs[0].operators = [operator, nothing]
        with _listening() as told, contextlib.suppress(RuntimeError, ValueError):
            runtime.Interpreter.from_bytes(pack(flat), arena_size=ARENAS[0])
        if _NO_SUCH.search(told()) is None:
            found.append(_operator_name(flat.operatorCodes[index]))
    return found


def _operator_name(code: Any) -> str:
    builtin = schema().BuiltinOperator
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == builtin.CUSTOM:
        return shown((code.customCode or b"").decode(errors="replace"))
    names = {value: name for name, value in vars(builtin).items() if isinstance(value, int)}
    return str(names.get(number, number))


@contextlib.contextmanager
def _listening() -> Iterator[Callable[[], str]]:
    """Gives what native code prints on standard error meanwhile."""
    with tempfile.TemporaryFile() as file:
        heard: list[str] = []
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: heard[0]
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            heard.append(file.read().decode(errors="replace"))


class Micro:
    """See `edgekit.core.Embedded`."""

    name = "tflm"
    target = "tflite"
    exported = EXPORTED
    packages = ("tflite-micro",)
    extra = "edgekit[micro]"
    kind = "interpreter"
    memory = "arena"

    def __init__(self, runtime: MicroTarget, reference: ReferenceTarget) -> None:
        self.runtime, self.reference = runtime, reference

    def check(self, path: Path) -> None:
        """Refuses other files than those with integers at both ends."""
        check_integers(path, self.name)

    def start(self) -> None:
        """Imports the interpreter."""
        self.runtime.start()

    def look(self, path: Path, *, trusted: bool = False) -> Simulation:
        """What the interpreter allocates for the file.

        Raises:
            InputError: it cannot be loaded; names all operators that the interpreter lacks.
        """
        self.check(path)
        arena = allocated(path) if trusted else _allocated_alone(path)
        return Simulation(
            device=self.name,
            kind=self.kind,
            size_bytes=path.stat().st_size,
            arena_bytes=sum(arena.values()),
            arena=arena,
        )

    def operators(self, path: Path) -> Sequence[EmbeddedOperator]:
        """What a program adds to the interpreter for the file."""
        return operators_of(path)


def _allocated_alone(path: Path) -> dict[str, int]:
    """`allocated`, in a process of its own."""
    _, printed, chatter = run_alone(path, RUNTIME, "exporters.tflite.micro_process", [str(path)])
    try:
        told = json.loads(printed.splitlines()[-1])
    except (ValueError, IndexError) as error:
        last = (chatter.strip().splitlines() or ["it does not say why"])[-1]
        raise InputError(f"{path} cannot be used by {RUNTIME}: {last}") from error
    if "error" in told:
        raise InputError(told["error"])
    return {name: int(size) for name, size in told["arena"].items()}


def allocated(path: Path) -> dict[str, int]:
    """Bytes of the arena by what they are for.

    Raises:
        InputError: the file cannot be loaded or run.
    """
    runner = MicroRunner(path)
    with _listening() as told:
        try:
            runner.run([np.zeros(spec.shape, spec.dtype) for spec in runner.tensors()[0]])
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path} cannot be run by {RUNTIME}: {error}") from error
        runner.interpreter.print_allocations()
    text = told()
    whole = {name: int(size) for name, size in _ALLOCATED.findall(text)}
    parts = {"activations": whole["head"]}
    for name, size in _PARTS.findall(text):
        short = PARTS.get(name, "other")
        parts[short] = parts.get(short, 0) + int(size)
    rest = whole["total"] - sum(parts.values())
    return {**parts, "other": parts.get("other", 0) + rest}


TARGET = MicroTarget()
REFERENCE = ReferenceTarget()
SIMULATOR = Micro(TARGET, REFERENCE)
