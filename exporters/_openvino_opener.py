"""What opens OpenVINO IR, wherever it is to run: it needs NumPy and OpenVINO."""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import OperatorTime, Runner, Shapes, TensorSpec, reason, silent_import
from edgekit.errors import InputError, ModelError
from exporters._inputs import (
    ANY_RANK,
    Size,
    closed,
    fixed_batch,
    number_of,
    numbers_only,
    paired,
    type_name,
)
from exporters._openvino_core import compiled
from exporters._openvino_operators import time_operators

if TYPE_CHECKING:
    from edgekit.core import Array


# Where scale and zero point of integer inputs and outputs stand in the runtime info, by name.
SCALES = ("edgekit", "quantization")

ISA_VARIABLE, WITHOUT_TILES = "ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI"


def without_tiles(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What keeps oneDNN, whose kernels OpenVINO runs, from multiplying tiles (AMX).

    With them, which it would take by itself, mobile networks of integers are slower at one image,
    and it has no way to lay out the weights of some grouped convolutions: it refuses ShuffleNetV1
    (docs/measurements/int8-forms.md). Processors without tiles are left alone: the bound would
    take instructions away from some that have no AVX-512.

    Returns:
        Variables of the environment.
    """
    try:
        flags = cpuinfo.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return {}
    return {ISA_VARIABLE: WITHOUT_TILES} if "amx_tile" in flags else {}


class OpenVinoOpener:
    """Files in OpenVINO; see `edgekit.core.Target`."""

    def environment(self) -> Mapping[str, str]:
        """No tiles."""
        return without_tiles()

    def start(self) -> None:
        """Imports OpenVINO."""
        runtime()

    def open(
        self,
        path: Path,
        threads: int | None = None,
        *,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> Runner:
        """Compiles the model for the CPU."""
        return OpenVinoRunner(_shaped(path, batch, shapes), path, threads)

    def activations(self, path: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Array]]:
        """Runs the file with every float tensor as an output."""
        graph = read(path)
        ops = [
            op
            for op in graph.get_ordered_ops()
            if op.get_type_name() not in ("Constant", "Convert", "Parameter", "Result")
            and op.get_output_size() == 1
            and op.get_output_element_type(0).get_type_name() == "f32"
            and op.get_output_partial_shape(0).is_static
        ]
        # A node that is an output of the file already does not become one a second time.
        finals = [port.get_node().input_value(0).get_node() for port in graph.outputs]
        names = [op.get_friendly_name() for op in finals]
        inner = [op for op in ops if op.get_friendly_name() not in names]
        graph.add_outputs([op.output(0) for op in inner])
        names += [op.get_friendly_name() for op in inner]
        values = dict(zip(names, OpenVinoRunner(graph, path, None).run(inputs)))
        for op in ops:
            yield op.get_friendly_name(), values[op.get_friendly_name()]

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
        """Times operators with OpenVINO's counters."""
        graph = _shaped(path, batch, shapes)
        return time_operators(lambda: request(graph, path, threads, True), inputs, runs)


class OpenVinoRunner:
    """A compiled model on the CPU.

    Args:
        path: of the file that the graph comes from, for messages.

    Raises:
        InputError: the runtime cannot compile it, or an input takes no numbers.
    """

    def __init__(self, graph: Any, path: Path, threads: int | None) -> None:
        self._request = request(graph, path, threads)
        self._compiled = self._request.get_compiled_model()
        noted = graph.has_rt_info(list(SCALES))
        self._scales = json.loads(graph.get_rt_info(list(SCALES)).astype(str)) if noted else {}
        self._inputs = tuple(self._spec(port, "NCHW") for port in self._compiled.inputs)
        numbers_only(path, self._inputs)
        # Compiling may add names to tensors, which then come first.
        self._names = [_name(port) if port.get_names() else None for port in graph.outputs]
        self._bound: list[Any] = []

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference."""
        self.prepare(inputs)()
        return self.outputs()

    def prepare(self, inputs: Sequence[Array]) -> Callable[[], None]:
        """Lets the request read the arrays where they are."""
        ov = runtime()
        ports = self._compiled.inputs
        self._bound = [
            ov.Tensor(np.asarray(value, port.get_element_type().to_dtype(), order="C"))
            for port, value in paired(ports, inputs)
        ]
        for port, tensor in zip(ports, self._bound):
            self._request.set_tensor(port, tensor)
        # Else every call would copy all outputs.
        return functools.partial(self._request.infer, share_outputs=True)

    def outputs(self) -> list[Array]:
        """Copies of the request's output tensors."""
        return [np.array(self._request.get_tensor(port).data) for port in self._compiled.outputs]

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs of the compiled model."""
        return self._inputs, tuple(
            self._spec(port, "NC", name) for port, name in zip(self._compiled.outputs, self._names)
        )

    def _spec(self, port: Any, layout: str, name: str | None = None) -> TensorSpec:
        name = name or _name(port)
        scale, zero = self._scales.get(name, (None, None))
        return replace(_tensor_spec(port, layout), name=name, scale=scale, zero_point=zero)


def _shaped(path: Path, batch: int | None, shapes: Shapes | None) -> Any:
    """A graph whose inputs have numbers for sizes, as the runtime is at its best with.

    Args:
        batch: ``None`` for what the file says, and 1 where it leaves that open.
        shapes: see `edgekit.core.Target.open`.

    Raises:
        InputError: the file leaves other sizes open, or does not take that batch.
    """
    graph = read(path)
    parameters = graph.get_parameters()
    written = [_sizes(op.get_output_partial_shape(0)) for op in parameters]
    fits_any = any(number_of(size) is None for sizes in written for size in sizes)
    inputs = [(_name(op.output(0)), sizes) for op, sizes in zip(parameters, written)]
    found = closed(path, inputs, batch, shapes, _remedy)
    if not fits_any and (batch is None or shapes):
        return graph
    new = None if fits_any else batch  # to stand where the file has another number
    for op, shape in zip(parameters, found):
        if new is not None and shape:
            shape = (new, *shape[1:])
        op.set_partial_shape(runtime().PartialShape(list(shape)))
    if new is not None:
        _rewrite_reshapes(graph, new)
    try:
        graph.validate_nodes_and_infer_types()
    except RuntimeError as error:
        if batch is None:
            raise _not_compiled(path, error) from error
        raise fixed_batch(path, batch) from error
    outputs = [_sizes(port.get_partial_shape()) for port in graph.outputs]
    if new is not None and any(sizes[:1] != (new,) for sizes in outputs):
        raise fixed_batch(path, new)
    return graph


def _remedy(name: str, sizes: str) -> str:
    return (
        f"fix them with reshape() of OpenVINO's model, as to {{'{name}': [{sizes}]}}, and write "
        f"it with openvino.save_model()"
    )


def _sizes(shape: Any) -> tuple[Size, ...]:
    """The sizes of a partial shape; open ones as text, such as ``?`` or ``1..8``."""
    if shape.rank.is_dynamic:
        return ("?", ANY_RANK)
    return tuple(size.get_length() if size.is_static else str(size) for size in shape)


def _rewrite_reshapes(graph: Any, batch: int) -> None:
    """What a reshape says of the first axis is the batch of the export."""
    opset13 = silent_import("openvino.opset13")
    for op in graph.get_ordered_ops():
        if op.get_type_name() == "Reshape":
            source = op.input_value(1).get_node()
            shape = list(source.data) if source.get_type_name() == "Constant" else []
            if len(shape) > 1 and shape[0] == 1:
                written = opset13.constant(np.array([batch, *shape[1:]], np.int64))
                op.input(1).replace_source_output(written.output(0))


def request(graph: Any, path: Path, threads: int | None, counters: bool = False) -> Any:
    """An inference request of a graph, compiled for the CPU."""
    # Some CPUs would compute in bfloat16 or float16 unasked; a file that says float32 should
    # give float32 results on every machine.
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "PERF_COUNT": counters,
    }
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    try:
        try:
            return compiled(runtime(), graph, config).create_infer_request()
        except RuntimeError:
            if platform.machine() != "aarch64":
                raise
            # OpenVINO 2026.4 has no kernels of integers for Arm without dot products (Cortex-A72),
            # and compiles no file of integers there; in float it computes the same.
            config["LP_TRANSFORMS_MODE"] = "OFF"
            return compiled(runtime(), graph, config).create_infer_request()
    except RuntimeError as error:
        raise _not_compiled(path, error) from error


def _not_compiled(path: Path, error: RuntimeError) -> ModelError:
    return ModelError(f"{path} cannot be compiled by OpenVINO: {reason(error)}")


def _tensor_spec(port: Any, layout: str) -> TensorSpec:
    kind = port.get_element_type()
    near = np.dtype(kind.to_dtype())  # of as many bits or more, where NumPy has no such type
    dtype = type_name(near) if runtime().Type(near) == kind else kind.get_type_name()
    shape = tuple(number_of(size) or -1 for size in _sizes(port.get_partial_shape()))
    return TensorSpec(_name(port), shape, dtype, layout)


def _name(port: Any) -> str:
    """The name of a tensor, or else of the node that makes it; files need not have the former."""
    name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
    return str(name)


def runtime() -> ModuleType:
    """Imports OpenVINO."""
    module: ModuleType = silent_import("openvino", OPENER.environment())
    return module


def read(path: Path) -> Any:
    try:
        return runtime().Core().read_model(path)
    except RuntimeError as error:
        raise InputError(
            f"{path} cannot be loaded by OpenVINO: damaged, or its .bin file is missing"
        ) from error


OPENER = OpenVinoOpener()
