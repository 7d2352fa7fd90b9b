"""Layers and blocks of mobile networks, with named widths.

Every channel count carries a name. Layers whose channels must stay aligned (a convolution, its
batch norm, the depthwise layer behind it, everything that is added to it) share the name, so
that changing a width is a look-up by name, whatever the family; see `named_axes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Width:
    """A channel count that knows which channels it counts."""

    name: str
    n: int


Axes = tuple[tuple[Width, ...] | None, ...]
"""For each axis of a tensor the widths it is made of, in order; ``None`` for other axes."""


class Conv2d(nn.Conv2d):
    """A convolution between named widths, padded so that stride 1 keeps the image size.

    Args:
        inputs: width that comes in.
        outputs: width that goes out; ``None`` makes the layer depthwise, with one name on both
            sides. (The same name alone does not: a residual block may map a width onto itself.)
        kernel: side of the kernel in pixels, odd.
    """

    def __init__(
        self,
        inputs: Width,
        outputs: Width | None,
        kernel: int = 1,
        stride: int = 1,
        bias: bool = False,
    ) -> None:
        self.depthwise = outputs is None
        self.inputs, self.outputs = inputs, outputs or inputs
        groups = inputs.n if self.depthwise else 1
        super().__init__(
            inputs.n, self.outputs.n, kernel, stride, kernel // 2, groups=groups, bias=bias
        )

    def axes(self) -> dict[str, Axes]:
        """Widths of each tensor of this layer."""
        inputs = None if self.depthwise else (self.inputs,)
        return {"weight": ((self.outputs,), inputs, None, None), "bias": ((self.outputs,),)}


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalization of a named width."""

    def __init__(self, width: Width, eps: float, momentum: float) -> None:
        super().__init__(width.n, eps=eps, momentum=momentum)
        self.width = width

    def axes(self) -> dict[str, Axes]:
        """Widths of each tensor of this layer."""
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names, ((self.width,),))


class Linear(nn.Linear):
    """A fully connected layer between named widths."""

    def __init__(self, inputs: Width, outputs: Width) -> None:
        super().__init__(inputs.n, outputs.n)
        self.inputs, self.outputs = inputs, outputs

    def axes(self) -> dict[str, Axes]:
        """Widths of each tensor of this layer."""
        return {"weight": ((self.outputs,), (self.inputs,)), "bias": ((self.outputs,),)}


def named_axes(model: nn.Module) -> Iterator[tuple[str, Tensor, Axes]]:
    """Every tensor of a model's state with the widths of its axes.

    Raises:
        TypeError: a layer with parameters does not know its widths.
    """
    for path, module in model.named_modules():
        own = {
            **dict(module.named_parameters(recurse=False)),
            **{k: v for k, v in module.named_buffers(recurse=False) if v.ndim},
        }
        if not own:
            continue
        if not isinstance(module, Conv2d | BatchNorm2d | Linear):
            raise TypeError(f"{path} ({type(module).__name__}) has tensors without named widths")
        axes = module.axes()
        for name, tensor in own.items():
            yield f"{path}.{name}", tensor, axes[name]


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
}


@dataclass(frozen=True, slots=True)
class Norm:
    """Batch norm settings that a whole network shares."""

    eps: float
    momentum: float

    def __call__(self, width: Width) -> BatchNorm2d:
        return BatchNorm2d(width, self.eps, self.momentum)


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm and, unless ``act`` is None, an activation.

    ``outputs`` None makes the convolution depthwise.
    """

    def __init__(
        self,
        inputs: Width,
        outputs: Width | None,
        norm: Norm,
        act: str | None,
        kernel: int = 1,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv = Conv2d(inputs, outputs, kernel, stride)
        self.norm = norm(self.conv.outputs)
        self.act = None if act is None else ACTIVATIONS[act]()


class SqueezeExcite(nn.Module):
    """Channel attention (arXiv:1709.01507) with MobileNetV3's hard sigmoid as the gate."""

    def __init__(self, width: Width, squeeze: Width) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = Conv2d(width, squeeze, bias=True)
        self.act = nn.ReLU()
        self.expand = Conv2d(squeeze, width, bias=True)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scales each channel of ``x``, shape (N, C, H, W), by a factor from 0 to 1."""
        scale: Tensor = self.gate(self.expand(self.act(self.reduce(self.pool(x)))))
        return x * scale


@dataclass(frozen=True, slots=True)
class BottleneckRow:
    """One inverted residual block (arXiv:1801.04381, figure 4).

    Attributes:
        kernel: side of the depthwise kernel.
        expand: channels of the depthwise layer; ``None``: those of the input, no expansion layer.
        out: channels that leave the block.
        squeeze: inner channels of the squeeze-excite; ``None`` without one.
        act: key of `ACTIVATIONS`.
        residual: whether the input is added to the output. Said here rather than derived from
            equal numbers, which widths that were searched can have by chance.
        stage: name of the group of blocks whose outputs are added together.
    """

    kernel: int
    expand: int | None
    out: int
    squeeze: int | None
    act: str
    stride: int
    residual: bool
    stage: str


class Bottleneck(nn.Sequential):
    """Inverted residual block: expand, depthwise, squeeze-excite, project."""

    def __init__(self, name: str, inputs: Width, row: BottleneckRow, norm: Norm) -> None:
        super().__init__()
        width = inputs
        if row.expand is not None:
            width = Width(f"{name}.expand", row.expand)
            self.expand = ConvNormAct(inputs, width, norm, row.act)
        self.depthwise = ConvNormAct(width, None, norm, row.act, row.kernel, row.stride)
        if row.squeeze is not None:
            self.squeeze = SqueezeExcite(width, Width(f"{name}.squeeze", row.squeeze))
        self.residual = row.residual
        self.out = inputs if row.residual else Width(f"{row.stage}.out", row.out)
        self.project = ConvNormAct(width, self.out, norm, None)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, out, H / stride, W / stride)."""
        y = x
        for layer in self:
            y = layer(y)
        return x + y if self.residual else y


class ConvNet(nn.Module):
    """Stem, blocks, head, global average pool, classifier: the shape of all mobile networks."""

    def __init__(
        self, stem: nn.Module, blocks: nn.Sequential, head: nn.Module, classifier: nn.Module
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.classifier = classifier
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, classes) of images (N, 3, H, W)."""
        x = self.pool(self.head(self.blocks(self.stem(x))))
        scores: Tensor = self.classifier(self.flatten(x))
        return scores


@torch.no_grad()
def initialize(model: nn.Module) -> None:
    """He initialization by fan-out for convolutions; classifiers start near zero (std 0.01)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def stabilize(model: nn.Module) -> None:
    """Makes a network with fresh weights fit to be compared with a rounded copy of itself.

    With weights at random, each block makes small differences larger, and rounding them to
    float16 comes out at the end of MobileNetV1 and V2 at 30 to 34 dB, however well a file was
    converted. Norms that feed mostly the linear part of the activation behind them, through a
    shift of one standard deviation, keep it at 43 dB and more in all networks. For networks that
    are to be exported for their speed; training starts from the usual zeros.
    """
    for module in model.modules():
        if isinstance(module, ConvNormAct) and module.act is not None:
            nn.init.ones_(module.norm.bias)
