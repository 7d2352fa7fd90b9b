"""TensorFlow Lite files, written by litert-torch and run by LiteRT.

The image input is NHWC, as mobile apps feed it.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import FLOAT_SCHEMES, Runner, Scheme, TensorSpec
from edgekit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekit.core import Array

KEY = "edgekit.contract"
SIGNATURE = "serving_default"  # the name that the runtimes look for first
FILE_IDENTIFIER = b"TFL3"  # of every TensorFlow Lite file, at offset 4


class TfliteTarget:
    """One ``.tflite`` file with one signature, ``image`` to ``scores``."""

    name = "tflite"
    suffix = ".tflite"
    layout = "NHWC"
    runtime = "LiteRT"
    packages = ("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "torch")
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
        import litert_torch

        images = example.permute(0, 2, 3, 1).contiguous()
        wrapped = litert_torch.to_channel_last_io(model, args=[0]).eval()
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            raw = Path(folder, "model.tflite")
            litert_torch.convert(wrapped, (images,)).export(str(raw))
            content = _store_as_float16(raw) if scheme.weights == "float16" else raw.read_bytes()
        flat = _unpack(content)
        _rename(flat)
        path.write_bytes(_pack(flat))
        return scheme

    def open(self, path: Path, threads: int | None = None) -> Runner:
        """Loads the file into LiteRT's interpreter with its XNNPACK kernels."""
        return TfliteRunner(_interpreter(path, num_threads=threads))

    def files(self, path: Path) -> tuple[Path, ...]:
        """The one file."""
        return (path,)

    def embed(self, path: Path, text: str) -> None:
        """Puts ``text`` into a metadata buffer."""
        schema = _schema()
        with _parsing(path):
            flat = _unpack(_content(path))
        entry = next((m for m in flat.metadata or [] if m.name == KEY.encode()), None)
        if entry is None:
            flat.buffers.append(schema.BufferT())
            entry = schema.MetadataT()
            entry.name = KEY
            entry.buffer = len(flat.buffers) - 1
            flat.metadata = [*(flat.metadata or []), entry]
        flat.buffers[entry.buffer].data = np.frombuffer(text.encode(), np.uint8)
        path.write_bytes(_pack(flat))

    def extract(self, path: Path) -> str | None:
        """The text of `embed`."""
        with _parsing(path):
            model = _schema().Model.GetRootAs(_content(path))
            for i in range(model.MetadataLength()):
                entry = model.Metadata(i)
                if entry.Name() == KEY.encode():
                    return bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).decode()
            return None

    def activations(self, path: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Array]]:
        """Runs the file with the interpreter's own kernels, which keep every tensor."""
        from ai_edge_litert.interpreter import OpResolverType

        interpreter = _interpreter(
            path,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        TfliteRunner(interpreter).run(inputs)
        computed = _computed_tensors(_content(path))
        for tensor in interpreter.get_tensor_details():
            if tensor["dtype"] is np.float32 and tensor["index"] in computed:
                yield tensor["name"], interpreter.get_tensor(tensor["index"])


class TfliteRunner:
    """An interpreter with its tensors allocated."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._inputs = [detail["index"] for detail in interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference."""
        for index, value in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, value)
        self._interpreter.invoke()
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
        np.dtype(detail["dtype"]).name,
        layout,
        float(scale) if quantized else None,
        int(zero_point) if quantized else None,
    )


def _interpreter(path: Path, **options: Any) -> Any:
    """An interpreter with its tensors allocated."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path), **options)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be loaded by LiteRT: {reason}") from error
    return interpreter


def _schema() -> Any:
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if content[4:8] != FILE_IDENTIFIER:
        raise InputError(f"{path} is no TensorFlow Lite file: bytes 4 to 7 are not 'TFL3'")
    return content


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Offsets in a damaged file point anywhere, and the generated readers follow them."""
    try:
        yield
    except (struct.error, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as e:
        raise InputError(f"{path} is damaged: it is no complete TensorFlow Lite file") from e


def _unpack(content: bytes) -> Any:
    """The file as a tree of objects, with the data of all buffers inside."""
    schema = _schema()
    flat = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    for buffer in flat.buffers:
        if buffer.offset > 1:  # the quantizer appends data behind the tree and notes where
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return flat


def _pack(flat: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(flat.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _rename(flat: Any) -> None:
    """Gives input, output and signature the names that all targets share."""
    graph = flat.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = "image"
    graph.tensors[graph.outputs[0]].name = "scores"
    signature = flat.signatureDefs[0]
    signature.signatureKey = SIGNATURE
    signature.inputs[0].name = "image"
    signature.outputs[0].name = "scores"
    flat.description = "edgekit"


def _computed_tensors(content: bytes) -> set[int]:
    """Indices of the file's tensors whose values do not lie in it; kernels add others of theirs."""
    model = _schema().Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    return {
        i
        for i in range(graph.TensorsLength())
        if model.Buffers(graph.Tensors(i).Buffer()).DataLength() == 0
    }


def _store_as_float16(path: Path) -> bytes:
    """Weights of convolutions and fully connected layers as float16, widened on load."""
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    recipe = quantizer.Quantizer(str(path))
    recipe.add_weight_only_config(
        regex=".*",
        operation_name=TFLOperationName.ALL_SUPPORTED,
        num_bits=16,
        algorithm_key=AlgorithmName.FLOAT_CASTING,
    )
    return bytes(recipe.quantize().quantized_model)


TARGET = TfliteTarget()
