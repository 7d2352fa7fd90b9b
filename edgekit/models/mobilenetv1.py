"""MobileNetV1: depthwise separable convolutions. Howard et al. 2017, arXiv:1704.04861."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import prod

from torch import nn

from edgekit.core import ModelSpec
from edgekit.models.blocks import ConvNet, ConvNormAct, Style, classifier
from edgekit.models.family import Family, plain_rows, round_channels, scaled_name, typed_rows
from edgekit.models.foreign import SCORES, Layout, Names, by_stride, conv_norm, stages, timm_eps
from edgekit.models.widths import Width


@dataclass(frozen=True, slots=True)
class Row:
    """A 3x3 depthwise and a 1x1 convolution, as table 1 lists them in pairs.

    Attributes:
        out: channels that leave the 1x1 convolution.
        stride: of the depthwise convolution.
    """

    out: int
    stride: int


# arXiv:1704.04861, table 1, rows after the first convolution.
ROWS = (
    #   out   stride
    Row(64, 1),
    Row(128, 2),
    Row(128, 1),
    Row(256, 2),
    Row(256, 1),
    Row(512, 2),
    Row(512, 1),
    Row(512, 1),
    Row(512, 1),
    Row(512, 1),
    Row(512, 1),
    Row(1024, 2),
    Row(1024, 1),
)
STEM = 32


def spec(width: float) -> ModelSpec:
    """The published network with all channels times ``width`` (the paper's alpha)."""
    rows = [Row(round_channels(row.out * width), row.stride) for row in ROWS]
    return ModelSpec(
        name=scaled_name("mobilenetv1", width),
        family="mobilenetv1",
        rows=plain_rows(rows),
        stem=round_channels(STEM * width),
        head=(),
        # The paper says ReLU; its reference code and all published weights have ReLU6.
        act="relu6",
        width=width,
        dropout=0.001,  # 1 minus the keep probability of the reference code
        source="arXiv:1704.04861 table 1",
    )


def build(spec: ModelSpec) -> nn.Module:
    """The module of a spec."""
    style = Style.of(spec)
    width = Width("stem", spec.stem)
    stem = ConvNormAct(Width("image", 3), width, style, spec.act, kernel=3, stride=2)
    blocks = nn.Sequential()
    for i, row in enumerate(typed_rows(spec, Row)):
        out = Width(f"block{i}.out", row.out)
        block: OrderedDict[str, nn.Module] = OrderedDict(
            depthwise=ConvNormAct(width, None, style, spec.act, kernel=3, stride=row.stride),
            pointwise=ConvNormAct(width, out, style, spec.act),
        )
        blocks.append(nn.Sequential(block))
        width = out
    return ConvNet(stem, blocks, nn.Identity(), classifier(spec, width))


def stride(spec: ModelSpec) -> int:
    """Input pixels per pixel of the last feature map."""
    return 2 * prod(row.stride for row in typed_rows(spec, Row))


def timm_names(spec: ModelSpec) -> Names:
    """Timm's names of the layers."""
    yield from conv_norm("stem", "conv_stem", "bn1")
    strides = [row.stride for row in typed_rows(spec, Row)]
    for i, (stage, place) in enumerate(stages(by_stride(strides))):
        theirs = f"blocks.{stage}.{place}"
        yield from conv_norm(f"blocks.{i}.depthwise", f"{theirs}.conv_dw", f"{theirs}.bn1")
        yield from conv_norm(f"blocks.{i}.pointwise", f"{theirs}.conv_pw", f"{theirs}.bn2")
    yield SCORES, "classifier"


FAMILY = Family({"mobilenetv1": spec}, build, stride, (Layout("timm", timm_names, timm_eps),))
