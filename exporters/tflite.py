"""TensorFlow Lite files, written by litert-torch and run by LiteRT.

The image input is NHWC, as mobile apps feed it.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core import FLOAT_SCHEMES, OperatorTime, Runner, Scheme, TensorSpec
from edgekit.errors import InputError
from exporters._flatbuffer import FILE_IDENTIFIER, pack, schema, set_batch, unpack
from exporters._inputs import closed, fixed_batch, number_of, numbers_only, type_name
from exporters._tflite_operators import time_operators

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekit.core import Array

KEY = "edgekit.contract"
SIGNATURE = "serving_default"  # the name that the runtimes look for first


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
        flat = unpack(content)
        _rename(flat)
        path.write_bytes(pack(flat))
        return scheme

    def open(self, path: Path, threads: int | None = None, *, batch: int | None = None) -> Runner:
        """Loads the file into LiteRT's interpreter with its XNNPACK kernels."""
        interpreter = _interpreter(path, batch=batch, num_threads=threads)
        if batch is not None and not _takes_any_batch(interpreter):
            interpreter = _batched(path, batch, threads)
        runner = TfliteRunner(interpreter)
        numbers_only(path, runner.tensors()[0])
        return runner

    def files(self, path: Path) -> tuple[Path, ...]:
        """The one file."""
        return (path,)

    def embed(self, path: Path, text: str) -> None:
        """Puts ``text`` into a metadata buffer."""
        with _parsing(path):
            flat = unpack(_content(path))
        entry = next((m for m in flat.metadata or [] if m.name == KEY.encode()), None)
        if entry is None:
            flat.buffers.append(schema().BufferT())
            entry = schema().MetadataT()
            entry.name = KEY
            entry.buffer = len(flat.buffers) - 1
            flat.metadata = [*(flat.metadata or []), entry]
        flat.buffers[entry.buffer].data = np.frombuffer(text.encode(), np.uint8)
        path.write_bytes(pack(flat))

    def extract(self, path: Path) -> str | None:
        """The text of `embed`."""
        with _parsing(path):
            model = schema().Model.GetRootAs(_content(path))
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

    def operators(
        self,
        path: Path,
        inputs: Sequence[Array],
        *,
        threads: int | None,
        runs: int,
        batch: int | None = None,
    ) -> tuple[OperatorTime, ...]:
        """Times operators one by one; `edgekit.core.Profilable.operators` tells more."""
        interpreter = _interpreter(path)  # a file that does not run has no operator times
        with _parsing(path):
            flat = unpack(_content(path))
        if batch is not None and not _takes_any_batch(interpreter):
            set_batch(flat, batch)

        def open_(content: bytes, **options: Any) -> Any:
            return _interpreter(path, content, **options)

        return time_operators(flat, inputs, open_, threads, runs)


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
        for index, value in zip(self._inputs, inputs, strict=True):
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


def _interpreter(
    path: Path, content: bytes | None = None, *, batch: int | None = None, **options: Any
) -> Any:
    """An interpreter with its tensors allocated.

    Args:
        path: of the file, for messages only where there is ``content``.
        batch: first size of inputs for which the file leaves it open; ``None`` stands for 1.

    Raises:
        InputError: the runtime cannot load the file, or the file leaves other sizes open.
    """
    from ai_edge_litert.interpreter import Interpreter

    source = {"model_path": str(path)} if content is None else {"model_content": content}
    try:
        interpreter = Interpreter(**source, **options)
        for detail in interpreter.get_input_details():
            shape = closed(path, detail["name"], _sizes(detail), batch, _REMEDY)
            if shape != tuple(detail["shape"]):
                interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be loaded by LiteRT: {reason}") from error
    return interpreter


_REMEDY = "convert the network again, with an input whose sizes are fixed"


def _sizes(detail: Any) -> tuple[int, ...]:
    """The sizes of a tensor, -1 for those that the file leaves open.

    The interpreter has a 1 in their place, and old files have no signature of shapes.
    """
    shape, signature = detail["shape"], detail["shape_signature"]
    return tuple(int(n) for n in (signature if len(signature) == len(shape) else shape))


def _takes_any_batch(interpreter: Any) -> bool:
    """Whether the file leaves the batch open for one of its inputs."""
    sizes = [n for detail in interpreter.get_input_details() for n in _sizes(detail)[:1]]
    return any(number_of(size) is None for size in sizes)


def _batched(path: Path, batch: int, threads: int | None) -> Any:
    """An interpreter of a file that is written for another number of images per inference."""
    from ai_edge_litert.interpreter import Interpreter

    with _parsing(path):
        flat = unpack(_content(path))
    set_batch(flat, batch)
    try:
        interpreter = Interpreter(model_content=pack(flat), num_threads=threads)
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
    model = schema().Model.GetRootAs(content)
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
