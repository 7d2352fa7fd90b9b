"""LR-ASPP: classes of pixels from two maps. Howard et al. 2019, arXiv:1905.02244, section 6.4.

The last map, at stride 16 by an atrous last stage, goes through a 1x1 convolution and is scaled by
a gate of its mean; classes are told from it and from a map of stride 8. As in torchvision, the mean
is that of the whole map, and the map of stride 8 is what the first block of that stride gives.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from edgekit.core import Parameter
from edgekit.models.heads.layers import Size, conv_norm_act, divided, make_atrous, resized
from edgekit.models.heads.taps import Backbone

INNER = 128  # arXiv:1905.02244, table 7: F, the filters of the head
LOW = 8


class LRASPP(nn.Module):
    """A backbone with the head.

    Args:
        backbone: is made atrous.
        size: of the images, which the scores have as well.
    """

    def __init__(self, backbone: Backbone, classes: int, size: Size) -> None:
        super().__init__()
        self.size, self.low_size = size, divided(size, LOW)
        make_atrous(backbone)
        self.backbone = backbone
        self.last = backbone.strides[-1]
        channels = backbone.channels[self.last]
        self.reduce = conv_norm_act(channels, INNER)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.attend = nn.Conv2d(channels, INNER, 1, bias=False)
        self.gate = nn.Sigmoid()
        self.low = nn.Conv2d(backbone.first_channels[LOW], classes, 1)
        self.high = nn.Conv2d(INNER, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of classes (N, classes, H, W) of images (N, 3, H, W).

        Classes are told before the map is made larger, which is the same and of fewer channels: a
        1x1 convolution and shares of pixels that add up to 1 can change places.
        """
        maps = self.backbone.maps(image, firsts=(LOW,))
        x = maps[self.last]
        x = self.reduce(x) * self.gate(self.attend(self.pool(x)))
        scores = resized(self.high(x), self.low_size) + self.low(maps[LOW])
        return resized(scores, self.size)


class _Head:
    name, task = "lraspp", "segment"
    classes = 21  # of Pascal VOC, which the published weights tell apart
    outputs = ("scores",)
    stride = 32

    def network(self, backbone: Backbone, classes: int, size: Size) -> LRASPP:
        return LRASPP(backbone, classes, size)

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        return {}


HEAD = _Head()
