"""The second way to a TensorFlow Lite file: litert-torch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import Example, silent_import
from exporters.tflite.converter import SIGNATURE
from exporters.tflite.flatbuffer import pack, unpack

if TYPE_CHECKING:
    from torch import nn


def convert(model: nn.Module, example: Example, *, half: bool = False) -> bytes:
    """Writes a network as a TensorFlow Lite file; see `exporters.tflite.converter.convert`."""
    litert_torch = silent_import("litert_torch")
    images = [i for i, spec in enumerate(example.interface.inputs) if spec.layout == "NCHW"]
    given = tuple(
        tensor.permute(0, 2, 3, 1).contiguous() if i in images else tensor
        for i, tensor in enumerate(example.tensors)
    )
    wrapped = litert_torch.to_channel_last_io(model, args=images).eval() if images else model
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "model.tflite")
        litert_torch.convert(wrapped, given).export(str(raw))
        content = _store_as_float16(raw) if half else raw.read_bytes()
    flat = unpack(content)
    _rename(flat, example)
    return pack(flat)


def _rename(flat: Any, example: Example) -> None:
    """Gives inputs, outputs and signature the names that all targets share."""
    graph, signature = flat.subgraphs[0], flat.signatureDefs[0]
    inputs, outputs = example.names
    for names, tensors, entries in (
        (inputs, graph.inputs, signature.inputs),
        (outputs, graph.outputs, signature.outputs),
    ):
        by_tensor = {int(entry.tensorIndex): entry for entry in entries}
        for name, index in zip(names, tensors, strict=True):
            graph.tensors[index].name = name
            by_tensor[int(index)].name = name
    signature.signatureKey = SIGNATURE
    flat.description = "edgekit"


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
