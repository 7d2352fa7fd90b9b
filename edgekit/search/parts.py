"""A network as the parts that cost time one by one.

Of a network of the zoo these are the stem, the blocks, the convolution behind them, and the rest;
of others, whose code may go any way, every convolution and linear layer, once for each time that it
is run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from edgekit.core import NARROW, ModelSpec, canonical_json, to_json
from edgekit.models import build, family_of
from edgekit.models.adapted import example_of, is_adapted
from edgekit.models.blocks import ConvNet, stabilize
from edgekit.models.calls import draws_in, interface_of
from edgekit.models.count import layers_of
from edgekit.models.rows import noise_rows, on_rows
from edgekit.models.size import laid_out
from edgekit.models.trace import trace

Shape = tuple[int, int, int]
"""(C, H, W)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a network.

    Attributes:
        name: ``stem``, ``block3``, ``head``, ``tail``; the path of a layer in networks that are
            not of the zoo.
        shape: of its input, (C, H, W); (C, tokens, 1) and (C, 1, 1) of linear layers.
        key: digest of all that its cost depends on; the same for equal parts of other networks.
        begins: whether nothing before it has more than `NARROW` channels: the beginning of a
            network of integers may be written in another way.
        ends: whether it gives the scores.
    """

    name: str
    shape: Shape
    key: str
    begins: bool
    ends: bool = False


WHOLE = "whole network"
"""Name of the part that is all of them."""

TAIL = "tail"
"""Name of the last part of networks of the zoo."""


def whole_of(spec: ModelSpec) -> Part:
    """A network as one part."""
    module = laid_out(spec, family_of(spec).build).eval()
    inputs = example_of(spec)
    shape: Shape = (3, spec.resolution, spec.resolution)
    content: dict[str, object] = {"whole": _text(module), "source": spec.source}
    if spec.call is None:
        content["shape"] = list(shape)
    else:
        shape = _shape_of(inputs[0])
        content["call"] = to_json(spec.call)
    return Part(WHOLE, shape, _digest(content), begins=True, ends=True)


def _shape_of(x: Tensor) -> Shape:
    """Of an input, for people: what is no image has one that has as many numbers."""
    sizes = (*x.shape[1:], 1, 1, 1)[:3]
    return (sizes[0], sizes[1], sizes[2]) if x.ndim <= 4 else (x.numel(), 1, 1)


def parts_of(spec: ModelSpec) -> tuple[Part, ...]:
    """The parts of a network, in order; nothing is computed but shapes, where that is enough."""
    module = laid_out(spec, family_of(spec).build)
    if is_adapted(spec):
        return _layers(module, example_of(spec))
    assert isinstance(module, ConvNet)
    return tuple(part for part, _ in _walk(module, spec.resolution))


def macs_of(spec: ModelSpec) -> int:
    """Multiply-accumulates of a network for one image; what it shares with others counts once."""
    module = laid_out(spec, family_of(spec).build)
    if is_adapted(spec):
        return sum(layer.macs for layer in layers_of(module, trace(module, *example_of(spec))))
    assert isinstance(module, ConvNet)
    count = 0
    for part, own in _walk(module, spec.resolution):
        if part.key not in _macs:
            _run(part.key, own, part.shape)
        count += _macs[part.key]
    return count


def sides_of(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """Height and width of the maps that each layer works on, by its path.

    They are those of its output; of a layer inside a gate those that the gate multiplies.
    """
    module = laid_out(spec, family_of(spec).build).eval()
    found: dict[str, tuple[int, int]] = {}
    hooks = [
        own.register_forward_hook(functools.partial(note_sides, found, path))
        for path, own in module.named_modules()
    ]
    with (
        torch.no_grad(),
        contextlib.nullcontext() if is_adapted(spec) else torch.device("meta"),
    ):
        module(*example_of(spec))
    for hook in hooks:
        hook.remove()
    return {
        path: found.get(path.rpartition(".")[0], sides) if sides == (1, 1) else sides
        for path, sides in found.items()
    }


def note_sides(
    by_path: dict[str, tuple[int, int]], path: str, layer: nn.Module, _: object, output: object
) -> None:
    """Notes the height and width of a layer's first output; a hook."""
    if not isinstance(output, Tensor) or path in by_path:
        return
    # (N, C, H, W), or with the channels at the end: (N, H, W, C), (N, tokens, C), (N, C).
    last = isinstance(layer, nn.Linear) or output.ndim != 4
    sides = output.shape[1:-1] if last else output.shape[2:]
    by_path[path] = (*sides, 1, 1)[:2]


def _walk(module: ConvNet, resolution: int) -> Iterator[tuple[Part, nn.Module]]:
    module.eval()
    shape: Shape = (3, resolution, resolution)
    begins = True
    for name, own in _modules(module):
        ends = name == TAIL
        part = Part(name, shape, _key(own, shape, begins, ends), begins, ends)
        yield part, own
        begins = begins and is_narrow(own)
        if name != TAIL:
            shape = _shape_behind(part.key, own, shape)


def is_narrow(module: nn.Module) -> bool:
    """Whether it has convolutions, of which none gives more than `NARROW` channels."""
    channels = [one.out_channels for one in module.modules() if isinstance(one, nn.Conv2d)]
    return max(channels, default=NARROW + 1) <= NARROW


_macs: dict[str, int] = {}
_behind: dict[str, Shape] = {}


def _shape_behind(key: str, part: nn.Module, shape: Shape) -> Shape:
    """The shape of a part's output; networks of a search share most of their parts."""
    if key not in _behind:
        _run(key, part, shape)
    return _behind[key]


def _run(key: str, part: nn.Module, shape: Shape) -> None:
    """Notes what a part of a network of the zoo multiplies, and the shape that it gives.

    Such parts multiply in convolutions and linear layers alone, so that their shapes are enough:
    a trace takes ten times as long, and a search asks for thousands of widths.
    """
    macs = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        positions = output.shape[2:] if isinstance(layer, nn.Conv2d) else output.shape[:-1]
        macs += layer.weight.numel() * positions.numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in part.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad(), torch.device("meta"):
        x: Tensor = part(torch.empty(1, *shape))
    for hook in hooks:
        hook.remove()
    _macs[key] = macs
    if x.ndim == 4:
        _behind[key] = (int(x.shape[1]), int(x.shape[2]), int(x.shape[3]))


def _layers(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Part, ...]:
    parts: list[Part] = []
    last: list[nn.Module] = []
    paths = {layer: path for path, layer in module.named_modules()}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        if x.ndim < (2 if isinstance(layer, nn.Linear) else 4):
            return  # one that is run without an axis of inferences: it has no price
        shape: Shape
        if isinstance(layer, nn.Linear):  # (N, C) or (N, tokens, C)
            shape = (int(x.shape[-1]), int(x[0, ..., 0].numel()), 1)
        else:
            shape = (int(x.shape[1]), int(x.shape[2]), int(x.shape[3]))
        begins = all(part.begins for part in parts) and (not parts or is_narrow(last[0]))
        last[:] = [layer]
        key = _key(layer, shape, begins, ends=False)
        parts.append(Part(paths[layer], shape, key, begins))

    hooks = [
        layer.register_forward_pre_hook(note)
        for layer in paths
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    with torch.no_grad():
        module.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    if parts:
        key = _key(last[0], parts[-1].shape, parts[-1].begins, ends=True)
        parts[-1] = dataclasses.replace(parts[-1], key=key, ends=True)
    return tuple(parts)


def _key(part: nn.Module, shape: Shape, begins: bool, ends: bool) -> str:
    return _digest({"part": _text(part), "shape": list(shape), "begins": begins, "ends": ends})


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def module_of(spec: ModelSpec, name: str) -> nn.Module:
    """A part as a network of its own, with fresh weights.

    Of what is no end of the network only a corner of the map is given, so that all give (N, C):
    formats differ in the order of axes, and a map at the end would be turned around. A pool there
    took a third of the time of MobileNetV3-Small's head in integers.
    """
    module = build(spec)
    if name == WHOLE:
        return _settled(module, spec)
    if is_adapted(spec):
        layer = module.get_submodule(name)
        return (_OfTokens(layer) if isinstance(layer, nn.Linear) else _cornered(layer)).eval()
    assert isinstance(module, ConvNet)
    part = dict(_modules(module))[name]
    return (part if name == TAIL else _cornered(part)).eval()


def _settled(module: nn.Module, spec: ModelSpec) -> nn.Module:
    """A network with fresh weights whose numbers stay of ordinary size.

    Else they shrink from block to block, until they are denormal: that took one of 0.3 times the
    start's latency to 0.56.
    """
    stabilize(module)
    generator = torch.Generator().manual_seed(0)
    if spec.call is not None and spec.call.outputs:
        rows = torch.from_numpy(noise_rows(spec.call.inputs, draws_in(spec.call), 8))
        running = on_rows(module, interface_of(spec.call), spec.name)
        with contextlib.suppress(Exception), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            update_bn([rows], running)
            state = running.state_dict().values()
            module.load_state_dict(dict(zip(module.state_dict(), state, strict=True)))
        return module.eval()
    images = torch.randn(8, *example_of(spec)[0].shape[1:], generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        update_bn([images], module)
    return module.eval()


def _cornered(part: nn.Module) -> nn.Module:
    return nn.Sequential(part, _Corner())


class _Corner(nn.Module):
    """One position of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C)."""
        return x[:, :, :1, :1].flatten(1)


class _OfTokens(nn.Module):
    """A linear layer with an image as its input, as all parts have."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, tokens, 1) to (N, outputs)."""
        if x.shape[2] == 1:
            return cast("Tensor", self.layer(x.flatten(1)))
        return cast("Tensor", self.layer(x.flatten(2).transpose(1, 2)))[:, :1].flatten(1)


def _modules(module: ConvNet) -> list[tuple[str, nn.Module]]:
    head = [] if isinstance(module.head, nn.Identity) else [("head", module.head)]
    tail = [module.pool, module.neck, module.flatten, module.classifier]
    return [
        ("stem", module.stem),
        *((f"block{i}", block) for i, block in enumerate(module.blocks)),
        *head,  # by itself, since the layers behind it do not depend on what is before it
        (TAIL, nn.Sequential(*(layer for layer in tail if layer is not None))),
    ]


def _text(part: nn.Module) -> str:
    """The layers of a part, with what their printed form does not say."""
    own = [
        f"{path}:{getattr(module, 'residual', '')}:{getattr(module, 'splits', '')}:"
        f"{getattr(module, 'pads_by_size', '')}"
        for path, module in part.named_modules()
    ]
    return f"{part}\n{own}"
