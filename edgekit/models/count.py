"""What the layers of a network are and cost: shapes, parameters, multiply-accumulates.

MACs count convolutions and linear layers, as papers and libraries do; activations, norms and
pooling are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer without children, as it ran.

    Attributes:
        name: module path.
        op: what it does, such as ``Conv2d 3x3 /2`` (the stride) or ``depthwise 5x5``.
        output_shape: with batch 1.
        macs: multiply-accumulates for one image.
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    params: int
    macs: int


def layers(module: nn.Module, resolution: int) -> list[Layer]:
    """The layers of a network in order of computation.

    Args:
        module: takes (1, 3, resolution, resolution); left as it is.

    Returns:
        One entry per call of a layer; parameters count at its first call.
    """
    found: list[Layer] = []
    seen: set[int] = set()
    hooks = []
    for name, layer in module.named_modules():
        if any(True for _ in layer.children()):
            continue

        def record(layer: nn.Module, _: Any, output: Any, name: str = name) -> None:
            if isinstance(output, Tensor):
                own = sum(p.numel() for p in layer.parameters() if id(p) not in seen)
                seen.update(id(p) for p in layer.parameters())
                shape = tuple(output.shape)
                found.append(Layer(name, operation(layer), shape, own, macs(layer, shape)))

        hooks.append(layer.register_forward_hook(record))
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, resolution, resolution))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def macs(layer: nn.Module, output_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one call; 0 for layers other than convolutions and linear."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return layer.weight.numel() * prod(output_shape[2:])
    if isinstance(layer, nn.Linear):
        return layer.weight.numel() * prod(output_shape[1:-1])
    return 0


def operation(layer: nn.Module) -> str:
    """A layer in a few words."""
    if not isinstance(layer, nn.Conv2d):
        return _torch_name(layer)
    kernel, stride = layer.kernel_size, layer.stride
    depthwise = layer.groups == layer.in_channels > 1
    text = f"{'depthwise' if depthwise else 'Conv2d'} {kernel[0]}x{kernel[1]}"
    if stride != (1, 1):
        text += f" /{stride[0]}"
    return text if depthwise or layer.groups == 1 else f"{text} g{layer.groups}"


def _torch_name(layer: nn.Module) -> str:
    """The name of the nearest class that torch itself defines."""
    for kind in type(layer).__mro__:
        if kind.__module__.startswith("torch.nn") and kind is not nn.Module:
            return kind.__name__
    return type(layer).__name__
