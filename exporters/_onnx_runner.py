"""ONNX Runtime's sessions: how files are run, whatever sizes they leave open."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import Shapes, TensorSpec, reason, silent_import
from edgekit.errors import InputError
from exporters._inputs import closed, fixed_batch, number_of, numbers_only, paired

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgekit.core import Array

TYPES_KEY = "edgekit.quantization"
"""Metadata property with scale and zero point of integer inputs and outputs, by name."""

# Where ONNX Runtime looks for external data of a model that it gets as bytes.
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"


def open_session(
    path: Path, threads: int | None, content: bytes | None = None, **settings: Any
) -> Any:
    """A session on the CPU, whose operators run one after the other.

    Args:
        path: of the file; where there is ``content``, for messages and external data only.
        settings: attributes of ``SessionOptions``.

    Raises:
        InputError: the runtime cannot load the model.
    """
    onnxruntime = silent_import("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    for name, value in settings.items():
        setattr(options, name, value)
    if content is not None:
        options.add_session_config_entry(_EXTERNAL_FOLDER, str(path.parent.absolute()))
    model = str(path) if content is None else content
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class of its own per status code
        raise InputError(f"{path} cannot be loaded by ONNX Runtime: {reason(error)}") from error


class OnnxRunner:
    """A session of ONNX Runtime on the CPU; see `open_session` for arguments and errors.

    Args:
        batch: first size of inputs for which the file leaves it open; ``None`` stands for 1.
        shapes: see `edgekit.core.Target.open`.

    Attributes:
        takes_any_batch: whether it leaves it open for one of them.

    Raises:
        InputError: another size is open, or an input takes no numbers.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None,
        content: bytes | None = None,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> None:
        self._session = open_session(path, threads, content)
        values = self._session.get_inputs()
        self._names = [value.name for value in values]
        self.takes_any_batch = any(
            number_of(size) is None for value in values for size in value.shape[:1]
        )
        notes = self._session.get_modelmeta().custom_metadata_map.get(TYPES_KEY)
        self._scales = _interface_notes(notes) if notes else {}
        sizes = closed(path, [(v.name, v.shape) for v in values], batch, shapes, _remedy)
        self._inputs = tuple(
            self._spec(value, shape, "NCHW") for value, shape in zip(values, sizes)
        )
        numbers_only(path, self._inputs)
        self._binding: Any = None

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference."""
        outputs = self._session.run(None, dict(paired(self._names, inputs)))
        return [np.asarray(value) for value in outputs]

    def prepare(self, inputs: Sequence[Array]) -> Callable[[], None]:
        """Binds inputs and outputs to memory that stays where it is."""
        onnxruntime = silent_import("onnxruntime")
        binding = self._session.io_binding()
        for name, array in paired(self._names, inputs):
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for value in self._session.get_outputs():
            binding.bind_output(value.name, "cpu")  # made by the first run, and kept
        self._binding = binding
        return functools.partial(self._session.run_with_iobinding, binding)

    def outputs(self) -> list[Array]:
        """Copies of the bound outputs."""
        return [np.array(value.numpy()) for value in self._binding.get_outputs()]

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs of the session."""
        # A size that has a name is the same wherever it stands.
        named = {
            size: number
            for value, spec in zip(self._session.get_inputs(), self._inputs)
            for size, number in zip(value.shape, spec.shape)
            if isinstance(size, str)
        }
        return self._inputs, tuple(
            self._spec(value, [number_of(named.get(n, n)) or -1 for n in value.shape], "NC")
            for value in self._session.get_outputs()
        )

    def _spec(self, value: Any, shape: Sequence[int], layout: str) -> TensorSpec:
        kind = re.sub(r"^tensor\((.*)\)$", r"\1", value.type)
        scale, zero = self._scales.get(value.name, (None, None))
        return TensorSpec(value.name, tuple(shape), _TYPES.get(kind, kind), layout, scale, zero)


# Where ONNX has other words for a type than NumPy.
_TYPES = {"float": "float32", "double": "float64"}


def _interface_notes(text: str) -> dict[str, tuple[float, int]]:
    """Scale and zero point by name, as an export with an interface of integers noted them."""
    found = json.loads(text)
    return {str(name): (float(scale), int(zero)) for name, (scale, zero) in found.items()}


def _remedy(name: str, sizes: str) -> str:
    return (
        f"fix them, as with 'python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name "
        f"{name} --input_shape {sizes} IN.onnx OUT.onnx'"
    )


def batched(path: Path, threads: int | None, batch: int, content: bytes | None) -> OnnxRunner:
    """A session for a number of images per inference, which was tried once.

    Args:
        content: of `rebatched`, where the file itself does not leave the batch open.

    Raises:
        InputError: the network does not take that number.
    """
    try:
        runner = OnnxRunner(path, threads, content, batch)
        runner.prepare([np.zeros(spec.shape, spec.dtype) for spec in runner.tensors()[0]])()
        # A file that leaves the batch open knows what it makes of it.
        fits = content is None or all(v.shape[:1] == (batch,) for v in runner.outputs())
    except Exception as error:  # as in `open_session`
        raise fixed_batch(path, batch) from error
    if not fits:
        raise fixed_batch(path, batch)
    return runner


BATCH = "batch"
"""Name of the size that `leave_batch_open` leaves open."""


def leave_batch_open(proto: ModelProto) -> None:
    """Makes a network that is written for one image take any number of them.

    Args:
        proto: will be changed; without external data.
    """
    import onnx

    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = onnx.numpy_helper.to_array(constants[node.input[1]]).copy()
        if shape.size < 2 or shape[0] != 1 or 0 in shape:
            continue
        shape[0] = 0  # that of what goes in
        kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)
        # Others may read the same sizes.
        name = f"{node.name or node.output[0]}.sizes"
        graph.initializer.append(onnx.numpy_helper.from_array(shape, name))
        node.input[1] = name
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del graph.value_info[:]  # shapes of what flows between nodes


def rebatched(proto: ModelProto, path: Path, batch: int) -> bytes:
    """Makes a network that is written for one number of images take another one.

    Args:
        proto: will be changed.
        path: of its file, for external data.
    """
    import onnx

    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        # What a reshape says of the first axis is the batch of the export.
        if node.op_type == "Reshape" and node.input[1] in constants:
            tensor = constants[node.input[1]]
            shape = onnx.numpy_helper.to_array(tensor, str(path.parent)).copy()
            if shape.size > 1 and shape[0] == 1:
                shape[0] = batch
                tensor.CopyFrom(onnx.numpy_helper.from_array(shape, tensor.name))
    for value in (*graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes and value.name not in constants:  # old files list their weights as inputs
            sizes[0].dim_value = batch
    del graph.value_info[:]  # shapes of what flows between nodes
    return bytes(proto.SerializeToString())
