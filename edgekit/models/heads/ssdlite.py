"""SSDLite: single-shot detection by depthwise separable predictors.

SSD is Liu et al. 2015, arXiv:1512.02325; SSDLite Sandler et al. 2018, arXiv:1801.04381, section
6.2; on MobileNetV3 Howard et al. 2019, arXiv:1905.02244, section 6.3. Structure, names of sizes and
the order of all outputs are those of torchvision's ``ssdlite320_mobilenet_v3_large``, which has a
softmax with a background.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.core import Parameter
from edgekit.models.blocks import ConvNormAct, Style
from edgekit.models.heads import Size
from edgekit.models.heads.taps import Backbone
from edgekit.models.widths import Conv2d, Width

STRIDES = (16, 32)
"""Of the maps of the backbone: the expansion of the block that goes to stride 32, and the last
convolution (arXiv:1905.02244, section 6.3)."""

EXTRA_CHANNELS = (512, 256, 256, 128)
"""Of the maps behind these, each of half the size or a single pixel (SSD's authors' layers at 300
px, which those of MobileNet kept); a width multiplier scales them, too."""

LEAST_CHANNELS = 16

ACT = "relu6"

RATIOS = (2.0, 3.0)
"""Width over height of anchors, and the other way round, besides the square (arXiv:1512.02325)."""

LEAST_SCALE, LARGEST_SCALE = 0.2, 0.95
"""Sides of anchors of the first and last map as a share of the image (arXiv:1801.04381's code)."""

CENTRE_WEIGHT, SIZE_WEIGHT = 10.0, 5.0
"""Units of the deltas: a tenth of an anchor's side, a fifth of the logarithm of its growth (the
variances 0.1 and 0.2 of arXiv:1512.02325's code)."""

LARGEST_GROWTH = math.log(1000 / 16)
"""Of a box against its anchor, as a logarithm (torchvision's bound, which keeps exp finite)."""

PRIOR = 0.01
"""Probability of each class that a fresh network of sigmoids gives (arXiv:1708.02002, section
4.1)."""

STANDARD_DEVIATION = 0.03
"""Of fresh weights (torchvision's, as TensorFlow's)."""


def anchors(grids: Sequence[Size], size: Size) -> NDArray[np.float32]:
    """Default boxes, map by map, row by row, six a pixel.

    Args:
        grids: height and width of each map.
        size: of the image in pixels.

    Returns:
        (anchors, 4), x and y of the centre, width and height, in pixels of the image.
    """
    last = len(grids) - 1
    step = (LARGEST_SCALE - LEAST_SCALE) / max(last, 1)
    scales = [*(LEAST_SCALE + step * i for i in range(len(grids))), 1.0]
    found = []
    for (rows, columns), (scale, larger) in zip(grids, pairwise(scales), strict=True):
        between = math.sqrt(scale * larger)
        sides = [(scale, scale), (between, between)]
        for root in map(math.sqrt, RATIOS):
            sides += [(scale * root, scale / root), (scale / root, scale * root)]
        y, x = np.meshgrid(
            (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij"
        )
        centres = np.stack((x, y), -1).reshape(-1, 1, 2).repeat(len(sides), 1)
        extents = np.broadcast_to(np.clip(sides, 0, 1), centres.shape)
        found.append(np.concatenate((centres, extents), -1).reshape(-1, 4))
    height, width = size
    return (np.concatenate(found) * (width, height, width, height)).astype(np.float32)


ANCHORS_PER_PIXEL = 2 + 2 * len(RATIOS)


class Extra(nn.Sequential):
    """A map of half the size: 1x1 to half the channels, depthwise with a stride, 1x1."""

    def __init__(self, name: str, inputs: Width, channels: int, style: Style) -> None:
        super().__init__()
        inner, self.out = Width(f"{name}.inner", channels // 2), Width(f"{name}.out", channels)
        self.reduce = ConvNormAct(inputs, inner, style, ACT)
        self.depthwise = ConvNormAct(inner, None, style, ACT, kernel=3, stride=2)
        self.expand = ConvNormAct(inner, self.out, style, ACT)


class Predictor(nn.Sequential):
    """Some numbers for each anchor of each pixel: depthwise 3x3, 1x1."""

    def __init__(self, inputs: Width, columns: Width, style: Style) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(inputs, None, style, ACT, kernel=3)
        self.predict = Conv2d(inputs, columns, bias=True)


def by_anchor(maps: Sequence[Tensor], columns: int) -> Tensor:
    """Maps (N, anchors * columns, H, W) as one tensor (N, all anchors, columns)."""
    rows = [one.permute(0, 2, 3, 1).reshape(one.shape[0], -1, columns) for one in maps]
    return torch.cat(rows, 1)


class SSDNetwork(nn.Module):
    """A backbone, extra maps, and predictors of boxes and scores on each.

    Attributes:
        anchors: x, y of the centre, width and height, (anchors, 4), in pixels.
        background: whether scores are a softmax whose first column is that of nothing.
    """

    anchors: Tensor

    def __init__(self, backbone: Backbone, classes: int, size: Size, *, background: bool) -> None:
        super().__init__()
        self.backbone, self.background = backbone, background
        self.columns = classes + background
        style = Style(backbone.style.eps, backbone.style.momentum, backbone.style.padding)
        widths = [Width(f"map{s}", backbone.channels[s]) for s in STRIDES]
        grids = [_steps(size, stride) for stride in STRIDES]
        self.extra = nn.ModuleList()
        for i, channels in enumerate(EXTRA_CHANNELS):
            scaled = max(LEAST_CHANNELS, int(channels * backbone.spec.width))
            extra = Extra(f"extra{i}", widths[-1], scaled, style)
            self.extra.append(extra)
            widths.append(extra.out)
            grids.append(_steps(grids[-1], 2))
        scores, deltas = (ANCHORS_PER_PIXEL * n for n in (self.columns, 4))
        self.scores = nn.ModuleList(
            Predictor(width, Width(f"scores{i}", scores), style) for i, width in enumerate(widths)
        )
        self.boxes = nn.ModuleList(
            Predictor(width, Width(f"boxes{i}", deltas), style) for i, width in enumerate(widths)
        )
        for part, bias in ((self.extra, 0.0), (self.scores, self._prior()), (self.boxes, 0.0)):
            for layer in part.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=STANDARD_DEVIATION)
                    if layer.bias is not None:
                        nn.init.constant_(layer.bias, bias)
        self.register_buffer("anchors", torch.from_numpy(anchors(grids, size)), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores of images (N, 3, H, W).

        Returns:
            Corners in pixels of the image, (N, anchors, 4), and of each class its probability,
            (N, anchors, classes); in training mode logits, with the background where there is one.
        """
        found = self.backbone.maps(image)
        maps = [found[stride] for stride in STRIDES]
        for layer in self.extra:
            maps.append(layer(maps[-1]))
        deltas = by_anchor([one(x) for one, x in zip(self.boxes, maps, strict=True)], 4)
        scores = by_anchor([one(x) for one, x in zip(self.scores, maps, strict=True)], self.columns)
        return self._decoded(deltas), self._scored(scores)

    def _prior(self) -> float:
        return 0.0 if self.background else -math.log((1 - PRIOR) / PRIOR)

    def _scored(self, logits: Tensor) -> Tensor:
        if self.training:
            return logits
        if self.background:
            return logits.softmax(-1)[..., 1:]
        return logits.sigmoid()

    def _decoded(self, deltas: Tensor) -> Tensor:
        centres, sides = self.anchors[:, :2], self.anchors[:, 2:]
        centre = centres + deltas[..., :2] * (sides / CENTRE_WEIGHT)
        growth = (deltas[..., 2:] / SIZE_WEIGHT).clamp(max=LARGEST_GROWTH)
        half = growth.exp() * (sides / 2)
        return torch.cat((centre - half, centre + half), -1)


def _steps(size: Size, stride: int) -> Size:
    """Of a map of so many pixels a step."""
    return -(-size[0] // stride), -(-size[1] // stride)


@dataclass(frozen=True, slots=True)
class SSDLite:
    """Anchors on six maps.

    Attributes:
        background: see `SSDNetwork`.
    """

    name: str
    background: bool
    task: str = "detect"
    classes: int = 80  # of COCO
    outputs: tuple[str, ...] = ("boxes", "scores")
    stride: int = STRIDES[-1]

    def network(self, backbone: Backbone, classes: int, size: Size) -> nn.Module:
        """See `edgekit.models.heads.Head`."""
        return SSDNetwork(backbone, classes, size, background=self.background)

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        """Nothing: its boxes are decoded."""
        return {}


HEAD = SSDLite("ssdlite", background=False)
WITH_BACKGROUND = SSDLite("ssdlite-softmax", background=True)
