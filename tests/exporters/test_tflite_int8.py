"""Float files are what ai-edge-quantizer takes: all of a network runs in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_tflite_converter import kinds

from edgekit import registry
from edgekit.core import FLOAT_SCHEMES, of_image
from edgekit.lowering import lower
from edgekit.models.source import open_model
from edgekit.tasks.agreement import compare
from edgekit.verification.reference import make_reference
from exporters.tflite.converter import convert
from exporters.tflite.lowering import Forms

CALIBRATION_IMAGES = 32


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("mobilenetv2", Forms()),
        ("mobilenetv3-small", Forms()),
        ("mobilenetv3-small", Forms(hardswish="clamp", mean="pool", pointwise="dense")),
        ("shufflenetv2", Forms()),
        ("shufflenetv1-g3", Forms(grouped="split")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.hardswish,
)
def test_networks_are_quantized_to_8_bits_and_run(name: str, forms: Forms, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    torch = pytest.importorskip("torch")
    reference = make_reference(open_model(name, resolution=64))
    image = torch.from_numpy(reference.images[:1])
    model, _ = lower(
        reference.model.module, (image,), registry.target("tflite"), FLOAT_SCHEMES["fp32"]
    )
    path = tmp_path / "float.tflite"
    path.write_bytes(convert(model, of_image(image), forms))
    images = np.ascontiguousarray(reference.images.transpose(0, 2, 3, 1))
    worker = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
    samples = [{"image": one[None]} for one in images[:CALIBRATION_IMAGES]]
    ranges = worker.calibrate({"serving_default": samples})
    content = bytes(worker.quantize(ranges).quantized_model)
    # What the quantizer does not know stays between a widening and a narrowing.
    assert kinds(content).count("DEQUANTIZE") <= 1
    assert len(content) < 0.4 * path.stat().st_size

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for one in images:
        interpreter.set_tensor(given["index"], quantize(one[None], given))
        interpreter.invoke()
        outputs.append(dequantize(interpreter.get_tensor(got["index"]), got))
    agreement = compare(reference.scores, np.concatenate(outputs), {"sqnr_db": 5.0})
    assert agreement.passed, agreement


def quantize(values: np.ndarray, detail: dict[str, object]) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale:
        return values
    return np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)


def dequantize(values: np.ndarray, detail: dict[str, object]) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * scale if scale else values
