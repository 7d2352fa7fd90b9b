"""Files of integers: products that scales say as well, and a beginning in float."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_examples import singly
from test_tflite_converter import kinds
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import INT8, Inspectable, of_image
from edgekit.native_output import captured
from exporters.tflite import quantizer
from exporters.tflite.flatbuffer import unpack

CLAMPED = {"hardswish": "clamp"}


class Block(nn.Module):
    """A block of MobileNetV3: h-swish in front of every kind of layer, and squeeze-excite."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.expand = nn.Conv2d(16, 48, 1)
        self.depthwise = nn.Conv2d(48, 48, 3, stride=2, groups=48)
        self.reduce, self.gate = nn.Conv2d(48, 8, 1), nn.Conv2d(8, 48, 1)
        self.project = nn.Conv2d(48, 40, 1)
        self.classifier = nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.expand(F.hardswish(self.stem(x))))
        x = F.hardswish(self.depthwise(F.pad(x, (0, 1, 0, 1))))
        x = x * F.hardsigmoid(self.gate(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))
        return self.classifier(F.hardswish(self.project(x)).mean((2, 3)))


class Residual(nn.Module):
    """A h-swish that a sum reads, too: there the product has to be computed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.mix = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 1)
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.stem(x))
        return self.classifier((x + self.mix(x)).mean((2, 3)))


def images(count: int = 8) -> np.ndarray:
    """Noise of another brightness for each: else all scores would be nearly equal."""
    rng = np.random.default_rng(5)
    bright = 2 * rng.standard_normal((count, 1, 1, 3))
    return (bright + rng.standard_normal((count, 33, 33, 3))).astype(np.float32)


def written(
    folder: Path, network: type[nn.Module], forms: dict[str, str], io: str = "float"
) -> Path:
    target, path = registry.target("tflite"), folder / f"{'-'.join(forms.values())}.tflite"
    scheme = replace(INT8, forms=forms, interface=io)
    example = torch.from_numpy(images(1)).permute(0, 3, 1, 2)
    with captured():
        target.export(
            network().eval(), of_image(example), path, scheme, singly(list(np.split(images(), 8)))
        )
    return path


def scores(path: Path) -> np.ndarray:
    runner = registry.target("tflite").open(path, 1)
    (given,), (got,) = runner.tensors()
    found = []
    for image in np.split(images(), 8):
        if given.scale is not None:
            steps = np.round(image / given.scale) + given.zero_point
            image = np.clip(steps, -128, 127).astype(np.int8)
        (values,) = runner.run([image])
        if got.scale is not None:
            values = (values.astype(np.float32) - got.zero_point) * got.scale
        found.append(values)
    return np.concatenate(found)


def expected(network: type[nn.Module]) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = network().eval()(torch.from_numpy(images()).permute(0, 3, 1, 2)).numpy()
    return found


def agreement(found: np.ndarray, exact: np.ndarray) -> float:
    spread = exact - exact.mean(0)
    return float(10 * np.log10((spread**2).mean() / ((found - exact) ** 2).mean()))


def test_sixths_become_scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = written(tmp_path, Block, CLAMPED)
    found, content = scores(merged), merged.read_bytes()
    assert kinds(content).count("MUL") == 5  # four h-swishes and the gate
    monkeypatch.setattr(quantizer, "merge_factors", lambda flat: 0)
    plain = written(tmp_path, Block, CLAMPED)
    assert kinds(plain.read_bytes()).count("MUL") == 10
    # The same integers, but for roundings of the products that are gone.
    np.testing.assert_allclose(found, scores(plain), atol=2.5 * np.ptp(found) / 255)
    assert agreement(found, expected(Block)) > agreement(scores(plain), expected(Block)) - 1
    assert len(content) < len(plain.read_bytes())


def test_nothing_is_left_that_no_operator_has(tmp_path: Path) -> None:
    flat = unpack(written(tmp_path, Block, CLAMPED).read_bytes())
    (graph,) = flat.subgraphs
    read = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs)}
    assert read == set(range(len(graph.tensors)))
    noted = {entry.buffer for entry in flat.metadata}
    buffers = {tensor.buffer for tensor in graph.tensors} | noted | {0}
    assert buffers == set(range(len(flat.buffers)))


def test_a_product_that_a_sum_reads_stays(tmp_path: Path) -> None:
    path = written(tmp_path, Residual, CLAMPED)
    assert kinds(path.read_bytes()).count("MUL") == 2
    assert agreement(scores(path), expected(Residual)) > 20


def test_few_channels_stay_in_float(tmp_path: Path) -> None:
    path = written(tmp_path, Block, {**CLAMPED, "stem": "narrow"})
    found = kinds(path.read_bytes())
    assert found[:3] == ["CONV_2D", "HARD_SWISH", "QUANTIZE"]
    assert found.count("HARD_SWISH") == 1
    assert registry.target("tflite").float_operators(path) == ("CONV_2D", "HARD_SWISH")
    assert agreement(scores(path), expected(Block)) > 20


def test_integers_at_both_ends_are_integers_all_the_way(tmp_path: Path) -> None:
    path = written(tmp_path, Block, {**CLAMPED, "stem": "narrow"}, io="int8")
    assert kinds(path.read_bytes())[:2] == ["CONV_2D", "ADD"]
    (given,), (got,) = registry.target("tflite").open(path, 1).tensors()
    assert (given.name, given.dtype, got.name, got.dtype) == ("image", "int8", "scores", "int8")
    assert registry.target("tflite").float_operators(path) == ()
    assert agreement(scores(path), expected(Block)) > 15


class Narrow(nn.Module):
    """A network that has few channels everywhere."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convs = nn.ModuleList(nn.Conv2d(c, 24, 3) for c in (3, 24, 24))
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.hardswish(conv(x))
        return self.classifier(x.mean((2, 3)))


class Growing(nn.Module):
    """A network of few channels, and of fewer where it begins."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convs = nn.ModuleList(nn.Conv2d(c, d, 3) for c, d in ((3, 12), (12, 32)))
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.hardswish(conv(x))
        return self.classifier(x.mean((2, 3)))


def test_where_most_weights_have_few_channels_fewer_count_as_few(tmp_path: Path) -> None:
    path = written(tmp_path, Growing, {**CLAMPED, "stem": "narrow"})
    assert kinds(path.read_bytes())[:4] == ["CONV_2D", "HARD_SWISH", "QUANTIZE", "CONV_2D"]
    assert registry.target("tflite").float_operators(path) == ("CONV_2D", "HARD_SWISH")
    assert agreement(scores(path), expected(Growing)) > 20


class Wide(nn.Module):
    """A network whose first layer has many channels, behind zeros around the image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 48, 3, padding=1, stride=2)
        self.classifier = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.stem(F.pad(x, (1, 1, 1, 1)))).mean((2, 3)))


@pytest.mark.parametrize("network", [Narrow, Wide])
def test_an_int8_file_is_of_integers(network: type[nn.Module], tmp_path: Path) -> None:
    path = written(tmp_path, network, {**CLAMPED, "stem": "narrow"})
    assert registry.target("tflite").float_operators(path) == ()
    assert "HARD_SWISH" not in kinds(path.read_bytes())
    assert kinds(path.read_bytes())[0] == "QUANTIZE"


def test_tensors_are_shown_as_the_network_has_them(tmp_path: Path) -> None:
    path, target = written(tmp_path, Block, CLAMPED), registry.target("tflite")
    assert isinstance(target, Inspectable)
    found = dict(target.activations(path, [images(1)]))
    network, seen = Block().eval(), {}
    with torch.no_grad():
        x = torch.from_numpy(images(1)).permute(0, 3, 1, 2)
        x = F.hardswish(network.stem(x))
        seen["stem"] = x
        seen["expand"] = F.hardswish(network.expand(x))
    for exact in seen.values():
        exact = exact.permute(0, 2, 3, 1).numpy()
        near = [
            np.abs(values - exact).max() / np.abs(exact).max()
            for values in found.values()
            if values.shape == exact.shape
        ]
        assert min(near) < 0.03
