"""A network as the parts that cost time one by one: stem, blocks, and what follows them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec, canonical_json
from edgekit.models import build, family_of
from edgekit.models.blocks import ConvNet
from edgekit.models.size import laid_out

Shape = tuple[int, int, int]
"""(C, H, W)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a network.

    Attributes:
        name: ``stem``, ``block3``, ``tail``.
        shape: of its input.
        key: digest of all that its cost depends on; the same for equal parts of other networks.
    """

    name: str
    shape: Shape
    key: str


def parts_of(spec: ModelSpec) -> tuple[Part, ...]:
    """The parts of a network, in order; nothing is computed but shapes."""
    module = laid_out(spec, family_of(spec).build)
    assert isinstance(module, ConvNet)
    module.eval()
    shape: Shape = (3, spec.resolution, spec.resolution)
    found = []
    for name, part in _modules(module):
        text = canonical_json({"part": _text(part), "shape": list(shape)})
        found.append(Part(name, shape, hashlib.sha256(text.encode()).hexdigest()))
        if name != "tail":
            shape = _shape_behind(found[-1].key, part, shape)
    return tuple(found)


_behind: dict[str, Shape] = {}


def _shape_behind(key: str, part: nn.Module, shape: Shape) -> Shape:
    """The shape of a part's output; networks of a search share most of their parts."""
    if key not in _behind:
        with torch.device("meta"):
            x: Tensor = part(torch.empty(1, *shape))
        _behind[key] = (int(x.shape[1]), int(x.shape[2]), int(x.shape[3]))
    return _behind[key]


def module_of(spec: ModelSpec, name: str) -> nn.Module:
    """A part as a network of its own, with fresh weights.

    What is no end of the network gets a pool behind it, so that all give (N, C): formats differ
    in the order of axes, and an image at the end would be turned around.
    """
    module = build(spec)
    assert isinstance(module, ConvNet)
    part = dict(_modules(module))[name]
    if name != "tail":
        part = nn.Sequential(part, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return part.eval()


def _modules(module: ConvNet) -> list[tuple[str, nn.Module]]:
    tail = [module.head, module.pool, module.neck, module.flatten, module.classifier]
    return [
        ("stem", module.stem),
        *((f"block{i}", block) for i, block in enumerate(module.blocks)),
        ("tail", nn.Sequential(*(layer for layer in tail if layer is not None))),
    ]


def _text(part: nn.Module) -> str:
    """The layers of a part, with what their printed form does not say."""
    own = [
        f"{path}:{getattr(module, 'residual', '')}:{getattr(module, 'splits', '')}:"
        f"{getattr(module, 'pads_by_size', '')}"
        for path, module in part.named_modules()
    ]
    return f"{part}\n{own}"
