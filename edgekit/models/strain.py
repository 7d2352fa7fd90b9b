"""Networks with a last layer whose weights are many times as large.

Scores that lie between 0 and 1 may be probabilities, or small numbers: those of an untrained
network often are. Probabilities stay there whatever the weights are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.models.copying import own_copy

_TIMES = 1e6


def strained(module: nn.Module, images: Tensor) -> nn.Module:
    """A copy, in the same mode, whose last layer with parameters has far larger ones.

    Args:
        images: that it can be run on, (N, 3, H, W).
    """
    found = own_copy(module)
    last: list[nn.Module] = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: last.append(layer))
        for layer in found.modules()
        if any(True for _ in layer.parameters(recurse=False))
    ]
    with torch.no_grad():
        found(images)
        for hook in hooks:
            hook.remove()
        for parameter in last[-1].parameters(recurse=False) if last else ():
            parameter.mul_(_TIMES)
    return found
