"""The networks of the zoo in sizes that tests can afford."""

from __future__ import annotations

import dataclasses
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from edgekit import registry
from edgekit.core import ModelSpec
from edgekit.models import build, find_spec

NAMES = registry.model_names()

# Those whose weights alone take 100 MB and more.
HUGE = (
    "efficientnet-b5",
    "efficientnet-b6",
    "efficientnet-b7",
    "efficientnetv2-l",
    "efficientnetv2-m",
    "efficientnetv2-s",
    "mobilenetv4-conv-large",
)

# One network of every family, and of every kind of block in it.
KINDS = (
    "efficientnet-b0",
    "efficientnet-lite0",
    "efficientnetv2-b0",
    "mnasnet-a1",
    "mnasnet-b1",
    "mobilenetv1",
    "mobilenetv2",
    "mobilenetv3-large",
    "mobilenetv3-small",
    "mobilenetv3-small-minimalistic",
    "mobilenetv4-conv-medium",
    "mobilenetv4-conv-small",
    "shufflenetv1-g1",
    "shufflenetv1-g3",
    "shufflenetv2",
    "shufflenetv2plus-small",
)


def affordable(name: str, width: str = "1") -> str:
    """The network at a width, and the huge ones at a quarter."""
    return f"{name}@{'0.25' if name in HUGE else width}"


def certain(spec: ModelSpec) -> ModelSpec:
    """The same network without chance in training."""
    return dataclasses.replace(spec, drop_path=0.0, dropout=0.0)


def laid_out(words: str, resolution: int | None = None) -> nn.Module:
    """A network on the meta device: shapes without numbers, at no cost. In eval mode."""
    with torch.device("meta"):
        return build(words, resolution=resolution).eval()


@cache
def small(name: str) -> nn.Module:
    """A narrow network that tells images apart, in float64 and eval mode. Read-only."""
    torch.manual_seed(7)
    model = build(certain(find_spec(f"{name}@0.25", classes=5, resolution=32)))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, 0, 0.2)
    # Statistics that fit the weights; with others the signal dies on its way, and nothing that
    # is done to a channel would show.
    update_bn([images(64)], model)
    return model.double().eval()


def images(count: int, side: int = 32) -> Tensor:
    """Noise, (count, 3, side, side)."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))
