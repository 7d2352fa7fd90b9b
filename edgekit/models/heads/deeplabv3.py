"""DeepLabV3: pyramids of atrous convolutions. Chen et al. 2017, arXiv:1706.05587.

The last map, at stride 16 by an atrous last stage, is looked at by kernels that step over pixels at
several rates, and by the mean of the whole map; a 3x3 convolution tells classes from all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.core import Parameter
from edgekit.models.heads.layers import Size, conv_norm_act, divided, make_atrous, resized
from edgekit.models.heads.taps import Backbone

INNER = 256  # arXiv:1706.05587, section 3.3
DROPOUT = 0.5  # torchvision's; the paper has none

RATES = (6, 12, 18)  # arXiv:1706.05587, section 3.3, at stride 16
WIDE_RATES = (12, 24, 36)
"""The paper's at stride 8. torchvision has them at stride 16."""


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling (arXiv:1706.05587, figure 5).

    Args:
        size: of the map, (height, width).
    """

    def __init__(self, inputs: int, rates: tuple[int, ...], size: Size) -> None:
        super().__init__()
        self.size = size
        self.point = conv_norm_act(inputs, INNER)
        self.atrous = nn.ModuleList(
            conv_norm_act(inputs, INNER, 3, dilation=rate) for rate in rates
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pooled = conv_norm_act(inputs, INNER)
        self.project = conv_norm_act((2 + len(rates)) * INNER, INNER)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, h, w) to (N, INNER, h, w)."""
        pooled = self.pooled(self.pool(x)).expand(-1, -1, *self.size)
        maps = [self.point(x), *(layer(x) for layer in self.atrous), pooled]
        found: Tensor = self.project(torch.cat(maps, 1))
        return found


class DeepLabV3(nn.Module):
    """A backbone with the head.

    Args:
        backbone: is made atrous.
        size: of the images, which the scores have as well.
        rates: at which kernels step over pixels of the last map.
    """

    def __init__(
        self, backbone: Backbone, classes: int, size: Size, rates: tuple[int, ...] = RATES
    ) -> None:
        super().__init__()
        self.size = size
        make_atrous(backbone)
        self.backbone = backbone
        self.last, stride = backbone.strides[-1], backbone.strides[-2]
        self.pyramid = Pyramid(backbone.channels[self.last], rates, divided(size, stride))
        self.dropout = nn.Dropout(DROPOUT)
        self.mix = conv_norm_act(INNER, INNER, 3)
        self.scores = nn.Conv2d(INNER, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of classes (N, classes, H, W) of images (N, 3, H, W)."""
        x = self.pyramid(self.backbone.maps(image)[self.last])
        return resized(self.scores(self.mix(self.dropout(x))), self.size)


@dataclass(frozen=True, slots=True)
class _Head:
    name: str
    rates: tuple[int, ...]
    task: str = "segment"
    classes: int = 21  # of Pascal VOC
    outputs: tuple[str, ...] = ("scores",)
    stride: int = 32

    def network(self, backbone: Backbone, classes: int, size: Size) -> DeepLabV3:
        return DeepLabV3(backbone, classes, size, self.rates)

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        return {}


HEAD = _Head("deeplabv3", RATES)
WIDE = _Head("deeplabv3-wide", WIDE_RATES)
