"""Biases of integer files fit, whatever the weights of their channel are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_examples import singly
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit import registry
from edgekit.core import of_image
from edgekit.native_output import captured
from exporters._biases import MOST, smallest_scales
from exporters.tflite.flatbuffer import constant, operator_kind, schema, unpack

PRECISIONS = ("int8", "int8-mixed", "w8a16", "int8-dynamic")
BIAS_AT = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}


class Layers(nn.Module):
    """Every kind of layer with weights; some channels of each are (nearly) zero but for a bias."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.depthwise = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.up, self.hidden = nn.ConvTranspose2d(16, 12, 2, 2), nn.Linear(12, 24)
        self.scores = nn.Linear(24, 10)
        rng = np.random.default_rng(seed)
        for layer in (self.conv, self.depthwise, self.up, self.hidden, self.scores):
            assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
            channels = layer.weight.shape[1 if layer is self.up else 0]
            faint = rng.choice(channels, channels // 4, replace=False)
            by_channel = layer.weight.data.transpose(0, 1) if layer is self.up else layer.weight
            by_channel.data[faint] *= float(rng.choice([0.0, 1e-9, 1e-6]))
            assert layer.bias is not None
            layer.bias.data[faint] = torch.from_numpy(
                rng.uniform(1, 5, len(faint)) * rng.choice([-1, 1], len(faint))
            ).float()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.up(F.relu(self.depthwise(F.relu(self.conv(x))))))
        return self.scores(F.relu(self.hidden(x.mean((2, 3)))))


class Shared(nn.Module):
    """One layer in two places, whose inputs have ranges a thousand times apart, and a dead one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem, self.twice = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.dead, self.scores = nn.Conv2d(8, 8, 1), nn.Linear(8, 10)
        self.twice.weight.data[3] *= 1e-7
        assert self.twice.bias is not None
        self.twice.bias.data[3] = 40.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.twice(1e3 * self.twice(x)) * 1e-3
        return self.scores((x + self.dead(F.relu(-1 - x * x))).mean((2, 3)))


def images(count: int, seed: int = 0) -> Tensor:
    """Noise of another brightness for each."""
    torch.manual_seed(seed)
    return torch.randn(count, 3, 12, 12) + 2 * torch.randn(count, 3, 1, 1)


def nhwc(batch: Tensor) -> list[np.ndarray]:
    return [np.ascontiguousarray(one[None].permute(0, 2, 3, 1).numpy()) for one in batch]


def written(network: nn.Module, precision: str, path: Path, ranges: str = "minmax") -> None:
    target = registry.target("tflite")
    scheme = target.schemes[precision]
    if scheme.calibration:
        scheme = replace(scheme, calibration=ranges)
    calibration = nhwc(images(16)) if scheme.calibration else None
    with captured():
        target.export(network.eval(), of_image(images(1)), path, scheme, singly(calibration))


def worst(network: nn.Module, path: Path) -> float:
    """Largest error as a share of the scores' range, of which 8 bits tell 0.004."""
    runner, batch = registry.target("tflite").open(path, 1), images(16)
    found = np.concatenate([runner.run([one])[0] for one in nhwc(batch)])
    with torch.no_grad():
        exact = network(batch).numpy()
    return float(np.abs(found - exact).max() / np.ptp(exact))


def biases(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps of each bias that is an integer, and what they stand for."""
    flat = unpack(path.read_bytes())
    (graph,) = flat.subgraphs
    found = []
    for operator in graph.operators:
        place = BIAS_AT.get(operator_kind(flat, operator))
        if place is None or not constant(flat, operator.inputs[place]):
            continue
        tensor = graph.tensors[operator.inputs[place]]
        types = {schema().TensorType.INT32: np.int32, schema().TensorType.INT64: np.int64}
        if tensor.type in types:
            steps = np.asarray(flat.buffers[tensor.buffer].data).view(types[tensor.type])
            found.append((steps, steps * np.asarray(tensor.quantization.scale, np.float64)))
    return found


def holds(found: Sequence[tuple[np.ndarray, np.ndarray]], layers: Sequence[nn.Module]) -> None:
    assert len(found) == len(layers)
    for (steps, values), layer in zip(found, layers, strict=True):
        exact = layer.bias.detach().numpy()  # type: ignore[union-attr, operator]
        most = 2**38 if steps.dtype == np.int64 else MOST
        assert np.abs(steps.astype(np.float64)).max() <= most * 1.001
        assert np.abs(values - exact).max() < 0.02 * np.abs(exact).max()
        loud = np.abs(exact) >= 1
        assert np.all(np.abs(values / exact - 1)[loud] < 1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("precision", PRECISIONS)
def test_faint_channels_keep_their_bias(precision: str, seed: int, tmp_path: Path) -> None:
    network, path = Layers(seed), tmp_path / "net.tflite"
    written(network, precision, path)
    if precision != "int8-dynamic":
        network_layers = [network.conv, network.depthwise, network.up]
        holds(biases(path), [*network_layers, network.hidden, network.scores])
    assert worst(network, path) < 0.01


def test_weights_at_the_scale_of_least_squared_error_do(tmp_path: Path) -> None:
    network, path = Layers(0), tmp_path / "net.tflite"
    written(network, "int8", path, "mse")
    found = biases(path)
    assert all(np.isfinite(values).all() for _, values in found)
    assert worst(network, path) < 0.02


@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_layers_that_share_weights_have_biases_that_fit_each(
    precision: str, tmp_path: Path
) -> None:
    network, path = Shared(), tmp_path / "net.tflite"
    written(network, precision, path)
    layers = [network.stem, network.twice, network.twice, network.dead, network.scores]
    holds(biases(path), layers)
    assert worst(network, path) < 0.03


def test_a_bias_counts_in_steps_of_its_channel() -> None:
    scales = smallest_scales(np.array([0.0, -2.0, 0.5], np.float32), 0.25)
    assert np.allclose(
        np.array([0.0, 2.0, 0.5]) / (0.25 * np.maximum(scales, 1e-30)), [0, MOST, MOST]
    )
