"""MobileNetV2: inverted residuals, linear bottlenecks. Sandler et al. 2018, arXiv:1801.04381."""

from __future__ import annotations

from edgekit.core import ModelSpec
from edgekit.models.family import Family, plain_rows, round_channels, scaled_name
from edgekit.models.foreign import TIMM_BLOCKS, Layout, torchvision_mobilenetv2
from edgekit.models.inverted import Stage, build, stride, unroll

# arXiv:1801.04381, table 2.
STAGES = (
    #     kernel expand out repeats stride
    Stage(3, 1, 16, 1, 1),
    Stage(3, 6, 24, 2, 2),
    Stage(3, 6, 32, 3, 2),
    Stage(3, 6, 64, 4, 2),
    Stage(3, 6, 96, 3, 1),
    Stage(3, 6, 160, 3, 2),
    Stage(3, 6, 320, 1, 1),
)
STEM = 32
HEAD = 1280


def spec(width: float) -> ModelSpec:
    """The published network with channels times ``width``; the head only grows, never shrinks."""
    stem = round_channels(STEM * width)
    return ModelSpec(
        name=scaled_name("mobilenetv2", width),
        family="mobilenetv2",
        rows=plain_rows(unroll(STAGES, stem, width, "relu6")),
        stem=stem,
        head=(round_channels(HEAD * max(1.0, width)),),
        act="relu6",
        width=width,
        dropout=0.2,
        source="arXiv:1801.04381 table 2",
    )


TORCHVISION = Layout("torchvision", torchvision_mobilenetv2)
FAMILY = Family({"mobilenetv2": spec}, build, stride, (TORCHVISION, TIMM_BLOCKS))
