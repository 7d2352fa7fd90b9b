"""MnasNet: searched for latency on a phone. Tan et al. 2019, arXiv:1807.11626."""

from __future__ import annotations

from edgekit.core import ModelSpec
from edgekit.models.family import Family, plain_rows, round_channels, scaled_name
from edgekit.models.foreign import TIMM_BLOCKS, Layout, torchvision_mnasnet
from edgekit.models.inverted import Stage, build, stride, unroll

# arXiv:1807.11626, figure 7 (a).
STAGES_A1 = (
    #     kernel expand out repeats stride squeeze
    Stage(3, 1, 16, 1, 1),
    Stage(3, 6, 24, 2, 2),
    Stage(5, 3, 40, 3, 2, 0.25),
    Stage(3, 6, 80, 4, 2),
    Stage(3, 6, 112, 2, 1, 0.25),
    Stage(5, 6, 160, 3, 2, 0.25),
    Stage(3, 6, 320, 1, 1),
)

# arXiv:1807.11626, figure 7 (b).
STAGES_B1 = (
    #     kernel expand out repeats stride
    Stage(3, 1, 16, 1, 1),
    Stage(3, 3, 24, 3, 2),
    Stage(5, 3, 40, 3, 2),
    Stage(5, 6, 80, 3, 2),
    Stage(3, 6, 96, 2, 1),
    Stage(5, 6, 192, 4, 2),
    Stage(3, 6, 320, 1, 1),
)
STEM = 32
HEAD = 1280


def _spec(name: str, stages: tuple[Stage, ...], width: float) -> ModelSpec:
    stem = round_channels(STEM * width)
    return ModelSpec(
        name=scaled_name(name, width),
        family="mnasnet",
        rows=plain_rows(unroll(stages, stem, width, "relu")),
        stem=stem,
        head=(HEAD,),  # whatever the multiplier, as in the published weights
        act="relu",
        width=width,
        dropout=0.2,
        source="arXiv:1807.11626 figure 7",
    )


def a1(width: float) -> ModelSpec:
    """MnasNet-A1, with squeeze-excite, with channels times ``width``."""
    return _spec("mnasnet-a1", STAGES_A1, width)


def b1(width: float) -> ModelSpec:
    """MnasNet-B1 with channels times ``width``."""
    return _spec("mnasnet-b1", STAGES_B1, width)


TORCHVISION = Layout("torchvision", torchvision_mnasnet)
FAMILY = Family({"mnasnet-a1": a1, "mnasnet-b1": b1}, build, stride, (TORCHVISION, TIMM_BLOCKS))
