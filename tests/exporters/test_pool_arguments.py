"""Average poolings with all of their arguments, on every target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from integer_files import right_everywhere, scores_of
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.core import FLOAT_SCHEMES, INT8, of_image
from edgekit.native_output import captured

SIDE = 15
LEAST_DB = 22.0

POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "divisor": lambda x: F.avg_pool2d(x, 3, divisor_override=5),
    "divisor, padding": lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=2),
    "divisor, beyond the image": lambda x: F.avg_pool2d(
        x, 2, 2, ceil_mode=True, divisor_override=3
    ),
    "divisor, beyond the padding": lambda x: F.avg_pool2d(
        x, (4, 3), (3, 2), (1, 0), ceil_mode=True, divisor_override=7
    ),
    "divisor, a window in the padding alone": lambda x: F.avg_pool2d(
        x[..., :5, :5], 2, 2, 1, ceil_mode=True, divisor_override=3
    ),
    "divisor, not counting": lambda x: F.avg_pool2d(
        x, 3, 2, 1, count_include_pad=False, divisor_override=4
    ),
    "module": nn.AvgPool2d(2, divisor_override=1),
    "operator": lambda x: torch.ops.aten.avg_pool2d.default(
        x, [3, 3], [2, 2], [1, 1], True, True, 2
    ),
    "own count": lambda x: F.avg_pool2d(x, 3, 2, 1, True, False),
    "count": lambda x: F.avg_pool2d(x, 3, 2, 1, True, True),
}  # fmt: skip


class Pools(nn.Module):
    """All of them, each behind a number of its own."""

    def forward(self, image: Tensor) -> Tensor:
        pools = enumerate(POOLS.values(), start=1)
        return torch.cat([pool(image * i).flatten(1) for i, pool in pools], 1)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_average_pools_compute_what_pytorch_does(target: str, tmp_path: Path) -> None:
    model, format_ = Pools().eval(), registry.target(target)
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) + 0.5
    path = tmp_path / f"net{format_.suffix}"
    with torch.no_grad(), captured():
        parts = [pool(image * i) for i, pool in enumerate(POOLS.values(), start=1)]
        format_.export(model, of_image(image), path, FLOAT_SCHEMES["fp32"])
        given = image.numpy()
        if format_.layout == "NHWC":
            given = np.ascontiguousarray(given.transpose(0, 2, 3, 1))
        found = torch.from_numpy(np.array(format_.open(path, 1).run([given])[0]))
    for name, expected, got in zip(
        POOLS, parts, found.split([p.numel() for p in parts], 1), strict=True
    ):
        assert torch.allclose(expected.flatten(1), got, rtol=1e-5, atol=1e-6), name


class Padded(nn.Module):
    """Averages that count zeros around numbers whose range is not the same on both sides of 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.next = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 1)
        self.fc = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(2 * self.conv(image)) - 0.4
        x = F.avg_pool2d(x, 3, 1, 1) + F.avg_pool2d(x.square() - 0.3, 3, 1, 1)
        return self.fc(self.next(x).relu().mean((2, 3)))


@pytest.mark.parametrize("target", tables.TARGETS)
def test_averages_that_count_padding_in_integers(target: str, tmp_path: Path) -> None:
    format_ = registry.target(target)
    scheme = replace(format_.schemes["int8"], calibration=INT8.calibration)
    made = torch.Generator().manual_seed(1)
    small = torch.randn(24, 3, 4, 4, generator=made)
    batch = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    scheme = right_everywhere(scheme, format_)
    exact, found = scores_of(Padded().eval(), format_, scheme, batch, tmp_path, plain=True)
    signal = ((exact - exact.mean(0)) ** 2).mean()
    assert 10 * np.log10(signal / ((found - exact) ** 2).mean()) > LEAST_DB
