"""Weights that start at zero, as those of class scores in gMLP, ResMLP, Mixer, CaiT and Hiera do.

Untrained, such a network gives the same scores for all images, and nothing about a file of it could
be verified.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from edgekit.models.strain import last_weights


def all_zeros(module: nn.Module) -> list[str]:
    """Paths of linear layers and convolutions whose weights are all zero, and of such parameters.

    Biases are left out: zeros are what they usually start with.
    """
    found = _zero_layers(module)
    layers = {_weight(path) for path in found}
    return found + [
        name
        for name, parameter in module.named_parameters()
        if not name.endswith("bias")
        and name not in layers
        and parameter.numel()
        and not parameter.any()
    ]


def hiding_zeros(module: nn.Module, image: Tensor) -> list[str]:
    """Those of them that hide what is before them: layers, and the last weights of all.

    Others, as those of places or of branches that are added, hide nothing by themselves.

    Args:
        module: it stays as it is.
        image: that it can be run on, (1, 3, H, W).
    """
    layers, zeros = _zero_layers(module), all_zeros(module)
    if len(zeros) == len(layers):
        return layers
    with torch.random.fork_rng(devices=[]):
        last = last_weights(module, image)
    own = [name for name in last if name in zeros]
    matrices = [name for name in own if module.get_parameter(name).ndim > 1]
    return layers + (matrices or own)


@torch.no_grad()
def fill_zeros(module: nn.Module, image: Tensor) -> None:
    """Gives `hiding_zeros` random numbers of the size that keeps the size of what passes through.

    The same ones every time, whatever the state of the random generator. Factors of channels, as
    norms have, become 1.
    """
    generator = torch.Generator().manual_seed(0)
    layers = _zero_layers(module)
    for name in hiding_zeros(module, image):
        weight = module.get_parameter(_weight(name) if name in layers else name)
        if weight.ndim < 2:
            weight.fill_(1)
            continue
        drawn = torch.randn(weight.shape, generator=generator)
        weight.copy_(drawn * weight[0].numel() ** -0.5)


def _zero_layers(module: nn.Module) -> list[str]:
    found = []
    for path, layer in module.named_modules():
        weight = dict(layer.named_parameters(recurse=False)).get("weight")
        if not isinstance(layer, nn.Linear | _ConvNd) or weight is None:
            continue
        if weight.numel() and not weight.any():
            found.append(path)
    return found


def _weight(path: str) -> str:
    return f"{path}.weight" if path else "weight"
