"""Networks of other kinds than the zoo's, as their papers have them, without batch norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """One block of ResNet (arXiv:1512.03385, figure 5)."""

    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        inner = outputs // 4 if bottleneck else outputs
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        sizes = [inputs, *[inner] * (len(kernels) - 1), outputs]
        at = 1 if bottleneck else 0
        self.convs = nn.ModuleList(
            nn.Conv2d(sizes[i], sizes[i + 1], k, stride if i == at else 1, k // 2)
            for i, k in enumerate(kernels)
        )
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv in self.convs[:-1]:
            y = F.relu(conv(y), inplace=True)
        y = self.convs[-1](y)
        y += self.short(x)
        return F.relu(y, inplace=True)


def resnet(depths: tuple[int, ...], bottleneck: bool) -> nn.Module:
    """ResNet-18 or -50."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, depth in enumerate(depths):
        outputs = 64 * 2**stage * (4 if bottleneck else 1)
        for i in range(depth):
            stride = 2 if stage and not i else 1
            layers.append(Residual(inputs, outputs, stride, bottleneck))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 100))


def vgg16(width: float = 1.0) -> nn.Module:
    """VGG-16 (arXiv:1409.1556, table 1, column D), with a narrower classifier if asked for."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2, 2))
    hidden = int(4096 * width)
    layers += [nn.AdaptiveAvgPool2d((7, 7)), nn.Flatten(), nn.Linear(512 * 49, hidden), nn.ReLU()]
    layers += [nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 100)]
    return nn.Sequential(*layers)


class Branches(nn.Module):
    """Several layers side by side, their channels one behind the other."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def conv(inputs: int, outputs: int, kernel: int) -> nn.Module:
    """A convolution and its activation."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU())


def fire(inputs: int, squeeze: int, expand: int) -> nn.Module:
    """One module of SqueezeNet (arXiv:1602.07360, figure 1)."""
    both = Branches(conv(squeeze, expand, 1), conv(squeeze, expand, 3))
    return nn.Sequential(conv(inputs, squeeze, 1), both)


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool,
        fire(64, 16, 64), fire(128, 16, 64), pool,
        fire(128, 32, 128), fire(256, 32, 128), pool,
        fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), fire(512, 64, 256),
        nn.Dropout(), nn.Conv2d(512, 100, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def inception(
    inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
) -> nn.Module:
    """One module of GoogLeNet (arXiv:1409.4842, figure 2b)."""
    return Branches(
        conv(inputs, one, 1),
        nn.Sequential(conv(inputs, three[0], 1), conv(three[0], three[1], 3)),
        nn.Sequential(conv(inputs, five[0], 1), conv(five[0], five[1], 5)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(inputs, pool, 1)),
    )


def googlenet() -> nn.Module:
    """GoogLeNet without its auxiliary classifiers (table 1)."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), pool, conv(64, 64, 1), conv(64, 192, 3), pool,
        inception(192, 64, (96, 128), (16, 32), 32),
        inception(256, 128, (128, 192), (32, 96), 64), pool,
        inception(480, 192, (96, 208), (16, 48), 64),
        inception(512, 160, (112, 224), (24, 64), 64),
        inception(512, 128, (128, 256), (24, 64), 64),
        inception(512, 112, (144, 288), (32, 64), 64),
        inception(528, 256, (160, 320), (32, 128), 128), nn.MaxPool2d(2, 2, ceil_mode=True),
        inception(832, 256, (160, 320), (32, 128), 128),
        inception(832, 384, (192, 384), (48, 128), 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(1024, 100),
    )  # fmt: skip


NETWORKS = {
    "resnet18": lambda: resnet((2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda: resnet((3, 4, 6, 3), bottleneck=True),
    "vgg16": lambda: vgg16(1 / 16),
    "squeezenet": squeezenet,
    "googlenet": googlenet,
}
