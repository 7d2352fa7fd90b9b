"""Channels whose weights are (nearly) zero keep their bias, on every target and in all integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from integer_files import right_everywhere, scores_of
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit import registry, tables

FAINT = (0.0, 1e-12, 1e-9, 1e-6, 1e-3)
"""What is left of the weights of such a channel."""

MOST = 0.01
"""Error as a share of the scores' range: 8 bits tell 0.004, and weights of 7 bits 0.008."""

KINDS = [
    (target, precision)
    for target in tables.TARGETS
    for precision, scheme in registry.target(target).schemes.items()
    if scheme.weights == "int8"
]


class Faint(nn.Module):
    """Every kind of layer with weights; two channels of each are faint, with loud biases."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.depthwise = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.grouped, self.up = (
            nn.Conv2d(16, 16, 3, 1, 1, groups=4),
            nn.ConvTranspose2d(16, 12, 2, 2),
        )
        self.hidden, self.scores = nn.Linear(12, 24), nn.Linear(24, 10)
        rng = np.random.default_rng(seed)
        for layer in (self.depthwise, self.grouped, self.up, self.hidden, self.scores, self.conv):
            assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
            assert layer.bias is not None
            weight = layer.weight.data.transpose(0, 1) if layer is self.up else layer.weight.data
            faint = rng.choice(len(weight), 2, replace=False)
            weight *= 2  # what the other channels give counts beside the biases
            for channel in faint:
                weight[channel] *= rng.choice(FAINT)
                layer.bias.data[channel] = float(rng.uniform(1, 4) * rng.choice([-1, 1]))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.grouped(F.relu(self.depthwise(F.relu(self.conv(x))))))
        return self.scores(F.relu(self.hidden(F.relu(self.up(x)).mean((2, 3)))))


def images(count: int, seed: int) -> Tensor:
    """Noise of another brightness for each."""
    made = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, 12, 12, generator=made)
    return noise + 2 * torch.randn(count, 3, 1, 1, generator=made)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("target", "precision"), KINDS)
def test_faint_channels_keep_their_bias(
    target: str, precision: str, seed: int, tmp_path: Path
) -> None:
    format_ = registry.target(target)
    scheme = right_everywhere(format_.schemes[precision], format_)
    if precision == "int8-mixed":
        scheme = replace(scheme, float_layers=("hidden",))
    network = Faint(seed).eval()
    exact, found = scores_of(network, format_, scheme, images(24, 1), tmp_path, plain=False)
    assert np.abs(found - exact).max() / np.ptp(exact) < MOST
