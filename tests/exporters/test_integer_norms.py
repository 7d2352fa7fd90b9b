"""Norms among layers of integers, over any axes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from integer_files import right_everywhere, scores_of
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.core import INT8

LEAST_DB = 20.0


class Norms(nn.Module):
    """Each kind between two convolutions, with factors and summands of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.ModuleList([nn.Conv2d(3, 8, 3, 2, 1), *[nn.Conv2d(8, 8, 1)] * 4])
        self.norms = nn.ModuleList(
            [nn.LayerNorm([8, 8, 8]), nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.BatchNorm2d(8)]
        )
        for norm in self.norms:
            for values in norm.parameters():
                nn.init.uniform_(values, 0.5, 1.5)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs[0](x)
        for conv, norm in zip(self.convs[1:], self.norms, strict=True):
            last = isinstance(norm, nn.LayerNorm) and len(norm.normalized_shape) == 1
            x = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if last else norm(x)
            x = conv(x.relu()) + x
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("target", tables.TARGETS)
def test_networks_with_norms_are_quantized(target: str, tmp_path: Path) -> None:
    format_ = registry.target(target)
    scheme = replace(format_.schemes["int8"], calibration=INT8.calibration)
    made = torch.Generator().manual_seed(1)
    small = torch.randn(24, 3, 4, 4, generator=made)
    batch = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    scheme = right_everywhere(scheme, format_)
    exact, found = scores_of(Norms().eval(), format_, scheme, batch, tmp_path, plain=False)
    signal = ((exact - exact.mean(0)) ** 2).mean()
    assert 10 * np.log10(signal / ((found - exact) ** 2).mean()) > LEAST_DB


class Directions(nn.Module):
    """Vectors of length one, but where there is nothing to be seen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.fc = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(nn.functional.normalize(self.first(x), dim=1).mean((2, 3)))


@pytest.mark.parametrize("target", tables.TARGETS)
def test_divisors_are_not_rounded_to_zero(target: str, tmp_path: Path) -> None:
    format_ = registry.target(target)
    scheme = replace(format_.schemes["int8"], calibration=INT8.calibration)
    small = torch.randn(24, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    small[:, :, 1:3] = 0
    batch = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    scheme = right_everywhere(scheme, format_)
    exact, found = scores_of(Directions().eval(), format_, scheme, batch, tmp_path, plain=False)
    signal = ((exact - exact.mean(0)) ** 2).mean()
    assert 10 * np.log10(signal / ((found - exact) ** 2).mean()) > LEAST_DB
