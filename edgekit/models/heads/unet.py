"""U-Net: maps made larger step by step, each beside the one that it came from.

Ronneberger et al. 2015, arXiv:1505.04597. `MobileUNet` has a network of the zoo in place of the
contracting path, and depthwise separable convolutions in the expansive one. `UNet` is the network
of the paper, with convolutions that pad: scores lie on all pixels of the image, where those of the
paper lack a border of 92.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgekit.core import Parameter
from edgekit.models.heads.layers import Size, divided, resized, separable
from edgekit.models.heads.taps import Backbone

CHANNELS = {16: 128, 8: 64, 4: 32, 2: 16}
"""Of the expansive path of `MobileUNet`, by stride: halved at each step, as in the paper."""

PUBLISHED_CHANNELS = (64, 128, 256, 512, 1024)  # arXiv:1505.04597, figure 1
PUBLISHED_DROPOUT = 0.5  # at the end of the contracting path; the paper does not say how much


class Up(nn.Module):
    """An up-convolution of 2x2, the map from the contracting path beside it, convolutions of both.

    Args:
        size: of the larger map, (height, width). One that is odd is cut from what is twice the
            smaller one.
    """

    def __init__(self, inputs: int, outputs: int, size: Size, mix: nn.Module) -> None:
        super().__init__()
        self.size, self.odd = size, size[0] % 2 > 0 or size[1] % 2 > 0
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        self.mix = mix

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        """Maps (N, inputs, h, w) to (N, outputs, 2h, 2w) or one less."""
        x = self.up(x)
        if self.odd:
            x = x[:, :, : self.size[0], : self.size[1]]
        found: Tensor = self.mix(torch.cat([beside, x], 1))
        return found


class MobileUNet(nn.Module):
    """A network of the zoo as the contracting path.

    Classes are told at stride 2 and the scores made larger.

    Args:
        size: of the images, which the scores have as well.
    """

    def __init__(self, backbone: Backbone, classes: int, size: Size) -> None:
        super().__init__()
        self.size, self.backbone = size, backbone
        self.steps = tuple(reversed(backbone.strides))
        inputs = backbone.channels[self.steps[0]]
        self.ups = nn.ModuleList()
        for stride in self.steps[1:]:
            outputs, beside = CHANNELS[stride], backbone.block_channels[stride]
            mix = separable(beside + outputs, outputs)
            self.ups.append(Up(inputs, outputs, divided(size, stride), mix))
            inputs = outputs
        self.scores = nn.Conv2d(inputs, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of classes (N, classes, H, W) of images (N, 3, H, W)."""
        maps = self.backbone.maps(image, blocks=self.steps)
        x = maps[self.steps[0]]
        for stride, up in zip(self.steps[1:], self.ups, strict=True):
            x = up(x, maps[stride])
        return resized(self.scores(x), self.size)


class UNet(nn.Module):
    """The network of the paper, for images of three channels.

    Args:
        size: of the images, (height, width), at least 16 each.
        channels: at each depth; the published ones by default.
    """

    def __init__(
        self, classes: int, size: Size, channels: tuple[int, ...] = PUBLISHED_CHANNELS
    ) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, ceil_mode=False)
        self.dropout = nn.Dropout(PUBLISHED_DROPOUT)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in zip((3, *channels), channels, strict=False):
            self.downs.append(_twice(inputs, outputs))
        sizes = [(size[0] >> depth, size[1] >> depth) for depth in range(len(channels))]
        for depth in reversed(range(len(channels) - 1)):
            self.ups.append(_PlainUp(channels[depth + 1], channels[depth], sizes[depth]))
        self.scores = nn.Conv2d(channels[0], classes, 1)
        for layer in self.modules():  # arXiv:1505.04597, section 3: a deviation of sqrt(2 / N)
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Scores of classes (N, classes, H, W) of images (N, 3, H, W)."""
        beside, x = [], image
        for down in self.downs[:-1]:
            beside.append(down(x))
            x = self.pool(beside[-1])
        x = self.dropout(self.downs[-1](x))
        for up in self.ups:
            x = up(x, beside.pop())
        found: Tensor = self.scores(x)
        return found


class _PlainUp(nn.Module):
    """A step of the expansive path; a side that is odd gets a line of the up-convolution's bias."""

    def __init__(self, inputs: int, outputs: int, size: Size) -> None:
        super().__init__()
        odd = (size[0] % 2, size[1] % 2)
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, 2, output_padding=odd)
        self.mix = _twice(2 * outputs, outputs)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        found: Tensor = self.mix(torch.cat([beside, self.up(x)], 1))
        return found


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


class _Head:
    name, task = "unet", "segment"
    classes = 21
    resolution = 256  # of the plain network; the paper's tiles have 572
    outputs = ("scores",)
    stride = 32

    def network(self, backbone: Backbone, classes: int, size: Size) -> MobileUNet:
        return MobileUNet(backbone, classes, size)

    def alone(self, width: float, classes: int, size: Size) -> UNet:
        """The network of the paper, which needs no backbone.

        Args:
            width: multiplies its channels.
        """
        channels = tuple(max(1, round(width * n)) for n in PUBLISHED_CHANNELS)
        return UNet(classes, size, channels)

    def parameters(self, network: nn.Module) -> Mapping[str, Parameter]:
        return {}


HEAD = _Head()
