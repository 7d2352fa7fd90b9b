"""A network that converts in a second, and has one layer of each kind that mobile networks have."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from edgekit.core import Array, Target

SIDE = 16
CLASSES = 10


def tiny() -> nn.Module:
    """The same weights every time, without batch norm, in eval mode."""
    torch.manual_seed(1)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(3, 16, 3, stride=2, padding=1),
        swish=nn.Hardswish(),
        depthwise=nn.Conv2d(16, 16, 5, padding=2, groups=16),
        clip=nn.ReLU6(),
        pointwise=nn.Conv2d(16, 256, 1),
        gate=nn.Hardsigmoid(),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(1),
        hidden=nn.Linear(256, 512),
        relu=nn.ReLU(),
        scores=nn.Linear(512, CLASSES),
    )
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(layers).eval()


def images(count: int, seed: int = 0) -> Tensor:
    """Noise, (count, 3, SIDE, SIDE)."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def arranged(target: Target, batch: Tensor) -> Array:
    order = (0, 1, 2, 3) if target.layout == "NCHW" else (0, 2, 3, 1)
    return np.ascontiguousarray(batch.numpy().transpose(order))


def ranges(target: Target) -> list[Array]:
    """Images that ranges come from."""
    return [arranged(target, image[None]) for image in images(16)]
