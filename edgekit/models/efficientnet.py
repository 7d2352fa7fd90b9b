"""EfficientNet: one network, scaled in width, depth and resolution. Tan, Le 2019, arXiv:1905.11946.

The networks B0 to B4 are computed by the paper's rule from alpha, beta and phi. B5 to B7 cannot be:
the width and depth that are published for them, 1.6 and 2.2 up to 2.0 and 3.1, come together at no
phi. They are listed as their authors' code has them.

EfficientNet-Lite (the authors' code, 2020) is the same for integer hardware: no squeeze-excite,
ReLU6, and stem, head and the depth of the outer stages are never scaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

from edgekit.core import ModelSpec
from edgekit.models.family import Family, plain_rows, round_channels, scaled_name
from edgekit.models.foreign import TIMM_BLOCKS, TORCHVISION_BLOCKS
from edgekit.models.inverted import Stage, build, stride, unroll

# arXiv:1905.11946, table 1: stages 2 to 8.
STAGES = (
    #     kernel expand out repeats stride squeeze
    Stage(3, 1, 16, 1, 1, 0.25),
    Stage(3, 6, 24, 2, 2, 0.25),
    Stage(5, 6, 40, 2, 2, 0.25),
    Stage(3, 6, 80, 3, 2, 0.25),
    Stage(5, 6, 112, 3, 1, 0.25),
    Stage(5, 6, 192, 4, 2, 0.25),
    Stage(3, 6, 320, 1, 1, 0.25),
)
STEM = 32
HEAD = 1280

# arXiv:1905.11946, section 3.3: growth of depth, width and resolution per unit of phi.
ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15


@dataclass(frozen=True, slots=True)
class Scale:
    """How a variant differs from B0.

    Attributes:
        width: multiplier of channels.
        depth: multiplier of repeats, rounded up.
        resolution: side of the input in pixels.
        dropout: before the classifier.
    """

    width: float
    depth: float
    resolution: int
    dropout: float


def compound(phi: float, dropout: float, resolution: int | None = None) -> Scale:
    """The paper's rule, coefficients rounded to a tenth as its authors' code has them.

    Args:
        resolution: in pixels, where the published one is not the rule's.
    """
    if resolution is None:
        resolution = round(224 * GAMMA**phi / 10) * 10 if phi else 224
    return Scale(round(BETA**phi, 1), round(ALPHA**phi, 1), resolution, dropout)


# The paper names no phi. B0 to B3 are the rule at 0, 1/2, 1 and 2, resolution and all. Width and
# depth of B4 are the rule's from 3.15 to 3.37, its resolution is that of 3.8. From B5 on no phi
# gives both width and depth (depth 2.2 needs 4.2 to 4.4, width 1.6 from 4.6 on); these are of the
# authors' code (tensorflow/tpu, efficientnet_builder.py).
SCALES = {
    "b0": compound(0, 0.2),
    "b1": compound(0.5, 0.2),
    "b2": compound(1, 0.3),
    "b3": compound(2, 0.3),
    "b4": compound(3.25, 0.4, 380),
    "b5": Scale(1.6, 2.2, 456, 0.4),
    "b6": Scale(1.8, 2.6, 528, 0.5),
    "b7": Scale(2.0, 3.1, 600, 0.5),
}

# tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py
LITE_SCALES = {
    "lite0": Scale(1.0, 1.0, 224, 0.2),
    "lite1": Scale(1.0, 1.1, 240, 0.2),
    "lite2": Scale(1.1, 1.2, 260, 0.3),
    "lite3": Scale(1.2, 1.4, 280, 0.3),
    "lite4": Scale(1.4, 1.8, 300, 0.3),
}


def deepened(stages: tuple[Stage, ...], depth: float) -> tuple[Stage, ...]:
    """Stages with their repeats multiplied and rounded up."""
    return tuple(replace(stage, repeats=math.ceil(stage.repeats * depth)) for stage in stages)


def spec(variant: str, width: float) -> ModelSpec:
    """EfficientNet ``b0`` to ``b7`` with channels times ``width``."""
    scale = SCALES[variant]
    channels = scale.width * width
    stem = round_channels(STEM * channels)
    return ModelSpec(
        name=scaled_name(f"efficientnet-{variant}", width),
        family="efficientnet",
        rows=plain_rows(unroll(deepened(STAGES, scale.depth), stem, channels, "silu")),
        stem=stem,
        head=(round_channels(HEAD * channels),),
        act="silu",
        resolution=scale.resolution,
        width=width,
        # As in torchvision's weights, which differ here from B5 on.
        norm_eps=1e-3 if variant in ("b5", "b6", "b7") else 1e-5,
        dropout=scale.dropout,
        drop_path=0.2,
        source="arXiv:1905.11946 table 1",
    )


def lite_spec(variant: str, width: float) -> ModelSpec:
    """EfficientNet ``lite0`` to ``lite4`` with channels of the stages times ``width``."""
    scale = LITE_SCALES[variant]
    plain = tuple(replace(stage, squeeze=0.0) for stage in STAGES)
    stages = (plain[0], *deepened(plain[1:-1], scale.depth), plain[-1])
    return ModelSpec(
        name=scaled_name(f"efficientnet-{variant}", width),
        family="efficientnet",
        rows=plain_rows(unroll(stages, STEM, scale.width * width, "relu6")),
        stem=STEM,
        head=(HEAD,),
        act="relu6",
        resolution=scale.resolution,
        width=width,
        dropout=scale.dropout,
        drop_path=0.2,
        source="tensorflow/tpu models/official/efficientnet/lite",
    )


FAMILY = Family(
    {
        **{f"efficientnet-{name}": partial(spec, name) for name in SCALES},
        **{f"efficientnet-{name}": partial(lite_spec, name) for name in LITE_SCALES},
    },
    build,
    stride,
    (TORCHVISION_BLOCKS, TIMM_BLOCKS),
)
