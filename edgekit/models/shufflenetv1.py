"""ShuffleNet: grouped 1x1 convolutions, shuffled. Zhang et al. 2017, arXiv:1707.01083."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec
from edgekit.errors import UsageError
from edgekit.models.blocks import ChannelShuffle, ConvNet, ConvNormAct, Style, classifier
from edgekit.models.family import Family, plain_rows, scaled_name, typed_rows
from edgekit.models.widths import Width

# arXiv:1707.01083, table 1: channels of stage 2 by the number of groups; each later stage has
# twice as many.
STAGE2 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
REPEATS = (4, 8, 4)
STEM = 24

# Section 3.2: the layers inside a unit have a quarter of its channels.
INNER = 4

# Stems of the scaled networks that the authors have published (megvii-model/ShuffleNet-Series);
# the paper does not give them. Others are 24 times the multiplier, not below 12, and then as near
# to that as the groups allow. With it the 0.25 networks have 12.0 M (8 groups) to 13.1 M (3 groups)
# multiply-accumulates without the classifier, where the paper's table 2 has 13 for all groups.
PUBLISHED_STEMS = {(3, 1.5): 24, (8, 0.5): 16, (8, 1.5): 24}
LEAST_STEM = 12


@dataclass(frozen=True, slots=True)
class ShuffleRow:
    """A unit of figure 2 (b) or, with stride 2, (c).

    Attributes:
        inner: channels of the grouped layers inside.
        out: channels that leave the unit; with stride 2, those that came in are among them.
        stride: of the depthwise convolution.
        first_groups: groups of the first 1x1 convolution.
        groups: of the second.
        stage: name of the group of units whose outputs are added together.
    """

    inner: int
    out: int
    stride: int
    first_groups: int
    groups: int
    stage: str


class Unit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; the input is added, or concatenated.

    Attributes:
        out: width of what leaves the unit.
    """

    def __init__(self, name: str, inputs: Width, row: ShuffleRow, style: Style) -> None:
        super().__init__()
        inner = Width(f"{name}.inner", row.inner, free=False)
        self.residual = row.stride == 1
        if self.residual:
            self.out = new = inputs
        else:
            new = Width(f"{name}.new", row.out - inputs.n, free=False)
            self.out = Width(f"{row.stage}.out", row.out, free=False, parts=(inputs, new))
            self.shortcut = nn.AvgPool2d(3, 2, padding=1)
        self.reduce = ConvNormAct(inputs, inner, style, "relu", groups=row.first_groups)
        self.depthwise = ConvNormAct(inner, None, style, None, kernel=3, stride=row.stride)
        # The paper shuffles before the depthwise layer. Behind it is the same function with its
        # channels renamed, and is where the authors' code has it.
        self.shuffle = ChannelShuffle(row.groups) if row.groups > 1 else None
        self.expand = ConvNormAct(inner, new, style, None, groups=row.groups)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, out, H / stride, W / stride)."""
        y = self.depthwise(self.reduce(x))
        if self.shuffle is not None:
            y = self.shuffle(y)
        y = self.expand(y)
        if self.residual:
            added: Tensor = self.act(x + y)
            return added
        return torch.cat((self.shortcut(x), self.act(y)), 1)


def unroll(groups: int, width: float) -> Iterator[ShuffleRow]:
    """One row per unit, with all channels as numbers.

    Channels are rounded to what ``groups`` groups of a quarter of them need.
    """
    step = INNER * groups
    for stage, repeats in enumerate(REPEATS):
        out = max(1, round(STAGE2[groups] * 2**stage * width / step)) * step
        for repeat in range(repeats):
            yield ShuffleRow(
                inner=out // INNER,
                out=out,
                stride=2 if repeat == 0 else 1,
                # Section 3.2: few channels come into stage 2, too few to be grouped.
                first_groups=1 if stage == repeat == 0 else groups,
                groups=groups,
                stage=f"stage{stage + 2}",
            )


def spec(groups: int, width: float) -> ModelSpec:
    """ShuffleNet with that many groups and channels times ``width``.

    Raises:
        UsageError: a multiplier so small that a stage has no channels left to compute.
    """
    rows = tuple(unroll(groups, width))
    stem = PUBLISHED_STEMS.get((groups, width), max(LEAST_STEM, round(STEM * width)))
    # The first unit hands the stem on beside its grouped layer, which has what is left.
    left = (rows[0].out - stem) % groups
    stem += left if 2 * left < groups else left - groups
    stages = [row.out for row in rows if row.stride > 1]
    if any(out <= inputs for inputs, out in itertools.pairwise([stem, *stages])):
        raise UsageError(
            f"shufflenetv1-g{groups}@{width:g} has {stem} channels in its stem and {stages} in its "
            f"stages, of which each has to add some: expected a larger multiplier"
        )
    return ModelSpec(
        name=scaled_name(f"shufflenetv1-g{groups}", width),
        family="shufflenetv1",
        rows=plain_rows(rows),
        stem=stem,
        head=(),
        act="relu",
        width=width,
        source="arXiv:1707.01083 table 1",
    )


def build(spec: ModelSpec) -> nn.Module:
    """The module of a spec."""
    style = Style.of(spec)
    width = Width("stem", spec.stem, free=False)
    stem = nn.Sequential()
    stem.add_module("conv", ConvNormAct(Width("image", 3), width, style, spec.act, 3, 2))
    stem.add_module("pool", nn.MaxPool2d(3, 2, padding=1))
    blocks = nn.Sequential()
    for i, row in enumerate(typed_rows(spec, ShuffleRow)):
        unit = Unit(f"block{i}", width, row, style)
        blocks.append(unit)
        width = unit.out
    # The paper has no bias here and its code neither.
    return ConvNet(stem, blocks, nn.Identity(), classifier(spec, width, bias=False))


def stride(spec: ModelSpec) -> int:
    """Input pixels per pixel of the last feature map."""
    return 4 * prod(row.stride for row in typed_rows(spec, ShuffleRow))


FAMILY = Family(
    {f"shufflenetv1-g{groups}": partial(spec, groups) for groups in STAGE2}, build, stride
)
