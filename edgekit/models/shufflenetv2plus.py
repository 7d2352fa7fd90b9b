"""ShuffleNetV2+: ShuffleNetV2 with searched kernels, h-swish and squeeze-excite.

From the authors' code (megvii-model/ShuffleNet-Series, 2019); there is no paper.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec
from edgekit.models.blocks import ACTIVATIONS, ConvNet, ConvNormAct, Style, classifier
from edgekit.models.family import Family, plain_rows, scaled_name, typed_rows
from edgekit.models.widths import Conv2d, Linear, Width

# Channels of the four stages.
STAGES = {
    "small": (36, 104, 208, 416),
    "medium": (48, 128, 256, 512),
    "large": (68, 168, 336, 672),
}
STEM, HEAD = 16, 1280

# Per stage the depthwise kernel of each unit; 0 stands for three depthwise layers of 3x3.
KERNELS = (
    (3, 3, 0, 5),
    (5, 5, 3, 3),
    (7, 3, 7, 5, 5, 3, 7, 3),
    (7, 5, 0, 7),
)


@dataclass(frozen=True, slots=True)
class PlusRow:
    """A unit.

    Attributes:
        kernel: of the depthwise layer; 0: three separable 3x3 convolutions one after the other.
        out: channels that leave the unit.
        act: key of `ACTIVATIONS`.
        squeeze: inner channels of the squeeze-excite; ``None`` without one.
        stage: name of the group of units that have the same channels.
        inner: channels inside of the main branch; half of ``out`` in the published networks.
        inner2: those behind the second of three separable convolutions.
    """

    kernel: int
    out: int
    stride: int
    act: str
    squeeze: int | None
    stage: str
    inner: int
    inner2: int | None


class NormedSqueezeExcite(nn.Module):
    """Channel attention with a batch norm and without biases."""

    def __init__(self, width: Width, squeeze: Width, style: Style) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = ConvNormAct(width, squeeze, style, "relu")
        self.expand = Conv2d(squeeze, width)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scales each channel of ``x``, shape (N, C, H, W), by a factor from 0 to 1."""
        scale: Tensor = self.gate(self.expand(self.reduce(self.pool(x))))
        return x * scale


class Unit(nn.Module):
    """Every other channel is handed on, the others are computed.

    With stride 2 there is no split: both branches take the whole input.

    Attributes:
        out: width of what leaves the unit.
    """

    def __init__(self, name: str, inputs: Width, row: PlusRow, style: Style) -> None:
        super().__init__()
        self.splits = row.stride == 1
        # What the main branch adds to the channels that are handed on.
        kept = row.out // 2 if self.splits else inputs.n
        source = Width(f"{row.stage}.half", kept, free=False) if self.splits else inputs
        new = Width(f"{row.stage}.half" if self.splits else f"{name}.new", row.out - kept, False)
        self.out = Width(f"{row.stage}.out", row.out, free=False, parts=(source, new))
        kernel = row.kernel or 3
        self.shortcut: nn.Sequential | None = None
        if not self.splits:
            self.shortcut = nn.Sequential()
            depthwise = ConvNormAct(inputs, None, style, None, kernel, 2)
            self.shortcut.add_module("depthwise", depthwise)
            self.shortcut.add_module("pointwise", ConvNormAct(inputs, inputs, style, row.act))
        main = _separable_branch if row.kernel == 0 else _branch
        self.branch = nn.Sequential(OrderedDict(main(name, source, new, row, style)))
        if row.squeeze is not None:
            squeeze = Width(f"{name}.squeeze", row.squeeze)
            self.branch.add_module("squeeze", NormedSqueezeExcite(new, squeeze, style))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, out, H / stride, W / stride)."""
        kept, computed = (x[:, 0::2], x[:, 1::2]) if self.splits else (x, x)
        if self.shortcut is not None:
            kept = self.shortcut(kept)
        return torch.cat((kept, self.branch(computed)), 1)


def _branch(
    name: str, source: Width, new: Width, row: PlusRow, style: Style
) -> Iterator[tuple[str, nn.Module]]:
    inner = Width(f"{name}.inner", row.inner)
    yield "expand", ConvNormAct(source, inner, style, row.act)
    yield "depthwise", ConvNormAct(inner, None, style, None, row.kernel, row.stride)
    yield "project", ConvNormAct(inner, new, style, row.act)


def _separable_branch(
    name: str, source: Width, new: Width, row: PlusRow, style: Style
) -> Iterator[tuple[str, nn.Module]]:
    first = Width(f"{name}.inner", row.inner)
    second = Width(f"{name}.inner2", row.inner2 or row.inner)
    widths = (source, first, second, new)
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        step = row.stride if i == 0 else 1
        yield f"depthwise{i}", ConvNormAct(inputs, None, style, None, 3, step)
        yield f"pointwise{i}", ConvNormAct(inputs, outputs, style, row.act)


def unroll(stages: tuple[int, ...]) -> Iterator[PlusRow]:
    """One row per unit, with all channels as numbers."""
    for number, (out, kernels) in enumerate(zip(stages, KERNELS, strict=True)):
        before = STEM if number == 0 else stages[number - 1]
        for repeat, kernel in enumerate(kernels):
            new = out - before if repeat == 0 else out // 2
            yield PlusRow(
                kernel=kernel,
                out=out,
                stride=2 if repeat == 0 else 1,
                act="relu" if number == 0 else "hardswish",
                squeeze=new // 4 if number >= 2 else None,
                stage=f"stage{number}",
                inner=out // 2,
                inner2=out // 2 if kernel == 0 else None,
            )


def spec(variant: str, width: float) -> ModelSpec:
    """ShuffleNetV2+ ``small``, ``medium`` or ``large`` with channels of the stages times ``width``.

    Scaled channels are multiples of 4, and more than come in: both halves of both halves are
    needed, and every stage adds some.
    """
    stages: list[int] = []
    for n in STAGES[variant]:
        before = stages[-1] if stages else STEM
        stages.append(n if width == 1 else max(before + 4, round(n * width / 4) * 4))
    return ModelSpec(
        name=scaled_name(f"shufflenetv2plus-{variant}", width),
        family="shufflenetv2plus",
        rows=plain_rows(unroll(tuple(stages))),
        stem=STEM,
        head=(HEAD, HEAD),
        act="hardswish",
        width=width,
        dropout=0.2,
        source="megvii-model/ShuffleNet-Series ShuffleNetV2+",
    )


def build(spec: ModelSpec) -> nn.Module:
    """The module of a spec."""
    style = Style.of(spec)
    # Its channels are handed on beside new ones, and then every other one is split off.
    width = Width("stem", spec.stem, free=False)
    stem = ConvNormAct(Width("image", 3), width, style, spec.act, 3, 2)
    blocks = nn.Sequential()
    for i, row in enumerate(typed_rows(spec, PlusRow)):
        unit = Unit(f"block{i}", width, row, style)
        blocks.append(unit)
        width = unit.out
    top, hidden = Width("head", spec.head[0]), Width("hidden", spec.head[1])
    neck = NormedSqueezeExcite(top, Width("neck.squeeze", top.n // 4), style)
    scores = classifier(spec, hidden, bias=False)
    layers = OrderedDict[str, nn.Module](
        hidden=Linear(top, hidden, bias=False), act=ACTIVATIONS[spec.act]()
    )
    layers.update(scores.named_children())
    head = ConvNormAct(width, top, style, spec.act)
    return ConvNet(stem, blocks, head, nn.Sequential(layers), neck)


def stride(spec: ModelSpec) -> int:
    """Input pixels per pixel of the last feature map."""
    return 2 * prod(row.stride for row in typed_rows(spec, PlusRow))


FAMILY = Family({f"shufflenetv2plus-{name}": partial(spec, name) for name in STAGES}, build, stride)
