"""Operators in files of 8 bits: each is written, runs, and computes what it does in float."""

from __future__ import annotations

from collections.abc import Callable
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

LEAST_DB = 11.0
"""The network without an operator between has 18 dB, and a square doubles the error."""

SIDE = 16


class Between(nn.Module):
    """A function between a convolution and a linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.stem, self.layers = nn.Conv2d(3, 8, 3, 2, 1), nn.ModuleList(layers)
        self.function, self.scores = function, nn.LazyLinear(10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.function(self.stem(image), *self.layers)
        found: Tensor = self.scores(x.flatten(2).mean(2) if x.ndim > 3 else x.flatten(1))
        return found


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def windows(x: Tensor) -> Tensor:
    """Pixels of 4 windows, of 2 heads: five axes."""
    torn = x.reshape(1, 2, 4, 2, 4, 2, 4).permute(0, 3, 5, 1, 4, 6, 2)
    return torn.reshape(1, 4, 2, 16, 4)


def attended(x: Tensor) -> Tensor:
    mask = torch.linspace(-1, 1, 16 * 16).reshape(16, 16)
    return F.scaled_dot_product_attention(windows(x), windows(x), windows(x) + 1, mask)


def normalised(x: Tensor) -> Tensor:
    q = F.normalize(windows(x), dim=-1)
    return (q @ q.transpose(-2, -1) * 4).softmax(-1) @ windows(x)


GENERATOR = torch.Generator().manual_seed(0)
PLACES = torch.randperm(64, generator=GENERATOR)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "variance": lambda: Between(lambda x: x / (x.var(1, keepdim=True) + 0.5).sqrt()),
    "deviation": lambda: Between(lambda x: x * x.std((2, 3), keepdim=True)),
    "rms norm": lambda: Between(lambda x: F.rms_norm(tokens(x), [8]).transpose(1, 2)),
    "instance norm": lambda: Between(lambda x: F.instance_norm(x) + x),
    "group norm": lambda: Between(lambda x: F.group_norm(x, 4) + x),
    "vectors": lambda: Between(lambda x: F.normalize(x, dim=1)),
    "vectors of five axes": lambda: Between(normalised),
    "attention of five axes, masked": lambda: Between(attended),
    "rolled": lambda: Between(lambda x: x.roll((1, -2), (2, 3)) + x),
    "rows": lambda: Between(lambda x, conv: conv(x.flatten(2)), nn.Conv1d(8, 6, 3, 2, 1)),
    "volumes": lambda: Between(
        lambda x, conv: conv(x.reshape(1, 2, 4, 8, 8)), nn.Conv3d(2, 4, 3, 1, 1, groups=2)
    ),
    "index": lambda: Between(lambda x: x.flatten(2)[:, :, PLACES] * x.flatten(2)),
    "windows": lambda: Between(lambda x: F.unfold(x, 3, padding=1).reshape(1, 8, 9, 64)),
    "windows and back": lambda: Between(
        lambda x: F.fold(F.unfold(x, 3, padding=1, stride=2), (8, 8), 3, padding=1, stride=2)
    ),
    "bicubic": lambda: Between(lambda x: F.interpolate(x, scale_factor=1.5, mode="bicubic")),
    "sum of a product": lambda: Between(lambda x: torch.addcmul(x, x, x, value=0.3)),
    "lstm": lambda: Between(
        lambda x, rnn: rnn(tokens(x)[:, :12])[0],
        nn.LSTM(8, 6, bidirectional=True, batch_first=True),
    ),
    "a part that nothing reads": lambda: Between(lambda x: tokens(x).chunk(2, -1)[1]),
}  # fmt: skip


def images(count: int, seed: int) -> np.ndarray:
    """Gradients and edges, (count, SIDE, SIDE, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    angles, shifts = rng.uniform(0, 6.3, (2, count, 1, 1, 3))
    x, y = x[None, :, :, None], y[None, :, :, None]
    edges = np.cos(angles) * x + np.sin(angles) * y > 0.3
    made = rng.uniform(-1, 1, (count, 1, 1, 3)) + np.sin(4 * x + shifts) + edges
    return made.astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_integers_compute_it(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    tests = images(24, 1)
    with torch.no_grad(), captured():
        batch = torch.from_numpy(tests).permute(0, 3, 1, 2).contiguous()
        wanted = np.concatenate([network(one[None]).numpy() for one in batch])
        target = registry.target("tflite")
        path = tmp_path / "net.tflite"
        ranges = [one[None] for one in images(24, 2)]
        target.export(network, of_image(batch[:1]), path, target.schemes["int8"], singly(ranges))
        runner = target.open(path, 1)
        found = np.concatenate([runner.run([one[None]])[0] for one in tests])
    spread = ((wanted - wanted.mean(0)) ** 2).mean()
    found_db = float(10 * np.log10(spread / ((found - wanted) ** 2).mean()))
    assert found_db > LEAST_DB
