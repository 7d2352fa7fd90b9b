"""What the families of inverted residual blocks share: how a spec becomes a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

from torch import nn

from edgekit.core import ModelSpec
from edgekit.models.blocks import (
    ACTIVATIONS,
    Bottleneck,
    BottleneckRow,
    ConvNet,
    ConvNormAct,
    Style,
    classifier,
)
from edgekit.models.family import round_channels, typed_rows
from edgekit.models.widths import Linear, Width


@dataclass(frozen=True, slots=True)
class Stage:
    """``repeats`` equal blocks in a row, of which the first has the stride and the new width.

    Attributes:
        expand: channels between the 1x1 layers per input channel; 1 has no expansion layer.
        out: channels that leave each block, before any multiplier.
        squeeze: inner channels of the squeeze-excite per input channel; 0 without one.
        fused: see `BottleneckRow`.
    """

    kernel: int
    expand: int
    out: int
    repeats: int
    stride: int
    squeeze: float = 0.0
    fused: bool = False


def unroll(
    stages: tuple[Stage, ...], stem: int, width: float, act: str, least: float = 0.9
) -> Iterator[BottleneckRow]:
    """One row per block, with all channels as numbers.

    Args:
        stem: channels that come in.
        width: multiplier of the stages' channels.
        least: share of the channels that rounding keeps; see `round_channels`.
    """
    inputs = stem
    for number, stage in enumerate(stages):
        out = round_channels(stage.out * width, least=least)
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            yield BottleneckRow(
                kernel=stage.kernel,
                expand=None if stage.expand == 1 else inputs * stage.expand,
                out=out,
                squeeze=max(1, int(inputs * stage.squeeze)) if stage.squeeze else None,
                act=act,
                stride=stride,
                # A stage may begin with a block that keeps size and width, as the first of
                # EfficientNetV2 does: it adds its input as well.
                residual=stride == 1 and inputs == out,
                stage=f"stage{number}",
                gate="sigmoid",
                fused=stage.fused,
            )
            inputs = out


def build(spec: ModelSpec, *, hidden: str | None = None) -> nn.Module:
    """The module of a spec with `BottleneckRow` rows.

    Args:
        hidden: what the second number of ``spec.head`` is: ``linear``, a layer before the
            classifier (arXiv:1905.02244, section 5.1), or ``conv``, a normalized one
            (arXiv:2404.10518).
    """
    style = Style.of(spec)
    width = Width("stem", spec.stem)
    stem = ConvNormAct(Width("image", 3), width, style, spec.act, kernel=3, stride=2)
    blocks = nn.Sequential()
    rows = typed_rows(spec, BottleneckRow)
    for i, row in enumerate(rows):
        block = Bottleneck(f"block{i}", width, row, style, spec.drop_path * i / len(rows))
        blocks.append(block)
        width = block.out
    top = Width("head", spec.head[0])
    head = ConvNormAct(width, top, style, spec.act)
    if hidden is None:
        return ConvNet(stem, blocks, head, classifier(spec, top))
    inner = Width("hidden", spec.head[1])
    scores = classifier(spec, inner)
    if hidden == "conv":
        return ConvNet(stem, blocks, head, scores, neck=ConvNormAct(top, inner, style, spec.act))
    layers = {"hidden": Linear(top, inner), "act": ACTIVATIONS[spec.act]()}
    top_layers = nn.Sequential()
    for name, layer in {**layers, **dict(scores.named_children())}.items():
        top_layers.add_module(name, layer)
    return ConvNet(stem, blocks, head, top_layers)


def stride(spec: ModelSpec) -> int:
    """Input pixels per pixel of the last feature map."""
    return 2 * prod(row.stride for row in typed_rows(spec, BottleneckRow))


build_with_linear = partial(build, hidden="linear")
build_with_conv = partial(build, hidden="conv")
