"""MobileNetV4: universal inverted bottlenecks. Qin et al. 2024, arXiv:2404.10518."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from edgekit.core import ModelSpec
from edgekit.models.blocks import BottleneckRow
from edgekit.models.family import Family, plain_rows, round_channels, scaled_name
from edgekit.models.foreign import TIMM_BLOCKS
from edgekit.models.inverted import build_with_conv, stride


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the paper's tables.

    Attributes:
        kind: ``uib``, ``fused`` (expansion in one full convolution) or ``conv``.
        start: kernel of the depthwise layer before the expansion; 0 without one.
        kernel: of the depthwise layer behind the expansion, or of the full convolution; 0 without.
        expand: channels between the 1x1 layers per input channel.
    """

    kind: str
    start: int
    kernel: int
    expand: int
    out: int
    stride: int
    repeats: int = 1


# arXiv:2404.10518, appendix D, table 11: MNv4-Conv-S, without stem and head.
ROWS_SMALL = (
    #   kind start kernel expand out stride repeats
    Row("conv", 0, 3, 1, 32, 2),
    Row("conv", 0, 1, 1, 32, 1),
    Row("conv", 0, 3, 1, 96, 2),
    Row("conv", 0, 1, 1, 64, 1),
    Row("uib", 5, 5, 3, 96, 2),
    Row("uib", 0, 3, 2, 96, 1, 4),
    Row("uib", 3, 0, 4, 96, 1),
    Row("uib", 3, 3, 6, 128, 2),
    Row("uib", 5, 5, 4, 128, 1),
    Row("uib", 0, 5, 4, 128, 1),
    Row("uib", 0, 5, 3, 128, 1),
    Row("uib", 0, 3, 4, 128, 1, 2),
)

# Table 12: MNv4-Conv-M.
ROWS_MEDIUM = (
    Row("fused", 0, 3, 4, 48, 2),
    Row("uib", 3, 5, 4, 80, 2),
    Row("uib", 3, 3, 2, 80, 1),
    Row("uib", 3, 5, 6, 160, 2),
    Row("uib", 3, 3, 4, 160, 1, 2),
    Row("uib", 3, 5, 4, 160, 1),
    Row("uib", 3, 3, 4, 160, 1),
    Row("uib", 3, 0, 4, 160, 1),
    Row("uib", 0, 0, 2, 160, 1),
    Row("uib", 3, 0, 4, 160, 1),
    Row("uib", 5, 5, 6, 256, 2),
    Row("uib", 5, 5, 4, 256, 1),
    Row("uib", 3, 5, 4, 256, 1, 2),
    Row("uib", 0, 0, 4, 256, 1),
    Row("uib", 3, 0, 4, 256, 1),
    Row("uib", 3, 5, 2, 256, 1),
    Row("uib", 5, 5, 4, 256, 1),
    Row("uib", 0, 0, 4, 256, 1, 2),
    Row("uib", 5, 0, 2, 256, 1),
)

# Table 13: MNv4-Conv-L.
ROWS_LARGE = (
    Row("fused", 0, 3, 4, 48, 2),
    Row("uib", 3, 5, 4, 96, 2),
    Row("uib", 3, 3, 4, 96, 1),
    Row("uib", 3, 5, 4, 192, 2),
    Row("uib", 3, 3, 4, 192, 1, 3),
    Row("uib", 3, 5, 4, 192, 1),
    Row("uib", 5, 3, 4, 192, 1, 5),
    Row("uib", 3, 0, 4, 192, 1),
    Row("uib", 5, 5, 4, 512, 2),
    Row("uib", 5, 5, 4, 512, 1, 3),
    Row("uib", 5, 0, 4, 512, 1),
    Row("uib", 5, 3, 4, 512, 1),
    Row("uib", 5, 0, 4, 512, 1, 2),
    Row("uib", 5, 3, 4, 512, 1),
    Row("uib", 5, 5, 4, 512, 1),
    Row("uib", 5, 0, 4, 512, 1, 3),
)
HEAD, HIDDEN = 960, 1280

# Rows, stem, resolution of the published figures, dropout and stochastic depth (table 10).
VARIANTS = {
    "small": (ROWS_SMALL, 32, 224, 0.3, 0.0),
    "medium": (ROWS_MEDIUM, 32, 256, 0.2, 0.075),
    "large": (ROWS_LARGE, 24, 384, 0.2, 0.35),
}


def unroll(rows: tuple[Row, ...], stem: int, width: float) -> Iterator[BottleneckRow]:
    """One row per block, with all channels as numbers."""
    inputs, paper_in, stage = stem, None, -1
    for row in rows:
        out = round_channels(row.out * width)
        for repeat in range(row.repeats):
            step = row.stride if repeat == 0 else 1
            residual = row.kind != "conv" and step == 1 and paper_in == row.out
            stage += not residual
            yield BottleneckRow(
                kernel=row.kernel or None,
                expand=None if row.expand == 1 else round_channels(inputs * row.expand),
                out=out,
                squeeze=None,
                act="relu",
                stride=step,
                residual=residual,
                stage=f"stage{stage}",
                start=row.start or None,
                fused=row.kind != "uib",
            )
            inputs, paper_in = out, row.out


def spec(variant: str, width: float) -> ModelSpec:
    """MobileNetV4-Conv ``small``, ``medium`` or ``large`` with channels times ``width``."""
    rows, stem, resolution, dropout, drop_path = VARIANTS[variant]
    # The authors have published no other widths. Narrower ones are those of timm, which keeps the
    # stem (mobilenetv4_conv_small_035 and _050).
    stem = round_channels(stem * max(1.0, width))
    return ModelSpec(
        name=scaled_name(f"mobilenetv4-conv-{variant}", width),
        family="mobilenetv4",
        rows=plain_rows(unroll(rows, stem, width)),
        stem=stem,
        head=(round_channels(HEAD * width), round_channels(HIDDEN * max(1.0, width))),
        act="relu",
        resolution=resolution,
        width=width,
        dropout=dropout,
        drop_path=drop_path,
        source="arXiv:2404.10518 tables 10 to 13",
    )


FAMILY = Family(
    {f"mobilenetv4-conv-{name}": partial(spec, name) for name in VARIANTS},
    build_with_conv,
    stride,
    (TIMM_BLOCKS,),
)
