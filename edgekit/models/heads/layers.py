"""Layers that heads for maps share: convolutions with a norm, other sizes, atrous stages."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.models.heads.taps import Backbone
from edgekit.models.widths import Conv2d

Size = tuple[int, int]
"""Height and width in pixels."""

POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def conv_norm_act(
    inputs: int, outputs: int, kernel: int = 1, *, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution that keeps the size, batch norm and ReLU.

    The norm has PyTorch's epsilon and not the backbone's, as heads that are published have.
    """
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation, groups, bias=False)
    return nn.Sequential(
        OrderedDict(
            conv=conv,
            norm=nn.BatchNorm2d(outputs),
            act=nn.ReLU(),
        )
    )


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """A depthwise convolution of 3x3 and one of 1x1, each with norm and ReLU."""
    return nn.Sequential(
        OrderedDict(
            depthwise=conv_norm_act(inputs, inputs, 3, groups=inputs),
            pointwise=conv_norm_act(inputs, outputs),
        )
    )


def resized(x: Tensor, size: Size) -> Tensor:
    """A map (N, C, h, w) in another size, bilinear, centres of pixels at halves."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def divided(size: Size, stride: int) -> Size:
    """Height and width of the map of a stride, as the networks of the zoo pad."""
    return -(-size[0] // stride), -(-size[1] // stride)


def make_atrous(backbone: Backbone) -> None:
    """Has the last stage keep the size of its maps, and its kernels step over every other pixel.

    So the last map has the stride before the last (output stride 16 of 32; arXiv:1706.05587,
    section 3.1). As in torchvision's networks, the kernel that had the stride steps over pixels,
    too.
    """
    before = backbone.strides[-2]
    first = backbone.last_block(before) + 1
    stage = [m for block in list(backbone.blocks)[first:] for m in block.modules()]
    reached = False
    for layer in stage:
        if isinstance(layer, nn.Conv2d):
            reached |= layer.stride != (1, 1)
            if reached and layer.kernel_size != (1, 1):
                layer.dilation = (2, 2)
                layer.padding = tuple(2 * (side // 2) for side in layer.kernel_size)
            if isinstance(layer, Conv2d):
                layer.pads_by_size = False
            layer.stride = (1, 1)
        elif isinstance(layer, POOLS):
            layer.stride = 1
