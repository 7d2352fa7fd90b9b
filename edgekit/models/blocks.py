"""Blocks of mobile networks, and what all the networks share: stem, blocks, head, classifier."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec
from edgekit.errors import ModelError
from edgekit.models.widths import PADDINGS, BatchNorm2d, Conv2d, Linear, Width

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
}
GATES: dict[str, type[nn.Module]] = {"hardsigmoid": nn.Hardsigmoid, "sigmoid": nn.Sigmoid}


@dataclass(frozen=True, slots=True)
class Style:
    """What all convolutions of a network share.

    Attributes:
        eps: of the batch norms.
        momentum: of the batch norms.
        padding: one of `PADDINGS`.
    """

    eps: float
    momentum: float
    padding: str

    @classmethod
    def of(cls, spec: ModelSpec) -> Style:
        """The style of a network.

        Raises:
            ModelError: an unknown padding.
        """
        if spec.padding not in PADDINGS:
            raise ModelError(
                f"padding '{spec.padding}' of '{spec.name}': expected {' or '.join(PADDINGS)}"
            )
        return cls(spec.norm_eps, spec.norm_momentum, spec.padding)

    def norm(self, width: Width) -> BatchNorm2d:
        """A batch norm of this style."""
        return BatchNorm2d(width, self.eps, self.momentum)


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm and, unless ``act`` is None, an activation.

    ``outputs`` None makes the convolution depthwise.
    """

    def __init__(
        self,
        inputs: Width,
        outputs: Width | None,
        style: Style,
        act: str | None,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = Conv2d(inputs, outputs, kernel, stride, groups=groups, padding=style.padding)
        self.norm = style.norm(self.conv.outputs)
        self.act = None if act is None else ACTIVATIONS[act]()


class SqueezeExcite(nn.Module):
    """Channel attention (arXiv:1709.01507).

    Args:
        act: between its two layers; key of `ACTIVATIONS`.
        gate: key of `GATES`.
    """

    def __init__(self, width: Width, squeeze: Width, act: str, gate: str) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = Conv2d(width, squeeze, bias=True)
        self.act = ACTIVATIONS[act]()
        self.expand = Conv2d(squeeze, width, bias=True)
        self.gate = GATES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """Scales each channel of ``x``, shape (N, C, H, W), by a factor from 0 to 1."""
        scale: Tensor = self.gate(self.expand(self.act(self.reduce(self.pool(x)))))
        return x * scale


class DropPath(nn.Module):
    """Leaves a residual branch out for a share of the images (stochastic depth).

    arXiv:1603.09382, per image, the others scaled up so that the mean stays.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Zeros or scaled rows of ``x``, shape (N, C, H, W); ``x`` itself in eval mode."""
        if not self.training:
            return x
        kept = 1 - self.probability
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(kept).div_(kept)


class ChannelShuffle(nn.Module):
    """Interleaves groups of channels (arXiv:1707.01083, figure 1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Channel ``g * C / groups + i`` of (N, C, H, W) goes to ``i * groups + g``.

        The memory layout stays. One of channels last that is lost here costs a copy in every
        layer behind it: a training step of ShuffleNetV1 took 1.6 times as long.
        """
        n, c, h, w = x.shape
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            pixels = x.permute(0, 2, 3, 1).reshape(n, h, w, self.groups, c // self.groups)
            return pixels.transpose(3, 4).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return x.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


@dataclass(frozen=True, slots=True)
class BottleneckRow:
    """One inverted residual block (arXiv:1801.04381, figure 4) or one of its relatives.

    Attributes:
        kernel: side of the depthwise kernel, of the full convolution where ``fused``; ``None``:
            no convolution over space behind the expansion.
        expand: channels between the 1x1 layers; ``None``: those of the input, no expansion layer.
        out: channels that leave the block.
        squeeze: inner channels of the squeeze-excite; ``None`` without one.
        act: key of `ACTIVATIONS`.
        residual: whether the input is added to the output. Said here rather than derived from
            equal numbers, which widths that were searched can have by chance.
        stage: name of the group of blocks whose outputs are added together.
        gate: of the squeeze-excite; key of `GATES`.
        start: kernel of a depthwise layer before the expansion (arXiv:2404.10518, figure 4);
            ``None`` without one.
        fused: expansion and depthwise are one full convolution (arXiv:2104.00298, figure 2);
            without expansion it is the whole block, and has the activation.
    """

    kernel: int | None
    expand: int | None
    out: int
    squeeze: int | None
    act: str
    stride: int
    residual: bool
    stage: str
    gate: str = "hardsigmoid"
    start: int | None = None
    fused: bool = False


class Bottleneck(nn.Sequential):
    """Inverted residual block: depthwise, expand, depthwise, squeeze-excite, project.

    Args:
        name: prefix of the widths inside.
        drop_path: probability of leaving the branch out in training.
    """

    def __init__(
        self, name: str, inputs: Width, row: BottleneckRow, style: Style, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.residual = row.residual
        self.out = inputs if row.residual else Width(f"{row.stage}.out", row.out)
        width = inputs
        # The stride lies in the middle where there is something, else at the start.
        early = row.stride if row.kernel is None else 1
        if row.start is not None:
            self.start = ConvNormAct(width, None, style, None, row.start, early)
        if row.expand is not None:
            width = Width(f"{name}.expand", row.expand)
            kernel, stride = (row.kernel or 1, row.stride) if row.fused else (1, 1)
            self.expand = ConvNormAct(inputs, width, style, row.act, kernel, stride)
        if row.kernel is not None and not row.fused:
            self.depthwise = ConvNormAct(width, None, style, row.act, row.kernel, row.stride)
        if row.squeeze is not None:
            # MobileNetV3 has ReLU inside, whatever the block has; all others have the block's.
            act = "relu" if row.gate == "hardsigmoid" else row.act
            squeeze = Width(f"{name}.squeeze", row.squeeze)
            self.squeeze = SqueezeExcite(width, squeeze, act, row.gate)
        if row.fused and row.expand is None:
            kernel, stride = row.kernel or 1, row.stride
            self.project = ConvNormAct(width, self.out, style, row.act, kernel, stride)
        else:
            self.project = ConvNormAct(width, self.out, style, None)
        if row.residual and drop_path > 0:
            self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, out, H / stride, W / stride)."""
        y = x
        for layer in self:
            y = layer(y)
        return x + y if self.residual else y


class ConvNet(nn.Module):
    """Stem, blocks, head, global average pool, classifier: the shape of all mobile networks.

    Args:
        neck: what works on the pooled maps, (N, C, 1, 1).
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: nn.Sequential,
        head: nn.Module,
        classifier: nn.Module,
        neck: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.neck = neck
        self.flatten = nn.Flatten(1)
        self.classifier = classifier
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, classes) of images (N, 3, H, W)."""
        x = self.pool(self.head(self.blocks(self.stem(x))))
        if self.neck is not None:
            x = self.neck(x)
        scores: Tensor = self.classifier(self.flatten(x))
        return scores


def classifier(spec: ModelSpec, inputs: Width, bias: bool = True) -> nn.Sequential:
    """Dropout and the layer that gives the class scores."""
    return nn.Sequential(
        OrderedDict(
            dropout=nn.Dropout(spec.dropout),
            scores=Linear(inputs, Width("classes", spec.classes), bias),
        )
    )


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
