"""OpenVINO IR: an ``.xml`` file for the graph and a ``.bin`` file for the weights beside it."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from edgekit.core import (
    FLOAT_SCHEMES,
    INT8,
    MIXED,
    Choice,
    Decided,
    Example,
    OperatorTime,
    Runner,
    Scheme,
    Shapes,
    TensorSpec,
    reason,
    silent_import,
)
from edgekit.errors import InputError, ModelError
from exporters._inputs import (
    ANY_RANK,
    Size,
    closed,
    fixed_batch,
    number_of,
    numbers_only,
    type_name,
)
from exporters._openvino_core import compiled
from exporters._openvino_files import contract_inside
from exporters._openvino_frontend import converted
from exporters._openvino_operators import time_operators
from exporters._openvino_quantizer import RANGES, quantize, with_integer_interface

if TYPE_CHECKING:
    from torch import nn

    from edgekit.core import Array


# Where scale and zero point of integer inputs and outputs stand in the runtime info, by name.
_SCALES = ("edgekit", "quantization")

# Types of nodes of compiled graphs that copy values, or change their order or type.
_MOVING = {
    "Broadcast", "Concatenation", "Const", "Convert", "Gather", "Input", "Output", "Pad", "Reorder",
    "Reshape", "ShuffleChannels", "Split", "StridedSlice", "Transpose",
}  # fmt: skip


ISA_VARIABLE, WITHOUT_TILES = "ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI"


def without_tiles(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What keeps oneDNN, whose kernels OpenVINO runs, from multiplying tiles (AMX).

    With them, which it would take by itself, mobile networks of integers are slower at one image,
    and it has no way to lay out the weights of some grouped convolutions: it refuses ShuffleNetV1
    (docs/quantize.md). Processors without tiles are left alone: the bound would take instructions
    away from some that have no AVX-512.

    Returns:
        Variables of the environment.
    """
    try:
        flags = cpuinfo.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return {}
    return {ISA_VARIABLE: WITHOUT_TILES} if "amx_tile" in flags else {}


class OpenVinoTarget:
    """IR of the PyTorch frontend, NCHW input, static shapes."""

    name = "openvino"
    suffix = ".xml"
    layout = "NCHW"
    runtime = "OpenVINO"
    packages = ("nncf", "openvino", "torch")
    engines = ("openvino",)
    variables = (ISA_VARIABLE,)
    lowerings = ("order-groups",)
    schemes: Mapping[str, Scheme] = {**FLOAT_SCHEMES, "int8": INT8, "int8-mixed": MIXED}
    ranges = RANGES
    forms: Mapping[str, tuple[str, ...]] = {
        "activations": ("mixed", "performance"),
        "bias": ("fast", "accurate"),
        "weights": ("8bit", "7bit"),
    }
    choices = (
        Choice(
            "int8",
            ("x86",),
            {"weights": "7bit"},
            "sums of 16 bits overflow: MobileNetV3-Small on CIFAR-10 agrees with float by 15.6 dB "
            "with 8 bits, by 23.2 dB with 7; untrained networks are lost with 8",
        ),
    )
    # What stands at the ends of a file of integers takes as long (docs/benchmarks.md).
    free_casts = True
    timed_alone = False
    dynamic_batch = True
    opener = ""

    def environment(self) -> Mapping[str, str]:
        """No tiles."""
        return without_tiles()

    def start(self) -> None:
        """Imports OpenVINO."""
        _openvino()

    def export(
        self,
        model: nn.Module,
        example: Example,
        path: Path,
        scheme: Scheme,
        calibration: Sequence[Sequence[Array]] | None = None,
    ) -> Decided:
        """Writes the model; `edgekit.core.Target.export` describes the arguments."""
        ov = _openvino()
        graph = converted(model, example.tensors)
        inputs, outputs = example.names
        _part_results(graph)
        names = zip((*graph.inputs, *graph.outputs), (*inputs, *outputs), strict=True)
        for port, name in names:
            port.get_tensor().set_names({name})
            if port.get_node().get_type_name() == "Result":
                port.get_node().input_value(0).get_tensor().set_names({name})
            port.get_node().set_friendly_name(name)
        _number_names(graph)
        graph.validate_nodes_and_infer_types()
        if scheme.weights == "int8":
            graph = quantize(graph, scheme, calibration or ())
            _number_names(graph)
        if scheme.interface == "int8":
            graph, notes = with_integer_interface(graph, calibration or ())
            graph.set_rt_info(json.dumps(notes), list(_SCALES))
        if example.any_batch:
            _leave_batch_open(graph)
        ov.save_model(graph, path, compress_to_fp16=scheme.weights == "float16")
        return Decided(scheme.activations)

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

    def files(self, path: Path) -> tuple[Path, ...]:
        """Graph, then weights."""
        return self.written(path)

    def written(self, path: Path) -> tuple[Path, ...]:
        """Graph, then weights."""
        return (path, path.with_suffix(".bin"))

    def embed(self, path: Path, text: str) -> None:
        """Puts ``text`` into the runtime info of the graph."""
        tree = _parse(path)
        root = tree.getroot()
        above = root
        for name in ("rt_info", "edgekit"):
            found = above.find(name)
            above = ElementTree.SubElement(above, name) if found is None else found
        for old in above.findall("contract"):
            above.remove(old)
        ElementTree.SubElement(above, "contract", value=text)
        for element in root.iter():  # indentation is a tenth of a small network's int8 file
            for place in ("text", "tail"):
                if not (getattr(element, place) or "x").strip():
                    setattr(element, place, None)
        tree.write(path, encoding="utf-8", xml_declaration=True)

    def extract(self, path: Path) -> str | None:
        """The text of `embed`."""
        return contract_inside(path)

    def activations(self, path: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Array]]:
        """Runs the file with every float tensor as an output."""
        graph = _read(path)
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
        values = dict(zip(names, OpenVinoRunner(graph, path, None).run(inputs), strict=True))
        for op in ops:
            yield op.get_friendly_name(), values[op.get_friendly_name()]

    def float_operators(self, path: Path) -> tuple[str, ...]:
        """Kinds of what the runtime computes in float, as its compiled graph says."""
        found = []
        compiled = _request(_read(path), path, None).get_compiled_model()
        for op in compiled.get_runtime_model().get_ordered_ops():
            about = {key: value.astype(str) for key, value in op.get_rt_info().items()}
            kind, names = about["layerType"], about.get("originalLayersNames", "").split(",")
            if about["runtimePrecision"] != "f32" or kind in _MOVING:
                continue
            if not all("/fq_" in name for name in names):  # else it only rounds
                found.append(kind)
        return tuple(found)

    def float_kind(self, kind: str) -> str:
        """The same."""
        return kind

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
        return time_operators(lambda: _request(graph, path, threads, True), inputs, runs)


class OpenVinoRunner:
    """A compiled model on the CPU.

    Args:
        path: of the file that the graph comes from, for messages.

    Raises:
        InputError: the runtime cannot compile it, or an input takes no numbers.
    """

    def __init__(self, graph: Any, path: Path, threads: int | None) -> None:
        self._request = _request(graph, path, threads)
        self._compiled = self._request.get_compiled_model()
        noted = graph.has_rt_info(list(_SCALES))
        self._scales = json.loads(graph.get_rt_info(list(_SCALES)).astype(str)) if noted else {}
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
        ov = _openvino()
        ports = self._compiled.inputs
        self._bound = [
            ov.Tensor(np.asarray(value, port.get_element_type().to_dtype(), order="C"))
            for port, value in zip(ports, inputs, strict=True)
        ]
        for port, tensor in zip(ports, self._bound, strict=True):
            self._request.set_tensor(port, tensor)
        # Else every call would copy all outputs.
        return functools.partial(self._request.infer, share_outputs=True)

    def outputs(self) -> list[Array]:
        """Copies of the request's output tensors."""
        return [np.array(self._request.get_tensor(port).data) for port in self._compiled.outputs]

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs of the compiled model."""
        return self._inputs, tuple(
            self._spec(port, "NC", name)
            for port, name in zip(self._compiled.outputs, self._names, strict=True)
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
    graph = _read(path)
    parameters = graph.get_parameters()
    written = [_sizes(op.get_output_partial_shape(0)) for op in parameters]
    fits_any = any(number_of(size) is None for sizes in written for size in sizes)
    inputs = [(_name(op.output(0)), sizes) for op, sizes in zip(parameters, written, strict=True)]
    found = closed(path, inputs, batch, shapes, _remedy)
    if not fits_any and (batch is None or shapes):
        return graph
    new = None if fits_any else batch  # to stand where the file has another number
    for op, shape in zip(parameters, found, strict=True):
        if new is not None and shape:
            shape = (new, *shape[1:])
        op.set_partial_shape(_openvino().PartialShape(list(shape)))
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


def _leave_batch_open(graph: Any) -> None:
    """Makes a network that is written for one image take any number of them."""
    opset13 = silent_import("openvino.opset13")
    for op in graph.get_ordered_ops():
        if op.get_type_name() != "Reshape":
            continue
        source = op.input_value(1).get_node()
        shape = list(source.data) if source.get_type_name() == "Constant" else []
        if len(shape) > 1 and shape[0] == 1 and op.get_output_partial_shape(0).is_static:
            rest = list(op.get_output_shape(0))[1:]
            written = opset13.constant(np.array([-1, *rest], np.int64))
            op.input(1).replace_source_output(written.output(0))
    for op in graph.get_parameters():
        sizes = list(op.get_output_partial_shape(0))
        op.set_partial_shape(_openvino().PartialShape([-1, *sizes[1:]]))
    graph.validate_nodes_and_infer_types()


def _request(graph: Any, path: Path, threads: int | None, counters: bool = False) -> Any:
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
        return compiled(_openvino(), graph, config).create_infer_request()
    except RuntimeError as error:
        raise _not_compiled(path, error) from error


def _not_compiled(path: Path, error: RuntimeError) -> ModelError:
    return ModelError(f"{path} cannot be compiled by OpenVINO: {reason(error)}")


def _tensor_spec(port: Any, layout: str) -> TensorSpec:
    kind = port.get_element_type()
    near = np.dtype(kind.to_dtype())  # of as many bits or more, where NumPy has no such type
    dtype = type_name(near) if _openvino().Type(near) == kind else kind.get_type_name()
    shape = tuple(number_of(size) or -1 for size in _sizes(port.get_partial_shape()))
    return TensorSpec(_name(port), shape, dtype, layout)


def _name(port: Any) -> str:
    """The name of a tensor, or else of the node that makes it; files need not have the former."""
    name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
    return str(name)


def _part_results(graph: Any) -> None:
    """Gives each output a tensor of its own, where it is an input or another output as well.

    A name belongs to a tensor: the second one would take the place of the first.
    """
    ops = silent_import("openvino.opset13")
    seen = set()
    for result in graph.get_results():
        source = result.input_value(0)
        key = (source.get_node().get_friendly_name(), source.get_index())
        if source.get_node().get_type_name() == "Parameter" or key in seen:
            shape = ops.constant(np.array(list(source.get_shape()), np.int64))
            copied = ops.reshape(source, shape, special_zero=False)
            result.input(0).replace_source_output(copied.output(0))
        seen.add(key)


def _number_names(graph: Any) -> None:
    """Counts anew what OpenVINO names after counters of the process.

    Else two exports of the same network would differ.
    """
    graph.set_friendly_name("main")
    for i, op in enumerate(graph.get_ordered_ops()):
        if re.fullmatch(r"[A-Za-z]+_\d+", op.get_friendly_name()):
            op.set_friendly_name(f"{op.get_type_name()}_{i}")


def _openvino() -> ModuleType:
    """Imports OpenVINO."""
    module: ModuleType = silent_import("openvino", TARGET.environment())
    return module


def _read(path: Path) -> Any:
    try:
        return _openvino().Core().read_model(path)
    except RuntimeError as error:
        raise InputError(
            f"{path} cannot be loaded by OpenVINO: damaged, or its .bin file is missing"
        ) from error


def _parse(path: Path) -> ElementTree.ElementTree[ElementTree.Element]:
    try:
        return ElementTree.parse(path)  # noqa: S314 - expat bounds entity expansion itself
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is no OpenVINO IR, or is damaged") from error


TARGET = OpenVinoTarget()
