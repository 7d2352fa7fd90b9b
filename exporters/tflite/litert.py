"""The second way to a TensorFlow Lite file: litert-torch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import silent_import
from exporters.tflite.converter import SIGNATURE
from exporters.tflite.flatbuffer import pack, unpack

if TYPE_CHECKING:
    from torch import Tensor, nn


def convert(model: nn.Module, example: Tensor, *, half: bool = False) -> bytes:
    """Writes a network as a TensorFlow Lite file; see `exporters.tflite.converter.convert`."""
    litert_torch = silent_import("litert_torch")
    images = example.permute(0, 2, 3, 1).contiguous()
    wrapped = litert_torch.to_channel_last_io(model, args=[0]).eval()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "model.tflite")
        litert_torch.convert(wrapped, (images,)).export(str(raw))
        content = _store_as_float16(raw) if half else raw.read_bytes()
    flat = unpack(content)
    _rename(flat)
    return pack(flat)


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
