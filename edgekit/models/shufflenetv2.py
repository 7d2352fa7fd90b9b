"""ShuffleNetV2: split, compute one half, concatenate, shuffle. Ma et al. 2018, arXiv:1807.11164."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec
from edgekit.models.blocks import ChannelShuffle, ConvNet, ConvNormAct, Style, classifier
from edgekit.models.family import Family, plain_rows, scaled_name, typed_rows
from edgekit.models.foreign import SCORES, Layout, Names, conv_norm, stages
from edgekit.models.widths import Width

# arXiv:1807.11164, table 5: channels of stages 2 to 4 and of the last convolution.
PUBLISHED = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
REPEATS = (4, 8, 4)
STEM = 24


@dataclass(frozen=True, slots=True)
class HalfRow:
    """A unit of figure 3 (c) or, with stride 2, (d).

    Attributes:
        out: channels that leave the unit; half of them are computed in its main branch.
        stage: name of the group of units that have the same channels.
        inner: channels inside of the main branch; half of ``out`` in the published networks.
    """

    out: int
    stride: int
    stage: str
    inner: int


class Unit(nn.Module):
    """One half of the channels is handed on, the other computed; then both are shuffled.

    With stride 2 there is no split: both branches take the whole input.

    Attributes:
        out: width of what leaves the unit.
    """

    def __init__(self, name: str, inputs: Width, row: HalfRow, style: Style) -> None:
        super().__init__()
        # The shuffle deals both halves out to both halves of the next unit, so that no channel
        # of a stage can go alone.
        half = Width(f"{row.stage}.half", row.out // 2, free=False)
        self.out = Width(f"{row.stage}.out", row.out, free=False, parts=(half, half))
        self.splits = row.stride == 1
        self.shortcut: nn.Sequential | None = None
        if not self.splits:
            self.shortcut = nn.Sequential()
            self.shortcut.add_module("depthwise", ConvNormAct(inputs, None, style, None, 3, 2))
            self.shortcut.add_module("pointwise", ConvNormAct(inputs, half, style, "relu"))
        source = half if self.splits else inputs
        inner = Width(f"{name}.inner", row.inner)
        self.branch = nn.Sequential()
        self.branch.add_module("expand", ConvNormAct(source, inner, style, "relu"))
        self.branch.add_module("depthwise", ConvNormAct(inner, None, style, None, 3, row.stride))
        self.branch.add_module("project", ConvNormAct(inner, half, style, "relu"))
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, out, H / stride, W / stride)."""
        kept, computed = x.chunk(2, dim=1) if self.splits else (x, x)
        if self.shortcut is not None:
            kept = self.shortcut(kept)
        shuffled: Tensor = self.shuffle(torch.cat((kept, self.branch(computed)), 1))
        return shuffled


def channels(width: float) -> tuple[int, ...]:
    """Channels of stages 2 to 4 and of the last convolution.

    Multipliers without published numbers scale those of 1.0, to multiples of 4: both halves of
    both halves are needed.
    """
    if width in PUBLISHED:
        return PUBLISHED[width]
    *stages, last = PUBLISHED[1.0]
    scaled = (max(4, round(n * width / 4) * 4) for n in stages)
    return (*scaled, max(last, round(last * width / 4) * 4))


def unroll(stages: tuple[int, ...]) -> Iterator[HalfRow]:
    """One row per unit."""
    for number, (out, repeats) in enumerate(zip(stages, REPEATS, strict=True)):
        for repeat in range(repeats):
            yield HalfRow(out, 2 if repeat == 0 else 1, f"stage{number + 2}", out // 2)


def spec(width: float) -> ModelSpec:
    """The published network with channels times ``width``; the stem stays."""
    *stages, last = channels(width)
    return ModelSpec(
        name=scaled_name("shufflenetv2", width),
        family="shufflenetv2",
        rows=plain_rows(unroll(tuple(stages))),
        stem=STEM,
        head=(last,),
        act="relu",
        width=width,
        source="arXiv:1807.11164 table 5",
    )


def build(spec: ModelSpec) -> nn.Module:
    """The module of a spec."""
    style = Style.of(spec)
    width = Width("stem", spec.stem)
    stem = nn.Sequential()
    stem.add_module("conv", ConvNormAct(Width("image", 3), width, style, spec.act, 3, 2))
    stem.add_module("pool", nn.MaxPool2d(3, 2, padding=1))
    blocks = nn.Sequential()
    for i, row in enumerate(typed_rows(spec, HalfRow)):
        unit = Unit(f"block{i}", width, row, style)
        blocks.append(unit)
        width = unit.out
    top = Width("head", spec.head[0])
    head = ConvNormAct(width, top, style, spec.act)
    return ConvNet(stem, blocks, head, classifier(spec, top))


def stride(spec: ModelSpec) -> int:
    """Input pixels per pixel of the last feature map."""
    return 4 * prod(row.stride for row in typed_rows(spec, HalfRow))


def torchvision_names(spec: ModelSpec) -> Names:
    """Torchvision's names of the layers."""
    yield from conv_norm("stem.conv", "conv1.0", "conv1.1")
    rows = typed_rows(spec, HalfRow)
    places = stages([row.stage for row in rows])
    for i, (row, (stage, place)) in enumerate(zip(rows, places, strict=True)):
        theirs = f"stage{stage + 2}.{place}"
        if row.stride > 1:
            for k, part in ((0, "depthwise"), (2, "pointwise")):
                name = f"{theirs}.branch1"
                yield from conv_norm(
                    f"blocks.{i}.shortcut.{part}", f"{name}.{k}", f"{name}.{k + 1}"
                )
        for k, part in ((0, "expand"), (3, "depthwise"), (5, "project")):
            name = f"{theirs}.branch2"
            yield from conv_norm(f"blocks.{i}.branch.{part}", f"{name}.{k}", f"{name}.{k + 1}")
    yield from conv_norm("head", "conv5.0", "conv5.1")
    yield SCORES, "fc"


FAMILY = Family({"shufflenetv2": spec}, build, stride, (Layout("torchvision", torchvision_names),))
