"""MobileNetV3: searched blocks, h-swish, squeeze-excite. Howard et al. 2019, arXiv:1905.02244.

At other widths the networks are those of the authors' code and of timm, of which weights are
published. torchvision's ``width_mult`` gives other ones: it scales the expanded channels by
themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgekit.core import ModelSpec
from edgekit.models.blocks import BottleneckRow
from edgekit.models.family import Family, plain_rows, round_channels, scaled_name
from edgekit.models.foreign import TIMM_BLOCKS, TORCHVISION_BLOCKS
from edgekit.models.inverted import build_with_linear, stride

AUTHORS_CODE = "tensorflow/models research/slim/nets/mobilenet"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the paper's tables.

    Attributes:
        expand: channels of the depthwise layer; those of the input mean no expansion layer. A
            width multiplier keeps their ratio to the input.
        se: whether the block has squeeze-excite, with a quarter of ``expand`` inside.
    """

    kernel: int
    expand: int
    out: int
    se: bool
    act: str
    stride: int


# arXiv:1905.02244, table 1.
ROWS_LARGE = (
    #   kernel expand out  se     act     stride
    Row(3, 16, 16, False, "relu", 1),
    Row(3, 64, 24, False, "relu", 2),
    Row(3, 72, 24, False, "relu", 1),
    Row(5, 72, 40, True, "relu", 2),
    Row(5, 120, 40, True, "relu", 1),
    Row(5, 120, 40, True, "relu", 1),
    Row(3, 240, 80, False, "hardswish", 2),
    Row(3, 200, 80, False, "hardswish", 1),
    Row(3, 184, 80, False, "hardswish", 1),
    Row(3, 184, 80, False, "hardswish", 1),
    Row(3, 480, 112, True, "hardswish", 1),
    Row(3, 672, 112, True, "hardswish", 1),
    Row(5, 672, 160, True, "hardswish", 2),
    Row(5, 960, 160, True, "hardswish", 1),
    Row(5, 960, 160, True, "hardswish", 1),
)

# arXiv:1905.02244, table 2.
ROWS_SMALL = (
    #   kernel expand out  se     act     stride
    Row(3, 16, 16, True, "relu", 2),
    Row(3, 72, 24, False, "relu", 2),
    Row(3, 88, 24, False, "relu", 1),
    Row(5, 96, 40, True, "hardswish", 2),
    Row(5, 240, 40, True, "hardswish", 1),
    Row(5, 240, 40, True, "hardswish", 1),
    Row(5, 120, 48, True, "hardswish", 1),
    Row(5, 144, 48, True, "hardswish", 1),
    Row(5, 288, 96, True, "hardswish", 2),
    Row(5, 576, 96, True, "hardswish", 1),
    Row(5, 576, 96, True, "hardswish", 1),
)
STEM = 16

# From here on the stem is scaled; below, timm keeps it at 16 channels (mobilenetv3_small_050), and
# the authors have published nothing.
LEAST_SCALED_STEM = 0.75


def stem_channels(width: float) -> int:
    """Channels of the first convolution."""
    return round_channels(STEM * width) if width >= LEAST_SCALED_STEM else STEM


def unroll(rows: tuple[Row, ...], width: float) -> Iterator[BottleneckRow]:
    """One row per block, with all channels as numbers."""
    inputs, paper_in, stage = stem_channels(width), STEM, -1
    for row in rows:
        out = round_channels(row.out * width)
        residual = row.stride == 1 and inputs == out
        # The first block of V3-Large adds its input to its output, so it stays in the stem's
        # stage; every other block that changes something opens a stage of its own.
        stage += not residual or row.out != paper_in
        expand = round_channels(inputs * row.expand / paper_in)
        yield BottleneckRow(
            kernel=row.kernel,
            expand=None if row.expand == paper_in else expand,
            out=out,
            squeeze=round_channels(expand // 4) if row.se else None,
            act=row.act,
            stride=row.stride,
            residual=residual,
            stage="stem" if stage < 0 else f"stage{stage}",
        )
        inputs, paper_in = out, row.out


def minimalistic(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The same rows for hardware without fast h-swish, squeeze-excite or 5x5 kernels.

    From the authors' code; the paper does not have it. Their weights are TensorFlow's.
    """
    return tuple(replace(row, kernel=3, se=False, act="relu") for row in rows)


def reduced(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The same rows with half the channels from the last stride on (section 6.3).

    The paper has such backbones for detection and, as RF2 of its table 7, for segmentation: what
    tells a thousand classes apart is more than these need. Rows, last convolution and hidden layer
    are those of torchvision's ``reduced_tail``.
    """
    last = max(i for i, row in enumerate(rows) if row.stride > 1)
    first, *others = rows[last:]
    half = [replace(row, expand=row.expand // 2, out=row.out // 2) for row in others]
    return (*rows[:last], replace(first, out=first.out // 2), *half)


def _spec(
    name: str, rows: tuple[Row, ...], head: int, source: str, width: float, act: str = "hardswish"
) -> ModelSpec:
    return ModelSpec(
        name=scaled_name(name, width),
        family="mobilenetv3",
        rows=plain_rows(unroll(rows, width)),
        stem=stem_channels(width),
        # The last convolution has six times the channels of the last block. The layer behind
        # the pool only grows: with it scaled down too, the published 0.75 networks would have
        # fewer parameters than the 4.0 M and 2.0 M of the paper's table 3.
        head=(round_channels(6 * rows[-1].out * width), round_channels(head * max(1.0, width))),
        act=act,
        width=width,
        norm_eps=1e-3,
        padding="symmetric" if act == "hardswish" else "same",
        dropout=0.2,
        source=source,
    )


def large(width: float) -> ModelSpec:
    """MobileNetV3-Large with channels times ``width``."""
    return _spec("mobilenetv3-large", ROWS_LARGE, 1280, "arXiv:1905.02244 table 1", width)


def small(width: float) -> ModelSpec:
    """MobileNetV3-Small with channels times ``width``."""
    return _spec("mobilenetv3-small", ROWS_SMALL, 1024, "arXiv:1905.02244 table 2", width)


def large_minimalistic(width: float) -> ModelSpec:
    """MobileNetV3-Large minimalistic with channels times ``width``."""
    name = "mobilenetv3-large-minimalistic"
    return _spec(name, minimalistic(ROWS_LARGE), 1280, AUTHORS_CODE, width, "relu")


def small_minimalistic(width: float) -> ModelSpec:
    """MobileNetV3-Small minimalistic with channels times ``width``."""
    name = "mobilenetv3-small-minimalistic"
    return _spec(name, minimalistic(ROWS_SMALL), 1024, AUTHORS_CODE, width, "relu")


def large_reduced(width: float) -> ModelSpec:
    """MobileNetV3-Large with a last stage of half the channels, times ``width``."""
    rows, name = reduced(ROWS_LARGE), "mobilenetv3-large-reduced"
    return _spec(name, rows, 640, "arXiv:1905.02244 section 6.3", width)


def small_reduced(width: float) -> ModelSpec:
    """MobileNetV3-Small with a last stage of half the channels, times ``width``."""
    rows, name = reduced(ROWS_SMALL), "mobilenetv3-small-reduced"
    return _spec(name, rows, 512, "arXiv:1905.02244 section 6.3", width)


FAMILY = Family(
    {
        "mobilenetv3-large": large,
        "mobilenetv3-small": small,
        "mobilenetv3-large-minimalistic": large_minimalistic,
        "mobilenetv3-small-minimalistic": small_minimalistic,
        "mobilenetv3-large-reduced": large_reduced,
        "mobilenetv3-small-reduced": small_reduced,
    },
    build_with_linear,
    stride,
    (TORCHVISION_BLOCKS, TIMM_BLOCKS),
)
