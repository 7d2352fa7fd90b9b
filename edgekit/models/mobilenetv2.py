"""MobileNetV2: inverted residuals, linear bottlenecks. Sandler et al. 2018, arXiv:1801.04381."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import nn

from edgekit.core import ModelSpec
from edgekit.models.blocks import (
    Bottleneck,
    BottleneckRow,
    ConvNet,
    ConvNormAct,
    Linear,
    Norm,
    Width,
)
from edgekit.models.family import Family, plain_rows, round_channels, scaled_name, typed_rows


@dataclass(frozen=True, slots=True)
class Stage:
    """A line of the paper's table: ``n`` blocks, the first with stride ``s``.

    Attributes:
        t: expansion factor; 1 has no expansion layer.
        c: channels that leave each block.
    """

    t: int
    c: int
    n: int
    s: int


# arXiv:1801.04381, table 2.
STAGES = (
    #     t  c    n  s
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
STEM = 32
HEAD = 1280


def unroll(stages: tuple[Stage, ...], width: float, stem: int) -> Iterator[BottleneckRow]:
    """One row per block, with all channels as numbers."""
    inputs = stem
    for number, stage in enumerate(stages):
        out = round_channels(stage.c * width)
        for repeat in range(stage.n):
            yield BottleneckRow(
                kernel=3,
                expand=None if stage.t == 1 else inputs * stage.t,
                out=out,
                squeeze=None,
                act="relu6",
                stride=stage.s if repeat == 0 else 1,
                residual=repeat > 0,
                stage=f"stage{number}",
            )
            inputs = out


def spec(width: float) -> ModelSpec:
    """The published network with channels times ``width``; the head only grows, never shrinks."""
    stem = round_channels(STEM * width)
    return ModelSpec(
        name=scaled_name("mobilenetv2", width),
        family="mobilenetv2",
        rows=plain_rows(unroll(STAGES, width, stem)),
        stem=stem,
        head=(round_channels(HEAD * max(1.0, width)),),
        width=width,
        dropout=0.2,
        source="arXiv:1801.04381 table 2",
    )


def build(spec: ModelSpec) -> nn.Module:
    """The module of a spec."""
    norm = Norm(spec.norm_eps, spec.norm_momentum)
    width = Width("stem", spec.stem)
    stem = ConvNormAct(Width("image", 3), width, norm, "relu6", kernel=3, stride=2)
    blocks = nn.Sequential()
    for i, row in enumerate(typed_rows(spec, BottleneckRow)):
        block = Bottleneck(f"block{i}", width, row, norm)
        blocks.append(block)
        width = block.out
    top = Width("head", spec.head[0])
    classifier = nn.Sequential(
        OrderedDict(
            dropout=nn.Dropout(spec.dropout), scores=Linear(top, Width("classes", spec.classes))
        )
    )
    return ConvNet(stem, blocks, ConvNormAct(width, top, norm, "relu6"), classifier)


def stride(spec: ModelSpec) -> int:
    """Input pixels per pixel of the last feature map."""
    return 2 * prod(row.stride for row in typed_rows(spec, BottleneckRow))


FAMILY = Family({"mobilenetv2": spec}, build, stride)
