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

import torch
from torch import Tensor, nn

from edgekit import boxes
from edgekit.boxes.anchors import RATIOS
from edgekit.boxes.coding import MOST_GROWTH
from edgekit.core import Parameter
from edgekit.models.blocks import ConvNormAct, Style
from edgekit.models.heads import Size
from edgekit.models.heads.coding import AnchorCoding
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

PRIOR = 0.01
"""Probability of each class that a fresh network of sigmoids gives (arXiv:1708.02002, section
4.1)."""

STANDARD_DEVIATION = 0.03
"""Of fresh weights (torchvision's, as TensorFlow's)."""


ANCHORS_PER_PIXEL = 2 + 2 * len(RATIOS)

OF_CENTRE, _, OF_SIZE, _ = boxes.VARIANCES


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
        self.deltas = nn.ModuleList(
            Predictor(width, Width(f"deltas{i}", deltas), style) for i, width in enumerate(widths)
        )
        for part, bias in ((self.extra, 0.0), (self.scores, self._prior()), (self.deltas, 0.0)):
            for layer in part.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=STANDARD_DEVIATION)
                    if layer.bias is not None:
                        nn.init.constant_(layer.bias, bias)
        corners = torch.from_numpy(boxes.ssd_anchors(size, grids))
        first, last = corners.chunk(2, 1)
        own = torch.cat(((first + last) / 2, last - first), 1)
        self.register_buffer("anchors", own, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores of images (N, 3, H, W).

        Returns:
            Corners in pixels of the image, (N, anchors, 4), and of each class its probability,
            (N, anchors, classes); in training mode logits, with the background where there is one.
        """
        found = self.predictions(image)
        deltas, scores = found[: len(self.deltas)], found[len(self.deltas) :]
        return self._decoded(by_anchor(deltas, 4)), self._scored(by_anchor(scores, self.columns))

    def predictions(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps of deltas, then maps of scores: all that weights have a part in."""
        found = self.backbone.maps(image)
        maps = [found[stride] for stride in STRIDES]
        for layer in self.extra:
            maps.append(layer(maps[-1]))
        deltas = tuple(one(x) for one, x in zip(self.deltas, maps, strict=True))
        return deltas + tuple(one(x) for one, x in zip(self.scores, maps, strict=True))

    @property
    def coding(self) -> AnchorCoding:
        """What a loss has to know."""
        return AnchorCoding(self.anchors.cpu().numpy(), self.background)

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
        centre = centres + deltas[..., :2] * (sides * OF_CENTRE)
        growth = (deltas[..., 2:] * OF_SIZE).clamp(max=MOST_GROWTH)
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
