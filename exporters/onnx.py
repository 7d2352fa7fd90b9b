"""ONNX files, written by torch.onnx's graph exporter and run by ONNX Runtime."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import FLOAT_SCHEMES, OperatorTime, Runner, Scheme, TensorSpec
from edgekit.errors import InputError, ModelError
from exporters._batch import fixed_batch
from exporters._onnx_operators import time_operators

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from torch import Tensor, nn

    from edgekit.core import Array

KEY = "edgekit.contract"

# Smaller tensors stay in float32: they are shapes, scalars and single biases, which save nothing
# and cost a Cast node each.
SMALLEST_FP16 = 16


class OnnxTarget:
    """One ``.onnx`` file: opset of the exporter's choice, NCHW input, weights inside."""

    name = "onnx"
    suffix = ".onnx"
    layout = "NCHW"
    runtime = "ONNX Runtime"
    packages = ("onnx", "onnxscript", "onnxruntime", "torch")
    schemes = FLOAT_SCHEMES

    def export(
        self,
        model: nn.Module,
        example: Tensor,
        path: Path,
        scheme: Scheme,
        calibration: Sequence[Array] | None = None,
    ) -> Scheme:
        """Writes the model; `edgekit.core.Target.export` describes the arguments."""
        import onnx
        import torch

        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=["image"],
            output_names=["scores"],
            external_data=False,
            verbose=False,
        )
        if program is None:
            raise ModelError("torch.onnx gave no program")
        proto: ModelProto = program.model_proto
        _clean(proto)
        if scheme.weights == "float16":
            _store_as_float16(proto)
        onnx.checker.check_model(proto)
        path.write_bytes(proto.SerializeToString())
        return scheme

    def open(self, path: Path, threads: int | None = None, *, batch: int | None = None) -> Runner:
        """Loads the file into ONNX Runtime's CPU provider."""
        if batch is None:
            return OnnxRunner(str(path), threads)
        return _open_batched(path, threads, batch)

    def files(self, path: Path) -> tuple[Path, ...]:
        """The one file."""
        return (path,)

    def embed(self, path: Path, text: str) -> None:
        """Puts ``text`` into the model's metadata properties."""
        proto = _read(path)
        kept = [(p.key, p.value) for p in proto.metadata_props if p.key != KEY]
        del proto.metadata_props[:]
        for key, value in [*kept, (KEY, text)]:
            proto.metadata_props.add(key=key, value=value)
        path.write_bytes(proto.SerializeToString())

    def extract(self, path: Path) -> str | None:
        """The text of `embed`."""
        return next((str(p.value) for p in _read(path).metadata_props if p.key == KEY), None)

    def activations(self, path: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Array]]:
        """Runs the file with every float tensor as an output."""
        import onnx

        proto = onnx.shape_inference.infer_shapes(_read(path))
        known = {v.name: v for v in proto.graph.value_info}
        extra = [
            known[name]
            for node in proto.graph.node
            for name in node.output
            if name in known and known[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        ]
        proto.graph.output.extend(extra)
        runner = OnnxRunner(proto.SerializeToString(), None)
        names = [value.name for value in proto.graph.output]
        yield from zip(names, runner.run(inputs), strict=True)

    def operators(
        self, path: Path, inputs: Sequence[Array], *, threads: int | None, runs: int
    ) -> tuple[OperatorTime, ...]:
        """Times operators with ONNX Runtime's profiler."""
        return time_operators(_read(path), str(path), inputs, open_session, threads, runs)


def open_session(model: str | bytes, threads: int | None, **settings: Any) -> Any:
    """A session on the CPU, whose operators run one after the other.

    Args:
        model: path of a file, or the bytes of one.
        settings: attributes of ``SessionOptions``.

    Raises:
        InputError: the runtime cannot load the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    for name, value in settings.items():
        setattr(options, name, value)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class of its own per status code
        name = model if isinstance(model, str) else "the model"
        reason = str(error).splitlines()[0]
        raise InputError(f"{name} cannot be loaded by ONNX Runtime: {reason}") from error


class OnnxRunner:
    """A session of ONNX Runtime on the CPU; see `open_session` for arguments and errors."""

    def __init__(self, model: str | bytes, threads: int | None) -> None:
        self._session = open_session(model, threads)
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._bound: list[Any] = []

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference."""
        outputs = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        return [np.asarray(value) for value in outputs]

    def prepare(self, inputs: Sequence[Array]) -> Callable[[], None]:
        """Binds inputs and outputs to memory that stays where it is."""
        import onnxruntime

        values = onnxruntime.OrtValue
        binding = self._session.io_binding()
        for name, array in zip(self._inputs, inputs, strict=True):
            binding.bind_ortvalue_input(name, values.ortvalue_from_numpy(array))
        self._bound = []
        for spec in self.tensors()[1]:
            self._bound.append(values.ortvalue_from_shape_and_type(spec.shape, spec.dtype))
            binding.bind_ortvalue_output(spec.name, self._bound[-1])
        return functools.partial(self._session.run_with_iobinding, binding)

    def outputs(self) -> list[Array]:
        """Copies of the bound outputs."""
        return [np.array(value.numpy()) for value in self._bound]

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs of the session."""
        return (
            tuple(_tensor_spec(value, "NCHW") for value in self._session.get_inputs()),
            tuple(_tensor_spec(value, "NC") for value in self._session.get_outputs()),
        )


def _tensor_spec(value: Any, layout: str) -> TensorSpec:
    dtype = {"tensor(float)": "float32", "tensor(float16)": "float16"}.get(value.type, value.type)
    return TensorSpec(value.name, tuple(int(n) for n in value.shape), dtype, layout)


def _open_batched(path: Path, threads: int | None, batch: int) -> OnnxRunner:
    """A session of the file with another number of images per inference."""
    import onnx

    proto = _read(path)
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        # What a reshape says of the first axis is the batch of the export.
        if node.op_type == "Reshape" and node.input[1] in constants:
            tensor = constants[node.input[1]]
            shape = onnx.numpy_helper.to_array(tensor).copy()
            if shape.size > 1 and shape[0] == 1:
                shape[0] = batch
                tensor.CopyFrom(onnx.numpy_helper.from_array(shape, tensor.name))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del graph.value_info[:]  # shapes of what flows between nodes
    OnnxRunner(
        str(path), 1
    )  # what is wrong with the file as it is has nothing to do with the batch
    try:
        runner = OnnxRunner(proto.SerializeToString(), threads)
        zeros = [np.zeros(spec.shape, spec.dtype) for spec in runner.tensors()[0]]
        shapes = [value.shape for value in runner.run(zeros)]
    except Exception as error:  # as in `open_session`
        raise fixed_batch(path, batch) from error
    if any(shape[:1] != (batch,) for shape in shapes):
        raise fixed_batch(path, batch)
    return runner


def _read(path: Path) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(str(path))
    except DecodeError as error:
        raise InputError(f"{path} is no ONNX file, or is damaged") from error
    if not proto.graph.node:  # no bytes at all are a valid message, too
        raise InputError(f"{path} is no ONNX file, or is damaged: it holds no network")
    return proto


def _clean(proto: ModelProto) -> None:
    """Names nodes after modules and drops the exporter's diary.

    The diary holds source paths of the machine that exported, which do not belong into a file
    that is shipped, and makes two exports of the same network differ.
    """
    count: Counter[str] = Counter()
    for node in proto.graph.node:
        scope = _module_path(node)
        name = f"{scope}/{node.op_type}" if scope else node.op_type
        count[name] += 1
        node.name = name if count[name] == 1 else f"{name}_{count[name]}"
        del node.metadata_props[:]
        node.ClearField("doc_string")
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del value.metadata_props[:]
        value.ClearField("doc_string")
    del graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.ClearField("doc_string")
    graph.name = "main"


def _module_path(node: NodeProto) -> str:
    """Dotted path of the innermost module that a node comes from; empty at the top."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ""


def _store_as_float16(proto: ModelProto) -> None:
    """Stores weights in half the bytes; the runtime widens them once, when it loads the file.

    Computing in float16 instead would be slower on CPUs: ONNX Runtime has float16 kernels for few
    operators there and puts casts around all others.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST_FP16:
            continue
        name = tensor.name
        largest = float(np.finfo(np.float16).max)
        if np.abs(values).max() > largest:
            raise ModelError(
                f"weight '{name}' reaches {np.abs(values).max():.3g}, beyond float16's "
                f"{largest:.0f}: export with --precision fp32"
            )
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(
            helper.make_node(
                "Cast", [f"{name}.fp16"], [name], name=f"{name}/Cast", to=TensorProto.FLOAT
            )
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


TARGET = OnnxTarget()
