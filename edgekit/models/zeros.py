"""Layers that start at zero, as the class scores of gMLP, ResMLP, Mixer, CaiT and Hiera do.

Untrained, such a network gives the same scores for all images, and nothing about a file of it could
be verified.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd


def zero_layers(module: nn.Module) -> list[str]:
    """Paths of linear layers and convolutions whose weights are all zero."""
    found = []
    for path, layer in module.named_modules():
        weight = layer._parameters.get("weight")
        if not isinstance(layer, nn.Linear | _ConvNd) or weight is None:
            continue
        if weight.numel() and not weight.any():
            found.append(path)
    return found


@torch.no_grad()
def fill_zero_layers(module: nn.Module) -> None:
    """Gives them random weights of the size that keeps the size of what passes through.

    The same ones every time, whatever the state of the random generator.
    """
    generator = torch.Generator().manual_seed(0)
    for path in zero_layers(module):
        weight = module.get_parameter(f"{path}.weight" if path else "weight")
        drawn = torch.randn(weight.shape, generator=generator)
        weight.copy_(drawn * weight[0].numel() ** -0.5)
