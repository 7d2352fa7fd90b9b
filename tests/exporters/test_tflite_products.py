"""Products with a constant on the left, norms, and paddings by a number, in every precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_tflite_biases import images, nhwc, written
from test_tflite_converter import kinds
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit import registry

LEAST = {"fp32": 100, "int8": 11, "int8-mixed": 11, "int8-dynamic": 15, "w8a16": 13}
"""Decibels; weights of a few channels in 8 bits are most of the noise."""


class Net(nn.Module):
    """A function between a convolution and a classifier."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.function = nn.Conv2d(3, 16, 3, 1, 1), function
        self.scores = nn.Linear(self.features(images(1)).shape[1], 10)

    def features(self, x: Tensor) -> Tensor:
        return self.function(F.relu(self.stem(x))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.features(x))


class Times(nn.Module):
    """A constant times what is computed."""

    def __init__(self, *shape: int, tokens: bool = False) -> None:
        super().__init__()
        self.weight, self.tokens = nn.Parameter(torch.randn(*shape) / shape[-1] ** 0.5), tokens

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(self.weight, x.flatten(2).transpose(1, 2) if self.tokens else x)


def resized(**how: object) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x[..., :11, :11], **how)  # type: ignore[arg-type]


FUNCTIONS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "uneven pool": lambda: lambda x: F.adaptive_avg_pool2d(x, (5, 7)),
    "tokens": lambda: Times(8, 144, tokens=True),
    "rows": lambda: Times(5, 12),
    "a matrix for each channel": lambda: Times(16, 5, 12),
    "one matrix of more dimensions": lambda: Times(1, 1, 5, 12),
    "bilinear": lambda: resized(scale_factor=0.5, mode="bilinear"),
    "nearest": lambda: resized(scale_factor=0.7),
    "unit length": lambda: lambda x: F.normalize(x.mean((2, 3)), dim=1),
    "group norm": lambda: nn.GroupNorm(4, 16),
    "max pool of negative numbers": lambda: lambda x: F.max_pool2d(x - 3, 3, 2, 1),
    "padding by a number": lambda: lambda x: F.pad(x, (1, 0, 0, 1), value=0.5),
    "clamp": lambda: lambda x: x.mean((2, 3)).clamp(0.1, 0.9),
}


@pytest.mark.parametrize("precision", LEAST)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_files_agree_with_the_network(name: str, precision: str, tmp_path: Path) -> None:
    network, path, batch = Net(FUNCTIONS[name]()), tmp_path / "net.tflite", images(16)
    written(network, precision, path)
    runner = registry.target("tflite").open(path, 1)
    found = np.concatenate([runner.run([one])[0] for one in nhwc(batch)])
    with torch.no_grad():
        exact = torch.cat([network(one[None]) for one in batch]).numpy()
    spread = exact - exact.mean(0)
    assert 10 * np.log10((spread**2).mean() / ((found - exact) ** 2).mean()) > LEAST[precision]
    if name == "unit length" and precision == "int8":
        assert registry.target("tflite").float_operators(path) == (  # type: ignore[attr-defined]
            "MUL", "SUM", "SQRT", "MAXIMUM", "BROADCAST_TO", "DIV",
        )  # fmt: skip
    if name in ("uneven pool", "rows", "tokens"):
        assert "BATCH_MATMUL" not in kinds(path.read_bytes())
