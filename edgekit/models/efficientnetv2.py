"""EfficientNetV2: full convolutions where they are faster. Tan, Le 2021, arXiv:2104.00298."""

from __future__ import annotations

from functools import partial

from edgekit.core import ModelSpec
from edgekit.models.efficientnet import Scale, deepened
from edgekit.models.family import Family, plain_rows, round_channels, scaled_name
from edgekit.models.foreign import TIMM_BLOCKS, TORCHVISION_BLOCKS
from edgekit.models.inverted import Stage, build, stride, unroll

# arXiv:2104.00298, table 4, without the last 1x1 convolution.
STAGES_S = (
    #     kernel expand out repeats stride squeeze fused
    Stage(3, 1, 24, 2, 1, fused=True),
    Stage(3, 4, 48, 4, 2, fused=True),
    Stage(3, 4, 64, 4, 2, fused=True),
    Stage(3, 4, 128, 6, 2, 0.25),
    Stage(3, 6, 160, 9, 1, 0.25),
    Stage(3, 6, 256, 15, 2, 0.25),
)

# The authors' code (google/automl, efficientnetv2/effnetv2_configs.py), which has what the paper
# leaves out.
STAGES_M = (
    Stage(3, 1, 24, 3, 1, fused=True),
    Stage(3, 4, 48, 5, 2, fused=True),
    Stage(3, 4, 80, 5, 2, fused=True),
    Stage(3, 4, 160, 7, 2, 0.25),
    Stage(3, 6, 176, 14, 1, 0.25),
    Stage(3, 6, 304, 18, 2, 0.25),
    Stage(3, 6, 512, 5, 1, 0.25),
)
STAGES_L = (
    Stage(3, 1, 32, 4, 1, fused=True),
    Stage(3, 4, 64, 7, 2, fused=True),
    Stage(3, 4, 96, 7, 2, fused=True),
    Stage(3, 4, 192, 10, 2, 0.25),
    Stage(3, 6, 224, 19, 1, 0.25),
    Stage(3, 6, 384, 25, 2, 0.25),
    Stage(3, 6, 640, 7, 1, 0.25),
)
STAGES_BASE = (
    Stage(3, 1, 16, 1, 1, fused=True),
    Stage(3, 4, 32, 2, 2, fused=True),
    Stage(3, 4, 48, 2, 2, fused=True),
    Stage(3, 4, 96, 3, 2, 0.25),
    Stage(3, 6, 112, 5, 1, 0.25),
    Stage(3, 6, 192, 8, 2, 0.25),
)
HEAD = 1280

# Stages, stem, resolution that the paper evaluates at, dropout: table 6 and the code.
LARGE = {
    "s": (STAGES_S, 24, 384, 0.2),
    "m": (STAGES_M, 24, 480, 0.3),
    "l": (STAGES_L, 32, 480, 0.4),
}

# Multipliers of B0 and resolutions: the code. They are those of EfficientNet B0 to B3.
BASE = {
    "b0": Scale(1.0, 1.0, 224, 0.2),
    "b1": Scale(1.0, 1.1, 240, 0.2),
    "b2": Scale(1.1, 1.2, 260, 0.3),
    "b3": Scale(1.2, 1.4, 300, 0.3),
}
BASE_STEM = 32


def large_spec(variant: str, width: float) -> ModelSpec:
    """EfficientNetV2 ``s``, ``m`` or ``l`` with channels times ``width``; the head stays."""
    stages, stem, resolution, dropout = LARGE[variant]
    return _spec(variant, stages, round_channels(stem * width), width, resolution, dropout, width)


def base_spec(variant: str, width: float) -> ModelSpec:
    """EfficientNetV2 ``b0`` to ``b3`` with channels times ``width``.

    Their weights are TensorFlow's, and so is their padding. Here nothing is rounded up to keep
    90 % of the channels, unlike in every other family.
    """
    scale = BASE[variant]
    channels = scale.width * width
    stages = deepened(STAGES_BASE, scale.depth)
    stem = round_channels(BASE_STEM * channels, least=0.0)
    return _spec(variant, stages, stem, channels, scale.resolution, scale.dropout, width)


def _spec(
    variant: str,
    stages: tuple[Stage, ...],
    stem: int,
    channels: float,
    resolution: int,
    dropout: float,
    width: float,
) -> ModelSpec:
    base = variant in BASE
    least = 0.0 if base else 0.9
    return ModelSpec(
        name=scaled_name(f"efficientnetv2-{variant}", width),
        family="efficientnetv2",
        rows=plain_rows(unroll(stages, stem, channels, "silu", least=least)),
        stem=stem,
        head=(round_channels(HEAD * channels, least=least) if base else HEAD,),
        act="silu",
        resolution=resolution,
        width=width,
        norm_eps=1e-3,
        padding="same" if base else "symmetric",
        dropout=dropout,
        drop_path=0.2,
        source="arXiv:2104.00298 table 4",
    )


FAMILY = Family(
    {
        **{f"efficientnetv2-{name}": partial(large_spec, name) for name in LARGE},
        **{f"efficientnetv2-{name}": partial(base_spec, name) for name in BASE},
    },
    build,
    stride,
    (TORCHVISION_BLOCKS, TIMM_BLOCKS),
)
