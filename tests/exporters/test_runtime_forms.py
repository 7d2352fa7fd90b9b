"""What runtimes make of a file: shuffles of channels and SiLU in one operator, sums that fit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_examples import singly
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.core import FLOAT_SCHEMES, INT8, of_image
from edgekit.native_output import captured

SHUFFLES = SILUS = 3


class Net(nn.Module):
    """Shuffles and SiLUs, of which one is written by hand."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.convs = nn.ModuleList(nn.Conv2d(c, 16, 3, padding=1) for c in (3, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        for groups, conv in zip((2, 4, 8), self.convs, strict=True):
            x = conv(x)
            x = x * torch.sigmoid(x) if groups == 4 else F.silu(x)
            n, c, h, w = x.shape
            x = x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return x[:, :5].mean((2, 3))


def kinds(target: str, path: Path) -> Counter[str]:
    """Operators of a file."""
    if target == "onnx":
        import onnx

        return Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    if target == "openvino":
        import openvino

        ops = openvino.Core().read_model(path).get_ops()
        return Counter(op.get_type_name() for op in ops)
    from exporters.tflite.flatbuffer import operator_kind, unpack

    flat = unpack(path.read_bytes())
    return Counter(operator_kind(flat, one) for one in flat.subgraphs[0].operators)


def executed(target: str, path: Path) -> Counter[str]:
    """Operators that the runtime makes of them, where it says so."""
    if target == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path.with_suffix(".optimized"))
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return kinds(target, Path(options.optimized_model_filepath))
    import openvino

    graph = openvino.Core().compile_model(path, "CPU").get_runtime_model()
    return Counter(op.get_rt_info()["layerType"].astype(str) for op in graph.get_ops())


@pytest.mark.parametrize("target", tables.TARGETS)
def test_shuffles_and_silus_are_what_the_runtime_knows(target: str, tmp_path: Path) -> None:
    plug, model = registry.target(target), Net().eval()
    path = tmp_path / f"net{plug.suffix}"
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with captured(), torch.no_grad():
        expected = model(images).numpy()
        plug.export(model, of_image(images[:1]), path, FLOAT_SCHEMES["fp32"])
    arrays = (images if plug.layout == "NCHW" else images.permute(0, 2, 3, 1)).contiguous().numpy()
    runner = plug.open(path, 1)
    found = np.concatenate([runner.run([arrays[i : i + 1]])[0] for i in range(2)])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    written = kinds(target, path)
    if target == "onnx":
        assert (written["Transpose"], written["Sigmoid"], written["Mul"]) == (
            SHUFFLES,
            SILUS,
            SILUS,
        )
        assert executed(target, path)["QuickGelu"] == SILUS  # with a factor of 1
    elif target == "openvino":
        assert written["Transpose"] + written["ShuffleChannels"] == SHUFFLES
        assert (written["Swish"], written["Sigmoid"]) == (SILUS, 0)
        assert executed(target, path)["ShuffleChannels"] == SHUFFLES
    else:
        assert written["TRANSPOSE"] <= SHUFFLES
        assert (written["LOGISTIC"], written["MUL"]) == (SILUS, SILUS)


def largest_weights(target: str, path: Path) -> list[int]:
    """The largest absolute value of every tensor of stored 8-bit weights."""
    if target == "onnx":
        import onnx
        from onnx import numpy_helper

        stored = [numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer]
    else:
        import openvino

        ops = openvino.Core().read_model(path).get_ops()
        stored = [op.get_data() for op in ops if op.get_type_name() == "Constant"]
    return [int(np.abs(a.astype(int)).max()) for a in stored if a.dtype == np.int8 and a.ndim == 4]


@pytest.mark.parametrize("bits", [8, 7])
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_weights_of_seven_bits_leave_room_for_sums(target: str, bits: int, tmp_path: Path) -> None:
    plug, path = registry.target(target), tmp_path / "net"
    path = path.with_suffix(plug.suffix)
    scheme = replace(INT8, activations="uint8", forms={"weights": f"{bits}bit"})
    images = torch.randn(20, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with captured():
        plug.export(
            Net().eval(),
            of_image(images[:1]),
            path,
            scheme,
            singly([one.numpy() for one in images[:, None]]),
        )
    found = largest_weights(target, path)
    # Two products with an activation of 255 then fit into 16 bits: 2 * 255 * 64 < 2**15. NNCF keeps
    # those of the first layer small in any case.
    assert len(found) == 3
    assert all(one <= 64 for one in found) == (bits == 7)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_sums_that_would_overflow_are_right(target: str, tmp_path: Path) -> None:
    """All weights and pixels at their largest: without dot products of integers the sums of two
    products pass 16 bits, and a kernel that adds there gives half of what is right."""
    plug, path = registry.target(target), tmp_path / "net"
    path = path.with_suffix(plug.suffix)
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 32, 1)).eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    images = torch.linspace(0, 1, 20)[:, None, None, None, None].expand(20, 1, 3, 16, 16)
    scheme = replace(INT8, activations="uint8", forms={"weights": "7bit", "bias": "accurate"})
    arrays = [one.contiguous().numpy() for one in images]
    with captured(), torch.no_grad():
        plug.export(model, of_image(images[0]), path, scheme, singly(arrays))
        expected = model(images[-1]).numpy()
    (found,) = plug.open(path, 1).run([arrays[-1]])
    np.testing.assert_allclose(found, expected, rtol=0.02)
