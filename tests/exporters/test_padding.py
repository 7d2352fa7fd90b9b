"""Explicit padding becomes that of the convolution behind it, where that is the same."""

from __future__ import annotations

from collections.abc import Callable
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
from edgekit.models.widths import Conv2d, Width
from edgekit.native_output import captured

SIDE = 16


class Padded(nn.Module):
    """What a function makes of an image whose numbers may be negative, and of a convolution."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], **options: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, **options)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv, x).amax((2, 3))


class Own(nn.Module):
    """A convolution of edgekit with TensorFlow's padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv2d(Width("a", 8), Width("b", 12), 3, 2, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).amax((2, 3))


class Side(nn.Module):
    """Networks side by side, behind one convolution."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem, self.parts = nn.Conv2d(3, 8, 1), nn.ModuleList(parts)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)  # moved for each, or OpenVINO makes one of equal paddings
        return torch.cat([part(x - 1 - i / 8) for i, part in enumerate(self.parts)], 1)


def around(*amounts: int, value: float = 0.0, **options: int) -> Padded:
    return Padded(lambda conv, x: conv(F.pad(x, amounts, value=value)), **options)


def in_front(layer: nn.Module, **options: int) -> Padded:
    return Padded(lambda conv, x: conv(layer(x)), **options)


def read_twice(conv: nn.Module, x: Tensor) -> Tensor:
    y = F.pad(x, (0, 1, 0, 1))
    return conv(y) + conv(y.neg())


def same() -> list[nn.Module]:
    """TensorFlow's SAME, which all formats can say."""
    return [
        around(0, 1, 0, 1, stride=2),
        around(1, 1, 1, 1),
        around(0, 1, 0, 1, stride=2, groups=8),
        around(0, 2, 0, 2, stride=2),  # more than is read
        around(1, 1, 1, 1, padding=1, dilation=2),
        in_front(nn.ZeroPad2d((0, 1, 0, 1)), stride=2),
        in_front(nn.ConstantPad2d((0, 1, 0, 1), 0.0), stride=2),
        Own(),
    ]


def other() -> list[nn.Module]:
    """What TensorFlow Lite needs an operator for."""
    return [
        around(1, 0, 1, 0, stride=2),
        around(3, 1, 2, 4),
        around(2, 1),
        around(2, 0, 2, 0, padding=1),
    ]


def kept() -> list[nn.Module]:
    """What is no padding of a convolution with zeros."""
    return [
        around(0, 1, 0, 1, value=1.5, stride=2),
        around(2, -1, 0, 1),
        in_front(nn.ReflectionPad2d(1)),
        Padded(lambda conv, x: conv(F.pad(x[:, 1:], (0, 0, 0, 0, 0, 1)))),
        Padded(lambda conv, x: conv(F.pad(x[:, 1:], (1, 1, 1, 1, 0, 1)))),
        Padded(lambda conv, x: conv((F.pad(x, (0, 1, 0, 1)) + 1).relu()), stride=2),
        Padded(lambda _, x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3)),
    ]


def equal() -> list[nn.Module]:
    """What each target may write as it likes."""
    return [
        Padded(read_twice, stride=2),
        Padded(lambda _, x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1, 1)),
        Padded(lambda _, x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2, 1, count_include_pad=False)),
        Padded(lambda _, x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)).relu(), 3)),
    ]


def pads(target: str, path: Path) -> int:
    """How many operators of a file pad."""
    if target == "onnx":
        import onnx

        kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    elif target == "openvino":
        import openvino

        kinds = [op.get_type_name() for op in openvino.Core().read_model(path).get_ops()]
    else:
        from exporters.tflite.flatbuffer import operator_kind, unpack

        flat = unpack(path.read_bytes())
        kinds = [operator_kind(flat, one) for one in flat.subgraphs[0].operators]
    return sum("pad" in kind.lower() for kind in kinds)


def arrays(target: str, count: int) -> list[np.ndarray]:
    """Images as inputs of a target."""
    batch = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    if registry.target(target).layout == "NHWC":
        batch = batch.permute(0, 2, 3, 1).contiguous()
    return [batch.numpy()[i : i + 1] for i in range(count)]


def written(parts: list[nn.Module], target: str, folder: Path, precision: str = "fp32") -> int:
    """Writes a file, which computes what the network does; gives how many operators pad."""
    plug = registry.target(target)
    model = Side(parts).eval()
    path, inputs = folder / f"net{plug.suffix}", arrays(target, 16)
    batch = torch.from_numpy(np.concatenate(inputs))
    if plug.layout == "NHWC":
        batch = batch.permute(0, 3, 1, 2)
    # NNCF's fast way to correct a bias puts more noise than the rest into so small a network.
    # Weights of seven bits are exact on every processor.
    forms = {} if target == "tflite" else {"bias": "accurate", "weights": "7bit"}
    integers = replace(INT8, forms=forms)
    scheme = integers if precision == "int8" else FLOAT_SCHEMES["fp32"]
    with captured(), torch.no_grad():
        expected = model(batch).numpy()
        plug.export(model, of_image(batch[:1]), path, scheme, singly(inputs))
    runner = plug.open(path, 1)
    found = np.concatenate([runner.run([image])[0] for image in inputs])
    if precision == "fp32":
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    else:
        spread = expected - expected.mean(0)
        assert 10 * np.log10((spread**2).mean() / ((found - expected) ** 2).mean()) > 20
    return pads(target, path)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("target", tables.TARGETS)
def test_padding_as_tensorflows_is_that_of_the_convolution(
    target: str, precision: str, tmp_path: Path
) -> None:
    assert written(same(), target, tmp_path, precision) == 0


@pytest.mark.parametrize("target", tables.TARGETS)
def test_any_other_is_where_the_format_can_say_it(target: str, tmp_path: Path) -> None:
    parts = other()
    assert written(parts, target, tmp_path) == (len(parts) if target == "tflite" else 0)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_what_is_no_padding_of_a_convolution_with_zeros_stays(target: str, tmp_path: Path) -> None:
    parts = kept()
    assert written(parts, target, tmp_path) >= len(parts)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_padding_that_others_see_computes_the_same(target: str, tmp_path: Path) -> None:
    written(equal(), target, tmp_path)
